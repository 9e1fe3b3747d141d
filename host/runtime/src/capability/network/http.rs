//! `wasi:http`: requests go to the call's [`HttpSource`], and both bodies stream.
//!
//! What a call can make the host hold is bounded by its handles, 1,000 by default. The most
//! that one of them can stand for is a request that is finished and was not sent: its headers
//! (16 KiB), its path (9 KiB), a piece of its body (16 KiB) and its trailers (16 KiB). That is
//! 57 MiB at the worst, less than the memory that a guest has by itself; a lower limit of
//! handles lowers it. Answers are counted out: so many at once, 32 KiB of headers in each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, TE};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody,
    WasiHttpHooks,
};

use super::LastFailure;
use super::body::{Received, Sent};
use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};

/// Most bytes of the headers, and of the trailers, that one request of a guest may hold, in
/// the way that wasmtime counts: with what each field takes beside its text. Servers accept
/// 8 KiB (nginx, Apache) to 16 KiB (Node.js).
pub(crate) const REQUEST_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of the headers, and of the trailers, of an answer: four times what servers
/// themselves commonly send at most (8 KiB).
pub(super) const RESPONSE_HEADER_BYTES_MAX: usize = 32 * 1024;

/// What one header takes beside its text, as HPACK (RFC 7541, 4.1) counts it.
const HEADER_OVERHEAD: usize = 32;

/// Longest URL of a request, in bytes. RFC 9110 (4.1) asks for 8,000 at least.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Most bytes of a body that a guest hands over at once, while one such piece is on its way:
/// as much as a record of TLS carries.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Most requests of one call that are on their way or being read at once. What the source
/// allows is less for a plugin as a whole (16 connections by default); this bounds what waits
/// for it.
const REQUESTS_AT_ONCE_MAX: usize = 64;

/// Shortest time limit: less could not be told from nothing.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// A body on its way, to or from a guest.
pub type HttpBody = UnsyncBoxBody<Bytes, HttpError>;

/// The time limits that a guest asks for, none longer than what is left of its call. Where
/// there is none, and where it is longer, the source's own holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// For the connection.
    pub connect: Option<Duration>,
    /// From the request to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub between_bytes: Option<Duration>,
}

/// What failed, as far as `wasi:http` tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// Not granted, or refused for another reason of the host's.
    Refused,
    /// The address that it leads to is one that may not be reached.
    AddressRefused,
    /// The name could not be looked up.
    Dns,
    /// Looking the name up took too long.
    DnsTimeout,
    /// Nobody listens there.
    ConnectionRefused,
    /// There is no way there, or whoever is there can't serve now.
    Unavailable,
    /// Connecting took too long.
    ConnectTimeout,
    /// The head of the answer took too long.
    FirstByteTimeout,
    /// A piece of the body took too long.
    BetweenBytesTimeout,
    /// There are too many connections.
    ConnectionLimit,
    /// The connection ended in the middle.
    ConnectionTerminated,
    /// The server's certificate, or the one that was shown to it, is not accepted.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// The URL is none, or none that may be used.
    InvalidUrl,
    /// The URL is too long.
    UrlTooLong,
    /// The request's body is not what was announced, or too large.
    RequestBody,
    /// The answer's headers or trailers are too large.
    ResponseHeaders,
    /// The answer's body is too large.
    ResponseBody,
    /// The other side does not speak HTTP as it should.
    Protocol,
    /// Something broke in the host.
    Internal,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpError {
    /// For `wasi:http`.
    pub kind: HttpErrorKind,
    /// For the guest, through `portreeve:network/failures`.
    pub failure: Failure,
}

impl HttpError {
    /// An error of this kind.
    pub fn new(kind: HttpErrorKind, failure: Failure) -> HttpError {
        HttpError { kind, failure }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl std::error::Error for HttpError {}

impl From<HttpErrorKind> for Error {
    fn from(kind: HttpErrorKind) -> Error {
        match kind {
            HttpErrorKind::Refused => Error::HttpRequestDenied,
            HttpErrorKind::AddressRefused => Error::DestinationIpProhibited,
            HttpErrorKind::Dns => Error::DnsError {
                rcode: None,
                info_code: None,
            },
            HttpErrorKind::DnsTimeout => Error::DnsTimeout,
            HttpErrorKind::ConnectionRefused => Error::ConnectionRefused,
            HttpErrorKind::Unavailable => Error::DestinationUnavailable,
            HttpErrorKind::ConnectTimeout => Error::ConnectionTimeout,
            HttpErrorKind::FirstByteTimeout => Error::HttpResponseTimeout,
            HttpErrorKind::BetweenBytesTimeout => Error::ConnectionReadTimeout,
            HttpErrorKind::ConnectionLimit => Error::ConnectionLimitReached,
            HttpErrorKind::ConnectionTerminated => Error::ConnectionTerminated,
            HttpErrorKind::Certificate => Error::TlsCertificateError,
            HttpErrorKind::Tls => Error::TlsProtocolError,
            HttpErrorKind::InvalidUrl => Error::HttpRequestUriInvalid,
            HttpErrorKind::UrlTooLong => Error::HttpRequestUriTooLong,
            HttpErrorKind::RequestBody => Error::HttpRequestBodySize(None),
            HttpErrorKind::ResponseHeaders => Error::HttpResponseHeaderSectionSize(None),
            HttpErrorKind::ResponseBody => Error::HttpResponseBodySize(None),
            HttpErrorKind::Protocol => Error::HttpProtocolError,
            HttpErrorKind::Internal => Error::InternalError(None),
        }
    }
}

/// Sends a guest's requests. Each is decided about by itself: grants may have changed.
#[async_trait]
pub trait HttpSource: Send + Sync {
    /// Sends one and waits for the head of its answer. It has an absolute URL and no `Host`
    /// header: that is the sender's to make of the URL that goes out. What the guest wrote is
    /// otherwise as it stands, without the headers of the connection. Bodies are streamed in
    /// both directions; dropping the future or the body gives up.
    ///
    /// # Errors
    /// It is refused or fails.
    async fn send(
        &self,
        request: http::Request<HttpBody>,
        timeouts: HttpTimeouts,
    ) -> std::result::Result<http::Response<HttpBody>, HttpError>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoHttp;

#[async_trait]
impl HttpSource for NoHttp {
    async fn send(
        &self,
        _: http::Request<HttpBody>,
        _: HttpTimeouts,
    ) -> std::result::Result<http::Response<HttpBody>, HttpError> {
        Err(HttpError::new(
            HttpErrorKind::Refused,
            Failure::new(
                ErrorCode::PermissionDenied,
                "listing",
                "tools are listed without any grant, and so without the network",
            ),
        ))
    }
}

/// The HTTP of one call.
pub(crate) struct Http {
    source: Arc<dyn HttpSource>,
    last_failure: Arc<LastFailure>,
    clock: Arc<Clock>,
    room: Arc<Semaphore>,
}

impl Http {
    pub(crate) fn new(
        source: Arc<dyn HttpSource>,
        last_failure: Arc<LastFailure>,
        clock: Arc<Clock>,
    ) -> Http {
        Http {
            source,
            last_failure,
            clock,
            room: Arc::new(Semaphore::new(REQUESTS_AT_ONCE_MAX)),
        }
    }
}

type Answered = Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
)>;

impl WasiHttpHooks for Http {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_BYTES_MAX
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_of_connection)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        // What it says is said by the body itself as well.
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let source = self.source.clone();
        let last_failure = self.last_failure.clone();
        let left = self.clock.left();
        let timeouts = clamp(options.unwrap_or_default(), left);
        // Taken now, so that what waits to be sent is counted too.
        let room = self.room.clone().try_acquire_owned();
        Box::new(async move {
            let sent = async {
                let room = Arc::new(room.map_err(|_| too_many())?);
                let request = tidy(request)?.map(|body| Sent::new(body, room.clone()).boxed());
                let response = source.send(request, timeouts).await?;
                within_head(response.headers())?;
                Ok((response, room))
            };
            let (response, room) = sent.await.map_err(|error: HttpError| {
                last_failure.set(error.failure);
                error.kind
            })?;
            let response = response.map(|body| Received::new(body, last_failure, room).boxed());
            let done: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

/// The headers that are the host's: they say how a connection is used and whom it leads to.
fn is_of_connection(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || name.as_str().starts_with("proxy-")
}

/// A request as it may go to a source.
fn tidy(
    mut request: http::Request<WasiBody>,
) -> std::result::Result<http::Request<WasiBody>, HttpError> {
    let uri = request.uri();
    let length = uri.path().len()
        + uri.query().map_or(0, str::len)
        + uri
            .authority()
            .map_or(0, |authority| authority.as_str().len());
    if length > URL_BYTES_MAX {
        let message = format!(
            "the request's URL has more than {} KiB; send data in its body instead",
            URL_BYTES_MAX / 1024
        );
        return Err(HttpError::new(
            HttpErrorKind::UrlTooLong,
            Failure::new(ErrorCode::InvalidArgument, "url-too-long", message),
        ));
    }
    // Of the transfer codings that a guest may say it accepts, the host passes on only that
    // it takes trailers.
    let headers = request.headers_mut();
    let mut accepted = headers.get_all(TE).iter();
    let trailers = accepted.any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

/// Whether headers, or trailers, are as large as an answer's may be.
pub(super) fn within_head(headers: &HeaderMap) -> std::result::Result<(), HttpError> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD)
        .sum();
    if bytes <= RESPONSE_HEADER_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the answer has more than {} KiB of headers, which is more than this host accepts",
        RESPONSE_HEADER_BYTES_MAX / 1024
    );
    Err(HttpError::new(
        HttpErrorKind::ResponseHeaders,
        Failure::new(ErrorCode::QuotaExceeded, "response-headers", message),
    ))
}

fn too_many() -> HttpError {
    let message = format!(
        "the plugin has {REQUESTS_AT_ONCE_MAX} requests on their way at once, the most that a \
         call may have; it has to finish some, or drop their answers, first"
    );
    HttpError::new(
        HttpErrorKind::ConnectionLimit,
        Failure::new(ErrorCode::QuotaExceeded, "requests-at-once", message),
    )
}

/// The guest's wishes for time, within what is `left` of its call.
fn clamp(options: RequestOptions, left: Duration) -> HttpTimeouts {
    let most = left.max(TIMEOUT_MIN);
    let within = |time: Option<Duration>| time.map(|time| time.clamp(TIMEOUT_MIN, most));
    HttpTimeouts {
        connect: within(options.connect_timeout),
        first_byte: within(options.first_byte_timeout),
        between_bytes: within(options.between_bytes_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty};

    fn request(uri: &str, headers: &[(&'static str, &'static str)]) -> http::Request<WasiBody> {
        let body = Empty::new().map_err(Error::from).boxed_unsync();
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).unwrap()
    }

    #[test]
    fn time_is_within_what_is_left() {
        let ask = |time| RequestOptions {
            connect_timeout: time,
            ..RequestOptions::default()
        };
        let second = Duration::from_secs(1);
        for (asked, left, expected) in [
            (None, second, None),
            (Some(second), second * 2, Some(second)),
            (Some(second * 600), second * 2, Some(second * 2)),
            (Some(Duration::ZERO), second, Some(TIMEOUT_MIN)),
            (Some(second), Duration::ZERO, Some(TIMEOUT_MIN)),
        ] {
            assert_eq!(clamp(ask(asked), left).connect, expected);
        }
    }

    #[test]
    fn headers_of_the_connection_are_the_hosts() {
        for (name, expected) in [
            ("host", true),
            ("connection", true),
            ("keep-alive", true),
            ("transfer-encoding", true),
            ("upgrade", true),
            ("http2-settings", true),
            ("proxy-authorization", true),
            ("proxy-anything", true),
            ("te", false),
            ("authorization", false),
            ("content-length", false),
            ("x-host", false),
        ] {
            assert_eq!(
                is_of_connection(&HeaderName::from_static(name)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn of_te_only_trailers_go_out() {
        for (sent, expected) in [
            (&[][..], None),
            (&[("te", "gzip")], None),
            (&[("te", "Trailers")], Some("trailers")),
            (&[("te", "gzip"), ("te", "trailers")], Some("trailers")),
        ] {
            let tidied = tidy(request("http://h/", sent)).unwrap();
            let te: Vec<_> = tidied.headers().get_all(TE).iter().collect();
            assert_eq!(te, expected.into_iter().collect::<Vec<_>>(), "{sent:?}");
        }
    }

    #[test]
    fn a_long_url_is_refused() {
        let url = |length: usize| format!("http://h/{}", "a".repeat(length));
        assert!(tidy(request(&url(URL_BYTES_MAX - 2), &[])).is_ok());
        let error = tidy(request(&url(URL_BYTES_MAX - 1), &[])).unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::UrlTooLong);
    }

    #[test]
    fn a_large_head_is_refused() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&"a".repeat(RESPONSE_HEADER_BYTES_MAX - 33)).unwrap();
        headers.insert("a", value);
        assert!(within_head(&headers).is_ok());
        headers.insert("b", HeaderValue::from_static(""));
        assert_eq!(
            within_head(&headers).unwrap_err().kind,
            HttpErrorKind::ResponseHeaders
        );
    }
}
