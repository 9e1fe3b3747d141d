//! Bodies that can be sent again: what was sent of them is kept, as long as it is little.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Frame, SizeHint};

use crate::body::Body;
use crate::error::{GateError, GateErrorKind};

/// The most bytes of a body that are kept to be sent again.
pub const REPLAY_BYTES_MAX: usize = 64 << 10;

/// A body without content.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent once or several times. It is passed on as it comes, and never waited
/// for; a copy of it is kept on the way.
pub(super) struct Replay(Arc<Mutex<Source>>);

struct Source {
    body: Body,
    /// Whether there is no more.
    ended: bool,
    /// What came of it, unless that is too much or broken.
    kept: Option<Vec<Piece>>,
    bytes: usize,
    /// Which copy may read on.
    turn: u64,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Frame<Bytes> {
        match piece {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Replay {
    pub(super) fn new(body: Body) -> Replay {
        Replay(Arc::new(Mutex::new(Source {
            ended: body.is_end_stream(),
            body,
            kept: Some(Vec::new()),
            bytes: 0,
            turn: 0,
        })))
    }

    /// The body, for the first time.
    pub(super) fn first(&mut self) -> Body {
        self.copy(0)
    }

    /// The body from its start, if all that was sent of it is still there. The copy before it
    /// is at its end with that.
    pub(super) fn again(&mut self) -> Option<Body> {
        let turn = {
            let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            source.kept.as_ref()?;
            source.turn += 1;
            source.turn
        };
        Some(self.copy(turn))
    }

    fn copy(&self, turn: u64) -> Body {
        let source = Arc::clone(&self.0);
        Copy {
            source,
            turn,
            next: 0,
        }
        .boxed_unsync()
    }
}

struct Copy {
    source: Arc<Mutex<Source>>,
    turn: u64,
    /// Number of the piece that comes next.
    next: usize,
}

impl hyper::body::Body for Copy {
    type Data = Bytes;
    type Error = GateError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GateError>>> {
        let this = &mut *self;
        let mut source = this.source.lock().unwrap_or_else(PoisonError::into_inner);
        let source = &mut *source;
        if source.turn != this.turn {
            return Poll::Ready(Some(Err(GateError::new(
                GateErrorKind::Protocol,
                "the request is being sent again",
            ))));
        }
        if let Some(piece) = source.kept.as_ref().and_then(|kept| kept.get(this.next)) {
            this.next += 1;
            return Poll::Ready(Some(Ok(piece.clone().into())));
        }
        if source.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut source.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                source.kept = None;
                source.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                source.ended = true;
                return Poll::Ready(None);
            }
        };
        let piece = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => Piece::Data(data),
            Err(Ok(trailers)) => Piece::Trailers(trailers),
            // There are no other frames.
            Err(Err(frame)) => return Poll::Ready(Some(Ok(frame))),
        };
        source.keep(&piece);
        this.next += 1;
        Poll::Ready(Some(Ok(piece.into())))
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = source.kept.as_ref().map_or(0, Vec::len);
        self.next >= kept && (source.ended || source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = source.kept.iter().flatten().skip(self.next);
        let kept: u64 = kept
            .map(|piece| match piece {
                Piece::Data(data) => data.len() as u64,
                Piece::Trailers(_) => 0,
            })
            .sum();
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        // In this order: the upper one must not be the lesser.
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

impl Source {
    fn keep(&mut self, piece: &Piece) {
        // What a piece takes besides its content, so that many small ones count too.
        let bytes = size_of::<Piece>()
            + match piece {
                Piece::Data(data) => data.len(),
                Piece::Trailers(trailers) => trailers
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len())
                    .sum(),
            };
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > REPLAY_BYTES_MAX {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(piece.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};

    fn body(frames: Vec<Result<Frame<Bytes>, GateError>>) -> Body {
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    fn data(text: &str) -> Result<Frame<Bytes>, GateError> {
        Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))
    }

    async fn read(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_body_is_sent_again_from_wherever_it_was() {
        for read_before in 0..4 {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            let frames = vec![data("a"), data("b"), Ok(Frame::trailers(trailers.clone()))];
            let mut replay = Replay::new(body(frames));
            let mut first = replay.first();
            for _ in 0..read_before {
                first.frame().await;
            }
            let second = replay.again().unwrap();
            assert!(first.frame().await.unwrap().is_err());
            let second = second.collect().await.unwrap();
            assert_eq!(second.trailers(), Some(&trailers));
            assert_eq!(second.to_bytes(), "ab");
        }
    }

    #[tokio::test]
    async fn sizes_are_those_of_the_body() {
        let whole = Full::from("hello").map_err(|never| match never {});
        let mut replay = Replay::new(whole.boxed_unsync());
        let mut first = replay.first();
        assert_eq!(first.size_hint().exact(), Some(5));
        first.frame().await;
        assert!(first.is_end_stream());
        let second = replay.again().unwrap();
        assert_eq!(second.size_hint().exact(), Some(5));
        assert_eq!(read(second).await, "hello");
        let mut replay = Replay::new(empty());
        assert!(replay.first().is_end_stream());
        assert!(replay.again().unwrap().is_end_stream());
    }

    #[tokio::test]
    async fn what_is_too_much_or_broken_is_sent_once() {
        let much = "x".repeat(REPLAY_BYTES_MAX);
        let mut replay = Replay::new(body(vec![data("a"), data(&much), data("b")]));
        assert_eq!(read(replay.first()).await.len(), much.len() + 2);
        assert!(replay.again().is_none());

        let small = (0..REPLAY_BYTES_MAX / 8).map(|_| data("")).collect();
        let mut replay = Replay::new(body(small));
        assert_eq!(read(replay.first()).await, "");
        assert!(replay.again().is_none());

        let broken = Err(GateError::new(GateErrorKind::Incomplete, "no more"));
        let mut replay = Replay::new(body(vec![data("a"), broken]));
        assert!(replay.first().collect().await.is_err());
        assert!(replay.again().is_none());
    }
}
