//! The work on one request in a session: the protocol's machinery between the request and its
//! answer, which is JSON, or a stream of events where something comes before it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, JsonRpcMessage, JsonRpcRequest,
    ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerNotification,
    ToolListChangedNotification,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage, serve_directly_with_ct};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::replay::{Bounds, Connected, EventId, Kind, StreamId};
use super::route::Front;
use super::session::{self, Role, Session, Working};
use super::{checks, events};
use crate::older_tasks;
use crate::prepared::Prepared;

/// Messages that wait to be told on a stream; then whoever sends them waits.
const WAITING_MAX: usize = 16;

/// Answers to requests of the host that may wait to be looked at.
const ANSWERS_MAX: usize = 16;

/// How long an answer that is one message is waited for. Then a stream begins, which stays
/// alive, and has an id that its client can come back with: what is answered as one message is
/// lost with its connection. Quick answers, which are most, cost no stream.
const JSON_TIME_MAX: Duration = Duration::from_millis(250);

/// Works on one request.
pub(super) async fn answer(
    front: &Arc<Front>,
    working: Working,
    request: JsonRpcRequest<ClientRequest>,
) -> Response {
    let (session, end) = (working.session.clone(), working.end.clone());
    let prepared = Prepared::default();
    let leave = older_tasks::only_waits(&request.request).then(|| end.clone().drop_guard());
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
        .wished(session.wishes.clone())
        .answering(prepared.clone());
    let client = session.client.clone();
    let served = serve_directly_with_ct(server, transport, Some(client), end.clone());
    // It goes on when the client's connection ends: that is no wish to cancel it. Only what waits
    // for something else ends when nobody can come back for it: it is asked for anew.
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
    let first = match first {
        Ok(Some(message @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)))) => {
            return checks::json_text(StatusCode::OK, prepared.write(&message));
        }
        Ok(None) => return events::empty(),
        Ok(first) => first,
        Err(_) => None,
    };
    let left = leave.map(DropGuard::disarm);
    let stream = Stream::open(front, &session, Kind::Answer, prepared, left);
    let response = stream.response;
    let telling = stream.telling;
    tokio::spawn(async move {
        // Both are cancelled together: what is not told by then is not told any more.
        let told = async {
            if let Some(first) = first {
                telling.tell(first).await;
            }
            while let Some(message) = messages.recv().await {
                telling.tell(message).await;
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            () = told => {}
        }
    });
    response
}

/// A stream that begins.
struct Stream {
    response: Response,
    telling: Telling,
}

/// The way of messages to a stream, which ends with it.
struct Telling {
    front: Arc<Front>,
    session: Arc<Session>,
    stream: StreamId,
    prepared: Prepared,
}

impl Stream {
    fn open(
        front: &Arc<Front>,
        session: &Arc<Session>,
        kind: Kind,
        prepared: Prepared,
        left: Option<CancellationToken>,
    ) -> Stream {
        let connected = session.streams.open(kind, left);
        let telling = Telling {
            front: front.clone(),
            session: session.clone(),
            stream: connected.after.stream,
            prepared,
        };
        let response = told(front, session, connected);
        Stream { response, telling }
    }
}

impl Telling {
    async fn tell(&self, message: ServerJsonRpcMessage) {
        let text = match self.prepared.write(&message).map(String::from_utf8) {
            Ok(Ok(text)) => text.into(),
            Ok(Err(error)) => return tracing::error!(%error, "a message can't be written"),
            Err(error) => return tracing::error!(%error, "a message can't be written"),
        };
        let bounds = Bounds::of(&self.front.settings().limits);
        let (streams, room) = (&self.session.streams, &self.front.replays);
        let told = streams.tell(self.stream, text, &bounds, room, session::now_ms());
        told.await;
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.session.streams.end(self.stream);
    }
}

/// A stream as its client reads it: since 2025-11-25, clients come back where a connection ends
/// before its stream does. Those before it would take what begins such a stream for a message.
fn told(front: &Front, session: &Session, connected: Connected) -> Response {
    match session.client.protocol_version >= ProtocolVersion::V_2025_11_25 {
        true => events::resumable(connected, front.settings().limits.stream_time),
        false => events::plain(connected),
    }
}

/// Goes on with a stream, if anything is left of it.
pub(super) fn resume(front: &Front, session: &Session, after: EventId) -> Option<Response> {
    let connected = session.streams.resume(after)?;
    Some(told(front, session, connected))
}

/// Tells a client of changes until its session ends, or the host does, or it stays away; and
/// the number of the stream.
pub(super) fn listen(
    front: &Arc<Front>,
    session: &Arc<Session>,
    end: CancellationToken,
) -> (StreamId, Response) {
    let (prepared, left) = (Prepared::default(), Some(end.clone()));
    let Stream { response, telling } = Stream::open(front, session, Kind::Unasked, prepared, left);
    let stream = telling.stream;
    let shutdown = front.shutdown().clone();
    let mut changes = session.changes.clone();
    let mut content = front.host.content_changes();
    tokio::spawn(async move {
        let told = async {
            loop {
                let heard: Vec<ServerNotification> = tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => vec![ToolListChangedNotification::default().into()],
                        Err(_) => return,
                    },
                    changed = content.recv() => {
                        let (host, session) = (&telling.front.host, &telling.session);
                        match session.wishes.subscribed.told(changed, host, &session.caller) {
                            Some(heard) => heard.into_iter().map(Into::into).collect(),
                            None => return,
                        }
                    }
                    told = telling.session.wishes.statuses.next() => vec![told],
                };
                for heard in heard {
                    // Boxed: it is large, and whoever listens mostly waits.
                    Box::pin(telling.tell(JsonRpcMessage::notification(heard))).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            () = shutdown.cancelled() => {}
            () = told => {}
        }
    });
    (stream, response)
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
        let asks = match &message {
            JsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let message = self.renamed(message);
        let (sender, answers) = (self.sender.clone(), self.answers.clone());
        let done = is_answer.then(|| self.done.clone());
        async move {
            // A client that has gone before a stream began hears nothing; that ends no call, but
            // it can't be asked.
            if let (Err(_), Some(id)) = (sender.send(message).await, asks) {
                let why = "its connection ended before it could be asked";
                let error = ErrorData::internal_error(why, None);
                let _ = answers.try_send(JsonRpcMessage::error(error, Some(id)));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::{PingRequest, ServerRequest};

    #[tokio::test]
    async fn a_question_that_nobody_can_hear_waits_for_nobody() {
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        let mut exchange = Exchange {
            first: None,
            answers,
            answered,
            sender,
            asked: HashMap::new(),
            session: session::tests::session("s"),
            done: CancellationToken::new(),
        };
        let question = |id| {
            let ping = ServerRequest::PingRequest(PingRequest::default());
            JsonRpcMessage::request(ping, RequestId::Number(id))
        };
        // Somebody may hear the first one, and nobody the second.
        exchange.send(question(7)).await.unwrap();
        assert!(exchange.answered.try_recv().is_err());
        drop(messages);
        exchange.send(question(8)).await.unwrap();
        let Some(JsonRpcMessage::Error(error)) = exchange.receive().await else {
            panic!("it has no answer");
        };
        assert_eq!(error.id, Some(RequestId::Number(8)));
    }
}
