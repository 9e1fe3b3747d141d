//! What happened in a window of time, and what of it is unusual.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::clock::time_text;
use super::error::AuditError;
use super::event::AuditKind;
use super::record::{Record, Texts};
use super::search::{AuditFilter, AuditRecord, scan};
use crate::store::StateStore;

/// Different names that are counted; what comes after is counted together.
const NAMES_MAX: usize = 10_000;

/// What stands in for names beyond those.
const OTHERS: &str = "(others)";

/// Administrative acts and gaps that are listed; the newest.
const LISTED_MAX: usize = 1_000;

/// How many times more than before is unusual.
const TIMES: u64 = 3;

/// How many at least.
const COUNT_MIN: u64 = 20;

/// Names with how often each was seen.
pub type Counts = BTreeMap<String, u64>;

/// A window of time: from a moment on, before another; milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReportWindow {
    /// Its start.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

impl ReportWindow {
    /// The window as long, right before.
    fn before(self) -> ReportWindow {
        let length = self.to_ms.saturating_sub(self.from_ms);
        ReportWindow {
            from_ms: self.from_ms.saturating_sub(length),
            to_ms: self.from_ms,
        }
    }

    fn contains(self, time_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&time_ms)
    }
}

/// Something unusual, with its arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unusual {
    /// The rule: `new-caller`, `new-tool`, `more`, `gap`.
    pub rule: &'static str,
    /// A sentence.
    pub text: String,
}

/// What happened in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Records in the window.
    pub records: u64,
    /// Records in the window as long before it.
    pub records_before: u64,
    /// Records by kind.
    pub kinds: Counts,
    /// Records by plugin.
    pub plugins: Counts,
    /// Records by caller.
    pub callers: Counts,
    /// Calls by tool, as `ALIAS tool`.
    pub tools: Counts,
    /// Calls that failed, as `ALIAS code`.
    pub errors: Counts,
    /// Refused uses, as `ALIAS capability`.
    pub refusals: Counts,
    /// Limits that were hit, as `ALIAS setting`.
    pub limits: Counts,
    /// Failed log-ins by caller.
    pub failed_logins: Counts,
    /// Administrative acts.
    pub acts: Vec<AuditRecord>,
    /// Gaps in the log.
    pub gaps: Vec<AuditRecord>,
    /// What is unusual against the window before.
    pub unusual: Vec<Unusual>,
}

/// Sums a window up and compares it with the one as long before it.
///
/// # Errors
/// When the store can't be read, or what it holds are no records.
pub async fn report(
    store: &Arc<dyn StateStore>,
    window: ReportWindow,
) -> Result<Report, AuditError> {
    let before = window.before();
    let mut now = Tally::default();
    let mut then = Tally::default();
    let mut began_ms: Option<i64> = None;
    let (mut acts, mut gaps) = (Vec::new(), Vec::new());
    // All are read: times go back where a clock was set.
    scan(store, &AuditFilter::default(), |record, texts| {
        began_ms = Some(began_ms.map_or(record.time_ms, |ms| ms.min(record.time_ms)));
        if before.contains(record.time_ms) {
            then.add(texts);
        } else if window.contains(record.time_ms) {
            now.add(texts);
            let kind = texts.kind.parse::<AuditKind>().ok();
            if kind.is_some_and(AuditKind::is_administrative) {
                list(&mut acts, record, texts);
            } else if kind == Some(AuditKind::Gap) {
                list(&mut gaps, record, texts);
            }
        }
        ControlFlow::Continue(())
    })
    .await?;
    let unusual = unusual(&now, &then, &gaps, before, began_ms);
    Ok(Report {
        records: now.records,
        records_before: then.records,
        kinds: now.kinds,
        plugins: now.plugins,
        callers: now.callers,
        tools: now.tools,
        errors: now.errors,
        refusals: now.refusals,
        limits: now.limits,
        failed_logins: now.failed_logins,
        acts,
        gaps,
        unusual,
    })
}

fn list(records: &mut Vec<AuditRecord>, record: &Record<'_>, texts: &Texts<'_>) {
    if records.len() >= LISTED_MAX {
        records.remove(0);
    }
    records.push(AuditRecord::new(record, texts));
}

#[derive(Default)]
struct Tally {
    records: u64,
    kinds: Counts,
    plugins: Counts,
    callers: Counts,
    tools: Counts,
    errors: Counts,
    refusals: Counts,
    limits: Counts,
    failed_logins: Counts,
}

impl Tally {
    fn add(&mut self, texts: &Texts<'_>) {
        self.records = self.records.saturating_add(1);
        count(&mut self.kinds, texts.kind);
        if !texts.alias.is_empty() {
            count(&mut self.plugins, texts.alias);
        }
        if !texts.caller.is_empty() {
            count(&mut self.callers, texts.caller);
        }
        let Ok(kind) = texts.kind.parse::<AuditKind>() else {
            return;
        };
        let of = |counts: &mut Counts, name: &str| {
            count(counts, format!("{} {name}", texts.alias).trim());
        };
        match kind {
            AuditKind::Call => {
                let body = body(texts);
                of(&mut self.tools, text(&body, "tool").unwrap_or("?"));
                if let Some(code) = text(&body, "code") {
                    of(&mut self.errors, code);
                }
            }
            AuditKind::Refusal => {
                let body = body(texts);
                of(&mut self.refusals, text(&body, "capability").unwrap_or("?"));
            }
            AuditKind::Limit => {
                let body = body(texts);
                of(&mut self.limits, text(&body, "setting").unwrap_or("?"));
            }
            AuditKind::LoginFailed => {
                let caller = if texts.caller.is_empty() {
                    "?"
                } else {
                    texts.caller
                };
                count(&mut self.failed_logins, caller);
            }
            _ => {}
        }
    }

    /// What is compared as rates, with what each is called.
    fn rates(&self) -> [(&'static str, &Counts); 6] {
        [
            ("records of plugin", &self.plugins),
            ("records of caller", &self.callers),
            ("failed calls of", &self.errors),
            ("refusals of", &self.refusals),
            ("limit hits of", &self.limits),
            ("failed log-ins of", &self.failed_logins),
        ]
    }
}

fn body(texts: &Texts<'_>) -> Value {
    serde_json::from_str(texts.body).unwrap_or_default()
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

fn count(counts: &mut Counts, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_add(1);
        return;
    }
    let name = if counts.len() < NAMES_MAX {
        name
    } else {
        OTHERS
    };
    let count = counts.entry(name.to_owned()).or_default();
    *count = count.saturating_add(1);
}

fn unusual(
    now: &Tally,
    then: &Tally,
    gaps: &[AuditRecord],
    before: ReportWindow,
    began_ms: Option<i64>,
) -> Vec<Unusual> {
    let mut found = Vec::new();
    if !gaps.is_empty() {
        let reasons: BTreeSet<&str> = gaps
            .iter()
            .filter_map(|gap| text(&gap.body, "reason"))
            .collect();
        let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
        found.push(Unusual {
            rule: "gap",
            text: format!("{} gaps in the log ({reasons})", gaps.len()),
        });
    }
    // A log that is younger has nothing to compare with.
    if began_ms.is_none_or(|began| began >= before.to_ms) {
        return found;
    }
    let since = time_text(before.from_ms.max(began_ms.unwrap_or(before.from_ms)));
    let new = [
        ("new-caller", "caller", &now.callers, &then.callers),
        ("new-tool", "tool", &now.tools, &then.tools),
    ];
    for (rule, what, now, then) in new {
        for (name, count) in now {
            if !then.contains_key(name) && name != OTHERS {
                found.push(Unusual {
                    rule,
                    text: format!("{what} {name}: {count} records, none from {since} on before"),
                });
            }
        }
    }
    for ((what, now), (_, then)) in now.rates().into_iter().zip(then.rates()) {
        for (name, count) in now {
            let earlier = then.get(name).copied().unwrap_or(0);
            if *count >= COUNT_MIN && *count >= earlier.saturating_mul(TIMES) && earlier > 0 {
                found.push(Unusual {
                    rule: "more",
                    text: format!(
                        "{what} {name}: {count} against {earlier} from {since} on before (told from {TIMES} times as many and {COUNT_MIN} on)"
                    ),
                });
            }
        }
    }
    // Failures that there were none of before are more than any times as many.
    for ((what, now), (_, then)) in now.rates().into_iter().zip(then.rates()).skip(2) {
        for (name, count) in now {
            if *count >= COUNT_MIN && !then.contains_key(name) {
                found.push(Unusual {
                    rule: "more",
                    text: format!(
                        "{what} {name}: {count} against none from {since} on before (told from {COUNT_MIN} on)"
                    ),
                });
            }
        }
    }
    found
}
