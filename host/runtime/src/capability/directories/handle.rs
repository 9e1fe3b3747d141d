//! Handles to files and directories, and what is looked at before one is given out.

use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsMaybeDirExt as _};
use cap_std::fs::{Dir, FileTypeExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;

use super::{DirectoryBar, DirectoryRoom, Mount, Pass, Stop};
use crate::bindings::filesystem::wasi::filesystem::types::{
    DescriptorFlags as Flags, ErrorCode as Code, OpenFlags, PathFlags,
};

/// How often a file is looked for that somebody else makes and removes meanwhile.
const TRIES_MAX: u32 = 4;

/// Most bytes of one read.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;

/// A guest's handle.
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub struct Handle {
    pub(super) mount: Arc<Mount>,
    pub(super) node: Node,
    pub(super) _room: DirectoryRoom,
}

/// What a handle leads to.
#[derive(Clone)]
pub(super) enum Node {
    Directory(Arc<Dir>),
    File(Arc<OpenFile>),
}

/// An opened file.
pub(super) struct OpenFile {
    file: File,
    pub(super) flags: Flags,
}

/// A path that is to be opened.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) follow: PathFlags,
    pub(super) open: OpenFlags,
    pub(super) flags: Flags,
}

impl Asked {
    /// Whether something may be changed by it, now or through the handle.
    pub(super) fn changes(&self) -> bool {
        self.open
            .intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
            || self
                .flags
                .intersects(Flags::WRITE | Flags::MUTATE_DIRECTORY)
    }

    fn follow(&self) -> FollowSymlinks {
        if self.follow.contains(PathFlags::SYMLINK_FOLLOW) {
            FollowSymlinks::Yes
        } else {
            FollowSymlinks::No
        }
    }

    fn options(&self) -> OpenOptions {
        let write = self.flags.contains(Flags::WRITE) || self.open.contains(OpenFlags::TRUNCATE);
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        if self.flags.contains(Flags::FILE_INTEGRITY_SYNC) {
            flags |= OFlags::SYNC;
        }
        if self.flags.contains(Flags::DATA_INTEGRITY_SYNC) {
            flags |= OFlags::DSYNC;
        }
        let mut options = OpenOptions::new();
        options
            .read(self.flags.contains(Flags::READ) || !write)
            .write(write)
            .follow(self.follow())
            .maybe_dir(true)
            // Bits of the system's, all of them positive.
            .custom_flags(flags.bits().cast_signed());
        options
    }
}

impl Pass {
    /// Opens what a path beneath `dir` leads to. What is there is looked at before, so that
    /// opening it does nothing, and on the handle, since it may be another by then. Nothing is
    /// cut off before that: truncation is asked of the handle.
    pub(super) fn open(&self, dir: &Dir, asked: &Asked) -> Result<Node, Stop> {
        let path = super::path(&asked.path)?;
        let options = asked.options();
        for _ in 0..TRIES_MAX {
            let found = match asked.follow() {
                FollowSymlinks::Yes => dir.metadata(path),
                FollowSymlinks::No => dir.symlink_metadata(path),
            };
            match found {
                Ok(found) => {
                    if asked
                        .open
                        .contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE)
                    {
                        return Err(Code::Exist.into());
                    }
                    let kind = found.file_type();
                    if kind.is_symlink() {
                        return Err(Code::Loop.into());
                    }
                    if kind.is_fifo()
                        || kind.is_socket()
                        || kind.is_block_device()
                        || kind.is_char_device()
                    {
                        return Err(self.bar(DirectoryBar::Special));
                    }
                    match self.resolved(dir.open_with(path, &options)) {
                        Err(Stop::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                        opened => return self.vetted(opened?.into_std(), asked),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !asked.open.contains(OpenFlags::CREATE)
                        || asked.open.contains(OpenFlags::DIRECTORY)
                    {
                        return Err(error.into());
                    }
                    self.source.makes().map_err(Stop::Refused)?;
                    // Writing is what a file is made for; the guest's own flags say whether it
                    // may.
                    let mut options = options.clone();
                    options.write(true).create_new(true);
                    match self.resolved(dir.open_with(path, &options)) {
                        Err(Stop::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        opened => return self.vetted(opened?.into_std(), asked),
                    }
                }
                Err(error) => return self.resolved(Err(error)),
            }
        }
        // Also what a link promises that leads to nothing.
        Err(Code::NoEntry.into())
    }

    /// Looks at what was opened.
    fn vetted(&self, file: File, asked: &Asked) -> Result<Node, Stop> {
        let found = self.vet(&file)?;
        if found.is_dir() {
            let writes = asked.flags.contains(Flags::WRITE);
            if writes || asked.open.contains(OpenFlags::TRUNCATE) {
                return Err(Code::IsDirectory.into());
            }
            return Ok(Node::Directory(Arc::new(Dir::from_std_file(file))));
        }
        if asked.open.contains(OpenFlags::DIRECTORY) {
            return Err(Code::NotDirectory.into());
        }
        if asked.open.contains(OpenFlags::TRUNCATE) {
            file.set_len(0)?;
        }
        Ok(Node::File(Arc::new(OpenFile {
            file,
            flags: asked.flags,
        })))
    }

    /// What lies behind a handle, where it may be used.
    fn vet(&self, file: &File) -> Result<Metadata, Stop> {
        let found = file.metadata()?;
        if !found.is_dir() && !found.is_file() {
            return Err(self.bar(DirectoryBar::Special));
        }
        if found.dev() != self.mount.device && is_of_kernel(file)? {
            return Err(self.bar(DirectoryBar::Special));
        }
        if found.is_file() && found.nlink() > 1 && !self.permit.hard_links {
            return Err(self.bar(DirectoryBar::HardLink));
        }
        Ok(found)
    }

    /// Reads from a file.
    pub(super) fn read(&self, open: &OpenFile, length: usize, from: u64) -> Result<Vec<u8>, Stop> {
        if !open.flags.contains(Flags::READ) {
            return Err(Code::BadDescriptor.into());
        }
        let found = self.vet(&open.file)?;
        // Room for what there is, of one of which that is known.
        let left = usize::try_from(found.size().saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(READ_BYTES_MAX).min(left.max(1))];
        let count = again(|| open.file.read_at(&mut bytes, from))?;
        bytes.truncate(count);
        self.source.reads(count as u64);
        Ok(bytes)
    }

    /// Writes all of `bytes` to a file, at a place or at its end. What lies between its end and
    /// the place counts as written.
    pub(super) fn write(&self, open: &OpenFile, bytes: &[u8], at: Place) -> Result<(), Stop> {
        let found = self.writable(open)?;
        let (size, length) = (found.size(), bytes.len() as u64);
        let from = match at {
            Place::At(offset) => offset,
            Place::End => size,
        };
        let end = from.checked_add(length).ok_or(Code::FileTooLarge)?;
        self.count(length.max(end.saturating_sub(size)))?;
        match at {
            Place::At(offset) => open.file.write_all_at(bytes, offset)?,
            Place::End => append(&open.file, bytes)?,
        }
        Ok(())
    }

    /// Makes a file so long; what it grows by counts as written.
    pub(super) fn set_size(&self, open: &OpenFile, size: u64) -> Result<(), Stop> {
        let found = self.writable(open)?;
        self.count(size.saturating_sub(found.size()))?;
        Ok(open.file.set_len(size)?)
    }

    fn writable(&self, open: &OpenFile) -> Result<Metadata, Stop> {
        if !open.flags.contains(Flags::WRITE) {
            return Err(Code::BadDescriptor.into());
        }
        self.vet(&open.file)
    }

    fn count(&self, bytes: u64) -> Result<(), Stop> {
        self.source.writes(bytes).map_err(Stop::Refused)
    }

    /// Sets the times of what a handle leads to.
    pub(super) fn set_times(
        &self,
        node: &Node,
        accessed: Option<SystemTime>,
        modified: Option<SystemTime>,
    ) -> Result<(), Stop> {
        let mut times = FileTimes::new();
        if let Some(accessed) = accessed {
            times = times.set_accessed(accessed);
        }
        if let Some(modified) = modified {
            times = times.set_modified(modified);
        }
        let set = |file: &File| {
            self.vet(file)?;
            Ok(file.set_times(times)?)
        };
        match node {
            Node::File(open) => set(&open.file),
            Node::Directory(dir) => set(&dir.open(Path::new("."))?.into_std()),
        }
    }
}

/// Where something is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(u64),
    End,
}

/// Writes at the end, wherever that is by then.
fn append(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = again(|| {
            let part = [io::IoSlice::new(bytes)];
            rustix::io::pwritev2(file, &part, 0, rustix::io::ReadWriteFlags::APPEND)
                .map_err(io::Error::from)
        })?;
        match bytes.get(written..) {
            Some(rest) if written > 0 => bytes = rest,
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
    }
    Ok(())
}

/// Does something again that a signal has interrupted.
fn again<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl OpenFile {
    /// Writes what is in memory to the disk.
    pub(super) fn sync(&self, data_only: bool) -> io::Result<()> {
        if data_only {
            self.file.sync_data()
        } else {
            self.file.sync_all()
        }
    }
}

impl Node {
    /// What is known of it.
    pub(super) fn metadata(&self) -> io::Result<cap_std::fs::Metadata> {
        match self {
            Node::Directory(dir) => dir.dir_metadata(),
            Node::File(open) => cap_std::fs::Metadata::from_file(&open.file),
        }
    }

    /// The directory that it is.
    pub(super) fn directory(&self) -> Result<Arc<Dir>, Stop> {
        match self {
            Node::Directory(dir) => Ok(dir.clone()),
            Node::File(_) => Err(Code::NotDirectory.into()),
        }
    }

    /// The file that it is.
    pub(super) fn file(&self) -> Result<Arc<OpenFile>, Stop> {
        match self {
            Node::Directory(_) => Err(Code::IsDirectory.into()),
            Node::File(open) => Ok(open.clone()),
        }
    }

    /// What it leads to, as the system has it.
    pub(super) fn into_std(self) -> io::Result<File> {
        match self {
            Node::Directory(dir) => Ok(dir.try_clone()?.into_std_file()),
            Node::File(open) => open.file.try_clone(),
        }
    }
}

/// Whether something lies in a file system whose files are doors to the kernel.
pub(super) fn is_of_kernel(file: impl AsFd) -> io::Result<bool> {
    /// From Linux's magic.h: proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf,
    /// pstore, efivarfs, selinuxfs.
    const KERNEL: [u64; 11] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0x6165_676c,
        0xde5e_81e4,
        0xf97c_ff8c,
    ];
    let found = rustix::fs::fstatfs(file)?;
    // Its type differs between machines.
    Ok(u64::try_from(found.f_type).is_ok_and(|kind| KERNEL.contains(&kind)))
}
