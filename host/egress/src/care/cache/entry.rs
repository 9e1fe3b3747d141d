//! One answer that is kept, from when it comes in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, DATE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, PRAGMA,
};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use http_cache_semantics::{CacheOptions, CachePolicy};
use hyper::body::{Body as _, Frame, SizeHint};

use super::super::Chunked;
use super::{Cache, Duration, Seeker, headers};
use crate::body::Body;
use crate::error::GateError;

/// What an entry takes besides what is counted, in bytes: maps, policies, counters.
const OVERHEAD_BYTES: u64 = 1024;

/// An answer.
#[derive(Debug)]
pub(in crate::care) struct Entry {
    pub(super) policy: CachePolicy,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// What it takes.
    pub(super) bytes: u64,
    /// Whether it was asked for with a credential.
    shared: bool,
}

impl Entry {
    /// Whether it is for requests like this one: those with a credential and those without
    /// are not answered with each other's.
    pub(super) fn serves(&self, request: &Seeker) -> bool {
        self.shared == request.shared
    }

    pub(super) fn has_validator(&self) -> bool {
        self.headers.contains_key(ETAG) || self.headers.contains_key(LAST_MODIFIED)
    }

    /// Whether it will ever be of use.
    pub(super) fn is_worth_keeping(&self, now: SystemTime) -> bool {
        self.policy.is_storable() && (self.has_validator() || !self.policy.is_stale(now))
    }

    /// Asks only for what is newer: RFC 9111, section 4.3.1.
    pub(in crate::care) fn make_conditional(&self, headers: &mut HeaderMap) {
        for (validator, condition) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
            if let Some(value) = self.headers.get(validator) {
                headers.insert(condition, value.clone());
            }
        }
    }

    /// Whether a 304 means this one: RFC 9111, section 4.3.4.
    pub(super) fn is_meant_by(&self, newer: &HeaderMap) -> bool {
        let (old, new) = (self.headers.get(ETAG), newer.get(ETAG));
        match (old, new) {
            (Some(old), Some(new)) => opaque(old) == opaque(new),
            (None, Some(_)) => false,
            (_, None) => match newer.get(LAST_MODIFIED) {
                Some(new) => self.headers.get(LAST_MODIFIED).is_none_or(|old| old == new),
                None => true,
            },
        }
    }

    /// The answer as it is now.
    pub(super) fn answer(&self, now: SystemTime) -> Response<Body> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {});
        let mut answer = Response::new(body.boxed_unsync());
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers.clone();
        let age = headers::age(self.policy.age(now));
        answer.headers_mut().insert(AGE, age);
        answer
    }

    /// This answer with what a 304 says of it.
    pub(super) fn renewed(
        &self,
        request: &Seeker,
        newer: &HeaderMap,
        now: SystemTime,
    ) -> Option<Entry> {
        let mut merged = self.headers.clone();
        headers::update(&mut merged, newer);
        if !newer.contains_key(DATE) {
            headers::set_date(&mut merged, now);
        }
        let mut aged = merged.clone();
        if let Some(age) = newer.get(AGE) {
            aged.insert(AGE, age.clone());
        }
        let policy = policy(request, self.status, &aged, now)?;
        let bytes = size(request, &merged) + self.body.len() as u64;
        Some(Entry {
            policy,
            status: self.status,
            headers: merged,
            body: self.body.clone(),
            bytes,
            shared: self.shared,
        })
    }
}

/// A tag without its weakness.
fn opaque(tag: &HeaderValue) -> &[u8] {
    let tag = tag.as_bytes().trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// What a library says of an answer to a request; nothing where it must not be kept.
fn policy(
    request: &Seeker,
    status: StatusCode,
    answer: &HeaderMap,
    now: SystemTime,
) -> Option<CachePolicy> {
    let answer = headers::plain_answer(answer, now);
    let vary = headers::vary(&answer)?;
    // What the host adds is not in the request that is held against the next.
    let added = |name: &http::HeaderName| {
        [AUTHORIZATION, COOKIE].contains(name)
            || request.credential_header.as_deref() == Some(name.as_str())
    };
    if request.shared && vary.iter().any(added) {
        return None;
    }
    let mut asked = Request::new(());
    *asked.method_mut() = request.plain.method.clone();
    *asked.uri_mut() = request.plain.uri.clone();
    // Only what decides: the rest may hold what is nobody's business for so long.
    for name in vary.iter().chain([&CACHE_CONTROL, &PRAGMA]) {
        if let Some(value) = request.plain.headers.get(name) {
            asked.headers_mut().insert(name.clone(), value.clone());
        }
    }
    if request.shared {
        let some = HeaderValue::from_static("some");
        asked.headers_mut().insert(AUTHORIZATION, some);
    }
    let mut given = Response::new(());
    *given.status_mut() = status;
    *given.headers_mut() = answer;
    let options = CacheOptions {
        shared: request.shared,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    // Its age counts from when it was asked for: the delay is the server's or the network's.
    let policy = CachePolicy::new_options(&asked, &given, request.sent, options);
    policy.is_storable().then_some(policy)
}

/// What an entry takes without its body.
fn size(request: &Seeker, headers: &HeaderMap) -> u64 {
    let map = |headers: &HeaderMap| -> u64 {
        headers
            .iter()
            .map(|(name, value)| (name.as_str().len() + value.len() + 64) as u64)
            .sum()
    };
    // Headers are there a second time for the policy, and the address for the key and it.
    let uri = request.plain.uri.to_string().len() as u64;
    OVERHEAD_BYTES + 2 * uri + 2 * map(headers) + map(&request.plain.headers)
}

/// An entry whose body is still on its way.
pub(super) struct Seed {
    pub(super) request: Seeker,
    policy: CachePolicy,
    status: StatusCode,
    headers: HeaderMap,
    /// What it takes without its body.
    pub(super) bytes: u64,
    /// How long the body says it is.
    length: Option<u64>,
}

impl Seed {
    /// Takes an answer for the cache; nothing if it must not be kept, need not be, or has no
    /// sure end.
    pub(super) fn new(
        request: Seeker,
        parts: &Parts,
        size_hint: &SizeHint,
        now: SystemTime,
    ) -> Option<Seed> {
        // A body that ends with its connection may be cut short, and nobody knows.
        let has_end = parts.version >= Version::HTTP_2
            || parts.extensions.get::<Chunked>().is_some()
            || parts.headers.contains_key(CONTENT_LENGTH)
            || size_hint.exact().is_some();
        let policy = policy(&request, parts.status, &parts.headers, now)?;
        let validator =
            parts.headers.contains_key(ETAG) || parts.headers.contains_key(LAST_MODIFIED);
        if !has_end || (policy.is_stale(now) && !validator) {
            return None;
        }
        let mut headers = headers::end_to_end(&parts.headers);
        if !headers.contains_key(DATE) {
            headers::set_date(&mut headers, now);
        }
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = match length.map(|length| length.to_str().map(str::parse)) {
            Some(Ok(Ok(length))) => Some(length),
            Some(_) => return None,
            None => None,
        };
        Some(Seed {
            bytes: size(&request, &headers),
            request,
            policy,
            status: parts.status,
            headers,
            length,
        })
    }

    pub(super) fn into_entry(self, body: Bytes) -> Entry {
        Entry {
            policy: self.policy,
            status: self.status,
            headers: self.headers,
            bytes: self.bytes + body.len() as u64,
            body,
            shared: self.request.shared,
        }
    }
}

/// A body that is passed on as it comes, and kept when it is at its end.
pub(super) struct Copied {
    body: Body,
    cache: Arc<Cache>,
    /// Nothing when it is kept, or will not be.
    copy: Option<(Seed, Vec<u8>)>,
    room: u64,
}

impl Copied {
    pub(super) fn new(body: Body, cache: Arc<Cache>, seed: Seed, room: u64) -> Copied {
        let mut copied = Copied {
            copy: Some((seed, Vec::new())),
            body,
            cache,
            room,
        };
        copied.end();
        copied
    }

    /// Keeps it if it is at its end: who reads it may not ask again.
    fn end(&mut self) {
        if self.body.is_end_stream() {
            self.keep();
        }
    }

    fn keep(&mut self) {
        if let Some((seed, copy)) = self.copy.take()
            && seed.length.is_none_or(|length| length == copy.len() as u64)
        {
            // Without the room that it had to grow.
            self.cache.insert(seed, copy.into_boxed_slice().into());
        }
    }
}

impl hyper::body::Body for Copied {
    type Data = Bytes;
    type Error = GateError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GateError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), &mut this.copy) {
                (Some(data), Some((_, copy))) => {
                    if (copy.len() + data.len()) as u64 > this.room {
                        this.copy = None;
                    } else {
                        copy.extend_from_slice(data);
                        this.end();
                    }
                }
                // Trailers are not kept, and without them it is not the same answer.
                (None, _) => this.copy = None,
                (_, None) => {}
            },
            Some(Err(_)) => this.copy = None,
            None => this.keep(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
