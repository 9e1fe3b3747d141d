//! The socket of the process that owns a project, and the proxy that others become.
//!
//! The first `serve` of a project owns it and listens on a socket; any further one passes
//! its client's bytes on to that socket, so that all clients see one host.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::{Caller, Host};
use rmcp::RoleServer;
use rmcp::model::ErrorData;
use rmcp::service::TxJsonRpcMessage;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::message::BUSY;

/// Clients that one owner serves over its socket.
const CONNECTIONS_MAX: usize = 64;

/// Pause after the system refused a connection, for want of descriptors for example.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Longest time that a proxy waits for an owner that is just starting. Short: an owner that
/// is just ending looks the same, and its project is then free.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause between two attempts.
const CONNECT_PAUSE: Duration = Duration::from_millis(25);

/// Longest time that an owner's last answers are waited for, after the client left.
const LAST_ANSWERS_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an owner that leaves looks whether somebody connected just before.
const LATECOMER_PAUSE: Duration = Duration::from_millis(1);

/// The owner's socket, open and not yet served.
#[derive(Debug)]
pub struct OwnerSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl OwnerSocket {
    /// Makes the socket at `path`, where there must be none. Only this user can ever connect
    /// to it: it is made with mode 0600 in a directory of its own, then moved.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(path: &Path) -> Result<OwnerSocket, Error> {
        let bind = || {
            let dir = path.parent().unwrap_or(Path::new("."));
            // No longer than the path itself would be: sockets' paths are short.
            let private = tempfile::Builder::new()
                .prefix(".")
                .rand_bytes(6)
                .tempdir_in(dir)?;
            let made = private.path().join("s");
            let listener = UnixListener::bind(&made)?;
            std::fs::set_permissions(&made, PermissionsExt::from_mode(0o600))?;
            std::fs::rename(&made, path)?;
            Ok(listener)
        };
        bind()
            .map(|listener| OwnerSocket {
                listener,
                path: path.to_owned(),
            })
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
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut number = 0_u64;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a connection failed");
                    }
                    continue;
                }
                accepted = self.listener.accept() => accepted,
                // After the listener: who has connected already is served.
                () = leave.cancelled(), if connections.is_empty() => match self.latecomer().await {
                    Some(accepted) => accepted,
                    None => break,
                },
            };
            let stream = match accepted {
                Ok((stream, _)) if is_ours(&stream) => stream,
                Ok(_) => {
                    tracing::warn!("another user tried to connect to this project's socket");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to this project's socket failed");
                    sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                refuse(stream).await;
                continue;
            };
            number = number.wrapping_add(1);
            let caller = Caller::local(&format!("proxy-{number}"));
            let (host, shutdown) = (host.clone(), shutdown.clone());
            connections.spawn(async move {
                let (reader, writer) = stream.into_split();
                let served = crate::serve_connection(host, caller, reader, writer, shutdown).await;
                if let Err(error) = served {
                    tracing::error!("{error}");
                }
                drop(place);
            });
        }
        while connections.join_next().await.is_some() {}
    }

    /// Takes the socket out of reach and returns who connected before that, if anybody did;
    /// it is then put back. Otherwise nobody is left who would be cut off by its end.
    async fn latecomer(&self) -> Option<std::io::Result<(UnixStream, SocketAddr)>> {
        let away = self.path.with_extension("away");
        let moved = std::fs::rename(&self.path, &away);
        // Not without a pause: only waiting learns of connections from the system.
        let accepted = timeout(LATECOMER_PAUSE, self.listener.accept()).await.ok();
        if moved.is_err() {
            // It was removed, so nobody finds it any more.
            return accepted;
        }
        let done = match accepted {
            Some(_) => std::fs::rename(&away, &self.path),
            None => std::fs::remove_file(&away),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the project's socket could not be moved");
        }
        accepted
    }
}

/// Whether the other side runs as the same user.
fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
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
        let _ = timeout(REFUSED_PAUSE, stream.write_all(&line)).await;
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
        let no_answer = |why: String| Error::NoAnswer {
            path: PathBuf::from(socket),
            why,
        };
        let deadline = Instant::now() + CONNECT_TIME_MAX;
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) if is_ours(&stream) => return Ok(Proxy { stream }),
                Ok(_) => return Err(no_answer("it belongs to another user".to_owned())),
                Err(error) if Instant::now() >= deadline => {
                    return Err(no_answer(error.to_string()));
                }
                Err(_) => sleep(CONNECT_PAUSE).await,
            }
        }
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
