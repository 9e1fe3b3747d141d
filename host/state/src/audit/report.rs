//! What happened in a window of time, summed up, and what of it is unusual.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::event::AuditRecord;
use super::search::{Filter, search};
use crate::error::StateError;
use crate::store::StateStore;

/// Records that are read at once.
const PAGE: usize = 5_000;

/// Different things that are counted in one table; the rest is counted together.
const ROWS_MAX: usize = 500;

/// A count is unusual when it is so many times that of the window before…
const TIMES_UNUSUAL: u64 = 5;

/// …and at least this large.
const COUNT_UNUSUAL: u64 = 10;

/// What happened in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The window: milliseconds since 1970, UTC; its end is not part of it.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// Records by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Calls by plugin and tool.
    pub calls: BTreeMap<String, u64>,
    /// Calls that failed, by plugin, tool and code.
    pub failures: BTreeMap<String, u64>,
    /// Refused uses, by plugin and capability.
    pub refusals: BTreeMap<String, u64>,
    /// Limits that were reached, by plugin and setting.
    pub limits: BTreeMap<String, u64>,
    /// Failed log-ins, by caller.
    pub failed_logins: BTreeMap<String, u64>,
    /// Uses of secrets, by plugin and secret.
    pub secrets: BTreeMap<String, u64>,
    /// What people did: grants, installs, secrets; the newest last.
    pub acts: Vec<String>,
    /// What is missing from the log, or tells of a crash.
    pub gaps: Vec<String>,
    /// What is unusual, with the arithmetic of it.
    pub unusual: Vec<String>,
}

/// Sums up the window from `from_ms` to `to_ms` and compares it with the one before of the
/// same length.
///
/// # Errors
/// When the state can't be read.
pub async fn report(
    store: &Arc<dyn StateStore>,
    from_ms: i64,
    to_ms: i64,
) -> Result<Report, StateError> {
    let before_ms = from_ms.saturating_sub(to_ms.saturating_sub(from_ms));
    let mut before = Counts::default();
    let mut now = Counts::default();
    let mut report = Report {
        from: from_ms,
        to: to_ms,
        ..Report::default()
    };
    let window = Filter {
        from_ms: Some(before_ms),
        to_ms: Some(to_ms),
        ..Filter::default()
    };
    let mut seq = 0;
    loop {
        let page = search(store, &window, seq, PAGE).await?;
        for (line, _) in &page.lines {
            let Ok(record) = AuditRecord::parse(line) else {
                report.gaps.push("a line that is no record".to_owned());
                continue;
            };
            if record.time < from_ms {
                before.count(&record);
            } else {
                now.count(&record);
                report.add(&record, line);
            }
        }
        if page.end {
            break;
        }
        seq = page.last;
    }
    report.unusual = unusual(&before, &now);
    Ok(report)
}

impl Report {
    fn add(&mut self, record: &AuditRecord<'_>, line: &str) {
        let plugin = &record.plugin;
        let text = |name: &str| {
            let value = record.body.get(name).and_then(|value| value.as_str());
            value.unwrap_or("?").to_owned()
        };
        count(&mut self.kinds, record.kind.to_string());
        match &*record.kind {
            "call" => {
                let tool = format!("{plugin} {}", text("tool"));
                if let Some(code) = record.body.get("error").and_then(|code| code.as_str()) {
                    count(&mut self.failures, format!("{tool}: {code}"));
                }
                count(&mut self.calls, tool);
            }
            "refusal" => count(
                &mut self.refusals,
                format!("{plugin} {}", text("capability")),
            ),
            "limit" => count(&mut self.limits, format!("{plugin} {}", text("setting"))),
            "login-failed" => count(&mut self.failed_logins, record.caller.to_string()),
            "secret-use" | "secret-reveal" => {
                count(&mut self.secrets, format!("{plugin} {}", text("secret")));
            }
            "gap" | "clock" => keep(&mut self.gaps, line),
            "add" | "update" | "remove" | "grant" | "revoke" | "edit" | "undone" | "secret-set"
            | "secret-rotate" | "secret-remove" | "vault-rotate" | "data-export"
            | "data-import" | "data-clear" | "alert" => {
                keep(&mut self.acts, line);
            }
            _ => {}
        }
    }
}

/// Keeps the newest lines.
fn keep(lines: &mut Vec<String>, line: &str) {
    if lines.len() >= ROWS_MAX {
        lines.remove(0);
    }
    lines.push(line.to_owned());
}

fn count(counts: &mut BTreeMap<String, u64>, what: String) {
    let what = if counts.len() < ROWS_MAX || counts.contains_key(&what) {
        what
    } else {
        "others".to_owned()
    };
    let count = counts.entry(what).or_default();
    *count = count.saturating_add(1);
}

/// What windows are compared by.
#[derive(Default)]
struct Counts {
    /// Whether the log has anything of this window.
    any: bool,
    counts: BTreeMap<String, u64>,
}

impl Counts {
    fn count(&mut self, record: &AuditRecord<'_>) {
        self.any = true;
        let plugin = &record.plugin;
        match &*record.kind {
            "call" => {
                count(&mut self.counts, format!("calls for {}", record.caller));
                let tool = record.body.get("tool").and_then(|tool| tool.as_str());
                if let Some(tool) = tool {
                    count(&mut self.counts, format!("calls of {plugin} {tool}"));
                }
                if record.body.contains_key("error") {
                    count(&mut self.counts, format!("failed calls of {plugin}"));
                }
            }
            "refusal" => count(&mut self.counts, format!("refusals of {plugin}")),
            "limit" => count(&mut self.counts, format!("limits reached by {plugin}")),
            "login-failed" => count(&mut self.counts, "failed log-ins".to_owned()),
            "secret-use" => count(&mut self.counts, format!("uses of secrets by {plugin}")),
            "secret-reveal" => count(&mut self.counts, format!("secrets shown to {plugin}")),
            "gap" => count(&mut self.counts, "gaps".to_owned()),
            _ => {}
        }
    }
}

fn unusual(before: &Counts, now: &Counts) -> Vec<String> {
    let mut unusual = Vec::new();
    for (what, count) in &now.counts {
        let was = before.counts.get(what).copied().unwrap_or(0);
        if was == 0 && before.any {
            unusual.push(format!("{what}: {count}, and none in the window before"));
        } else if *count >= COUNT_UNUSUAL && *count >= was.saturating_mul(TIMES_UNUSUAL) && was > 0
        {
            unusual.push(format!(
                "{what}: {count}, {} times the {was} of the window before",
                count / was
            ));
        }
    }
    unusual
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, u64)]) -> Counts {
        Counts {
            any: true,
            counts: rows
                .iter()
                .map(|(what, count)| ((*what).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn what_is_new_or_much_more_is_unusual() {
        let before = counts(&[("a", 2), ("b", 10), ("c", 1)]);
        let now = counts(&[("a", 10), ("b", 49), ("c", 5), ("d", 1)]);
        assert_eq!(
            unusual(&before, &now),
            [
                "a: 10, 5 times the 2 of the window before",
                "d: 1, and none in the window before"
            ]
        );
        // The first window of a log is no surprise.
        assert!(unusual(&Counts::default(), &now).is_empty());
    }
}
