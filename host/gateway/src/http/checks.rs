//! What is held against a request's head before anything is done for it: one value for each
//! field that decides something, a name of this host, and an origin that may call it.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION, CONTENT_LENGTH,
    CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING, VARY,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};
use portreeve_manifest::settings::{ServeLimits, ServeSettings};
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion, RequestId};
use rmcp::service::TxJsonRpcMessage;
use serde_json::json;

use super::listen::Ends;
use crate::written::written;

/// The session of a client of the older protocol.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The protocol's version that a client speaks.
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The last event that a client has seen of a stream.
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// What a field has besides its name and its value: a colon, a space and the line's end.
const FIELD_BYTES: usize = 4;

/// Longest part of a version that is said back, in characters.
const VERSION_CHARS_MAX: usize = 32;

/// Fields that two readers could take for two things if there were two of them.
const SINGLE: [HeaderName; 10] = [
    HOST,
    ORIGIN,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    SESSION,
    VERSION,
    LAST_EVENT,
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    id: Option<RequestId>,
    error: ErrorData,
    /// Whether nothing more is read from the connection: the rest of it can't be trusted, or
    /// was never read.
    closing: bool,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Refused {
        Refused::of(status, None, ErrorData::invalid_request(why.into(), None))
    }

    /// The refusal of the request with this id, where that could be read.
    pub(super) fn of(status: StatusCode, id: Option<RequestId>, error: ErrorData) -> Refused {
        Refused {
            status,
            id,
            error,
            closing: false,
        }
    }

    /// The same, of the request with this id, unless it is of another one.
    pub(super) fn about(self, id: Option<RequestId>) -> Refused {
        Refused {
            id: self.id.or(id),
            ..self
        }
    }

    pub(super) fn closing(status: StatusCode, why: impl Into<String>) -> Refused {
        Refused {
            closing: true,
            ..Refused::new(status, why)
        }
    }

    /// The refusal as an answer: an error of JSON-RPC, as clients of both eras read it.
    pub(super) fn into_response(self) -> Response {
        tracing::debug!(status = %self.status, why = %self.error.message, "a request was refused");
        let message = TxJsonRpcMessage::<RoleServer>::error(self.error, self.id);
        let mut response = json(self.status, &message);
        if self.closing {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

/// A message as an answer.
pub(super) fn json(status: StatusCode, message: &TxJsonRpcMessage<RoleServer>) -> Response {
    json_text(status, written(message))
}

/// One that was written, if it could be, as an answer.
pub(super) fn json_text(status: StatusCode, text: serde_json::Result<Vec<u8>>) -> Response {
    let (status, body) = match text {
        Ok(body) => (status, body),
        Err(error) => {
            tracing::error!(%error, "an answer can't be written");
            (StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// How large the head of a request may be.
#[derive(Clone, Copy)]
pub(super) struct HeadBounds {
    pub(super) bytes_max: usize,
    pub(super) fields_max: usize,
}

impl HeadBounds {
    pub(super) fn of(limits: &ServeLimits) -> HeadBounds {
        HeadBounds {
            bytes_max: limits.head.as_usize(),
            fields_max: usize::try_from(limits.fields).unwrap_or(usize::MAX),
        }
    }

    /// Holds a head against them.
    pub(super) fn check<B>(&self, request: &http::Request<B>) -> Result<(), Refused> {
        let (headers, path) = (request.headers(), request.uri().path_and_query());
        let fields = headers.len();
        if fields > self.fields_max {
            let why = format!(
                "the request has {fields} header fields, more than `fields` under [serve] limits allows ({}); send fewer, or the operator raises it",
                self.fields_max
            );
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refused::closing(status, why));
        }
        let line = path.map_or(0, |path| path.as_str().len());
        let bytes = headers.iter().fold(line, |bytes, (name, value)| {
            let field = name.as_str().len().saturating_add(value.len());
            bytes.saturating_add(field).saturating_add(FIELD_BYTES)
        });
        if bytes > self.bytes_max {
            let why = format!(
                "the request's head has {bytes} bytes, more than `head` under [serve] limits allows ({}); send less, or the operator raises it",
                self.bytes_max
            );
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refused::closing(status, why));
        }
        Ok(())
    }
}

/// Holds a request's head against what this host is and allows. What comes of it is the
/// origin that browsers must be told is allowed.
pub(super) fn head(
    parts: &Parts,
    ends: &Ends,
    settings: &ServeSettings,
) -> Result<Option<HeaderValue>, Refused> {
    for name in &SINGLE {
        if parts.headers.get_all(name).iter().nth(1).is_some() {
            let why = format!("the field `{name}` stands twice in the request; send it once");
            return Err(Refused::closing(StatusCode::BAD_REQUEST, why));
        }
    }
    if parts.headers.contains_key(TRANSFER_ENCODING) && parts.headers.contains_key(CONTENT_LENGTH) {
        let why = "the request has both `content-length` and `transfer-encoding`; send one of them";
        return Err(Refused::closing(StatusCode::BAD_REQUEST, why));
    }
    let host = host(parts)?;
    if !host_is_ours(&host, ends, settings) {
        let why = format!(
            "this host is not called {:?}; if it shall be, its operator adds that to `hosts` under [serve]",
            host.host()
        );
        return Err(Refused::closing(StatusCode::FORBIDDEN, why));
    }
    origin(&parts.headers, &host, settings)
}

/// A version that the protocol never had is a mistake of the client's, whatever it would come to
/// mean. Whoever says the version in the message, too, is told the same of that.
pub(super) fn version(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(said) = headers.get(VERSION) else {
        return Ok(());
    };
    let known = ProtocolVersion::KNOWN_VERSIONS;
    if known
        .iter()
        .any(|known| known.as_str().as_bytes() == said.as_bytes())
    {
        return Ok(());
    }
    let said = String::from_utf8_lossy(said.as_bytes());
    let said: String = said.chars().take(VERSION_CHARS_MAX).collect();
    let names: Vec<&str> = known.iter().map(ProtocolVersion::as_str).collect();
    let why = format!(
        "`mcp-protocol-version` is {said:?}, which this host does not speak; it speaks {}",
        names.join(", ")
    );
    let versions = json!({"supported": names, "requested": said});
    let error = ErrorData::new(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION, why, Some(versions));
    Err(Refused::of(StatusCode::BAD_REQUEST, None, error))
}

/// What the client calls this host.
fn host(parts: &Parts) -> Result<Authority, Refused> {
    let wrong = |why: &str| Refused::closing(StatusCode::BAD_REQUEST, why);
    let named = parts
        .headers
        .get(HOST)
        .ok_or_else(|| wrong("the request has no field `host`"))?;
    let named = named
        .to_str()
        .ok()
        .and_then(|name| name.parse::<Authority>().ok())
        .filter(|name| !name.as_str().contains('@'))
        .ok_or_else(|| wrong("the field `host` is no name and no address"))?;
    // A request for a whole URL, as proxies get them, names the host twice.
    if let Some(asked) = parts.uri.authority()
        && !asked.as_str().eq_ignore_ascii_case(named.as_str())
    {
        return Err(wrong("the URL and the field `host` name different hosts"));
    }
    Ok(named)
}

/// Whether the name is one of this host's. A page that has had its own name lead here can't
/// say any of them.
fn host_is_ours(named: &Authority, ends: &Ends, settings: &ServeSettings) -> bool {
    let name = named.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        let here = ends
            .local
            .is_some_and(|local| local.ip().to_canonical() == address);
        return here
            || address.is_loopback()
            || settings.hosts.iter().any(|host| {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.parse().is_ok_and(|host: IpAddr| host == address)
            });
    }
    name == "localhost" || settings.hosts.contains(&name)
}

/// Whether the page that calls may: one that this host gave, which names it as the request
/// does, or one that the operator lists.
fn origin(
    headers: &HeaderMap,
    host: &Authority,
    settings: &ServeSettings,
) -> Result<Option<HeaderValue>, Refused> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or_default();
    if settings.origins.iter().any(|listed| listed == text) {
        return Ok(Some(origin.clone()));
    }
    let own = text.split_once("://").is_some_and(|(scheme, authority)| {
        matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host.as_str())
    });
    if own {
        return Ok(None);
    }
    let shown: String = text.chars().take(100).collect();
    let why = format!(
        "pages of the origin {shown:?} may not call this host; if they shall, its operator adds it to `origins` under [serve]"
    );
    Err(Refused::closing(StatusCode::FORBIDDEN, why))
}

/// Tells a browser that pages of `origin` may read the answer.
pub(super) fn allow(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("mcp-session-id"),
    );
}

/// The answer to a browser that asks before it sends.
pub(super) fn preflight(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE"),
    );
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(request: &str, expected: Expect) {
        let mut lines = request.lines();
        let mut builder = http::Request::builder().uri(lines.next().unwrap());
        for line in lines {
            let (name, value) = line.trim().split_once(": ").unwrap();
            builder = builder.header(name, value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let settings = ServeSettings {
            hosts: vec!["mcp.example.com".to_owned(), "[2001:db8::1]".to_owned()],
            origins: vec!["https://app.example.com".to_owned()],
            ..ServeSettings::default()
        };
        let ends = Ends {
            remote: None,
            local: Some("192.0.2.7:80".parse().unwrap()),
        };
        let shown = match head(&parts, &ends, &settings) {
            Ok(None) => "allowed".to_owned(),
            Ok(Some(origin)) => format!("allowed, and {origin:?} is told"),
            Err(refused) => format!("{}: {}", refused.status.as_u16(), refused.error.message),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn names_of_this_host_are_allowed_and_no_others() {
        check("/mcp\nhost: 127.0.0.1:8080", expect!["allowed"]);
        check("/mcp\nhost: localhost", expect!["allowed"]);
        check("/mcp\nhost: LOCALHOST.:1", expect!["allowed"]);
        check("/mcp\nhost: [::1]:8080", expect!["allowed"]);
        check("/mcp\nhost: 192.0.2.7", expect!["allowed"]);
        check("/mcp\nhost: MCP.example.com:443", expect!["allowed"]);
        check("/mcp\nhost: [2001:db8::1]", expect!["allowed"]);
        check(
            "/mcp\nhost: evil.example",
            expect![[
                r#"403: this host is not called "evil.example"; if it shall be, its operator adds that to `hosts` under [serve]"#
            ]],
        );
        check(
            "/mcp\nhost: localhost.evil.example",
            expect![[
                r#"403: this host is not called "localhost.evil.example"; if it shall be, its operator adds that to `hosts` under [serve]"#
            ]],
        );
        check(
            "/mcp\nhost: 192.0.2.8",
            expect![[
                r#"403: this host is not called "192.0.2.8"; if it shall be, its operator adds that to `hosts` under [serve]"#
            ]],
        );
        check(
            "/mcp\nhost: a@localhost",
            expect!["400: the field `host` is no name and no address"],
        );
        check(
            "/mcp\naccept: */*",
            expect!["400: the request has no field `host`"],
        );
        check("http://localhost/mcp\nhost: localhost", expect!["allowed"]);
        check(
            "http://localhost/mcp\nhost: 127.0.0.1",
            expect!["400: the URL and the field `host` name different hosts"],
        );
    }

    #[test]
    fn origins_are_held_against_the_list() {
        let local = "/mcp\nhost: localhost:8080\norigin: ";
        check(&format!("{local}http://localhost:8080"), expect!["allowed"]);
        check(
            &format!("{local}https://app.example.com"),
            expect![[r#"allowed, and "https://app.example.com" is told"#]],
        );
        check(
            &format!("{local}http://localhost:6274"),
            expect![[
                r#"403: pages of the origin "http://localhost:6274" may not call this host; if they shall, its operator adds it to `origins` under [serve]"#
            ]],
        );
        check(
            &format!("{local}null"),
            expect![[
                r#"403: pages of the origin "null" may not call this host; if they shall, its operator adds it to `origins` under [serve]"#
            ]],
        );
        check(
            &format!("{local}http://evil.example"),
            expect![[
                r#"403: pages of the origin "http://evil.example" may not call this host; if they shall, its operator adds it to `origins` under [serve]"#
            ]],
        );
        check(
            &format!("{local}file://localhost:8080"),
            expect![[
                r#"403: pages of the origin "file://localhost:8080" may not call this host; if they shall, its operator adds it to `origins` under [serve]"#
            ]],
        );
    }

    #[test]
    fn what_decides_something_stands_once() {
        check(
            "/mcp\nhost: localhost\nhost: evil.example",
            expect!["400: the field `host` stands twice in the request; send it once"],
        );
        check(
            "/mcp\nhost: localhost\nmcp-session-id: a\nmcp-session-id: b",
            expect!["400: the field `mcp-session-id` stands twice in the request; send it once"],
        );
        check(
            "/mcp\nhost: localhost\ncontent-length: 1\ntransfer-encoding: chunked",
            expect![
                "400: the request has both `content-length` and `transfer-encoding`; send one of them"
            ],
        );
    }
}
