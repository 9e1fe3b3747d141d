//! What the gate defines, in the meantime.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use portreeve_manifest::id::Name;
use portreeve_manifest::size::ByteSize;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A body on its way, either way.
pub type Body = UnsyncBoxBody<Bytes, GateError>;

/// Scheme, host and port, as `https://api.example.com`.
pub type Origin = String;

/// Why a request did not get through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    kind: GateErrorKind,
    message: Box<str>,
}

impl GateError {
    /// An error of a kind, with a sentence for people.
    pub fn new(kind: GateErrorKind, message: impl Into<String>) -> GateError {
        GateError {
            kind,
            message: message.into().into_boxed_str(),
        }
    }

    /// What kind of thing happened.
    pub fn kind(&self) -> &GateErrorKind {
        &self.kind
    }
}

/// What kind of thing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateErrorKind {
    /// No rule allows it.
    Refused,
    /// The address that it leads to may not be reached.
    AddressRefused,
    /// The name leads nowhere, or nobody says where.
    Dns,
    /// Nothing answers at the address.
    Connect,
    /// The other side is not who it should be, or speaks no TLS.
    Tls,
    /// It took too long.
    Timeout(Phase),
    /// A budget is used up.
    Budget {
        /// The setting that raises it.
        setting: &'static str,
        /// What is allowed, in bytes or as a count.
        allowed: u64,
        /// What would have been used.
        used: u64,
    },
    /// The operator lets fewer requests through.
    RateLimited {
        /// When one will be let through.
        retry_after: Duration,
    },
    /// The origin failed too often and is left alone for a while.
    CircuitOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The connection ended before the message did.
    Incomplete,
    /// The other side doesn't speak HTTP as it should.
    Protocol,
    /// A credential can't be had or can't be used.
    Credential,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection: look-up, TCP and TLS.
    Connect,
    /// The head of the response, once the request was sent.
    FirstByte,
    /// More of the body.
    BetweenBytes,
    /// All of it.
    Total,
}

/// Who a client says that it is: a certificate with its key.
pub struct ClientIdentity {
    key: Arc<CertifiedKey>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        ClientIdentity { key }
    }

    /// What shows it.
    pub fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)))
    }
}

/// What the operator set for an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginCare {
    /// Tries of a request, the first included: 1 to 10.
    pub attempts: u32,
    /// How many requests may go there.
    pub rate: Option<OriginRate>,
    /// When it is left alone.
    pub breaker: Option<OriginBreaker>,
    /// Bytes of answers that are kept.
    pub cache: Option<ByteSize>,
}

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginRate {
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
}

/// When an origin is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginBreaker {
    /// Failures.
    pub failures: u32,
    /// How long.
    pub pause: Duration,
}

/// How a rule wants its credential used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// Its name.
    pub name: Name,
    /// Where it goes, if not where its kind goes.
    pub place: Option<Place>,
}

/// Where a credential goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header, lower case.
    Header(String),
    /// A query parameter.
    Query(String),
}
