//! Streams of files and the entries of directories: each part of them asks anew, so that what
//! is revoked ends with the part that is under way.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cap_std::fs::{FileType, FileTypeExt as _, ReadDir};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::errors::{code, refused};
use super::handle::{OpenFile, Place, READ_BYTES_MAX};
use super::{DirectoryRoom, DirectorySource, DirectoryUse, Mount, Pass, Stop, blocking};
use crate::bindings::filesystem::wasi::filesystem::types::{
    DescriptorType, DirectoryEntry, ErrorCode as Code,
};
use crate::capability::last_failure::LastFailure;

/// Bytes that are read where a guest waits without saying for how many.
const READY_BYTES: usize = 4 << 10;

/// Entries of a directory that are read at once.
const ENTRIES_AT_ONCE: usize = 64;

/// What all streams of a file know.
pub(super) struct Streamed {
    pub(super) source: Arc<dyn DirectorySource>,
    pub(super) last_failure: Arc<LastFailure>,
    pub(super) mount: Arc<Mount>,
    pub(super) file: Arc<OpenFile>,
    pub(super) _room: DirectoryRoom,
}

/// The code of what a stream has failed with, for `filesystem-error-code`.
#[derive(Debug, thiserror::Error)]
#[error("{}", code.message())]
pub(super) struct StreamFailed {
    pub(super) code: Code,
}

impl Streamed {
    fn pass(&self, used: DirectoryUse) -> Result<Pass, Stop> {
        Pass::ask(&self.source, &self.mount, used)
    }

    /// What a stream fails with: the code, and beside it the sentence of a refusal.
    fn failed(&self, stop: Stop) -> StreamError {
        let code = match stop {
            Stop::Io(error) => code(&error),
            Stop::Code(code) => code,
            Stop::Refused(failure) => {
                let code = refused(&failure);
                self.last_failure.set(failure);
                code
            }
            Stop::Trap(error) => return StreamError::Trap(error),
        };
        StreamError::LastOperationFailed(StreamFailed { code }.into())
    }
}

/// What a task has left, or that it was lost.
async fn done<T>(task: &mut AbortOnDropHandle<Result<T, Stop>>) -> Result<T, Stop> {
    match task.await {
        Ok(done) => done,
        Err(error) => Err(Stop::Io(io::Error::other(error))),
    }
}

/// Reads a file from a place on.
pub(super) struct Reading {
    of: Streamed,
    position: u64,
    state: Read,
}

enum Read {
    Idle,
    Waiting(AbortOnDropHandle<Result<Vec<u8>, Stop>>),
    There(Result<Bytes, Stop>),
    Closed,
}

impl Reading {
    pub(super) fn new(of: Streamed, position: u64) -> Reading {
        Reading {
            of,
            position,
            state: Read::Idle,
        }
    }

    /// The work of one read.
    fn work(
        &self,
        size: usize,
    ) -> Result<impl FnOnce() -> Result<Vec<u8>, Stop> + Send + use<>, Stop> {
        let pass = self.of.pass(DirectoryUse::Read)?;
        let (file, position) = (self.of.file.clone(), self.position);
        Ok(move || pass.read(&file, size.min(READ_BYTES_MAX), position))
    }

    fn begin(&mut self, size: usize) {
        self.state = match self.work(size) {
            Ok(work) => Read::Waiting(AbortOnDropHandle::new(tokio::task::spawn_blocking(work))),
            Err(stop) => Read::There(Err(stop)),
        };
    }

    /// Hands out of what is there as much as is asked for.
    fn take(&mut self, size: usize) -> StreamResult<Bytes> {
        match mem::replace(&mut self.state, Read::Closed) {
            Read::There(Ok(bytes)) if bytes.is_empty() => Err(StreamError::Closed),
            Read::There(Ok(mut bytes)) => {
                // What was read is no longer the guest's once it may not read.
                if let Err(stop) = self.of.pass(DirectoryUse::Read) {
                    return Err(self.of.failed(stop));
                }
                let part = bytes.split_to(bytes.len().min(size));
                self.position = self.position.saturating_add(part.len() as u64);
                self.state = match bytes.is_empty() {
                    true => Read::Idle,
                    false => Read::There(Ok(bytes)),
                };
                Ok(part)
            }
            Read::There(Err(stop)) => Err(self.of.failed(stop)),
            Read::Closed => Err(StreamError::Closed),
            waiting => {
                self.state = waiting;
                Ok(Bytes::new())
            }
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        if matches!(self.state, Read::Idle) {
            self.begin(READY_BYTES);
        }
        if let Read::Waiting(task) = &mut self.state {
            self.state = Read::There(done(task).await.map(Bytes::from));
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Read::Idle) {
            if size > 0 {
                self.begin(size);
            }
            if !matches!(self.state, Read::There(_)) {
                return Ok(Bytes::new());
            }
        }
        self.take(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Read::Idle) {
            if size == 0 {
                return Ok(Bytes::new());
            }
            self.begin(size);
        }
        self.ready().await;
        self.take(size)
    }

    async fn cancel(&mut self) {
        if let Read::Waiting(mut task) = mem::replace(&mut self.state, Read::Closed) {
            // What waits for a disk can't be broken off, and must not pile up.
            let _ = done(&mut task).await;
        }
    }
}

/// Writes a file from a place on, or at its end.
pub(super) struct Writing {
    of: Streamed,
    place: Place,
    state: Write,
}

enum Write {
    Ready,
    Waiting(AbortOnDropHandle<Result<(), Stop>>),
    Failed(Stop),
    Closed,
}

impl Writing {
    pub(super) fn new(of: Streamed, place: Place) -> Writing {
        Writing {
            of,
            place,
            state: Write::Ready,
        }
    }

    /// The work of one write. The place moves on at once: a write that fails is the last.
    fn work(
        &mut self,
        bytes: Bytes,
    ) -> Result<impl FnOnce() -> Result<(), Stop> + Send + use<>, Stop> {
        let pass = self.of.pass(DirectoryUse::Write)?;
        let (file, place) = (self.of.file.clone(), self.place);
        if let Place::At(offset) = &mut self.place {
            let end = offset.checked_add(bytes.len() as u64);
            *offset = end.ok_or(Code::FileTooLarge)?;
        }
        Ok(move || pass.write(&file, &bytes, place))
    }

    /// What failed, once.
    fn outcome(&mut self) -> StreamResult<()> {
        match mem::replace(&mut self.state, Write::Closed) {
            Write::Failed(stop) => Err(self.of.failed(stop)),
            Write::Closed => Err(StreamError::Closed),
            open => {
                self.state = open;
                Ok(())
            }
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        if let Write::Waiting(task) = &mut self.state {
            self.state = match done(task).await {
                Ok(()) => Write::Ready,
                Err(stop) => Write::Failed(stop),
            };
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.outcome()?;
        if matches!(self.state, Write::Waiting(_)) {
            return Err(StreamError::trap(
                "written before `check-write` had said that there is room",
            ));
        }
        self.state = match self.work(bytes) {
            Ok(work) => Write::Waiting(AbortOnDropHandle::new(tokio::task::spawn_blocking(work))),
            Err(stop) => Write::Failed(stop),
        };
        Ok(())
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        self.outcome()?;
        let written = match self.work(bytes) {
            Ok(work) => blocking(work).await,
            Err(stop) => Err(stop),
        };
        written.map_err(|stop| {
            self.state = Write::Closed;
            self.of.failed(stop)
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.outcome()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.outcome()?;
        Ok(match self.state {
            Write::Ready => READ_BYTES_MAX,
            _ => 0,
        })
    }

    async fn cancel(&mut self) {
        if let Write::Waiting(mut task) = mem::replace(&mut self.state, Write::Closed) {
            let _ = done(&mut task).await;
        }
    }
}

/// The entries of a directory, read as far as they are asked for.
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub struct Entries {
    pub(super) mount: Arc<Mount>,
    left: Arc<Mutex<ReadDir>>,
    read: VecDeque<Result<DirectoryEntry, Code>>,
    _room: DirectoryRoom,
}

impl Entries {
    pub(super) fn new(mount: Arc<Mount>, entries: ReadDir, room: DirectoryRoom) -> Entries {
        Entries {
            mount,
            left: Arc::new(Mutex::new(entries)),
            read: VecDeque::new(),
            _room: room,
        }
    }

    /// The next one; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<DirectoryEntry>, Stop> {
        if self.read.is_empty() {
            let left = self.left.clone();
            self.read = blocking(move || {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(left.by_ref().take(ENTRIES_AT_ONCE).map(entry).collect())
            })
            .await?;
        }
        Ok(self.read.pop_front().transpose()?)
    }
}

fn entry(entry: io::Result<cap_std::fs::DirEntry>) -> Result<DirectoryEntry, Code> {
    let entry = entry.map_err(|error| code(&error))?;
    let kind = entry.file_type().map_err(|error| code(&error))?;
    let name = entry.file_name().into_string();
    Ok(DirectoryEntry {
        type_: self::kind(kind),
        name: name.map_err(|_| Code::IllegalByteSequence)?,
    })
}

/// A kind of file in WASI's words.
pub(super) fn kind(kind: FileType) -> DescriptorType {
    if kind.is_file() {
        DescriptorType::RegularFile
    } else if kind.is_dir() {
        DescriptorType::Directory
    } else if kind.is_symlink() {
        DescriptorType::SymbolicLink
    } else if kind.is_fifo() {
        DescriptorType::Fifo
    } else if kind.is_socket() {
        DescriptorType::Socket
    } else if kind.is_block_device() {
        DescriptorType::BlockDevice
    } else if kind.is_char_device() {
        DescriptorType::CharacterDevice
    } else {
        DescriptorType::Unknown
    }
}
