//! The key of the log, which lies outside of the database.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::AuditError;

const KEY_BYTES: usize = blake3::KEY_LEN;

/// The user's key, of which each project's own are made.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AuditKey {
    bytes: [u8; KEY_BYTES],
    #[zeroize(skip)]
    path: PathBuf,
}

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditKey")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl AuditKey {
    /// The key's file in the user's state directory.
    pub const FILE: &'static str = "audit.key";

    /// Reads the key in `path`; makes one, and its directory, where there is none.
    ///
    /// # Errors
    /// When it can't be read or made, or others can read it.
    pub fn open(path: &Path) -> Result<AuditKey, AuditError> {
        if let Some(key) = AuditKey::find(path)? {
            return Ok(key);
        }
        let dir = path.parent().unwrap_or(Path::new("."));
        make_private_dir(dir)?;
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| unusable(path, &std::io::Error::other(error)))?;
        let make = || {
            let mut file = tempfile::Builder::new()
                .permissions(std::fs::Permissions::from_mode(0o600))
                .tempfile_in(dir)?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(path) {
                Ok(_) => File::open(dir)?.sync_all().map(|()| true),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
            }
        };
        if make().map_err(|error| unusable(path, &error))? {
            return Ok(AuditKey {
                bytes,
                path: path.to_owned(),
            });
        }
        // Another process was first: its key is the one.
        AuditKey::find(path)?.ok_or_else(|| unusable(path, &ErrorKind::NotFound.into()))
    }

    /// Reads the key in `path`; none where there is no such file.
    ///
    /// # Errors
    /// When it can't be read, or others can read it.
    pub fn find(path: &Path) -> Result<Option<AuditKey>, AuditError> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path);
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path, &error)),
        };
        let refused = |why: &str, action: String| AuditError::File {
            path: path.to_owned(),
            why: why.to_owned(),
            action,
        };
        let meta = file.metadata().map_err(|error| unusable(path, &error))?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            let action = "make it yours, if you know who wrote it".to_owned();
            return Err(refused("the audit key belongs to another user", action));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refused(
                "the audit key can be used by other users",
                format!("take that from them: chmod 600 {}", path.display()),
            ));
        }
        let mut bytes = [0; KEY_BYTES];
        if meta.len() != KEY_BYTES as u64 || file.read_exact(&mut bytes).is_err() {
            return Err(refused(
                "it is no audit key",
                "put the right one in its place, from a copy".to_owned(),
            ));
        }
        Ok(Some(AuditKey {
            bytes,
            path: path.to_owned(),
        }))
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A key of one project for one use. `context` is a text that no other use has.
    pub(super) fn derive(&self, context: &str, project: &str) -> [u8; KEY_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.bytes);
        hasher.update(project.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// A key for tests.
    #[cfg(test)]
    pub(super) fn test(byte: u8) -> AuditKey {
        AuditKey {
            bytes: [byte; KEY_BYTES],
            path: "audit.key".into(),
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> AuditError {
    AuditError::File {
        path: path.to_owned(),
        why: format!("the file can't be used: {error}"),
        action: "make it and its directory yours to read and write".to_owned(),
    }
}

/// Makes a directory for this user only; refuses one that others can use.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), AuditError> {
    let failed = |error: std::io::Error| unusable(dir, &error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let meta = std::fs::symlink_metadata(dir).map_err(failed)?;
    let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
    if ours && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(AuditError::File {
        path: dir.to_owned(),
        why: "it is not a directory of yours alone".to_owned(),
        action: format!("chmod 700 {}, or remove it", dir.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/audit.key");
        assert!(AuditKey::find(&path).unwrap().is_none());
        let made = AuditKey::open(&path).unwrap();
        let read = AuditKey::open(&path).unwrap();
        assert_eq!(made.bytes, read.bytes);
        assert_ne!(made.bytes, [0; 32]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(made.derive("a", "p"), made.derive("b", "p"));
        assert_ne!(made.derive("a", "p"), made.derive("a", "q"));
    }

    #[test]
    fn what_can_not_be_trusted_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        std::fs::write(&path, [1; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = AuditKey::open(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        AuditKey::open(&path).unwrap();
        std::fs::write(&path, [1; 31]).unwrap();
        let error = AuditKey::open(&path).unwrap_err().to_string();
        assert!(error.contains("no audit key"), "{error}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        AuditKey::open(&link).unwrap_err();
    }
}
