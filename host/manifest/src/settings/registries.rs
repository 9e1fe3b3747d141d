//! Registries that are reached in a way of their own: `[registries]` in `portreeve.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::LimitError;
use crate::source::{Mirror, OciReference};
use crate::text::quoted;

/// Most registries, and most mirrors or token hosts of one: each may be asked in turn.
const REGISTRIES_MAX: usize = 100;
const PLACES_MAX: usize = 8;

/// How one registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// What is asked before it, in this order. What comes from there is held against the same
    /// digest.
    pub mirrors: Vec<Mirror>,
    /// Hosts beside its own that may be shown its log-in in exchange for a token.
    pub token_hosts: Vec<String>,
}

/// `[registries."HOST"]`: how one registry is reached.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawRegistry {
    /// What is asked before it, as "mirror.example.com" or "mirror.example.com/prefix".
    mirrors: Vec<String>,
    /// Hosts beside its own that may be shown its log-in in exchange for a token.
    token_hosts: Vec<String>,
}

/// Reads the registries by their hosts; what is wrong goes to `errors` with its host.
pub(crate) fn read(
    raw: &BTreeMap<String, RawRegistry>,
    errors: &mut Vec<(String, LimitError)>,
) -> BTreeMap<String, RegistrySettings> {
    let mut registries = BTreeMap::new();
    for (host, raw) in raw.iter().take(REGISTRIES_MAX) {
        let mut wrong = |setting, value: String, allowed: String| {
            let error = LimitError {
                setting,
                value,
                allowed,
            };
            errors.push((host.clone(), error));
        };
        if let Err(why) = is_registry(host) {
            wrong("mirrors", quoted(host), why);
        }
        for (setting, places) in [("mirrors", &raw.mirrors), ("token-hosts", &raw.token_hosts)] {
            if places.len() > PLACES_MAX {
                let value = format!("a list of {}", places.len());
                wrong(setting, value, format!("a list of at most {PLACES_MAX}"));
            }
        }
        let mut settings = RegistrySettings::default();
        for written in raw.mirrors.iter().take(PLACES_MAX) {
            match written.parse::<Mirror>() {
                Ok(mirror) => settings.mirrors.push(mirror),
                Err(why) => wrong("mirrors", quoted(written), why),
            }
        }
        for written in raw.token_hosts.iter().take(PLACES_MAX) {
            match is_registry(written) {
                Ok(()) => settings.token_hosts.push(written.clone()),
                Err(why) => wrong("token-hosts", quoted(written), why),
            }
        }
        registries.insert(host.clone(), settings);
    }
    if raw.len() > REGISTRIES_MAX {
        let error = LimitError {
            setting: "registries",
            value: format!("a table of {}", raw.len()),
            allowed: format!("at most {REGISTRIES_MAX} registries"),
        };
        errors.push((String::new(), error));
    }
    registries
}

/// A host as references to artifacts name it.
fn is_registry(host: &str) -> Result<(), String> {
    let read: OciReference = format!("oci://{host}/x").parse().map_err(|_| {
        "a registry's host, with its port where it has one: \"registry.example.com\"".to_owned()
    })?;
    if read.registry() == host {
        return Ok(());
    }
    Err("a registry's host alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_hosts() {
        let cases = [
            ("a.example.com", "mirrors = ['m.example.com/cache']", ""),
            ("127.0.0.1:5000", "token-hosts = ['auth.example.com']", ""),
            ("a.example.com", "mirrors = ['m.example.com/x:1']", "no tag"),
            ("a.example.com", "mirrors = ['Ä.example.com']", "ASCII"),
            (
                "a.example.com",
                "token-hosts = ['https://b']",
                "a registry's host",
            ),
            ("a.example.com/b", "", "a registry's host alone"),
            (
                "a.example.com",
                "mirrors = ['b', 'b', 'b', 'b', 'b', 'b', 'b', 'b', 'b']",
                "at most 8",
            ),
        ];
        for (host, text, expected) in cases {
            let raw: RawRegistry = toml::from_str(text).unwrap();
            let mut errors = Vec::new();
            read(&[(host.to_owned(), raw)].into(), &mut errors);
            let told: Vec<String> = errors.iter().map(|(_, error)| error.to_string()).collect();
            if expected.is_empty() {
                assert!(told.is_empty(), "{host} {text}: {told:?}");
            } else {
                assert!(
                    told.iter().any(|told| told.contains(expected)),
                    "{host} {text}: {told:?}"
                );
            }
        }
    }
}
