//! The audit log: what was done, in a chain that can't be changed without it showing.
//!
//! Each record carries a code (a keyed hash) over the code of the record before it and all of
//! its own bytes. The key lies outside of the database, so that whoever can write to the
//! database alone can't make a chain that [`verify()`] accepts. What a chain can't show is that
//! its end was cut off: for that, the newest code (the *head*) is exported to a file in the
//! user's own directory, and to whatever else is set.
//!
//! [`AuditLog`] is for the process that owns the project; everything else here only reads.
//!
//! **Architecture invariant:** a record is durable before [`AuditLog::commit`] answers, and a
//! record that was refused or lost leaves a `gap` record behind.

mod chain;
mod clock;
mod error;
mod event;
mod export;
mod heads;
mod key;
mod log;
mod open;
mod prune;
mod record;
mod report;
mod search;
mod verify;
mod writer;

pub use clock::{AuditClock, SystemClock, time_text};
pub use error::AuditError;
pub use event::{AuditEvent, AuditKind, GapReason};
pub use export::{export, verify_export};
pub use heads::{Head, HeadSink, HeadsFile};
pub use key::AuditKey;
pub use log::{AuditConfig, AuditLog};
pub use open::renew;
pub use report::{Counts, Report, ReportWindow, Unusual, report};
pub use search::{AuditFilter, AuditRecord, last, search};
pub use verify::{Finding, Gap, VerifyReport, verify};
