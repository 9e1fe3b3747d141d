//! The log of what guests write: a file of JSON lines, apart from the host's own log,
//! bounded and rotated.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use jiff::Timestamp;
use portreeve_runtime::{OutputSink, Stream, make_private_dir};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::project::NOFOLLOW;

/// Size at which a log file is put aside, in bytes.
const FILE_BYTES_MAX: usize = 10 << 20;

/// Files that are kept besides the one that is written.
const FILES_KEPT: usize = 4;

/// Records that wait to be written; more are dropped and counted.
const WAITING_MAX: usize = 4_096;

/// One line of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When it was written.
    pub time: Timestamp,
    /// The plugin's alias.
    pub plugin: String,
    /// The call that it belongs to; empty outside of calls.
    pub call: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text, without line end.
    pub text: String,
}

/// Longest time that [`GuestLog::flush`] waits.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// Writes guests' lines to `guest.log` in a directory, from a thread of its own.
pub struct GuestLog {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Record(LogRecord),
    /// Everything before it is written.
    Flushed(oneshot::Sender<()>),
}

impl GuestLog {
    /// Opens the log in `dir`, which is made with mode 0700.
    ///
    /// # Errors
    /// When the directory or the file can't be made.
    pub fn open(dir: &Path) -> std::io::Result<Arc<GuestLog>> {
        let mut file = open_rotating(dir, "guest.log")?;
        let (queue, entries) = sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        std::thread::Builder::new()
            .name("portreeve-log".to_owned())
            .spawn(move || {
                for entry in entries {
                    let record = match entry {
                        Entry::Record(record) => record,
                        Entry::Flushed(done) => {
                            // Whoever waited may have given up.
                            let _ = done.send(());
                            continue;
                        }
                    };
                    let lost = lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        tracing::warn!(
                            lost,
                            "lines of guests were not logged: they came faster than the disk takes them"
                        );
                    }
                    if let Err(error) = write_record(&mut file, &record) {
                        tracing::warn!(%error, "a guest's line could not be logged");
                    }
                }
            })?;
        Ok(Arc::new(GuestLog { queue, dropped }))
    }

    /// Waits until the lines so far are written, for two seconds at most.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let mut entry = Entry::Flushed(done);
        let flush = async {
            while let Err(TrySendError::Full(back)) = self.queue.try_send(entry) {
                entry = back;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let _ = written.await;
        };
        // A disk that is stuck holds nobody up for longer.
        let _ = tokio::time::timeout(FLUSH_TIME_MAX, flush).await;
    }

    fn write(&self, record: LogRecord) {
        // Never waits: a slow disk must not hold a guest's worker.
        if self.queue.try_send(Entry::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_record(file: &mut impl Write, record: &LogRecord) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// A log file of this project that is put aside when it is full.
///
/// # Errors
/// When the directory or the file can't be made.
pub fn open_rotating(dir: &Path, name: &str) -> std::io::Result<FileRotate<AppendCount>> {
    // The state's directory around it as well: a link there would lead all of it elsewhere.
    for dir in dir.parent().into_iter().chain([dir]) {
        make_private_dir(dir).map_err(std::io::Error::other)?;
    }
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(NOFOLLOW);
    let path = dir.join(name);
    // The library reports an error of opening only with the first write.
    options.open(&path)?;
    Ok(FileRotate::new(
        path,
        AppendCount::new(FILES_KEPT),
        ContentLimit::BytesSurpassed(FILE_BYTES_MAX),
        Compression::None,
        Some(options),
    ))
}

/// The files of the log `name` in `dir`, oldest first.
pub fn files(dir: &Path, name: &str) -> Vec<PathBuf> {
    (1..=FILES_KEPT)
        .rev()
        .map(|number| dir.join(format!("{name}.{number}")))
        .chain([dir.join(name)])
        .filter(|path| path.is_file())
        .collect()
}

/// Where the lines of one call go.
pub(crate) struct CallOutput {
    pub(crate) log: Arc<GuestLog>,
    pub(crate) plugin: String,
    pub(crate) call: String,
}

impl OutputSink for CallOutput {
    fn line(&self, stream: Stream, text: &str) {
        self.log.write(LogRecord {
            time: Timestamp::now(),
            plugin: self.plugin.clone(),
            call: self.call.clone(),
            stream: stream.as_str().to_owned(),
            text: text.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("state/logs");
        let log = GuestLog::open(&logs).unwrap();
        let output = CallOutput {
            log: log.clone(),
            plugin: "p".to_owned(),
            call: "c1".to_owned(),
        };
        let texts: Vec<String> = (0..1_000)
            .map(|number| format!("{number} é\u{1b}[31m"))
            .collect();
        for text in &texts {
            output.line(Stream::Stderr, text);
        }
        log.flush().await;
        let file = std::fs::read_to_string(logs.join("guest.log")).unwrap();
        let records: Vec<LogRecord> = file
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(records.iter().map(|record| &record.text).eq(&texts));
        assert!(
            records
                .iter()
                .all(|record| record.stream == "stderr" && record.call == "c1")
        );
    }
}
