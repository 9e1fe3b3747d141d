//! The network: closed. Sockets are refused by the WASI context, name look-ups are off,
//! and every HTTP request is denied here.
//!
//! `wasi:http` is linked all the same, because Python and JavaScript guests import it
//! whether they use it or not.

use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Most bytes of headers, and of a body, that one request of a guest may hold. With the
/// default of 1,000 handles that is 8 MiB a call in all.
pub(crate) const HEADER_BYTES_MAX: usize = 4 * 1024;
const BODY_BYTES_MAX: usize = 4 * 1024;

/// Denies every request.
pub(crate) struct Closed;

type Sent = Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
)>;

impl WasiHttpHooks for Closed {
    // What a guest prepares for a request that will be denied is held by the host: little.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_BYTES_MAX
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}
