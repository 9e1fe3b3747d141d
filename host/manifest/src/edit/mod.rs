//! Edits of `portreeve.toml` that leave its comments and layout alone: text in, text out.

mod argument;
mod entry;
mod grants;
mod list;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml_edit::{DocumentMut, InlineTable, Item, Table};

pub use argument::{ArgumentError, granted_by};
pub use entry::{entry_texts, with_entry};
pub use grants::{Selector, merge};

use crate::diagnostic::Diagnostics;
use crate::id::Alias;
use crate::project::ProjectManifest;

/// Why an edit is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EditError {
    /// The file is wrong before the edit.
    #[error("{0}")]
    Before(Diagnostics),
    /// The file would be wrong after the edit.
    #[error("the edit is refused, since the file would not be valid:\n{0}")]
    After(Diagnostics),
    /// The alias is taken.
    #[error("there is a plugin `{0}` already; choose another alias, or remove that one first")]
    Taken(Alias),
    /// A value has no form in TOML.
    #[error("`{0}` is null, which TOML cannot say; leave it out")]
    Null(String),
    /// There is no such plugin.
    #[error("there is no plugin `{0}`; `portreeve list` shows what there is")]
    Unknown(Alias),
    /// What is to be revoked is not granted.
    #[error("`{what}` is not granted to `{alias}`: {granted}")]
    NotGranted {
        /// The plugin.
        alias: Alias,
        /// What was to be revoked.
        what: String,
        /// What is granted, in a sentence.
        granted: String,
    },
    /// Everything is to be revoked, and nothing is granted.
    #[error("nothing is granted to `{0}`")]
    NothingGranted(Alias),
    /// What was kept of a plugin's table is none.
    #[error("what was kept of the plugin's table can't be read: {0}")]
    Kept(String),
    /// The file puts its plugins where a table cannot be added.
    #[error("`plugins` is an inline table; write it as [plugins.NAME] tables first")]
    Inline,
}

/// A change of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Adds a plugin.
    Add(Alias, NewPlugin),
    /// Grants something, on top of what is granted.
    Grant(Alias, Map<String, Value>),
    /// Revokes something.
    Revoke(Alias, Vec<Selector>),
    /// Takes a plugin out.
    Remove(Alias),
}

impl Edit {
    /// The plugin that it is about.
    pub fn alias(&self) -> &Alias {
        let (Edit::Add(alias, _)
        | Edit::Grant(alias, _)
        | Edit::Revoke(alias, _)
        | Edit::Remove(alias)) = self;
        alias
    }

    /// The changed text. `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// The edit makes no sense, or the file is not valid before or after.
    pub fn apply(&self, file: &str, text: &str) -> Result<String, EditError> {
        match self {
            Edit::Add(alias, plugin) => add_plugin(file, text, alias, plugin),
            Edit::Grant(alias, more) => grants::grant(file, text, alias, more),
            Edit::Revoke(alias, what) => grants::revoke(file, text, alias, what),
            Edit::Remove(alias) => grants::remove(file, text, alias),
        }
    }
}

/// A plugin to be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewPlugin {
    /// Where it comes from, as `source` says it.
    pub source: String,
    /// The versions that may run, as `version` says it.
    pub version: Option<String>,
    /// Its settings.
    pub config: Map<String, Value>,
    /// Its grants, as in the file: `{"ui": {"progress": true}}`.
    pub grants: Map<String, Value>,
}

/// Adds a plugin at the end of the file.
fn add_plugin(
    file: &str,
    text: &str,
    alias: &Alias,
    plugin: &NewPlugin,
) -> Result<String, EditError> {
    let project = ProjectManifest::parse(file, text).map_err(EditError::Before)?;
    if project.plugins.contains_key(alias) {
        return Err(EditError::Taken(alias.clone()));
    }
    let mut document = parse(file, text)?;
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    let mut entry = Table::new();
    entry.insert("source", toml_edit::value(&plugin.source));
    if let Some(version) = &plugin.version {
        entry.insert("version", toml_edit::value(version));
    }
    if !plugin.config.is_empty() {
        entry.insert("config", inline("config", &plugin.config)?.into());
    }
    if !plugin.grants.is_empty() {
        // `grants.ui = { … }`: one line for each capability, as an operator would write it.
        let mut grants = Table::new();
        grants.set_dotted(true);
        for (name, grant) in &plugin.grants {
            grants.insert(name, Item::Value(value(name, grant)?));
        }
        entry.insert("grants", Item::Table(grants));
    }
    let plugins = document.entry("plugins").or_insert_with(|| {
        let mut plugins = Table::new();
        plugins.set_implicit(true);
        Item::Table(plugins)
    });
    let plugins = plugins.as_table_mut().ok_or(EditError::Inline)?;
    // What stands at the end of the file stays before the new table.
    entry.decor_mut().set_prefix(format!("{trailing}\n"));
    entry.set_position(Some(isize::MAX));
    plugins.insert(alias.as_str(), Item::Table(entry));
    finish(file, document)
}

/// Parses a text for editing. It is checked as a manifest first, which bounds it.
fn parse(file: &str, text: &str) -> Result<DocumentMut, EditError> {
    ProjectManifest::parse(file, text).map_err(EditError::Before)?;
    text.parse().map_err(|error: toml_edit::TomlError| {
        let source = crate::diagnostic::Source::new(file, text);
        let error = crate::diagnostic::Diagnostic::new(error.message(), error.span());
        EditError::Before(Diagnostics::new(source, vec![error]))
    })
}

/// The edited text, if it is still a valid manifest.
fn finish(file: &str, document: DocumentMut) -> Result<String, EditError> {
    let text = document.to_string();
    ProjectManifest::parse(file, &text).map_err(EditError::After)?;
    Ok(text)
}

/// JSON as a TOML value on one line.
fn value(name: &str, json: &Value) -> Result<toml_edit::Value, EditError> {
    Ok(match json {
        Value::Null => return Err(EditError::Null(name.to_owned())),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().unwrap_or(f64::MAX).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => items
            .iter()
            .map(|item| value(name, item))
            .collect::<Result<toml_edit::Array, _>>()?
            .into(),
        Value::Object(members) => inline(name, members)?.into(),
    })
}

fn inline(name: &str, members: &Map<String, Value>) -> Result<InlineTable, EditError> {
    let mut table = InlineTable::new();
    for (key, member) in members {
        table.insert(key, value(&format!("{name}.{key}"), member)?);
    }
    Ok(table)
}

/// The text of a new project's `portreeve.toml`. `name` goes into a comment.
pub fn new_project(name: &str) -> String {
    // A line break would end the comment.
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("# Portreeve project: {name}\n{NEW_PROJECT}")
}

const NEW_PROJECT: &str = r#"#
# Which plugins run here, and what they may do. Nothing is allowed unless it stands here.

schema = 1

# Limits over all plugins together; the defaults are shown.
# [host]
# limits = { concurrent-calls = 64, queue = 256 }

# One table for each plugin; `portreeve add PATH` writes it. The name is yours to choose:
# clients see the plugin's tools as NAME__TOOL.
#
# [plugins.markdown]
# source = "plugins/markdown.wasm"            # a component, or a directory that holds one
# version = "^1.4"                            # refuse to run any other version
# config = { theme = "plain" }                # the plugin's settings; see `portreeve inspect`
# grants.ui = { progress = true }             # what it may do, if it asks for it
# limits = { memory = "128 MiB", timeout = "20s" }
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    const TEXT: &str = r#"# My plugins.
schema = 1     # fixed

[plugins.first]   # the first
source   =   "a.wasm"
# the end
"#;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn check(text: &str, alias: &str, plugin: &NewPlugin, expected: Expect) {
        let shown = match add_plugin("portreeve.toml", text, &alias.parse().unwrap(), plugin) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn plugins_are_added_and_all_else_is_kept() {
        let plain = NewPlugin {
            source: "plugins/b \"x\"".to_owned(),
            ..NewPlugin::default()
        };
        check(
            TEXT,
            "second",
            &plain,
            expect![[r##"
            # My plugins.
            schema = 1     # fixed

            [plugins.first]   # the first
            source   =   "a.wasm"
            # the end

            [plugins.second]
            source = 'plugins/b "x"'
        "##]],
        );
        check(
            "schema = 1\n[plugins.a]\nsource = \"a\"\n\n[host]\nlimits = { queue = 1 }",
            "second",
            &plain,
            expect![[r#"
                schema = 1
                [plugins.a]
                source = "a"

                [host]
                limits = { queue = 1 }

                [plugins.second]
                source = 'plugins/b "x"'
            "#]],
        );
        check(
            "schema = 1\n",
            "second",
            &plain,
            expect![[r#"
            schema = 1

            [plugins.second]
            source = 'plugins/b "x"'
        "#]],
        );
        check(
            &new_project("demo"),
            "second",
            &plain,
            expect![[r##"
            # Portreeve project: demo
            #
            # Which plugins run here, and what they may do. Nothing is allowed unless it stands here.

            schema = 1

            # Limits over all plugins together; the defaults are shown.
            # [host]
            # limits = { concurrent-calls = 64, queue = 256 }

            # One table for each plugin; `portreeve add PATH` writes it. The name is yours to choose:
            # clients see the plugin's tools as NAME__TOOL.
            #
            # [plugins.markdown]
            # source = "plugins/markdown.wasm"            # a component, or a directory that holds one
            # version = "^1.4"                            # refuse to run any other version
            # config = { theme = "plain" }                # the plugin's settings; see `portreeve inspect`
            # grants.ui = { progress = true }             # what it may do, if it asks for it
            # limits = { memory = "128 MiB", timeout = "20s" }

            [plugins.second]
            source = 'plugins/b "x"'
        "##]],
        );
        check(
            "schema = 1\nplugins.a.source = \"a\"\n",
            "second",
            &plain,
            expect![[r#"
            schema = 1
            plugins.a.source = "a"

            [plugins.second]
            source = 'plugins/b "x"'
        "#]],
        );
        let full = NewPlugin {
            source: "b.wasm".to_owned(),
            version: Some("^1.4".to_owned()),
            config: object(json!({ "owner": "acme", "list": [1, 2.5], "deep": { "a.b": true } })),
            grants: object(json!({ "ui": { "progress": true } })),
        };
        check(
            TEXT,
            "second",
            &full,
            expect![[r##"
            # My plugins.
            schema = 1     # fixed

            [plugins.first]   # the first
            source   =   "a.wasm"
            # the end

            [plugins.second]
            source = "b.wasm"
            version = "^1.4"
            config = { deep = { "a.b" = true }, list = [1, 2.5], owner = "acme" }
            grants.ui = { progress = true }
        "##]],
        );
    }

    #[test]
    fn wrong_edits_are_refused() {
        let plugin = |grants: Value| NewPlugin {
            source: "b.wasm".to_owned(),
            grants: object(grants),
            ..NewPlugin::default()
        };
        check(
            TEXT,
            "first",
            &plugin(json!({})),
            expect![
                "there is a plugin `first` already; choose another alias, or remove that one first"
            ],
        );
        check(
            TEXT,
            "b",
            &plugin(json!({ "messages": { "publish": ["a.b"] } })),
            expect![[r##"
                # My plugins.
                schema = 1     # fixed

                [plugins.first]   # the first
                source   =   "a.wasm"
                # the end

                [plugins.b]
                source = "b.wasm"
                grants.messages = { publish = ["a.b"] }
            "##]],
        );
        check(
            TEXT,
            "b",
            &plugin(json!({ "ui": null })),
            expect!["`ui` is null, which TOML cannot say; leave it out"],
        );
        check(
            "schema = 3\n",
            "b",
            &plugin(json!({})),
            expect![[r#"
            portreeve.toml:1:10: error: the file has schema version 3, but this version of Portreeve reads version 1
              |
            1 | schema = 3
              |          ^
              = help: use a newer version of Portreeve"#]],
        );
        check(
            "schema = 1\nplugins = {}\n",
            "b",
            &plugin(json!({})),
            expect!["`plugins` is an inline table; write it as [plugins.NAME] tables first"],
        );
        let remote = NewPlugin {
            source: "https://example.com/a.wasm".to_owned(),
            ..NewPlugin::default()
        };
        check(
            TEXT,
            "b",
            &remote,
            expect![[r#"
                the edit is refused, since the file would not be valid:
                portreeve.toml:9:10: error: a file on a web server is installed only with its digest
                  |
                9 | source = "https://example.com/a.wasm"
                  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
                  = help: write it behind the address, as https://…#sha256=…; `portreeve add` says what it is at this moment"#]],
        );
    }

    #[test]
    fn what_is_added_is_read_back() {
        let config = object(json!({ "a": [{ "b": "\u{1b} \"quoted\" \\" }], "n": -1, "f": 0.5 }));
        let plugin = NewPlugin {
            source: "b.wasm".to_owned(),
            config: config.clone(),
            ..NewPlugin::default()
        };
        let alias: Alias = "b".parse().unwrap();
        let text = add_plugin("portreeve.toml", TEXT, &alias, &plugin).unwrap();
        let project = ProjectManifest::parse("portreeve.toml", &text).unwrap();
        assert_eq!(project.plugins["b"].config, config);
    }

    #[test]
    fn a_new_project_is_valid_and_so_are_its_hints() {
        let text = new_project("two\nlines");
        assert!(
            ProjectManifest::parse("portreeve.toml", &text)
                .unwrap()
                .plugins
                .is_empty()
        );
        // The settings that the comments show are real ones.
        let hints: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(hint) if hint.starts_with('[') || hint.contains(" = ") => format!("{hint}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let project = ProjectManifest::parse("portreeve.toml", &hints).unwrap();
        assert!(project.plugins["markdown"].grants.ui.progress);
        assert_eq!(project.host, crate::limits::HostLimits::default());
    }
}
