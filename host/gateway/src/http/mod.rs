//! The host over HTTP: MCP's streamable HTTP in both eras, on TCP, Unix sockets and sockets
//! that a service manager has opened, with or without TLS.
//!
//! ```text
//! listen  → what is accepted: addresses, sockets, TLS          (listen, tls)
//!         → a connection under its limits                      (connection, stall)
//!         → a request under its limits: Host, Origin, fields   (checks)
//!         → one strict message                                 (body)
//!         → people: pages around panels                        (panels)
//!           newer clients: rmcp's own service, no state        (stateless)
//!           older clients: a session, and an exchange in it    (sessions, session, exchange)
//!           their streams, and what was told on them           (events, replay)
//! ```
//!
//! Nobody is asked who they are: whoever reaches an address can call every tool. So addresses
//! that other machines can reach are refused unless the operator says otherwise.

mod body;
mod checks;
mod connection;
mod events;
mod exchange;
mod hooks;
mod listen;
mod panels;
mod replay;
mod route;
mod session;
mod sessions;
mod stall;
mod stateless;
mod tls;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::Host;
use portreeve_manifest::settings::ServeSettings;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

pub use self::listen::Listen;
use self::listen::Listener;
use self::route::Front;
use self::tls::Tls;
pub use self::tls::TlsError;

/// How often `tls` under `[serve]` and its certificates are looked at for changes.
const TLS_PAUSE: Duration = Duration::from_secs(2);

/// How often sessions are looked at for those that were idle too long.
const SESSIONS_PAUSE: Duration = Duration::from_secs(5);

/// How long connections may take to end after their calls were cancelled.
const CANCELLED_TIME_MAX: Duration = Duration::from_secs(1);

/// Why the host can't be served over HTTP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An address is none.
    #[error(
        "{0:?} is no address to listen on: write \"127.0.0.1:8080\", \"unix:/PATH\", or \"inherited\" for the sockets of a service manager"
    )]
    Address(String),
    /// The system refuses the address.
    #[error("{address} can't be listened on: {error}{}", next_step(error))]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// A service manager has handed over no sockets.
    #[error(
        "no sockets were handed over: \"inherited\" is for service managers that open them (LISTEN_FDS, as systemd's socket units do)"
    )]
    NothingInherited,
    /// Other machines could reach an address.
    #[error(
        "{0} can be reached from other machines, and nobody is asked who they are yet: whoever connects could call every tool. Listen on 127.0.0.1 or on \"unix:/PATH\", behind something that asks; or say --allow-remote"
    )]
    Remote(String),
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What to do about an address that can't be had.
fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        // That of a Unix socket says so itself.
        io::ErrorKind::AddrInUse if error.raw_os_error().is_some() => {
            "; choose another port, or end what listens there (`ss -ltnp` shows it)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose one of its own"
        }
        io::ErrorKind::NotFound => {
            "; make the directory that it is to be in, or choose another path"
        }
        io::ErrorKind::PermissionDenied => {
            "; choose a port from 1024 on, or a path that you may write to"
        }
        _ => "",
    }
}

/// Whether addresses that other machines can reach may be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only addresses of this machine.
    Local,
    /// Any.
    Remote,
}

/// The host over HTTP, listening and not yet served.
pub struct HttpServer {
    listeners: Vec<Listener>,
    tls: Arc<Tls>,
}

impl HttpServer {
    /// Listens on all of `addresses`. Files of certificates are relative to `dir`.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When an address can't be had, others could reach it and `reach` does not allow that, or
    /// the certificates can't be used.
    pub fn bind(
        addresses: &[Listen],
        reach: Reach,
        settings: &ServeSettings,
        dir: &Path,
    ) -> Result<HttpServer, HttpError> {
        let tls = Tls::open(settings.tls.as_ref(), dir)?;
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.extend(address.open(reach)?);
        }
        Ok(HttpServer {
            listeners,
            tls: Arc::new(tls),
        })
    }

    /// Where it listens, as addresses of the protocol's endpoint.
    pub fn endpoints(&self) -> Vec<String> {
        let tls = self.tls.is_used();
        self.listeners
            .iter()
            .map(|listener| listener.endpoint(tls))
            .collect()
    }

    /// Whether other machines can reach it.
    pub fn is_remote(&self) -> bool {
        self.listeners.iter().any(Listener::is_remote)
    }

    /// Has the certificates read again, however new their files are.
    pub fn certificates(&self) -> CertificateReload {
        CertificateReload(self.tls.clone())
    }

    /// Serves everybody who connects, until `shutdown` is cancelled. Then nobody is let in any
    /// more, answers that are being worked on are given for as long as `drain` under `[serve]`
    /// says, and the rest is cancelled.
    pub async fn serve(self, host: Arc<Host>, shutdown: CancellationToken) {
        let front = Arc::new(Front::new(host, shutdown.clone()));
        let connections_max = front.settings().limits.connections;
        let places = Arc::new(Semaphore::new(
            usize::try_from(connections_max).unwrap_or(usize::MAX),
        ));
        let mut connections = JoinSet::new();
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            let accept = connection::Accept {
                front: front.clone(),
                tls: self.tls.clone(),
                places: places.clone(),
            };
            accepting.spawn(accept.run(listener));
        }
        let keeping = keep(front.clone(), self.tls.clone());
        tokio::select! {
            () = keeping => {}
            () = shutdown.cancelled() => {}
        }
        while let Some(ended) = accepting.join_next().await {
            match ended {
                Ok(mut served) => {
                    connections.spawn(async move { while served.join_next().await.is_some() {} });
                }
                Err(error) => tracing::error!(%error, "the task of a listener failed"),
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        tokio::pin!(drained);
        let drain = front.settings().limits.drain;
        if timeout(drain, &mut drained).await.is_ok() {
            return;
        }
        tracing::warn!("calls over HTTP did not end in time; they are cancelled");
        front.cancel();
        if timeout(CANCELLED_TIME_MAX, &mut drained).await.is_err() {
            tracing::debug!("some connections did not end");
        }
    }
}

/// Serves one connection that is there already, over any stream, until it ends. It is taken
/// for one of this machine.
pub async fn serve_stream(
    host: Arc<Host>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    shutdown: CancellationToken,
) {
    let front = Arc::new(Front::new(host, shutdown));
    connection::serve_local(stream, front).await;
}

/// Reads certificates again when it is asked to.
#[derive(Clone)]
pub struct CertificateReload(Arc<Tls>);

impl CertificateReload {
    /// Reads the certificates again. Those that were shown before stay when the files can't be
    /// used; that is logged.
    pub fn reload(&self) {
        self.0.reload();
    }
}

/// Looks after what changes with time, for ever.
async fn keep(front: Arc<Front>, tls: Arc<Tls>) {
    let mut look_at_tls = interval(TLS_PAUSE);
    let mut look_at_sessions = interval(SESSIONS_PAUSE);
    loop {
        tokio::select! {
            _ = look_at_tls.tick() => tls.follow(front.settings().tls.as_ref()),
            _ = look_at_sessions.tick() => front.end_idle_sessions(),
        }
    }
}
