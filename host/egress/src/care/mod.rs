//! The care that the operator takes of an origin: how often a request is tried, how many go
//! there, when it is left alone, and what of its answers is kept.
//!
//! [`OriginCares`] is one per host: its rates and breakers hold for all plugins together.
//! [`ClientCares`] is one per plugin: no plugin is answered with what another one fetched. A
//! request goes through [`ClientCares::run`], whether its origin has care or not:
//!
//! ```text
//! run ─ cache ─ retry ─ breaker ─ rate ─ Exchange::send (asks again, counts, adds the credential)
//! ```
//!
//! The credential is added behind all of it, so that nothing here holds one.

mod breaker;
mod cache;
mod rate;
mod replay;
mod retry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use http::{Request, Response, StatusCode, request::Parts};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::body::Body;
use crate::error::{GateError, GateErrorKind};
use breaker::Breaker;
pub use breaker::{BreakerState, BreakerStatus};
use cache::{Cache, Found, Partition};
pub use cache::{CacheStatus, ENTRY_BYTES_MAX};
use portreeve_manifest::grant::{CredentialUse, Origin};
use portreeve_manifest::settings::OriginCare;
use rate::RateLimit;
pub use replay::REPLAY_BYTES_MAX;
use replay::Replay;
pub(crate) use retry::{is_idempotent, is_passing, retry_after};

/// One way out. The gate fills it for a call.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Sends a request once. Every try comes through here, so that this is where it is asked
    /// again whether the request may go out, where it is counted, and where its credential is
    /// added.
    ///
    /// # Errors
    /// It may not go out, or nothing came back.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError>;

    /// Told that the last answer was 401. Whether there will be another credential, so that
    /// the request is worth repeating.
    fn renew(&self) -> bool {
        false
    }
}

/// Put into the extensions of an HTTP/1.1 response by the gate, if the end of its body is told
/// by chunks: only those bodies are kept whose end is sure, and the header that tells it is
/// between two hosts only.
#[derive(Clone, Copy, Debug)]
pub struct Chunked;

/// What is known of a request besides itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sending<'a> {
    /// The credential that the host will add. The answer is kept as a cache that several
    /// people share would keep it.
    pub credential: Option<&'a CredentialUse>,
    /// Whether a 401 may have another credential for its cause: see [`Exchange::renew`].
    pub renewable: bool,
    /// Whether something else than a credential makes the request somebody's own, such as a
    /// placeholder of a secret.
    pub personal: bool,
    /// When the caller stops waiting: no try starts later.
    pub deadline: Option<Instant>,
}

/// The care of all origins that the operator named.
#[derive(Debug)]
pub struct OriginCares {
    origins: BTreeMap<Origin, OriginState>,
    partitions: AtomicU64,
}

#[derive(Debug)]
struct OriginState {
    attempts: u32,
    retries: AtomicU64,
    rate: Option<RateLimit>,
    breaker: Option<Breaker>,
    cache: Option<Arc<Cache>>,
}

impl OriginCares {
    /// The care of these origins.
    pub fn new(settings: impl IntoIterator<Item = (Origin, OriginCare)>) -> Arc<OriginCares> {
        let state = |care: OriginCare| OriginState {
            attempts: care.attempts.clamp(1, retry::ATTEMPTS_MAX),
            retries: AtomicU64::new(0),
            rate: care.rate.map(RateLimit::new),
            breaker: care.breaker.map(Breaker::new),
            cache: care.cache.map(|room| Arc::new(Cache::new(room.0))),
        };
        Arc::new(OriginCares {
            origins: settings
                .into_iter()
                .map(|(origin, care)| (origin, state(care)))
                .collect(),
            partitions: AtomicU64::new(0),
        })
    }

    /// A plugin's part of it, with a cache that nobody else is answered from.
    pub fn client(self: &Arc<Self>) -> ClientCares {
        let partition = self.partitions.fetch_add(1, Ordering::Relaxed);
        ClientCares {
            cares: Arc::clone(self),
            partition: Arc::new(Partition(partition)),
        }
    }

    /// How each origin is.
    pub fn status(&self) -> Vec<CareStatus> {
        let status = |(origin, state): (&Origin, &OriginState)| CareStatus {
            origin: origin.to_string(),
            retries: state.retries.load(Ordering::Relaxed),
            rate_limited: state.rate.as_ref().map_or(0, RateLimit::refused),
            breaker: state.breaker.as_ref().map(Breaker::status),
            cache: state.cache.as_ref().map(|cache| cache.status()),
        };
        self.origins.iter().map(status).collect()
    }
}

/// How an origin is, for `status`. Counts are since the host started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CareStatus {
    /// The origin.
    pub origin: String,
    /// Tries that were not the first.
    pub retries: u64,
    /// Tries that were refused for being too many.
    pub rate_limited: u64,
    /// The breaker, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// The cache, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheStatus>,
}

/// A plugin's part of [`OriginCares`]. What it keeps goes when this is dropped.
#[derive(Debug)]
pub struct ClientCares {
    cares: Arc<OriginCares>,
    partition: Arc<Partition>,
}

impl Drop for ClientCares {
    fn drop(&mut self) {
        for state in self.cares.origins.values() {
            if let Some(cache) = &state.cache {
                cache.forget(&self.partition);
            }
        }
    }
}

impl ClientCares {
    /// Whether no origin has any care.
    pub fn is_empty(&self) -> bool {
        self.cares.origins.is_empty()
    }

    /// Answers a request with all the care its origin has: from the cache, or by sending it
    /// as often as is needed and allowed. Its URI is absolute, and its headers are the
    /// guest's, without a credential of the host's.
    ///
    /// # Errors
    /// What the last try failed with, or that the origin is left alone for now.
    pub async fn run(
        &self,
        origin: &Origin,
        request: Request<Body>,
        sending: Sending<'_>,
        exchange: &dyn Exchange,
    ) -> Result<Response<Body>, GateError> {
        let (parts, body) = request.into_parts();
        let state = self.cares.origins.get(origin);
        let tries = Tries {
            state,
            sending,
            exchange,
        };
        let Some(cache) = state.and_then(|state| state.cache.as_ref()) else {
            return tries.run(parts, body).await;
        };
        let seeking = cache.seek(&self.partition, &parts, &body, sending);
        let mut parts = parts;
        match seeking.found {
            Found::Fresh(response) => Ok(response),
            Found::Unusable => {
                let asked = (parts.method.clone(), parts.uri.clone());
                let response = tries.run(parts, body).await?;
                cache.invalidate(&self.partition, &asked, response.status());
                Ok(response)
            }
            Found::Stale(entry) => {
                let plain = parts.clone();
                entry.make_conditional(&mut parts.headers);
                let response = tries.run(parts, body).await?;
                if response.status() != StatusCode::NOT_MODIFIED {
                    return Ok(cache.keep(seeking.request, Some(&entry), response));
                }
                if let Some(response) = cache.freshen(&seeking.request, &entry, &response) {
                    return Ok(response);
                }
                // It speaks of something else than it was asked for: get it whole.
                parts = plain;
                let response = tries.run(parts, replay::empty()).await?;
                Ok(cache.keep(seeking.request, Some(&entry), response))
            }
            Found::Nothing => {
                let response = tries.run(parts, body).await?;
                Ok(cache.keep(seeking.request, None, response))
            }
        }
    }
}

/// The tries of one request.
struct Tries<'a> {
    state: Option<&'a OriginState>,
    sending: Sending<'a>,
    exchange: &'a dyn Exchange,
}

impl Tries<'_> {
    async fn run(&self, parts: Parts, body: Body) -> Result<Response<Body>, GateError> {
        let attempts = match self.state {
            Some(state) if retry::is_idempotent(&parts.method) => state.attempts,
            _ => 1,
        };
        if attempts == 1 && !self.sending.renewable {
            return self.once(Request::from_parts(parts, body)).await;
        }
        let mut replay = Replay::new(body);
        let mut next = replay.first();
        let mut renewed = !self.sending.renewable;
        let mut attempt = 1;
        loop {
            let outcome = self.once(Request::from_parts(parts.clone(), next)).await;
            let unauthorised =
                matches!(&outcome, Ok(response) if response.status() == StatusCode::UNAUTHORIZED);
            if unauthorised && !renewed {
                renewed = true;
                if self.is_late() || !self.exchange.renew() {
                    return outcome;
                }
                let Some(again) = replay.again() else {
                    return outcome;
                };
                next = again;
                continue;
            }
            if attempt >= attempts || self.is_left_alone() {
                return outcome;
            }
            let Some(pause) = retry::pause(&outcome, attempt) else {
                return outcome;
            };
            let start = Instant::now() + pause;
            if self.sending.deadline.is_some_and(|end| start >= end) {
                return outcome;
            }
            let Some(again) = replay.again() else {
                return outcome;
            };
            // What came back gives its connection back before the pause.
            drop(outcome);
            tokio::time::sleep_until(start).await;
            next = again;
            attempt += 1;
            if let Some(state) = self.state {
                state.retries.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// One try, if the origin may be bothered.
    async fn once(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        let breaker = self.state.and_then(|state| state.breaker.as_ref());
        let admission = breaker.map(Breaker::admit).transpose()?;
        if let Some(rate) = self.state.and_then(|state| state.rate.as_ref()) {
            rate.take()?;
        }
        let outcome = self.exchange.send(request).await;
        if let Some(admission) = admission {
            match health(&outcome) {
                Health::Well => admission.succeeded(),
                Health::Ill => admission.failed(),
                Health::Unknown => drop(admission),
            }
        }
        outcome
    }

    fn is_late(&self) -> bool {
        let now = Instant::now();
        self.sending.deadline.is_some_and(|end| now >= end)
    }

    /// Whether the breaker has just opened: another try would only be refused.
    fn is_left_alone(&self) -> bool {
        let breaker = self.state.and_then(|state| state.breaker.as_ref());
        breaker.is_some_and(Breaker::is_open)
    }
}

enum Health {
    Well,
    Ill,
    Unknown,
}

/// What a try says of its origin.
fn health(outcome: &Result<Response<Body>, GateError>) -> Health {
    match outcome {
        Ok(response) => match response.status() {
            StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Health::Ill,
            _ => Health::Well,
        },
        Err(error) => match error.kind() {
            GateErrorKind::Dns
            | GateErrorKind::Connect
            | GateErrorKind::Tls
            | GateErrorKind::Timeout(_)
            | GateErrorKind::Incomplete
            | GateErrorKind::Protocol => Health::Ill,
            // It never came there.
            _ => Health::Unknown,
        },
    }
}
