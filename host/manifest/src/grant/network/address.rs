//! Special ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::rule::RuleError;
use crate::text::written_as_string;

/// A range of addresses that are refused unless granted (loopback, private, link-local),
/// in CIDR form: `"10.1.0.0/16"`, `"fd00::/8"`, or one address.
///
/// It opens no connection by itself: names and ports come from the other rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(pub IpNet);

impl AddressRange {
    /// Whether an address is in it. An IPv4 address within an IPv6 one is not looked for.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether it has every address of `other`.
    pub fn covers(&self, other: &AddressRange) -> bool {
        self.0.contains(&other.0)
    }

    /// The addresses that both have: of two ranges with some in common, one covers the other.
    pub fn common(&self, other: &AddressRange) -> Option<AddressRange> {
        if self.covers(other) {
            Some(*other)
        } else {
            other.covers(self).then_some(*self)
        }
    }
}

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
            None if text.trim().eq_ignore_ascii_case("localhost") => {
                Err(RuleError::new(text, "it is a name; write 127.0.0.1 or ::1"))
            }
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
