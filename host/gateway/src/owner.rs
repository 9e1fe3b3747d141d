//! The socket of the process that owns a project, and the proxy that others become.
//!
//! The first `serve` of a project owns it and listens on a socket; any further one passes
//! its client's bytes on to that socket, so that all clients see one host.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::socket::{self, LocalSocket};
use portreeve_core::{Caller, Host};
use rmcp::RoleServer;
use rmcp::model::ErrorData;
use rmcp::service::TxJsonRpcMessage;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::message::BUSY;

/// Clients that one owner serves over its socket.
const CONNECTIONS_MAX: usize = 64;

/// Longest time that an owner's last answers are waited for, after the client left.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_secs(5);

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

/// A connection to the process that owns a project, for a client of this process.
#[derive(Debug)]
pub struct Proxy {
    stream: UnixStream,
}

impl Proxy {
    /// Connects to the owner that listens on `socket`. One that is just starting is waited
    /// for, up to a second.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] when it does not answer: it may also have ended meanwhile.
    pub async fn connect(socket: &Path) -> Result<Proxy, Error> {
        socket::connect(socket)
            .await
            .map(|stream| Proxy { stream })
            .map_err(|why| Error::NoAnswer {
                path: PathBuf::from(socket),
                why,
            })
    }

    /// Passes bytes between the client and the owner, until either leaves. After the client's
    /// last byte, the owner's last answers are still passed on.
    ///
    /// # Errors
    /// When the owner leaves before the client does.
    pub async fn pass(
        self,
        mut reader: impl AsyncRead + Send + Unpin,
        mut writer: impl AsyncWrite + Send + Unpin,
    ) -> Result<(), Error> {
        let (mut from_owner, mut to_owner) = self.stream.into_split();
        let answers = async {
            let copied = tokio::io::copy(&mut from_owner, &mut writer).await;
            let _ = writer.flush().await;
            copied
        };
        tokio::pin!(answers);
        // An end is that of the side that is read from, a broken pipe that of the other.
        let owner_gone = tokio::select! {
            sent = tokio::io::copy(&mut reader, &mut to_owner) => match sent {
                Ok(_) => false,
                Err(error) => matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            },
            answered = &mut answers => match answered {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            },
        };
        if owner_gone {
            return Err(Error::OwnerGone);
        }
        // The owner sees the client's end by that of its own reader.
        let _ = to_owner.shutdown().await;
        let _ = timeout(LAST_ANSWERS_TIME_MAX, answers).await;
        Ok(())
    }
}
