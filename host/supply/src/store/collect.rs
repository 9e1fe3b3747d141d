//! What nobody uses any more goes.

use std::fs::{self, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ArtifactStore, SIDECARS, StoreError, sync_dir};
use crate::Digest;

/// How long an artifact must not have been used before it is collected. The store knows one
/// project's plugins when it collects; those of the others are the ones in use.
pub const GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Artifacts that went.
    pub artifacts: u64,
    /// Bytes that are free now, those of unfinished and changed files included.
    pub bytes: u64,
    /// Artifacts that stayed.
    pub kept: u64,
    /// Whether nothing was done as somebody installs at this moment.
    pub busy: bool,
}

/// A thing in a directory.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) is_dir: bool,
    pub(super) modified: SystemTime,
}

impl ArtifactStore {
    /// Removes what is not to be kept and was not used for [`GRACE`], and what writers left
    /// that were stopped. While somebody installs it does nothing.
    ///
    /// # Errors
    /// When something can't be removed; the rest stays for the next time.
    pub fn collect(&self, keep: impl Fn(&Digest) -> bool) -> Result<Collected, StoreError> {
        self.collect_unused_for(GRACE, keep)
    }

    /// The same after another time without use.
    ///
    /// # Errors
    /// Those of [`collect`](Self::collect).
    pub fn collect_unused_for(
        &self,
        grace: Duration,
        keep: impl Fn(&Digest) -> bool,
    ) -> Result<Collected, StoreError> {
        let lock = self.lock_file()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(Collected {
                    busy: true,
                    ..Collected::default()
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("locked", &self.lock_path(), error));
            }
        }
        let now = SystemTime::now();
        // A time in the future is none's honest use; it is not older than that.
        let is_old = |entry: &Entry| {
            let age = now.duration_since(entry.modified).unwrap_or_default();
            age >= grace
        };
        let mut collected = Collected::default();
        // Nobody writes: whoever does has a lease.
        each(&self.tmp(), |entry| {
            collected.bytes += remove(&entry)?;
            Ok(())
        })?;
        each(&self.aside(), |entry| {
            if is_old(&entry) {
                collected.bytes += remove(&entry)?;
            }
            Ok(())
        })?;
        each(&self.blobs(), |entry| {
            let hex = entry.name.strip_suffix(SIDECARS).unwrap_or(&entry.name);
            // What has another name is not of this store.
            let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else {
                return Ok(());
            };
            if entry.is_dir {
                // Its artifact's turn may be before or after.
                if !self.path(&digest).exists() && !keep(&digest) && is_old(&entry) {
                    collected.bytes += remove(&entry)?;
                }
            } else if keep(&digest) || !is_old(&entry) {
                collected.kept += 1;
            } else {
                collected.artifacts += 1;
                collected.bytes += remove(&entry)?;
                let beside = self.sidecars(&digest);
                if let Some(beside) = look(&beside)? {
                    collected.bytes += remove(&beside)?;
                }
            }
            Ok(())
        })?;
        sync_dir(&self.blobs())?;
        Ok(collected)
    }
}

/// Does something with each thing in a directory; nothing where there is no directory.
pub(super) fn each(
    dir: &Path,
    mut work: impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let io = |error| StoreError::io("read", dir, error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    for entry in entries {
        // What went meanwhile is not there.
        if let Some(entry) = look(&entry.map_err(io)?.path())? {
            work(entry)?;
        }
    }
    Ok(())
}

fn look(path: &Path) -> Result<Option<Entry>, StoreError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let name = path.file_name().unwrap_or_default();
    Ok(Some(Entry {
        name: name.to_string_lossy().into_owned(),
        bytes: if found.is_dir() { 0 } else { found.len() },
        is_dir: found.is_dir(),
        modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        path: path.to_owned(),
    }))
}

/// Removes a thing; how many bytes it had.
fn remove(entry: &Entry) -> Result<u64, StoreError> {
    let mut bytes = entry.bytes;
    let removed = if entry.is_dir {
        each(&entry.path, |inner| {
            bytes = bytes.saturating_add(inner.bytes);
            Ok(())
        })?;
        fs::remove_dir_all(&entry.path)
    } else {
        fs::remove_file(&entry.path)
    };
    match removed {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::io("removed", &entry.path, error)),
    }
}
