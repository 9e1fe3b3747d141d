//! Every outbound connection.
//!
//! **The gate** is what plugins go out through. A [`Gate`] is there once for a host; a
//! [`Client`] sends the requests of one plugin under one set of grants; what a call may do at
//! this moment, and what it may use, the gate asks of its [`CallPolicy`]. A request goes one
//! way: it is brought into the one form that rules are held against and that is sent, allowed
//! or refused, given what the host adds, and sent over a connection to an address that was
//! looked up and checked here. Bodies are counted and timed as they pass, never gathered.
//!
//! **The host's client** fetches what the operator has named: components, and what is said
//! about them. A [`HostClient`] follows redirects, tries again, goes on where a download broke
//! off, and takes no more than it was told to.
//!
//! **The outlet** is the host's own: alerts, and heads of the audit log. An [`Outlet`] takes
//! JSON values and sends each to a webhook, to a program, or to both. It never keeps its
//! caller waiting: what can't be sent in time waits in a bounded queue, is tried again with
//! growing pauses, and in the end is given up and counted.
//!
//! **Architecture invariant:** no wasmtime types, and no connection but through
//! `connect`: nothing else of the host opens one to an address that somebody else chose.
#![deny(missing_docs)]

mod address;
mod body;
mod budget;
pub mod care;
mod client;
mod command;
mod connect;
pub mod credential;
mod error;
mod gate;
mod host;
pub mod oauth;
mod outlet;
mod pool;
mod request;
mod resolve;
mod retry;
mod socket;
mod standing;
mod tls;
mod tries;
mod webhook;

pub use body::Body;
pub use budget::{Budget, CallLimits, Connection, DayUse, PluginBudget, PluginLimits};
pub use client::Client;
pub use command::Command;
pub use error::{GateError, GateErrorKind, Phase};
pub use gate::{CallPolicy, Gate, InForce, Timeouts};
pub use host::{Answer, HostClient, HostLimits, HostRequest, Take};
pub use outlet::{Outlet, OutletCounts};
pub use socket::{SocketGate, SocketUse};
pub use tls::ClientIdentity;
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
