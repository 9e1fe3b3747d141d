//! The store: what was fetched, by digest, shared by all projects of a user.
//!
//! ```text
//! sha256/HEX          an artifact, read-only
//! sha256/HEX.d/NAME   what belongs to it: signatures, the registry's manifest
//! tmp/                what is being written
//! aside/              what was found changed
//! lock                held by whoever installs, or collects
//! ```
//!
//! A file is written beside, synced, renamed and its directory synced, so that a name stands
//! for all of its bytes or doesn't exist, whenever the power fails. What is read is hashed
//! each time: what is on a disk may have changed. Functions here block.

mod collect;
mod error;
mod signatures;

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

pub use collect::{Collected, GRACE};
pub use error::StoreError;

use crate::Digest;

/// Bytes of one artifact: many times what the largest components of today have, and no more
/// than is read at once without harm.
pub const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// Bytes of one file beside an artifact: a bundle of signatures has some 10 KiB.
pub const SIDECAR_BYTES_MAX: u64 = 1 << 20;

/// The longest name of such a file.
const SIDECAR_NAME_BYTES_MAX: usize = 64;

/// How exactly it is noted when an artifact was last used: each note is a write.
const USE_NOTED: Duration = Duration::from_secs(60 * 60);

/// The store.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    dir: PathBuf,
    size_max: u64,
}

/// Whoever has one installs: nothing is collected meanwhile. It ends with its process, however
/// that ends.
#[derive(Debug)]
pub struct Lease {
    _lock: File,
}

impl ArtifactStore {
    /// The store in a directory, which is made if there is none; `size_max` is the room for
    /// all that is in it, in bytes.
    ///
    /// # Errors
    /// When the directory can't be made or used.
    pub fn open(dir: &Path, size_max: u64) -> Result<ArtifactStore, StoreError> {
        let store = ArtifactStore {
            dir: dir.to_owned(),
            size_max,
        };
        for dir in [&store.dir, &store.blobs(), &store.tmp(), &store.aside()] {
            make_dir(dir).map_err(|error| StoreError::io("made", dir, error))?;
        }
        Ok(store)
    }

    /// Keeps others from collecting, until it is dropped. Waits for one who collects.
    ///
    /// # Errors
    /// When the lock can't be had.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let lock = self.lock_file()?;
        lock.lock_shared()
            .map_err(|error| StoreError::io("locked", &self.lock_path(), error))?;
        Ok(Lease { _lock: lock })
    }

    /// Where an artifact is, or would be. Whoever reads the file hashes what was read.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// An artifact; nothing where it isn't there.
    ///
    /// # Errors
    /// When it was changed, which puts it aside, or can't be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let Some((file, bytes)) = read(&path, ARTIFACT_BYTES_MAX)? else {
            return Ok(None);
        };
        // One byte more than was allowed is read of a file that is too large.
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(self.put_aside(digest, found));
        }
        note_use(&file);
        Ok(Some(bytes))
    }

    /// Whether an artifact is there, with the bytes that it was stored with. All of it is read,
    /// a part at a time.
    ///
    /// # Errors
    /// When it was changed, which puts it aside, or can't be read.
    pub fn holds(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.path(digest);
        let Some(file) = open(&path)? else {
            return Ok(false);
        };
        let (found, length) = Digest::of_reader(&file, ARTIFACT_BYTES_MAX)
            .map_err(|error| StoreError::io("read", &path, error))?;
        if found != *digest || length > ARTIFACT_BYTES_MAX {
            return Err(self.put_aside(digest, found));
        }
        note_use(&file);
        Ok(true)
    }

    /// Notes that artifacts are needed still, without reading them: they are not collected for
    /// a while. One that isn't there is left out.
    pub fn note_needed<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        for digest in digests {
            if let Ok(file) = File::open(self.path(digest)) {
                note_use(&file);
            }
        }
    }

    /// Puts an artifact in, if it isn't there.
    ///
    /// # Errors
    /// When there is no room, or it can't be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let _lease = self.lease()?;
        match self.holds(&digest) {
            Ok(true) => return Ok(digest),
            // One that was changed is out of the way by now.
            Ok(false) | Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.make_room(bytes.len() as u64)?;
        self.write(&self.path(&digest), bytes)?;
        Ok(digest)
    }

    /// A file that belongs to an artifact. Nobody hashes it: what is in it proves itself, as a
    /// signature does, or is not to be believed.
    ///
    /// # Errors
    /// When the name is none, or the file can't be read.
    pub fn sidecar(&self, digest: &Digest, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.sidecar_path(digest, name)?;
        let Some((_, bytes)) = read(&path, SIDECAR_BYTES_MAX)? else {
            return Ok(None);
        };
        if bytes.len() as u64 > SIDECAR_BYTES_MAX {
            return Err(StoreError::SidecarTooLarge { path });
        }
        Ok(Some(bytes))
    }

    /// Puts a file beside an artifact, in place of one of the same name.
    ///
    /// # Errors
    /// When the name is none, there is no room, or it can't be written.
    pub fn put_sidecar(&self, digest: &Digest, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.sidecar_path(digest, name)?;
        if bytes.len() as u64 > SIDECAR_BYTES_MAX {
            return Err(StoreError::SidecarTooLarge { path });
        }
        let _lease = self.lease()?;
        self.make_room(bytes.len() as u64)?;
        let dir = self.sidecars(digest);
        make_dir(&dir).map_err(|error| StoreError::io("made", &dir, error))?;
        sync_dir(&self.blobs())?;
        self.write(&path, bytes)
    }

    /// Bytes of all that is in it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        let mut size = 0_u64;
        collect::each(&self.blobs(), |entry| {
            if entry.is_dir {
                return collect::each(&entry.path, |inner| {
                    size = size.saturating_add(inner.bytes);
                    Ok(())
                });
            }
            size = size.saturating_add(entry.bytes);
            Ok(())
        })?;
        Ok(size)
    }

    fn make_room(&self, bytes: u64) -> Result<(), StoreError> {
        let used = self.size()?;
        if bytes <= ARTIFACT_BYTES_MAX && used.saturating_add(bytes) <= self.size_max {
            return Ok(());
        }
        Err(StoreError::Full {
            dir: self.dir.clone(),
            bytes,
            used,
            size_max: self.size_max,
        })
    }

    /// Writes a file so that it is there with all of its bytes, or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let io = |error| StoreError::io("written", path, error);
        let mut file = NamedTempFile::new_in(self.tmp()).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        let mut permissions = file.as_file().metadata().map_err(io)?.permissions();
        permissions.set_readonly(true);
        file.as_file().set_permissions(permissions).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    /// Takes an artifact that was changed out of the way, for whoever wants to see why.
    fn put_aside(&self, digest: &Digest, found: Digest) -> StoreError {
        let aside = self.aside().join(digest.hex());
        match fs::rename(self.path(digest), &aside) {
            Ok(()) => StoreError::Changed {
                digest: *digest,
                found,
                aside,
            },
            Err(error) => StoreError::io("put aside", &self.path(digest), error),
        }
    }

    fn sidecar_path(&self, digest: &Digest, name: &str) -> Result<PathBuf, StoreError> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = name.len() <= SIDECAR_NAME_BYTES_MAX
            && name.bytes().next().is_some_and(is_word)
            && name
                .bytes()
                .all(|byte| is_word(byte) || b".-".contains(&byte));
        if !is_name {
            return Err(StoreError::Name(name.chars().take(80).collect()));
        }
        Ok(self.sidecars(digest).join(name))
    }

    fn sidecars(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex() + SIDECARS)
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("sha256")
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn aside(&self) -> PathBuf {
        self.dir.join("aside")
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn lock_file(&self) -> Result<File, StoreError> {
        let path = self.lock_path();
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::io("opened", &path, error))
    }
}

/// What the directory of an artifact's files has behind its digits.
const SIDECARS: &str = ".d";

/// Opens a file; nothing where there is none.
fn open(path: &Path) -> Result<Option<File>, StoreError> {
    let io = |error| StoreError::io("read", path, error);
    // Looked at first: to open a pipe would be to wait for somebody at its other end.
    match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_file() => {}
        Ok(_) => return Err(StoreError::NoFile(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
    }
}

/// Reads a file, and a byte more than it may have; nothing where there is none.
fn read(path: &Path, max: u64) -> Result<Option<(File, Vec<u8>)>, StoreError> {
    let io = |error| StoreError::io("read", path, error);
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let size = file.metadata().map_err(io)?.len().min(max);
    let mut bytes = Vec::new();
    bytes.reserve_exact(usize::try_from(size).unwrap_or(0).saturating_add(1));
    (&file)
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(Some((file, bytes)))
}

/// Notes that an artifact was used. That it can't be noted makes it look older, no more.
fn note_use(file: &File) {
    let now = SystemTime::now();
    let noted = file.metadata().and_then(|metadata| metadata.modified());
    if noted.is_ok_and(|noted| now.duration_since(noted).is_ok_and(|age| age > USE_NOTED)) {
        let _ = file.set_modified(now);
    }
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::io("synced", dir, error))
}

#[cfg(test)]
mod tests;
