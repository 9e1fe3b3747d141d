//! A stream of events as the answer to one request.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::replay::{Connected, Event};

/// Pause between two signs of life in a stream: what stands between may take a silent
/// connection for a dead one.
const ALIVE_PAUSE: Duration = Duration::from_secs(15);

/// A sign of life: a comment, which nobody reads.
const ALIVE: Bytes = Bytes::from_static(b":\n\n");

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
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies would gather events before they pass them on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
