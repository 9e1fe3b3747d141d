//! How requests stand with what is granted.

use serde_json::{Map, Value};

use super::network::{AddressRange, NetworkRule, SocketRule};
use super::{Grants, RequestItem};
use crate::feature::Feature;
use crate::size::ByteSize;

/// How far a request is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything of it is.
    Granted,
    /// Some of it is: the grant is narrower.
    Partly,
    /// Nothing of it is.
    NotGranted,
}

/// What is granted, to hold requests against.
pub struct Granted {
    written: Map<String, Value>,
    rules: Grants,
}

impl Granted {
    /// Takes grants as the file says them ([`Grants::to_json`]).
    pub fn read(written: &Map<String, Value>) -> Granted {
        Granted {
            written: written.clone(),
            // It came from grants; what is none grants nothing.
            rules: serde_json::from_value(Value::Object(written.clone())).unwrap_or_default(),
        }
    }

    /// How a request stands. Of directories, topics and the like only the same words count.
    pub fn standing(&self, item: &RequestItem) -> Standing {
        match item.feature {
            Feature::Network => {
                let Ok(asked) = item.what.parse::<NetworkRule>() else {
                    return Standing::NotGranted;
                };
                let near = self
                    .rules
                    .network
                    .iter()
                    .filter(|rule| rule.overlaps(&asked));
                let near: Vec<NetworkRule> = near.cloned().collect();
                stands(!near.is_empty(), asked.is_covered_by(&near))
            }
            Feature::Sockets => {
                let Ok(asked) = item.what.parse::<SocketRule>() else {
                    return Standing::NotGranted;
                };
                let mut rules = self.rules.sockets.iter();
                let all = rules.clone().any(|rule| rule.covers(&asked));
                stands(rules.any(|rule| rule.overlaps(&asked)), all)
            }
            Feature::Addresses => {
                let Ok(asked) = item.what.parse::<AddressRange>() else {
                    return Standing::NotGranted;
                };
                let mut ranges = self.rules.addresses.iter();
                let all = ranges.clone().any(|range| range.covers(&asked));
                stands(ranges.any(|range| range.common(&asked).is_some()), all)
            }
            Feature::StorageKv => {
                let granted = self.rules.storage.as_ref().map(|grant| grant.kv);
                let Ok(asked) = item.what.parse::<ByteSize>() else {
                    return Standing::NotGranted;
                };
                stands(
                    granted.is_some(),
                    granted.is_some_and(|granted| granted >= asked),
                )
            }
            _ => {
                let named = self.names(item);
                stands(named, named)
            }
        }
    }

    /// Whether the grants name a request in its own words.
    fn names(&self, item: &RequestItem) -> bool {
        let mut path = item.feature.name().split('.');
        let first = path.next().and_then(|key| self.written.get(key));
        match path.try_fold(first, |at, key| Some(at?.get(key))).flatten() {
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Object(members)) => members.contains_key(item.key()),
            Some(Value::Array(rules)) => rules.iter().any(|rule| rule.as_str() == Some(item.key())),
            Some(_) => true,
            None => false,
        }
    }
}

fn stands(some: bool, all: bool) -> Standing {
    match (some, all) {
        (_, true) => Standing::Granted,
        (true, false) => Standing::Partly,
        (false, false) => Standing::NotGranted,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Requests;
    use super::*;
    use expect_test::expect;

    #[test]
    fn requests_stand_with_narrower_and_wider_grants() {
        let rules = [
            "GET,POST https://api.example.com/**",
            "GET https://all.example.org/a",
            "POST https://api.example.com/gists",
            "DELETE https://api.example.com/**",
        ];
        let network = rules.map(|rule| {
            format!("[[network]]\nallow = '{rule}'\ncredential = 'api'\nreason = 'r'\n")
        });
        let requests: Requests = toml::from_str(&format!(
            "ui = {{ progress = 'x' }}\nstorage = {{ kv = '10 MiB' }}\n{}[[sockets]]\nallow = 'tcp a.example:1-9'\nreason = 'r'\n[[addresses]]\nallow = '10.1.0.0/16'\nreason = 'r'\n",
            network.concat()
        ))
        .unwrap();
        let grants: Grants = toml::from_str(
            r#"
            network = ["GET https://*.example.com/**", "POST https://api.example.com/*", "* https://*.example.org/**"]
            credentials = { api = "vault:x" }
            sockets = ["tcp a.example:2"]
            addresses = ["10.0.0.0/8"]
            storage = { kv = "5 MiB" }
            "#,
        )
        .unwrap();
        let granted = Granted::read(&grants.to_json());
        let shown: String = requests
            .items()
            .iter()
            .filter(|item| item.feature != Feature::Credentials || item.what.contains("org"))
            .map(|item| {
                format!(
                    "{} {}: {:?}\n",
                    item.feature,
                    item.what,
                    granted.standing(item)
                )
            })
            .collect();
        expect![[r#"
            network GET,POST https://api.example.com/**: Partly
            network GET https://all.example.org/a: Granted
            network POST https://api.example.com/gists: Granted
            network DELETE https://api.example.com/**: NotGranted
            credentials api for GET https://all.example.org/a: Granted
            sockets tcp a.example:1-9: Partly
            addresses 10.1.0.0/16: Granted
            storage.kv 10 MiB: Partly
            ui.progress : NotGranted
        "#]]
        .assert_eq(&shown);
    }
}
