//! TLS: whom we trust, and who we are.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::error::{GateError, GateErrorKind};

/// Sessions that are remembered, so that the next connection to a server is cheaper: of one
/// plugin, as they tell the server who comes back.
const SESSIONS_MAX: usize = 64;

/// Certificates in a file of roots.
const ROOTS_MAX: usize = 1_000;

/// What the system trusts.
pub(crate) fn system_roots() -> Result<RootCertStore, GateError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some are of an age or a form that nobody takes.
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map_or_else(
            || "there are none; install the package ca-certificates".to_owned(),
            ToString::to_string,
        );
        return Err(GateError::setup(format!(
            "the certificates that this system trusts can't be read: {why}"
        )));
    }
    Ok(roots)
}

/// What a file of PEM names as trusted; all of it must be usable.
pub(crate) fn roots_of(pem: &[u8]) -> Result<RootCertStore, GateError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem).take(ROOTS_MAX) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|one| roots.add(one).map_err(|error| error.to_string()))
            .map_err(|why| {
                GateError::setup(format!(
                    "the file of trusted certificates can't be read: {why}"
                ))
            })?;
    }
    if roots.is_empty() {
        return Err(GateError::setup(
            "the file of trusted certificates has none in it: it must be PEM",
        ));
    }
    Ok(roots)
}

/// How we speak TLS to servers that `roots` name, with these protocols on top.
pub(crate) fn config(roots: RootCertStore, protocols: &[&[u8]]) -> Result<ClientConfig, GateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| GateError::setup(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|&name| name.to_vec()).collect();
    Ok(config)
}

/// The same, with sessions of its own.
pub(crate) fn own(config: &ClientConfig) -> ClientConfig {
    let mut own = config.clone();
    own.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    own
}

/// The name that a server's certificate must have.
pub(crate) fn server_name(host: &url::Host<&str>) -> Result<ServerName<'static>, GateError> {
    match host {
        url::Host::Domain(name) => ServerName::try_from((*name).to_owned()).map_err(|_| {
            GateError::new(
                GateErrorKind::Tls,
                format!("{name} is no name that a certificate has"),
            )
        }),
        url::Host::Ipv4(address) => Ok(ServerName::IpAddress((*address).into())),
        url::Host::Ipv6(address) => Ok(ServerName::IpAddress((*address).into())),
    }
}

/// Who a client says that it is: a certificate with its key. Connections that were made with
/// it are used for nobody else.
pub struct ClientIdentity {
    key: Arc<CertifiedKey>,
    /// Made when it is first used; one identity is used through one gate.
    config: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(…)")
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &ClientIdentity) -> bool {
        self.key.cert == other.key.cert
    }
}

impl ClientIdentity {
    /// An identity that can be shown.
    pub fn new(key: Arc<CertifiedKey>) -> ClientIdentity {
        ClientIdentity {
            key,
            config: OnceLock::new(),
        }
    }

    /// How TLS is spoken under this identity.
    pub(crate) fn config(&self, plain: &ClientConfig) -> Arc<ClientConfig> {
        self.config
            .get_or_init(|| {
                let mut config = own(plain);
                config.client_auth_cert_resolver =
                    Arc::new(SingleCertAndKey::from(self.key.clone()));
                Arc::new(config)
            })
            .clone()
    }
}
