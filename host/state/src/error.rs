//! Why the state can't be read or written.

use std::path::{Path, PathBuf};

/// Why the state can't be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A newer version of the host has made it.
    #[error(
        "the state in {} was written by a newer version of Portreeve (schema {found}; this one knows {known}); it was left as it is: use that version, or a copy of the state from before", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// There is none.
    #[error("there is no state in {} yet: nothing has run here", .0.display())]
    None(PathBuf),
    /// It can't be written: the disk, or its permissions.
    #[error("the state in {} can't be written: {why}; {action}", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What the system said.
        why: String,
        /// What to do.
        action: &'static str,
    },
    /// The disk, or the size that the state may have, is full.
    #[error(
        "the state is full ({0}); make room on the disk, or raise `size` under [state] in portreeve.toml"
    )]
    Full(String),
    /// More writes wait than may.
    #[error("too many writes wait for the disk; try again in a moment")]
    Busy,
    /// A plugin's storage is full.
    #[error("{used} bytes would be stored, but {allowed} are granted")]
    Quota {
        /// What would be stored.
        used: u64,
        /// What is granted.
        allowed: u64,
    },
    /// A plugin's storage has too many keys.
    #[error("{allowed} keys may be stored, and as many are")]
    Keys {
        /// How many may be.
        allowed: u64,
    },
    /// What is there is not what was expected to be.
    #[error("the value has changed since it was read")]
    Conflict,
    /// What is there is no number that can be added to.
    #[error("{0}")]
    NoNumber(&'static str),
    /// A row is not what it must be.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// The store was closed.
    #[error("the state was closed")]
    Closed,
    /// The database said something else.
    #[error("the state: {0}")]
    Database(String),
}

impl StateError {
    pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> StateError {
        StateError::ReadOnly {
            path: path.to_owned(),
            why: error.to_string(),
            action: "make it a file of yours that you can write",
        }
    }

    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> StateError {
        StateError::Database(format!("{} can't be read: {error}", path.display()))
    }
}
