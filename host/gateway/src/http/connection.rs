//! One listener's connections, each under the limits of `[serve]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portreeve_core::{Caller, Door};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::checks::HeadBounds;
use super::listen::{Ends, Listener, Stream};
use super::route::{self, Front};
use super::stall::Stall;
use super::tls::Tls;

/// Pause after the system refused a connection, for want of descriptors for example; also
/// the longest time that telling a client of its refusal takes.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Who is on the other side of one connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) ends: Ends,
    /// Counted from the start of this process.
    number: u64,
}

impl Peer {
    pub(super) fn new(ends: Ends) -> Peer {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Peer {
            ends,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Who calls, where nothing but the connection tells one from another.
    pub(super) fn caller(&self) -> Caller {
        self.caller_in(&format!("http-{}", self.number))
    }

    /// Whether it is the principal of this call.
    pub(super) fn is(&self, caller: &Caller) -> bool {
        self.caller_in(&caller.connection).name == caller.name
    }

    /// Who calls in what has this name.
    pub(super) fn caller_in(&self, connection: &str) -> Caller {
        let name = match self.ends.within_machine() {
            true => Caller::local(connection).name,
            false => "remote".into(),
        };
        Caller {
            name,
            connection: connection.into(),
            door: Door::Http,
        }
    }
}

/// What every connection of a listener needs.
pub(super) struct Accept {
    pub(super) front: Arc<Front>,
    pub(super) tls: Arc<Tls>,
    /// Of all listeners.
    pub(super) places: Arc<Semaphore>,
}

impl Accept {
    /// Accepts until the host shall end; what is returned are the connections that are left.
    pub(super) async fn run(self, listener: Listener) -> JoinSet<()> {
        let router = route::router(self.front.clone());
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.front.shutdown().cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a connection failed");
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, ends) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection failed");
                    sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                let _ = timeout(REFUSED_PAUSE, refuse(stream)).await;
                continue;
            };
            let front = self.front.clone();
            let acceptor = self.tls.acceptor();
            let router = router.clone();
            connections.spawn(async move {
                match acceptor {
                    None => serve(stream, Peer::new(ends), front, router).await,
                    // Boxed: each connection without TLS has room for it otherwise.
                    Some(acceptor) => {
                        Box::pin(serve_tls(stream, ends, acceptor, front, router)).await;
                    }
                }
                drop(place);
            });
        }
        connections
    }
}

/// Serves one connection once both sides have agreed on its keys.
async fn serve_tls(
    stream: impl Stream,
    ends: Ends,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    router: Router,
) {
    let patience = front.settings().limits.idle;
    match timeout(patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, Peer::new(ends), front, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// Tells a client that there is no place for it. One that expects TLS sees a connection that
/// ends.
async fn refuse(mut stream: Box<dyn Stream>) {
    tracing::warn!("a connection was refused: `connections` under [serve] limits is reached");
    let why = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"busy: there are as many connections as `connections` under [serve] limits allows; try again later"}}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{why}",
        why.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Serves one connection of this machine.
pub(super) async fn serve_local(stream: impl Stream, front: Arc<Front>) {
    let ends = Ends {
        remote: None,
        local: None,
    };
    let router = route::router(front.clone());
    serve(stream, Peer::new(ends), front, router).await;
}

/// How much of a head is read: more than it may have, so that whoever goes a little too far is
/// told of it. Beyond that the protocol's reader refuses it without words.
const fn read_max(allowed: usize) -> usize {
    allowed.saturating_add(allowed / 2)
}

/// Serves one connection until it ends, or the host does.
async fn serve(stream: impl Stream, peer: Peer, front: Arc<Front>, router: Router) {
    let settings = front.settings();
    let limits = &settings.limits;
    let router = TowerToHyperService::new(router);
    let bounds = HeadBounds::of(limits);
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let answering = bounds.check(&request).map(|()| {
            request.extensions_mut().insert(peer.clone());
            router.call(request)
        });
        async move {
            match answering {
                Ok(answering) => answering.await,
                Err(refused) => Ok(refused.into_response()),
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(read_max(bounds.bytes_max))
        .max_headers(read_max(bounds.fields_max));
    let io = TokioIo::new(Stall::new(stream, limits.stall));
    let connection = http.serve_connection(io, service);
    tokio::pin!(connection);
    let shutdown = front.shutdown();
    let served = tokio::select! {
        served = &mut connection => served,
        () = shutdown.cancelled() => {
            // The answer that is being worked on is the last one.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
