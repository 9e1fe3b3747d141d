//! Connections of one client: those in use, and those that are kept for the next request.
//!
//! hyper-util's pool bounds idle connections for each origin, and keys them by nothing but the
//! origin; here a guest chooses the origins and their number, and a connection that was made
//! with a client certificate must serve no other. Speaking HTTP, and what else is difficult
//! about a connection, is hyper's.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Either;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::body::Sent;
use crate::budget::Connection;
use crate::connect::Io;
use crate::error::{GateError, GateErrorKind};
use crate::request::HEAD_BYTES_MAX;
use crate::tls::ClientIdentity;

/// Connections that one client keeps, all origins together.
const KEPT_MAX: usize = 16;

/// How long one is kept: less than servers commonly do, so that few requests meet one that is
/// being closed.
const KEPT_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection may take to be ready for the next request once a response is read.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes that a server may send without anything of it being of use to a request: interim
/// responses, pings, settings. Above what is read ahead of a guest that is slow.
const IDLE_TALK_BYTES_MAX: usize = 8 << 20;

/// What is read at once over HTTP/1.1, and ahead of a guest: hyper reads more the faster it
/// comes, and less than this would cost large bodies more reads.
const READ_BYTES_MAX: usize = 400 << 10;

/// What is read ahead of a guest over HTTP/2: of one response, and of all over a connection.
const WINDOW_BYTES: u32 = 1 << 20;
const WINDOWS_BYTES: u32 = 2 << 20;

/// Speaks HTTP over one connection.
enum Sender {
    /// For one request at a time. What is dropped is closed, whatever is still under way.
    Http1 {
        sender: http1::SendRequest<Sent>,
        _driver: AbortOnDropHandle<()>,
    },
    /// For many.
    Http2(http2::SendRequest<Sent>),
}

impl Sender {
    fn is_usable(&self) -> bool {
        match self {
            Sender::Http1 { sender, .. } => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }
}

/// A connection that a request may go over.
pub(crate) struct Lease {
    sender: Sender,
    line: Arc<Line>,
    pool: Weak<Pool>,
}

/// What a connection is, and how much came over it that was of no use.
struct Line {
    origin: Box<str>,
    /// What the header Host says over HTTP/1.1.
    host: HeaderValue,
    identity: Option<Arc<ClientIdentity>>,
    /// Where it leads.
    address: IpAddr,
    idle_talk: AtomicUsize,
}

impl Line {
    fn delivered(&self) {
        self.idle_talk.store(0, Ordering::Relaxed);
    }

    fn talks_idly(&self) -> bool {
        self.idle_talk.load(Ordering::Relaxed) > IDLE_TALK_BYTES_MAX
    }
}

/// A request that was not sent, if it is whole, and why.
pub(crate) type Unsent = (GateError, Option<Box<Request<Sent>>>);

impl Lease {
    /// Begins to speak HTTP over a stream.
    pub(crate) async fn open(
        pool: &Arc<Pool>,
        (stream, address): (Box<dyn Io>, IpAddr),
        h2: bool,
        origin: &str,
        identity: Option<Arc<ClientIdentity>>,
    ) -> Result<Lease, GateError> {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let host = HeaderValue::from_str(host);
        let line = Arc::new(Line {
            origin: origin.into(),
            host: host.map_err(|_| GateError::request("the host can't be sent"))?,
            identity,
            address,
            idle_talk: AtomicUsize::new(0),
        });
        let stream = TokioIo::new(Watched {
            inner: stream,
            line: line.clone(),
        });
        let failed = |error: hyper::Error| GateError::exchange(&error);
        let sender = if h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOWS_BYTES)
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .handshake(stream)
                .await
                .map_err(failed)?;
            // It ends with its senders. What it ends with, its requests are told.
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_header_size(HEAD_BYTES_MAX)
                .max_buf_size(READ_BYTES_MAX)
                .handshake(stream)
                .await
                .map_err(failed)?;
            let driver = tokio::spawn(async {
                let _ = connection.await;
            });
            Sender::Http1 {
                sender,
                _driver: AbortOnDropHandle::new(driver),
            }
        };
        Ok(Lease {
            sender,
            line,
            pool: Arc::downgrade(pool),
        })
    }

    /// Sends a request with a full URL.
    pub(crate) fn send(
        &mut self,
        mut request: Request<Sent>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unsent>> {
        self.delivered();
        let line = self.line.clone();
        let (url, sent) = match &mut self.sender {
            Sender::Http1 { sender, .. } => {
                let url = std::mem::take(request.uri_mut());
                let path = url.path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(HOST, self.line.host.clone());
                (url, Either::Left(sender.try_send_request(request)))
            }
            Sender::Http2(sender) => {
                let url = request.uri().clone();
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(HOST);
                (url, Either::Right(sender.try_send_request(request)))
            }
        };
        sent.map(move |sent| {
            sent.inspect(|_| line.delivered()).map_err(|mut error| {
                let whole = error.take_message().map(|mut whole| {
                    *whole.uri_mut() = url;
                    Box::new(whole)
                });
                (line.blame(error.error()), whole)
            })
        })
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> IpAddr {
        self.line.address
    }

    /// What came over it was of use.
    pub(crate) fn delivered(&self) {
        self.line.delivered();
    }

    /// Why an exchange over it failed.
    pub(crate) fn blame(&self, error: &hyper::Error) -> GateError {
        self.line.blame(error)
    }

    /// Keeps it for the next request; its place among the plugin's connections becomes free.
    pub(crate) fn give_back(self, place: Connection) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let Lease {
            mut sender, line, ..
        } = self;
        let Sender::Http1 {
            sender: waiting, ..
        } = &mut sender
        else {
            // The pool has it.
            return;
        };
        if waiting.is_ready() {
            pool.keep(sender, line);
        } else if !waiting.is_closed() {
            // The response is read, but its task has not yet turned to the next, or there is
            // more to be sent that nobody waits for.
            let pool = Arc::downgrade(&pool);
            tokio::spawn(async move {
                let _place = place;
                if let Sender::Http1 {
                    sender: waiting, ..
                } = &mut sender
                    && let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIME_MAX, waiting.ready()).await
                    && let Some(pool) = pool.upgrade()
                {
                    pool.keep(sender, line);
                }
            });
        }
    }
}

impl Line {
    fn blame(&self, error: &hyper::Error) -> GateError {
        if self.talks_idly() {
            return GateError::new(
                GateErrorKind::Protocol,
                "the server sends without end what belongs to no response",
            );
        }
        GateError::exchange(error)
    }
}

/// A kept connection.
struct Kept {
    sender: Sender,
    line: Arc<Line>,
    since: Instant,
}

/// The connections that are kept, the longest unused first.
#[derive(Default)]
pub(crate) struct Pool {
    kept: Mutex<Vec<Kept>>,
    /// Whether somebody looks for what was kept too long.
    swept: AtomicBool,
}

impl Pool {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection to an origin, under an identity.
    pub(crate) fn take(
        self: &Arc<Self>,
        origin: &str,
        identity: Option<&Arc<ClientIdentity>>,
    ) -> Option<Lease> {
        let mut kept = self.kept();
        loop {
            let fits = |kept: &Kept| {
                &*kept.line.origin == origin && kept.line.identity.as_ref() == identity
            };
            // The newest is the least likely to be closed by the server.
            let at = kept.iter().rposition(fits)?;
            let found = kept.remove(at);
            if !found.sender.is_usable() {
                continue;
            }
            let lease = Lease {
                sender: found.sender,
                line: found.line,
                pool: Arc::downgrade(self),
            };
            if let Sender::Http2(sender) = &lease.sender {
                // Others may use it at the same time.
                kept.push(Kept {
                    sender: Sender::Http2(sender.clone()),
                    line: lease.line.clone(),
                    since: Instant::now(),
                });
            }
            return Some(lease);
        }
    }

    /// Lets others use a new connection, if it can be shared.
    pub(crate) fn share(self: &Arc<Self>, lease: &Lease) {
        if let Sender::Http2(sender) = &lease.sender {
            self.keep(Sender::Http2(sender.clone()), lease.line.clone());
        }
    }

    fn keep(self: &Arc<Self>, sender: Sender, line: Arc<Line>) {
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept {
            sender,
            line,
            since: Instant::now(),
        });
        // Under the lock, as is the end of the one that looks.
        let is_swept = self.swept.swap(true, Ordering::AcqRel);
        drop(kept);
        if !is_swept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes what was kept for too long, until nothing is kept.
async fn sweep(pool: Weak<Pool>) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else {
                return;
            };
            let mut kept = pool.kept();
            kept.retain(|kept| kept.since.elapsed() < KEPT_TIME_MAX);
            let Some(oldest) = kept.iter().map(|kept| kept.since).min() else {
                pool.swept.store(false, Ordering::Release);
                return;
            };
            oldest + KEPT_TIME_MAX
        };
        tokio::time::sleep_until(next).await;
    }
}

/// A stream that ends when a server talks idly.
struct Watched {
    inner: Box<dyn Io>,
    line: Arc<Line>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.line.talks_idly() {
            return Poll::Ready(Err(std::io::Error::other("idle talk")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let bytes = buffer.filled().len().saturating_sub(before);
        self.line.idle_talk.fetch_add(bytes, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
