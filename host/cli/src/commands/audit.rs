//! `portreeve audit`: what happened, and whether the record of it is whole.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::{Span, Timestamp, Zoned};
use portreeve_state::audit::{
    AuditKind, AuditRecord, Filter, Heads, Report, Verified, export, report, search, verify,
    verify_export, wall_clock,
};
use portreeve_state::{Key, SqliteStore, StateStore, read_key};
use serde_json::Value;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::{error, output, places, text};

/// Records that one look at the state gives.
const PAGE: usize = 5_000;

/// How often `tail -f` looks for more.
const POLL: Duration = Duration::from_millis(200);

/// See what happened, and verify that the record of it is whole.
///
/// Every call, every refusal, every grant and every use of a secret is on record. The log is
/// read beside a host that runs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit tail -f
  portreeve audit search --plugin github --kind refusal --since 24h
  portreeve audit verify
  portreeve audit report --since 7d
  portreeve audit export --since 2026-11-01 > november.jsonl")]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show the newest records.
    Tail {
        /// Go on with what is recorded from now on.
        #[arg(short, long)]
        follow: bool,
        /// How many records to show.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=100_000))]
        lines: u32,
        #[command(flatten)]
        which: Which,
    },
    /// Show all records that match, oldest first.
    Search {
        #[command(flatten)]
        which: Which,
    },
    /// Write all records that match as lines of JSON, each with its code.
    ///
    /// An export of everything can be verified elsewhere, with the same key: `verify --file`.
    Export {
        #[command(flatten)]
        which: Which,
    },
    /// Verify that no record was changed, moved or removed.
    ///
    /// Fails if one was. Records that were cut off show up to the last head of the log that
    /// was kept in your own state directory.
    Verify {
        /// What `export` wrote, instead of this project's log.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Sum up what happened in a window, and what of it is unusual.
    ///
    /// Unusual is what is new, or at least ten and five times as much as in the window
    /// before of the same length.
    Report {
        /// The start of the window: a moment, or how long ago.
        #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = moment)]
        since: i64,
        /// Its end.
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        until: Option<i64>,
    },
}

/// Which records are meant.
#[derive(Args)]
struct Which {
    /// About this plugin.
    #[arg(long, value_name = "ALIAS")]
    plugin: Option<String>,
    /// By or for this caller.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Of this kind, such as `call`, `refusal` or `grant`; repeat for more.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<AuditKind>,
    /// Of this call.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// From this moment on: `2026-11-21`, `2026-11-21T08:00:00Z`, or how long ago: `90m`.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<i64>,
    /// Before this moment.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<i64>,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            plugin: self.plugin.clone(),
            caller: self.caller.clone(),
            kinds: self.kinds.clone(),
            call: self.call.clone(),
            from_ms: self.since,
            to_ms: self.until,
        }
    }
}

/// A moment as people write it: milliseconds since 1970, UTC.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    if let Ok(ago) = text.parse::<Span>() {
        let ago = if ago.is_negative() { ago } else { -ago };
        let then = Zoned::now().checked_add(ago);
        return then
            .map(|then| then.timestamp().as_millisecond())
            .map_err(|error| format!("`{text}` is too long ago: {error}"));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let day = text
        .parse::<jiff::civil::DateTime>()
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()));
    day.map(|day| day.timestamp().as_millisecond()).map_err(|_| {
        format!("`{text}` is no moment: write 2026-11-21, 2026-11-21T08:00:00Z, or how long ago: 90m, 24h, 7d")
    })
}

impl Audit {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        if let What::Verify { file: Some(file) } = &self.what {
            let opened =
                File::open(file).with_context(|| format!("{} can't be read", file.display()))?;
            let verified = verify_export(&key()?, BufReader::new(opened))
                .with_context(|| file.display().to_string())?;
            return told(context, &verified);
        }
        let project = context.project()?;
        context.block_on(async {
            let store: Arc<dyn StateStore> = SqliteStore::read(&project.database()).await?;
            match &self.what {
                What::Tail {
                    follow,
                    lines,
                    which,
                } => tail(context.output, &store, &which.filter(), *lines, *follow).await,
                What::Search { which } => each(&store, &which.filter(), 0, |line, _| {
                    show(context.output, line)
                })
                .await
                .map(|_| ()),
                What::Export { which } => {
                    let print = |line: &str| output::print(&text::line(&text::json(line)));
                    let filter = which.filter();
                    print(&export::header(&store, filter != Filter::default()).await?)?;
                    each(&store, &filter, 0, |line, mac| {
                        print(&export::line(line, mac))
                    })
                    .await
                    .map(|_| ())
                }
                What::Verify { .. } => {
                    let heads = Heads::new(&places::state_dir()?, store.project());
                    told(context, &verify(store, &key()?, &heads).await?)
                }
                What::Report { since, until } => {
                    let until = until.unwrap_or_else(wall_clock);
                    if *since >= until {
                        return Err(error::usage("the window ends before it begins"));
                    }
                    let summed = report(&store, *since, until).await?;
                    context.output.result(&summed, || show_report(&summed))
                }
            }
        })
    }
}

fn key() -> anyhow::Result<Key> {
    read_key(&places::state_dir()?.join("audit.key"))
        .context("without the key that the log was written with, nothing can be verified")
}

/// Hands out all records after `seq` that match; gives the last one that was looked at.
async fn each(
    store: &Arc<dyn StateStore>,
    filter: &Filter,
    seq: i64,
    mut hand: impl FnMut(&str, &str) -> anyhow::Result<()>,
) -> anyhow::Result<i64> {
    let mut seq = seq;
    loop {
        let page = search(store, filter, seq, PAGE).await?;
        for (line, mac) in &page.lines {
            hand(line, mac)?;
        }
        seq = page.last;
        if page.end {
            return Ok(seq);
        }
    }
}

async fn tail(
    output: Output,
    store: &Arc<dyn StateStore>,
    filter: &Filter,
    lines: u32,
    follow: bool,
) -> anyhow::Result<()> {
    let kept = lines as usize;
    let mut last = std::collections::VecDeque::new();
    // Where all are meant, the newest are at the end.
    let after = match store.audit_last().await? {
        Some(end) if *filter == Filter::default() => end.seq.saturating_sub(i64::from(lines)),
        _ => 0,
    };
    let mut seq = each(store, filter, after, |line, _| {
        last.push_back(line.to_owned());
        if last.len() > kept {
            last.pop_front();
        }
        Ok(())
    })
    .await?;
    for line in last {
        show(output, &line)?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(POLL).await;
        seq = each(store, filter, seq, |line, _| show(output, line)).await?;
    }
}

fn show(output: Output, line: &str) -> anyhow::Result<()> {
    if output.is_json() {
        return output::print(&text::line(&text::json(line)));
    }
    output::print(&text::line(&one_line(line)))
}

/// A record for people.
fn one_line(line: &str) -> String {
    let Ok(record) = AuditRecord::parse(line) else {
        return format!("NO RECORD: {line}");
    };
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let body = if record.body.is_empty() {
        String::new()
    } else {
        Value::Object(record.body.clone()).to_string()
    };
    format!(
        "{} {:>6} {:<13} {:<16} {:<10} {} {body}",
        time(record.time),
        record.seq,
        record.kind,
        or_dash(&record.plugin),
        or_dash(&record.caller),
        or_dash(&record.call),
    )
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

fn told(context: &Context, verified: &Verified) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(verified)?;
    if let Some(value) = value.as_object_mut() {
        value.insert("whole".to_owned(), verified.is_whole().into());
    }
    context.output.result(&value, || {
        let mut shown = String::new();
        for finding in &verified.findings {
            shown.push_str(&format!("{}: {}\n", finding.kind, finding.message));
        }
        if verified.findings_more > 0 {
            shown.push_str(&format!("and {} more\n", verified.findings_more));
        }
        let pruned = verified.pruned.map_or_else(String::new, |seq| {
            format!(", those up to {seq} pruned behind a sealed checkpoint")
        });
        let records = format!(
            "records {} to {}{pruned}, held against {} kept heads",
            verified.first, verified.last, verified.heads
        );
        shown.push_str(&if verified.is_whole() {
            format!("the audit log is whole: {records}")
        } else {
            format!("THE AUDIT LOG WAS CHANGED: {records}; keep a copy of it, and find out who had the file")
        });
        shown
    })?;
    if verified.is_whole() {
        Ok(())
    } else {
        Err(error::shown(Exit::Failed))
    }
}

fn show_report(report: &Report) -> String {
    let mut shown = format!("from {} to {}\n", time(report.from), time(report.to));
    let tables = [
        ("records", &report.kinds),
        ("calls", &report.calls),
        ("failed calls", &report.failures),
        ("refusals", &report.refusals),
        ("limits reached", &report.limits),
        ("failed log-ins", &report.failed_logins),
        ("secrets used", &report.secrets),
    ];
    for (name, counts) in tables {
        shown.push_str(&format!("\n{name}\n"));
        if counts.is_empty() {
            shown.push_str("  none\n");
        }
        for (what, count) in counts {
            shown.push_str(&format!("  {count:>8}  {}\n", text::line(what)));
        }
    }
    for (name, lines) in [("what people did", &report.acts), ("gaps", &report.gaps)] {
        shown.push_str(&format!("\n{name}\n"));
        if lines.is_empty() {
            shown.push_str("  none\n");
        }
        for line in lines {
            shown.push_str(&format!("  {}\n", text::line(&one_line(line))));
        }
    }
    shown.push_str("\nunusual, against the window before of the same length\n");
    if report.unusual.is_empty() {
        shown.push_str("  nothing\n");
    }
    for what in &report.unusual {
        shown.push_str(&format!("  {}\n", text::line(what)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_several_ways() {
        let now = wall_clock();
        let near = |text: &str, ago_ms: i64| {
            let then = moment(text).unwrap();
            assert!((now - ago_ms - then).abs() < 10_000, "{text}: {then}");
        };
        near("90m", 90 * 60_000);
        near("24h", 24 * 3_600_000);
        assert_eq!(moment("1970-01-02T00:00:00Z"), Ok(86_400_000));
        assert!(moment("2026-11-21").unwrap() > 1_700_000_000_000);
        assert!(moment("soon").unwrap_err().contains("how long ago"));
    }

    #[test]
    fn a_record_is_one_clean_line() {
        let line = r#"{"seq":3,"time":0,"kind":"call","plugin":"a","tenant":"","caller":"x\u001b[31m\ny","call":"","body":{"tool":"t"}}"#;
        let shown = text::line(&one_line(line)).to_string();
        assert!(
            shown.contains("call") && shown.contains("\"tool\":\"t\""),
            "{shown}"
        );
        assert!(
            !shown.contains('\n') && !shown.contains('\u{1b}'),
            "{shown}"
        );
    }
}
