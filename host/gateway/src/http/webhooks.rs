//! Webhooks: what others send to `/webhooks/NAME`.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use portreeve_core::{WebhookRefusal, WebhookTaken};
use serde_json::{Value, json};

use super::checks::{self, Refused};
use super::connection::Peer;
use super::route::Front;

/// One request to a webhook. It is acknowledged with 202 once it is a message on disk.
pub(super) async fn receive(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let settings = front.settings();
    // Pages have no business here, but those of this host could as well not ask.
    if let Err(refused) = checks::head(&parts, &peer.ends, &settings) {
        return refused.into_response();
    }
    if parts.method != Method::POST {
        let mut response = answer(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"error": "webhooks are POST requests"}),
        );
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let held = match front.read(body, &settings.limits).await {
        Ok(held) => held,
        Err(refused) => return Refused::into_response(refused),
    };
    let bytes = held.bytes.clone();
    let taken = front
        .host
        .receive_webhook(&name, &parts.headers, bytes)
        .await;
    match taken {
        Ok(WebhookTaken { id, duplicate }) => answer(
            StatusCode::ACCEPTED,
            &json!({"message": id, "duplicate": duplicate}),
        ),
        Err(refusal) => refuse(&refusal),
    }
}

fn refuse(refusal: &WebhookRefusal) -> Response {
    let status = match refusal {
        WebhookRefusal::Unknown => StatusCode::NOT_FOUND,
        WebhookRefusal::Unsigned => StatusCode::UNAUTHORIZED,
        WebhookRefusal::Body(_) => StatusCode::UNPROCESSABLE_ENTITY,
        WebhookRefusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        WebhookRefusal::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = answer(status, &json!({"error": refusal.to_string()}));
    if let WebhookRefusal::Busy { retry_ms } = refusal {
        let seconds = retry_ms.div_ceil(1_000).max(1);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
