//! Requests of one plugin, from what the guest wrote to a response.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use portreeve_manifest::grant::{Scheme, Target};
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Position;

use crate::body::{Body, Progress, Received, Sent};
use crate::care::{Chunked, ClientCares, Exchange, Sending};
use crate::connect::{Reach, secure};
use crate::error::{GateError, GateErrorKind, Phase};
use crate::gate::{CallPolicy, Gate, Timeouts};
use crate::pool::{Lease, Pool, Unsent};
use crate::request::{
    FIELDS_MAX, HEAD_BYTES_MAX, Prepared, drop_hops, head_bytes, request_bytes, written,
};
use crate::standing::Standing;
use crate::tls::{ClientIdentity, own};
use crate::tries::{TokenExchange, Tries};

/// Sends the requests of one plugin under one set of grants. Its connections serve nobody
/// else, and those that wait for a next request end with it. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    gate: Gate,
    cares: ClientCares,
    pool: Arc<Pool>,
    tls: OnceCell<Arc<ClientConfig>>,
    /// The way to the servers of tokens, once there is a credential that needs it.
    tokens: OnceLock<Arc<dyn Exchange>>,
    /// Whether its requests are the host's own, to where its operator sends it.
    is_hosts: bool,
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
        Client::of(gate, false)
    }

    /// One for the host's own requests.
    pub(crate) fn of_host(gate: Gate) -> Client {
        Client::of(gate, true)
    }

    fn of(gate: Gate, is_hosts: bool) -> Client {
        Client(Arc::new(Inner {
            cares: gate.cares().client(),
            gate,
            pool: Arc::default(),
            tls: OnceCell::new(),
            tokens: OnceLock::new(),
            is_hosts,
        }))
    }

    /// Sends a request of a guest's, if it may be sent, and streams the response. Redirects are
    /// not followed: the guest that follows one makes a new request.
    ///
    /// The headers `Host`, `Connection` and those that it names, `Keep-Alive`, `Proxy-*`, `TE`
    /// (but for `trailers`), `Transfer-Encoding`, `Upgrade` and `Expect` are the host's own, and
    /// with headers such as `X-HTTP-Method-Override` and `X-Original-URL` another request would
    /// be made of it than was allowed: what the guest writes in them is not sent. Placeholders of secrets are filled in the
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
        let written = written(request.uri());
        let target = Target::new(request.method().as_str(), &written)
            .map_err(|error| GateError::new(GateErrorKind::InvalidUrl, error.to_string()))?;
        let target = Arc::new(target);
        let used = call.permit(&target)?;
        let (prepared, body) = Prepared::new(request, &target, &written)?;
        let credential = match &used {
            Some(used) => Some(call.credential(&used.name, &target).await?),
            None => None,
        };
        let personal = prepared.has_placeholders(&target);
        let sending = Sending {
            credential: used.as_ref(),
            renewable: credential.as_ref().is_some_and(|one| one.is_renewable()),
            personal,
            deadline: Some(clock.deadline),
        };
        let tries = Tries {
            client: self,
            call,
            target: &target,
            clock: &clock,
            length: prepared.length,
            has_placeholders: personal,
            first: Mutex::new(Some((used.clone(), credential))),
            applied: Mutex::new(None),
        };
        let request = prepared.request(body);
        let cares = &self.0.cares;
        if cares.is_empty() && !sending.renewable {
            return tries.once(request).await;
        }
        // In a box, as it is large.
        Box::pin(cares.run(&target.origin(), request, sending, &tries)).await
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// The times that the operator has set.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.0.gate.timeouts()
    }

    /// The way to the servers of tokens.
    pub(crate) fn tokens(&self) -> &Arc<dyn Exchange> {
        let gate = &self.0.gate;
        let make = || -> Arc<dyn Exchange> { Arc::new(TokenExchange::new(gate.clone())) };
        self.0.tokens.get_or_init(make)
    }

    /// Sends a request once, with a body of that length where the guest has told it.
    pub(crate) async fn attempt(
        &self,
        standing: Arc<Standing>,
        request: Request<Body>,
        length: Option<u64>,
        identity: Option<&Arc<ClientIdentity>>,
        clock: &Clock,
    ) -> Result<Response<Body>, GateError> {
        let target = &*standing.target;
        let origin = &target.url()[..Position::BeforePath];
        let budget = standing.call.budget();
        let place = match budget.try_connection() {
            Ok(place) => place,
            Err(_) => {
                let patience = clock.left(clock.timeouts.connect);
                budget.connection(patience).await?
            }
        };
        budget.request()?;
        budget.sent(request_bytes(&request)?)?;
        let progress = (!request.body().is_end_stream()).then(|| Arc::new(Progress::new()));
        let mut request =
            request.map(|body| Sent::new(body, standing.clone(), progress.clone(), length));
        let (lease, response) = loop {
            let kept = self.0.pool.take(origin, identity);
            let is_kept = kept.is_some();
            let mut lease = match kept {
                Some(lease) => lease,
                None => {
                    // In a box, as it is large and seldom.
                    let connecting = Box::pin(self.connect(target, identity, &*standing.call));
                    clock.connected(connecting).await?
                }
            };
            // Last of all: whatever was waited for, what was revoked meanwhile is not sent.
            standing.check()?;
            standing.reaches(lease.address())?;
            match clock
                .responded(lease.send(request), progress.as_deref())
                .await
            {
                Ok(response) => break (lease, response),
                // The server had closed it before anything of the request was sent.
                Err((_, Some(whole))) if is_kept => request = *whole,
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
        head.extensions.clear();
        if head.version <= Version::HTTP_11 && head.headers.contains_key(TRANSFER_ENCODING) {
            head.extensions.insert(Chunked);
        }
        drop_hops(&mut head.headers);
        let body = if body.is_end_stream() {
            lease.give_back(place);
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            Received::new(body, lease, place, standing.clone(), clock).boxed_unsync()
        };
        Ok(Response::from_parts(head, body))
    }

    /// A new connection to a target.
    async fn connect(
        &self,
        target: &Target,
        identity: Option<&Arc<ClientIdentity>>,
        call: &dyn CallPolicy,
    ) -> Result<Lease, GateError> {
        let Some(host) = target.host() else {
            return Err(GateError::new(
                GateErrorKind::InvalidUrl,
                "the URL has no host",
            ));
        };
        let addresses = call.addresses();
        let reach = match self.0.is_hosts {
            true => Reach::Host,
            false => Reach::Granted(&addresses),
        };
        let connector = self.0.gate.connector();
        let (stream, address) = connector.connect(&host, target.port(), reach).await?;
        let (stream, h2) = match target.scheme() {
            Scheme::Https => {
                let config = match identity {
                    Some(identity) => identity.config(self.0.gate.tls().await?),
                    None => self.tls().await?,
                };
                secure(stream, &host, config).await?
            }
            Scheme::Http => (stream, false),
        };
        let pool = &self.0.pool;
        let origin = &target.url()[..Position::BeforePath];
        let lease = Lease::open(pool, (stream, address), h2, origin, identity.cloned()).await?;
        pool.share(&lease);
        Ok(lease)
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, GateError> {
        let make = || async { Ok(Arc::new(own(self.0.gate.tls().await?))) };
        self.0.tls.get_or_try_init(make).await.cloned()
    }
}
