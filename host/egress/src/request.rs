//! A guest's request, made fit to be sent.
//!
//! What goes out is the target's URL as it was checked, and the guest's headers without those
//! that are between this host and the next: they are the host's own. They are dropped without
//! a word, as a guest's client library may set them by itself.

use std::sync::LazyLock;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
};
use http::{Method, Request, Uri};
use http_body::Body as _;
use memchr::memmem;
use portreeve_manifest::grant::Target;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::body::Body;
use crate::error::{GateError, GateErrorKind};
use crate::gate::CallPolicy;

/// Fields of a head: as many as hyper takes of a response over HTTP/1.1.
pub(crate) const FIELDS_MAX: usize = 100;

/// Bytes of a head: names and values.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a placeholder of a secret begins with, and the hexadecimal digits behind it.
const PLACEHOLDER: &[u8] = b"portreevesecret";
const PLACEHOLDER_DIGITS: usize = 32;

/// Placeholders in one request.
const PLACEHOLDERS_MAX: usize = 16;

static PLACEHOLDERS: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(PLACEHOLDER));

/// A guest's request that was allowed, in the form that is sent.
pub(crate) struct Prepared {
    method: Method,
    /// The target's.
    uri: Uri,
    headers: HeaderMap,
    /// What the guest has said of the body's length.
    pub(crate) length: Option<u64>,
}

impl Prepared {
    /// A guest's request to a target, and its body; `written` is the URL that the guest wrote.
    pub(crate) fn new(
        request: Request<Body>,
        target: &Target,
        written: &str,
    ) -> Result<(Prepared, Body), GateError> {
        let (parts, body) = request.into_parts();
        // In capitals, as rules have it: servers tell `get` from `GET`.
        let method = match target.method() {
            same if same == parts.method.as_str() => parts.method,
            method => Method::from_bytes(method.as_bytes())
                .map_err(|_| GateError::request("the method can't be sent"))?,
        };
        let mut headers = parts.headers;
        let length = length(&headers, &body)?;
        // The body is sent without waiting for leave, so that nothing is expected.
        for own in [HOST, CONTENT_LENGTH, EXPECT] {
            headers.remove(own);
        }
        drop_hops(&mut headers);
        drop_overrides(&mut headers);
        let prepared = Prepared {
            method,
            uri: match target.url().as_str() == written {
                true => parts.uri,
                false => uri(target.url())?,
            },
            headers,
            length,
        };
        Ok((prepared, body))
    }

    /// Whether there may be placeholders of secrets in it.
    pub(crate) fn has_placeholders(&self, target: &Target) -> bool {
        let has = |text: &[u8]| PLACEHOLDERS.find(text).is_some();
        self.headers.values().any(|value| has(value.as_bytes()))
            || target
                .url()
                .query()
                .is_some_and(|query| has(query.as_bytes()))
    }

    /// The request with a body.
    pub(crate) fn request(self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// A URI as a text: what its `Display` gives, in less time.
pub(crate) fn written(uri: &Uri) -> String {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return uri.to_string();
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    [scheme, "://", authority.as_str(), path].concat()
}

fn uri(url: &Url) -> Result<Uri, GateError> {
    Uri::try_from(&url[..Position::AfterQuery]).map_err(|_| {
        GateError::new(
            GateErrorKind::InvalidUrl,
            "the URL has characters that can't be sent",
        )
    })
}

/// Bytes of a request's head, which are bounded.
pub(crate) fn request_bytes<B>(request: &Request<B>) -> Result<u64, GateError> {
    // What stands before the path goes into the header Host.
    let uri = request.uri();
    let url = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len());
    head_bytes(request.headers())
        .map(|bytes| bytes + url)
        .filter(|bytes| *bytes <= HEAD_BYTES_MAX)
        .map(|bytes| bytes as u64)
        .ok_or_else(|| {
            GateError::new(
                GateErrorKind::HeadTooLarge,
                format!("a request has at most {FIELDS_MAX} header fields, and at most {HEAD_BYTES_MAX} bytes in them and its URL"),
            )
        })
}

/// Puts secrets where the guest has put their placeholders: in values of headers, and in the
/// query. Nowhere else: a path is matched by rules, and a body is not read here.
pub(crate) async fn fill(
    request: &mut Request<Body>,
    call: &dyn CallPolicy,
    target: &Target,
) -> Result<(), GateError> {
    let mut left = PLACEHOLDERS_MAX;
    for value in request.headers_mut().values_mut() {
        let filled = filled(value.as_bytes(), call, target, &mut left, |secret| {
            Zeroizing::new(secret.to_owned())
        });
        if let Some(filled) = filled.await? {
            let mut new = HeaderValue::from_bytes(&filled).map_err(|_| {
                GateError::request("a secret in a header has characters that no header has")
            })?;
            new.set_sensitive(true);
            *value = new;
        }
    }
    let Some(query) = target.url().query() else {
        return Ok(());
    };
    let filled = filled(query.as_bytes(), call, target, &mut left, |secret| {
        let escaped =
            percent_encoding::percent_encode(secret.as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        Zeroizing::new(escaped.to_string())
    });
    if let Some(filled) = filled.await? {
        let query =
            std::str::from_utf8(&filled).map_err(|_| GateError::request("the query is no text"))?;
        let mut url = target.url().clone();
        url.set_query(Some(query));
        *request.uri_mut() = uri(&url)?;
    }
    Ok(())
}

/// Bytes of the names and values of a head; nothing where it is larger than is taken.
pub(crate) fn head_bytes(headers: &HeaderMap) -> Option<usize> {
    if headers.len() > FIELDS_MAX {
        return None;
    }
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    (bytes <= HEAD_BYTES_MAX).then_some(bytes)
}

/// Removes what is between two hosts only (RFC 9110, section 7.6.1), and what proxies are told.
pub(crate) fn drop_hops(headers: &mut HeaderMap) {
    let is_hop = |name: &HeaderName| {
        let name = name.as_str();
        matches!(
            name,
            "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade" | "http2-settings"
        ) || name.starts_with("proxy-")
    };
    if !headers.keys().any(is_hop) {
        return;
    }
    let trailers = headers
        .get(TE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let hops: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop(name))
        .cloned()
        .collect();
    for name in named.iter().chain(&hops) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Headers for which some servers take another method, path or host than that of the request,
/// which is what rules are about: of frameworks that know forms alone, and of those behind a
/// proxy that wrote the request anew.
const OVERRIDES: [&str; 10] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Removes what would make another request of it than the one that was allowed.
fn drop_overrides(headers: &mut HeaderMap) {
    // Behind CGI and its like `_` is as good as `-`.
    let reads_as = |name: &str, other: &str| {
        let dashes = |b: u8| if b == b'_' { b'-' } else { b };
        name.len() == other.len() && name.bytes().map(dashes).eq(other.bytes())
    };
    let is_override = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with(['x', 'f']) && OVERRIDES.iter().any(|other| reads_as(name, other))
    };
    while let Some(name) = headers.keys().find(is_override).cloned() {
        headers.remove(name);
    }
}

/// What the guest says of the body's length, which must be so.
fn length(headers: &HeaderMap, body: &Body) -> Result<Option<u64>, GateError> {
    let mut written = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = written.next() else {
        return Ok(None);
    };
    let length = first
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length: u64 = length
        .and_then(|text| text.parse().ok())
        .filter(|_| written.all(|other| other == first))
        .ok_or_else(|| GateError::request("the header content-length is no length"))?;
    match body.size_hint().exact() {
        Some(exact) if exact != length => Err(GateError::request(format!(
            "the header content-length says {length} bytes, but the body has {exact}"
        ))),
        Some(_) => Ok(None),
        None => Ok(Some(length)),
    }
}

/// A text with secrets for its placeholders; nothing where it has none.
async fn filled(
    text: &[u8],
    call: &dyn CallPolicy,
    target: &Target,
    left: &mut usize,
    form: impl Fn(&str) -> Zeroizing<String>,
) -> Result<Option<Zeroizing<Vec<u8>>>, GateError> {
    let mut filled: Option<Zeroizing<Vec<u8>>> = None;
    let mut rest = text;
    while let Some(at) = PLACEHOLDERS.find(rest) {
        let end = at + PLACEHOLDER.len() + PLACEHOLDER_DIGITS;
        let token = rest
            .get(at..end)
            .and_then(|token| std::str::from_utf8(token).ok());
        let digits = |token: &&str| {
            token
                .bytes()
                .skip(PLACEHOLDER.len())
                .all(|b| b.is_ascii_hexdigit())
        };
        let secret = match token.filter(digits) {
            None => None,
            Some(_) if *left == 0 => {
                return Err(GateError::request(format!(
                    "a request has at most {PLACEHOLDERS_MAX} secrets in it"
                )));
            }
            Some(token) => {
                *left -= 1;
                call.placeholder(token, target).await?
            }
        };
        // What is no placeholder of this call's stays: it is no secret.
        let (before, after) = match &secret {
            Some(_) => (rest.get(..at), rest.get(end..)),
            None => (
                rest.get(..at + PLACEHOLDER.len()),
                rest.get(at + PLACEHOLDER.len()..),
            ),
        };
        let new = filled.get_or_insert_with(|| {
            Zeroizing::new(Vec::with_capacity(HEAD_BYTES_MAX.min(2 * text.len())))
        });
        new.extend_from_slice(before.unwrap_or_default());
        if let Some(secret) = secret {
            new.extend_from_slice(form(&secret).as_bytes());
        }
        rest = after.unwrap_or_default();
    }
    if let Some(new) = &mut filled {
        new.extend_from_slice(rest);
    }
    Ok(filled)
}
