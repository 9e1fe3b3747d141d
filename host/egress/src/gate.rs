//! The gate: what all plugins go out through, and what it asks of whoever made a call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portreeve_manifest::grant::{AddressRange, Target};
use portreeve_manifest::id::Name;
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::budget::Budget;
use crate::care::{CareStatus, OriginCares};
use crate::client::Client;
use crate::connect::Connector;
use crate::credential::Credential;
use crate::error::GateError;
use crate::resolve::Resolver;
use crate::tls;
use portreeve_manifest::grant::{CredentialUse, SocketPolicy};
use portreeve_manifest::settings::{NetworkSettings, Roots};

/// How long each step of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To find the server, to connect to it, and TLS; also to wait for a free connection.
    pub connect: Duration,
    /// For the head of the response, from the last part of the request on.
    pub first_byte: Duration,
    /// Between two parts of the response's body.
    pub between_bytes: Duration,
    /// For all of it, the response's body included.
    pub total: Duration,
}

impl Timeouts {
    /// Each of them within another.
    #[must_use]
    pub fn at_most(self, other: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.min(other.connect),
            first_byte: self.first_byte.min(other.first_byte),
            between_bytes: self.between_bytes.min(other.between_bytes),
            total: self.total.min(other.total),
        }
    }
}

/// What a request was allowed with.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Where it goes.
    pub target: &'a Target,
    /// The credential that was added, by the name of the plugin's manifest.
    pub credential: Option<&'a Name>,
    /// Whether there were placeholders of secrets in it.
    pub placeholders: bool,
}

/// What the gate asks about a call: what it may do at this moment, and what it may use.
#[async_trait]
pub trait CallPolicy: Send + Sync {
    /// Looks whether a request may be sent; asked at each use, and before each retry. Where the
    /// rule that allows it has a credential, that is to be added.
    ///
    /// # Errors
    /// When no rule allows it.
    fn permit(&self, target: &Target) -> Result<Option<CredentialUse>, GateError>;

    /// Looks whether what was allowed is allowed still, with the credential and the placeholders
    /// that were used: asked last before a request is sent, since connecting and opening secrets
    /// take time, and again for each part of a body. It must not wait.
    ///
    /// # Errors
    /// When it is not any more.
    fn stands(&self, sent: &InForce<'_>) -> Result<(), GateError> {
        self.permit(sent.target).map(drop)
    }

    /// The special address ranges that may be reached.
    fn addresses(&self) -> Arc<[AddressRange]>;

    /// A credential for a request to this target, by the name that the plugin's manifest has for
    /// it.
    ///
    /// # Errors
    /// When there is none to be had.
    async fn credential(&self, name: &Name, target: &Target) -> Result<Arc<Credential>, GateError>;

    /// The secret that a placeholder stands for in a request to this target; nothing where it
    /// is none of this call's.
    ///
    /// # Errors
    /// When it may not go there, or can't be had.
    async fn placeholder(
        &self,
        token: &str,
        target: &Target,
    ) -> Result<Option<Zeroizing<String>>, GateError>;

    /// What the call uses.
    fn budget(&self) -> &Budget;

    /// What its sockets may be used for: nothing, unless it says otherwise.
    fn sockets(&self) -> Arc<SocketPolicy> {
        Arc::default()
    }
}

/// The one way out of a host: resolver, roots, proxy. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    connector: Connector,
    cares: Arc<OriginCares>,
    timeouts: Timeouts,
    roots: Roots,
    /// What a file trusts, if one is configured.
    file: Option<rustls::RootCertStore>,
    tls: OnceCell<ClientConfig>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gate").field(&self.0.roots).finish()
    }
}

impl Gate {
    /// A gate as the operator has set it; `roots_pem` is the text of the file of trusted
    /// certificates that the settings name. Variables of the environment, such as
    /// `HTTPS_PROXY`, have no effect.
    ///
    /// # Errors
    /// When the settings can't be followed.
    pub fn new(settings: &NetworkSettings, roots_pem: Option<Vec<u8>>) -> Result<Gate, GateError> {
        let file = match (&settings.roots, roots_pem) {
            (Roots::System, _) => None,
            (Roots::File(_) | Roots::Both(_), Some(pem)) => Some(tls::roots_of(&pem)?),
            (Roots::File(path) | Roots::Both(path), None) => {
                return Err(GateError::setup(format!(
                    "the trusted certificates in {path} were not read"
                )));
            }
        };
        let resolver = Resolver::new(&settings.dns);
        Ok(Gate(Arc::new(Inner {
            connector: Connector::new(resolver, settings.proxy.as_ref())?,
            cares: OriginCares::new(settings.origins.clone()),
            timeouts: Timeouts {
                connect: settings.connect,
                first_byte: settings.first_byte,
                between_bytes: settings.between_bytes,
                total: Duration::MAX,
            },
            roots: settings.roots.clone(),
            file,
            tls: OnceCell::new(),
        })))
    }

    /// A client for one plugin under one set of grants: it has connections of its own, and they
    /// end with it.
    pub fn client(&self) -> Client {
        Client::new(self.clone())
    }

    /// Whether a client is one of this gate's.
    pub fn is_of(&self, client: &Client) -> bool {
        Arc::ptr_eq(&self.0, &client.gate().0)
    }

    /// The times that the operator has set; a call may have shorter ones.
    pub fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// How the origins are that the operator takes care of.
    pub fn status(&self) -> Vec<CareStatus> {
        self.0.cares.status()
    }

    pub(crate) fn cares(&self) -> &Arc<OriginCares> {
        &self.0.cares
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// How TLS is spoken. The roots of the system are read when they are first needed: that
    /// takes longer than all else that the gate does at the start.
    pub(crate) async fn tls(&self) -> Result<&ClientConfig, GateError> {
        let read = || async {
            let inner = self.0.clone();
            let load = move || {
                let roots = match (&inner.roots, inner.file.clone()) {
                    (Roots::File(_), Some(file)) => file,
                    (_, None) => tls::system_roots()?,
                    (_, Some(file)) => {
                        let mut both = tls::system_roots()?;
                        both.extend(file.roots);
                        both
                    }
                };
                tls::config(roots, &[b"h2", b"http/1.1"])
            };
            tokio::task::spawn_blocking(load)
                .await
                .map_err(|_| GateError::setup("the trusted certificates were not read"))?
        };
        self.0.tls.get_or_try_init(read).await
    }
}
