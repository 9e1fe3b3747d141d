//! Outbound HTTP: methods and a URL pattern.

use std::fmt;
use std::str::FromStr;

use super::host::HostPattern;
use super::path::PathPattern;
use super::ports::Ports;
use super::target::Target;
use crate::text::{quoted, written_as_string};

/// The longest rule, in bytes: a URL of common length and some methods.
pub(super) const RULE_BYTES_MAX: usize = 2_048;

/// The longest method, in bytes; the longest registered one has 17.
const METHOD_BYTES_MAX: usize = 32;

/// Outbound HTTP: methods and a URL pattern, as in
/// `"GET,POST https://api.github.com/repos/**"`.
///
/// Methods are a comma-separated list, or `*` for all. The host is a name, a name behind
/// `*.` (any name below it, not itself), an address, or `*` for every host (special addresses
/// need a range of their own all the same); the port is the scheme's unless it
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
    pub path: PathPattern,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `https`
    Https,
    /// `http`
    Http,
}

impl Scheme {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
        }
    }

    /// The port where none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Https => 443,
            Scheme::Http => 80,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl NetworkRule {
    /// Whether it allows a request.
    pub fn matches(&self, target: &Target) -> bool {
        self.covers(target.exact())
    }

    /// Whether it allows every request that `other` allows. Never wrongly yes; see
    /// [`PathPattern::covers`] for where it is no more than careful.
    pub fn covers(&self, other: &NetworkRule) -> bool {
        self.scheme == other.scheme
            && self.host.covers(&other.host)
            && self.ports.covers(&other.ports)
            && self.covers_methods(other)
            && self.path.covers(&other.path)
    }

    /// Whether these together allow every request that this one allows, each method under
    /// one of them.
    pub fn is_covered_by(&self, rules: &[NetworkRule]) -> bool {
        let covered = |rule: &NetworkRule| rules.iter().any(|wide| wide.covers(rule));
        match &self.methods {
            None => covered(self),
            Some(methods) => methods.iter().all(|method| {
                covered(&NetworkRule {
                    methods: Some(vec![method.clone()]),
                    ..self.clone()
                })
            }),
        }
    }

    /// Whether some request is allowed by both.
    pub fn overlaps(&self, other: &NetworkRule) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (Some(methods), Some(others)) => methods.iter().any(|one| others.contains(one)),
            _ => true,
        };
        self.scheme == other.scheme
            && self.host.overlaps(&other.host)
            && methods
            && self.ports.overlaps(&other.ports)
            && self.path.overlaps(&other.path)
    }

    fn covers_methods(&self, other: &NetworkRule) -> bool {
        match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(methods), Some(others)) => others.iter().all(|other| methods.contains(other)),
        }
    }
}

/// Why a rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} is no rule: {why}")]
pub struct RuleError {
    rule: String,
    why: String,
}

impl RuleError {
    pub(in crate::grant) fn new(rule: &str, why: impl Into<String>) -> Self {
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
            None => Ports::one(scheme.default_port()),
        };
        let path = path.parse().map_err(|why: String| refuse(&why))?;
        Ok(NetworkRule {
            methods,
            scheme,
            host,
            ports,
            path,
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
        check_method(method)?;
        if methods.iter().any(|known| known == method) {
            return Err(format!("the method {method} stands twice"));
        }
        methods.push(method.to_owned());
    }
    Ok(Some(methods))
}

/// Refuses what is no method, and the methods that the host doesn't send for anyone: TRACE
/// shows the plugin what the host added, CONNECT opens a tunnel.
pub(super) fn check_method(method: &str) -> Result<(), String> {
    let known = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.bytes().all(known) {
        return Err(format!(
            "{} is no HTTP method; write capitals, as in GET, or * for all",
            quoted(method)
        ));
    }
    if matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        return Err(format!("the method {method} is never sent; use another"));
    }
    Ok(())
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Ok((host, Some(port))),
        _ if authority.is_empty() => Err("the host is missing".into()),
        _ => Ok((authority, None)),
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = match &self.methods {
            Some(methods) => methods.join(","),
            None => "*".into(),
        };
        write!(f, "{methods} {}://{}", self.scheme, self.host)?;
        if self.ports != Ports::one(self.scheme.default_port()) {
            write!(f, ":{}", self.ports)?;
        }
        self.path.fmt(f)
    }
}

written_as_string!(NetworkRule, {
    "type": "string",
    "description": "Methods and a URL pattern: \"GET,POST https://api.example.com/repos/**\".",
    "pattern": r"^\s*(\*|[A-Z-]+(,[A-Z-]+)*)\s+https?://[^/?#@]+/[^?#@]*$",
});
