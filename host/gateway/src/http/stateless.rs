//! One message of a client that sends everything with each request: the protocol's own service
//! answers it, in JSON, or by a stream of events where something comes before the answer, or
//! that takes long.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Collected, Full};
use portreeve_core::Caller;
use rmcp::model::{ErrorData, RequestId};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::time::timeout;

use super::body::Held;
use super::checks::Refused;
use super::connection::Peer;
use super::events::{self, Answering};
use super::route::Front;
use crate::prepared::Prepared;
use crate::server::Server;

/// How long an answer that is one message is waited for. Then a stream begins, which stays
/// alive: what stands between may take a silent connection for a dead one. Nobody comes back for
/// such a stream, so that beginning it sooner has no use.
const JSON_TIME_MAX: Duration = Duration::from_secs(5);

type Service = StreamableHttpService<Server, NeverSessionManager>;

/// Answers one message; `id` is that of a request.
pub(super) async fn post(
    front: &Arc<Front>,
    peer: &Peer,
    parts: Parts,
    held: Held,
    id: Option<RequestId>,
) -> Response {
    let answering = answer(front.clone(), peer.caller(), parts, held, id);
    // Whoever leaves meanwhile takes it along, and so cancels the work.
    let mut answering: Answering = Box::pin(answering);
    match timeout(JSON_TIME_MAX, &mut answering).await {
        Ok(response) => response,
        Err(_) => events::late(answering),
    }
}

async fn answer(
    front: Arc<Front>,
    caller: Caller,
    parts: Parts,
    held: Held,
    id: Option<RequestId>,
) -> Response {
    let prepared = Prepared::default();
    let request = http::Request::from_parts(parts, Full::new(held.bytes));
    let service = service(&front, caller, &prepared);
    let response = service.handle(request).await.map(Body::new);
    let is_message = response.headers().contains_key(CONTENT_TYPE);
    if !is_message && response.status() != StatusCode::ACCEPTED {
        return as_message(response, id).await;
    }
    if !prepared.is_there() {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        // On a stream it is worked on still, with what was read.
        let room = held.room;
        let holding = move |frame| {
            let _ = &room;
            frame
        };
        return response.map(|told| Body::new(told.map_frame(holding)));
    }
    // It is short: the tools are yet to come.
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let body = body.collect().await.map(Collected::to_bytes);
    let body = prepared.put_into(body.unwrap_or_default().into());
    Response::from_parts(parts, Body::from(body))
}

/// What the service says in plain text, as an error of the protocol, which is how clients read
/// everything else.
async fn as_message(response: Response, id: Option<RequestId>) -> Response {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(Collected::to_bytes);
    let body = body.unwrap_or_default();
    let why = String::from_utf8_lossy(&body);
    let error = if parts.status.is_server_error() {
        tracing::debug!(%why, "a request was not answered");
        ErrorData::internal_error("the request was not answered: this host ends", None)
    } else {
        ErrorData::invalid_request(why.into_owned(), None)
    };
    Refused::of(parts.status, id, error).into_response()
}

/// The service for one message.
fn service(front: &Arc<Front>, caller: Caller, prepared: &Prepared) -> Service {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // Both were checked before, against the operator's settings.
        .disable_allowed_hosts()
        .disable_allowed_origins()
        // As was the body.
        .with_max_request_body_bytes(usize::MAX)
        .with_cancellation_token(front.cancelled().clone());
    let (server, prepared) = (front.clone(), prepared.clone());
    StreamableHttpService::new(
        move || {
            let server = server.server(caller.clone(), server.shutdown().clone());
            Ok(server.answering(prepared.clone()))
        },
        front.stateless.clone(),
        config,
    )
}
