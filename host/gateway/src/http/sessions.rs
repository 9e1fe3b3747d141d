//! The sessions of all clients of the older protocol: how they are opened, found, used and ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use portreeve_manifest::settings::ServeLimits;
use rmcp::ServerHandler;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorData, InitializeRequestParams,
    JsonRpcMessage, JsonRpcNotification, JsonRpcRequest, RequestId, ServerJsonRpcMessage,
    ServerResult,
};
use tokio::sync::OwnedSemaphorePermit;

use super::checks::{self, LAST_EVENT, Refused, SESSION, VERSION};
use super::connection::Peer;
use super::exchange;
use super::replay::{Bounds, EventId, Kind};
use super::route::{self, Front};
use super::session::{Session, kept, now_ms};

/// Bytes of chance in a session's id: nobody guesses it.
const ID_BYTES: usize = 24;

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    /// Counted from the start of this process.
    next: AtomicU64,
}

impl Sessions {
    fn by_id(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that a request names. Another principal than the one that opened it is told
    /// that there is none.
    fn of(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Session>, Refused> {
        checks::version(headers)?;
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
        let session = self.of(peer, &parts.headers)?;
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
                if let Some(id) = &cancelled.params.request_id {
                    session.cancel(id);
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
            if !unasked || session.is_listened_to() {
                let why = "nothing is left after this event (`last-event-id`): this session never had it, all that came after it was told, or that is not kept any more; `replay`, `replays`, `replay-events` and `replay-age` under [serve] limits say how much is kept, and for how long";
                return Err(Refused::new(StatusCode::BAD_REQUEST, why));
            }
        }
        let end = session.end.child_token();
        let (stream, response) = exchange::listen(front, &session, end.clone());
        session.listens_to(stream, end);
        Ok(response)
    }

    /// Ends a session at its client's wish.
    pub(super) fn delete(&self, peer: &Peer, parts: &Parts) -> Result<Response, Refused> {
        let session = self.of(peer, &parts.headers)?;
        self.by_id().remove(&session.id);
        session.end.cancel();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
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

/// The answer to what wants none.
pub(super) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

#[cfg(test)]
mod tests {
    use super::super::listen::Ends;
    use super::super::session::tests::session_of;
    use super::*;

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
}
