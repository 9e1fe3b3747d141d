//! Portreeve's gateway: the host as an MCP server.
//!
//! [`serve_connection`] speaks MCP over one pair of byte streams: standard input and output,
//! or a connection to the socket of the project's owner ([`owner`]). Both eras of the
//! protocol are served: clients that open with `initialize`, and those that send every
//! request with its own protocol version.
//!
//! **Architecture invariant:** this floor finds out who calls and speaks the protocol. It
//! decides nothing about plugins, and nothing of the protocol's types leaves it: the crate
//! that speaks MCP can be exchanged without a change to any other floor.
#![deny(missing_docs)]

mod connection;
mod content;
mod convert;
mod hearing;
pub mod http;
mod lines;
mod message;
mod meta;
mod older_tasks;
mod output;
pub mod owner;
mod panels;
mod people;
mod prepared;
mod progress;
pub mod relay;
mod sampling;
mod server;
mod statuses;
mod tasks;
mod told;
mod tools;
mod transport;
mod visible;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use portreeve_core::{Caller, Host};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::connection::Bounds;
use crate::server::Server;

/// Why a connection could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The protocol's own task ended in an unforeseen way.
    #[error("the connection ended because of a mistake in this program: {0}")]
    Broken(String),
    /// The socket of the project's owner can't be made.
    #[error("the socket {} can't be made: {error}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The project has an owner, which doesn't answer.
    #[error(
        "another process owns this project, but does not answer on {}: {why}; end that `portreeve serve`, then start this one again",
        path.display()
    )]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// The owner has no place for another client.
    #[error(
        "the process that owns this project serves as many clients as it can; close one of them, then start `portreeve serve` again"
    )]
    Full,
    /// The owner ended, and its place stayed empty.
    #[error(
        "the process that owned this project ended, and no other took its place; start `portreeve serve` again"
    )]
    OwnerGone,
}

/// Serves MCP to one client until it closes its side or `shutdown` is cancelled.
///
/// Messages are JSON, one to a line. When the reader ends, so does everything that this
/// client asked for. Nothing that a client sends ends more than its own connection, and a
/// client that reads slowly holds up nobody else.
///
/// # Errors
/// Only for mistakes in this program; a client that goes away is no error.
pub async fn serve_connection(
    host: Arc<Host>,
    caller: Caller,
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let connection = shutdown.child_token();
    let of = caller.connection.clone();
    let server = Server::new(host.clone(), caller, connection.clone());
    let served = connection::serve(server, reader, writer, connection, Bounds::default()).await;
    host.end_turns(&of);
    served
}

/// Standard input and output of this process, driven without extra threads where both are
/// pipes, as MCP clients start servers.
///
/// To be called once, within a tokio runtime.
pub fn stdio() -> (
    impl AsyncRead + Send + Unpin + 'static,
    impl AsyncWrite + Send + Unpin + 'static,
) {
    rmcp::transport::stdio_pipes()
}
