//! Sockets of the project's owner: for this user only, with a bounded number of connections,
//! and an end that cuts off nobody who has just connected.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Pause after the system refused a connection, for want of descriptors for example; also
/// the longest time that telling a client of its refusal takes.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How long an owner that leaves looks whether somebody connected just before.
const LATECOMER_PAUSE: Duration = Duration::from_millis(1);

/// Longest time that a connection to an owner that is just starting is tried for. Short: an
/// owner that is just ending looks the same, and its project is then free.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause between two attempts.
const CONNECT_PAUSE: Duration = Duration::from_millis(25);

/// A socket of the owner, open and not yet served.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Makes the socket at `path`, where there must be none. Only this user can ever connect
    /// to it: it is made with mode 0600 in a directory of its own, then moved.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(path: &Path) -> std::io::Result<LocalSocket> {
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
        Ok(LocalSocket {
            listener,
            path: path.to_owned(),
        })
    }

    /// Hands every connection to `serve`, until `shutdown` is cancelled; then waits for them
    /// to end. Once `leave` is cancelled, it also ends when no connection is left. A
    /// connection over `connections_max` goes to `refuse`, for a moment.
    pub async fn serve<Served, Refused>(
        self,
        connections_max: usize,
        mut serve: impl FnMut(UnixStream, u64) -> Served,
        refuse: impl Fn(UnixStream) -> Refused,
        leave: CancellationToken,
        shutdown: CancellationToken,
    ) where
        Served: Future<Output = ()> + Send + 'static,
        Refused: Future<Output = ()>,
    {
        let places = Arc::new(Semaphore::new(connections_max));
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
                let _ = timeout(REFUSED_PAUSE, refuse(stream)).await;
                continue;
            };
            number = number.wrapping_add(1);
            let served = serve(stream, number);
            connections.spawn(async move {
                served.await;
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

/// Connects to the owner that listens at `path`. One that is just starting is waited for, up
/// to a second.
///
/// # Errors
/// A sentence: it does not answer (it may also have ended meanwhile), or it is not this
/// user's.
pub async fn connect(path: &Path) -> Result<UnixStream, String> {
    let deadline = Instant::now() + CONNECT_TIME_MAX;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) if is_ours(&stream) => return Ok(stream),
            Ok(_) => return Err("it belongs to another user".to_owned()),
            Err(error) if Instant::now() >= deadline => return Err(error.to_string()),
            Err(_) => sleep(CONNECT_PAUSE).await,
        }
    }
}

/// Whether the other side runs as the same user.
fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}
