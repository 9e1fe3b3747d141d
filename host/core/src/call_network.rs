//! The network of one call: its requests and sockets on their way to the gate, each use held
//! against what is granted at that moment.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use portreeve_egress::credential::{Credential, SecretId};
use portreeve_egress::{
    Body, Budget, CallLimits, CallPolicy, GateError, GateErrorKind, InForce, SocketGate, Timeouts,
};
use portreeve_egress::{Phase, SocketUse as GateUse};
use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::{
    AddressRange, CredentialUse, Decision, SecretRef, SocketPolicy, Target,
};
use portreeve_manifest::id::Name;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    ErrorCode, Failure, HttpBody, HttpError, HttpErrorKind, HttpSource, HttpTimeouts, SocketRoom,
    SocketSource, SocketUse,
};
use portreeve_state::audit::AuditKind;
use serde_json::Map;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::call_secrets::CallSecrets;
use crate::network::Network;
use crate::scope::CallScope;

/// What a call may do with the network.
pub(crate) struct CallNetwork {
    scope: Arc<CallScope>,
    secrets: Arc<CallSecrets>,
    network: Arc<Network>,
    budget: Arc<Budget>,
    /// The time of the whole call.
    total: Duration,
    /// Credentials that this call has used.
    credentials: Mutex<BTreeMap<Name, Opened>>,
    /// The limits that are on record as reached.
    budgets_told: Mutex<Vec<&'static str>>,
}

/// A credential, and the secret of the vault that stood behind it.
struct Opened {
    secret: SecretRef,
    version: i64,
    credential: Arc<Credential>,
}

impl CallNetwork {
    /// The network of a call of which nothing is used yet.
    ///
    /// # Errors
    /// What the plugin has used today can't be known.
    pub(crate) async fn new(
        scope: Arc<CallScope>,
        secrets: Arc<CallSecrets>,
        network: Arc<Network>,
        limits: &Limits,
    ) -> Result<Arc<CallNetwork>, portreeve_state::StateError> {
        let plugin = network.budget(&scope.plugin.alias, limits).await?;
        let call = CallLimits {
            requests: limits.requests.into(),
            sent: limits.sent.0,
            received: limits.received.0,
        };
        let budget = Arc::new(Budget::new(call, plugin));
        scope.spends(budget.clone());
        Ok(Arc::new(CallNetwork {
            scope,
            secrets,
            network,
            budget,
            total: limits.timeout,
            credentials: Mutex::default(),
            budgets_told: Mutex::default(),
        }))
    }

    /// The credential behind the plugin's own name for it: opened again where the vault has
    /// another value, and not used where it has none any more.
    async fn open(
        &self,
        name: &Name,
        secret: &SecretRef,
        target: &Target,
    ) -> Result<Arc<Credential>, Failure> {
        let version = self.secrets.version(name, &secret.vault).await?;
        if let Some(opened) = lock(&self.credentials).get(name)
            && opened.secret == *secret
            && opened.version == version
        {
            return Ok(opened.credential.clone());
        }
        let to = target.origin().to_string();
        let value = self.secrets.credential(name, &secret.vault, &to).await?;
        let id = SecretId {
            name: secret.vault.to_string(),
            version,
        };
        let fields = value.kind().fields().iter().filter_map(|field| {
            let text = Zeroizing::new(value.field(field.name)?.to_owned());
            Some((field.name.to_owned(), text))
        });
        let kind = value.kind().as_str();
        let credential = Credential::new(kind, id, fields, self.network.tokens());
        let credential = Arc::new(credential.map_err(|error| self.failure(&error))?);
        let opened = Opened {
            secret: secret.clone(),
            version,
            credential: credential.clone(),
        };
        lock(&self.credentials).insert(name.clone(), opened);
        Ok(credential)
    }

    /// What a plugin is told of an error of the gate's, which is on record where it is to be.
    fn failure(&self, error: &GateError) -> Failure {
        let message = error.to_string();
        let of = |code, reason: &str| Failure::new(code, reason, message.clone());
        match error.kind() {
            GateErrorKind::Refused => of(ErrorCode::PermissionDenied, "not-granted"),
            GateErrorKind::AddressRefused { address } => {
                let item = address.to_string();
                let told = self.scope.refuse(Feature::Addresses, &item);
                Failure {
                    message: format!("{message}; {}", told.message),
                    ..told
                }
            }
            GateErrorKind::InvalidUrl => of(ErrorCode::InvalidArgument, "url"),
            GateErrorKind::InvalidRequest => of(ErrorCode::InvalidArgument, "request"),
            GateErrorKind::Dns => of(ErrorCode::Unavailable, "dns"),
            GateErrorKind::Connect => of(ErrorCode::Unavailable, "connect"),
            GateErrorKind::Tls => of(ErrorCode::Unavailable, "tls"),
            GateErrorKind::Timeout(_) => of(ErrorCode::Timeout, "network"),
            GateErrorKind::Budget {
                setting, allowed, ..
            } => {
                self.over(setting, *allowed);
                of(ErrorCode::QuotaExceeded, setting)
            }
            GateErrorKind::RateLimited { retry_after } => Failure {
                retry_after: Some(*retry_after),
                ..of(ErrorCode::RateLimited, "origin-rate")
            },
            GateErrorKind::CircuitOpen { retry_after } => Failure {
                retry_after: Some(*retry_after),
                ..of(ErrorCode::Unavailable, "circuit-open")
            },
            GateErrorKind::HeadTooLarge | GateErrorKind::BodyTooLarge => {
                of(ErrorCode::QuotaExceeded, "too-large")
            }
            GateErrorKind::Incomplete => of(ErrorCode::Unavailable, "incomplete"),
            GateErrorKind::Protocol => of(ErrorCode::Unavailable, "protocol"),
            GateErrorKind::Credential => of(ErrorCode::Unavailable, "credential"),
            _ => {
                tracing::error!(%error, "the network of plugins is not as configured");
                Failure::new(
                    ErrorCode::Unavailable,
                    "network",
                    "the host's way to the network can't be set up; its operator finds the reason in the host's log",
                )
            }
        }
    }

    /// Records that a limit was reached: once for each setting and call.
    fn over(&self, setting: &'static str, allowed: u64) {
        {
            let mut told = lock(&self.budgets_told);
            if told.contains(&setting) {
                return;
            }
            told.push(setting);
        }
        let mut body = Map::new();
        body.insert("setting".to_owned(), setting.into());
        body.insert("allowed".to_owned(), allowed.into());
        let event = self.scope.event(AuditKind::Limit, body);
        // The call's own record says what it used, should this one be lost.
        if let Err(error) = self.scope.audit.note(event) {
            tracing::error!(%error, "a limit was not recorded");
        }
    }

    fn http_error(&self, error: &GateError) -> HttpError {
        let kind = match error.kind() {
            GateErrorKind::AddressRefused { .. } => HttpErrorKind::AddressRefused,
            GateErrorKind::InvalidUrl => HttpErrorKind::InvalidUrl,
            GateErrorKind::InvalidRequest => HttpErrorKind::RequestBody,
            GateErrorKind::Dns => HttpErrorKind::Dns,
            GateErrorKind::Connect => HttpErrorKind::ConnectionRefused,
            GateErrorKind::Tls => HttpErrorKind::Certificate,
            GateErrorKind::Timeout(Phase::Connect) => HttpErrorKind::ConnectTimeout,
            GateErrorKind::Timeout(Phase::BetweenBytes) => HttpErrorKind::BetweenBytesTimeout,
            GateErrorKind::Timeout(_) => HttpErrorKind::FirstByteTimeout,
            GateErrorKind::Budget { setting, .. } => match *setting {
                "connections" => HttpErrorKind::ConnectionLimit,
                "sent" => HttpErrorKind::RequestBody,
                "received" => HttpErrorKind::ResponseBody,
                _ => HttpErrorKind::Refused,
            },
            GateErrorKind::RateLimited { .. } | GateErrorKind::CircuitOpen { .. } => {
                HttpErrorKind::Unavailable
            }
            GateErrorKind::HeadTooLarge => HttpErrorKind::ResponseHeaders,
            GateErrorKind::BodyTooLarge => HttpErrorKind::ResponseBody,
            GateErrorKind::Incomplete => HttpErrorKind::ConnectionTerminated,
            GateErrorKind::Protocol => HttpErrorKind::Protocol,
            GateErrorKind::Refused | GateErrorKind::Credential => HttpErrorKind::Refused,
            _ => HttpErrorKind::Internal,
        };
        HttpError::new(kind, self.failure(error))
    }
}

/// A refusal as the gate passes it on: the sentence is the plugin's to read.
fn refused(failure: &Failure) -> GateError {
    let kind = match failure.code {
        ErrorCode::PermissionDenied => GateErrorKind::Refused,
        _ => GateErrorKind::Credential,
    };
    GateError::new(kind, failure.message.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl CallPolicy for CallNetwork {
    fn permit(&self, target: &Target) -> Result<Option<CredentialUse>, GateError> {
        let asked = match self.scope.granted().effective.network.decide(target) {
            Decision::Allowed { credential } => return Ok(credential),
            Decision::NotGranted => true,
            Decision::NotRequested => false,
        };
        let item = target.rule().to_string();
        Err(refused(&self.scope.refuse_as(
            Feature::Network,
            &item,
            asked,
        )))
    }

    fn addresses(&self) -> Arc<[AddressRange]> {
        self.scope.granted().effective.addresses.clone()
    }

    fn stands(&self, sent: &InForce<'_>) -> Result<(), GateError> {
        self.permit(sent.target)?;
        let granted = self.scope.granted();
        if let Some(name) = sent.credential {
            let opened = lock(&self.credentials);
            let opened = opened.get(name).map(|opened| &opened.secret);
            if opened.is_none() || granted.effective.credentials.get(name) != opened {
                let refusal = self.scope.refuse(Feature::Credentials, name.as_str());
                return Err(refused(&refusal));
            }
        }
        if sent.placeholders {
            let stand = self.secrets.placeholders_stand(&granted.effective.inject);
            stand.map_err(|failure| refused(&failure))?;
        }
        Ok(())
    }

    async fn credential(&self, name: &Name, target: &Target) -> Result<Arc<Credential>, GateError> {
        let granted = self.scope.granted();
        let Some(secret) = granted.effective.credentials.get(name) else {
            return Err(refused(
                &self.scope.refuse(Feature::Credentials, name.as_str()),
            ));
        };
        let credential = self.open(name, secret, target).await;
        credential.map_err(|failure| refused(&failure))
    }

    async fn placeholder(
        &self,
        token: &str,
        target: &Target,
    ) -> Result<Option<Zeroizing<String>>, GateError> {
        let Some(name) = self.secrets.stood_for(token) else {
            return Ok(None);
        };
        // Whoever gets it can hand it back: the operator must have named them.
        if !self.scope.granted().effective.network.names(target) {
            let alias = &self.scope.plugin.alias;
            let host = target.origin();
            self.scope
                .count_refusal(Feature::SecretsInject, &format!("{name} to {host}"));
            return Err(GateError::new(
                GateErrorKind::Refused,
                format!(
                    "the secret `{name}` of `{alias}` goes only to hosts that a granted rule names, which {host} is not: grant `network={}` to send it there",
                    target.rule()
                ),
            ));
        }
        let to = target.origin().to_string();
        let secret = self.secrets.behind_placeholder(&name, &to).await;
        secret.map(Some).map_err(|failure| refused(&failure))
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn sockets(&self) -> Arc<SocketPolicy> {
        self.scope.granted().effective.sockets.clone()
    }
}

/// The requests of a call.
pub(crate) struct CallHttp(pub(crate) Arc<CallNetwork>);

#[async_trait]
impl HttpSource for CallHttp {
    async fn send(
        &self,
        request: Request<HttpBody>,
        asked: HttpTimeouts,
    ) -> Result<Response<HttpBody>, HttpError> {
        let call = &self.0;
        let failed = |error: GateError| call.http_error(&error);
        let Some(client) = call.scope.granted().client.clone() else {
            // Nothing is granted, or the gate can't be set up: the rule is told first.
            let target = Target::new(request.method().as_str(), &request.uri().to_string())
                .map_err(|error| GateError::new(GateErrorKind::InvalidUrl, error.to_string()));
            target
                .and_then(|target| call.permit(&target))
                .map_err(failed)?;
            let gate = call.network.gate();
            return Err(failed(gate.err().unwrap_or_else(|| {
                GateError::setup("the grants of this plugin have no connections")
            })));
        };
        let set = call.network.gate().map_err(failed)?.timeouts();
        let timeouts = set.at_most(Timeouts {
            connect: asked.connect.unwrap_or(Duration::MAX),
            first_byte: asked.first_byte.unwrap_or(Duration::MAX),
            between_bytes: asked.between_bytes.unwrap_or(Duration::MAX),
            total: call.total,
        });
        let request = request.map(|body| -> Body {
            body.map_err(|error| GateError::new(GateErrorKind::InvalidRequest, error.to_string()))
                .boxed_unsync()
        });
        let policy: Arc<dyn CallPolicy> = call.clone();
        let runtime = call.network.runtime();
        let runtime = runtime.map_err(|error| failed(GateError::setup(error)))?;
        // Guests' threads wait for nothing but time.
        let sending = AbortOnDropHandle::new(
            runtime.spawn(async move { client.send(request, &policy, timeouts).await }),
        );
        let response = sending
            .await
            .map_err(|error| failed(GateError::setup(error.to_string())))?
            .map_err(failed)?;
        let call = call.clone();
        Ok(response.map(|body| -> HttpBody {
            body.map_err(move |error| call.http_error(&error))
                .boxed_unsync()
        }))
    }
}

/// The sockets of a call.
pub(crate) struct CallSockets {
    call: Arc<CallNetwork>,
    gate: Result<Arc<SocketGate>, GateError>,
    /// Whether the call runs where sockets are waited for.
    has_thread: bool,
}

impl CallSockets {
    /// The sockets of a call of which none is open; `has_thread` says whether it runs where
    /// sockets are waited for, which is where some were granted when it began.
    pub(crate) fn new(call: Arc<CallNetwork>, has_thread: bool) -> CallSockets {
        let gate = call.network.gate();
        CallSockets {
            gate: gate.map(|gate| Arc::new(SocketGate::new(gate, call.clone()))),
            call,
            has_thread,
        }
    }

    fn gate(&self) -> Result<&Arc<SocketGate>, Failure> {
        self.gate.as_ref().map_err(|error| self.call.failure(error))
    }

    /// What a plugin is told; `rule` is the one that would allow it.
    fn failure(&self, error: &GateError, rule: &str) -> Failure {
        match error.kind() {
            GateErrorKind::Refused => self.call.scope.refuse(Feature::Sockets, rule),
            _ => self.call.failure(error),
        }
    }
}

#[async_trait]
impl SocketSource for CallSockets {
    fn open(&self) -> Result<SocketRoom, Failure> {
        if self.call.sockets().is_empty() {
            return Err(self.call.scope.refuse(Feature::Sockets, ""));
        }
        if !self.has_thread {
            return Err(Failure::new(
                ErrorCode::Unavailable,
                "granted-later",
                "sockets were granted after this call had begun; call again",
            ));
        }
        let place = self.call.budget.try_connection();
        let place = place.map_err(|error| self.call.failure(&error))?;
        Ok(Box::new(place))
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let gate = self.gate()?.clone();
        let runtime = self.call.network.runtime();
        let runtime = runtime.map_err(|error| self.call.failure(&GateError::setup(error)))?;
        let asked = name.to_owned();
        let finding =
            AbortOnDropHandle::new(runtime.spawn(async move { gate.resolve(&asked).await }));
        let found = finding
            .await
            .map_err(|error| self.call.failure(&GateError::setup(error.to_string())))?;
        found.map_err(|error| self.failure(&error, &format!("tcp {name}:*")))
    }

    async fn permits(&self, used: SocketUse, address: SocketAddr) -> Result<(), Failure> {
        let used = match used {
            SocketUse::TcpConnect => GateUse::TcpConnect,
            SocketUse::TcpListen => GateUse::TcpListen,
            SocketUse::TcpAccept => GateUse::TcpAccept,
            SocketUse::UdpListen => GateUse::UdpBind,
            SocketUse::UdpSend => GateUse::UdpSend,
            SocketUse::UdpReceive => GateUse::UdpReceive,
        };
        self.gate()?.permit(used, address).map_err(|error| {
            let listen = match used {
                GateUse::TcpListen | GateUse::TcpAccept | GateUse::UdpBind => "listen ",
                _ => "",
            };
            let protocol = match used {
                GateUse::TcpConnect | GateUse::TcpListen | GateUse::TcpAccept => "tcp",
                _ => "udp",
            };
            self.failure(&error, &format!("{listen}{protocol} {address}"))
        })
    }

    fn sent(&self, bytes: u64) -> Result<(), Failure> {
        let sent = self.call.budget.sent(bytes);
        sent.map_err(|error| self.call.failure(&error))
    }

    fn received(&self, bytes: u64) -> Result<(), Failure> {
        let received = self.call.budget.received(bytes);
        received.map_err(|error| self.call.failure(&error))
    }
}
