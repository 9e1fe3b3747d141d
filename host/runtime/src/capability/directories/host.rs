//! The functions of `wasi:filesystem`.

use std::io;
use std::path::Component;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::errors::{code, refused};
use super::handle::{Asked, Node, Place, READ_BYTES_MAX};
use super::streams::{Reading, StreamFailed, Streamed, Writing, kind};
use super::{
    DirectoryBar, DirectoryRoom, DirectoryUse, Entries, Handle, Mount, Pass, Stop, blocking, path,
};
use crate::bindings::filesystem::wasi::clocks::wall_clock::Datetime;
use crate::bindings::filesystem::wasi::filesystem::preopens;
use crate::bindings::filesystem::wasi::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode as Code,
    Filesize, Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

type Descriptor = Resource<Handle>;

/// No more handles: what the table of a call holds has a limit of its own.
fn full(error: impl std::fmt::Display) -> Stop {
    Stop::Refused(Failure::new(
        ErrorCode::QuotaExceeded,
        "handles",
        format!(
            "no more handles: {error}; the setting `handles` in the plugin's `limits` says how many there may be"
        ),
    ))
}

impl Guest {
    /// A handle, and leave to use it so now.
    fn reach(&mut self, handle: &Descriptor, used: DirectoryUse) -> Result<(Node, Pass), Stop> {
        let source = self.context.directories.clone();
        let handle = self.table().get(handle)?;
        let pass = Pass::ask(&source, &handle.mount, used)?;
        Ok((handle.node.clone(), pass))
    }

    fn room(&self) -> Result<DirectoryRoom, Stop> {
        self.context.directories.room().map_err(Stop::Refused)
    }

    /// Does something with the directory behind a handle, where the disk may be waited for.
    async fn within<T: Send + 'static>(
        &mut self,
        handle: &Descriptor,
        used: DirectoryUse,
        work: impl FnOnce(&Pass, &Dir) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Stop> {
        let (node, pass) = self.reach(handle, used)?;
        let dir = node.directory()?;
        blocking(move || work(&pass, &dir)).await
    }

    fn streamed(&mut self, handle: &Descriptor, used: DirectoryUse) -> Result<Streamed, Stop> {
        let (node, pass) = self.reach(handle, used)?;
        Ok(Streamed {
            source: pass.source,
            last_failure: self.directory_failure.clone(),
            mount: pass.mount,
            file: node.file()?,
            _room: self.room()?,
        })
    }

    fn writing(
        &mut self,
        handle: &Descriptor,
        place: Place,
    ) -> Result<Resource<DynOutputStream>, Stop> {
        let of = self.streamed(handle, DirectoryUse::Write)?;
        if !of.file.flags.contains(DescriptorFlags::WRITE) {
            return Err(Code::BadDescriptor.into());
        }
        let stream: DynOutputStream = Box::new(Writing::new(of, place));
        self.table().push(stream).map_err(full)
    }
}

impl preopens::Host for Guest {
    async fn get_directories(&mut self) -> wasmtime::Result<Vec<(Descriptor, String)>> {
        let source = self.context.directories.clone();
        let mounts = blocking(move || Ok(source.mounts())).await;
        let (mounts, failure) = match mounts {
            Ok(mounts) => mounts,
            Err(stop) => {
                self.convert_error_code(stop)?;
                return Ok(Vec::new());
            }
        };
        if let Some(failure) = failure {
            self.directory_failure.set(failure);
        }
        let mut given = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let path = mount.path.clone();
            match self.mounted(mount) {
                Ok(handle) => given.push((handle, path)),
                Err(stop) => {
                    self.convert_error_code(stop)?;
                }
            }
        }
        Ok(given)
    }
}

impl Guest {
    fn mounted(&mut self, mount: Mount) -> Result<Descriptor, Stop> {
        let dir = mount.dir.try_clone()?;
        let handle = Handle {
            mount: Arc::new(mount),
            node: Node::Directory(Arc::new(dir)),
            _room: self.room()?,
        };
        self.table().push(handle).map_err(full)
    }
}

impl Host for Guest {
    fn convert_error_code(&mut self, stop: Stop) -> wasmtime::Result<Code> {
        match stop {
            Stop::Io(error) => Ok(code(&error)),
            Stop::Code(code) => Ok(code),
            Stop::Refused(failure) => {
                let code = refused(&failure);
                self.directory_failure.set(failure);
                Ok(code)
            }
            Stop::Trap(error) => Err(error),
        }
    }

    async fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<Code>> {
        let error = self.table().get(&error)?;
        Ok(error
            .downcast_ref::<StreamFailed>()
            .map(|failed| failed.code))
    }
}

impl HostDescriptor for Guest {
    async fn read_via_stream(
        &mut self,
        handle: Descriptor,
        offset: Filesize,
    ) -> Result<Resource<DynInputStream>, Stop> {
        let of = self.streamed(&handle, DirectoryUse::Read)?;
        if !of.file.flags.contains(DescriptorFlags::READ) {
            return Err(Code::BadDescriptor.into());
        }
        let stream: DynInputStream = Box::new(Reading::new(of, offset));
        self.table().push(stream).map_err(full)
    }

    async fn write_via_stream(
        &mut self,
        handle: Descriptor,
        offset: Filesize,
    ) -> Result<Resource<DynOutputStream>, Stop> {
        self.writing(&handle, Place::At(offset))
    }

    async fn append_via_stream(
        &mut self,
        handle: Descriptor,
    ) -> Result<Resource<DynOutputStream>, Stop> {
        self.writing(&handle, Place::End)
    }

    async fn advise(
        &mut self,
        handle: Descriptor,
        _: Filesize,
        _: Filesize,
        _: Advice,
    ) -> Result<(), Stop> {
        // Advice may be ignored.
        let (node, _) = self.reach(&handle, DirectoryUse::Read)?;
        node.file().map(|_| ())
    }

    async fn sync_data(&mut self, handle: Descriptor) -> Result<(), Stop> {
        self.synced(&handle, true).await
    }

    async fn get_flags(&mut self, handle: Descriptor) -> Result<DescriptorFlags, Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Read)?;
        Ok(match node {
            Node::File(open) => open.flags,
            Node::Directory(_) if pass.permit.write => {
                DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY
            }
            Node::Directory(_) => DescriptorFlags::READ,
        })
    }

    async fn get_type(&mut self, handle: Descriptor) -> Result<DescriptorType, Stop> {
        let (node, _) = self.reach(&handle, DirectoryUse::Read)?;
        Ok(match node {
            Node::File(_) => DescriptorType::RegularFile,
            Node::Directory(_) => DescriptorType::Directory,
        })
    }

    async fn set_size(&mut self, handle: Descriptor, size: Filesize) -> Result<(), Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Write)?;
        let open = node.file()?;
        blocking(move || pass.set_size(&open, size)).await
    }

    async fn set_times(
        &mut self,
        handle: Descriptor,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Result<(), Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Write)?;
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        blocking(move || pass.set_times(&node, accessed, modified)).await
    }

    async fn read(
        &mut self,
        handle: Descriptor,
        length: Filesize,
        offset: Filesize,
    ) -> Result<(Vec<u8>, bool), Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Read)?;
        let open = node.file()?;
        let length = usize::try_from(length).unwrap_or(READ_BYTES_MAX);
        let bytes = blocking(move || pass.read(&open, length, offset)).await?;
        let ended = bytes.is_empty() && length > 0;
        Ok((bytes, ended))
    }

    async fn write(
        &mut self,
        handle: Descriptor,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> Result<Filesize, Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Write)?;
        let open = node.file()?;
        blocking(move || {
            pass.write(&open, &bytes, Place::At(offset))?;
            Ok(bytes.len() as u64)
        })
        .await
    }

    async fn read_directory(&mut self, handle: Descriptor) -> Result<Resource<Entries>, Stop> {
        let (node, pass) = self.reach(&handle, DirectoryUse::Read)?;
        let (dir, room) = (node.directory()?, self.room()?);
        let entries = blocking(move || Ok(dir.entries()?)).await?;
        let entries = Entries::new(pass.mount, entries, room);
        self.table().push(entries).map_err(full)
    }

    async fn sync(&mut self, handle: Descriptor) -> Result<(), Stop> {
        self.synced(&handle, false).await
    }

    async fn create_directory_at(&mut self, handle: Descriptor, new: String) -> Result<(), Stop> {
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            pass.source.makes().map_err(Stop::Refused)?;
            pass.resolved(dir.create_dir(path(&new)?))
        })
        .await
    }

    async fn stat(&mut self, handle: Descriptor) -> Result<DescriptorStat, Stop> {
        let (node, _) = self.reach(&handle, DirectoryUse::Read)?;
        blocking(move || Ok(stat(&node.metadata()?))).await
    }

    async fn stat_at(
        &mut self,
        handle: Descriptor,
        follow: PathFlags,
        at: String,
    ) -> Result<DescriptorStat, Stop> {
        self.within(&handle, DirectoryUse::Read, move |pass, dir| {
            Ok(stat(&metadata(pass, dir, follow, &at)?))
        })
        .await
    }

    async fn set_times_at(
        &mut self,
        handle: Descriptor,
        follow: PathFlags,
        at: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Result<(), Stop> {
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            let asked = Asked {
                path: at,
                follow,
                open: OpenFlags::empty(),
                flags: DescriptorFlags::READ,
            };
            let node = pass.open(dir, &asked)?;
            pass.set_times(&node, accessed, modified)
        })
        .await
    }

    async fn link_at(
        &mut self,
        handle: Descriptor,
        follow: PathFlags,
        old: String,
        to: Descriptor,
        new: String,
    ) -> Result<(), Stop> {
        if follow.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(Code::Invalid.into());
        }
        let target = self.other(&handle, &to, DirectoryUse::HardLink)?;
        self.within(&handle, DirectoryUse::HardLink, move |pass, dir| {
            pass.source.makes().map_err(Stop::Refused)?;
            pass.resolved(dir.hard_link(path(&old)?, &target, path(&new)?))
        })
        .await
    }

    async fn open_at(
        &mut self,
        handle: Descriptor,
        follow: PathFlags,
        at: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Descriptor, Stop> {
        let asked = Asked {
            path: at,
            follow,
            open,
            flags,
        };
        let used = match asked.changes() {
            true => DirectoryUse::Write,
            false => DirectoryUse::Read,
        };
        let (node, pass) = self.reach(&handle, used)?;
        let (dir, room) = (node.directory()?, self.room()?);
        let mount = pass.mount.clone();
        let node = blocking(move || pass.open(&dir, &asked)).await?;
        let handle = Handle {
            mount,
            node,
            _room: room,
        };
        self.table().push(handle).map_err(full)
    }

    async fn readlink_at(&mut self, handle: Descriptor, at: String) -> Result<String, Stop> {
        self.within(&handle, DirectoryUse::Read, move |pass, dir| {
            let target = pass.resolved(dir.read_link(path(&at)?))?;
            let target = target.into_os_string().into_string();
            Ok(target.map_err(|_| Code::IllegalByteSequence)?)
        })
        .await
    }

    async fn remove_directory_at(&mut self, handle: Descriptor, at: String) -> Result<(), Stop> {
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            pass.resolved(dir.remove_dir(path(&at)?))
        })
        .await
    }

    async fn rename_at(
        &mut self,
        handle: Descriptor,
        old: String,
        to: Descriptor,
        new: String,
    ) -> Result<(), Stop> {
        let target = self.other(&handle, &to, DirectoryUse::Write)?;
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            pass.resolved(dir.rename(path(&old)?, &target, path(&new)?))
        })
        .await
    }

    async fn symlink_at(
        &mut self,
        handle: Descriptor,
        target: String,
        new: String,
    ) -> Result<(), Stop> {
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            let target = path(&target)?;
            // Whoever else follows it later is not held to this directory.
            let climbs = |part| !matches!(part, Component::Normal(_) | Component::CurDir);
            if target.components().any(climbs) {
                return Err(pass.bar(DirectoryBar::Outside));
            }
            pass.source.makes().map_err(Stop::Refused)?;
            pass.resolved(dir.symlink(target, path(&new)?))
        })
        .await
    }

    async fn unlink_file_at(&mut self, handle: Descriptor, at: String) -> Result<(), Stop> {
        self.within(&handle, DirectoryUse::Write, move |pass, dir| {
            pass.resolved(dir.remove_file(path(&at)?))
        })
        .await
    }

    async fn is_same_object(&mut self, a: Descriptor, b: Descriptor) -> wasmtime::Result<bool> {
        let a = self.table().get(&a)?.node.clone();
        let b = self.table().get(&b)?.node.clone();
        let same = blocking(move || {
            let (a, b) = (a.metadata()?, b.metadata()?);
            Ok(a.dev() == b.dev() && a.ino() == b.ino())
        });
        Ok(same.await.unwrap_or(false))
    }

    async fn metadata_hash(&mut self, handle: Descriptor) -> Result<MetadataHashValue, Stop> {
        let (node, _) = self.reach(&handle, DirectoryUse::Read)?;
        blocking(move || Ok(hash(&node.metadata()?))).await
    }

    async fn metadata_hash_at(
        &mut self,
        handle: Descriptor,
        follow: PathFlags,
        at: String,
    ) -> Result<MetadataHashValue, Stop> {
        self.within(&handle, DirectoryUse::Read, move |pass, dir| {
            Ok(hash(&metadata(pass, dir, follow, &at)?))
        })
        .await
    }

    async fn drop(&mut self, handle: Descriptor) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl Guest {
    async fn synced(&mut self, handle: &Descriptor, data_only: bool) -> Result<(), Stop> {
        let (node, _) = self.reach(handle, DirectoryUse::Read)?;
        blocking(move || {
            match node {
                Node::File(open) => open.sync(data_only)?,
                Node::Directory(dir) => dir.open(".")?.sync_all()?,
            }
            Ok(())
        })
        .await
    }

    /// The directory to which something goes: of the same mount, since what is granted of the
    /// one is not of the other.
    fn other(
        &mut self,
        from: &Descriptor,
        to: &Descriptor,
        used: DirectoryUse,
    ) -> Result<Arc<Dir>, Stop> {
        let (_, pass) = self.reach(from, used)?;
        let (node, other) = self.reach(to, used)?;
        if pass.mount.path != other.mount.path || pass.mount.from != other.mount.from {
            return Err(Code::CrossDevice.into());
        }
        node.directory()
    }
}

impl HostDirectoryEntryStream for Guest {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<Entries>,
    ) -> Result<Option<DirectoryEntry>, Stop> {
        let source = self.context.directories.clone();
        let entries = self.table().get_mut(&stream)?;
        Pass::ask(&source, &entries.mount, DirectoryUse::Read)?;
        entries.next().await
    }

    async fn drop(&mut self, stream: Resource<Entries>) -> wasmtime::Result<()> {
        self.table().delete(stream)?;
        Ok(())
    }
}

/// What is known of what a path leads to.
fn metadata(pass: &Pass, dir: &Dir, follow: PathFlags, at: &str) -> Result<Metadata, Stop> {
    let at = path(at)?;
    pass.resolved(match follow.contains(PathFlags::SYMLINK_FOLLOW) {
        true => dir.metadata(at),
        false => dir.symlink_metadata(at),
    })
}

fn stat(found: &Metadata) -> DescriptorStat {
    let time = |time: io::Result<cap_std::time::SystemTime>| {
        let since = time.ok()?.into_std().duration_since(UNIX_EPOCH).ok()?;
        Some(Datetime {
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
        })
    };
    DescriptorStat {
        type_: kind(found.file_type()),
        link_count: found.nlink(),
        size: found.len(),
        data_access_timestamp: time(found.accessed()),
        data_modification_timestamp: time(found.modified()),
        status_change_timestamp: u64::try_from(found.ctime()).ok().map(|seconds| Datetime {
            seconds,
            nanoseconds: u32::try_from(found.ctime_nsec()).unwrap_or_default(),
        }),
    }
}

/// Tells files apart without telling their numbers.
fn hash(found: &Metadata) -> MetadataHashValue {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&found.dev().to_le_bytes());
    hasher.update(&found.ino().to_le_bytes());
    let mut halves = [[0; 8]; 2];
    hasher.finalize_xof().fill(halves.as_flattened_mut());
    let [lower, upper] = halves.map(u64::from_le_bytes);
    MetadataHashValue { lower, upper }
}

/// A time that a guest sets; none where it leaves it.
fn time(time: NewTimestamp) -> Result<Option<SystemTime>, Stop> {
    match time {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(SystemTime::now())),
        NewTimestamp::Timestamp(time) => {
            let since = Duration::from_secs(time.seconds)
                .checked_add(Duration::from_nanos(time.nanoseconds.into()));
            let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
            Ok(Some(time.ok_or(Code::Overflow)?))
        }
    }
}
