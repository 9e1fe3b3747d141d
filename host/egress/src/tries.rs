//! Single tries of a request, as the care of its origin makes them, and requests for tokens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use portreeve_manifest::grant::{AddressRange, CredentialUse, Target};
use portreeve_manifest::id::Name;
use zeroize::Zeroizing;

use crate::body::Body;
use crate::budget::{Budget, CallLimits, DayUse, PluginBudget, PluginLimits};
use crate::care::Exchange;
use crate::client::{Client, Clock};
use crate::credential::{Applied, Credential};
use crate::error::{GateError, GateErrorKind};
use crate::gate::{CallPolicy, Gate, Timeouts};
use crate::request::fill;

/// Time for one exchange with a server of tokens.
const TOKEN_TIME: Duration = Duration::from_secs(30);

/// Connections to servers of tokens at a time, for one plugin.
const TOKEN_CONNECTIONS: u64 = 8;

/// The tries of one request of a guest's. Each asks again whether it may be sent, and is given
/// its secrets anew: nothing that holds one lives longer than the try.
pub(crate) struct Tries<'a> {
    client: &'a Client,
    call: &'a Arc<dyn CallPolicy>,
    target: &'a Target,
    clock: &'a Clock,
    length: Option<u64>,
    /// The credential of the last try, and what it gave.
    applied: Mutex<Option<(Arc<Credential>, Applied)>>,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(
        client: &'a Client,
        call: &'a Arc<dyn CallPolicy>,
        target: &'a Target,
        clock: &'a Clock,
        length: Option<u64>,
    ) -> Tries<'a> {
        Tries {
            client,
            call,
            target,
            clock,
            length,
            applied: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Exchange for Tries<'_> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, GateError> {
        let used = self.call.permit(self.target)?;
        fill(&mut request, &**self.call, self.target).await?;
        let mut identity = None;
        if let Some(used) = &used {
            let credential = self.call.credential(&used.name).await?;
            let tokens = self.client.tokens();
            let applied = credential.apply(used, &mut request, tokens).await?;
            identity = credential.identity().cloned();
            *self.applied.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((credential, applied));
        }
        let (target, length, identity) = (self.target, self.length, identity.as_ref());
        self.client
            .attempt(target, request, length, identity, self.call, self.clock)
            .await
    }

    fn renew(&self) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
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
        let plugin = PluginLimits {
            connections: TOKEN_CONNECTIONS,
            requests_a_day: u64::MAX,
            traffic_a_day: u64::MAX,
        };
        let call = CallLimits {
            requests: u64::MAX,
            sent: u64::MAX,
            received: u64::MAX,
        };
        let budget = Budget::new(call, PluginBudget::new(plugin, DayUse::today()));
        TokenExchange {
            client: Client::of_host(gate),
            policy: Arc::new(TokenPolicy(budget)),
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
        self.client
            .attempt(&target, request, None, None, &self.policy, &clock)
            .await
    }
}

/// Bounds what goes to servers of tokens; they are asked for nothing else.
struct TokenPolicy(Budget);

#[async_trait]
impl CallPolicy for TokenPolicy {
    fn permit(&self, _: &Target) -> Result<Option<CredentialUse>, GateError> {
        Ok(None)
    }

    fn addresses(&self) -> Arc<[AddressRange]> {
        Arc::default()
    }

    async fn credential(&self, _: &Name) -> Result<Arc<Credential>, GateError> {
        Err(GateError::setup("a server of tokens gets no credential"))
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
