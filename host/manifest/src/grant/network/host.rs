//! Which hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Host;

use crate::text::quoted;

/// Longest name of a host and longest label of it, in bytes (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host: all names, and all addresses that are public or granted as ranges.
    Any,
    /// This name, in lower case, non-ASCII labels as `xn--…`.
    Name(String),
    /// Every name below this one.
    Below(String),
    /// This address.
    Address(IpAddr),
}

impl HostPattern {
    /// Whether it has every host of `other`: `*.x` has `a.x` and `*.a.x`, but not `x`.
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) => true,
            (HostPattern::Name(name), HostPattern::Name(other)) => name == other,
            (HostPattern::Address(address), HostPattern::Address(other)) => address == other,
            (HostPattern::Below(name), HostPattern::Name(other)) => is_below(other, name),
            (HostPattern::Below(name), HostPattern::Below(other)) => {
                name == other || is_below(other, name)
            }
            _ => false,
        }
    }

    /// Whether both have some host. Of two patterns that overlap, one covers the other.
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The pattern of this host alone; none where it is no usable name.
    pub(super) fn exact(host: &Host<&str>) -> Option<HostPattern> {
        match host {
            Host::Domain(name) => match Host::parse(name).ok()? {
                Host::Domain(name) => dns_name(&name).ok().map(HostPattern::Name),
                host => HostPattern::exact(&borrowed(&host)),
            },
            Host::Ipv4(address) => Some(HostPattern::Address((*address).into())),
            Host::Ipv6(address) => Some(HostPattern::Address((*address).into())),
        }
    }
}

/// The host, borrowed.
fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

/// Whether `name` is below `parent`, not `parent` itself.
fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .and_then(|front| front.strip_suffix('.'))
        .is_some_and(|front| !front.is_empty())
}

/// A name as it is matched and looked up: without the root's dot, of letters, digits,
/// hyphens and underscores. `name` is as the URL standard's reading leaves it: lower case,
/// `xn--…` for what is not ASCII.
pub(super) fn dns_name(name: &str) -> Result<String, String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(label) {
        return Err(format!(
            "{} is no host's name: labels of letters, digits and hyphens, {LABEL_BYTES_MAX} characters at most each and {NAME_BYTES_MAX} together",
            quoted(name)
        ));
    }
    Ok(name.to_owned())
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(
                "`*` may only stand for the front of a host's name, as in *.example.com, or alone, for every host".into(),
            );
        }
        // The URL standard's own reading: 127.1 and 0x7f.1 are addresses, capitals are folded.
        let host =
            Host::parse(name).map_err(|error| format!("{} is no host: {error}", quoted(name)))?;
        match host {
            Host::Domain(name) => {
                let name = dns_name(&name)?;
                match (below, name.contains('.')) {
                    (true, false) => Err(format!(
                        "*.{name} is too wide; name at least two labels, as in *.example.com"
                    )),
                    (true, true) => Ok(HostPattern::Below(name)),
                    (false, _) => Ok(HostPattern::Name(name)),
                }
            }
            _ if below => Err("`*.` stands before a name, not before an address".into()),
            Host::Ipv4(address) => Ok(HostPattern::Address(address.into())),
            Host::Ipv6(address) => Ok(HostPattern::Address(address.into())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Below(name) => write!(f, "*.{name}"),
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            HostPattern::Address(address) => address.fmt(f),
        }
    }
}
