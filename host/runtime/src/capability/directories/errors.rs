//! What a guest is told of something that was not done: WASI's codes, of which a refusal has
//! a sentence besides.

use std::io;

use rustix::io::Errno;
use wasmtime::component::ResourceTableError;

use crate::bindings::filesystem::wasi::filesystem::types::ErrorCode as Code;
use crate::error::{ErrorCode, Failure};

/// Why something was not done.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub enum Stop {
    /// The system didn't do it.
    Io(io::Error),
    /// The guest asked for what makes no sense.
    Code(Code),
    /// The host refused.
    Refused(Failure),
    /// The guest made up a handle.
    Trap(wasmtime::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Stop {
        Stop::Code(code)
    }
}

impl From<ResourceTableError> for Stop {
    fn from(error: ResourceTableError) -> Stop {
        Stop::Trap(error.into())
    }
}

/// WASI's code of a refusal of the host's.
pub(super) fn refused(failure: &Failure) -> Code {
    match failure.code {
        ErrorCode::QuotaExceeded => Code::Quota,
        _ => Code::NotPermitted,
    }
}

/// WASI's code of an error of the system's.
pub(super) fn code(error: &io::Error) -> Code {
    let Some(errno) = Errno::from_io_error(error) else {
        return match error.kind() {
            io::ErrorKind::NotFound => Code::NoEntry,
            io::ErrorKind::PermissionDenied => Code::NotPermitted,
            io::ErrorKind::AlreadyExists => Code::Exist,
            io::ErrorKind::InvalidInput => Code::Invalid,
            io::ErrorKind::NotADirectory => Code::NotDirectory,
            _ => Code::Io,
        };
    };
    match errno {
        Errno::ACCESS => Code::Access,
        Errno::AGAIN => Code::WouldBlock,
        Errno::ALREADY => Code::Already,
        Errno::BADF => Code::BadDescriptor,
        Errno::BUSY => Code::Busy,
        Errno::DEADLK => Code::Deadlock,
        Errno::DQUOT => Code::Quota,
        Errno::EXIST => Code::Exist,
        Errno::FBIG => Code::FileTooLarge,
        Errno::ILSEQ => Code::IllegalByteSequence,
        Errno::INPROGRESS => Code::InProgress,
        Errno::INTR => Code::Interrupted,
        Errno::INVAL => Code::Invalid,
        Errno::ISDIR => Code::IsDirectory,
        Errno::LOOP => Code::Loop,
        Errno::MLINK => Code::TooManyLinks,
        Errno::NAMETOOLONG => Code::NameTooLong,
        Errno::NODEV => Code::NoDevice,
        Errno::NOENT => Code::NoEntry,
        Errno::NOLCK => Code::NoLock,
        Errno::NOMEM => Code::InsufficientMemory,
        Errno::NOSPC => Code::InsufficientSpace,
        Errno::NOTDIR => Code::NotDirectory,
        Errno::NOTEMPTY => Code::NotEmpty,
        Errno::NOTSUP => Code::Unsupported,
        Errno::NXIO => Code::NoSuchDevice,
        Errno::OVERFLOW => Code::Overflow,
        Errno::PERM => Code::NotPermitted,
        Errno::PIPE => Code::Pipe,
        Errno::ROFS => Code::ReadOnly,
        Errno::SPIPE => Code::InvalidSeek,
        Errno::TXTBSY => Code::TextFileBusy,
        Errno::XDEV => Code::CrossDevice,
        _ => Code::Io,
    }
}
