//! Single tries of a request, as the care of its origin makes them, and requests for tokens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use portreeve_manifest::grant::{CredentialUse, Target};

use crate::body::Body;
use crate::care::Exchange;
use crate::client::{Client, Clock};
use crate::credential::{Applied, Credential};
use crate::error::{GateError, GateErrorKind};
use crate::gate::{CallPolicy, Gate, Timeouts};
use crate::host::HostPolicy;
use crate::request::fill;
use crate::standing::Standing;

/// Time for one exchange with a server of tokens.
const TOKEN_TIME: Duration = Duration::from_secs(30);

/// Connections to servers of tokens at a time, for one plugin.
const TOKEN_CONNECTIONS: u64 = 8;

/// What is decided of a try: the credential that its rule wants added.
pub(crate) type Decided = (Option<CredentialUse>, Option<Arc<Credential>>);

/// The tries of one request of a guest's. Each asks again whether it may be sent, and is given
/// its secrets anew.
pub(crate) struct Tries<'a> {
    pub(crate) client: &'a Client,
    pub(crate) call: &'a Arc<dyn CallPolicy>,
    pub(crate) target: &'a Arc<Target>,
    pub(crate) clock: &'a Clock,
    /// What the guest has said of the body's length.
    pub(crate) length: Option<u64>,
    /// Whether there may be placeholders of secrets in it.
    pub(crate) has_placeholders: bool,
    /// What was decided just before the first try, until that is made.
    pub(crate) first: Mutex<Option<Decided>>,
    /// The credential of the last try, and what it gave.
    pub(crate) applied: Mutex<Option<(Arc<Credential>, Applied)>>,
}

impl Tries<'_> {
    async fn decide(&self) -> Result<Decided, GateError> {
        if let Some(first) = lock(&self.first).take() {
            return Ok(first);
        }
        let used = self.call.permit(self.target)?;
        let credential = match &used {
            Some(used) => Some(self.call.credential(&used.name, self.target).await?),
            None => None,
        };
        Ok((used, credential))
    }

    /// Sends it once, if it may be sent.
    pub(crate) async fn once(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, GateError> {
        let decided = self.decide().await?;
        if self.has_placeholders {
            // In boxes, as these are large and seldom.
            Box::pin(fill(&mut request, &**self.call, self.target)).await?;
        }
        let mut identity = None;
        let standing = Arc::new(Standing {
            call: self.call.clone(),
            target: self.target.clone(),
            credential: decided.0.as_ref().map(|used| used.name.clone()),
            placeholders: self.has_placeholders,
            is_hosts: false,
        });
        if let (Some(used), Some(credential)) = decided {
            let tokens = self.client.tokens();
            let applied = Box::pin(credential.apply(&used, &mut request, tokens)).await?;
            identity = credential.identity().cloned();
            *lock(&self.applied) = Some((credential, applied));
        }
        let (length, identity) = (self.length, identity.as_ref());
        self.client
            .attempt(standing, request, length, identity, self.clock)
            .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Exchange for Tries<'_> {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        self.once(request).await
    }

    fn renew(&self) -> bool {
        let applied = lock(&self.applied);
        applied
            .as_ref()
            .is_some_and(|(credential, applied)| credential.renew(applied))
    }
}

/// The way to servers of tokens: the operator has named them in a secret, so that no grant is
/// asked, and no budget of a plugin's is used.
pub(crate) struct TokenExchange {
    client: Client,
    policy: Arc<dyn CallPolicy>,
}

impl TokenExchange {
    pub(crate) fn new(gate: Gate) -> TokenExchange {
        TokenExchange {
            client: Client::of_host(gate),
            policy: Arc::new(HostPolicy::new(TOKEN_CONNECTIONS)),
        }
    }
}

#[async_trait]
impl Exchange for TokenExchange {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        let target = Target::new(request.method().as_str(), &request.uri().to_string())
            .map_err(|error| GateError::new(GateErrorKind::InvalidUrl, error.to_string()))?;
        let timeouts = self.client.timeouts();
        let clock = Clock::start(Timeouts {
            total: TOKEN_TIME,
            ..timeouts
        });
        let standing = Arc::new(Standing {
            call: self.policy.clone(),
            target: Arc::new(target),
            credential: None,
            placeholders: false,
            is_hosts: true,
        });
        self.client
            .attempt(standing, request, None, None, &clock)
            .await
    }
}
