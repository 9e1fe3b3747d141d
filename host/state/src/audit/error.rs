//! Why something can't be put on record, or the record can't be read.

use std::path::PathBuf;

use crate::error::StateError;

/// Why something can't be put on record, or the record can't be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The store refuses what is written. New calls are refused until it is written.
    #[error(
        "the audit log can't be written, so nothing new is done: {why}; what waits is written as soon as that is possible"
    )]
    Unwritable {
        /// What the store says.
        why: String,
    },
    /// More waits than may: the disk is slower than the calls.
    #[error(
        "too many audit records wait for the disk, so nothing new is done until they are written; try again in a moment"
    )]
    Crowded,
    /// The log was closed.
    #[error("the audit log was closed")]
    Closed,
    /// No record at the end of the log was written with this key.
    #[error(
        "the audit log was not written with the key in {}: that key is another one, or the log's end was replaced; put the right key back, or run `portreeve audit renew` to start a new chain after record {seq} (the old records are kept, but can be verified only with their own key)", key.display()
    )]
    WrongKey {
        /// Where the key was read.
        key: PathBuf,
        /// The last record.
        seq: i64,
    },
    /// The key's file, or another of the user's files, can't be used.
    #[error("{}: {why}; {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        action: String,
    },
    /// Stored bytes are no records.
    #[error("the audit log is damaged after record {after}: {why}; see `portreeve audit verify`")]
    Damaged {
        /// The last record before.
        after: i64,
        /// What is wrong.
        why: &'static str,
    },
    /// An exported log can't be read.
    #[error("line {line} of the exported log: {why}")]
    Export {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
}
