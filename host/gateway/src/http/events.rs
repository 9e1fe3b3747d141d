//! A stream of events as the answer to one request.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::replay::{Connected, Event};

/// Pause between two signs of life in a stream: what stands between may take a silent
/// connection for a dead one.
const ALIVE_PAUSE: Duration = Duration::from_secs(15);

/// A sign of life: a comment, which nobody reads.
const ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// What a stream of events is called.
const EVENTS: &str = "text/event-stream";

/// How long a client shall wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// A connection that tells of a stream.
struct Telling {
    first: Option<Bytes>,
    kept: std::vec::IntoIter<Event>,
    rest: Option<mpsc::Receiver<Event>>,
    /// When the client shall come back instead of being held.
    close_at: Option<Instant>,
}

impl Telling {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some(event) = self.kept.next() {
            return Some(written(&event));
        }
        let rest = self.rest.as_mut()?;
        tokio::select! {
            biased;
            () = reached(self.close_at) => {
                self.rest = None;
                Some(Bytes::from(format!("retry: {RETRY_MS}\n\n")))
            }
            event = rest.recv() => event.map(|event| written(&event)),
            () = sleep(ALIVE_PAUSE) => Some(ALIVE),
        }
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn written(event: &Event) -> Bytes {
    Bytes::from(format!(
        "event: message\nid: {}\ndata: {}\n\n",
        event.id, event.text
    ))
}

/// The stream for clients that come back: it begins with the id after which it goes on, and
/// ends after `time_max` at the latest.
pub(super) fn resumable(connected: Connected, time_max: Duration) -> Response {
    let first = format!("id: {}\nretry: {RETRY_MS}\ndata: \n\n", connected.after);
    let close_at = Instant::now().checked_add(time_max);
    telling(connected, Some(first.into()), close_at)
}

/// The stream for clients that take every event for a message, and may not come back.
pub(super) fn plain(connected: Connected) -> Response {
    telling(connected, None, None)
}

/// A stream that ends where it begins.
pub(super) fn empty() -> Response {
    response(Body::empty())
}

/// An answer that is still to come.
pub(super) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A stream that began before its answer was there.
enum Late {
    Begins(Answering),
    Waits(Answering),
    /// What the answer is: a stream of its own, or nothing more.
    Goes(BodyDataStream),
}

impl Late {
    async fn next(self) -> Option<(Result<Bytes, axum::Error>, Late)> {
        let mut answering = match self {
            Late::Begins(answering) => return Some((Ok(ALIVE), Late::Waits(answering))),
            Late::Goes(mut events) => {
                let event = events.next().await?;
                return Some((event, Late::Goes(events)));
            }
            Late::Waits(answering) => answering,
        };
        let answer = tokio::select! {
            biased;
            answer = &mut answering => answer,
            () = sleep(ALIVE_PAUSE) => return Some((Ok(ALIVE), Late::Waits(answering))),
        };
        let kind = answer.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes() == EVENTS.as_bytes());
        let body = answer.into_body();
        if is_stream {
            let mut events = body.into_data_stream();
            let event = events.next().await?;
            return Some((event, Late::Goes(events)));
        }
        let text = body.collect().await.ok()?.to_bytes();
        let event = [b"event: message\ndata: ", &*text, b"\n\n"].concat();
        Some((
            Ok(event.into()),
            Late::Goes(Body::empty().into_data_stream()),
        ))
    }
}

/// The stream that begins where an answer is long in coming: it stays alive until then, and has
/// the answer as its last event.
pub(super) fn late(answering: Answering) -> Response {
    let told = stream::unfold(Late::Begins(answering), Late::next);
    response(Body::from_stream(told))
}

fn telling(connected: Connected, first: Option<Bytes>, close_at: Option<Instant>) -> Response {
    let telling = Telling {
        first,
        kept: connected.kept.into_iter(),
        rest: connected.rest,
        close_at,
    };
    let told = stream::unfold(telling, |mut telling| async {
        let told = telling.next().await?;
        Some((Ok::<_, Infallible>(told), telling))
    });
    response(Body::from_stream(told))
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(EVENTS);
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies would gather events before they pass them on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
