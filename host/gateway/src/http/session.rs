//! The session of a client of the older protocol: what it said when it greeted, what is being
//! worked on for it, and what it was told. An idle one is a small record; no task and no channel
//! belongs to it.
#![allow(
    deprecated,
    reason = "sampling and roots are served while clients have them"
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::StatusCode;
use portreeve_core::Caller;
use rmcp::RoleServer;
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ErrorData, Implementation, InitializeRequestParams,
    JsonRpcMessage, ProtocolVersion, RequestId, SamplingCapability,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::checks::Refused;
use super::replay::{Bounds, StreamId, Streams};
use crate::message::BUSY;
use crate::server::Wishes;

/// The role that this host plays.
pub(super) type Role = RoleServer;

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
    pub(super) fn new(
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

    pub(super) fn touch(&self) {
        self.used_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Whether its client has a connection for what it is told unasked.
    pub(super) fn is_listened_to(&self) -> bool {
        self.is_heard(&self.work())
    }

    fn is_heard(&self, work: &Work) -> bool {
        let listening = work.listening.as_ref();
        listening.is_some_and(|(stream, _)| self.streams.is_heard(*stream))
    }

    /// Notes the stream of what its client is told unasked, which takes the place of the one
    /// before.
    pub(super) fn listens_to(&self, stream: StreamId, end: CancellationToken) {
        let before = self.work().listening.replace((stream, end));
        if let Some((_, before)) = before {
            before.cancel();
        }
    }

    /// Ends a request that is being worked on, if it is.
    pub(super) fn cancel(&self, id: &RequestId) {
        let end = self.work().requests.get(id).cloned();
        if let Some(end) = end {
            end.cancel();
        }
    }

    /// How long nothing has been asked in it; none while something is worked on or listened to.
    pub(super) fn idle_ms(&self, now_ms: u64) -> Option<u64> {
        let work = self.work();
        let idle = work.requests.is_empty() && !self.is_heard(&work);
        idle.then(|| now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)))
    }

    /// Forgets what is too old of its streams, and ends what its client has not come back for,
    /// for that long.
    pub(super) fn sweep(&self, bounds: &Bounds, now_ms: u64) {
        if self.is_listened_to() {
            // It counts as used until the client leaves.
            self.used_ms.store(now_ms, Ordering::Relaxed);
        }
        self.streams.sweep(bounds, now_ms);
    }

    /// Notes that a request is being worked on, and holds the room of its body, until the result
    /// is dropped.
    pub(super) fn begin(
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
    pub(super) fn answered(&self, mut message: ClientJsonRpcMessage) {
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
pub(super) fn kept(said: &ClientCapabilities, version: ProtocolVersion) -> InitializeRequestParams {
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::connection::Peer;
    use super::super::listen::Ends;
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    /// A session of this machine.
    pub(in super::super) fn session(id: &str) -> Arc<Session> {
        session_of(id, &Peer::new(Ends::default()))
    }

    pub(in super::super) fn session_of(id: &str, peer: &Peer) -> Arc<Session> {
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
