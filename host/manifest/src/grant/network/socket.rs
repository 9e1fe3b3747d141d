//! TCP and UDP.

use std::fmt;
use std::str::FromStr;

use url::Host;

use super::host::HostPattern;
use super::ports::Ports;
use super::rule::{RULE_BYTES_MAX, RuleError, split_port};
use crate::text::written_as_string;

/// TCP and UDP: `"tcp db.example.com:5432"`, `"udp 192.0.2.1:53"`, or, to be connected to,
/// `"listen tcp 127.0.0.1:8080"`.
///
/// The host is as in [`NetworkRule`], an address where the plugin listens; the port is a
/// number, a range (`5000-5010`) or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRule {
    /// Whether the plugin listens there; otherwise it connects.
    pub listen: bool,
    /// The protocol.
    pub protocol: SocketProtocol,
    /// The host.
    pub host: HostPattern,
    /// The ports.
    pub ports: Ports,
}

/// The protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketProtocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
}

impl SocketRule {
    /// Whether it allows everything that `other` allows.
    pub fn covers(&self, other: &SocketRule) -> bool {
        self.listen == other.listen
            && self.protocol == other.protocol
            && self.host.covers(&other.host)
            && self.ports.covers(&other.ports)
    }

    /// Whether something is allowed by both.
    pub fn overlaps(&self, other: &SocketRule) -> bool {
        self.listen == other.listen
            && self.protocol == other.protocol
            && self.host.overlaps(&other.host)
            && self.ports.overlaps(&other.ports)
    }

    /// Whether it allows to connect there.
    pub fn matches(&self, protocol: SocketProtocol, host: &Host<&str>, port: u16) -> bool {
        SocketRule::exact(false, protocol, host, port).is_some_and(|exact| self.covers(&exact))
    }

    /// The rule that allows this use alone; none where the host is no usable name.
    pub(super) fn exact(
        listen: bool,
        protocol: SocketProtocol,
        host: &Host<&str>,
        port: u16,
    ) -> Option<SocketRule> {
        Some(SocketRule {
            listen,
            protocol,
            host: HostPattern::exact(host)?,
            ports: Ports::one(port),
        })
    }
}

impl FromStr for SocketRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        const FORM: &str =
            "write \"tcp HOST:PORT\", \"udp HOST:PORT\" or \"listen tcp ADDRESS:PORT\"";
        let refuse = |why: &str| RuleError::new(text, why);
        if text.len() > RULE_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let (listen, protocol, place) = match parts.as_slice() {
            ["listen", protocol, place] => (true, *protocol, *place),
            [protocol, place] => (false, *protocol, *place),
            _ => return Err(refuse(FORM)),
        };
        let protocol = match protocol {
            "tcp" => SocketProtocol::Tcp,
            "udp" => SocketProtocol::Udp,
            _ => return Err(refuse(FORM)),
        };
        let (host, port) = split_port(place).map_err(|why| refuse(&why))?;
        let host: HostPattern = host.parse().map_err(|why: String| refuse(&why))?;
        let Some(port) = port else {
            return Err(refuse("the port is missing; write HOST:PORT"));
        };
        let ports = port.parse().map_err(|why: String| refuse(&why))?;
        if listen && !matches!(host, HostPattern::Address(_)) {
            return Err(refuse(
                "a plugin listens on an address of this machine, such as 127.0.0.1",
            ));
        }
        Ok(SocketRule {
            listen,
            protocol,
            host,
            ports,
        })
    }
}

impl fmt::Display for SocketRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen = if self.listen { "listen " } else { "" };
        let protocol = match self.protocol {
            SocketProtocol::Tcp => "tcp",
            SocketProtocol::Udp => "udp",
        };
        write!(f, "{listen}{protocol} {}:{}", self.host, self.ports)
    }
}

written_as_string!(SocketRule, {
    "type": "string",
    "description": "\"tcp HOST:PORT\", \"udp HOST:PORT\" or \"listen tcp ADDRESS:PORT\".",
    "pattern": r"^\s*(listen\s+)?(tcp|udp)\s+\S+:[0-9*-]+\s*$",
});
