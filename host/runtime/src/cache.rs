//! The cache of compiled components on disk.
//!
//! What lies there is native code that this process will run, so it is believed only under
//! three conditions: the directory belongs to this user and nobody else can write to it;
//! the file's MAC, under a key that lies elsewhere, covers its name and its bytes; and what
//! is mapped is the file that was checked, through the same descriptor. Anything else is
//! compiled anew. Files are replaced only by rename.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::Error;

const KEY_BYTES: usize = blake3::KEY_LEN;

/// Why the cache gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Miss {
    /// There is nothing.
    #[error("there is none")]
    Absent,
    /// There is something, but not what this host wrote.
    #[error("it can't be believed: {0}")]
    Unbelievable(String),
    /// It is for another engine, or for none that this host would make.
    #[error("it does not fit this host: {0}")]
    Unfit(String),
}

/// A directory of compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    /// Bytes that all files together may have; the least recently written go first.
    bytes_max: u64,
}

impl Cache {
    /// Opens the cache in `dir` with the key in `key_file`; makes both where they are
    /// missing.
    pub(crate) fn open(dir: &Path, key_file: &Path, bytes_max: u64) -> Result<Cache, Error> {
        make_private_dir(dir)?;
        let parent = key_file.parent().unwrap_or(Path::new("."));
        make_private_dir(parent)?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if real(parent).starts_with(real(dir)) {
            return Err(Error::Untrusted {
                path: key_file.to_owned(),
                why: "lies inside the cache whose files it authenticates".to_owned(),
                action: "name a place outside of it".to_owned(),
            });
        }
        Ok(Cache {
            dir: dir.to_owned(),
            key: read_or_make_key(key_file)?,
            bytes_max,
        })
    }

    /// The component stored under `name`.
    ///
    /// # Errors
    /// When there is none, or none that can be believed, or it does not fit the engine.
    pub(crate) fn load(&self, engine: &Engine, name: &str) -> Result<Component, Miss> {
        let mut file = match File::open(self.code_path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Miss::Absent),
            Err(error) => return Err(Miss::Unbelievable(error.to_string())),
        };
        match self.authentic(&mut file, name) {
            Ok(true) => map(engine, &file).map_err(|error| Miss::Unfit(format!("{error:#}"))),
            Ok(false) => Err(Miss::Unbelievable("it was changed on disk".to_owned())),
            Err(error) => Err(Miss::Unbelievable(error.to_string())),
        }
    }

    fn authentic(&self, file: &mut File, name: &str) -> std::io::Result<bool> {
        let meta = file.metadata()?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Ok(false);
        }
        let mut stored = [0; blake3::OUT_LEN];
        match File::open(self.mac_path(name)) {
            Ok(mut file) => file.read_exact(&mut stored)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        // `blake3::Hash` compares in constant time.
        Ok(self.mac(name, file)? == blake3::Hash::from_bytes(stored))
    }

    fn mac(&self, name: &str, mut code: impl Read) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update_reader(&mut code)?;
        Ok(hasher.finalize())
    }

    /// Keeps `code` under `name`, on disk before this returns.
    pub(crate) fn store(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        let mac = self.mac(name, code)?;
        // The MAC first: between the two renames a reader sees an old file under a new
        // MAC, which is a miss.
        self.replace(&self.mac_path(name), mac.as_bytes())?;
        self.replace(&self.code_path(name), code)?;
        self.prune(name);
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes the oldest files, but for those of `kept`, until the rest is small enough,
    /// and what a killed process left behind.
    fn prune(&self, kept: &str) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let meta = entry.metadata().ok()?;
                meta.is_file()
                    .then(|| (meta.modified().ok(), meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (written, bytes, path) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let forgotten = name.starts_with(".new-")
                && written
                    .and_then(|written| written.elapsed().ok())
                    .is_some_and(|age| age.as_secs() > 3_600);
            let surplus = total > self.bytes_max && !name.starts_with(kept);
            if (forgotten || surplus) && std::fs::remove_file(&path).is_ok() {
                total = total.saturating_sub(bytes);
            }
        }
    }

    fn code_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.cwasm"))
    }

    fn mac_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.mac"))
    }
}

/// Maps the file behind the descriptor that was checked.
#[expect(
    unsafe_code,
    reason = "wasmtime can't know where native code comes from; the MAC says that this host made it"
)]
fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    if cfg!(target_os = "linux") {
        use std::os::fd::AsRawFd;
        // Opens the descriptor's own file, whatever its name stands for by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the bytes are the output of `Engine::precompile_component` of this
        // version, authenticated by a key that only this user has; files here are never
        // written to in place.
        return unsafe { Component::deserialize_file(engine, path) };
    }
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut bytes, 0)?;
    // SAFETY: as above.
    unsafe { Component::deserialize(engine, bytes) }
}

/// Makes `dir` with mode 0700, or refuses one that is not this user's alone. A link to a
/// directory is refused, too.
///
/// # Errors
/// When it can't be made, or can't be trusted.
pub fn make_private_dir(dir: &Path) -> Result<(), Error> {
    let setup = |error| Error::Setup {
        what: format!("the directory {} can't be used", dir.display()),
        error,
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    match made {
        // What is there instead is said below.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.map_err(setup)?,
    }
    let meta = std::fs::symlink_metadata(dir).map_err(setup)?;
    let problem = if !meta.is_dir() {
        "is not a directory (a link to one is not followed)"
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if meta.mode() & 0o077 != 0 {
        "can be used by other users"
    } else {
        return Ok(());
    };
    Err(Error::Untrusted {
        path: dir.to_owned(),
        why: problem.to_owned(),
        action: format!(
            "make it yours alone (chmod 700 {0}) or remove it",
            dir.display()
        ),
    })
}

fn read_or_make_key(path: &Path) -> Result<[u8; KEY_BYTES], Error> {
    let setup = |error| Error::Setup {
        what: format!("the cache key {} can't be used", path.display()),
        error,
    };
    let open = || {
        OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
    };
    match open() {
        Ok(file) => return read_key(path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(setup(error)),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| setup(std::io::Error::other(error)))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(setup)?;
    file.write_all(&key).map_err(setup)?;
    file.as_file().sync_all().map_err(setup)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        // Another process was first: its key is the one.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            read_key(path, open().map_err(setup)?)
        }
        Err(error) => Err(setup(error.error)),
    }
}

fn read_key(path: &Path, mut file: File) -> Result<[u8; KEY_BYTES], Error> {
    let untrusted = |why: &str| Error::Untrusted {
        path: path.to_owned(),
        why: why.to_owned(),
        action: "remove it; compiled components are then compiled anew".to_owned(),
    };
    let meta = file.metadata().map_err(|error| Error::Setup {
        what: format!("the cache key {} can't be used", path.display()),
        error,
    })?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted("belongs to another user"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(untrusted("can be read by other users"));
    }
    if meta.len() != KEY_BYTES as u64 {
        return Err(untrusted("is no key"));
    }
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key)
        .map_err(|_| untrusted("is no key"))?;
    Ok(key)
}
