//! What other parts bring, until they are there: `[network]` of `portreeve.toml`, socket
//! policy, uses of credentials (manifest), and credentials themselves (`credential.rs`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::grant::{HostPath, HostPattern, Ports, SocketProtocol, SocketRule};
use portreeve_manifest::id::Name;
use url::Url;

use crate::error::GateError;
use crate::request::Prepared;
use crate::tls::ClientIdentity;

/// `[network]`: how the gate goes out.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Servers that are asked for names; none means the system's.
    pub dns: Vec<SocketAddr>,
    /// Who is trusted to name servers.
    pub roots: Roots,
    /// A proxy that everything goes through.
    pub proxy: Option<Url>,
    /// Time to find a server and to connect to it.
    pub connect: Duration,
    /// Time for the head of a response.
    pub first_byte: Duration,
    /// Time between two parts of a body.
    pub between_bytes: Duration,
}

impl Default for NetworkSettings {
    fn default() -> NetworkSettings {
        NetworkSettings {
            dns: Vec::new(),
            roots: Roots::System,
            proxy: None,
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            between_bytes: Duration::from_secs(30),
        }
    }
}

/// Who is trusted to name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the system.
    System,
    /// Those in a file, alone.
    File(HostPath),
    /// Both.
    Both(HostPath),
}

/// A credential that a rule adds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// What the manifest calls it.
    pub name: Name,
    /// Where it goes, if not where its kind goes.
    pub place: Option<Place>,
}

/// Where a credential goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(String),
    /// A parameter of the query.
    Query(String),
}

/// What a credential is made of.
#[derive(Debug, Default)]
pub struct Credential {
    /// A certificate that is shown to the server.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// What sockets may be used for.
#[derive(Debug, Default)]
pub struct SocketPolicy {
    /// The rules in force.
    pub rules: Vec<SocketRule>,
}

impl SocketPolicy {
    /// Whether a rule allows a socket.
    pub fn decide(
        &self,
        protocol: SocketProtocol,
        host: &url::Host<&str>,
        port: u16,
        listen: bool,
    ) -> bool {
        self.rules.iter().any(|rule| {
            let ports = match &rule.ports {
                Ports::Range(range) => range.contains(&port),
                Ports::All => true,
            };
            rule.protocol == protocol
                && rule.listen == listen
                && ports
                && match (&rule.host, host) {
                    (HostPattern::Address(ours), url::Host::Ipv4(theirs)) => ours == theirs,
                    (HostPattern::Address(ours), url::Host::Ipv6(theirs)) => ours == theirs,
                    (pattern, url::Host::Domain(name)) => names(pattern, name),
                    _ => false,
                }
        })
    }

    /// Whether a rule is about a name.
    pub fn may_resolve(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| names(&rule.host, name))
    }
}

impl Credential {
    /// Adds it to a request that was allowed.
    pub(crate) fn apply(
        &self,
        prepared: &mut Prepared,
        _used: &CredentialUse,
    ) -> Result<(), GateError> {
        prepared.identity.clone_from(&self.identity);
        Ok(())
    }
}

fn names(pattern: &HostPattern, name: &str) -> bool {
    match pattern {
        HostPattern::Name(ours) => ours == name,
        HostPattern::Below(ours) => name
            .strip_suffix(ours)
            .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        HostPattern::Address(_) => false,
    }
}
