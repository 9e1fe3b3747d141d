//! Directories of the operator's choosing, as `wasi:filesystem`: a wrapper of our own, in place
//! of wasmtime's. The call's [`DirectorySource`] decides at each use, also of a handle or a
//! stream that the guest has kept; what a path leads to is looked at on the opened handle.
//!
//! Paths are resolved by cap-std beneath the handle of a directory: no `..`, no absolute path
//! and no link leads out of it, whatever is renamed meanwhile.

mod errors;
mod handle;
mod host;
#[cfg(test)]
mod model;
mod streams;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt as _};
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::filesystem::wasi::filesystem::{preopens, types};
use crate::bindings::portreeve::directories::failures::Host;
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

#[expect(unreachable_pub, reason = "the generated bindings name them")]
pub use {errors::Stop, handle::Handle, streams::Entries};

/// A directory that is mounted in a call.
#[derive(Debug)]
pub struct Mount {
    /// Where the guest sees it.
    pub path: String,
    /// Which directory it is, in the words of the grant: another one under the same path is
    /// another grant.
    pub from: String,
    dir: Dir,
    device: u64,
}

impl Mount {
    /// Mounts an opened directory.
    ///
    /// # Errors
    /// It is none, or one of a file system in which files are doors to the kernel.
    pub fn new(path: &str, from: &str, dir: std::fs::File) -> std::io::Result<Mount> {
        if handle::is_of_kernel(&dir)? {
            return Err(std::io::Error::other(
                "what lies there is no files, but the kernel's own (/proc, /sys)",
            ));
        }
        let dir = Dir::from_std_file(dir);
        let found = dir.dir_metadata()?;
        if !found.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        Ok(Mount {
            path: path.to_owned(),
            from: from.to_owned(),
            device: found.dev(),
            dir,
        })
    }

    /// Opens what a path in it leads to, to read it, as a guest's handle does; none where
    /// nothing is there or it is refused. For whoever tries paths without a guest.
    pub fn open(
        self: &Arc<Self>,
        source: &Arc<dyn DirectorySource>,
        path: &str,
        follow: bool,
    ) -> Option<std::fs::File> {
        let asked = handle::Asked {
            path: path.to_owned(),
            follow: match follow {
                true => types::PathFlags::SYMLINK_FOLLOW,
                false => types::PathFlags::empty(),
            },
            open: types::OpenFlags::empty(),
            flags: types::DescriptorFlags::READ,
        };
        let pass = Pass::ask(source, self, DirectoryUse::Read).ok()?;
        let node = pass.open(&self.dir, &asked).ok()?;
        node.into_std().ok()
    }
}

/// What a guest does with a directory or what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryUse {
    /// Reads.
    Read,
    /// Changes something.
    Write,
    /// Makes another name for a file.
    HardLink,
}

/// What is granted of a directory at a moment at which it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryPermit {
    /// What is in it may be changed.
    pub write: bool,
    /// Files that have further names may be used: one may lie outside.
    pub hard_links: bool,
}

/// Why something of a mounted directory may not be used, whatever is granted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryBar {
    /// The path, or a link on it, leads outside.
    Outside,
    /// The file has further names, which may lie outside.
    HardLink,
    /// It is a device, a pipe or a socket, or a file of the kernel's.
    Special,
}

/// Room for one open file, directory or stream, kept as long as the guest has it.
pub type DirectoryRoom = Box<dyn Any + Send + Sync>;

/// Decides about directories. Each use asks again: grants may have changed. All of it is called
/// where waiting for a disk is allowed, but for [`DirectorySource::permits`] and
/// [`DirectorySource::room`], which must not wait.
pub trait DirectorySource: Send + Sync {
    /// The directories that are granted now, opened.
    ///
    /// # Errors
    /// One is not granted that was asked for, or can't be opened; the others are mounted.
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>);

    /// Whether a directory that was mounted may be used so.
    ///
    /// # Errors
    /// It may not.
    fn permits(&self, mount: &Mount, used: DirectoryUse) -> Result<DirectoryPermit, Failure>;

    /// Refuses something of it.
    fn bars(&self, mount: &Mount, bar: DirectoryBar) -> Failure;

    /// Makes room for one more open file, directory or stream.
    ///
    /// # Errors
    /// There are as many as may be.
    fn room(&self) -> Result<DirectoryRoom, Failure>;

    /// Counts bytes that are read.
    fn reads(&self, bytes: u64);

    /// Counts bytes before they are written: those that files grow by without being written
    /// count as well.
    ///
    /// # Errors
    /// They are more than may be written.
    fn writes(&self, bytes: u64) -> Result<(), Failure>;

    /// Counts a file, a directory or a link before it is made.
    ///
    /// # Errors
    /// There are more than may be made.
    fn makes(&self) -> Result<(), Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoDirectories;

fn none() -> Failure {
    Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant, and so without directories",
    )
}

impl DirectorySource for NoDirectories {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        (Vec::new(), None)
    }

    fn permits(&self, _: &Mount, _: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        Err(none())
    }

    fn bars(&self, _: &Mount, _: DirectoryBar) -> Failure {
        none()
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        Err(none())
    }

    fn reads(&self, _: u64) {}

    fn writes(&self, _: u64) -> Result<(), Failure> {
        Err(none())
    }

    fn makes(&self) -> Result<(), Failure> {
        Err(none())
    }
}

/// A use of a mounted directory that is permitted at this moment. It goes to where the disk is
/// waited for.
#[derive(Clone)]
pub(crate) struct Pass {
    mount: Arc<Mount>,
    permit: DirectoryPermit,
    source: Arc<dyn DirectorySource>,
}

impl Pass {
    /// Asks whether a mounted directory may be used so now.
    fn ask(
        source: &Arc<dyn DirectorySource>,
        mount: &Arc<Mount>,
        used: DirectoryUse,
    ) -> Result<Pass, Stop> {
        let permit = source.permits(mount, used);
        Ok(Pass {
            mount: mount.clone(),
            permit: permit.map_err(Stop::Refused)?,
            source: source.clone(),
        })
    }

    /// Refuses what was found.
    fn bar(&self, bar: DirectoryBar) -> Stop {
        Stop::Refused(self.source.bars(&self.mount, bar))
    }

    /// What became of a path: one that leads outside is refused as such.
    fn resolved<T>(&self, done: std::io::Result<T>) -> Result<T, Stop> {
        done.map_err(|error| {
            // The system's own refusals have a number, cap-std's has none.
            let outside = error.kind() == std::io::ErrorKind::PermissionDenied
                && error.raw_os_error().is_none();
            if outside {
                self.bar(DirectoryBar::Outside)
            } else {
                Stop::Io(error)
            }
        })
    }
}

/// Longest path, in bytes: Linux's own bound.
const PATH_BYTES_MAX: usize = 4_096;

/// A path as a guest gives it.
fn path(text: &str) -> Result<&Path, Stop> {
    if text.len() > PATH_BYTES_MAX {
        return Err(Stop::Code(types::ErrorCode::NameTooLong));
    }
    Ok(Path::new(text))
}

/// Waits for the disk where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Stop::Io(std::io::Error::other(error))),
    }
}

impl Host for Guest {
    fn take_last(&mut self) -> Option<wit::Failure> {
        self.directory_failure.take().map(Into::into)
    }
}

/// Replaces, in a linker with all of WASI, what a guest reaches files with.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    preopens::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}
