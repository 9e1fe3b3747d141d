//! A plugin's table as a text of its own, and back: how it was can be kept.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, Table};

use super::{EditError, finish, parse};
use crate::id::Alias;
use crate::project::ProjectManifest;

/// The table of each plugin, as if its keys were those of a file.
pub fn entry_texts(manifest: &ProjectManifest) -> BTreeMap<Alias, String> {
    let Ok(mut document) = manifest.file().text().parse::<DocumentMut>() else {
        // It was read before.
        return BTreeMap::new();
    };
    let plugins = document
        .get_mut("plugins")
        .and_then(Item::as_table_like_mut);
    let Some(plugins) = plugins else {
        return BTreeMap::new();
    };
    let texts = manifest.plugins.keys().filter_map(|alias| {
        let entry = plugins.remove(alias.as_str())?;
        let mut entry = entry.into_table().ok()?;
        loosen(&mut entry, false);
        Some((alias.clone(), DocumentMut::from(entry).to_string()))
    });
    texts.collect()
}

/// The file with another table of a plugin in the place of its own. `entry` is what
/// [`entry_texts`] gave of it before.
///
/// # Errors
/// When the file is not valid before or after, or doesn't have the plugin.
pub fn with_entry(file: &str, text: &str, alias: &Alias, entry: &str) -> Result<String, EditError> {
    let mut document = parse(file, text)?;
    let broken = |error: toml_edit::TomlError| EditError::Kept(error.to_string());
    let mut entry = entry.parse::<DocumentMut>().map_err(broken)?.into_table();
    let plugins = document
        .get_mut("plugins")
        .and_then(Item::as_table_like_mut);
    let place = plugins.and_then(|plugins| plugins.get_mut(alias.as_str()));
    let place = place.ok_or_else(|| EditError::Unknown(alias.clone()))?;
    match place {
        Item::Table(before) => {
            loosen(&mut entry, true);
            entry.set_position(before.position());
            entry.set_dotted(before.is_dotted());
            *entry.decor_mut() = before.decor().clone();
            *before = entry;
        }
        _ => {
            let mut inline = entry.into_inline_table();
            inline.fmt();
            *place = Item::Value(inline.into());
        }
    }
    finish(file, document)
}

/// Takes from a table where it stood in its file. What it holds comes after it.
fn loosen(table: &mut Table, within: bool) {
    table.set_position(None);
    if !within {
        table.set_dotted(false);
        table.set_implicit(false);
        table.decor_mut().clear();
    }
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => loosen(inner, true),
            Item::ArrayOfTables(inner) => {
                for table in inner.iter_mut() {
                    loosen(table, true);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const NOW: &str = "source = \"b.wasm\" # since today\nconfig = { a = 1 }\n";

    fn entry_text(text: &str) -> String {
        let manifest = ProjectManifest::parse("f", text).unwrap();
        entry_texts(&manifest).remove("demo").unwrap()
    }

    fn check(text: &str, kept: Expect, then: Expect) {
        let alias: Alias = "demo".parse().unwrap();
        let entry = entry_text(text);
        kept.assert_eq(&entry);
        let changed = with_entry("f", text, &alias, NOW).unwrap();
        then.assert_eq(&changed);
        // And back: nothing of what it says is lost.
        let back = with_entry("f", &changed, &alias, &entry).unwrap();
        let read = |text: &str| {
            let manifest = ProjectManifest::parse("f", text).unwrap();
            let mut entry = manifest.plugins[&alias].clone();
            entry.line = 0;
            (entry, manifest.plugins.len())
        };
        assert_eq!(read(text), read(&back), "{back}");
        assert_eq!(entry_text(&back), entry);
    }

    #[test]
    fn a_table_is_kept_and_put_back() {
        check(
            "schema = 1\n\n[plugins.first]\nsource = \"a\"\n\n# the second\n[plugins.demo] # mine\nsource = \"a.wasm\" # here\nversion = \"^1\"\nconfig = { deep = { x = [1, 2] } }\ngrants.ui = { progress = true }\n\n[plugins.last]\nsource = \"z\"\n",
            expect![[r#"
                source = "a.wasm" # here
                version = "^1"
                config = { deep = { x = [1, 2] } }
                grants.ui = { progress = true }
            "#]],
            expect![[r#"
                schema = 1

                [plugins.first]
                source = "a"

                # the second
                [plugins.demo] # mine
                source = "b.wasm" # since today
                config = { a = 1 }

                [plugins.last]
                source = "z"
            "#]],
        );
        check(
            "schema = 1\n[plugins.demo]\nsource = \"a.wasm\"\n[plugins.demo.config]\na = 1\n[plugins.demo.grants.ui]\nprogress = true\n[plugins.last]\nsource = \"z\"\n",
            expect![[r#"
                source = "a.wasm"
                [config]
                a = 1
                [grants.ui]
                progress = true
            "#]],
            expect![[r#"
                schema = 1
                [plugins.demo]
                source = "b.wasm" # since today
                config = { a = 1 }
                [plugins.last]
                source = "z"
            "#]],
        );
        check(
            "schema = 1\nplugins.demo.source = \"a.wasm\"\nplugins.demo.config.a = 2\n",
            expect![[r#"
                source = "a.wasm"
                config.a = 2
            "#]],
            expect![[r#"
                schema = 1
                plugins.demo.source = "b.wasm" # since today
                plugins.demo.config = { a = 1 }
            "#]],
        );
        check(
            "schema = 1\n[plugins]\ndemo = { source = \"a.wasm\", config = { a = 2 } }\n",
            expect![[r#"
                source = "a.wasm"
                config = { a = 2 }
            "#]],
            expect![[r#"
                schema = 1
                [plugins]
                demo = { source = "b.wasm", config = { a = 1 } }
            "#]],
        );
    }

    #[test]
    fn what_is_no_table_of_a_plugin_is_refused() {
        let alias: Alias = "demo".parse().unwrap();
        let text = "schema = 1\n[plugins.demo]\nsource = \"a\"\n";
        let other: Alias = "other".parse().unwrap();
        assert!(matches!(
            with_entry("f", text, &other, NOW),
            Err(EditError::Unknown(_))
        ));
        assert!(matches!(
            with_entry("f", text, &alias, "= no"),
            Err(EditError::Kept(_))
        ));
        assert!(matches!(
            with_entry("f", text, &alias, "sauce = \"a\"\n"),
            Err(EditError::After(_))
        ));
    }
}
