//! Requests over HTTP and HTTPS, to where `plugin.toml` asks for and the operator allows.
//! Needs the grant `network`.
//!
//! ```
//! use std::time::Duration;
//!
//! use portreeve_sdk::{Error, http, tool};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Issue {
//!     title: String,
//! }
//!
//! /// The title of an issue.
//! #[tool(read_only, open_world)]
//! fn issue_title(repository: String, number: u32) -> Result<String, Error> {
//!     let url = format!("https://api.example.com/repos/{repository}/issues/{number}");
//!     let response = http::Request::get(url)
//!         .header("accept", "application/json")
//!         .timeout(Duration::from_secs(10))
//!         .send()?
//!         .error_for_status()?;
//!     // At most so many bytes: what answers may be anyone.
//!     Ok(response.json::<Issue>(64 * 1024)?.title)
//! }
//!
//! // A native build, where a plugin's own tests run, has no host to send it.
//! let error = issue_title("acme/site".into(), 7).unwrap_err();
//! assert_eq!(error.message(), "there is no host to send a request: this is a native build");
//! ```
//!
//! The host decides about each request when it is made, and each redirect is a request of its
//! own. What it refuses fails with `permission-denied` and the host's own sentence, which says
//! what would allow it.

mod redirect;
mod request;
mod response;
#[cfg(target_family = "wasm")]
mod wasi;

pub use request::{Method, Request};
pub use response::Response;

#[cfg(not(target_family = "wasm"))]
use native as transport;
#[cfg(target_family = "wasm")]
use wasi as transport;

use std::time::Instant;

use url::Url;

/// Headers in their order; values are bytes that are mostly text.
type Headers = Vec<(String, Vec<u8>)>;

/// One request as it goes out.
#[cfg_attr(
    not(target_family = "wasm"),
    expect(dead_code, reason = "a native build sends none")
)]
struct Exchange<'a> {
    method: &'a Method,
    url: &'a Url,
    headers: &'a Headers,
    body: Option<&'a [u8]>,
    deadline: Option<Instant>,
}

/// A native build has no host.
#[cfg(not(target_family = "wasm"))]
mod native {
    use super::{Exchange, Headers};
    use crate::Error;
    use crate::host::no_host;

    /// There is none.
    #[derive(Debug)]
    pub(super) enum Body {}

    impl Body {
        pub(super) fn chunk(&mut self, _max: usize) -> Result<Option<Vec<u8>>, Error> {
            match *self {}
        }
    }

    pub(super) fn exchange(_: &Exchange<'_>) -> Result<(u16, Headers, Body), Error> {
        Err(Error::from_failure(no_host("send a request")))
    }
}
