//! Where a plugin may connect to: outbound HTTP, sockets, special address ranges.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use crate::text::{quoted, written_as_string};

/// The longest rule, in bytes: a URL of common length and some methods.
const RULE_BYTES_MAX: usize = 2_048;

/// Outbound HTTP: methods and a URL pattern, as in
/// `"GET,POST https://api.github.com/repos/**"`.
///
/// Methods are a comma-separated list, or `*` for all. The host is a name, a name behind
/// `*.` (any name below it, not itself) or an address; the port is the scheme's unless it
/// stands there (`:8443`, or `:*` for all). In the path `*` stands for any characters within
/// one segment and `**`, as a whole segment, for any number of segments; a pattern without
/// a path is refused: write `/**` for every path. Query strings are not matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRule {
    /// The methods; none means all.
    pub methods: Option<Vec<String>>,
    /// `https` or `http`.
    pub scheme: Scheme,
    /// The host.
    pub host: HostPattern,
    /// The ports.
    pub ports: Ports,
    /// The path pattern, from its first `/` on.
    pub path: String,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `https`
    Https,
    /// `http`
    Http,
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name, in lower case, non-ASCII labels as `xn--…`.
    Name(String),
    /// Every name below this one.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those in the range.
    Range(RangeInclusive<u16>),
    /// All of them.
    All,
}

/// Why a rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} is no rule: {why}")]
pub struct RuleError {
    rule: String,
    why: String,
}

impl RuleError {
    pub(super) fn new(rule: &str, why: impl Into<String>) -> Self {
        RuleError {
            rule: quoted(rule),
            why: why.into(),
        }
    }
}

impl FromStr for NetworkRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refuse = |why: &str| RuleError::new(text, why);
        if text.len() > RULE_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [methods, url] = parts.as_slice() else {
            return Err(refuse(
                "write methods and a URL, as in \"GET,POST https://api.example.com/**\"",
            ));
        };
        let methods = parse_methods(methods).map_err(|why| refuse(&why))?;
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(refuse("the URL must start with https:// or http://"));
        };
        if let Some(c) = rest.chars().find(|c| matches!(c, '@' | '?' | '#' | '\\')) {
            return Err(refuse(&format!(
                "the URL must not contain `{c}`: user names, queries and fragments are no part of a rule"
            )));
        }
        let Some(slash) = rest.find('/') else {
            return Err(refuse(
                "the URL has no path; write /** after the host for every path",
            ));
        };
        let (authority, path) = rest.split_at_checked(slash).unwrap_or((rest, ""));
        let (host, port) = split_port(authority).map_err(|why| refuse(&why))?;
        let host = host.parse().map_err(|why: String| refuse(&why))?;
        let ports = match port {
            Some(port) => port.parse().map_err(|why: String| refuse(&why))?,
            None => Ports::one(match scheme {
                Scheme::Https => 443,
                Scheme::Http => 80,
            }),
        };
        check_path(path).map_err(|why| refuse(&why))?;
        Ok(NetworkRule {
            methods,
            scheme,
            host,
            ports,
            path: path.to_owned(),
        })
    }
}

/// A list of HTTP methods; none for `*`.
fn parse_methods(text: &str) -> Result<Option<Vec<String>>, String> {
    if text == "*" {
        return Ok(None);
    }
    let mut methods: Vec<String> = Vec::new();
    for method in text.split(',') {
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(format!(
                "{} is no HTTP method; write capitals, as in GET, or * for all",
                quoted(method)
            ));
        }
        if methods.iter().any(|known| known == method) {
            return Err(format!("the method {method} stands twice"));
        }
        methods.push(method.to_owned());
    }
    Ok(Some(methods))
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Ok((host, Some(port))),
        _ if authority.is_empty() => Err("the host is missing".into()),
        _ => Ok((authority, None)),
    }
}

/// Refuses paths that no request can have, or that servers read in two ways.
fn check_path(path: &str) -> Result<(), String> {
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the path has characters that must be percent-encoded".into());
    }
    for segment in path.split('/').skip(1) {
        if segment == "." || segment == ".." {
            return Err("the path must not contain `.` or `..`".into());
        }
        if segment.contains("**") && segment != "**" {
            return Err("`**` must be a whole segment of the path, as in /a/**".into());
        }
    }
    Ok(())
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(
                "`*` may only stand for the front of a host's name, as in *.example.com".into(),
            );
        }
        // The URL standard's own reading: 127.1 and 0x7f.1 are addresses, capitals are folded.
        let host = url::Host::parse(name)
            .map_err(|error| format!("{} is no host: {error}", quoted(name)))?;
        match host {
            url::Host::Domain(name) if below && !name.contains('.') => Err(format!(
                "*.{name} is too wide; name at least two labels, as in *.example.com"
            )),
            url::Host::Domain(name) if below => Ok(HostPattern::Below(name)),
            url::Host::Domain(name) => Ok(HostPattern::Name(name)),
            _ if below => Err("`*.` stands before a name, not before an address".into()),
            url::Host::Ipv4(address) => Ok(HostPattern::Address(address.into())),
            url::Host::Ipv6(address) => Ok(HostPattern::Address(address.into())),
        }
    }
}

impl Ports {
    fn one(port: u16) -> Self {
        Ports::Range(port..=port)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(format!(
                "{} is no port; write 1 to 65535, a range such as 5000-5010, or *",
                quoted(text)
            )),
        };
        match text.split_once('-') {
            _ if text == "*" => Ok(Ports::All),
            None => Ok(Ports::one(port(text)?)),
            Some((first, last)) => {
                let (first, last) = (port(first)?, port(last)?);
                if first > last {
                    return Err(format!("the range of ports {first}-{last} is empty"));
                }
                Ok(Ports::Range(first..=last))
            }
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ports::All => f.write_str("*"),
            Ports::Range(range) if range.start() == range.end() => range.start().fmt(f),
            Ports::Range(range) => write!(f, "{}-{}", range.start(), range.end()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Below(name) => write!(f, "*.{name}"),
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            HostPattern::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = match &self.methods {
            Some(methods) => methods.join(","),
            None => "*".into(),
        };
        let (scheme, default) = match self.scheme {
            Scheme::Https => ("https", 443),
            Scheme::Http => ("http", 80),
        };
        write!(f, "{methods} {scheme}://{}", self.host)?;
        if self.ports != Ports::one(default) {
            write!(f, ":{}", self.ports)?;
        }
        f.write_str(&self.path)
    }
}

written_as_string!(NetworkRule, {
    "type": "string",
    "description": "Methods and a URL pattern: \"GET,POST https://api.example.com/repos/**\".",
    "pattern": r"^\s*(\*|[A-Z-]+(,[A-Z-]+)*)\s+https?://[^/?#@]+/[^?#@]*$",
});

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

/// A range of addresses that are refused unless granted (loopback, private, link-local),
/// in CIDR form: `"10.1.0.0/16"`, `"fd00::/8"`, or one address.
///
/// It opens no connection by itself: names and ports come from the other rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(pub IpNet);

impl FromStr for AddressRange {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let range = if text.contains('/') {
            text.parse::<IpNet>().ok()
        } else {
            text.parse::<IpAddr>().ok().map(IpNet::from)
        };
        match range {
            Some(range) if range == range.trunc() => Ok(AddressRange(range)),
            Some(range) => Err(RuleError::new(
                text,
                format!(
                    "it names one address within a range; write \"{}\"",
                    range.trunc()
                ),
            )),
            None => Err(RuleError::new(
                text,
                "write a range of addresses such as \"10.1.0.0/16\" or \"fd00::/8\"",
            )),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_string!(AddressRange, {
    "type": "string",
    "description": "A range of addresses in CIDR form, such as \"10.1.0.0/16\".",
    "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$",
});
