//! The audit log: what happened, in order, so that a change of it shows.
//!
//! Each record carries a code over itself and over the code before it, made with a key that
//! lies in the user's own directory; the newest code is kept there as well from time to
//! time. Whoever changes, moves or removes records in the database can't make the codes fit,
//! and whoever cuts off its end is shown by the kept heads, up to the last one.
//!
//! What must be on record before it takes effect is recorded with [`AuditLog::commit`]; what
//! is recorded afterwards, with [`AuditLog::note`], is on disk within 50 ms, and a crash in
//! between leaves a gap that the next start records.

mod chain;
mod event;
pub mod export;
mod heads;
mod log;
mod prune;
mod report;
mod search;
mod verify;

pub use event::{AuditEvent, AuditKind, AuditRecord, BODY_BYTES_MAX};
pub use export::{ExportError, verify_export};
pub use heads::{Head, Heads};
pub use log::{AuditConfig, AuditError, AuditLog, OnHead, wall_clock};
pub use report::{Report, report};
pub use search::{Filter, Page, search};
pub use verify::{Finding, Verified, verify};
