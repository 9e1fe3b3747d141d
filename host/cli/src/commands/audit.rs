//! `portreeve audit`: what was done here, and whether the record of it is whole.
//!
//! Everything is read from the database, beside the process that owns the project or without
//! one.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use portreeve_manifest::duration::HumanDuration;
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

/// How often `-f` looks for more.
const POLL: Duration = Duration::from_millis(250);

/// Records that are read at once.
const PAGE: usize = 1_000;

/// Most records that one command shows, `export` aside.
const SHOWN_MAX: i64 = 100_000;

/// Most rows of each table of a report for people; the largest.
const ROWS_SHOWN: usize = 20;

/// Read and verify the record of what was done.
///
/// Every call, refusal, grant, secret and other act is on record, in a chain that can't be
/// changed without it showing. These commands only read, also beside a host that runs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit tail -f
  portreeve audit search --plugin github --kind refusal --from 24h
  portreeve audit verify
  portreeve audit export --from 2026-11-01 > november.jsonl
  portreeve audit report --last 7d")]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Tail(Tail),
    Search(Search),
    Verify(Verify),
    Export(Export),
    Report(Summary),
}

/// Show the newest records.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit tail -n 20
  portreeve audit tail -f --kind refusal --kind limit")]
struct Tail {
    /// Go on with what is recorded from now on.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last records to show.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(..=SHOWN_MAX))]
    lines: i64,
    #[command(flatten)]
    wanted: Wanted,
}

/// Show the records that fit, the newest ones, oldest first.
#[derive(Args)]
#[command(after_help = "\
A time is a date or a timestamp (2026-11-21, 2026-11-21T10:00:00Z; UTC), or how long ago (90m, 7d).

Examples:
  portreeve audit search --plugin github --from 24h
  portreeve audit search --kind grant --kind revoke --json
  portreeve audit search --call 5f3a2c11-7")]
struct Search {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    window: Window,
    /// How many to show.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=SHOWN_MAX))]
    limit: i64,
}

/// Say whether the record is whole: nothing changed, removed, moved or cut off.
///
/// Holds every record against the key in your state directory, and the log's end against the
/// heads that were kept there. Exit code 1 when something is wrong.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit verify
  portreeve audit verify --json
  portreeve audit verify --file log.jsonl     what `portreeve audit export` wrote")]
struct Verify {
    /// An export of the whole log, instead of this project's log.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Write records as JSON lines, with their codes, so that they can be verified elsewhere.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit export > log.jsonl
  portreeve audit export --kind call --from 2026-11-01 --to 2026-12-01")]
struct Export {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    window: Window,
}

/// Sum up what happened, and say what of it is unusual.
///
/// Compares a window of time with the one before of the same length.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve audit report                 the last 24 hours
  portreeve audit report --last 7d
  portreeve audit report --from 2026-11-20 --to 2026-11-21 --json")]
struct Summary {
    /// The window's length, up to now.
    #[arg(long, value_name = "TIME", default_value = "24h", conflicts_with_all = ["from", "to"])]
    last: HumanDuration,
    #[command(flatten)]
    window: Window,
}

/// Which records are wanted; all that is said must hold.
#[derive(Args, Clone)]
struct Wanted {
    /// About this plugin.
    #[arg(long, value_name = "ALIAS")]
    plugin: Option<String>,
    /// By or for this caller.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Of this kind; repeat for one of several.
    #[arg(long, value_name = "KIND")]
    kind: Vec<AuditKind>,
    /// Of this call.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
}

#[derive(Args, Clone)]
struct Window {
    /// From this time on.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
}

impl Wanted {
    fn filter(&self, window: Option<&Window>) -> Filter {
        Filter {
            plugin: self.plugin.clone(),
            caller: self.caller.clone(),
            kinds: self.kind.clone(),
            call: self.call.clone(),
            from_ms: window.and_then(|window| window.from),
            to_ms: window.and_then(|window| window.to),
        }
    }

    fn is_all(&self) -> bool {
        self.plugin.is_none()
            && self.caller.is_none()
            && self.call.is_none()
            && self.kind.is_empty()
    }
}

/// A time as people write it, in milliseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(start) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(start.timestamp().as_millisecond());
    }
    match text.parse::<HumanDuration>() {
        Ok(ago) => Ok(wall_clock().saturating_sub(ms(ago))),
        Err(_) => Err(
            "write a date or timestamp such as 2026-11-21 or 2026-11-21T10:00:00Z (UTC), or how long ago: 90m, 7d"
                .to_owned(),
        ),
    }
}

fn ms(duration: HumanDuration) -> i64 {
    i64::try_from(duration.0.as_millis()).unwrap_or(i64::MAX)
}

/// A moment as people read it.
fn shown_time(time_ms: i64) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{time_ms} ms"),
    }
}

impl Audit {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        context.block_on(async {
            match &self.action {
                Action::Tail(tail) => tail.run(context).await,
                Action::Search(search) => search.run(context).await,
                Action::Verify(verify) => verify.run(context).await,
                Action::Export(export) => export.run(context).await,
                Action::Report(summary) => summary.run(context).await,
            }
        })
    }
}

/// The state, for reading.
async fn open(context: &Context) -> anyhow::Result<Arc<dyn StateStore>> {
    let project = context.project()?;
    Ok(SqliteStore::read(&project.database()).await?)
}

fn key() -> anyhow::Result<Key> {
    let path = places::state_dir()?.join("audit.key");
    read_key(&path).context("the audit log can't be verified without its key")
}

impl Tail {
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let store = open(context).await?;
        let filter = self.wanted.filter(None);
        let last = store.audit_last().await?.map_or(0, |last| last.seq);
        let after = if self.wanted.is_all() {
            last.saturating_sub(self.lines).max(0)
        } else {
            0
        };
        let mut seq = newest(&store, &filter, after, self.lines, context.output).await?;
        if !self.follow {
            return Ok(());
        }
        loop {
            let page = search(&store, &filter, seq, PAGE).await?;
            for (line, _) in &page.lines {
                show(context.output, line)?;
            }
            seq = page.last;
            if page.end {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

impl Search {
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let store = open(context).await?;
        let filter = self.wanted.filter(Some(&self.window));
        newest(&store, &filter, 0, self.limit, context.output).await?;
        Ok(())
    }
}

/// Shows the newest records that are meant, oldest first. Gives the last that was looked at.
async fn newest(
    store: &Arc<dyn StateStore>,
    filter: &Filter,
    after: i64,
    lines_max: i64,
    output: Output,
) -> anyhow::Result<i64> {
    let lines_max = usize::try_from(lines_max).unwrap_or(0);
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut seq = after;
    loop {
        let page = search(store, filter, seq, PAGE).await?;
        for (line, _) in page.lines {
            kept.push_back(line);
            if kept.len() > lines_max {
                kept.pop_front();
            }
        }
        seq = page.last;
        if page.end {
            break;
        }
    }
    for line in &kept {
        show(output, line)?;
    }
    Ok(seq)
}

fn show(output: Output, line: &str) -> anyhow::Result<()> {
    let shown = if output.is_json() {
        text::json(line)
    } else {
        record_line(line)
    };
    output::print(&text::line(&shown))
}

/// A record as people read it: `TIME SEQ KIND PLUGIN CALLER CALL NAME=VALUE …`.
fn record_line(line: &str) -> String {
    let Ok(record) = AuditRecord::parse(line) else {
        return format!("no record: {line}");
    };
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut shown = format!(
        "{} {} {} {} {} {}",
        shown_time(record.time),
        record.seq,
        record.kind,
        or_dash(&record.plugin),
        or_dash(&record.caller),
        or_dash(&record.call),
    );
    for (name, value) in &record.body {
        let _ = match value {
            Value::String(text) => write!(shown, " {name}={text}"),
            value => write!(shown, " {name}={value}"),
        };
    }
    shown
}

impl Verify {
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let verified = match &self.file {
            Some(path) => {
                let file = std::fs::File::open(path)
                    .with_context(|| format!("{} can't be read", path.display()))?;
                verify_export(&key()?, BufReader::new(file))
                    .with_context(|| path.display().to_string())?
            }
            None => {
                let store = open(context).await?;
                let heads = Heads::new(&places::state_dir()?, store.project());
                verify(store, &key()?, &heads).await?
            }
        };
        context.output.result(&verified, || verdict(&verified))?;
        if verified.is_whole() {
            return Ok(());
        }
        Err(error::shown(Exit::Failed))
    }
}

fn verdict(verified: &Verified) -> String {
    let mut shown = String::new();
    for finding in &verified.findings {
        let _ = writeln!(shown, "{}: {}", finding.kind, finding.message);
    }
    if verified.findings_more > 0 {
        let _ = writeln!(shown, "… and {} more", verified.findings_more);
    }
    if verified.is_whole() {
        shown.push_str("whole: ");
    } else {
        shown.push_str("NOT whole: ");
    }
    if verified.records == 0 {
        shown.push_str("no records");
    } else {
        let _ = write!(
            shown,
            "{} records, {} to {}, {} bytes",
            verified.records, verified.first, verified.last, verified.bytes
        );
    }
    if let Some(pruned) = verified.pruned {
        let _ = write!(shown, "; those up to {pruned} were pruned");
    }
    let _ = write!(shown, "; held against {} heads", verified.heads);
    shown
}

impl Export {
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let store = open(context).await?;
        let filter = self.wanted.filter(Some(&self.window));
        let filtered = !self.wanted.is_all() || self.window.from.or(self.window.to).is_some();
        output::print_exact(&export::header(&store, filtered).await?)?;
        let mut seq = 0;
        loop {
            let page = search(&store, &filter, seq, PAGE).await?;
            let mut lines = String::new();
            for (record, mac) in &page.lines {
                lines.push_str(&export::line(record, mac));
                lines.push('\n');
            }
            if lines.pop().is_some() {
                output::print_exact(&lines)?;
            }
            seq = page.last;
            if page.end {
                return Ok(std::io::stdout().flush()?);
            }
        }
    }
}

impl Summary {
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let now = wall_clock();
        let to = self.window.to.unwrap_or(now);
        let length = ms(self.last);
        let from = self.window.from.unwrap_or(to.saturating_sub(length));
        if from >= to {
            return Err(error::usage("the window ends before it begins"));
        }
        let store = open(context).await?;
        let report = report(&store, from, to).await?;
        context.output.result(&report, || summary(&report))
    }
}

fn summary(report: &Report) -> String {
    let mut shown = format!(
        "from {} to {}\n",
        shown_time(report.from),
        shown_time(report.to)
    );
    let tables = [
        ("records", &report.kinds),
        ("calls", &report.calls),
        ("failed calls", &report.failures),
        ("refusals", &report.refusals),
        ("limits reached", &report.limits),
        ("failed log-ins", &report.failed_logins),
        ("uses of secrets", &report.secrets),
    ];
    for (title, counts) in tables {
        if counts.is_empty() {
            continue;
        }
        let _ = writeln!(shown, "\n{title}");
        let mut rows: Vec<_> = counts.iter().collect();
        rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (name, count) in rows.iter().take(ROWS_SHOWN) {
            let _ = writeln!(shown, "  {count:>8}  {}", text::line(name));
        }
        if let Some(more) = rows.len().checked_sub(ROWS_SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(shown, "            and {more} more; see --json");
        }
    }
    for (title, lines) in [("acts", &report.acts), ("gaps", &report.gaps)] {
        if !lines.is_empty() {
            let _ = writeln!(shown, "\n{title}");
        }
        for line in lines {
            let _ = writeln!(shown, "  {}", text::line(&record_line(line)));
        }
    }
    shown.push_str("\nunusual\n");
    if report.unusual.is_empty() {
        shown.push_str("  nothing against the window before\n");
    }
    for line in &report.unusual {
        let _ = writeln!(shown, "  {}", text::line(line));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(time("1970-01-02"), Ok(86_400_000));
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(1_500));
        let hour_ago = time("1h").unwrap();
        let passed = wall_clock() - hour_ago;
        assert!((3_600_000..3_700_000).contains(&passed), "{passed}");
        assert!(time("yesterday").unwrap_err().contains("7d"));
    }

    #[test]
    fn records_are_shown_on_one_line() {
        let line = r#"{"seq":7,"time":1500,"kind":"call","plugin":"echo","tenant":"","caller":"","call":"c-1","body":{"ms":1.5,"tool":"a\nb"}}"#;
        assert_eq!(
            record_line(line),
            "1970-01-01T00:00:01.500Z 7 call echo - c-1 ms=1.5 tool=a\nb"
        );
        let shown = text::line(&record_line(line)).to_string();
        assert!(shown.ends_with("tool=a\\nb"), "{shown}");
        assert_eq!(record_line("x"), "no record: x");
    }

    #[test]
    fn a_verdict_says_what_is_wrong() {
        let whole = Verified {
            first: 5,
            last: 9,
            records: 5,
            bytes: 600,
            pruned: Some(4),
            heads: 2,
            ..Verified::default()
        };
        assert_eq!(
            verdict(&whole),
            "whole: 5 records, 5 to 9, 600 bytes; those up to 4 were pruned; held against 2 heads"
        );
    }
}
