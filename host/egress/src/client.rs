//! Requests of one plugin, from what the guest wrote to a response.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use portreeve_manifest::grant::Target;
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::body::{Body, Progress, Received, Sent};
use crate::connect::{Reach, secure};
use crate::error::{GateError, GateErrorKind, Phase};
use crate::gate::{CallPolicy, Gate, Timeouts};
use crate::pool::{Lease, Pool, Unsent};
use crate::request::{FIELDS_MAX, HEAD_BYTES_MAX, Prepared, drop_hops, head_bytes};
use crate::tls::own;

/// Sends the requests of one plugin under one set of grants. Its connections serve nobody
/// else, and those that wait for a next request end with it. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    gate: Gate,
    pool: Arc<Pool>,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client(…)")
    }
}

/// When an exchange must have come how far.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) timeouts: Timeouts,
    pub(crate) deadline: Instant,
}

impl Clock {
    pub(crate) fn start(timeouts: Timeouts) -> Clock {
        let now = Instant::now();
        // For a time without end: what tokio itself takes for one.
        let far = || now + Duration::from_secs(86_400 * 365 * 30);
        Clock {
            timeouts,
            deadline: now.checked_add(timeouts.total).unwrap_or_else(far),
        }
    }

    /// What is left of a time.
    fn left(&self, allowed: Duration) -> Duration {
        allowed.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// When something that may take so long from then on must have come.
    pub(crate) fn until(&self, since: Instant, allowed: Duration) -> Instant {
        let until = since.checked_add(allowed).unwrap_or(self.deadline);
        until.min(self.deadline)
    }

    /// That something did not come.
    pub(crate) fn late(&self, phase: Phase) -> GateError {
        if Instant::now() >= self.deadline {
            return GateError::late(Phase::Total, self.timeouts.total);
        }
        let allowed = match phase {
            Phase::Connect => self.timeouts.connect,
            Phase::FirstByte => self.timeouts.first_byte,
            Phase::BetweenBytes => self.timeouts.between_bytes,
            Phase::Total => self.timeouts.total,
        };
        GateError::late(phase, allowed)
    }

    async fn connected<T>(
        &self,
        connecting: impl Future<Output = Result<T, GateError>>,
    ) -> Result<T, GateError> {
        let until = self.until(Instant::now(), self.timeouts.connect);
        tokio::time::timeout_at(until, connecting)
            .await
            .map_err(|_| self.late(Phase::Connect))?
    }

    /// Waits for a response, for as long as the request makes progress and a while longer.
    async fn responded<T>(
        &self,
        sending: impl Future<Output = Result<T, Unsent>>,
        progress: Option<&Progress>,
    ) -> Result<T, Unsent> {
        let mut sending = std::pin::pin!(sending);
        let mut since = Instant::now();
        loop {
            let until = self.until(since, self.timeouts.first_byte);
            if let Ok(ended) = tokio::time::timeout_at(until, &mut sending).await {
                return ended;
            }
            match progress.map(Progress::last) {
                Some(last) if last > since && Instant::now() < self.deadline => since = last,
                _ => return Err((self.late(Phase::FirstByte), None)),
            }
        }
    }
}

impl Client {
    pub(crate) fn new(gate: Gate) -> Client {
        Client(Arc::new(Inner {
            gate,
            pool: Arc::default(),
            tls: OnceCell::new(),
        }))
    }

    /// Sends a request of a guest's, if it may be sent, and streams the response. Redirects are
    /// not followed: the guest that follows one makes a new request.
    ///
    /// The headers `Host`, `Connection` and those that it names, `Keep-Alive`, `Proxy-*`, `TE`
    /// (but for `trailers`), `Transfer-Encoding`, `Upgrade` and `Expect` are the host's own:
    /// what the guest writes in them is not sent. Placeholders of secrets are filled in the
    /// values of headers and in the query, and nowhere else.
    ///
    /// # Errors
    /// When it may not be sent, can't be sent, or isn't answered.
    pub async fn send(
        &self,
        request: Request<Body>,
        call: &Arc<dyn CallPolicy>,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, GateError> {
        let clock = Clock::start(timeouts);
        let target = Target::new(request.method().as_str(), &request.uri().to_string())
            .map_err(|error| GateError::new(GateErrorKind::InvalidUrl, error.to_string()))?;
        let used = call.permit(&target)?;
        let (mut prepared, body) = Prepared::new(request, &target)?;
        prepared.fill(&**call, &target).await?;
        if let Some(used) = used {
            let credential = call.credential(&used.name).await?;
            credential.apply(&mut prepared, &used)?;
        }
        // What the operator has set for the origin goes around this: retries (a copy of the
        // prepared request for each, and `permit` asked before it), breaker, rate, cache.
        self.attempt(prepared, body, call, &clock).await
    }

    /// Sends a prepared request once.
    pub(crate) async fn attempt(
        &self,
        mut prepared: Prepared,
        body: Body,
        call: &Arc<dyn CallPolicy>,
        clock: &Clock,
    ) -> Result<Response<Body>, GateError> {
        let budget = call.budget();
        let place = budget
            .connection(clock.left(clock.timeouts.connect))
            .await?;
        budget.request()?;
        let progress = (!body.is_end_stream()).then(|| Arc::new(Progress::new()));
        let body = Sent::new(body, call.clone(), progress.clone(), prepared.length);
        let (mut request, bytes) = prepared.request(body)?;
        budget.sent(bytes)?;
        let (lease, response) = loop {
            let kept = self
                .0
                .pool
                .take(prepared.origin(), prepared.identity.as_ref());
            let is_kept = kept.is_some();
            let mut lease = match kept {
                Some(lease) => lease,
                None => {
                    let connecting = self.connect(&prepared, &**call);
                    clock.connected(connecting).await?
                }
            };
            match clock
                .responded(lease.send(request), progress.as_deref())
                .await
            {
                Ok(response) => break (lease, response),
                // The server had closed it before anything of the request was sent.
                Err((_, Some(whole))) if is_kept => request = whole,
                Err((error, _)) => return Err(error),
            }
        };
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(GateError::new(
                GateErrorKind::Protocol,
                "the server changes to a protocol that nobody has asked for",
            ));
        }
        let bytes = head_bytes(&head.headers).ok_or_else(|| {
            GateError::new(
                GateErrorKind::HeadTooLarge,
                format!("the response has more than {FIELDS_MAX} header fields, or more than {HEAD_BYTES_MAX} bytes in them"),
            )
        })?;
        budget.received(bytes as u64)?;
        drop_hops(&mut head.headers);
        head.extensions.clear();
        let body = if body.is_end_stream() {
            lease.give_back(place);
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            Received::new(body, lease, place, call.clone(), clock).boxed_unsync()
        };
        Ok(Response::from_parts(head, body))
    }

    /// A new connection for a request.
    async fn connect(
        &self,
        prepared: &Prepared,
        call: &dyn CallPolicy,
    ) -> Result<Lease, GateError> {
        let url = &prepared.url;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(GateError::new(
                GateErrorKind::InvalidUrl,
                "the URL has no host",
            ));
        };
        let identity = prepared.identity.as_ref();
        let addresses = call.addresses();
        let connector = self.0.gate.connector();
        let stream = connector
            .connect(&host, port, Reach::Granted(&addresses))
            .await?;
        let (stream, h2) = if url.scheme() == "https" {
            let config = match identity {
                Some(identity) => identity.config(self.0.gate.tls().await?),
                None => self.tls().await?,
            };
            secure(stream, &host, config).await?
        } else {
            (stream, false)
        };
        let pool = &self.0.pool;
        let lease = Lease::open(pool, stream, h2, prepared.origin(), identity.cloned()).await?;
        pool.share(&lease);
        Ok(lease)
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, GateError> {
        let make = || async { Ok(Arc::new(own(self.0.gate.tls().await?))) };
        self.0.tls.get_or_try_init(make).await.cloned()
    }
}
