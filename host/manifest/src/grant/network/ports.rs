//! Which ports.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::text::quoted;

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those in the range.
    Range(RangeInclusive<u16>),
    /// All of them.
    All,
}

impl Ports {
    pub(super) fn one(port: u16) -> Self {
        Ports::Range(port..=port)
    }

    /// Whether it has every port of `other`.
    pub fn covers(&self, other: &Ports) -> bool {
        match (self, other) {
            (Ports::All, _) => true,
            // There is no port 0.
            (Ports::Range(range), Ports::All) => *range.start() <= 1 && *range.end() == u16::MAX,
            (Ports::Range(range), Ports::Range(other)) => {
                range.start() <= other.start() && other.end() <= range.end()
            }
        }
    }

    /// Whether both have some port.
    pub fn overlaps(&self, other: &Ports) -> bool {
        match (self, other) {
            (Ports::Range(range), Ports::Range(other)) => {
                range.start() <= other.end() && other.start() <= range.end()
            }
            _ => true,
        }
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
