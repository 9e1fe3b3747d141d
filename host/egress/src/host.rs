//! The host's own requests: to where its operator sends it.
//!
//! What comes in is bounded by its caller, in bytes and in time; what a server lets it go on
//! to is held against where the operator has sent it. What it was asked to fetch is gathered
//! in memory, as who asks for it needs it whole.

mod redirect;
mod take;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use portreeve_manifest::grant::{AddressRange, CredentialUse, Target};
use portreeve_manifest::id::Name;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::budget::{Budget, CallLimits, DayUse, PluginBudget, PluginLimits};
use crate::care::{is_idempotent, is_passing, retry_after};
use crate::client::{Client, Clock};
use crate::error::{GateError, GateErrorKind, Phase};
use crate::gate::{CallPolicy, Gate, Timeouts};
use crate::retry::Pauses;

pub use take::Take;

/// Exchanges at a time.
const CONNECTIONS: u64 = 16;

/// Who asks.
const AGENT: &str = concat!("portreeve/", env!("CARGO_PKG_VERSION"));

/// Bounds on one thing that is fetched or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// For all of it, with redirects, further tries and the pauses between them.
    pub total: Duration,
    /// Tries, the first included.
    pub tries: usize,
    /// The first pause between two tries; each is about two times as long as that before.
    pub pause_first: Duration,
    /// The longest pause, also where the server asks for one.
    pub pause_longest: Duration,
    /// Redirects of one try.
    pub redirects: usize,
}

impl Default for HostLimits {
    /// A component of 64 MiB comes within the time over a line of 1 Mbit/s; browsers follow
    /// 20 redirects, registries send one.
    fn default() -> HostLimits {
        HostLimits {
            total: Duration::from_secs(15 * 60),
            tries: 5,
            pause_first: Duration::from_millis(200),
            pause_longest: Duration::from_secs(20),
            redirects: 8,
        }
    }
}

/// A request of the host's.
#[derive(Clone)]
pub struct HostRequest {
    /// What is asked.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Headers; `authorization` among them goes to the origin of `url` alone.
    pub headers: HeaderMap,
    /// What is sent along.
    pub body: Bytes,
}

impl HostRequest {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> HostRequest {
        HostRequest {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A GET request.
    pub fn get(url: Url) -> HostRequest {
        HostRequest::new(Method::GET, url)
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> HostRequest {
        self.headers.insert(name, value);
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> HostRequest {
        self.body = body.into();
        self
    }
}

/// What a server has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status: not that of a redirect that was followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from in the end.
    pub url: Url,
    /// Its body; the beginning of it where the status says that something is wrong.
    pub body: Vec<u8>,
}

/// Sends the host's own requests. Cheap to clone.
#[derive(Clone)]
pub struct HostClient(Arc<Inner>);

struct Inner {
    /// To where the operator sends it.
    near: Client,
    /// To where a server has sent it on: public addresses only.
    far: Client,
    policy: Arc<dyn CallPolicy>,
    limits: HostLimits,
}

impl std::fmt::Debug for HostClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostClient").field(&self.0.limits).finish()
    }
}

impl HostClient {
    /// A client that goes out through a gate.
    pub fn new(gate: &Gate, limits: HostLimits) -> HostClient {
        HostClient(Arc::new(Inner {
            near: Client::of_host(gate.clone()),
            far: Client::new(gate.clone()),
            policy: Arc::new(HostPolicy::new(CONNECTIONS)),
            limits,
        }))
    }

    /// Sends a request and takes the answer, whatever its status is. Redirects of GET and HEAD
    /// are followed. What passes is tried again, and a body that broke off is asked for from
    /// there on, where the server says that it is still the same (RFC 9110, section 14).
    ///
    /// # Errors
    /// When it can't be sent, isn't answered, or is answered with more than is taken.
    pub async fn send(&self, request: &HostRequest, take: &Take<'_>) -> Result<Answer, GateError> {
        let limits = &self.0.limits;
        let clock = Clock::start(Timeouts {
            total: limits.total,
            ..self.0.near.timeouts()
        });
        let mut pauses = Pauses {
            first: limits.pause_first,
            longest: limits.pause_longest,
            count: limits.tries.saturating_sub(1),
        }
        .begin();
        let mut taken = take::Taken::new(take);
        loop {
            let outcome = self.once(request, &mut taken, &clock).await;
            let Some(asked) = self.again(request, &outcome) else {
                return outcome;
            };
            let Some(pause) = pauses.next().map(|own| own.max(asked)) else {
                return outcome;
            };
            tracing::debug!(host = request.url.host_str(), ?pause, "trying again");
            let until = Instant::now() + pause;
            if until >= clock.deadline {
                return outcome;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    async fn once(
        &self,
        request: &HostRequest,
        taken: &mut take::Taken<'_>,
        clock: &Clock,
    ) -> Result<Answer, GateError> {
        let mut headers = request.headers.clone();
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        taken.ask(&mut headers);
        let (response, url) = self.follow(request, headers, clock).await?;
        let (head, body) = response.into_parts();
        let body = match request.method == Method::HEAD {
            true => Vec::new(),
            false => taken.take(&head, body).await?,
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            url,
            body,
        })
    }

    /// Whether another try may end otherwise; how long the server wants it to wait.
    fn again(
        &self,
        request: &HostRequest,
        outcome: &Result<Answer, GateError>,
    ) -> Option<Duration> {
        let repeatable = is_idempotent(&request.method);
        match outcome {
            Ok(answer) => {
                if !(repeatable && is_passing(answer.status)) {
                    return None;
                }
                let asked = retry_after(&answer.headers, SystemTime::now()).unwrap_or_default();
                (asked <= self.0.limits.pause_longest).then_some(asked)
            }
            Err(error) => {
                let passes = match error.kind() {
                    // Nothing was sent, so that nothing can have happened twice.
                    GateErrorKind::Connect
                    | GateErrorKind::Dns
                    | GateErrorKind::Timeout(Phase::Connect) => true,
                    GateErrorKind::Incomplete
                    | GateErrorKind::Timeout(Phase::FirstByte | Phase::BetweenBytes) => repeatable,
                    _ => false,
                };
                passes.then_some(Duration::ZERO)
            }
        }
    }
}

/// Bounds what the host sends to where its operator sends it: no grant is asked, and no budget
/// of a plugin's is used.
pub(crate) struct HostPolicy(Budget);

impl HostPolicy {
    /// So many exchanges at a time.
    pub(crate) fn new(connections: u64) -> HostPolicy {
        let plugin = PluginLimits {
            connections,
            requests_a_day: u64::MAX,
            traffic_a_day: u64::MAX,
        };
        let call = CallLimits {
            requests: u64::MAX,
            sent: u64::MAX,
            received: u64::MAX,
        };
        HostPolicy(Budget::new(
            call,
            PluginBudget::new(plugin, DayUse::today()),
        ))
    }
}

#[async_trait]
impl CallPolicy for HostPolicy {
    fn permit(&self, _: &Target) -> Result<Option<CredentialUse>, GateError> {
        Ok(None)
    }

    fn addresses(&self) -> Arc<[AddressRange]> {
        Arc::default()
    }

    async fn credential(
        &self,
        _: &Name,
        _: &Target,
    ) -> Result<Arc<crate::credential::Credential>, GateError> {
        Err(GateError::setup(
            "the host's own requests get no credential",
        ))
    }

    async fn placeholder(
        &self,
        _: &str,
        _: &Target,
    ) -> Result<Option<Zeroizing<String>>, GateError> {
        Ok(None)
    }

    fn budget(&self) -> &Budget {
        &self.0
    }
}
