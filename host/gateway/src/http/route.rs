//! What is served at which path, and which way a message takes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::{any, get, post as post_at};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use portreeve_core::{Caller, Host};
use portreeve_manifest::settings::{ServeLimits, ServeSettings};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, GetMeta, JsonRpcMessage, ProtocolVersion};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use tokio_util::sync::CancellationToken;

use super::body::{Held, Room};
use super::checks::{self, Refused, VERSION};
use super::connection::Peer;
use super::hooks;
use super::panels;
use super::sessions::{self, Sessions};
use super::stateless;
use crate::message::{self, Refusal};
use crate::server::Server;
use crate::tools::ToolLists;

/// What all connections share.
pub(super) struct Front {
    pub(super) host: Arc<Host>,
    pub(super) sessions: Sessions,
    lists: Arc<ToolLists>,
    pub(super) room: Room,
    /// What is kept of the streams of all sessions.
    pub(super) replays: Room,
    /// Nobody is let in any more.
    shutdown: CancellationToken,
    /// Nothing is worked on any more.
    cancel: CancellationToken,
    pub(super) stateless: Arc<NeverSessionManager>,
}

impl Front {
    pub(super) fn new(host: Arc<Host>, shutdown: CancellationToken) -> Front {
        let settings = host.serve_settings();
        Front {
            sessions: Sessions::default(),
            lists: Arc::default(),
            room: Room::new(settings.limits.bodies),
            replays: Room::new(settings.limits.replays),
            shutdown,
            cancel: CancellationToken::new(),
            stateless: Arc::default(),
            host,
        }
    }

    /// The settings as they are now.
    pub(super) fn settings(&self) -> Arc<ServeSettings> {
        self.host.serve_settings()
    }

    /// Reads a body to its end, in the room that there is for all of them.
    pub(super) async fn read(&self, body: Body, limits: &ServeLimits) -> Result<Held, Refused> {
        self.room.read(body, limits).await
    }

    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Cancelled when nothing is worked on any more.
    pub(super) fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    pub(super) fn cancel(&self) {
        self.cancel.cancel();
        self.sessions.end_all();
    }

    pub(super) fn end_idle_sessions(&self) {
        self.sessions.end_idle(&self.settings().limits);
    }

    /// A server for one request, or for what a client listens to until `end`.
    pub(super) fn server(&self, caller: Caller, end: CancellationToken) -> Server {
        Server::new(self.host.clone(), caller, end).sharing(self.lists.clone())
    }
}

pub(super) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/mcp", any(mcp))
        .route("/panels", get(panels::index))
        .route("/panels/", get(panels::index))
        .route(
            "/panels/{alias}/{*rest}",
            get(panels::page).post(panels::call),
        )
        .route("/panel-frames/{alias}/{*rest}", get(panels::frame))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/hooks/{name}", post_at(hooks::take))
        .fallback(elsewhere)
        .with_state(front)
}

/// This process answers.
async fn healthz() -> Response {
    plain(StatusCode::OK, "ok\n")
}

/// Calls are taken.
async fn readyz(State(front): State<Arc<Front>>) -> Response {
    if front.shutdown.is_cancelled() {
        plain(StatusCode::SERVICE_UNAVAILABLE, "ending\n")
    } else {
        plain(StatusCode::OK, "ready\n")
    }
}

async fn elsewhere() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "nothing is here: MCP is at /mcp, panels at /panels, webhooks at /hooks/NAME, and there are /healthz and /readyz\n",
    )
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The protocol's endpoint.
async fn mcp(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let origin = match checks::head(&parts, &peer.ends, &front.settings()) {
        Ok(origin) => origin,
        Err(refused) => return refused.into_response(),
    };
    let answered = match parts.method {
        Method::POST => post(&front, &peer, parts, body).await,
        Method::GET => front.sessions.listen(&front, &peer, &parts),
        Method::DELETE => front.sessions.delete(&peer, &parts),
        Method::OPTIONS if origin.is_some() => Ok(checks::preflight(&parts.headers)),
        _ => Ok(not_allowed()),
    };
    let mut response = answered.unwrap_or_else(Refused::into_response);
    if let Some(origin) = origin {
        checks::allow(&mut response, origin);
    }
    response
}

/// The answer where a method has no use.
pub(super) fn not_allowed() -> Response {
    let mut response = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "POST messages here; GET and DELETE are for sessions of the older protocol\n",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    response
}

/// One message of a client.
async fn post(
    front: &Arc<Front>,
    peer: &Peer,
    parts: Parts,
    body: Body,
) -> Result<Response, Refused> {
    check_media(&parts.headers)?;
    let settings = front.settings();
    let limits = &settings.limits;
    let mut held = front.read(body, limits).await?;
    let refused = |Refusal { id, error }: Refusal| Refused::of(StatusCode::BAD_REQUEST, id, error);
    held.bytes = message::body(held.bytes).map_err(refused)?;
    if says_newest(&parts.headers)
        && let Some((id, method)) = message::id_of(&held.bytes, &message::OLDER_METHODS)
    {
        let error = message::no_method(method);
        return Err(Refused::of(StatusCode::NOT_FOUND, Some(id), error));
    }
    let depth_max = usize::try_from(limits.depth).unwrap_or(usize::MAX);
    let message = message::read_deep(&held.bytes, depth_max).map_err(refused)?;
    let id = match &message {
        Some(JsonRpcMessage::Request(request)) => Some(request.id.clone()),
        _ => None,
    };
    if !says_version(message.as_ref()) {
        checks::version(&parts.headers).map_err(|refused| refused.about(id.clone()))?;
    }
    if !is_newer(&parts.headers, message.as_ref()) {
        // What is read now holds what there was.
        let (sessions, room) = (&front.sessions, held.room);
        let answered = sessions.post(front, peer, &parts, message, room).await;
        return answered.map_err(|refused| refused.about(id));
    }
    if message.is_none() {
        return Ok(sessions::accepted());
    }
    // The protocol's own service reads it once more.
    drop(message);
    Ok(stateless::post(front, peer, parts, held, id).await)
}

/// Clients of both eras say that they send JSON and read JSON and streams of events.
fn check_media(headers: &HeaderMap) -> Result<(), Refused> {
    if !sends_json(headers) {
        let why = "send messages as `content-type: application/json`";
        return Err(Refused::closing(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !says_utf8(headers) || !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        let why = "send messages in UTF-8, and not compressed";
        return Err(Refused::closing(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let why = "send `accept: application/json, text/event-stream`: answers come as either";
        return Err(Refused::closing(StatusCode::NOT_ACCEPTABLE, why));
    }
    Ok(())
}

/// Whether the body is said to be JSON.
pub(super) fn sends_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| essence(value.to_str().unwrap_or_default()) == "application/json")
}

/// Whether the body is said to be text in UTF-8, as it is where nothing is said.
fn says_utf8(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let mut parameters = kind.unwrap_or_default().split(';').skip(1);
    parameters.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii")
        }
        _ => true,
    })
}

/// Whether the client names this type among those that it reads.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| essence(entry) == wanted)
}

/// A media type without its parameters.
fn essence(text: &str) -> String {
    let bare = text.split(';').next().unwrap_or_default();
    bare.trim().to_ascii_lowercase()
}

/// Whether a message says its version itself. What it says is held against the head where it
/// is answered.
fn says_version(message: Option<&ClientJsonRpcMessage>) -> bool {
    match message {
        Some(JsonRpcMessage::Request(request)) => match &request.request {
            ClientRequest::InitializeRequest(_) => true,
            request => request.get_meta().protocol_version().is_some(),
        },
        _ => false,
    }
}

/// Whether a message is of the newer protocol, which has no sessions: it says so by its header
/// or in itself.
fn is_newer(headers: &HeaderMap, message: Option<&ClientJsonRpcMessage>) -> bool {
    let request = match message {
        Some(JsonRpcMessage::Request(request)) => Some(&request.request),
        _ => None,
    };
    match request {
        Some(ClientRequest::InitializeRequest(_)) => false,
        Some(ClientRequest::DiscoverRequest(_)) => true,
        Some(request) if request.get_meta().protocol_version().is_some() => true,
        _ => says_newer(headers),
    }
}

/// Whether the head names the newest version that is known.
fn says_newest(headers: &HeaderMap) -> bool {
    let newest = ProtocolVersion::V_2026_07_28;
    headers
        .get(VERSION)
        .is_some_and(|version| version.as_bytes() == newest.as_str().as_bytes())
}

/// Whether the head names a version of the newer protocol.
pub(super) fn says_newer(headers: &HeaderMap) -> bool {
    let newest = ProtocolVersion::V_2026_07_28;
    let mut newer = ProtocolVersion::KNOWN_VERSIONS
        .iter()
        .filter(|version| **version >= newest);
    headers
        .get(VERSION)
        .is_some_and(|said| newer.any(|version| version.as_str().as_bytes() == said.as_bytes()))
}
