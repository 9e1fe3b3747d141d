//! A disk that keeps what was synced and nothing else: made of the calls that a process made of
//! the system. What was written after the last sync of its file is gone.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A change of a file.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Default)]
struct File {
    kept: Vec<u8>,
    pending: Vec<Change>,
}

impl File {
    /// Keeps the first changes of those that are pending.
    fn sync(&mut self, count: usize) {
        for change in self.pending.drain(..count.min(self.pending.len())) {
            match change {
                Change::Write(at, bytes) => {
                    let end = at + bytes.len();
                    if self.kept.len() < end {
                        self.kept.resize(end, 0);
                    }
                    self.kept[at..end].copy_from_slice(&bytes);
                }
                Change::Truncate(length) => self.kept.resize(length, 0),
            }
        }
    }
}

/// The database and its log, as far as they were synced.
#[derive(Default)]
pub(crate) struct Disk(BTreeMap<String, File>);

impl Disk {
    /// Follows what a process did.
    pub(crate) fn follow(&mut self, trace: &str) {
        // A call that another thread's interrupts is told in two lines.
        let mut begun: HashMap<&str, (&str, usize)> = HashMap::new();
        for line in trace.lines() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if let Some(start) = call.strip_suffix(" <unfinished ...>") {
                let pending = self.file_of(start).map_or(0, |file| file.pending.len());
                begun.insert(thread, (start, pending));
            } else if call.starts_with("<...") {
                if let Some((start, pending)) = begun.remove(thread) {
                    let end = call.rsplit_once(" = ").map_or("", |(_, result)| result);
                    self.call(start, end, Some(pending));
                }
            } else if let Some((start, end)) = call.rsplit_once(" = ") {
                self.call(start, end, None);
            }
        }
    }

    /// The file that a call is about, where it is one of the database's.
    fn file_of(&mut self, call: &str) -> Option<&mut File> {
        let path = match call.strip_prefix("unlink(\"") {
            Some(rest) => rest.split('"').next()?,
            None => call.split_once('<')?.1.split('>').next()?,
        };
        let name = path.rsplit('/').next()?;
        let ours = name == "state.db" || name == "state.db-wal";
        ours.then(|| self.0.entry(name.to_owned()).or_default())
    }

    /// A call that has ended; `pending` changes were there when it began, where others came
    /// between.
    fn call(&mut self, call: &str, result: &str, pending: Option<usize>) {
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let Some(file) = self.file_of(call) else {
            return;
        };
        if call.starts_with("pwrite64(") {
            let (_, rest) = call.split_once("\"").unwrap();
            let (text, numbers) = rest.rsplit_once('"').unwrap();
            assert!(!numbers.starts_with("..."), "the trace is cut");
            let at = numbers.trim_end_matches(')').rsplit(", ").next().unwrap();
            let mut bytes = unescape(text);
            bytes.truncate(result.split(' ').next().unwrap().parse().unwrap());
            file.pending
                .push(Change::Write(at.trim().parse().unwrap(), bytes));
        } else if call.starts_with("ftruncate(") {
            let length = call.trim_end_matches(')').rsplit(", ").next().unwrap();
            file.pending
                .push(Change::Truncate(length.trim().parse().unwrap()));
        } else if call.starts_with("fdatasync(") || call.starts_with("fsync(") {
            let count = pending.unwrap_or(file.pending.len());
            file.sync(count);
        } else if call.starts_with("unlink(") {
            *file = File::default();
        }
    }

    /// Loses what was not synced, and puts the rest where a process finds it.
    pub(crate) fn power_off(&mut self, dir: &Path) {
        let _ = std::fs::remove_file(dir.join("state.db-shm"));
        for (name, file) in &mut self.0 {
            file.pending.clear();
            std::fs::write(dir.join(name), &file.kept).unwrap();
        }
    }

    /// Takes what a sound process has left.
    pub(crate) fn take(&mut self, dir: &Path) {
        self.0.clear();
        for name in ["state.db", "state.db-wal"] {
            if let Ok(kept) = std::fs::read(dir.join(name)) {
                let pending = Vec::new();
                self.0.insert(name.to_owned(), File { kept, pending });
            }
        }
    }
}

/// Bytes as `strace -x` writes them.
fn unescape(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            bytes.push(text[at]);
            at += 1;
            continue;
        }
        let rest = &text[at + 1..];
        let (byte, taken) = match rest[0] {
            b'x' => {
                let hex = std::str::from_utf8(&rest[1..3]).unwrap();
                (u8::from_str_radix(hex, 16).unwrap(), 4)
            }
            b'n' => (b'\n', 2),
            b't' => (b'\t', 2),
            b'r' => (b'\r', 2),
            b'v' => (11, 2),
            b'f' => (12, 2),
            b'0'..=b'7' => {
                let digits = rest
                    .iter()
                    .take(3)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                let octal = std::str::from_utf8(&rest[..digits]).unwrap();
                (u8::from_str_radix(octal, 8).unwrap(), digits + 1)
            }
            other => (other, 2),
        };
        bytes.push(byte);
        at += taken;
    }
    bytes
}

#[test]
fn what_is_not_synced_is_lost() {
    let mut disk = Disk::default();
    disk.follow(
        "7 pwrite64(9</d/state.db-wal>, \"ab\\x00\\n\", 4, 2) = 4\n\
         7 fdatasync(9</d/state.db-wal>) = 0\n\
         7 pwrite64(9</d/state.db-wal>, \"zz\", 2, 0) = 2\n\
         8 fdatasync(9</d/state.db-wal> <unfinished ...>\n\
         7 pwrite64(9</d/state.db-wal>, \"yy\", 2, 0) = 2\n\
         8 <... fdatasync resumed>) = 0\n\
         7 pwrite64(5</d/other>, \"no\", 2, 0) = 2\n\
         7 pwrite64(9</d/state.db-wal>, \"xx\", 2, 0) = ?\n",
    );
    let dir = tempfile::tempdir().unwrap();
    disk.power_off(dir.path());
    assert_eq!(
        std::fs::read(dir.path().join("state.db-wal")).unwrap(),
        b"zzab\0\n"
    );
    assert!(!dir.path().join("other").exists());
}
