//! Granting and revoking: what is granted changes, and how the operator wrote it stays.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml_edit::{Item, Table, TableLike};

use super::list::Lines;
use super::{EditError, finish, inline, parse, value};
use crate::feature::Feature;
use crate::id::Alias;
use crate::project::ProjectManifest;

/// What is to be revoked: everything, a capability, or one thing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// Everything that is granted.
    All,
    /// A capability, by its name below `grants`.
    Capability(String),
    /// One thing of it: a rule, a topic, the name of a secret.
    Item(String, String),
}

impl std::str::FromStr for Selector {
    type Err = String;

    /// `ui.progress`, or `secrets.reveal=NAME`.
    fn from_str(text: &str) -> Result<Selector, String> {
        let (name, item) = match text.split_once('=') {
            Some((name, item)) => (name, Some(item)),
            None => (text, None),
        };
        let known = |feature: &Feature| feature.is_capability() && feature.name() == name;
        // Groups may be named as a whole: `ui`, `secrets`.
        let group = |feature: &Feature| {
            feature.is_capability()
                && feature
                    .name()
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        if !Feature::ALL
            .iter()
            .any(|feature| known(feature) || group(feature))
        {
            return Err(super::argument::unknown(name));
        }
        Ok(match item {
            Some(item) => Selector::Item(name.to_owned(), item.to_owned()),
            None => Selector::Capability(name.to_owned()),
        })
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::All => f.pad("everything"),
            Selector::Capability(name) => f.pad(name),
            Selector::Item(name, item) => write!(f, "{name}={item}"),
        }
    }
}

/// Adds to what a plugin is granted.
pub(super) fn grant(
    file: &str,
    text: &str,
    alias: &Alias,
    more: &Map<String, Value>,
) -> Result<String, EditError> {
    let mut grants = granted(file, text, alias)?;
    merge(&mut grants, more);
    rewrite(file, text, alias, &grants)
}

/// Takes from what a plugin is granted.
pub(super) fn revoke(
    file: &str,
    text: &str,
    alias: &Alias,
    what: &[Selector],
) -> Result<String, EditError> {
    let mut grants = granted(file, text, alias)?;
    for selector in what {
        let removed = match selector {
            Selector::All => {
                let any = !grants.is_empty();
                grants.clear();
                any
            }
            Selector::Capability(name) => {
                let path: Vec<&str> = name.split('.').collect();
                take(&mut grants, &path, None)
            }
            Selector::Item(name, item) => {
                let path: Vec<&str> = name.split('.').collect();
                take(&mut grants, &path, Some(&as_shown(name, item)))
            }
        };
        if !removed && *selector == Selector::All {
            return Err(EditError::NothingGranted(alias.clone()));
        }
        if !removed {
            return Err(EditError::NotGranted {
                alias: alias.clone(),
                what: selector.to_string(),
                granted: describe(&grants),
            });
        }
    }
    rewrite(file, text, alias, &grants)
}

/// Takes a plugin's table out of the file.
pub(super) fn remove(file: &str, text: &str, alias: &Alias) -> Result<String, EditError> {
    let mut document = parse(file, text)?;
    let plugins = document
        .get_mut("plugins")
        .and_then(Item::as_table_like_mut);
    let removed = plugins.and_then(|plugins| plugins.remove(alias.as_str()));
    if removed.is_none() {
        return Err(EditError::Unknown(alias.clone()));
    }
    finish(file, document)
}

/// What is granted now, as in the file.
fn granted(file: &str, text: &str, alias: &Alias) -> Result<Map<String, Value>, EditError> {
    let project = ProjectManifest::parse(file, text).map_err(EditError::Before)?;
    let entry = project
        .plugins
        .get(alias)
        .ok_or_else(|| EditError::Unknown(alias.clone()))?;
    Ok(entry.grants.to_json())
}

/// Adds `more` to grants as the file says them: lists and tables grow, anything else is
/// replaced, and so is what stands behind the path of a directory.
pub fn merge(grants: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (key, new) in more {
        match (grants.get_mut(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => {
                for item in new {
                    // One directory stands behind a path.
                    if let Some(path) = item.get("path").and_then(Value::as_str) {
                        old.retain(|one| !is_item(one, path));
                    }
                    if !old.contains(item) {
                        old.push(item.clone());
                    }
                }
            }
            _ => {
                grants.insert(key.clone(), new.clone());
            }
        }
    }
}

/// Removes what stands at `path`, or one `item` of it; whether it was there. What is empty
/// afterwards goes as well.
fn take(grants: &mut Map<String, Value>, path: &[&str], item: Option<&str>) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    let Some(inner) = grants.get_mut(*first) else {
        return false;
    };
    let removed = match (rest, item, &mut *inner) {
        ([], None, _) => {
            grants.remove(*first);
            return true;
        }
        ([], Some(item), Value::Array(items)) => {
            let before = items.len();
            items.retain(|one| !is_item(one, item));
            items.len() < before
        }
        ([], Some(item), Value::Object(members)) => members.remove(item).is_some(),
        (rest, item, Value::Object(members)) => take(members, rest, item),
        _ => false,
    };
    let empty = match inner {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if removed && empty {
        grants.remove(*first);
    }
    removed
}

/// A rule in the one form in which rules are shown, whatever else as it is.
fn as_shown(capability: &str, item: &str) -> String {
    let mut features = Feature::ALL.into_iter();
    features
        .find(|feature| feature.name() == capability)
        .and_then(|feature| super::argument::normal_rule(feature, item)?.ok())
        .unwrap_or_else(|| item.to_owned())
}

/// A rule by its text, a directory by the path that the plugin sees.
fn is_item(value: &Value, item: &str) -> bool {
    value.as_str() == Some(item) || value.get("path").and_then(Value::as_str) == Some(item)
}

/// What is granted, for a message.
fn describe(grants: &Map<String, Value>) -> String {
    if grants.is_empty() {
        return "nothing is granted to it".to_owned();
    }
    format!("granted are {}", Value::Object(grants.clone()))
}

/// Writes the grants where and as the operator wrote them.
fn rewrite(
    file: &str,
    text: &str,
    alias: &Alias,
    grants: &Map<String, Value>,
) -> Result<String, EditError> {
    let mut document = parse(file, text)?;
    let entry = document
        .get_mut("plugins")
        .and_then(Item::as_table_like_mut)
        .and_then(|plugins| plugins.get_mut(alias.as_str()))
        .ok_or_else(|| EditError::Unknown(alias.clone()))?;
    let is_inline = entry.is_inline_table();
    let entry = entry
        .as_table_like_mut()
        .ok_or_else(|| EditError::Unknown(alias.clone()))?;
    match entry.get_mut("grants").and_then(Item::as_table_like_mut) {
        _ if grants.is_empty() => {
            entry.remove("grants");
        }
        Some(written) => set(written, "grants", grants)?,
        None if is_inline => {
            let written = inline("grants", grants)?;
            entry.insert("grants", Item::Value(written.into()));
        }
        None => {
            // `grants.ui = { … }`: one line for each capability, as an operator would.
            let mut written = Table::new();
            written.set_dotted(true);
            set(&mut written, "grants", grants)?;
            entry.insert("grants", Item::Table(written));
        }
    }
    finish(file, document)
}

/// Makes `table` say what `members` says, touching only what differs.
fn set(
    table: &mut dyn TableLike,
    name: &str,
    members: &Map<String, Value>,
) -> Result<(), EditError> {
    let gone: Vec<String> = table
        .iter()
        .map(|(key, _)| key.to_owned())
        .filter(|key| !members.contains_key(key))
        .collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, new) in members {
        let name = format!("{name}.{key}");
        match (table.get_mut(key), new) {
            (Some(item), Value::Object(new)) if item.is_table_like() => {
                if let Some(inner) = item.as_table_like_mut() {
                    set(inner, &name, new)?;
                }
            }
            (Some(Item::Value(toml_edit::Value::Array(items))), Value::Array(new)) => {
                set_array(items, &name, new)?;
            }
            (Some(Item::Value(old)), new) => {
                let mut new = value(&name, new)?;
                if old.to_string().trim() != new.to_string().trim() {
                    *new.decor_mut() = old.decor().clone();
                    *old = new;
                }
            }
            (_, new) => {
                table.insert(key, Item::Value(value(&name, new)?));
            }
        }
    }
    Ok(())
}

/// Makes an array hold these items, keeping those that it has, with their comments.
fn set_array(array: &mut toml_edit::Array, name: &str, items: &[Value]) -> Result<(), EditError> {
    let wanted: Vec<toml_edit::Value> = items
        .iter()
        .map(|item| value(name, item))
        .collect::<Result<_, _>>()?;
    let capability = name.strip_prefix("grants.").unwrap_or(name);
    let plain = |value: &toml_edit::Value| {
        let mut value = value.clone();
        value.decor_mut().clear();
        match &value {
            // However its quotes are, and a rule however it is written.
            toml_edit::Value::String(text) => format!("{:?}", as_shown(capability, text.value())),
            other => other.to_string(),
        }
    };
    let mut lines = Lines::of(array);
    let texts: Vec<String> = wanted.iter().map(plain).collect();
    let kept: Vec<String> = lines.items().map(plain).collect();
    if kept == texts {
        return Ok(());
    }
    lines.retain(|item| texts.contains(&plain(item)));
    for (item, text) in wanted.into_iter().zip(&texts) {
        if !kept.contains(text) {
            lines.push(item);
        }
    }
    lines.write(array);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Edit;
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    fn alias() -> Alias {
        "demo".parse().unwrap()
    }

    fn grants(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn show(result: Result<String, EditError>) -> String {
        match result {
            Ok(text) => text,
            Err(error) => format!("{error}\n"),
        }
    }

    fn check_grant(text: &str, more: Value, expected: Expect) {
        let edit = Edit::Grant(alias(), grants(more));
        expected.assert_eq(&show(edit.apply("portreeve.toml", text)));
    }

    fn check_revoke(text: &str, what: &[&str], expected: Expect) {
        let what = what.iter().map(|one| one.parse().unwrap()).collect();
        let edit = Edit::Revoke(alias(), what);
        expected.assert_eq(&show(edit.apply("portreeve.toml", text)));
    }

    const DOTTED: &str = r#"schema = 1
[plugins.demo] # mine
source = "a.wasm"
grants.ui.progress = true # so that I see it
grants.secrets = { reveal = { a = "vault:x" } }
limits = { timeout = "5s" }

[plugins.other]
source = "b.wasm"
"#;

    const TABLES: &str = r#"schema = 1
[plugins.demo]
source = "a.wasm"
# What it may do.
[plugins.demo.grants.secrets.inject]
a = "vault:x" # the first
"#;

    #[test]
    fn grants_are_added_where_they_stand() {
        let bare = "schema = 1\n[plugins.demo]\nsource = \"a.wasm\"\n";
        check_grant(
            bare,
            json!({ "ui": { "progress": true } }),
            expect![[r#"
                schema = 1
                [plugins.demo]
                source = "a.wasm"
                grants.ui = { progress = true }
            "#]],
        );
        let secret = json!({ "secrets": { "reveal": { "b": "vault:y" } } });
        check_grant(
            DOTTED,
            secret.clone(),
            expect![[r#"
            schema = 1
            [plugins.demo] # mine
            source = "a.wasm"
            grants.ui.progress = true # so that I see it
            grants.secrets = { reveal = { a = "vault:x" , b = "vault:y" } }
            limits = { timeout = "5s" }

            [plugins.other]
            source = "b.wasm"
        "#]],
        );
        check_grant(
            TABLES,
            secret.clone(),
            expect![[r#"
            schema = 1
            [plugins.demo]
            source = "a.wasm"

            [plugins.demo.grants.secrets]
            reveal = { b = "vault:y" }
            # What it may do.
            [plugins.demo.grants.secrets.inject]
            a = "vault:x" # the first
        "#]],
        );
        let inline = "schema = 1\nplugins = { demo = { source = \"a.wasm\" } }\n";
        check_grant(
            inline,
            secret,
            expect![[r#"
            schema = 1
            plugins = { demo = { source = "a.wasm" , grants = { secrets = { reveal = { b = "vault:y" } } } } }
        "#]],
        );
        check_grant(
            bare,
            json!({ "messages": { "publish": ["a"] } }),
            expect![[r#"
                schema = 1
                [plugins.demo]
                source = "a.wasm"
                grants.messages = { publish = ["a"] }
            "#]],
        );
        check_grant(
            "schema = 1\n",
            json!({}),
            expect![[r#"
            there is no plugin `demo`; `portreeve list` shows what there is
        "#]],
        );
    }

    #[test]
    fn what_is_revoked_goes_and_nothing_else() {
        check_revoke(
            DOTTED,
            &["ui.progress"],
            expect![[r#"
            schema = 1
            [plugins.demo] # mine
            source = "a.wasm"
            grants.secrets = { reveal = { a = "vault:x" } }
            limits = { timeout = "5s" }

            [plugins.other]
            source = "b.wasm"
        "#]],
        );
        check_revoke(
            DOTTED,
            &["secrets.reveal=a"],
            expect![[r#"
            schema = 1
            [plugins.demo] # mine
            source = "a.wasm"
            grants.ui.progress = true # so that I see it
            limits = { timeout = "5s" }

            [plugins.other]
            source = "b.wasm"
        "#]],
        );
        check_revoke(
            DOTTED,
            &["secrets", "ui"],
            expect![[r#"
            schema = 1
            [plugins.demo] # mine
            source = "a.wasm"
            limits = { timeout = "5s" }

            [plugins.other]
            source = "b.wasm"
        "#]],
        );
        check_revoke(
            TABLES,
            &["secrets.inject=a"],
            expect![[r#"
            schema = 1
            [plugins.demo]
            source = "a.wasm"
        "#]],
        );
        check_revoke(
            DOTTED,
            &["secrets.reveal=b"],
            expect![[r#"
            `secrets.reveal=b` is not granted to `demo`: granted are {"secrets":{"reveal":{"a":"vault:x"}},"ui":{"progress":true}}
        "#]],
        );
        check_revoke(
            DOTTED,
            &["network"],
            expect![[r#"
            `network` is not granted to `demo`: granted are {"secrets":{"reveal":{"a":"vault:x"}},"ui":{"progress":true}}
        "#]],
        );
        assert!("nothing".parse::<Selector>().is_err());
        let all = Edit::Revoke(alias(), vec![Selector::All]);
        assert!(!all.apply("f", DOTTED).unwrap().contains("grants"));
        let remove = Edit::Remove(alias());
        expect![[r#"
            schema = 1

            [plugins.other]
            source = "b.wasm"
        "#]]
        .assert_eq(&show(remove.apply("f", DOTTED)));
    }

    const RULES: &str = r#"schema = 1
[plugins.demo]
source = "a.wasm"
grants.network = [
    "GET   https://API.example.com/repos/**", # to read them
    "POST https://api.example.com/gists", # to write them
]
"#;

    #[test]
    fn rules_are_the_same_however_they_are_written() {
        check_grant(
            RULES,
            json!({
                "network": ["GET https://b.example/**", "POST https://api.example.com/gists"],
                "credentials": { "api": "vault:x" },
                "addresses": ["10.0.0.0/8"],
                "sockets": ["tcp db.example:5432"],
            }),
            expect![[r#"
                schema = 1
                [plugins.demo]
                source = "a.wasm"
                grants.network = [
                    "GET   https://API.example.com/repos/**", # to read them
                    "POST https://api.example.com/gists", # to write them
                    "GET https://b.example/**",
                ]
                grants.addresses = ["10.0.0.0/8"]
                grants.credentials = { api = "vault:x" }
                grants.sockets = ["tcp db.example:5432"]
            "#]],
        );
        check_revoke(
            RULES,
            &["network=GET https://api.example.com:443/repos/**"],
            expect![[r#"
                schema = 1
                [plugins.demo]
                source = "a.wasm"
                grants.network = [
                    "POST https://api.example.com/gists", # to write them
                ]
            "#]],
        );
        check_revoke(
            RULES,
            &["network=GET https://api.example.com/repos/acme/**"],
            expect![[r#"
                `network=GET https://api.example.com/repos/acme/**` is not granted to `demo`: granted are {"network":["GET https://api.example.com/repos/**","POST https://api.example.com/gists"]}
            "#]],
        );
    }

    #[test]
    fn a_list_keeps_its_lines_and_comments() {
        let mut array: toml_edit::Array = "[\n    \"a\", # why\n    \"b\",\n]"
            .parse::<toml_edit::Value>()
            .unwrap()
            .as_array()
            .unwrap()
            .clone();
        set_array(&mut array, "x", &[json!("a"), json!("b"), json!("c")]).unwrap();
        expect![[r#"
            [
                "a", # why
                "b",
                "c",
            ]"#]]
        .assert_eq(&array.to_string());
        set_array(&mut array, "x", &[json!("c")]).unwrap();
        let left: Vec<_> = array.iter().filter_map(toml_edit::Value::as_str).collect();
        assert_eq!(left, ["c"]);
    }

    fn any_grants() -> impl Strategy<Value = Map<String, Value>> {
        let names = proptest::collection::btree_map("[a-c]", "vault:[x-z]", 0..3);
        (any::<bool>(), names.clone(), names).prop_map(|(progress, inject, reveal)| {
            let mut grants = Map::new();
            if progress {
                grants.insert("ui".to_owned(), json!({ "progress": true }));
            }
            let mut secrets = Map::new();
            for (kind, names) in [("inject", inject), ("reveal", reveal)] {
                if !names.is_empty() {
                    secrets.insert(kind.to_owned(), json!(names));
                }
            }
            if !secrets.is_empty() {
                grants.insert("secrets".to_owned(), secrets.into());
            }
            grants
        })
    }

    proptest! {
        /// However the file is written: granting something new and revoking it again leaves
        /// what was granted, and the comments.
        #[test]
        fn revoking_undoes_granting(before in any_grants(), more in any_grants(), form in 0..3_u8) {
            let start = match form {
                0 => "schema = 1\n# one\n[plugins.demo] # two\nsource = \"a\" # three\n",
                1 => "schema = 1\n# one\nplugins.demo.source = \"a\" # two\n# three\n",
                _ => "schema = 1\n# one\n[plugins]\ndemo = { source = \"a\" } # two\n# three\n",
            };
            let text = Edit::Grant(alias(), before.clone()).apply("f", start).unwrap();
            prop_assert_eq!(&granted("f", &text, &alias()).unwrap(), &before);
            let mut both = before.clone();
            merge(&mut both, &more);
            let granted_text = Edit::Grant(alias(), more).apply("f", &text).unwrap();
            prop_assert_eq!(&granted("f", &granted_text, &alias()).unwrap(), &both);
            for comment in ["# one", "# two", "# three"] {
                prop_assert!(granted_text.contains(comment), "{}", granted_text);
            }
            let text = if both.is_empty() { granted_text } else {
                Edit::Revoke(alias(), vec![Selector::All]).apply("f", &granted_text).unwrap()
            };
            prop_assert!(granted("f", &text, &alias()).unwrap().is_empty());
            let text = Edit::Grant(alias(), before.clone()).apply("f", &text).unwrap();
            prop_assert_eq!(&granted("f", &text, &alias()).unwrap(), &before);
        }
    }
}
