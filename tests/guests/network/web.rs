//! A web without wires: answers requests by their paths, and records them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use portreeve_runtime::{
    ErrorCode, Failure, HttpBody, HttpError, HttpErrorKind, HttpSource, HttpTimeouts,
};
use tokio::sync::watch;

/// One request as it arrived.
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) timeouts: HttpTimeouts,
}

impl Seen {
    /// A header, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// By the path:
///
/// | Path | Answer |
/// |---|---|
/// | `/ok` | `hello` |
/// | `/echo` | the request's body, as it comes |
/// | `/count` | how many bytes and which trailers came |
/// | `/early` | 413 without looking at the body |
/// | `/big` | as many bytes as the query says |
/// | `/head` | headers of as many bytes as the query says |
/// | `/trailers` | trailers of as many bytes as the query says |
/// | `/hang` | none, ever |
/// | `/drip` | a byte, then no more |
/// | `/break` | a byte, then a failure |
/// | `/to` | a redirect (307) to what the query says |
/// | `/status` | the status of the query, with `retry-after: 7` |
/// | `/fail` | the failure of the index in `failures` |
#[derive(Default)]
pub(super) struct Web {
    pub(super) seen: Mutex<Vec<Seen>>,
    /// After so many requests all are refused.
    pub(super) revoked_after: Option<usize>,
    pub(super) failures: Vec<HttpErrorKind>,
    /// Bytes that were made for answers.
    pub(super) made: Arc<AtomicU64>,
    /// What of exchanges is not yet gone.
    pub(super) alive: Alive,
}

/// Counts what of an exchange is not yet gone.
#[derive(Clone)]
pub(super) struct Alive(Arc<watch::Sender<usize>>);

impl Default for Alive {
    fn default() -> Alive {
        Alive(Arc::new(watch::Sender::new(0)))
    }
}

struct Life(Alive);

impl Alive {
    fn life(&self) -> Life {
        self.0.send_modify(|count| *count += 1);
        Life(self.clone())
    }

    /// Waits until as many are alive.
    pub(super) async fn reaches(&self, expected: usize) {
        let mut count = self.0.subscribe();
        let reached = count.wait_for(|count| *count == expected);
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        reached.expect("it takes forever").unwrap();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// A body of pieces that are made when they are asked for.
struct Pieces {
    left: u64,
    then: VecDeque<Result<Frame<Bytes>, HttpError>>,
    ends: bool,
    made: Arc<AtomicU64>,
    _life: Life,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.left > 0 {
            let now = self.left.min(10_000);
            self.left -= now;
            self.made.fetch_add(now, Ordering::Relaxed);
            let piece = Bytes::from(vec![b'x'; now as usize]);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.then.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// A body that keeps something alive.
struct Kept {
    body: HttpBody,
    _life: Life,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
}

fn text(text: impl Into<Bytes>) -> HttpBody {
    let never = |never: Infallible| match never {};
    Full::new(text.into()).map_err(never).boxed_unsync()
}

/// The failure of the tests, of a kind.
pub(super) fn failure(kind: HttpErrorKind) -> HttpError {
    let mut failure = Failure::new(
        ErrorCode::Unavailable,
        "test",
        format!("this is why: {kind:?}"),
    );
    failure.retry_after = Some(Duration::from_secs(3));
    HttpError::new(kind, failure)
}

/// The refusal of the tests.
pub(super) const REFUSAL: &str = "not granted: ask the operator for `portreeve grant`";

#[async_trait::async_trait]
impl HttpSource for Web {
    async fn send(
        &self,
        request: Request<HttpBody>,
        timeouts: HttpTimeouts,
    ) -> Result<Response<HttpBody>, HttpError> {
        let life = self.alive.life();
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let number = query.parse::<u64>().unwrap_or(0);
        let count = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen {
                method: parts.method.to_string(),
                uri: parts.uri,
                headers: parts.headers,
                timeouts,
            });
            seen.len()
        };
        if self.revoked_after.is_some_and(|after| count > after) {
            let refusal = Failure::new(ErrorCode::PermissionDenied, "not-granted", REFUSAL);
            return Err(HttpError::new(HttpErrorKind::Refused, refusal));
        }
        let mut pieces = Pieces {
            left: 0,
            then: VecDeque::new(),
            ends: true,
            made: self.made.clone(),
            _life: self.alive.life(),
        };
        let mut response = Response::builder();
        let body = match path.as_str() {
            "/ok" => {
                response = response.header("content-type", "text/plain");
                text("hello")
            }
            "/echo" => Kept { body, _life: life }.boxed_unsync(),
            "/count" => {
                let (mut bytes, mut trailers) = (0, String::from("no"));
                while let Some(frame) = body.frame().await {
                    match frame?.into_data() {
                        Ok(data) => bytes += data.len(),
                        Err(frame) => trailers = format!("{:?}", frame.trailers_ref().unwrap()),
                    }
                }
                text(format!("{bytes} bytes, {trailers} trailers"))
            }
            "/early" => {
                response = response.status(413);
                text("too large")
            }
            "/big" => {
                pieces.left = number;
                pieces.boxed_unsync()
            }
            "/head" => {
                response = response.header("x-large", "a".repeat(number as usize));
                text("")
            }
            "/trailers" => {
                let mut trailers = HeaderMap::new();
                let value = HeaderValue::from_str(&"t".repeat(number as usize)).unwrap();
                trailers.insert("x-trailer", value);
                pieces.left = 1;
                pieces.then.push_back(Ok(Frame::trailers(trailers)));
                pieces.boxed_unsync()
            }
            "/hang" => std::future::pending().await,
            "/drip" => {
                (pieces.left, pieces.ends) = (1, false);
                pieces.boxed_unsync()
            }
            "/break" => {
                pieces.left = 1;
                let broken = failure(HttpErrorKind::ConnectionTerminated);
                pieces.then.push_back(Err(broken));
                pieces.boxed_unsync()
            }
            "/to" => {
                response = response.status(307).header("location", query);
                text("elsewhere")
            }
            "/status" => {
                response = response.status(number as u16).header("retry-after", "7");
                text("")
            }
            "/fail" => return Err(failure(self.failures[number as usize])),
            other => panic!("there is no {other}"),
        };
        Ok(response.body(body).unwrap())
    }
}
