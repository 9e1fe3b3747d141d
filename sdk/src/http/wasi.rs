//! One request over `wasi:http`.

use std::time::{Duration, Instant};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    self as wasi, ErrorCode, Fields, HeaderError, IncomingBody, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::request::origin;
use super::{Exchange, Headers, Method};
use crate::host::failures;
use crate::{Code, Error};

/// The body of an answer. A stream is dropped before what it belongs to.
#[derive(Debug)]
pub(super) struct Body {
    stream: InputStream,
    _body: IncomingBody,
    origin: String,
    deadline: Option<Instant>,
}

impl Body {
    /// The next bytes, at most `max`; nothing at the end.
    pub(super) fn chunk(&mut self, max: usize) -> Result<Option<Vec<u8>>, Error> {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        loop {
            match self.stream.read(max) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(match wasi::http_error_code(&error) {
                        Some(code) => failed(&self.origin, &code),
                        None => broken(&self.origin, &error.to_debug_string()),
                    });
                }
            }
            wait(&self.stream.subscribe(), self.deadline, &self.origin)?;
        }
    }
}

/// Sends a request and waits for the head of its answer.
pub(super) fn exchange(sent: &Exchange<'_>) -> Result<(u16, Headers, Body), Error> {
    let origin = origin(sent.url);
    // What failed before is not what fails now.
    failures::take_last();
    let request = prepare(sent)?;
    let body = match sent.body {
        Some(_) => Some(request.body().map_err(|()| impossible("have a body"))?),
        None => None,
    };
    let options = options(sent.deadline)?;
    let answer = handle(request, Some(options)).map_err(|code| failed(&origin, &code))?;
    if let (Some(body), Some(bytes)) = (body, sent.body) {
        send_body(body, bytes, sent.deadline, &origin)?;
    }
    let ready = answer.subscribe();
    let response = loop {
        match answer.get() {
            Some(response) => break response.map_err(|()| impossible("be answered twice"))?,
            None => wait(&ready, sent.deadline, &origin)?,
        }
    };
    let response = response.map_err(|code| failed(&origin, &code))?;
    let headers = response.headers().entries();
    let body = response.consume().map_err(|()| impossible("be read"))?;
    let body = Body {
        stream: body.stream().map_err(|()| impossible("be read"))?,
        _body: body,
        origin,
        deadline: sent.deadline,
    };
    Ok((response.status(), headers, body))
}

fn prepare(sent: &Exchange<'_>) -> Result<OutgoingRequest, Error> {
    let mut headers = sent.headers.clone();
    if let Some(body) = sent.body {
        headers.retain(|(name, _)| name != "content-length");
        let length = body.len().to_string().into_bytes();
        headers.push(("content-length".to_owned(), length));
    }
    let headers = Fields::from_list(&headers).map_err(|error| {
        Error::invalid_argument(match error {
            HeaderError::Forbidden => {
                "the request has a header that is the host's own, such as `Host` or `Connection`; \
                 leave it out"
            }
            _ => "the request has a header whose name or value HTTP doesn't allow",
        })
        .reason("invalid-header")
    })?;
    let request = OutgoingRequest::new(headers);
    let scheme = match sent.url.scheme() {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let path = match sent.url.query() {
        Some(query) => format!("{}?{query}", sent.url.path()),
        None => sent.url.path().to_owned(),
    };
    let host = sent.url.host_str().unwrap_or_default();
    let authority = match sent.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let set = request
        .set_method(&method(sent.method))
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(&authority)))
        .and_then(|()| request.set_path_with_query(Some(&path)));
    set.map_err(|()| {
        Error::invalid_argument("the request's method or URL is not one of HTTP")
            .reason("invalid-request")
    })?;
    Ok(request)
}

fn method(method: &Method) -> wasi::Method {
    match method {
        Method::Get => wasi::Method::Get,
        Method::Head => wasi::Method::Head,
        Method::Post => wasi::Method::Post,
        Method::Put => wasi::Method::Put,
        Method::Patch => wasi::Method::Patch,
        Method::Delete => wasi::Method::Delete,
        Method::Options => wasi::Method::Options,
        Method::Other(name) => wasi::Method::Other(name.clone()),
    }
}

/// The host may stop waiting when this side does.
fn options(deadline: Option<Instant>) -> Result<RequestOptions, Error> {
    let options = RequestOptions::new();
    if let Some(deadline) = deadline {
        let left = Some(nanoseconds(left(deadline)));
        options
            .set_connect_timeout(left)
            .and_then(|()| options.set_first_byte_timeout(left))
            .and_then(|()| options.set_between_bytes_timeout(left))
            .map_err(|()| impossible("have a time limit"))?;
    }
    Ok(options)
}

/// Writes as much as is taken: a server may answer before it has read everything, and then
/// its answer says why.
fn send_body(
    body: OutgoingBody,
    bytes: &[u8],
    deadline: Option<Instant>,
    origin: &str,
) -> Result<(), Error> {
    let stream = body.write().map_err(|()| impossible("be written"))?;
    let whole = write(&stream, bytes, deadline, origin)?;
    drop(stream);
    if whole {
        OutgoingBody::finish(body, None).map_err(|code| failed(origin, &code))?;
    }
    Ok(())
}

/// Whether all of it was taken.
fn write(
    stream: &OutputStream,
    mut bytes: &[u8],
    deadline: Option<Instant>,
    origin: &str,
) -> Result<bool, Error> {
    while !bytes.is_empty() {
        let room = match stream.check_write() {
            Ok(room) => usize::try_from(room).unwrap_or(usize::MAX),
            Err(_) => return Ok(false),
        };
        if room == 0 {
            wait(&stream.subscribe(), deadline, origin)?;
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        if stream.write(now).is_err() {
            return Ok(false);
        }
        bytes = later;
    }
    Ok(true)
}

/// Waits until it is ready or the time is over.
fn wait(ready: &Pollable, deadline: Option<Instant>, origin: &str) -> Result<(), Error> {
    let Some(deadline) = deadline else {
        ready.block();
        return Ok(());
    };
    let over = subscribe_duration(nanoseconds(left(deadline)));
    if poll(&[ready, &over]).contains(&0) {
        return Ok(());
    }
    Err(Error::timeout(format_args!("{origin} did not answer in time")).reason("request-timeout"))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the host said of it, or else what WASI's code says.
fn failed(origin: &str, code: &ErrorCode) -> Error {
    if let Some(failure) = failures::take_last() {
        return Error::from_failure(failure);
    }
    let class = match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Code::PermissionDenied,
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Code::Timeout,
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => Code::InvalidArgument,
        ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_) => Code::QuotaExceeded,
        _ => Code::Unavailable,
    };
    Error::new(
        class,
        format_args!("the request to {origin} failed: {code}"),
    )
    .reason("request-failed")
}

fn broken(origin: &str, why: &str) -> Error {
    match failures::take_last() {
        Some(failure) => Error::from_failure(failure),
        None => Error::unavailable(format_args!("the answer of {origin} broke off: {why}"))
            .reason("request-failed"),
    }
}

/// What WASI allows to fail and does not fail as it is used here.
fn impossible(what: &str) -> Error {
    Error::internal(format_args!("the host says that a request can't {what}"))
}
