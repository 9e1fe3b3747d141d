//! The newest code of the log, kept where the database isn't.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::chain::{Mac, from_hex};
use super::error::AuditError;
use super::key::make_private_dir;

/// Size at which the file is cut to the newer half of its lines. A line has some 150 bytes,
/// so that it always holds several thousand heads.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The end of the log at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The project's id.
    pub project: String,
    /// The last record.
    pub seq: i64,
    /// Its code, in hexadecimal digits.
    pub mac: String,
    /// When it was exported, in milliseconds since 1970.
    pub time_ms: i64,
}

impl Head {
    pub(super) fn code(&self) -> Option<Mac> {
        from_hex(&self.mac)
    }
}

/// Where heads go besides the user's file: a command, a webhook.
#[async_trait]
pub trait HeadSink: Send + Sync + std::fmt::Debug {
    /// Takes a head. Where this fails or takes long, the next head is tried instead.
    ///
    /// # Errors
    /// A sentence for the host's log.
    async fn export(&self, head: &Head) -> Result<(), String>;
}

/// The file of a project's heads in the user's own directory: JSON lines, the newest last.
#[derive(Clone, Debug)]
pub struct HeadsFile {
    path: PathBuf,
    project: String,
}

impl HeadsFile {
    /// The file for `project` in `dir`, which is made with the first head.
    pub fn new(dir: &Path, project: &str) -> HeadsFile {
        // An id is made of digits and letters. One from elsewhere leads nowhere else.
        let name: String = project
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        HeadsFile {
            path: dir.join(format!("{name}.jsonl")),
            project: project.to_owned(),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its heads, by their records. Lines that are none are left out.
    ///
    /// # Errors
    /// When it is there but can't be read.
    pub fn read(&self) -> Result<Vec<Head>, AuditError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut text = Vec::new();
            self.options()
                .read(true)
                .open(&self.path)?
                .take(FILE_BYTES_MAX.saturating_mul(2))
                .read_to_end(&mut text)?;
            Ok(text)
        };
        let text = match read() {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut heads: Vec<Head> = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .filter(|head: &Head| head.project == self.project && head.code().is_some())
            .collect();
        heads.sort_by_key(|head| head.seq);
        Ok(heads)
    }

    /// Adds a head; it is on disk afterwards.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append(&self, head: &Head) -> Result<(), AuditError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        make_private_dir(dir)?;
        let mut line =
            serde_json::to_vec(head).map_err(|error| self.failed(&std::io::Error::other(error)))?;
        line.push(b'\n');
        let write = || {
            let mut file = self
                .options()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            let before = file.metadata()?.len();
            if before.saturating_add(line.len() as u64) > FILE_BYTES_MAX {
                return self.compact(dir, &line);
            }
            file.write_all(&line)?;
            file.sync_all()?;
            if before == 0 {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Keeps the newer half of the lines and adds one: written beside, then renamed.
    fn compact(&self, dir: &Path, line: &[u8]) -> std::io::Result<()> {
        let text = std::fs::read(&self.path)?;
        let half = text.get(text.len() / 2..).unwrap_or_default();
        let start = half.iter().position(|byte| *byte == b'\n');
        let kept = start.and_then(|end| half.get(end.saturating_add(1)..));
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        file.write_all(kept.unwrap_or_default())?;
        file.write_all(line)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        options
    }

    fn failed(&self, error: &std::io::Error) -> AuditError {
        AuditError::File {
            path: self.path.clone(),
            why: format!("the heads of the audit log can't be kept there: {error}"),
            action: "make it and its directory yours to read and write".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: i64) -> Head {
        Head {
            project: "p".to_owned(),
            seq,
            mac: "0a".repeat(32),
            time_ms: 1_700_000_000_000 + seq,
        }
    }

    #[test]
    fn heads_are_kept_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = HeadsFile::new(&dir.path().join("heads"), "p");
        assert_eq!(file.read().unwrap(), []);
        file.append(&head(1)).unwrap();
        file.append(&head(2)).unwrap();
        assert_eq!(file.read().unwrap(), [head(1), head(2)]);
        // A line cut by a crash, and what is of no use.
        let mut text = std::fs::read(file.path()).unwrap();
        text.extend(b"{\"project\":\"q\",\"seq\":3,\"mac\":\"\",\"time_ms\":1}\n{\"proj\n");
        let full = FILE_BYTES_MAX as usize - 20 - text.len();
        text.extend(std::iter::repeat_n(b'\n', full));
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(file.read().unwrap().len(), 2);
        file.append(&head(3)).unwrap();
        assert_eq!(file.read().unwrap(), [head(3)]);
        assert!(std::fs::metadata(file.path()).unwrap().len() < FILE_BYTES_MAX);
    }

    #[test]
    fn ids_lead_nowhere_else() {
        let file = HeadsFile::new(Path::new("heads"), "../../x");
        assert_eq!(file.path(), Path::new("heads/______x.jsonl"));
    }
}
