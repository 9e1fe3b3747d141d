//! Grants as they are named on a command line: `ui.progress`, `secrets.reveal=NAME:SECRET`.

use serde_json::{Map, Value, json};

use crate::feature::Feature;
use crate::grant::RequestItem;
use crate::id::Name;

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
    let items: Vec<&str> = asked
        .unwrap_or_default()
        .iter()
        .filter(|item| item.feature == feature)
        .map(|item| item.what.as_str())
        .collect();
    if asked.is_some() && items.is_empty() {
        return Err(ArgumentError::Refused(format!(
            "the plugin does not ask for `{name}`: leave the grant out, or check that it is the plugin you mean"
        )));
    }
    let value = value(feature, given, &items)?;
    Ok(nested(name, value))
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
        (Feature::Directories | Feature::Schedules, _) => usage(format!(
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
            "ui = { progress = 'x', notify = 'y' }\nsecrets = { inject = ['a', 'b'], reveal = ['c'] }",
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
            ("nonsense", true),
            ("policy.scan", true),
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
            ui.notify: `ui.notify` can't be granted by this version of Portreeve: it does not enforce it yet
            storage.kv: `storage.kv` can't be granted by this version of Portreeve: it does not enforce it yet
            nonsense: there is no capability `nonsense`; this version can grant ui.progress, secrets.inject, secrets.reveal
            policy.scan: there is no capability `policy.scan`; this version can grant ui.progress, secrets.inject, secrets.reveal
        "#]].assert_eq(&shown);
    }
}
