//! The work on one request in a session: the protocol's machinery between the request and its
//! answer, which is JSON, or a stream of events where something comes before it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, JsonRpcRequest, RequestId,
    ServerJsonRpcMessage, ServerNotification, ToolListChangedNotification,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage, serve_directly_with_ct};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::checks;
use super::route::Front;
use super::session::{Listening, Role, Session, Working};

/// Messages that wait for a client that reads slowly; then whoever sends them waits.
const WAITING_MAX: usize = 16;

/// Answers to requests of the host that may wait to be looked at.
const ANSWERS_MAX: usize = 16;

/// How long an answer that is one message is waited for. Then a stream begins, which stays
/// alive: what stands between may take a silent connection for a dead one.
const JSON_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause between two signs of life in a stream.
const ALIVE_PAUSE: Duration = Duration::from_secs(15);

/// Works on one request.
pub(super) async fn answer(
    front: &Front,
    working: Working,
    request: JsonRpcRequest<ClientRequest>,
    end: CancellationToken,
) -> Response {
    let session = working.session.clone();
    let (sender, mut messages) = mpsc::channel(WAITING_MAX);
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let transport = Exchange {
        first: Some(JsonRpcMessage::Request(request)),
        answers,
        answered,
        sender,
        asked: HashMap::new(),
        session: session.clone(),
        done: CancellationToken::new(),
    };
    let server = front
        .server(session.caller.clone(), front.shutdown().clone())
        .wished(session.wishes.clone());
    let client = session.client.clone();
    let served = serve_directly_with_ct(server, transport, Some(client), end.clone());
    // It goes on when the client's connection ends: that is no wish to cancel it.
    tokio::spawn(async move {
        if let Err(error) = served.waiting().await {
            tracing::error!(%error, "the task of a request failed");
        }
        drop(working);
    });
    // A request that was cancelled is not answered any more, whatever comes of it.
    let first = tokio::select! {
        biased;
        () = end.cancelled() => Ok(None),
        first = timeout(JSON_TIME_MAX, messages.recv()) => first,
    };
    match first {
        Ok(Some(message @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)))) => {
            checks::json(StatusCode::OK, &message)
        }
        Ok(None) => events(stream::empty()),
        Ok(first) => events(stream::iter(first).chain(received(messages, end))),
        Err(_) => events(received(messages, end)),
    }
}

fn received(
    messages: mpsc::Receiver<ServerJsonRpcMessage>,
    end: CancellationToken,
) -> impl Stream<Item = ServerJsonRpcMessage> {
    stream::unfold((messages, end), |(mut messages, end)| async {
        let message = tokio::select! {
            biased;
            () = end.cancelled() => return None,
            message = messages.recv() => message?,
        };
        Some((message, (messages, end)))
    })
}

/// Tells a client of changes until it leaves, its session ends, or the host does.
pub(super) fn listen(front: &Front, listening: Listening) -> Response {
    let shutdown = front.shutdown().clone();
    let changes = listening.session.changes.clone();
    let content = front.host.content_changes();
    let told = stream::unfold(
        (listening, changes, content, shutdown),
        |(listening, mut changes, mut content, shutdown)| async {
            let heard: Vec<ServerNotification> = tokio::select! {
                () = listening.end.cancelled() => return None,
                () = shutdown.cancelled() => return None,
                changed = changes.changed() => {
                    changed.ok()?;
                    vec![ToolListChangedNotification::default().into()]
                }
                changed = content.recv() => listening.session.wishes.subscribed.told(changed)?,
            };
            let messages = heard.into_iter().map(JsonRpcMessage::notification);
            let messages = stream::iter(messages.collect::<Vec<_>>());
            Some((messages, (listening, changes, content, shutdown)))
        },
    );
    events(told.flatten())
}

/// Messages as a stream of events.
fn events(messages: impl Stream<Item = ServerJsonRpcMessage> + Send + 'static) -> Response {
    let events = messages.filter_map(|message| async move {
        let text = serde_json::to_string(&message)
            .inspect_err(|error| tracing::error!(%error, "a message can't be written"))
            .ok()?;
        Some(Ok::<_, Infallible>(
            Event::default().event("message").data(text),
        ))
    });
    let alive = KeepAlive::new().interval(ALIVE_PAUSE);
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies would gather events before they pass them on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// What the protocol's machinery receives and sends for one request: the request, then the
/// client's answers to what the host asks meanwhile.
struct Exchange {
    first: Option<ClientJsonRpcMessage>,
    answers: mpsc::Sender<ClientJsonRpcMessage>,
    answered: mpsc::Receiver<ClientJsonRpcMessage>,
    sender: mpsc::Sender<ServerJsonRpcMessage>,
    /// What the host asks, by the id that it has within this exchange: the machinery of each
    /// begins to count anew.
    asked: HashMap<RequestId, RequestId>,
    session: Arc<Session>,
    /// The answer was given.
    done: CancellationToken,
}

impl Exchange {
    /// Gives requests of the host ids that the session has only once.
    fn renamed(&mut self, mut message: ServerJsonRpcMessage) -> ServerJsonRpcMessage {
        match &mut message {
            JsonRpcMessage::Request(request) => {
                let asked = self.session.ask(request.id.clone(), self.answers.clone());
                self.asked.insert(request.id.clone(), asked.clone());
                request.id = asked;
            }
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::CancelledNotification(cancelled) =
                    &mut notification.notification
                    && let Some(id) = &mut cancelled.params.request_id
                    && let Some(asked) = self.asked.remove(id)
                {
                    self.session.unask(&asked);
                    *id = asked;
                }
            }
            _ => {}
        }
        message
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for asked in self.asked.values() {
            self.session.unask(asked);
        }
    }
}

impl Transport<Role> for Exchange {
    type Error = Infallible;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<Role>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let is_answer = matches!(
            message,
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)
        );
        let message = self.renamed(message);
        let sender = self.sender.clone();
        let done = is_answer.then(|| self.done.clone());
        async move {
            // A client that has gone hears nothing; that ends no call.
            let _ = sender.send(message).await;
            if let Some(done) = done {
                done.cancel();
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<Role>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            () = self.done.cancelled() => None,
            answer = self.answered.recv() => answer,
        }
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
