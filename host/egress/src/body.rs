//! Bodies as they pass: counted, timed, never gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::budget::Connection;
use crate::client::Clock;
use crate::error::{GateError, GateErrorKind, Phase};
use crate::pool::Lease;
use crate::request::head_bytes;
use crate::standing::Standing;

/// A body of a request or a response. It fails with what stopped it.
pub type Body = UnsyncBoxBody<Bytes, GateError>;

/// Bytes of a part of a body; why its trailers are not taken.
fn bytes_of(frame: &Frame<Bytes>) -> Result<u64, GateError> {
    let bytes = match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => Some(data.len()),
        (None, Some(trailers)) => head_bytes(trailers),
        (None, None) => Some(0),
    };
    bytes.map(|bytes| bytes as u64).ok_or_else(|| {
        GateError::new(
            GateErrorKind::HeadTooLarge,
            "the trailers are larger than is taken",
        )
    })
}

/// How far a request has come on its way out: milliseconds since it began.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    last: AtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn advance(&self) {
        let since = self.began.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// When a part of it was last sent.
    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// The body of a request on its way out.
pub(crate) struct Sent {
    inner: Body,
    standing: Arc<Standing>,
    progress: Option<Arc<Progress>>,
    /// What is left of the length that the guest has told.
    left: Option<u64>,
}

impl Sent {
    pub(crate) fn new(
        inner: Body,
        standing: Arc<Standing>,
        progress: Option<Arc<Progress>>,
        length: Option<u64>,
    ) -> Sent {
        Sent {
            inner,
            standing,
            progress,
            left: length,
        }
    }

    /// Holds a part, or the end, against the length that was told.
    fn measure(&mut self, frame: Option<&Frame<Bytes>>) -> Result<(), GateError> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        let wrong = |what| {
            Err(GateError::request(format!(
                "the body is {what} than the header content-length says"
            )))
        };
        match frame.map(Frame::data_ref) {
            Some(Some(data)) => match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return wrong("longer"),
            },
            _ if *left > 0 => return wrong("shorter"),
            _ => {}
        }
        Ok(())
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = GateError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GateError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(self.measure(None).err().map(Err));
        };
        let counted = frame.and_then(|frame| {
            self.measure(Some(&frame))?;
            self.standing.check()?;
            self.standing.call.budget().sent(bytes_of(&frame)?)?;
            Ok(frame)
        });
        if let Some(progress) = &self.progress {
            progress.advance();
        }
        Poll::Ready(Some(counted))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none_or(|left| left == 0) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(|| self.inner.size_hint(), SizeHint::with_exact)
    }
}

/// The body of a response on its way in. What it came over is given back when it has ended,
/// and is closed when it is dropped before.
pub(crate) struct Received {
    /// Until it has ended, well or not.
    live: Option<Live>,
    standing: Arc<Standing>,
    clock: Clock,
    /// Made when something is first waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether the alarm is set for what is waited for now.
    set: bool,
}

struct Live {
    inner: Incoming,
    lease: Lease,
    place: Connection,
}

impl Received {
    pub(crate) fn new(
        inner: Incoming,
        lease: Lease,
        place: Connection,
        standing: Arc<Standing>,
        clock: &Clock,
    ) -> Received {
        Received {
            live: Some(Live {
                inner,
                lease,
                place,
            }),
            standing,
            clock: *clock,
            alarm: None,
            set: false,
        }
    }

    /// Waits for more, but not for ever.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<GateError> {
        if !self.set {
            let between = self.clock.timeouts.between_bytes;
            let until = self.clock.until(Instant::now(), between);
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(until),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(until))),
            }
            self.set = true;
        }
        if let Some(alarm) = &mut self.alarm {
            ready!(alarm.as_mut().poll(cx));
        }
        Poll::Ready(self.clock.late(Phase::BetweenBytes))
    }

    /// It has ended as it should.
    fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            live.lease.give_back(live.place);
        }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = GateError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GateError>>> {
        let this = &mut *self;
        let Some(live) = &mut this.live else {
            return Poll::Ready(None);
        };
        let failed = match Pin::new(&mut live.inner).poll_frame(cx) {
            Poll::Pending => ready!(this.poll_alarm(cx)),
            Poll::Ready(None) => {
                this.finish();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => live.lease.blame(&error),
            Poll::Ready(Some(Ok(frame))) => {
                live.lease.delivered();
                this.set = false;
                let standing = &this.standing;
                let counted = bytes_of(&frame)
                    .and_then(|bytes| standing.call.budget().received(bytes))
                    .and_then(|()| standing.check());
                match counted {
                    Err(error) => error,
                    // A server that sends all the time is not waited for.
                    Ok(()) if Instant::now() >= this.clock.deadline => {
                        this.clock.late(Phase::Total)
                    }
                    Ok(()) => {
                        if live.inner.is_end_stream() {
                            this.finish();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
            }
        };
        this.live = None;
        Poll::Ready(Some(Err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.live
            .as_ref()
            .is_none_or(|live| live.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.live
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |live| live.inner.size_hint())
    }
}
