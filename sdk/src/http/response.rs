//! The answer to a request: its head at once, its body as it is read.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use url::Url;

use super::request::origin;
use super::{Headers, transport};
use crate::{Code, Error};

/// Most bytes that are asked for at once: enough to be quick, little beside a guest's memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// An answer. Its body is read as it arrives: whole and within a limit, or piece by piece
/// through [`io::Read`].
pub struct Response {
    url: Url,
    status: u16,
    headers: Headers,
    body: transport::Body,
    /// What has arrived and was not yet read, from `read` on.
    chunk: Vec<u8>,
    read: usize,
}

impl Response {
    pub(super) fn new(url: Url, status: u16, headers: Headers, body: transport::Body) -> Self {
        Self {
            url,
            status,
            headers,
            body,
            chunk: Vec::new(),
            read: 0,
        }
    }

    /// The status code, such as 200.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The URL that answered: after redirects another than the one that was asked.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The first header of a name, in any case, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        value.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers in their order; names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Makes a failure of a status of 400 and more, with the code that says the same and, where
    /// the server gives it in seconds, the time after which to try again.
    ///
    /// # Errors
    /// The status is 400 or more.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let Some(code) = code_of(self.status) else {
            return Ok(self);
        };
        let mut error = Error::new(
            code,
            format_args!("{} answered with status {}", origin(&self.url), self.status),
        )
        .reason(format!("http-{}", self.status));
        let seconds = self
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        if let Some(seconds) = seconds {
            error = error.retry_after(Duration::from_secs(seconds));
        }
        Err(error)
    }

    /// The whole body, if it has at most `max` bytes.
    ///
    /// # Errors
    /// `quota-exceeded` with the reason `response-too-large` where it has more, or what broke
    /// off the answer.
    pub fn bytes(mut self, max: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = self.chunk.split_off(self.read.min(self.chunk.len()));
        loop {
            if bytes.len() > max {
                return Err(Error::quota_exceeded(format_args!(
                    "the answer of {} has more than {max} bytes",
                    origin(&self.url)
                ))
                .reason("response-too-large"));
            }
            // One byte more than may be there shows that there is more.
            let room = max.saturating_sub(bytes.len()).saturating_add(1);
            match self.body.chunk(room.min(CHUNK_BYTES))? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => return Ok(bytes),
            }
        }
    }

    /// The whole body as text. It is read as UTF-8; what isn't becomes `U+FFFD`.
    ///
    /// # Errors
    /// As [`Response::bytes`].
    pub fn text(self, max: usize) -> Result<String, Error> {
        let bytes = self.bytes(max)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The whole body as a JSON document.
    ///
    /// # Errors
    /// As [`Response::bytes`], and `unavailable` with the reason `bad-response` where it is not
    /// what was expected.
    pub fn json<T: DeserializeOwned>(self, max: usize) -> Result<T, Error> {
        let origin = origin(&self.url);
        let bytes = self.bytes(max)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::unavailable(format_args!(
                "the answer of {origin} is not the JSON that was expected: {error}"
            ))
            .reason("bad-response")
        })
    }
}

/// Reads the body as it arrives. An error carries the [`Error`] as its text.
impl io::Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.read >= self.chunk.len() {
            let chunk = self.body.chunk(CHUNK_BYTES);
            let chunk = chunk.map_err(|error| io::Error::other(error.to_string()))?;
            self.chunk = chunk.unwrap_or_default();
            self.read = 0;
        }
        let arrived = self.chunk.get(self.read..).unwrap_or_default();
        let length = arrived.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(arrived) {
            *place = *byte;
        }
        self.read += length;
        Ok(length)
    }
}

/// The body is left unread, and nothing that may be secret is shown.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("origin", &origin(&self.url))
            .finish_non_exhaustive()
    }
}

/// What a status means; nothing for those below 400.
fn code_of(status: u16) -> Option<Code> {
    Some(match status {
        ..400 => return None,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        408 | 504 => Code::Timeout,
        409 | 412 => Code::Conflict,
        429 => Code::RateLimited,
        501 => Code::Unsupported,
        400..=499 => Code::InvalidArgument,
        _ => Code::Unavailable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_code() {
        for (status, code) in [
            (200, None),
            (304, None),
            (400, Some(Code::InvalidArgument)),
            (401, Some(Code::Unauthenticated)),
            (422, Some(Code::InvalidArgument)),
            (429, Some(Code::RateLimited)),
            (500, Some(Code::Unavailable)),
            (504, Some(Code::Timeout)),
        ] {
            assert_eq!(code_of(status), code, "{status}");
        }
    }
}
