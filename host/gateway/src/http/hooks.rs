//! Webhooks: what others publish over HTTP, once it is signed as the operator has said.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use portreeve_core::{HookError, HookRequest};
use portreeve_manifest::size::ByteSize;
use serde_json::json;

use super::checks;
use super::connection::Peer;
use super::route::Front;

/// A request to a webhook: 202 once it is published.
pub(super) async fn take(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let settings = front.settings();
    if let Err(refused) = checks::head(&parts, &peer.ends, &settings) {
        return refused.into_response();
    }
    let Some(body_max) = front.host.hook_body_max(&name) else {
        return refused(&HookError::Unknown);
    };
    let mut limits = settings.limits.clone();
    limits.body = ByteSize(limits.body.0.min(body_max));
    let held = match front.room.read(body, &limits).await {
        Ok(held) => held,
        Err(refused) => return refused.into_response(),
    };
    let header = |name: &str| one(&parts.headers, name);
    let taken = front.host.hook(HookRequest {
        name: &name,
        header: &header,
        body: held.bytes,
    });
    let taken = taken.await;
    drop(held.room);
    match taken {
        Ok(taken) => {
            let body = json!({ "id": taken.id, "duplicate": taken.duplicate });
            answer(StatusCode::ACCEPTED, &body)
        }
        Err(error) => refused(&error),
    }
}

/// A header that stands once: what decides something may not be read in two ways.
fn one(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.to_owned())
}

fn refused(error: &HookError) -> Response {
    let status = match error {
        HookError::Unknown => StatusCode::NOT_FOUND,
        HookError::Unsigned(_) => StatusCode::UNAUTHORIZED,
        HookError::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
        HookError::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
        HookError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = answer(status, &json!({ "error": error.to_string() }));
    if let HookError::Busy { retry_ms, .. } = error {
        let seconds = retry_ms.div_ceil(1_000).max(1);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
