//! Heads of the log, kept apart from it: what was cut off behind one shows.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Heads that are kept; when there are twice as many, the older half goes.
const HEADS_KEPT: usize = 5_000;

/// Most bytes that are read of a file of heads.
const BYTES_MAX: u64 = 16 << 20;

/// The last record at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// The project's id.
    pub project: String,
    /// The record.
    pub seq: i64,
    /// Its code.
    pub mac: String,
    /// When the head was taken: milliseconds since 1970, UTC.
    pub time: i64,
}

/// The file of one project's heads.
#[derive(Clone, Debug)]
pub struct Heads {
    path: PathBuf,
}

impl Heads {
    /// The heads of a project in the user's own directory.
    pub fn new(user_state: &Path, project: &str) -> Heads {
        Heads {
            path: user_state.join("heads").join(format!("{project}.jsonl")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All heads, oldest first. A line that was cut off by a crash is none.
    ///
    /// # Errors
    /// When the file is there, but can't be read.
    pub fn read(&self) -> std::io::Result<Vec<Head>> {
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut heads = Vec::new();
        for line in BufReader::new(std::io::Read::take(file, BYTES_MAX)).lines() {
            if let Ok(head) = serde_json::from_str(&line?) {
                heads.push(head);
            }
        }
        Ok(heads)
    }

    /// Adds a head, on disk before this returns.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append(&self, head: &Head) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        self.make_room(dir)?;
        let mut line = serde_json::to_vec(head)?;
        // Before it, in case a crash has cut off the line before; an empty line is none.
        line.insert(0, b'\n');
        line.push(b'\n');
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)?;
        let is_new = file.metadata()?.len() == 0;
        file.write_all(&line)?;
        file.sync_data()?;
        if is_new {
            sync_directory(dir)?;
        }
        Ok(())
    }

    /// Leaves the newer half when there are too many: written beside, then renamed.
    fn make_room(&self, dir: &Path) -> std::io::Result<()> {
        /// Roughly what a head takes; looking at the size is cheap.
        const HEAD_BYTES: u64 = 150;
        let bytes = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if bytes < HEAD_BYTES * 2 * HEADS_KEPT as u64 {
            return Ok(());
        }
        let heads = self.read()?;
        let mut file = tempfile::Builder::new()
            .prefix(".heads-")
            .tempfile_in(dir)?;
        for head in heads.iter().skip(heads.len().saturating_sub(HEADS_KEPT)) {
            serde_json::to_writer(&mut file, head)?;
            file.write_all(b"\n")?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        sync_directory(dir)
    }
}

/// Has a file's name on disk: without it a crash could lose the file, whatever was synced of it.
fn sync_directory(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: i64) -> Head {
        Head {
            project: "0123456789abcdef".repeat(2),
            seq,
            mac: "0".repeat(64),
            time: 1_700_000_000_000 + seq,
        }
    }

    #[test]
    fn heads_are_added_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let heads = Heads::new(dir.path(), "p");
        assert!(heads.read().unwrap().is_empty());
        heads.append(&head(1)).unwrap();
        // A crash in the middle of a line.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(heads.path())
            .unwrap();
        file.write_all(b"{\"project\":\"p\",\"se").unwrap();
        heads.append(&head(2)).unwrap();
        assert_eq!(heads.read().unwrap(), [head(1), head(2)]);

        let many: String = (3..12_000)
            .map(|seq| format!("{}\n", serde_json::to_string(&head(seq)).unwrap()))
            .collect();
        std::fs::write(heads.path(), many).unwrap();
        heads.append(&head(12_000)).unwrap();
        let left = heads.read().unwrap();
        assert_eq!(left.len(), HEADS_KEPT + 1);
        assert_eq!(left.last(), Some(&head(12_000)));
    }
}
