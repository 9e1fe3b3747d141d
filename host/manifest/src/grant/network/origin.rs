//! Scheme, host and port.

use std::fmt;
use std::str::FromStr;

use super::rule::Scheme;
use super::target::Target;
use crate::text::{quoted, written_as_string};

/// Scheme, host and port, as in `https://api.example.com` or `http://[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host as a URL has it: in lower case, an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| {
            format!(
                "{} is no origin: {why}; write it as \"https://api.example.com\"",
                quoted(text)
            )
        };
        let target = Target::new("GET", text).map_err(|error| refuse(&error.to_string()))?;
        let bare = text.strip_suffix('/').unwrap_or(text);
        let after_scheme = bare.split_once("://").map_or("", |(_, rest)| rest);
        if after_scheme.contains(['/', '?', '#']) {
            return Err(refuse("it has more than scheme, host and port"));
        }
        Ok(target.origin())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

written_as_string!(Origin, {
    "type": "string",
    "description": "Scheme, host and, where it is not the scheme's own, port: \"https://api.example.com\".",
    "pattern": r"^[hH][tT][tT][pP][sS]?://[^/?#@]+/?$",
});
