//! Answers that are kept to be given again: RFC 9111.
//!
//! What may be kept and for how long `http-cache-semantics` decides. It gets its headers in
//! one form ([`headers::plain`]), and only decides: the answers themselves, how they are asked
//! for again (`If-None-Match`, `If-Modified-Since`) and renewed are ours, so that no header
//! that comes twice is lost. Narrower than the RFC allows:
//!
//! - only answers to GET are kept; requests for ranges, and those with conditions of their
//!   own, pass by;
//! - no lifetime is guessed: without `max-age` or `Expires` the server is asked each time;
//! - a request with a credential (the host's, or `Authorization` or `Cookie` of the guest) is
//!   treated as by a shared cache: its answer is kept only if that says so.

mod entry;
mod headers;
mod store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use http_cache_semantics::BeforeRequest;
use hyper::body::Body as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Sending;
use crate::body::Body;
pub(super) use entry::Entry;
use entry::{Copied, Seed};
use store::{Key, Store};

/// The longest answer that is kept, in bytes with its headers; also, none takes more than a
/// quarter of its cache.
pub const ENTRY_BYTES_MAX: u64 = 4 << 20;

/// What a plugin is answered from, and nobody else.
#[derive(Debug)]
pub(super) struct Partition(pub(super) u64);

/// The answers of one origin, for all plugins, each in its partition.
#[derive(Debug)]
pub(super) struct Cache {
    store: Mutex<Store>,
    entry_bytes_max: u64,
    hits: AtomicU64,
    misses: AtomicU64,
    started: (SystemTime, Instant),
}

/// How a cache is, for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CacheStatus {
    /// Requests that were answered with what was kept.
    pub hits: u64,
    /// Requests that could have been, and were not.
    pub misses: u64,
    /// Bytes that are kept.
    pub bytes: u64,
}

/// What is there for a request.
pub(super) struct Seeking {
    pub(super) found: Found,
    pub(super) request: Seeker,
}

/// What a look into the cache found.
pub(super) enum Found {
    /// The answer.
    Fresh(Response<Body>),
    /// An answer that is good if the server says so.
    Stale(Arc<Entry>),
    /// Nothing.
    Nothing,
    /// The request is none that a cache answers.
    Unusable,
}

/// A request as the cache remembers it while it is on its way.
pub(super) struct Seeker {
    partition: Weak<Partition>,
    key: Key,
    /// With headers in plain form.
    plain: Parts,
    shared: bool,
    /// The header that the host adds a credential in.
    credential_header: Option<String>,
    sent: SystemTime,
}

impl Cache {
    pub(super) fn new(bytes_max: u64) -> Cache {
        Cache {
            store: Mutex::new(Store::new(bytes_max)),
            entry_bytes_max: ENTRY_BYTES_MAX.min(bytes_max / 4),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            started: (SystemTime::now(), Instant::now()),
        }
    }

    pub(super) fn status(&self) -> CacheStatus {
        CacheStatus {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.store().bytes(),
        }
    }

    /// Looks for an answer.
    pub(super) fn seek(
        &self,
        partition: &Arc<Partition>,
        parts: &Parts,
        body: &Body,
        sending: Sending<'_>,
    ) -> Seeking {
        let now = self.now();
        let request = Seeker::new(partition, parts, sending, now);
        let usable = parts.method == Method::GET
            && body.is_end_stream()
            && !headers::is_for_itself(&parts.headers);
        if !usable {
            let found = Found::Unusable;
            return Seeking { found, request };
        }
        let variants = self.store().get(&request.key);
        let mut found = Found::Nothing;
        for entry in variants.into_iter().filter(|entry| entry.serves(&request)) {
            match entry.policy.before_request(&request.plain, now) {
                BeforeRequest::Fresh(_) => {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    found = Found::Fresh(entry.answer(now));
                    break;
                }
                BeforeRequest::Stale { matches: true, .. } if entry.has_validator() => {
                    found = Found::Stale(entry);
                }
                BeforeRequest::Stale { .. } => {}
            }
        }
        if !matches!(found, Found::Fresh(_)) && headers::only_if_cached(&request.plain.headers) {
            // RFC 9111, section 5.2.1.7.
            let mut answer = Response::new(super::replay::empty());
            *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            found = Found::Fresh(answer);
        }
        if matches!(found, Found::Nothing) {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
        Seeking { found, request }
    }

    /// Passes an answer on, and keeps it when it has been read to its end. What it replaces
    /// goes at once.
    pub(super) fn keep(
        self: &Arc<Self>,
        request: Seeker,
        instead_of: Option<&Arc<Entry>>,
        response: Response<Body>,
    ) -> Response<Body> {
        if let Some(old) = instead_of {
            self.misses.fetch_add(1, Ordering::Relaxed);
            if !response.status().is_server_error() {
                self.store().remove(&request.key, old);
            }
        }
        let (parts, body) = response.into_parts();
        let size = body.size_hint();
        let Some(seed) = Seed::new(request, &parts, &size, self.now()) else {
            return Response::from_parts(parts, body);
        };
        let room = self.entry_bytes_max.checked_sub(seed.bytes);
        let Some(room) = room.filter(|room| size.lower() <= *room) else {
            return Response::from_parts(parts, body);
        };
        let body = Copied::new(body, Arc::clone(self), seed, room);
        Response::from_parts(parts, body.boxed_unsync())
    }

    /// Takes a 304 for an entry, and answers with that; nothing if it is for another one,
    /// which isn't there.
    pub(super) fn freshen(
        &self,
        request: &Seeker,
        entry: &Arc<Entry>,
        response: &Response<Body>,
    ) -> Option<Response<Body>> {
        let mut store = self.store();
        store.remove(&request.key, entry);
        if !entry.is_meant_by(response.headers()) {
            return None;
        }
        let now = self.now();
        let renewed = entry.renewed(request, response.headers(), now)?;
        let answer = renewed.answer(now);
        // Headers that each 304 adds must not add up.
        let fits = renewed.bytes <= self.entry_bytes_max;
        if fits && renewed.is_worth_keeping(now) && request.partition.strong_count() > 0 {
            store.insert(request.key.clone(), renewed, |_| false);
        }
        drop(store);
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    /// Forgets what a request has changed: RFC 9111, section 4.4.
    pub(super) fn invalidate(
        &self,
        partition: &Partition,
        (method, uri): &(Method, Uri),
        status: StatusCode,
    ) {
        if !method.is_safe() && (status.is_success() || status.is_redirection()) {
            self.store().remove_all(&Key::new(partition.0, uri));
        }
    }

    /// Forgets all of a plugin.
    pub(super) fn forget(&self, partition: &Partition) {
        self.store().remove_partition(partition.0);
    }

    fn insert(&self, seed: Seed, body: Bytes) {
        // Its plugin may have gone while it was read.
        let Some(_partition) = seed.request.partition.upgrade() else {
            return;
        };
        let key = seed.request.key.clone();
        let now = self.now();
        let plain = seed.request.plain.clone();
        let entry = seed.into_entry(body);
        self.store().insert(key, entry, |other| {
            !matches!(
                other.policy.before_request(&plain, now),
                BeforeRequest::Stale { matches: false, .. }
            )
        });
    }

    /// The time by the calendar, that only goes forward: a clock that is set back must not
    /// make answers young again.
    fn now(&self) -> SystemTime {
        let (calendar, clock) = self.started;
        SystemTime::now().max(calendar + clock.elapsed())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seeker {
    fn new(
        partition: &Arc<Partition>,
        parts: &Parts,
        sending: Sending<'_>,
        now: SystemTime,
    ) -> Seeker {
        let mut plain = Request::new(()).into_parts().0;
        plain.method = parts.method.clone();
        plain.uri = parts.uri.clone();
        plain.headers = headers::plain(&parts.headers);
        let shared = sending.credential.is_some()
            || sending.personal
            || headers::has_credential(&parts.headers);
        Seeker {
            partition: Arc::downgrade(partition),
            key: Key::new(partition.0, &parts.uri),
            plain,
            shared,
            credential_header: sending.credential.map(headers::of_credential),
            sent: now,
        }
    }
}

#[cfg(test)]
mod tests;
