//! How requests stand with what is granted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::network::{AddressRange, CredentialAsked, NetworkRule, SocketRule};
use super::{DirectoryRule, Grants, RequestItem, SecretRef};
use crate::feature::Feature;
use crate::id::Name;
use crate::size::ByteSize;

/// How far a request is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

    /// How a request stands. Of topics and the like only the same words count. A
    /// credential stands as its rule does: where nothing may be sent, it is not added either.
    pub fn standing(&self, item: &RequestItem) -> Standing {
        match item.feature {
            Feature::Network => match item.what.parse() {
                Ok(asked) => self.network(&asked),
                Err(_) => Standing::NotGranted,
            },
            Feature::Credentials if self.names(item) => {
                match item.what.parse::<CredentialAsked>() {
                    Ok(asked) => self.network(&asked.rule),
                    Err(_) => Standing::NotGranted,
                }
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
            Feature::Directories => {
                let Ok(asked) = item.what.parse::<DirectoryRule>() else {
                    return Standing::NotGranted;
                };
                let mut rules = self.rules.directories.iter().map(|grant| grant.rule());
                let rule = rules.find(|rule| rule.path == asked.path);
                stands(rule.is_some(), rule.is_some_and(|rule| rule.covers(&asked)))
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

    fn network(&self, asked: &NetworkRule) -> Standing {
        let near = self.rules.network.iter();
        let near: Vec<NetworkRule> = near.filter(|rule| rule.overlaps(asked)).cloned().collect();
        stands(!near.is_empty(), asked.is_covered_by(&near))
    }

    /// The rules, as they are granted, by which something of a request is.
    pub fn rules(&self, item: &RequestItem) -> Vec<String> {
        fn told<R: ToString>(rules: &[R], is_near: impl Fn(&R) -> bool) -> Vec<String> {
            let near = rules.iter().filter(|rule| is_near(rule));
            near.map(ToString::to_string).collect()
        }
        let network = |asked: &NetworkRule| told(&self.rules.network, |rule| rule.overlaps(asked));
        let what = item.what.as_str();
        match item.feature {
            Feature::Network => what.parse().map(|asked| network(&asked)).ok(),
            Feature::Credentials if self.names(item) => {
                let asked = what.parse::<CredentialAsked>();
                asked.map(|asked| network(&asked.rule)).ok()
            }
            Feature::Sockets => what
                .parse()
                .map(|asked| told(&self.rules.sockets, |rule| rule.overlaps(&asked)))
                .ok(),
            Feature::Addresses => what
                .parse()
                .map(|asked| {
                    told(&self.rules.addresses, |range| {
                        range.common(&asked).is_some()
                    })
                })
                .ok(),
            Feature::Directories => what.parse::<DirectoryRule>().ok().map(|asked| {
                let near = self.rules.directories.iter();
                let near = near.filter(|grant| grant.path == asked.path);
                near.map(|grant| format!("{} from {}", grant.rule(), grant.from))
                    .collect()
            }),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// The secrets of the vault that are granted, under the vault's names.
    pub fn secrets(&self) -> BTreeSet<Name> {
        let Grants {
            credentials,
            secrets,
            ..
        } = &self.rules;
        let granted = [credentials, &secrets.inject, &secrets.reveal];
        let named = granted.into_iter().flat_map(|names| names.values());
        named.map(|SecretRef { vault }| vault.clone()).collect()
    }

    /// Whether the grants name a request in its own words: a credential by its name alone.
    pub fn names(&self, item: &RequestItem) -> bool {
        let mut path = item.feature.name().split('.');
        let first = path.next().and_then(|key| self.written.get(key));
        match path.try_fold(first, |at, key| Some(at?.get(key))).flatten() {
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Object(members)) => members.contains_key(item.key()),
            Some(Value::Array(rules)) => rules.iter().any(|rule| {
                let key = Some(item.key());
                rule.as_str() == key || rule.get("path").and_then(Value::as_str) == key
            }),
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
            .map(|item| {
                format!(
                    "{} {}: {:?} {:?}\n",
                    item.feature,
                    item.what,
                    granted.standing(item),
                    granted.rules(item)
                )
            })
            .collect();
        expect![[r#"
            network GET,POST https://api.example.com/**: Partly ["GET https://*.example.com/**", "POST https://api.example.com/*"]
            network GET https://all.example.org/a: Granted ["* https://*.example.org/**"]
            network POST https://api.example.com/gists: Granted ["POST https://api.example.com/*"]
            network DELETE https://api.example.com/**: NotGranted []
            credentials api for GET,POST https://api.example.com/**: Partly ["GET https://*.example.com/**", "POST https://api.example.com/*"]
            credentials api for GET https://all.example.org/a: Granted ["* https://*.example.org/**"]
            credentials api for POST https://api.example.com/gists: Granted ["POST https://api.example.com/*"]
            credentials api for DELETE https://api.example.com/**: NotGranted []
            sockets tcp a.example:1-9: Partly ["tcp a.example:2"]
            addresses 10.1.0.0/16: Granted ["10.0.0.0/8"]
            storage.kv 10 MiB: Partly []
            ui.progress : NotGranted []
        "#]]
        .assert_eq(&shown);
    }
}
