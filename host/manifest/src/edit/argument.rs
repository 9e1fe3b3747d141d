//! Grants as they are named on a command line: `ui.progress`, `secrets.reveal=NAME:SECRET`.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::feature::Feature;
use crate::grant::{
    AddressRange, DirectoryGrant, GuestPath, NetworkRule, RequestItem, RuleError, SocketRule,
};
use crate::id::Name;
use crate::size::ByteSize;
use crate::text::quoted;

/// Why an argument grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// It is not written as it must be.
    #[error("{0}")]
    Usage(String),
    /// The plugin doesn't ask for it, or this version can't grant it.
    #[error("{0}")]
    Refused(String),
}

/// What there is, for who named something else.
pub(super) fn unknown(name: &str) -> String {
    let known = Feature::ALL
        .into_iter()
        .filter(|feature| feature.is_capability() && feature.enforced());
    let known: Vec<_> = known.map(Feature::name).collect();
    format!(
        "there is no capability `{name}`; this version can grant {}",
        known.join(", ")
    )
}

/// What `CAPABILITY` or `CAPABILITY=VALUE` grants, as the file says it. Without a value it is
/// everything of the capability that is asked for; `asked` is None for a plugin that carries
/// no requests.
///
/// # Errors
/// It can't be granted, or not so.
pub fn granted_by(
    argument: &str,
    asked: Option<&[RequestItem]>,
) -> Result<Map<String, Value>, ArgumentError> {
    let (name, given) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    let feature = Feature::ALL
        .into_iter()
        .find(|feature| feature.is_capability() && feature.name() == name)
        .ok_or_else(|| ArgumentError::Usage(unknown(name)))?;
    if !feature.enforced() {
        return Err(ArgumentError::Refused(format!(
            "`{name}` can't be granted by this version of Portreeve: it does not enforce it yet"
        )));
    }
    let mut items: Vec<&str> = Vec::new();
    for item in asked.unwrap_or_default() {
        // A credential may be asked for with several rules.
        if item.feature == feature && !items.contains(&item.key()) {
            items.push(item.key());
        }
    }
    if asked.is_some() && items.is_empty() {
        return Err(ArgumentError::Refused(format!(
            "the plugin does not ask for `{name}`: leave the grant out, or check that it is the plugin you mean"
        )));
    }
    let rule = given.and_then(|given| Some((given, normal_rule(feature, given)?)));
    let given = match rule {
        None => given.map(str::to_owned),
        Some((_, Err(why))) => return Err(ArgumentError::Usage(why)),
        Some((_, Ok(rule))) => Some(rule),
    };
    if let Some(given) = given.as_deref()
        && asked.is_some()
        && !is_asked(feature, given, &items)
    {
        return Err(ArgumentError::Refused(format!(
            "the plugin does not ask for {}, but for {}; grant that, or less of it",
            quoted(given),
            list(&items)
        )));
    }
    let value = value(feature, given.as_deref(), &items)?;
    Ok(nested(name, value))
}

/// A rule as the file shows it; none for what is no rule of a kind that can be compared.
pub(super) fn normal_rule(feature: Feature, text: &str) -> Option<Result<String, String>> {
    fn read<R: FromStr<Err = RuleError> + ToString>(text: &str) -> Result<String, String> {
        let rule = text.parse::<R>().map_err(|error| error.to_string())?;
        Ok(rule.to_string())
    }
    match feature {
        Feature::Network => Some(read::<NetworkRule>(text)),
        Feature::Sockets => Some(read::<SocketRule>(text)),
        Feature::Addresses => Some(read::<AddressRange>(text)),
        Feature::StorageKv => {
            let size = text.parse::<ByteSize>();
            Some(
                size.map(|size| size.to_string())
                    .map_err(|error| error.to_string()),
            )
        }
        _ => None,
    }
}

/// Whether something of what is to be granted is asked for. Of what is no rule and no
/// credential the file's own check tells.
fn is_asked(feature: Feature, given: &str, items: &[&str]) -> bool {
    fn any<R: FromStr>(given: &str, items: &[&str], common: impl Fn(&R, &R) -> bool) -> bool {
        let Ok(given) = given.parse::<R>() else {
            return false;
        };
        let mut items = items.iter().filter_map(|item| item.parse::<R>().ok());
        items.any(|item| common(&item, &given))
    }
    match feature {
        Feature::Network => any(given, items, NetworkRule::overlaps),
        Feature::Sockets => any(given, items, SocketRule::overlaps),
        Feature::Addresses => any(given, items, |one: &AddressRange, other| {
            one.common(other).is_some()
        }),
        Feature::Directories => {
            let path = given.split(':').next().unwrap_or_default();
            path.parse::<GuestPath>().is_err() || items.contains(&path)
        }
        Feature::Credentials => {
            let name = given.split(':').next().unwrap_or_default();
            Name::new(name).is_err() || items.contains(&name)
        }
        _ => true,
    }
}

/// `/PATH:DIRECTORY`, with `:write` and `:hard-links` behind it.
fn directory(text: &str) -> Result<DirectoryGrant, String> {
    let (path, mut from) = text.split_once(':').unwrap_or((text, ""));
    let path = path.parse().map_err(|error| format!("{error}"))?;
    let (mut write, mut hard_links) = (false, false);
    loop {
        from = match from.rsplit_once(':') {
            Some((rest, "write")) => {
                write = true;
                rest
            }
            Some((rest, "hard-links")) => {
                hard_links = true;
                rest
            }
            _ => break,
        };
    }
    let from = from
        .parse()
        .map_err(|_| format!("say which directory stands behind it: `{}:DIRECTORY`", path))?;
    Ok(DirectoryGrant {
        path,
        from,
        write,
        hard_links,
    })
}

/// Some items, for a message.
fn list(items: &[&str]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = items
        .iter()
        .take(SHOWN_MAX)
        .map(|item| quoted(item))
        .collect();
    let more = items.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        format!("{} and {more} more", shown.join(", "))
    } else {
        shown.join(", ")
    }
}

/// The value below the path of a capability's name.
fn nested(name: &str, value: Value) -> Map<String, Value> {
    let mut path = name.rsplit('.');
    let mut inner = Map::new();
    if let Some(last) = path.next() {
        inner.insert(last.to_owned(), value);
    }
    for key in path {
        inner = Map::from_iter([(key.to_owned(), Value::Object(inner))]);
    }
    inner
}

fn value(feature: Feature, given: Option<&str>, items: &[&str]) -> Result<Value, ArgumentError> {
    let usage = |text: String| Err(ArgumentError::Usage(text));
    match (feature, given) {
        (
            Feature::UiNotify
            | Feature::UiAsk
            | Feature::UiProgress
            | Feature::UiPanels
            | Feature::ClientSampling
            | Feature::ClientRoots
            | Feature::ClientLog,
            given,
        ) => match given {
            None | Some("true") => Ok(true.into()),
            Some(_) => usage(format!("`{feature}` takes no value: write `{feature}`")),
        },
        (Feature::SecretsInject | Feature::SecretsReveal | Feature::Credentials, Some(pair)) => {
            let (name, secret) = pair.split_once(':').unwrap_or((pair, pair));
            for name in [name, secret] {
                if let Err(error) = Name::new(name) {
                    return usage(format!(
                        "{error}; write `{feature}=NAME:SECRET`, the plugin's own name and that in the vault"
                    ));
                }
            }
            Ok(json!({ name: format!("vault:{secret}") }))
        }
        (Feature::SecretsInject | Feature::SecretsReveal | Feature::Credentials, None) => {
            if items.is_empty() {
                return usage(format!(
                    "say which secret: `{feature}=NAME:SECRET`, the plugin's own name and that in the vault"
                ));
            }
            let names = items
                .iter()
                .map(|name| ((*name).to_owned(), format!("vault:{name}").into()));
            Ok(Value::Object(names.collect()))
        }
        (Feature::StorageKv, given) => match given.or(items.first().copied()) {
            Some(size) => Ok(size.into()),
            None => usage(format!("say how much: `{feature}=SIZE`, such as \"5 MiB\"")),
        },
        (Feature::Directories, Some(given)) => match directory(given) {
            Ok(grant) => Ok(json!([grant])),
            Err(why) => usage(why),
        },
        (Feature::Directories, None) => usage(format!(
            "say which directory stands behind it: `{feature}={}:DIRECTORY`, with `:write` behind it where the plugin may change what is in it",
            items.first().unwrap_or(&"/PATH")
        )),
        (Feature::Schedules, _) => usage(format!(
            "`{feature}` needs more than a word: write `grants.{feature}` into portreeve.toml"
        )),
        (_, Some(rule)) => Ok(json!([rule])),
        (_, None) if items.is_empty() => usage(format!("say what: `{feature}=RULE`")),
        (_, None) => Ok(json!(items)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Requests;
    use expect_test::expect;

    #[test]
    fn arguments_become_what_the_file_says() {
        let asked: Requests = toml::from_str(
            r#"
            ui = { progress = "x", notify = "y" }
            secrets = { inject = ["a", "b"], reveal = ["c"] }
            storage = { kv = "10 MiB" }
            [[network]]
            allow = "GET,POST https://api.example.com/repos/**"
            credential = "api"
            reason = "x"
            [[network]]
            allow = "GET https://api.example.com/gists/**"
            credential = "api"
            reason = "x"
            [[addresses]]
            allow = "10.1.0.0/16"
            reason = "x"
            [[directories]]
            path = "/notes"
            reason = "x"
            "#,
        )
        .unwrap();
        let asked = asked.items();
        let shown: String = [
            ("ui.progress", true),
            ("ui.progress=5", true),
            ("secrets.inject", true),
            ("secrets.inject=a:github-bot", true),
            ("secrets.reveal=c", true),
            ("secrets.reveal=C d", true),
            ("secrets.reveal", false),
            ("ui.notify", true),
            ("storage.kv", true),
            ("storage.kv=5MiB", true),
            ("storage.kv=lots", true),
            ("storage.kv", false),
            ("nonsense", true),
            ("policy.scan", true),
            ("network", true),
            ("network=get https://api.example.com/", true),
            ("network=GET  https://API.example.com/repos/acme/**", true),
            ("network=GET https://other.example.com/", true),
            ("network=GET https://other.example.com/", false),
            ("network", false),
            ("credentials", true),
            ("credentials=api:bot", true),
            ("credentials=github", true),
            ("sockets=tcp db.example.com:5432", true),
            ("addresses", true),
            ("addresses=10.0.0.0/8", true),
            ("addresses=192.168.0.0/16", true),
            ("directories", true),
            ("directories=/notes:notes", true),
            ("directories=/notes:/srv/a:b:write:hard-links", true),
            ("directories=/notes", true),
            ("directories=/other:notes", true),
            ("directories=notes:notes", true),
            ("directories=/other:notes", false),
        ]
        .into_iter()
        .map(|(argument, declared)| {
            let told = match granted_by(argument, declared.then_some(asked.as_slice())) {
                Ok(grants) => Value::Object(grants).to_string(),
                Err(error) => error.to_string(),
            };
            format!("{argument}: {told}\n")
        })
        .collect();
        expect![[r#"
            ui.progress: {"ui":{"progress":true}}
            ui.progress=5: `ui.progress` takes no value: write `ui.progress`
            secrets.inject: {"secrets":{"inject":{"a":"vault:a","b":"vault:b"}}}
            secrets.inject=a:github-bot: {"secrets":{"inject":{"a":"vault:github-bot"}}}
            secrets.reveal=c: {"secrets":{"reveal":{"c":"vault:c"}}}
            secrets.reveal=C d: `C d` is no valid name: it has other characters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"; write `secrets.reveal=NAME:SECRET`, the plugin's own name and that in the vault
            secrets.reveal: say which secret: `secrets.reveal=NAME:SECRET`, the plugin's own name and that in the vault
            ui.notify: {"ui":{"notify":true}}
            storage.kv: {"storage":{"kv":"10 MiB"}}
            storage.kv=5MiB: {"storage":{"kv":"5 MiB"}}
            storage.kv=lots: `lots` is no size; write a whole number and a unit, such as "64 MiB"
            storage.kv: say how much: `storage.kv=SIZE`, such as "5 MiB"
            nonsense: there is no capability `nonsense`; this version can grant network, credentials, sockets, addresses, directories, storage.kv, ui.notify, ui.ask, ui.progress, ui.panels, messages.publish, messages.subscribe, messages.request, secrets.inject, secrets.reveal, client.sampling, client.roots, client.log
            policy.scan: there is no capability `policy.scan`; this version can grant network, credentials, sockets, addresses, directories, storage.kv, ui.notify, ui.ask, ui.progress, ui.panels, messages.publish, messages.subscribe, messages.request, secrets.inject, secrets.reveal, client.sampling, client.roots, client.log
            network: {"network":["GET,POST https://api.example.com/repos/**","GET https://api.example.com/gists/**"]}
            network=get https://api.example.com/: `get https://api.example.com/` is no rule: `get` is no HTTP method; write capitals, as in GET, or * for all
            network=GET  https://API.example.com/repos/acme/**: {"network":["GET https://api.example.com/repos/acme/**"]}
            network=GET https://other.example.com/: the plugin does not ask for `GET https://other.example.com/`, but for `GET,POST https://api.example.com/repos/**`, `GET https://api.example.com/gists/**`; grant that, or less of it
            network=GET https://other.example.com/: {"network":["GET https://other.example.com/"]}
            network: say what: `network=RULE`
            credentials: {"credentials":{"api":"vault:api"}}
            credentials=api:bot: {"credentials":{"api":"vault:bot"}}
            credentials=github: the plugin does not ask for `github`, but for `api`; grant that, or less of it
            sockets=tcp db.example.com:5432: the plugin does not ask for `sockets`: leave the grant out, or check that it is the plugin you mean
            addresses: {"addresses":["10.1.0.0/16"]}
            addresses=10.0.0.0/8: {"addresses":["10.0.0.0/8"]}
            addresses=192.168.0.0/16: the plugin does not ask for `192.168.0.0/16`, but for `10.1.0.0/16`; grant that, or less of it
            directories: say which directory stands behind it: `directories=/notes:DIRECTORY`, with `:write` behind it where the plugin may change what is in it
            directories=/notes:notes: {"directories":[{"from":"notes","path":"/notes"}]}
            directories=/notes:/srv/a:b:write:hard-links: {"directories":[{"from":"/srv/a:b","hard-links":true,"path":"/notes","write":true}]}
            directories=/notes: say which directory stands behind it: `/notes:DIRECTORY`
            directories=/other:notes: the plugin does not ask for `/other:notes`, but for `/notes`; grant that, or less of it
            directories=notes:notes: `notes` is no path of a plugin; write an absolute one such as "/data", without `.`, `..` and empty parts
            directories=/other:notes: {"directories":[{"from":"notes","path":"/other"}]}
        "#]].assert_eq(&shown);
    }
}
