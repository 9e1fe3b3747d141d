//! Bodies of answers to the host's own requests: bounded, counted, gone on with.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use http::{StatusCode, response};
use http_body_util::BodyExt as _;

use crate::body::Body;
use crate::error::{GateError, GateErrorKind};

/// Bytes of the body of an answer that says what is wrong.
const COMPLAINT_BYTES_MAX: usize = 16 << 10;

/// How much room is made at once for what a server says it will send: it may not.
const RESERVE_BYTES_MAX: u64 = 1 << 20;

/// How much of an answer is taken.
#[derive(Clone, Copy)]
pub struct Take<'a> {
    /// At most so many bytes.
    pub max: u64,
    /// Exactly so many, where that is known before.
    pub size: Option<u64>,
    /// Told how many bytes have come, and of how many, as far as that is known.
    pub progress: Option<&'a (dyn Fn(u64, Option<u64>) + Send + Sync)>,
}

impl Take<'_> {
    /// At most so many bytes, and nobody looks on.
    pub fn at_most(max: u64) -> Take<'static> {
        Take {
            max,
            size: None,
            progress: None,
        }
    }
}

/// What has come of a body, over all tries.
pub(super) struct Taken<'a> {
    take: &'a Take<'a>,
    body: Vec<u8>,
    /// What the server says if it is still the same: an entity tag, not a weak one.
    validator: Option<HeaderValue>,
    /// Of how many bytes.
    total: Option<u64>,
}

impl<'a> Taken<'a> {
    pub(super) fn new(take: &'a Take<'a>) -> Taken<'a> {
        Taken {
            take,
            body: Vec::new(),
            validator: None,
            total: take.size,
        }
    }

    fn len(&self) -> u64 {
        self.body.len() as u64
    }

    /// Asks for the rest only, where there is a beginning that may be gone on with.
    pub(super) fn ask(&mut self, headers: &mut HeaderMap) {
        match &self.validator {
            Some(validator) if !self.body.is_empty() => {
                headers.insert(IF_RANGE, validator.clone());
                let range = HeaderValue::from_str(&format!("bytes={}-", self.len()));
                // Digits are fit for a header.
                headers.extend(range.ok().map(|range| (RANGE, range)));
            }
            _ => self.body.clear(),
        }
    }

    /// Takes the body of an answer.
    pub(super) async fn take(
        &mut self,
        head: &response::Parts,
        body: Body,
    ) -> Result<Vec<u8>, GateError> {
        match head.status {
            StatusCode::PARTIAL_CONTENT => self.go_on(head)?,
            StatusCode::RANGE_NOT_SATISFIABLE if !self.body.is_empty() => {
                self.validator = None;
                return Err(broken("the server has no more of it: it begins again"));
            }
            status if status.is_success() => self.begin(head)?,
            _ => return Ok(complaint(body).await),
        }
        self.gather(body).await?;
        Ok(std::mem::take(&mut self.body))
    }

    /// From the start.
    fn begin(&mut self, head: &response::Parts) -> Result<(), GateError> {
        self.body.clear();
        self.validator = None;
        let encoding = head.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding.as_bytes() != b"identity") {
            return Err(wrong(
                "the server sends it compressed, which nobody asked for",
            ));
        }
        let length = number(&head.headers);
        if let Some(length) = length {
            self.bound(length)?;
            if let Some(size) = self.take.size.filter(|size| *size != length) {
                return Err(wrong(&format!(
                    "the server sends {length} bytes, where {size} were promised"
                )));
            }
        }
        self.total = self.take.size.or(length);
        self.validator = head.headers.get(ETAG).filter(|tag| is_strong(tag)).cloned();
        let room = length.unwrap_or(0).min(RESERVE_BYTES_MAX);
        self.body.reserve(usize::try_from(room).unwrap_or(0));
        Ok(())
    }

    /// From where it broke off.
    fn go_on(&mut self, head: &response::Parts) -> Result<(), GateError> {
        let range = head.headers.get(CONTENT_RANGE);
        let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
        let parsed = range.strip_prefix("bytes ").and_then(|range| {
            let (range, total) = range.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            let total = match total {
                "*" => None,
                total => Some(total.parse::<u64>().ok()?),
            };
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
        });
        let fits = parsed.is_some_and(|(first, last, total)| {
            first == self.len()
                && first <= last
                && total.is_none_or(|total| last < total)
                && total.is_none_or(|total| self.total.is_none_or(|before| before == total))
        });
        self.total = self.total.or(parsed.and_then(|(_, _, total)| total));
        if self.body.is_empty() || !fits {
            return Err(wrong(
                "the server sends another part of it than it was asked for",
            ));
        }
        Ok(())
    }

    async fn gather(&mut self, mut body: Body) -> Result<(), GateError> {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let len = self.len().saturating_add(data.len() as u64);
            self.bound(len)?;
            self.body.extend_from_slice(&data);
            if let Some(progress) = self.take.progress {
                progress(len, self.total);
            }
        }
        match self.total {
            Some(total) if total != self.len() => Err(broken(&format!(
                "it ended after {} bytes of {total}",
                self.len()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether so many bytes may come.
    fn bound(&self, len: u64) -> Result<(), GateError> {
        let too_large = |message| Err(GateError::new(GateErrorKind::BodyTooLarge, message));
        if len > self.take.max {
            return too_large(format!(
                "the server sends more than the {} bytes that are taken",
                self.take.max
            ));
        }
        match self.take.size {
            Some(size) if len > size => too_large(format!(
                "the server sends more than the {size} bytes that were promised"
            )),
            _ => Ok(()),
        }
    }
}

/// What a server says is wrong: as much as is of use.
async fn complaint(mut body: Body) -> Vec<u8> {
    let mut taken = Vec::new();
    // That it breaks off is of no interest: the status says all.
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            let room = COMPLAINT_BYTES_MAX.saturating_sub(taken.len());
            taken.extend(data.iter().take(room));
        }
        if taken.len() >= COMPLAINT_BYTES_MAX {
            break;
        }
    }
    taken
}

fn number(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether an entity tag says that every byte is the same (RFC 9110, section 8.8.3).
fn is_strong(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"\"")
}

fn wrong(message: &str) -> GateError {
    GateError::new(GateErrorKind::Protocol, message)
}

fn broken(message: &str) -> GateError {
    GateError::new(GateErrorKind::Incomplete, message)
}
