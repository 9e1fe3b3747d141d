//! Sessions of clients of the older protocol: what they said when they greeted, what is being
//! worked on for them, and what they were told. An idle one is a small record; no task and no
//! channel belongs to it.
#![allow(
    deprecated,
    reason = "sampling and roots are served while clients have them"
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use portreeve_core::Caller;
use portreeve_manifest::settings::ServeLimits;
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorData,
    Implementation, InitializeRequestParams, JsonRpcMessage, JsonRpcNotification, JsonRpcRequest,
    ProtocolVersion, RequestId, SamplingCapability, ServerJsonRpcMessage, ServerResult,
};
use rmcp::{RoleServer, ServerHandler};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::checks::{self, LAST_EVENT, Refused, SESSION, VERSION};
use super::connection::Peer;
use super::exchange;
use super::replay::{Bounds, EventId, Kind, StreamId, Streams};
use super::route::{self, Front};
use crate::message::BUSY;
use crate::server::Wishes;

/// Bytes of chance in a session's id: nobody guesses it.
const ID_BYTES: usize = 24;

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    /// Counted from the start of this process.
    next: AtomicU64,
}

/// One client of the older protocol.
pub(super) struct Session {
    pub(super) id: Arc<str>,
    pub(super) caller: Caller,
    /// What matters of what the client said of itself, with the version that both agreed on.
    pub(super) client: InitializeRequestParams,
    /// What the client has said that it wants.
    pub(super) wishes: Arc<Wishes>,
    /// What is offered, as it was when the session began: no change since then is missed.
    pub(super) changes: watch::Receiver<u64>,
    /// When it was last used, in milliseconds after the process's first session.
    used_ms: AtomicU64,
    /// Ends with the session.
    pub(super) end: CancellationToken,
    work: Mutex<Work>,
    next_question: AtomicU32,
    /// What the client is told on streams.
    pub(super) streams: Streams,
}

/// What is being worked on in a session.
#[derive(Default)]
struct Work {
    /// What ends each request, by its id.
    requests: HashMap<RequestId, CancellationToken>,
    /// Where the answers to the host's own requests go.
    questions: HashMap<RequestId, Question>,
    /// The stream of what the client is told unasked, and what ends it.
    listening: Option<(StreamId, CancellationToken)>,
}

/// A request of the host to the client.
struct Question {
    /// Its id where it comes from.
    id: RequestId,
    asker: mpsc::Sender<ClientJsonRpcMessage>,
}

impl Session {
    fn new(
        id: Arc<str>,
        caller: Caller,
        client: InitializeRequestParams,
        changes: watch::Receiver<u64>,
        end: CancellationToken,
    ) -> Session {
        Session {
            id,
            caller,
            client,
            wishes: Arc::default(),
            changes,
            used_ms: AtomicU64::new(now_ms()),
            end,
            work: Mutex::default(),
            next_question: AtomicU32::new(0),
            streams: Streams::default(),
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.used_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Whether its client has a connection for what it is told unasked.
    fn is_listened_to(&self, work: &Work) -> bool {
        let listening = work.listening.as_ref();
        listening.is_some_and(|(stream, _)| self.streams.is_heard(*stream))
    }

    /// How long nothing has been asked in it; none while something is worked on or listened to.
    fn idle_ms(&self, now_ms: u64) -> Option<u64> {
        let work = self.work();
        let idle = work.requests.is_empty() && !self.is_listened_to(&work);
        idle.then(|| now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)))
    }

    /// Forgets what is too old of its streams, and ends the one of what it is told unasked where
    /// its client has stayed away for that long.
    fn sweep(&self, bounds: &Bounds, now_ms: u64) {
        let mut work = self.work();
        if self.is_listened_to(&work) {
            // It counts as used until the client leaves.
            self.used_ms.store(now_ms, Ordering::Relaxed);
        }
        let stream = work.listening.as_ref().map(|(stream, _)| *stream);
        if self.streams.sweep(stream, bounds, now_ms)
            && let Some((_, end)) = work.listening.take()
        {
            end.cancel();
        }
    }

    /// Notes that a request is being worked on, and holds the room of its body, until the result
    /// is dropped.
    fn begin(
        self: &Arc<Self>,
        id: RequestId,
        requests_max: u32,
        room: OwnedSemaphorePermit,
    ) -> Result<Working, Refused> {
        let mut work = self.work();
        let requests_max = usize::try_from(requests_max).unwrap_or(usize::MAX);
        if work.requests.len() >= requests_max {
            let why = format!(
                "busy: {requests_max} requests of this session wait for their answers, as many as `session-requests` under [serve] limits allows; wait for some of them"
            );
            let error = ErrorData::new(BUSY, why, None);
            return Err(Refused::of(StatusCode::TOO_MANY_REQUESTS, Some(id), error));
        }
        match work.requests.entry(id.clone()) {
            Entry::Occupied(_) => {
                let why = format!(
                    "a request with the id {id} is still being worked on; give each an id of its own"
                );
                Err(Refused::new(StatusCode::BAD_REQUEST, why))
            }
            Entry::Vacant(entry) => {
                // Ended at once, where the session has.
                let end = self.end.child_token();
                entry.insert(end.clone());
                Ok(Working {
                    session: self.clone(),
                    end,
                    id,
                    _room: room,
                })
            }
        }
    }

    /// Gives a request of the host an id that no other one of this session has.
    pub(super) fn ask(
        &self,
        id: RequestId,
        asker: mpsc::Sender<ClientJsonRpcMessage>,
    ) -> RequestId {
        let number = self.next_question.fetch_add(1, Ordering::Relaxed);
        let asked = RequestId::Number(number.into());
        let question = Question { id, asker };
        self.work().questions.insert(asked.clone(), question);
        asked
    }

    /// Forgets a request of the host.
    pub(super) fn unask(&self, asked: &RequestId) {
        self.work().questions.remove(asked);
    }

    /// Hands an answer to whoever asked.
    fn answered(&self, mut message: ClientJsonRpcMessage) {
        let asked = match &message {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let question = asked.and_then(|asked| self.work().questions.remove(&asked));
        // Nobody waits for it, or it came twice.
        let Some(question) = question else { return };
        match &mut message {
            JsonRpcMessage::Response(response) => response.id = question.id,
            JsonRpcMessage::Error(error) => error.id = Some(question.id),
            _ => {}
        }
        // There is room: each question has one answer, and few wait at a time.
        if question.asker.try_send(message).is_err() {
            tracing::debug!("an answer of a client came too late");
        }
    }
}

/// That a request is being worked on.
pub(super) struct Working {
    pub(super) session: Arc<Session>,
    /// Ends it.
    pub(super) end: CancellationToken,
    id: RequestId,
    /// What it holds of the room for bodies.
    _room: OwnedSemaphorePermit,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.session.work().requests.remove(&self.id);
        self.session.touch();
    }
}

/// What is kept of a greeting: what decides something later. The rest is as long as its client
/// likes.
fn kept(said: &ClientCapabilities, version: ProtocolVersion) -> InitializeRequestParams {
    let mut capabilities = ClientCapabilities::default();
    capabilities.elicitation.clone_from(&said.elicitation);
    capabilities.roots.clone_from(&said.roots);
    let sampling = said.sampling.as_ref();
    capabilities.sampling = sampling.map(|_| SamplingCapability::default());
    InitializeRequestParams::new(capabilities, Implementation::new("", ""))
        .with_protocol_version(version)
}

/// Now, in milliseconds after the process's first session.
pub(super) fn now_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Sessions {
    fn by_id(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that a request names. Another principal than the one that opened it is told
    /// that there is none.
    fn of(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Session>, Refused> {
        check_version(headers)?;
        let Some(id) = headers.get(SESSION) else {
            let why = "the request names no session (`mcp-session-id`), and no version of the protocol that has none: open with `initialize`, or send `mcp-protocol-version: 2026-07-28` and the version in `_meta`";
            return Err(Refused::new(StatusCode::BAD_REQUEST, why));
        };
        let session = id
            .to_str()
            .ok()
            .and_then(|id| self.by_id().get(id).cloned());
        let session = session.filter(|session| peer.is(&session.caller));
        let session = session.ok_or_else(|| {
            Refused::new(
                StatusCode::NOT_FOUND,
                "there is no such session: it ended, or this host was started again; open another one with `initialize`",
            )
        })?;
        session.touch();
        Ok(session)
    }

    /// A message of a client of the older protocol; none is one that is of no use here.
    pub(super) async fn post(
        &self,
        front: &Arc<Front>,
        peer: &Peer,
        parts: &Parts,
        message: Option<ClientJsonRpcMessage>,
        room: OwnedSemaphorePermit,
    ) -> Result<Response, Refused> {
        let message = match message {
            Some(JsonRpcMessage::Request(JsonRpcRequest {
                id,
                request: ClientRequest::InitializeRequest(request),
                ..
            })) => return self.initialize(front, peer, parts, id, request.params),
            message => message,
        };
        let session = self.of(peer, &parts.headers).map_err(|mut refused| {
            if let Some(JsonRpcMessage::Request(request)) = &message {
                refused.id = Some(request.id.clone());
            }
            refused
        })?;
        match message {
            Some(JsonRpcMessage::Request(request)) => {
                let requests_max = front.settings().limits.session_requests;
                let working = session.begin(request.id.clone(), requests_max, room)?;
                Ok(exchange::answer(front, working, request).await)
            }
            Some(JsonRpcMessage::Notification(JsonRpcNotification {
                notification: ClientNotification::CancelledNotification(cancelled),
                ..
            })) => {
                let end = cancelled
                    .params
                    .request_id
                    .and_then(|id| session.work().requests.get(&id).cloned());
                if let Some(end) = end {
                    end.cancel();
                }
                Ok(accepted())
            }
            Some(message @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_))) => {
                session.answered(message);
                Ok(accepted())
            }
            Some(JsonRpcMessage::Notification(_)) | None => Ok(accepted()),
        }
    }

    /// Opens a session.
    fn initialize(
        &self,
        front: &Front,
        peer: &Peer,
        parts: &Parts,
        id: RequestId,
        client: InitializeRequestParams,
    ) -> Result<Response, Refused> {
        let refused = |status, error| Refused::of(status, Some(id.clone()), error);
        if let Some(version) = parts.headers.get(VERSION)
            && version.as_bytes() != client.protocol_version.as_str().as_bytes()
        {
            let why = "`mcp-protocol-version` and `params.protocolVersion` differ";
            let error = ErrorData::invalid_request(why, None);
            return Err(refused(StatusCode::BAD_REQUEST, error));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let caller = peer.caller_in(&format!("http-session-{number}"));
        let server = front.server(caller.clone(), front.shutdown().clone());
        let result = server
            .negotiate_initialize(&client)
            .map_err(|error| refused(StatusCode::OK, error))?;
        let mut chance = [0; ID_BYTES];
        getrandom::fill(&mut chance).map_err(|error| {
            tracing::error!(%error, "the system gives no random numbers");
            let error = ErrorData::internal_error("no session can be opened", None);
            refused(StatusCode::INTERNAL_SERVER_ERROR, error)
        })?;
        let session = Arc::new(Session::new(
            BASE64_URL_SAFE_NO_PAD.encode(chance).into(),
            caller,
            kept(&client.capabilities, result.protocol_version.clone()),
            front.host.changes(),
            front.cancelled().child_token(),
        ));
        let name = HeaderValue::from_str(&session.id).map_err(|_| {
            let error = ErrorData::internal_error("no session can be opened", None);
            refused(StatusCode::INTERNAL_SERVER_ERROR, error)
        })?;
        self.add(session, front.settings().limits.sessions)?;
        let message = ServerJsonRpcMessage::response(ServerResult::InitializeResult(result), id);
        let mut response = checks::json(StatusCode::OK, &message);
        response.headers_mut().insert(SESSION, name);
        Ok(response)
    }

    /// Adds a session; where there is no place, the one that was idle longest ends.
    fn add(&self, session: Arc<Session>, sessions_max: u32) -> Result<(), Refused> {
        let sessions_max = usize::try_from(sessions_max).unwrap_or(usize::MAX);
        let mut by_id = self.by_id();
        if by_id.len() >= sessions_max {
            let now = now_ms();
            let idlest = by_id
                .values()
                .filter_map(|session| Some((session.idle_ms(now)?, session.id.clone())))
                .max_by_key(|(idle_ms, _)| *idle_ms);
            let Some((_, id)) = idlest else {
                let why = format!(
                    "busy: there are {sessions_max} sessions that are in use, as many as `sessions` under [serve] limits allows; try again later"
                );
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
            };
            if let Some(ended) = by_id.remove(&id) {
                tracing::debug!("a session ends: there are as many as `sessions` allows");
                ended.end.cancel();
            }
        }
        by_id.insert(session.id.clone(), session);
        Ok(())
    }

    /// Opens the stream of what a client is told unasked, or goes on with one that the client
    /// has lost. A session has one of the former: a second takes the first one's place.
    pub(super) fn listen(
        &self,
        front: &Arc<Front>,
        peer: &Peer,
        parts: &Parts,
    ) -> Result<Response, Refused> {
        if route::says_newer(&parts.headers) {
            // They ask by `subscriptions/listen`.
            return Ok(route::not_allowed());
        }
        if !route::accepts(&parts.headers, "text/event-stream") {
            let why = "send `accept: text/event-stream`";
            return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, why));
        }
        let session = self.of(peer, &parts.headers)?;
        if let Some(last) = parts.headers.get(LAST_EVENT) {
            let after = last.to_str().ok().and_then(|last| last.parse().ok());
            let resumed = after.and_then(|after| exchange::resume(front, &session, after));
            if let Some(resumed) = resumed {
                return Ok(resumed);
            }
            // One who was away for too long is told again of all that has changed, unless
            // another connection has taken the place.
            let unasked = after.is_some_and(|after: EventId| after.stream.kind == Kind::Unasked);
            if !unasked || session.is_listened_to(&session.work()) {
                let why = "nothing is left after this event (`last-event-id`): this session never had it, all that came after it was told, or that is not kept any more; `replay`, `replays`, `replay-events` and `replay-age` under [serve] limits say how much is kept, and for how long";
                return Err(Refused::new(StatusCode::BAD_REQUEST, why));
            }
        }
        let end = session.end.child_token();
        let (stream, response) = exchange::listen(front, &session, end.clone());
        if let Some((_, before)) = session.work().listening.replace((stream, end)) {
            before.cancel();
        }
        Ok(response)
    }

    /// Ends a session at its client's wish.
    pub(super) fn delete(&self, peer: &Peer, parts: &Parts) -> Result<Response, Refused> {
        let session = self.of(peer, &parts.headers)?;
        self.by_id().remove(&session.id);
        session.end.cancel();
        Ok(accepted())
    }

    /// Ends the sessions in which nothing was asked for too long, and forgets what is too old
    /// of the others.
    pub(super) fn end_idle(&self, limits: &ServeLimits) {
        let idle_max = u64::try_from(limits.session_idle.as_millis()).unwrap_or(u64::MAX);
        let bounds = Bounds::of(limits);
        let now = now_ms();
        self.by_id().retain(|_, session| {
            session.sweep(&bounds, now);
            let stays = session.idle_ms(now).is_none_or(|idle| idle < idle_max);
            if !stays {
                session.end.cancel();
            }
            stays
        });
    }

    pub(super) fn end_all(&self) {
        for (_, session) in self.by_id().drain() {
            session.end.cancel();
        }
    }
}

/// A version that this protocol never had is a mistake of the client's.
fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(version) = headers.get(VERSION) else {
        return Ok(());
    };
    let known = ProtocolVersion::KNOWN_VERSIONS
        .iter()
        .any(|known| known.as_str().as_bytes() == version.as_bytes());
    if known {
        return Ok(());
    }
    let versions: Vec<&str> = ProtocolVersion::KNOWN_VERSIONS
        .iter()
        .map(ProtocolVersion::as_str)
        .collect();
    let why = format!(
        "`mcp-protocol-version` is none that this host speaks: {}",
        versions.join(", ")
    );
    Err(Refused::new(StatusCode::BAD_REQUEST, why))
}

fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// The role that this host plays.
pub(super) type Role = RoleServer;

#[cfg(test)]
pub(super) mod tests {
    use super::super::listen::Ends;
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    /// A session of this machine.
    pub(in super::super) fn session(id: &str) -> Arc<Session> {
        session_of(id, &Peer::new(Ends::default()))
    }

    fn session_of(id: &str, peer: &Peer) -> Arc<Session> {
        let client = kept(&ClientCapabilities::default(), ProtocolVersion::default());
        let (_, changes) = watch::channel(0);
        let end = CancellationToken::new();
        Arc::new(Session::new(
            id.into(),
            peer.caller_in(id),
            client,
            changes,
            end,
        ))
    }

    #[test]
    fn a_session_is_for_the_principal_that_opened_it() {
        let peer = |remote: Option<&str>| {
            let remote = remote.map(|remote| remote.parse().unwrap());
            Peer::new(Ends {
                remote,
                local: None,
            })
        };
        let (near, far) = (peer(Some("127.0.0.1:1")), peer(Some("192.0.2.1:1")));
        let sessions = Sessions::default();
        for (id, peer) in [("near", &near), ("far", &far)] {
            sessions.add(session_of(id, peer), 10).unwrap();
        }
        let of = |peer: &Peer, id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SESSION, HeaderValue::from_static(id));
            sessions.of(peer, &headers).is_ok()
        };
        for near in [near, peer(None), peer(Some("[::1]:2"))] {
            assert!(of(&near, "near"), "{near:?}");
            assert!(!of(&near, "far"), "{near:?}");
        }
        assert!(of(&far, "far"));
        assert!(!of(&far, "near"));
    }

    #[test]
    fn a_request_that_comes_as_its_session_ends_is_ended() {
        let session = session("s");
        let room = Arc::new(tokio::sync::Semaphore::new(2));
        let begin = |id| {
            let room = room.clone().try_acquire_owned().unwrap();
            session.begin(RequestId::Number(id), 2, room).unwrap()
        };
        let before = begin(1);
        session.end.cancel();
        let after = begin(2);
        assert!(before.end.is_cancelled() && after.end.is_cancelled());
        assert_eq!(room.available_permits(), 0);
        drop((before, after));
        assert_eq!(room.available_permits(), 2);
    }

    #[test]
    fn of_a_greeting_what_decides_something_is_kept() {
        fn check(said: Value, expected: Expect) {
            let said: ClientCapabilities = serde_json::from_value(said).unwrap();
            let kept = kept(&said, ProtocolVersion::V_2025_11_25);
            expected.assert_eq(&serde_json::to_value(kept).unwrap().to_string());
        }
        check(
            json!({}),
            expect![[
                r#"{"capabilities":{},"clientInfo":{"name":"","version":""},"protocolVersion":"2025-11-25"}"#
            ]],
        );
        check(
            json!({
                "elicitation": {"form": {"x": "long"}, "url": {}, "x": "long"},
                "roots": {"listChanged": true, "x": "long"},
                "sampling": {"tools": {"x": "long"}},
                "experimental": {"x": {"y": "long"}},
                "extensions": {"x/y": {"z": "long"}},
                "x": "long",
            }),
            expect![[
                r#"{"capabilities":{"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"sampling":{}},"clientInfo":{"name":"","version":""},"protocolVersion":"2025-11-25"}"#
            ]],
        );
    }
}
