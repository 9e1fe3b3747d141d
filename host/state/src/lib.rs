//! What Portreeve keeps: plugin storage, the audit log, sealed secrets, the history of
//! grants, generations of plugins, usage, messages between plugins.
//!
//! [`StateStore`] is what a backend must do; [`SqliteStore`] does it in one file of the
//! project. One process writes (the owner of the project); any other may read beside it.
//!
//! **Architecture invariant:** the only place with SQL. Every row is keyed by project, alias
//! and tenant. What is acknowledged is on disk.
#![deny(missing_docs)]

pub mod audit;
mod bus;
mod error;
mod generations;
mod key;
mod rows;
mod sqlite;
mod store;
pub mod tasks;
pub mod usage;
pub mod vault;

pub use bus::{
    BusAppend, BusAppended, BusCount, BusCursor, BusDead, BusDeadFilter, BusEnd, BusException,
    BusImage, BusMessage, BusSettle, BusStore, BusSubscription, BusSweep, BusTopic, BusTrim,
};
pub use error::StateError;
pub use generations::{Generation, GenerationKeep, GenerationRow, GenerationStore};
pub use key::{KEY_BYTES, Key, KeyError, make_key, read_key, read_or_make_key};
pub use rows::{
    AuditGroup, AuditRow, Checkpoint, HISTORY_ROWS_MAX, HistoryRow, Holder, InboxRow, KvChange,
    KvDone, KvEntry, KvExpected, KvInfo, KvQuota, KvUsed, KvWrite, SecretRow, UsageRow, UsageSpan,
};
pub use sqlite::{SqliteStore, StoreConfig};
pub use store::{ROWS_MAX, StateStore};
