//! What the protocol's machinery receives and sends: strict messages from bounded lines, no
//! more at once than the connection's bounds allow.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorData, GetExtensions, GetMeta,
    JsonRpcMessage, JsonRpcNotification, JsonRpcRequest, ProtocolVersion, RequestId,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::connection::Bounds;
use crate::lines::{Line, Lines};
use crate::message::{self, BUSY, Refusal};
use crate::output::{Output, Refusing};

/// Bytes are counted in units of this many: semaphores count to 2^29 at most, on some
/// systems.
const UNIT_BYTES: usize = 1 << 10;

/// Messages over a reader and an [`Output`].
pub(crate) struct LineTransport<R, W> {
    lines: Lines<R>,
    output: Arc<Output<W>>,
    connection: CancellationToken,
    bounds: Bounds,
    /// Whether the protocol's machinery knows by now which era the client speaks,
    opened: bool,
    /// and whether that is the newer one, which has no handshake.
    newer: bool,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// The places of requests that are not answered yet, by their ids.
    places: HashMap<RequestId, Place>,
    refusing: Option<Refusing>,
}

/// The place that a request takes up: until it was worked on, and its answer is written or
/// not wanted any more.
#[derive(Clone)]
struct Place {
    _permits: Arc<[OwnedSemaphorePermit; 2]>,
}

impl<R, W> LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// A transport that cancels `connection` when the client goes away.
    pub(crate) fn new(
        reader: R,
        output: Arc<Output<W>>,
        connection: CancellationToken,
        bounds: Bounds,
    ) -> LineTransport<R, W> {
        LineTransport {
            lines: Lines::new(reader, bounds.line_bytes_max),
            output,
            connection,
            bounds,
            opened: false,
            newer: false,
            requests: Arc::new(Semaphore::new(bounds.requests_max)),
            bytes: Arc::new(Semaphore::new(bounds.requests_bytes_max / UNIT_BYTES)),
            places: HashMap::new(),
            refusing: None,
        }
    }

    /// Lets a message in, if there is a place for it.
    fn admit(
        &mut self,
        message: ClientJsonRpcMessage,
        bytes: usize,
    ) -> Result<Option<ClientJsonRpcMessage>, Refusal> {
        match message {
            JsonRpcMessage::Request(JsonRpcRequest {
                id, mut request, ..
            }) => {
                let greets = matches!(request, ClientRequest::InitializeRequest(_));
                if greets && self.newer {
                    return Err(Refusal {
                        id: Some(id),
                        error: message::no_method("initialize"),
                    });
                }
                let place = self.place(&id, bytes)?;
                // Whoever works on the request holds it too.
                request.extensions_mut().insert(place);
                if !self.opened {
                    self.opened = opens(&request);
                    self.newer = self.opened && !greets;
                }
                Ok(Some(JsonRpcMessage::request(request, id)))
            }
            // Before a connection is opened, there is nothing that one could be about, and
            // the protocol's machinery would take it for a mistake and give up.
            JsonRpcMessage::Notification(_)
            | JsonRpcMessage::Response(_)
            | JsonRpcMessage::Error(_)
                if !self.opened =>
            {
                Ok(None)
            }
            message => {
                if let JsonRpcMessage::Notification(JsonRpcNotification {
                    notification: ClientNotification::CancelledNotification(cancelled),
                    ..
                }) = &message
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.places.remove(id);
                }
                Ok(Some(message))
            }
        }
    }

    fn place(&mut self, id: &RequestId, bytes: usize) -> Result<Place, Refusal> {
        let busy = |what: String| Refusal {
            id: Some(id.clone()),
            error: ErrorData::new(
                BUSY,
                format!("busy: {what}; wait for some of the answers"),
                None,
            ),
        };
        let entry = match self.places.entry(id.clone()) {
            Entry::Vacant(entry) => entry,
            // Not under the id: that would be taken for the first request's answer.
            Entry::Occupied(_) => {
                let why = format!(
                    "a request with the id {id} is still being worked on; give each an id of its own"
                );
                return Err(Refusal::invalid(None, why));
            }
        };
        let request = self.requests.clone().try_acquire_owned().map_err(|_| {
            busy(format!(
                "{} requests of this client wait for their answers",
                self.bounds.requests_max
            ))
        })?;
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let bytes = self
            .bytes
            .clone()
            .try_acquire_many_owned(units)
            .map_err(|_| {
                busy(format!(
                    "requests of this client of {} bytes wait for their answers",
                    self.bounds.requests_bytes_max
                ))
            })?;
        let place = Place {
            _permits: Arc::new([request, bytes]),
        };
        Ok(entry.insert(place).clone())
    }
}

/// Whether the protocol's machinery takes the connection for opened by this request: by a
/// handshake, or by one that carries all that a handshake would have told.
fn opens(request: &ClientRequest) -> bool {
    match request {
        ClientRequest::InitializeRequest(_) => true,
        ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => false,
        request => {
            let meta = request.get_meta();
            meta.missing_required_keys(&ProtocolVersion::V_2026_07_28)
                .is_empty()
                && meta
                    .protocol_version()
                    .is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version))
        }
    }
}

impl<R, W> Transport<RoleServer> for LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let id = match &message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        let place = id.and_then(|id| self.places.remove(id));
        let output = self.output.clone();
        async move {
            let written = output.write(&message).await;
            drop(place);
            written
        }
    }

    /// The next message. Dropping the future loses nothing: after a line is read, nothing is
    /// awaited.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if self.refusing.is_none() {
                self.refusing = Some(self.output.refusing().await?);
            }
            let (read, bytes) = match self.lines.next().await {
                Ok(Line::Bytes(line)) => (message::read(line), line.len()),
                Ok(Line::TooLong) => (Err(Refusal::too_long(self.bounds.line_bytes_max)), 0),
                Ok(Line::End) => {
                    self.connection.cancel();
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the client can't be heard any more");
                    self.connection.cancel();
                    return None;
                }
            };
            let admitted = match read {
                Ok(Some(message)) => self.admit(message, bytes),
                other => other,
            };
            match admitted {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(Refusal { id, error }) => {
                    if let Some(refusing) = self.refusing.take() {
                        self.output.refuse(refusing, id, error);
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // The output is closed by whoever opened it, after what is still to be written.
        Ok(())
    }
}
