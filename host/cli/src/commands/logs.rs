//! `portreeve logs`: what guests wrote, and what the host wrote.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portreeve_core::log::{self, LogRecord};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::logging::HOST_LOG;
use crate::output::Output;
use crate::{output, text};

/// The file of what guests write.
const GUEST_LOG: &str = "guest.log";

/// How often `-f` looks for more.
const POLL: Duration = Duration::from_millis(200);

/// Longest line that is shown, in bytes; the host writes shorter ones.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Show what plugins wrote to their output.
///
/// Shows what plugins wrote to their standard output and error, or with --host what the host
/// wrote, oldest first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve logs -f
  portreeve logs --plugin markdown -n 20
  portreeve logs --call 5f3a2c11-7
  portreeve logs --host --json")]
pub(crate) struct Logs {
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
    /// Only of this plugin.
    #[arg(long, value_name = "ALIAS")]
    plugin: Option<String>,
    /// Only of this call.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// How many of the last records to show.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=100_000))]
    lines: u32,
    /// The host's own log.
    #[arg(long)]
    host: bool,
}

impl Logs {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let dir = context.project()?.logs_dir();
        let name = if self.host { HOST_LOG } else { GUEST_LOG };
        let mut reader = Reader::new(dir, name);
        let kept = self.lines as usize;
        let mut last: VecDeque<String> = VecDeque::new();
        while let Some(line) = reader.next_line()? {
            if self.wants(&line) {
                last.push_back(line);
                if last.len() > kept {
                    last.pop_front();
                }
            }
        }
        for line in last {
            self.show(context.output, &line)?;
        }
        if self.follow {
            self.follow(context.output, &mut reader)?;
        }
        Ok(())
    }

    /// Shows what is written from now on, until the process is ended.
    fn follow(&self, output: Output, reader: &mut Reader) -> anyhow::Result<()> {
        loop {
            match reader.next_line()? {
                Some(line) if self.wants(&line) => self.show(output, &line)?,
                Some(_) => {}
                None => std::thread::sleep(POLL),
            }
        }
    }

    fn wants(&self, line: &str) -> bool {
        if self.plugin.is_none() && self.call.is_none() {
            return true;
        }
        let Ok(Value::Object(record)) = serde_json::from_str(line) else {
            return false;
        };
        // The host's records keep theirs among the fields.
        let fields = record
            .get("fields")
            .and_then(Value::as_object)
            .unwrap_or(&record);
        let is = |name: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| fields.get(name).and_then(Value::as_str) == Some(wanted))
        };
        is("plugin", &self.plugin) && is("call", &self.call)
    }

    fn show(&self, output: Output, line: &str) -> anyhow::Result<()> {
        let shown = if output.is_json() {
            text::json(line)
        } else if self.host {
            host_line(line)
        } else {
            guest_line(line)
        };
        output::print(&text::line(&shown))
    }
}

fn guest_line(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<LogRecord>(line) else {
        return line.to_owned();
    };
    let call = if record.call.is_empty() {
        "-"
    } else {
        &record.call
    };
    let LogRecord {
        time,
        plugin,
        stream,
        text,
        ..
    } = &record;
    format!("{time:.3} {plugin} {call} {stream}: {text}")
}

/// A line as `tracing_subscriber` writes it.
#[derive(Deserialize)]
struct HostRecord {
    timestamp: String,
    level: String,
    #[serde(default)]
    fields: Map<String, Value>,
}

fn host_line(line: &str) -> String {
    let Ok(mut record) = serde_json::from_str::<HostRecord>(line) else {
        return line.to_owned();
    };
    let message = record.fields.remove("message");
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
    let mut shown = format!("{} {} {message}", record.timestamp, record.level);
    for (name, value) in &record.fields {
        match value.as_str() {
            Some(text) => shown.push_str(&format!(" {name}={text}")),
            None => shown.push_str(&format!(" {name}={value}")),
        }
    }
    shown
}

/// Reads a log line by line, from its oldest file on and over rotations.
struct Reader {
    dir: PathBuf,
    name: &'static str,
    open: Option<(u64, BufReader<File>)>,
    /// A line that is still being written.
    partial: Vec<u8>,
}

impl Reader {
    fn new(dir: PathBuf, name: &'static str) -> Reader {
        Reader {
            dir,
            name,
            open: None,
            partial: Vec::new(),
        }
    }

    /// The next whole line; none where there is none yet.
    fn next_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some((_, file)) = &mut self.open {
                let room = LINE_BYTES_MAX.saturating_sub(self.partial.len() as u64);
                let read = file
                    .by_ref()
                    .take(room)
                    .read_until(b'\n', &mut self.partial)?;
                let whole = self.partial.ends_with(b"\n");
                if whole || self.partial.len() as u64 >= LINE_BYTES_MAX {
                    let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                    self.partial.clear();
                    if line.is_empty() {
                        continue;
                    }
                    return Ok(Some(line));
                }
                if read > 0 {
                    continue;
                }
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }

    /// Opens the file that follows the one that is open, or the oldest.
    fn open_next(&mut self) -> std::io::Result<bool> {
        let files = log::files(&self.dir, self.name);
        let inode = |path: &PathBuf| std::fs::metadata(path).ok().map(|meta| meta.ino());
        let current = self.open.as_ref().map(|(inode, _)| *inode);
        let place = files
            .iter()
            .position(|path| current.is_some() && inode(path) == current);
        // Where the open file was removed meanwhile, all that is left is newer.
        let next = place.map_or(0, |place| place.saturating_add(1));
        let Some(path) = files.get(next) else {
            return Ok(false);
        };
        let file = match File::open(path) {
            Ok(file) => file,
            // Rotated away just now: looked for again by the next call.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // The name may stand for another file by now: the file itself says which it is.
        let opened = file.metadata()?.ino();
        if Some(opened) == current {
            return Ok(false);
        }
        self.partial.clear();
        self.open = Some((opened, BufReader::new(file)));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_followed_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("guest.log.1"), "a\nb\n").unwrap();
        std::fs::write(path("guest.log"), "c\nd").unwrap();
        let mut reader = Reader::new(dir.path().to_owned(), GUEST_LOG);
        let mut next = || reader.next_line().unwrap();
        assert_eq!(
            [next(), next(), next(), next()].map(Option::unwrap_or_default),
            ["a", "b", "c", ""]
        );
        // The rest of a line, then two rotations at once.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(path("guest.log"))
            .unwrap();
        file.write_all(b"d\ne\n").unwrap();
        std::fs::rename(path("guest.log"), path("guest.log.2")).unwrap();
        std::fs::write(path("guest.log.1"), "f\n").unwrap();
        std::fs::write(path("guest.log"), "g\n").unwrap();
        assert_eq!(
            [next(), next(), next(), next()].map(Option::unwrap_or_default),
            ["dd", "e", "f", "g"]
        );
        assert_eq!(next(), None);
    }

    #[test]
    fn lines_without_end_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(LINE_BYTES_MAX as usize + 3);
        std::fs::write(dir.path().join(GUEST_LOG), format!("{long}\ny\n")).unwrap();
        let mut reader = Reader::new(dir.path().to_owned(), GUEST_LOG);
        let mut next = || reader.next_line().unwrap().map(|line| line.len());
        assert_eq!(
            [next(), next(), next(), next()],
            [Some(1 << 20), Some(3), Some(1), None]
        );
    }

    #[test]
    fn records_of_both_logs() {
        let guest = r#"{"time":"2026-11-20T10:00:00.123456Z","plugin":"p","call":"c","stream":"stdout","text":"hi"}"#;
        assert_eq!(guest_line(guest), "2026-11-20T10:00:00.123Z p c stdout: hi");
        let host = r#"{"timestamp":"T","level":"INFO","fields":{"message":"m","call":"c","n":1},"target":"t"}"#;
        assert_eq!(host_line(host), "T INFO m call=c n=1");
        assert_eq!(guest_line("no record"), "no record");
        let logs = |plugin: Option<&str>, call: Option<&str>| Logs {
            follow: false,
            plugin: plugin.map(str::to_owned),
            call: call.map(str::to_owned),
            lines: 1,
            host: false,
        };
        assert!(logs(Some("p"), Some("c")).wants(guest));
        assert!(!logs(Some("q"), None).wants(guest));
        assert!(logs(None, Some("c")).wants(host));
        assert!(!logs(Some("p"), None).wants("no record"));
    }
}
