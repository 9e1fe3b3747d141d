//! Keys in files of the user's own: outside of the database that they protect.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Length of a key, in bytes.
pub const KEY_BYTES: usize = 32;

/// A key; gone from memory when it is dropped.
pub type Key = Zeroizing<[u8; KEY_BYTES]>;

/// Why a key can't be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no key in {}", .0.display())]
    Missing(PathBuf),
    /// It can't be trusted, or is none.
    #[error("the key in {} {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Reads a key.
///
/// # Errors
/// When there is none, or others can read or have put it there.
pub fn read_key(path: &Path) -> Result<Key, KeyError> {
    let unfit = |why: String| KeyError::Unfit {
        path: path.to_owned(),
        why,
    };
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(KeyError::Missing(path.to_owned()));
        }
        Err(error) => return Err(unfit(format!("can't be read: {error}"))),
    };
    let meta = file
        .metadata()
        .map_err(|error| unfit(format!("can't be read: {error}")))?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(unfit("belongs to another user".to_owned()));
    }
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        return Err(unfit(format!(
            "can be used by other users; make it yours alone: chmod 600 {}",
            path.display()
        )));
    }
    let mut key = Key::default();
    let mut more = [0];
    let whole = file.read_exact(&mut *key).is_ok() && file.read(&mut more).is_ok_and(|n| n == 0);
    if !whole {
        return Err(unfit(format!(
            "has not {KEY_BYTES} bytes: put back the one that was there"
        )));
    }
    Ok(key)
}

/// Makes a new key, on disk before this returns. There must be none.
///
/// # Errors
/// When the file is there, or can't be made.
pub fn make_key(path: &Path) -> Result<Key, KeyError> {
    let unfit = |error: std::io::Error| KeyError::Unfit {
        path: path.to_owned(),
        why: format!("can't be made: {error}"),
    };
    let mut key = Key::default();
    getrandom::fill(&mut *key).map_err(|error| unfit(std::io::Error::other(error)))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(unfit)?;
    let mut file = tempfile::Builder::new()
        .prefix(".key-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(unfit)?;
    file.write_all(&*key).map_err(unfit)?;
    file.as_file().sync_all().map_err(unfit)?;
    file.persist_noclobber(path)
        .map_err(|error| unfit(error.error))?;
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(unfit)?;
    Ok(key)
}

/// Reads a key, or makes it where there is none.
///
/// # Errors
/// See [`read_key`] and [`make_key`].
pub fn read_or_make_key(path: &Path) -> Result<Key, KeyError> {
    match read_key(path) {
        Err(KeyError::Missing(_)) => match make_key(path) {
            Ok(key) => Ok(key),
            // Another process was faster.
            Err(error) => read_key(path).map_err(|_| error),
        },
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_this_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/a.key");
        assert!(matches!(read_key(&path), Err(KeyError::Missing(_))));
        let key = read_or_make_key(&path).unwrap();
        assert_eq!(*read_or_make_key(&path).unwrap(), *key);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(make_key(&path).is_err());
        assert_eq!(*read_key(&path).unwrap(), *key);
    }

    #[test]
    fn keys_that_others_can_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        make_key(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_key(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(read_or_make_key(&path).is_err());
        let link = dir.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read_key(&link), Err(KeyError::Unfit { .. })));
    }
}
