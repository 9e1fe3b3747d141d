//! Bodies between a guest and the source of its call, frame by frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, WasiBody};

use super::LastFailure;
use super::http::{HttpBody, HttpError, HttpErrorKind, within_head};
use crate::error::{ErrorCode, Failure};

/// The body of a request, on its way from the guest.
pub(super) struct Sent {
    body: WasiBody,
    _room: Arc<OwnedSemaphorePermit>,
}

impl Sent {
    pub(super) fn new(body: WasiBody, room: Arc<OwnedSemaphorePermit>) -> Sent {
        Sent { body, _room: room }
    }

    pub(super) fn boxed(self) -> HttpBody {
        self.boxed_unsync()
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| by_guest(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The guest gave up its body, or wrote another length than it announced.
fn by_guest(error: &Error) -> HttpError {
    let message = format!("the plugin did not finish the body of its request: {error}");
    HttpError::new(
        HttpErrorKind::RequestBody,
        Failure::new(ErrorCode::InvalidArgument, "request-body", message),
    )
}

/// The body of an answer, on its way to the guest.
pub(super) struct Received {
    body: HttpBody,
    last_failure: Arc<LastFailure>,
    /// Kept until the guest drops the body, or it ends.
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Received {
    pub(super) fn new(
        body: HttpBody,
        last_failure: Arc<LastFailure>,
        room: Arc<OwnedSemaphorePermit>,
    ) -> Received {
        Received {
            body,
            last_failure,
            room: Some(room),
        }
    }

    pub(super) fn boxed(self) -> WasiBody {
        self.boxed_unsync()
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let frame = frame.map(|frame| {
            let frame = frame?;
            frame.trailers_ref().map_or(Ok(()), within_head)?;
            Ok(frame)
        });
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(HttpError { kind, failure })) => {
                self.room = None;
                self.last_failure.set(failure);
                Some(Err(kind.into()))
            }
            None => {
                self.room = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
