//! Doc comments of a component's WIT, where a tool has put them into its `package-docs`
//! section: a version byte and the JSON that `wit-parser` writes for a package.
//!
//! The section describes the package that the component's own world is from, by names;
//! nothing ties it to the component. So it only ever adds texts to what the types say.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Versions of the format: they differ in how a function's entry looks.
const VERSIONS: &[u8] = &[0, 1];

/// A description that is longer is cut: it is read by models and paid by the token.
const TEXT_CHARACTERS_MAX: usize = 4_096;

/// The texts of one package.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Docs {
    worlds: BTreeMap<String, World>,
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct World {
    /// Before version 1 exports stood here; later only imports do.
    funcs: BTreeMap<String, Function>,
    func_exports: BTreeMap<String, Function>,
    interfaces: BTreeMap<String, Interface>,
    interface_exports: BTreeMap<String, Interface>,
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    funcs: BTreeMap<String, Function>,
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Function {
    Text(Option<String>),
    Entry {
        #[serde(default)]
        docs: Option<String>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Type {
    items: BTreeMap<String, String>,
}

impl Docs {
    /// Reads the section. One that can't be read is worth as much as none.
    pub(crate) fn read(section: Option<&[u8]>) -> Docs {
        let json = section.and_then(|data| match data.split_first() {
            Some((version, json)) if VERSIONS.contains(version) => Some(json),
            _ => None,
        });
        json.and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or_default()
    }

    /// What is said of a function: in an interface, by its label, or at the root.
    pub(crate) fn function(&self, interface: Option<&str>, function: &str) -> Option<String> {
        let found = match interface {
            Some(interface) => self
                .interfaces(interface)
                .find_map(|i| i.funcs.get(function)?.text()),
            None => self.worlds.values().find_map(|world| {
                [&world.func_exports, &world.funcs]
                    .into_iter()
                    .find_map(|f| f.get(function)?.text())
            }),
        };
        found.and_then(clean)
    }

    /// What is said of a field or case of a type.
    pub(crate) fn item(&self, interface: Option<&str>, ty: &str, item: &str) -> Option<String> {
        let found = match interface {
            Some(interface) => self
                .interfaces(interface)
                .find_map(|i| i.types.get(ty)?.items.get(item)),
            None => self
                .worlds
                .values()
                .find_map(|world| world.types.get(ty)?.items.get(item)),
        };
        found.and_then(|text| clean(text))
    }

    /// All interfaces of that label: the package's own and those that worlds define.
    fn interfaces<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a Interface> {
        let inline = self.worlds.values().flat_map(move |world| {
            [&world.interface_exports, &world.interfaces]
                .into_iter()
                .filter_map(move |map| map.get(label))
        });
        self.interfaces.get(label).into_iter().chain(inline)
    }
}

impl Function {
    fn text(&self) -> Option<&str> {
        match self {
            Function::Text(text) | Function::Entry { docs: text } => text.as_deref(),
        }
    }
}

fn clean(text: &str) -> Option<String> {
    let text = text.trim();
    // Clients print these: an escape sequence could rewrite a terminal.
    let printable = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            ' '
        } else {
            c
        }
    };
    let mut short: String = text
        .chars()
        .take(TEXT_CHARACTERS_MAX)
        .map(printable)
        .collect();
    if text.chars().nth(TEXT_CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    (!short.is_empty()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docs(version: u8, json: &str) -> Docs {
        let mut section = vec![version];
        section.extend_from_slice(json.as_bytes());
        Docs::read(Some(&section))
    }

    #[test]
    fn both_versions() {
        let zero = docs(
            0,
            r#"{"worlds": {"w": {"funcs": {"f": " text "}}}, "interfaces": {"i": {"funcs": {"g": "more"}}}}"#,
        );
        assert_eq!(zero.function(None, "f").as_deref(), Some("text"));
        assert_eq!(zero.function(Some("i"), "g").as_deref(), Some("more"));

        let one = docs(
            1,
            r#"{"docs": "package",
                "worlds": {"w": {"func_exports": {"f": {"docs": "text", "stability": "unknown"}},
                                 "interface_exports": {"j": {"funcs": {"h": {"docs": "inline"}}}},
                                 "types": {"t": {"items": {"c": "case"}}}}},
                "interfaces": {"i": {"types": {"r": {"docs": "record", "items": {"a": "field"}}}}}}"#,
        );
        assert_eq!(one.function(None, "f").as_deref(), Some("text"));
        assert_eq!(one.function(Some("j"), "h").as_deref(), Some("inline"));
        assert_eq!(one.item(Some("i"), "r", "a").as_deref(), Some("field"));
        assert_eq!(one.item(None, "t", "c").as_deref(), Some("case"));
        assert_eq!(one.function(None, "other"), None);
        assert_eq!(one.item(None, "r", "a"), None);
    }

    #[test]
    fn unreadable_sections_say_nothing() {
        for docs in [
            Docs::read(None),
            Docs::read(Some(b"")),
            docs(2, "{}"),
            docs(1, "{"),
            docs(1, "[]"),
            docs(1, &"[".repeat(100_000)),
            docs(1, r#"{"worlds": {"w": {"func_exports": {"f": 1}}}}"#),
        ] {
            assert_eq!(docs.function(None, "f"), None);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(TEXT_CHARACTERS_MAX + 1);
        let docs = docs(
            1,
            &format!(r#"{{"worlds": {{"w": {{"func_exports": {{"f": {{"docs": "{text}"}}}}}}}}}}"#),
        );
        assert_eq!(
            docs.function(None, "f").unwrap().chars().count(),
            TEXT_CHARACTERS_MAX + 1
        );
    }
}
