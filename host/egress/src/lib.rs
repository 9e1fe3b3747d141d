//! What the host itself sends out: alerts, and heads of the audit log.
//!
//! An [`Outlet`] takes JSON values and sends each to a webhook, to a program, or to both. It
//! never keeps its caller waiting: what can't be sent in time waits in a bounded queue, is
//! tried again with growing pauses, and in the end is given up and counted.
//!
//! **Architecture invariant:** no wasmtime types; nothing that a plugin decides is an address
//! here. Addresses and programs are the operator's own.
#![deny(missing_docs)]

mod address;
pub mod care;
mod command;
pub mod credential;
pub mod oauth;
mod outlet;
pub mod pending;
mod retry;
mod webhook;

pub use command::Command;
pub use outlet::{Outlet, OutletCounts};
pub use webhook::Webhook;

/// Why something could not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// It can't be set up.
    #[error("{0}")]
    Setup(String),
    /// It may work later.
    #[error("{0}")]
    Later(String),
    /// It will not work however often it is tried.
    #[error("{0}")]
    Never(String),
}

impl EgressError {
    fn is_worth_another_try(&self) -> bool {
        matches!(self, EgressError::Later(_))
    }
}
