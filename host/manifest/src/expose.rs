//! How a plugin's tools, prompts and resources are shown to clients: `[plugins.ALIAS.expose]`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::content::is_plain_scheme;
use crate::tool::{
    DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, TITLE_BYTES_MAX, is_plain_name, is_tool_name,
};

/// Entries of one list or table here: as many as a plugin may have tools.
const ENTRIES_MAX: usize = crate::tool::TOOLS_MAX;

/// The longest category or tag, in bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Tags of one tool.
const TAGS_MAX: usize = 16;

/// How a plugin is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Expose {
    /// Schemes of addresses of resources that are this plugin's alone, and shown as they are.
    pub schemes: Vec<String>,
    /// The tools that are offered, by the plugin's own names; `*` at the end stands for any
    /// rest. All, where it is not given.
    pub only: Option<Vec<String>>,
    /// Tools that are not offered, written in the same way. It goes before `only`.
    pub except: Vec<String>,
    /// What its tools are about, for people and searches.
    pub category: Option<String>,
    /// Words that its tools are found by.
    pub tags: Vec<String>,
    /// What is said of single tools, by the plugin's own names.
    pub tool: BTreeMap<String, ExposedTool>,
}

/// What the operator says of a tool, in place of the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ExposedTool {
    /// Its name for clients.
    pub name: Option<String>,
    /// Its name for people.
    pub title: Option<String>,
    /// What it does and when to use it, for models.
    pub description: Option<String>,
    /// What it is about.
    pub category: Option<String>,
    /// Words that it is found by, besides those of the plugin.
    pub tags: Vec<String>,
}

impl Expose {
    /// Whether a tool is offered.
    pub fn offers(&self, tool: &str) -> bool {
        let matches = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, tool));
        !matches(&self.except) && self.only.as_deref().is_none_or(matches)
    }

    /// What here is about none of the plugin's tools, most likely for a slip of the pen: where it
    /// stands, and what there is instead.
    pub fn mistyped(&self, tools: &[&str]) -> Vec<String> {
        /// Names that are shown of each side.
        const SHOWN_MAX: usize = 20;
        let quoted = |names: &[&str]| {
            let mut shown: Vec<String> = names
                .iter()
                .take(SHOWN_MAX)
                .map(|name| format!("`{name}`"))
                .collect();
            if names.len() > SHOWN_MAX {
                shown.push("...".to_owned());
            }
            shown.join(", ")
        };
        let there = match tools {
            [] => "it has no tools".to_owned(),
            tools => format!("its tools are {}", quoted(tools)),
        };
        let lists = [
            ("only", self.only.iter().flatten().collect::<Vec<_>>()),
            ("except", self.except.iter().collect()),
            ("tool", self.tool.keys().collect()),
        ];
        let mut told = Vec::new();
        for (key, patterns) in lists {
            let fits_none = |pattern: &&str| !tools.iter().any(|tool| fits(pattern, tool));
            let patterns = patterns.into_iter().map(String::as_str);
            let none: Vec<&str> = patterns.filter(fits_none).collect();
            if !none.is_empty() {
                told.push(format!(
                    "`expose.{key}` names {}, which no tool of the plugin is called: {there}",
                    quoted(&none)
                ));
            }
        }
        told
    }

    /// The name that the operator gives to a tool.
    pub fn tool_name(&self, own: &str) -> Option<&str> {
        self.tool.get(own)?.name.as_deref()
    }

    /// What a tool is about.
    pub fn category(&self, own: &str) -> Option<&str> {
        let of_tool = self.tool.get(own).and_then(|tool| tool.category.as_deref());
        of_tool.or(self.category.as_deref())
    }

    /// The words that a tool is found by.
    pub fn tags(&self, own: &str) -> BTreeSet<&str> {
        let of_tool = self.tool.get(own).map(|tool| tool.tags.iter());
        let all = self.tags.iter().chain(of_tool.into_iter().flatten());
        all.map(String::as_str).collect()
    }

    /// What is wrong with it: the key below `expose`, and why.
    pub(crate) fn mistakes(&self) -> Vec<(Vec<&str>, String)> {
        let mut wrong = Vec::new();
        let mut refuse = |path: &[&'static str], why: String| wrong.push((path.to_vec(), why));
        for scheme in &self.schemes {
            if !is_plain_scheme(scheme) {
                refuse(
                    &["schemes"],
                    format!(
                        "{scheme:?} is no scheme that can be given away; one looks as \"note\" does, and is none that means something else, such as `https`"
                    ),
                );
            }
        }
        let lists = [
            ("only", self.only.as_deref().unwrap_or_default()),
            ("except", &self.except),
        ];
        for (key, patterns) in lists {
            for pattern in patterns {
                let name = pattern.strip_suffix('*').unwrap_or(pattern);
                if !is_tool_name(name) && pattern != "*" {
                    refuse(
                        &[key],
                        format!("{pattern:?} is no name of a tool; `*` stands at the end only"),
                    );
                }
            }
            if patterns.len() > ENTRIES_MAX {
                refuse(&[key], format!("at most {ENTRIES_MAX} are allowed"));
            }
        }
        for (key, why) in labels(self.category.as_deref(), &self.tags) {
            refuse(&[key], why);
        }
        let mut of_tools = Vec::new();
        if self.tool.len() > ENTRIES_MAX {
            of_tools.push((vec!["tool"], format!("at most {ENTRIES_MAX} are allowed")));
        }
        let mut names = BTreeSet::new();
        for (own, tool) in &self.tool {
            let mut refuse = |key: &'static str, why: String| {
                of_tools.push((vec!["tool", own.as_str(), key], why));
            };
            if let Some(name) = &tool.name {
                if !is_plain_name(name) {
                    refuse(
                        "name",
                        format!(
                            "{name:?} is no name: it has 1 to {NAME_BYTES_MAX} of A-Z, a-z, 0-9, `_` and `-`, no `__`, which belongs to other names, and no hash at its end"
                        ),
                    );
                }
                if !names.insert(name) {
                    refuse(
                        "name",
                        format!("{name:?} is the name of another tool already"),
                    );
                }
            }
            let texts = [
                ("title", &tool.title, TITLE_BYTES_MAX, false),
                (
                    "description",
                    &tool.description,
                    DESCRIPTION_BYTES_MAX,
                    true,
                ),
            ];
            for (key, text, bytes_max, lines) in texts {
                let Some(text) = text else { continue };
                let control = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\t'));
                if text.len() > bytes_max || text.chars().any(control) {
                    refuse(
                        key,
                        format!("it has at most {bytes_max} bytes, and no control characters"),
                    );
                }
            }
            for (key, why) in labels(tool.category.as_deref(), &tool.tags) {
                refuse(key, why);
            }
        }
        wrong.extend(of_tools);
        wrong
    }
}

/// What is wrong with a category and tags.
fn labels(category: Option<&str>, tags: &[String]) -> Vec<(&'static str, String)> {
    let fine = |text: &str| {
        (1..=LABEL_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    let mut wrong = Vec::new();
    let why = format!("it has 1 to {LABEL_BYTES_MAX} bytes, and no control characters");
    if category.is_some_and(|category| !fine(category)) {
        wrong.push(("category", why.clone()));
    }
    if tags.iter().any(|tag| !fine(tag)) {
        wrong.push(("tags", why));
    }
    if tags.len() > TAGS_MAX {
        wrong.push(("tags", format!("at most {TAGS_MAX} are allowed")));
    }
    wrong
}

/// Whether a name fits a pattern.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expose(text: &str) -> Expose {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_offered() {
        for (text, offered) in [
            ("", "read read_all write"),
            ("only = ['read*']", "read read_all"),
            ("only = ['read']", "read"),
            ("only = []", ""),
            ("except = ['write']", "read read_all"),
            ("only = ['*']\nexcept = ['read*']", "write"),
        ] {
            let expose = expose(text);
            let names = ["read", "read_all", "write"];
            let kept: Vec<_> = names
                .into_iter()
                .filter(|name| expose.offers(name))
                .collect();
            assert_eq!(kept.join(" "), offered, "{text}");
        }
    }

    #[test]
    fn names_for_clients() {
        for (text, own, name) in [
            ("", "read", None),
            ("[tool.read]\nname = 'fetch'", "read", Some("fetch")),
            ("[tool.read]\nname = 'fetch'", "write", None),
            ("[tool.read]\ntitle = 'Fetch'", "read", None),
        ] {
            assert_eq!(expose(text).tool_name(own), name, "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for (text, places) in [
            ("schemes = ['note']", ""),
            ("schemes = ['https']", "schemes"),
            ("schemes = ['Note']", "schemes"),
            ("only = ['a*b']", "only"),
            ("except = ['*']", ""),
            ("tags = ['']", "tags"),
            ("category = \"a\\u001b\"", "category"),
            ("[tool.a]\nname = 'b__c'", "tool.a.name"),
            ("[tool.a]\nname = 'c'\n[tool.b]\nname = 'c'", "tool.b.name"),
            ("[tool.a]\ndescription = \"\\u0007\"", "tool.a.description"),
        ] {
            let expose = expose(text);
            let wrong = expose.mistakes();
            let found: Vec<_> = wrong.iter().map(|(path, _)| path.join(".")).collect();
            assert_eq!(found.join(" "), places, "{text}: {wrong:?}");
        }
    }
}
