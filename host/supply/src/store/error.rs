//! What can go wrong with the store.

use std::path::{Path, PathBuf};

use portreeve_manifest::size::ByteSize;

use crate::Digest;

/// Why something was not stored, found or collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An artifact has other bytes than it was stored with.
    #[error(
        "{digest} in the store was changed: it is {found} now; it was put aside as {}, and is fetched again from its source by `portreeve install`", aside.display()
    )]
    Changed {
        /// What it was.
        digest: Digest,
        /// What it is.
        found: Digest,
        /// Where it is now.
        aside: PathBuf,
    },
    /// There is no room left.
    #[error(
        "the store in {} has {} of {}, so that {} more do not fit: collect what is unused, or give it more room", dir.display(), ByteSize(*used), ByteSize(*size_max), ByteSize(*bytes)
    )]
    Full {
        /// Where it is.
        dir: PathBuf,
        /// What was to be stored.
        bytes: u64,
        /// What is there.
        used: u64,
        /// What may be there.
        size_max: u64,
    },
    /// A file beside an artifact is larger than such files are.
    #[error("{} is larger than {}, which no signature is", path.display(), ByteSize(super::SIDECAR_BYTES_MAX))]
    SidecarTooLarge {
        /// Which one.
        path: PathBuf,
    },
    /// A name that no file beside an artifact has.
    #[error("`{}` is no name in the store: a-z, 0-9, `.` and `-`", .0.escape_debug())]
    Name(String),
    /// Something that is no file.
    #[error("{} is no file: somebody has changed the store; remove it", .0.display())]
    NoFile(PathBuf),
    /// The operating system refused.
    #[error("{} can't be {what}: {error}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, error: std::io::Error) -> StoreError {
        StoreError::Io {
            what,
            path: path.to_owned(),
            error,
        }
    }
}
