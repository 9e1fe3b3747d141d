//! Functions of `wasi:http` that wasmtime 48 has otherwise than a host of ours needs them.
//!
//! - What a request keeps in the host before it is sent: fields and bodies have limits in
//!   wasmtime; the parts of a URL and the method don't, and a guest could leave as much as one
//!   host call carries behind each of its handles.
//! - The options of a request stay in the host when it is sent: a handle each, until the call
//!   ends.
//! - The code of what broke off a body is looked for where it is not.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    DnsErrorPayload, ErrorCode, HostOutgoingRequest, IoError, Method, Scheme,
};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse as Answer, HostOutgoingRequest as Request,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpView as _};

use crate::guest::Guest;

/// Where the functions stand, at the version of wasmtime's WIT; a test holds it.
const TYPES: &str = "wasi:http/types@0.2.12";
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

/// Longest path with its query: a little more than a whole URL, so that one that is too long
/// gets as far as the error that says so.
const PATH_BYTES_MAX: usize = 9 * 1024;

/// Longest authority: names have at most 253 bytes, and user information is not sent.
const AUTHORITY_BYTES_MAX: usize = 1024;

/// Longest method and scheme of their own.
const WORD_BYTES_MAX: usize = 64;

/// What `result` without values is in Rust.
type Set = Result<(), ()>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, Guest>,
         (request, path): (Resource<Request>, Option<String>)|
         -> wasmtime::Result<(Set,)> {
            if path
                .as_ref()
                .is_some_and(|path| path.len() > PATH_BYTES_MAX)
            {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((http.set_path_with_query(request, path)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Guest>,
         (request, authority): (Resource<Request>, Option<String>)|
         -> wasmtime::Result<(Set,)> {
            let long = |text: &String| text.len() > AUTHORITY_BYTES_MAX;
            if authority.as_ref().is_some_and(long) {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((http.set_authority(request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Guest>,
         (request, method): (Resource<Request>, Method)|
         -> wasmtime::Result<(Set,)> {
            if matches!(&method, Method::Other(name) if name.len() > WORD_BYTES_MAX) {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((http.set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, Guest>,
         (request, scheme): (Resource<Request>, Option<Scheme>)|
         -> wasmtime::Result<(Set,)> {
            if matches!(&scheme, Some(Scheme::Other(name)) if name.len() > WORD_BYTES_MAX) {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((http.set_scheme(request, scheme)?,))
        },
    )?;
    types.func_wrap(
        "http-error-code",
        |mut store: StoreContextMut<'_, Guest>,
         (error,): (Resource<IoError>,)|
         -> wasmtime::Result<(Option<ErrorCode>,)> {
            let error = store.data_mut().table().get(&error)?;
            Ok((error.downcast_ref::<Error>().map(code_of),))
        },
    )?;
    linker.instance(HANDLER)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Guest>,
         (request, options): (Resource<Request>, Option<Resource<RequestOptions>>)|
         -> wasmtime::Result<(Result<Resource<Answer>, ErrorCode>,)> {
            let guest = store.data_mut();
            let known = options.as_ref().map(|it| Resource::new_borrow(it.rep()));
            let sent = outgoing_handler::Host::handle(&mut guest.http(), request, known);
            if let Some(options) = options {
                guest.table().delete(options)?;
            }
            Ok((match sent {
                Ok(answer) => Ok(answer),
                Err(error) => Err(error.downcast()?),
            },))
        },
    )
}

/// The code of a failure that a body ends with: those that a source gives, and what wasmtime
/// itself finds wrong with it.
fn code_of(error: &Error) -> ErrorCode {
    match error {
        Error::HttpRequestDenied => ErrorCode::HttpRequestDenied,
        Error::DestinationIpProhibited => ErrorCode::DestinationIpProhibited,
        Error::DnsError { .. } => ErrorCode::DnsError(DnsErrorPayload {
            rcode: None,
            info_code: None,
        }),
        Error::DnsTimeout => ErrorCode::DnsTimeout,
        Error::ConnectionRefused => ErrorCode::ConnectionRefused,
        Error::DestinationUnavailable => ErrorCode::DestinationUnavailable,
        Error::ConnectionTimeout => ErrorCode::ConnectionTimeout,
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionLimitReached => ErrorCode::ConnectionLimitReached,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::TlsCertificateError => ErrorCode::TlsCertificateError,
        Error::TlsProtocolError => ErrorCode::TlsProtocolError,
        Error::HttpRequestUriInvalid => ErrorCode::HttpRequestUriInvalid,
        Error::HttpRequestUriTooLong => ErrorCode::HttpRequestUriTooLong,
        Error::HttpRequestBodySize(size) => ErrorCode::HttpRequestBodySize(*size),
        Error::HttpResponseHeaderSectionSize(size) => {
            ErrorCode::HttpResponseHeaderSectionSize(*size)
        }
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        _ => ErrorCode::InternalError(None),
    }
}
