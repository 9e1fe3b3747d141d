//! What a request keeps in the host before it is sent. Fields and bodies have limits in
//! wasmtime; the parts of a URL and the method don't, and a guest could leave as much as one
//! host call carries behind each of its handles.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest, Method, Scheme};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest as Request;

use crate::guest::Guest;

/// Where the functions stand, at the version of wasmtime's WIT; a test holds it.
const HTTP_TYPES: &str = "wasi:http/types@0.2.12";

/// Longest path with its query: a little more than a whole URL, so that one that is too long
/// gets as far as the error that says so.
const PATH_BYTES_MAX: usize = 16 * 1024;

/// Longest authority: names have at most 253 bytes, and user information is not sent.
const AUTHORITY_BYTES_MAX: usize = 1024;

/// Longest method and scheme of their own.
const WORD_BYTES_MAX: usize = 64;

/// What `result` without values is in Rust.
type Set = Result<(), ()>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(HTTP_TYPES)?;
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
    )
}
