//! The socket of the process that owns a project.
//!
//! The first `serve` of a project owns it and listens on a socket; any further one passes
//! its client's messages on to that socket ([`crate::relay`]), so that all clients see one
//! host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_core::socket::{self, LocalSocket};
use portreeve_core::{Caller, Host};
use rmcp::RoleServer;
use rmcp::model::ErrorData;
use rmcp::service::TxJsonRpcMessage;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::message::BUSY;

/// Clients that one owner serves over its socket.
const CONNECTIONS_MAX: usize = 64;

/// The socket on which an owner speaks MCP, open and not yet served.
#[derive(Debug)]
pub struct OwnerSocket(LocalSocket);

impl OwnerSocket {
    /// Makes the socket at `path`, where there must be none, for this user only.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(path: &Path) -> Result<OwnerSocket, Error> {
        LocalSocket::bind(path)
            .map(OwnerSocket)
            .map_err(|error| Error::Listen {
                path: path.to_owned(),
                error,
            })
    }

    /// Serves every client that connects, until `shutdown` is cancelled; then waits for
    /// their connections to end. Once `leave` is cancelled, it also ends when no client is
    /// left.
    pub async fn serve(
        self,
        host: Arc<Host>,
        leave: CancellationToken,
        shutdown: CancellationToken,
    ) {
        let end = shutdown.clone();
        let serve = move |stream: UnixStream, number| {
            let caller = Caller::local(&format!("proxy-{number}"));
            let (host, shutdown) = (host.clone(), end.clone());
            async move {
                let (reader, writer) = stream.into_split();
                let served = crate::serve_connection(host, caller, reader, writer, shutdown).await;
                if let Err(error) = served {
                    tracing::error!("{error}");
                }
            }
        };
        self.0
            .serve(CONNECTIONS_MAX, serve, refuse, leave, shutdown)
            .await;
    }
}

/// Tells a client that there are too many.
async fn refuse(mut stream: UnixStream) {
    let why = format!(
        "busy: {CONNECTIONS_MAX} clients are connected to this project already; close one of them"
    );
    let refusal = TxJsonRpcMessage::<RoleServer>::error(ErrorData::new(BUSY, why, None), None);
    if let Ok(mut line) = serde_json::to_vec(&refusal) {
        line.push(b'\n');
        // A short line always fits into a new socket.
        let _ = stream.write_all(&line).await;
    }
}

/// Connects to the owner that listens on `socket`. One that is just starting is waited for, up
/// to a second.
///
/// # Errors
/// [`Error::NoAnswer`] when it does not answer: it may also have ended meanwhile.
pub async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    let connected = socket::connect(socket).await;
    connected.map_err(|why| Error::NoAnswer {
        path: PathBuf::from(socket),
        why,
    })
}
