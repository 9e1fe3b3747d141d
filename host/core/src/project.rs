//! The project: the directory of `portreeve.toml`, and the one process that owns it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// The operator's file.
pub const MANIFEST: &str = "portreeve.toml";

/// What the operator has agreed to.
pub const LOCKFILE: &str = "portreeve.lock";

/// Longest path that a Unix socket can have on every system that we know (104 bytes on
/// BSD and macOS, with its end).
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Most that is read of what an owner says of itself, in bytes.
const OWNER_BYTES_MAX: u64 = 512;

/// Files of the state are never reached through a link, which a project from elsewhere could
/// bring along.
pub(crate) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Largest lockfile that is read, in bytes: it says more of each plugin.
const LOCKFILE_BYTES_MAX: u64 = 16 << 20;

/// Why a project can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is none.
    #[error(
        "no {MANIFEST} in {} or above it; run `portreeve init` where the project shall be, or name it with --project", .0.display()
    )]
    NotFound(PathBuf),
    /// The named directory has none.
    #[error("no {MANIFEST} in {}; run `portreeve init` there, or name another directory", .0.display())]
    NotAProject(PathBuf),
    /// A file of it can't be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It was found, not named, and is somebody else's.
    #[error(
        "{} belongs to another user, who would decide what runs here; name it with --project if you trust them", .0.display()
    )]
    Foreign(PathBuf),
    /// Its state directory can't be trusted.
    #[error(transparent)]
    State(#[from] portreeve_runtime::Error),
    /// A file is larger than any real one.
    #[error("{}: it has more than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read of one.
        bytes_max: u64,
    },
}

/// [`Project::path_of`] for the directory of a project.
pub(crate) fn path_of(dir: &Path, source: &str) -> PathBuf {
    let mut path = dir.to_owned();
    let mut rest = Path::new(source).components().peekable();
    while let Some(step @ (Component::CurDir | Component::ParentDir)) = rest.peek() {
        if *step == Component::ParentDir {
            path.pop();
        }
        rest.next();
    }
    path.extend(rest);
    path
}

/// The directory of a `portreeve.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    dir: PathBuf,
}

impl Project {
    /// The project in `dir`.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(dir: &Path) -> Result<Project, ProjectError> {
        if !dir.join(MANIFEST).is_file() {
            return Err(ProjectError::NotAProject(dir.to_owned()));
        }
        let dir = dir.canonicalize().map_err(|error| ProjectError::File {
            path: dir.to_owned(),
            error,
        })?;
        Ok(Project { dir })
    }

    /// The project that `start` lies in. One that another user (but root) put there is not
    /// taken.
    ///
    /// # Errors
    /// When neither it nor a directory above has one.
    pub fn search(start: &Path) -> Result<Project, ProjectError> {
        let dir = start
            .ancestors()
            .find(|dir| dir.join(MANIFEST).is_file())
            .ok_or_else(|| ProjectError::NotFound(start.to_owned()))?;
        let us = rustix::process::geteuid().as_raw();
        for path in [dir.to_owned(), dir.join(MANIFEST)] {
            let owner = std::fs::metadata(&path).map(|meta| meta.uid());
            if !owner.is_ok_and(|owner| owner == us || owner == 0) {
                return Err(ProjectError::Foreign(path));
            }
        }
        Project::at(dir)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a path in its manifest stands for, as people write it: without `..` where that is
    /// known to be the same, since the project's own directory has no links.
    pub fn path_of(&self, source: &str) -> PathBuf {
        path_of(&self.dir, source)
    }

    /// Its `portreeve.toml`.
    pub fn manifest_path(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    /// Where its state lies.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join(".portreeve")
    }

    /// Where its logs lie.
    pub fn logs_dir(&self) -> PathBuf {
        self.state_dir().join("logs")
    }

    /// Its `portreeve.lock`.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCKFILE)
    }

    /// The text of its `portreeve.toml`.
    ///
    /// # Errors
    /// When it can't be read or is too large.
    pub fn read_manifest(&self) -> Result<String, ProjectError> {
        read_text(&self.manifest_path(), MANIFEST_BYTES_MAX)
    }

    /// The text of its `portreeve.lock`, if it has one.
    ///
    /// # Errors
    /// When it can't be read or is too large.
    pub fn read_lock(&self) -> Result<Option<String>, ProjectError> {
        let path = self.lock_path();
        if !path.exists() {
            return Ok(None);
        }
        read_text(&path, LOCKFILE_BYTES_MAX).map(Some)
    }

    /// Replaces its `portreeve.toml`: written beside, on disk, then renamed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_manifest(&self, text: &str) -> Result<(), ProjectError> {
        self.replace(&self.manifest_path(), text)
    }

    /// Replaces its `portreeve.lock` in the same way.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_lock(&self, text: &str) -> Result<(), ProjectError> {
        self.replace(&self.lock_path(), text)
    }

    fn replace(&self, path: &Path, text: &str) -> Result<(), ProjectError> {
        let write = || {
            // As the operator's file is: one can be read by whoever reads the other.
            let mode = std::fs::metadata(path)
                .or_else(|_| std::fs::metadata(self.manifest_path()))?
                .permissions();
            replace(path, mode, text.as_bytes())
        };
        write().map_err(|error| ProjectError::File {
            path: path.to_owned(),
            error,
        })
    }

    /// The database of its state.
    pub fn database(&self) -> PathBuf {
        self.state_dir().join("state.db")
    }

    /// Becomes the owner of the project, unless another process is.
    ///
    /// The lock is the system's: it ends with its process, however that ends.
    ///
    /// # Errors
    /// When the lock file can't be used.
    pub fn own(&self, role: Role) -> Result<Ownership, ProjectError> {
        let dir = self.state_dir();
        portreeve_runtime::make_private_dir(&dir)?;
        let path = self.owner_lock_path();
        let own = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(NOFOLLOW)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {
                    let sockets = Sockets {
                        role,
                        mcp: self.socket_path("host.sock"),
                        control: self.socket_path("control.sock"),
                    };
                    file.set_len(0)?;
                    file.write_all(&sockets.to_bytes())?;
                    // Whoever left them is gone: the lock says so.
                    for socket in [&sockets.mcp, &sockets.control] {
                        match std::fs::remove_file(socket) {
                            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                                return Err(error);
                            }
                            _ => {}
                        }
                    }
                    Ok(Ownership::Mine(OwnerLock {
                        sockets,
                        _file: file,
                    }))
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let mut written = Vec::new();
                    file.rewind()?;
                    file.take(OWNER_BYTES_MAX).read_to_end(&mut written)?;
                    Ok(Ownership::Other(Sockets::from_bytes(&written)))
                }
                Err(std::fs::TryLockError::Error(error)) => Err(error),
            }
        };
        own().map_err(|error| ProjectError::File {
            path: path.clone(),
            error,
        })
    }

    /// What the last owner has said of itself, whether it still runs or not.
    ///
    /// # Errors
    /// When the lock file can't be read.
    pub fn last_owner(&self) -> Result<Option<Sockets>, ProjectError> {
        let path = self.owner_lock_path();
        let read = || {
            let mut written = Vec::new();
            let mut options = OpenOptions::new();
            let file = options.read(true).custom_flags(NOFOLLOW).open(&path)?;
            file.take(OWNER_BYTES_MAX).read_to_end(&mut written)?;
            Ok(Sockets::from_bytes(&written))
        };
        read().map_err(|error| ProjectError::File {
            path: path.clone(),
            error,
        })
    }

    fn owner_lock_path(&self) -> PathBuf {
        self.state_dir().join("owner.lock")
    }

    /// In the state's directory; beside other temporary files where that path is too long
    /// for a socket.
    fn socket_path(&self, name: &str) -> PathBuf {
        let path = self.state_dir().join(name);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return path;
        }
        let mut name = [0; 8];
        // Without randomness the process id still makes the name ours.
        if getrandom::fill(&mut name).is_err() {
            name = u64::from(std::process::id()).to_be_bytes();
        }
        std::env::temp_dir().join(format!("portreeve-{:016x}.sock", u64::from_be_bytes(name)))
    }
}

/// Replaces a file whole: written beside, on disk, then renamed. Beside is always the same name,
/// so that what a process left that was killed is in nobody's way.
pub(crate) fn replace(path: &Path, mode: Permissions, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(NOFOLLOW)
        .open(&beside)?;
    file.set_permissions(mode)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// The text of a file of bounded size.
fn read_text(path: &Path, bytes_max: u64) -> Result<String, ProjectError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            file.take(bytes_max.saturating_add(1))
                .read_to_string(&mut text)
        })
        .map_err(|error| ProjectError::File {
            path: path.to_owned(),
            error,
        })?;
    if text.len() as u64 > bytes_max {
        return Err(ProjectError::TooLarge {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(text)
}

/// Who owns a project.
#[derive(Debug)]
pub enum Ownership {
    /// This process, while it keeps the lock.
    Mine(OwnerLock),
    /// Another process, and where it listens; nothing while it is just starting.
    Other(Option<Sockets>),
}

/// What a process owns its project for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serving a client that started it, and others, until they leave.
    Serve,
    /// Serving whoever connects, until it is asked to end. Whoever watches over it starts it
    /// again.
    Listen,
    /// One command; it ends by itself.
    Command,
}

/// What an owner is and where it listens, as the lock file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// What the process owns the project for.
    pub role: Role,
    /// Where it speaks MCP, if it serves.
    pub mcp: PathBuf,
    /// Where it takes what commands ask for.
    pub control: PathBuf,
}

impl Sockets {
    /// The role and the paths, each ended by a zero, which no path has.
    fn to_bytes(&self) -> Vec<u8> {
        let role: &[u8] = match self.role {
            Role::Serve => b"serve",
            Role::Listen => b"listen",
            Role::Command => b"command",
        };
        let fields = [
            role,
            self.mcp.as_os_str().as_bytes(),
            self.control.as_os_str().as_bytes(),
        ];
        let mut bytes = Vec::new();
        for field in fields {
            bytes.extend_from_slice(field);
            bytes.push(0);
        }
        bytes
    }

    /// None where it is not written to its end yet.
    fn from_bytes(bytes: &[u8]) -> Option<Sockets> {
        let mut fields = bytes.split_inclusive(|byte| *byte == 0).map_while(|field| {
            let (_, field) = field.split_last().filter(|(end, _)| **end == 0)?;
            Some(field)
        });
        let role = match fields.next()? {
            b"serve" => Role::Serve,
            b"listen" => Role::Listen,
            b"command" => Role::Command,
            _ => return None,
        };
        let mut path = || Some(PathBuf::from(std::ffi::OsStr::from_bytes(fields.next()?)));
        Some(Sockets {
            role,
            mcp: path()?,
            control: path()?,
        })
    }
}

/// Keeps a project; dropping it gives it up.
#[derive(Debug)]
pub struct OwnerLock {
    sockets: Sockets,
    _file: File,
}

impl OwnerLock {
    /// Where the owner listens.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Left behind, they would be removed by the next owner.
        for socket in [&self.sockets.mcp, &self.sockets.control] {
            let _ = std::fs::remove_file(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "schema = 1\n").unwrap();
        let project = Project::at(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn it_is_found_from_below() {
        let (_dir, project) = project();
        let below = project.dir().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(Project::search(&below).unwrap(), project);
        let error = Project::at(&below).unwrap_err().to_string();
        assert!(error.contains("portreeve init"), "{error}");
    }

    /// A project from elsewhere can bring links along.
    #[test]
    fn state_that_is_a_link_is_refused() {
        let (_dir, project) = project();
        let victim = project.dir().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        portreeve_runtime::make_private_dir(&project.logs_dir()).unwrap();
        portreeve_runtime::make_private_dir(&project.state_dir()).unwrap();
        std::os::unix::fs::symlink(&victim, project.state_dir().join("owner.lock")).unwrap();
        std::os::unix::fs::symlink(&victim, project.logs_dir().join("guest.log")).unwrap();
        assert!(project.own(Role::Serve).is_err());
        assert!(crate::log::open_rotating(&project.logs_dir(), "guest.log").is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");

        let elsewhere = project.dir().join("elsewhere");
        std::fs::rename(project.state_dir(), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, project.state_dir()).unwrap();
        assert!(
            project
                .own(Role::Serve)
                .unwrap_err()
                .to_string()
                .contains("link")
        );
        assert!(crate::log::open_rotating(&project.logs_dir(), "host.log").is_err());
    }

    #[test]
    fn paths_of_the_manifest_are_shown_clean() {
        for (source, expected) in [
            ("a.wasm", "/w/p/a.wasm"),
            ("./a", "/w/p/a"),
            ("../../plugins/a", "/plugins/a"),
            (".././b/../a", "/w/b/../a"),
            ("../../../a", "/a"),
            ("/opt/a.wasm", "/opt/a.wasm"),
            (".", "/w/p"),
        ] {
            assert_eq!(
                path_of(Path::new("/w/p"), source),
                Path::new(expected),
                "{source}"
            );
        }
    }

    #[test]
    fn one_owner_at_a_time() {
        let (_dir, project) = project();
        let Ownership::Mine(lock) = project.own(Role::Serve).unwrap() else {
            panic!("nobody else owns it");
        };
        let Ownership::Other(Some(other)) = project.own(Role::Command).unwrap() else {
            panic!("it is owned");
        };
        assert_eq!(&other, lock.sockets());
        assert_eq!(other.role, Role::Serve);
        drop(lock);
        assert!(matches!(
            project.own(Role::Serve).unwrap(),
            Ownership::Mine(_)
        ));
    }

    #[test]
    fn a_socket_path_fits_even_in_a_deep_project() {
        let (_dir, project) = project();
        let deep = project.dir().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        std::fs::write(deep.join(MANIFEST), "schema = 1\n").unwrap();
        let Ownership::Mine(lock) = Project::at(&deep).unwrap().own(Role::Serve).unwrap() else {
            panic!("nobody else owns it");
        };
        for path in [&lock.sockets().mcp, &lock.sockets().control] {
            assert!(path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        }
    }

    #[test]
    fn what_an_owner_says_is_read_whole_or_not_at_all() {
        let sockets = Sockets {
            role: Role::Command,
            mcp: "/a b/host.sock".into(),
            control: "/c/control.sock".into(),
        };
        let bytes = sockets.to_bytes();
        assert_eq!(Sockets::from_bytes(&bytes), Some(sockets));
        for end in 0..bytes.len() {
            assert_eq!(Sockets::from_bytes(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_manifest_is_replaced_whole() {
        let (_dir, project) = project();
        project.write_manifest("schema = 1\n# new\n").unwrap();
        assert_eq!(project.read_manifest().unwrap(), "schema = 1\n# new\n");
        let left: Vec<_> = std::fs::read_dir(project.dir()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
