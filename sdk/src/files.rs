//! The directories that the operator puts behind the plugin's paths. Needs the grant `directories`.
//!
//! ```toml
//! [[requests.directories]]
//! path = "/notes"
//! write = true
//! reason = "file your notes"
//! ```
//!
//! There is nothing to learn: `std::fs` reads and writes what is there, and finds nothing else of
//! the machine. [`failed`] makes an [`Error`] of what it fails with, in the host's own words where
//! the host refused: which grant or limit it is, and what the operator can write.
//!
//! ```
//! use portreeve_sdk::{Error, files};
//! use std::fs;
//!
//! fn read(path: &str) -> Result<String, Error> {
//!     fs::read_to_string(path).map_err(|error| files::failed(path, &error))
//! }
//! # assert!(read("/none").is_err());
//! ```
//!
//! Paths out of the directory, links that lead out of it, devices, pipes and sockets are refused
//! whatever is granted; files with several names (hard links) unless that is asked for
//! (`hard-links = true`) and granted. What is written is bounded for each call by the limits
//! `written`, `files` and `open-files`.

use std::io;
use std::path::Path;

use crate::host::files as host;
use crate::{Code, Error};

/// Where the directories are that the plugin has now: those that it asks for and that are granted.
#[must_use]
pub fn mounted() -> Vec<String> {
    host::mounted()
}

/// An error for the caller of a tool, of what something with the file at `path` failed with.
#[must_use]
pub fn failed(path: impl AsRef<Path>, error: &io::Error) -> Error {
    let path = path.as_ref();
    let is_missing = error.kind() == io::ErrorKind::NotFound
        && mounted().iter().any(|mounted| path.starts_with(mounted));
    // What is not there was not refused; an older refusal would say nothing of it.
    let told = if is_missing { None } else { host::take_last() };
    if let Some(failure) = told {
        return Error::from_failure(failure);
    }
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Code::PermissionDenied
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Code::Conflict,
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => Code::QuotaExceeded,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => Code::InvalidArgument,
        _ => Code::Unavailable,
    };
    Error::new(code, format_args!("{}: {error}", path.display())).reason("file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_has_a_code() {
        for (kind, code) in [
            (io::ErrorKind::NotFound, Code::NotFound),
            (io::ErrorKind::PermissionDenied, Code::PermissionDenied),
            (io::ErrorKind::AlreadyExists, Code::Conflict),
            (io::ErrorKind::StorageFull, Code::QuotaExceeded),
            (io::ErrorKind::NotADirectory, Code::InvalidArgument),
            (io::ErrorKind::Other, Code::Unavailable),
        ] {
            let error = failed("/notes/a", &kind.into());
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().starts_with("/notes/a: "), "{error}");
        }
    }
}
