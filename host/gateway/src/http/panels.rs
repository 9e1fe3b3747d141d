//! Panels for people whose client shows none: a page around a plugin's HTML, which lies in a
//! sandboxed frame without network, and the way from there to its own plugin's tools.
//!
//! ```text
//! GET  /panels               the panels that there are
//! GET  /panels/ALIAS/REST    the page around one: this host's own HTML and script
//! POST /panels/ALIAS/REST    what the page passes on for it: a call of one of its tools
//! GET  /panel-frames/ALIAS/REST   the plugin's HTML, which only that page may frame
//! ```
//!
//! Nothing of the plugin's runs in this host's origin: its document is sandboxed by its own
//! head (`content-security-policy: sandbox`) as well as by the frame, so that it stays so when
//! it is opened by itself.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_DNS_PREFETCH_CONTROL,
};
use http::request::Parts;
use portreeve_core::{Asking, CallRequest, CallerUi};
use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::settings::ServeLimits;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::DropGuard;

use super::checks::{self, Refused};
use super::connection::Peer;
use super::route::{Front, plain, sends_json};
use crate::{convert, panels};

/// The page's own script: the host's end of MCP Apps.
const SCRIPT: &str = include_str!("panels.js");

/// The page's own style.
const STYLE: &str = include_str!("panels.css");

/// Pages of resources that are looked through for the list of panels.
const PAGES_MAX: usize = 20;

/// What a plugin's document may do: run its own scripts and show what it brings along.
const FRAME_POLICY: &str = "sandbox allow-scripts; default-src 'none'; \
    script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:; \
    media-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'self'; webrtc 'block'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

/// Takes away what reaches the network beside every policy: browsers hold WebRTC to none.
const NO_PEERS: &str = "for (const name of ['RTCPeerConnection', 'webkitRTCPeerConnection', \
    'RTCIceTransport', 'RTCDtlsTransport', 'RTCSctpTransport', 'WebTransport']) \
    delete globalThis[name];";

/// The attribute by which a document makes a frame of a text.
const FRAME_OF_TEXT: &str = "srcdoc";

/// A plugin's document, kept from the network where its policy doesn't do that. It could find
/// what was taken away again in a frame of its own making: the policy lets no script make one
/// of a text, and in the document itself the attribute is spelled otherwise; so it is in scripts,
/// where it has no use any more and stays a name.
fn alone(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let mut safe = String::with_capacity(html.len());
    let mut done = 0;
    for (at, _) in lower.match_indices(FRAME_OF_TEXT) {
        safe.push_str(html.get(done..at).unwrap_or_default());
        safe.push_str("no");
        done = at;
    }
    safe.push_str(html.get(done..).unwrap_or_default());
    panels::with_script(&safe, NO_PEERS)
}

/// What no page here may use of the browser.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), display-capture=(), \
    clipboard-read=(), clipboard-write=(), payment=(), usb=(), serial=(), hid=(), \
    midi=(), fullscreen=(), screen-wake-lock=(), publickey-credentials-get=()";

/// The hash by which a policy allows a text of this host's.
fn hash(text: &str) -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(text));
    format!("'sha256-{digest}'")
}

/// What a page of this host may do, which frames the documents of `frames`.
fn page_policy(frames: &str) -> String {
    static HASHES: LazyLock<(String, String)> = LazyLock::new(|| (hash(SCRIPT), hash(STYLE)));
    let (script, style) = &*HASHES;
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         frame-src {frames}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// A document with its policy.
fn document(policy: &str, html: String) -> Result<Response, Refused> {
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    let policy = HeaderValue::from_str(policy)
        .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "this address can't be shown"))?;
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    let fixed = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_DNS_PREFETCH_CONTROL, "off"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A text within HTML, and within an attribute of it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The panel that a request names below `root`, and the rest of its address. It is taken as it
/// came: addresses of plugins have their own `%`.
fn named(parts: &Parts, root: &str) -> (String, String) {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let rest = path.strip_prefix(root).unwrap_or_default();
    (format!("ui://{rest}"), rest.to_owned())
}

/// Holds a request for a page against what a browser says of where it comes from: pages of
/// others may lead here, and nothing else.
fn check(parts: &Parts, peer: &Peer, front: &Front) -> Result<(), Refused> {
    checks::head(parts, &peer.ends, &front.settings())?;
    let said = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
    let ours = matches!(
        said("sec-fetch-site"),
        None | Some(b"same-origin" | b"none")
    );
    let led = said("sec-fetch-mode") == Some(b"navigate")
        && said("sec-fetch-dest") == Some(b"document")
        && parts.method == http::Method::GET;
    if ours || led {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::FORBIDDEN,
        "pages of others may lead to panels, but neither frame them nor ask for them",
    ))
}

fn asking(peer: &Peer, front: &Front) -> (Asking, DropGuard) {
    let cancel = front.cancelled().child_token();
    let guard = cancel.clone().drop_guard();
    let caller = peer.caller();
    let asking = Asking {
        caller,
        progress: None,
        ui: CallerUi::default(),
        cancel,
    };
    (asking, guard)
}

/// The panels that there are.
pub(super) async fn index(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let listed = async {
        check(&parts, &peer, &front)?;
        let (asking, _guard) = asking(&peer, &front);
        let mut rows = String::new();
        let mut from = Some(portreeve_core::ResourceCursor::default());
        for _ in 0..PAGES_MAX {
            let Some(at) = from.take() else { break };
            let (listed, next) = front.host.resources(&asking, at).await;
            from = next;
            for (plugin, item) in listed.items {
                let uri = plugin.exposed_uri(&item.uri);
                let Some(path) = uri.strip_prefix("ui://") else {
                    continue;
                };
                let title = item.title.as_deref().unwrap_or(&item.name);
                // Writing to a text never fails.
                let _ = write!(
                    rows,
                    "<li><a href=\"/panels/{}\">{}</a> <span>of the plugin {}</span>",
                    escaped(path),
                    escaped(title),
                    escaped(&plugin.alias)
                );
            }
        }
        if rows.is_empty() {
            rows.push_str(
                "<li>There are none: no plugin that offers panels is granted `ui.panels`.",
            );
        }
        let html = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>Panels</title><style>{STYLE}</style><h1>Panels</h1><ul>{rows}</ul>"
        );
        document(&page_policy("'none'"), html)
    };
    listed.await.unwrap_or_else(Refused::into_response)
}

/// The page around a panel.
pub(super) async fn page(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let shown = || {
        check(&parts, &peer, &front)?;
        let (uri, path) = named(&parts, "/panels/");
        let Some((plugin, _)) = front.host.registry().resource(&uri) else {
            return Ok(plain(StatusCode::NOT_FOUND, "there is no such panel\n"));
        };
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default();
        // The policy names what the frame asks for; a query is no part of one.
        let bare = path.split('?').next().unwrap_or_default();
        let source = match host.starts_with('[') {
            false => format!("{host}/panel-frames/{bare}"),
            // Policies have no form for such addresses.
            true => "'self'".to_owned(),
        };
        if bare.contains([';', ',', '\'', '"', ' ']) {
            let why = "the address of this panel has characters that no policy can name";
            return Err(Refused::new(StatusCode::BAD_REQUEST, why));
        }
        let (path, alias) = (escaped(&path), escaped(&plugin.alias));
        let html = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>{alias}: a panel</title>\
             <style>{STYLE}</style><header>A panel of the plugin <strong>{alias}</strong>. \
             What it shows are the plugin's words.</header>\
             <iframe sandbox=\"allow-scripts\" referrerpolicy=\"no-referrer\" \
             title=\"A panel of the plugin {alias}\" src=\"/panel-frames/{path}\"></iframe>\
             <script>{SCRIPT}</script>"
        );
        document(&page_policy(&source), html)
    };
    shown().unwrap_or_else(Refused::into_response)
}

/// The plugin's document.
pub(super) async fn frame(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let shown = async {
        check(&parts, &peer, &front)?;
        let (asking, _guard) = asking(&peer, &front);
        let (uri, _) = named(&parts, "/panel-frames/");
        let asked = front.host.read_resource(&asking, &uri).await;
        match panels::html(asked, &front.host.registry()) {
            Ok(html) => document(FRAME_POLICY, alone(&html)),
            Err(error) => Err(Refused::of(StatusCode::NOT_FOUND, None, error)),
        }
    };
    shown.await.unwrap_or_else(Refused::into_response)
}

/// What a page passes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passed {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// A call of one of the panel's tools.
pub(super) async fn call(
    State(front): State<Arc<Front>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let called = async {
        check(&parts, &peer, &front)?;
        if !sends_json(&parts.headers) {
            let why = "send calls as `content-type: application/json`";
            return Err(Refused::closing(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let settings = front.settings();
        let held = front.read(body, &settings.limits).await?;
        let passed = read(&held.bytes, &settings.limits)
            .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, why))?;
        let (asking, _guard) = asking(&peer, &front);
        let call = CallRequest {
            caller: asking.caller,
            tool: passed.name,
            arguments: passed.arguments,
            progress: None,
            ui: CallerUi::default(),
            cancel: asking.cancel,
        };
        let (uri, _) = named(&parts, "/panels/");
        Ok(front.host.call_from_panel(&uri, call).await)
    };
    let answer = match called.await {
        Ok(response) => convert::answer(response),
        Err(refused) => return refused.into_response(),
    };
    let (status, value) = match answer {
        Ok(result) => (StatusCode::OK, json!({ "result": result })),
        Err(error) => (StatusCode::OK, json!({ "error": error })),
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads what a page passes on.
fn read(bytes: &[u8], limits: &ServeLimits) -> Result<Passed, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let limits = JsonLimits {
        bytes_max: limits.body.as_usize(),
        depth_max: usize::try_from(limits.depth).unwrap_or(usize::MAX),
    };
    let value = json::parse(text, &limits).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        assert_eq!(
            escaped("<a href='x' title=\"y\">&"),
            "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;"
        );
    }

    #[test]
    fn no_frame_is_made_of_a_text() {
        let html = alone("<!doctype html><iframe SrcDoc='a'>srcdocä<iframe srcdoc>");
        let script = format!("<script>{NO_PEERS}</script>");
        assert_eq!(
            html,
            format!("<!doctype html>{script}<iframe noSrcDoc='a'>nosrcdocä<iframe nosrcdoc>")
        );
    }

    #[test]
    fn a_page_runs_its_own_script_alone() {
        let policy = page_policy("127.0.0.1:1/panel-frames/a/b");
        assert!(policy.contains("script-src 'sha256-"), "{policy}");
        assert!(
            policy.contains("frame-src 127.0.0.1:1/panel-frames/a/b;"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
