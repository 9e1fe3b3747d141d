//! Licence texts, told apart and held against what is declared.

use std::sync::OnceLock;

use spdx::detection::scan::Scanner;
use spdx::detection::{LicenseType, Store, TextData};
use spdx::{Expression, LicenseItem};

use super::names;

/// How alike a text must be to a licence, from 0 to 1.
const ALIKE_MIN: f32 = 0.85;
/// A text that is this near to the declared licence is taken for it, though another one is
/// nearer: short licences differ by a sentence.
const TIE: f32 = 0.03;
/// The longest text that is told, in bytes: the time grows with it.
const TEXT_BYTES_MAX: usize = 128 << 10;

/// What a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is that of a declared licence.
    Declared(String),
    /// It is that of another licence.
    Other(String),
    /// It is none: it only says that declared licences hold, and perhaps others besides.
    Names,
    /// No known licence is like it.
    Unknown,
}

/// Tells what a text is. The declared licences are tried first.
pub fn tell(text: &str, declared: Option<&Expression>) -> Told {
    let Some(store) = store() else {
        return Told::Unknown;
    };
    if text.len() > TEXT_BYTES_MAX {
        return Told::Unknown;
    }
    let data = TextData::new(text);
    let declared = declared.map(identifiers).unwrap_or_default();
    let nearest = declared
        .iter()
        .map(|id| (likeness(store, id, &data), id))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((likeness, id)) = nearest
        && likeness >= 0.97
    {
        return Told::Declared(id.clone());
    }
    let scanner = Scanner::new(store)
        .confidence_threshold(ALIKE_MIN)
        .optimize(true)
        .max_passes(3);
    let scanned = scanner.scan(&data);
    let found = scanned
        .license
        .map(|license| (scanned.score, license.name))
        .or_else(|| {
            let within = scanned.containing.iter();
            within
                .max_by(|a, b| a.score.total_cmp(&b.score))
                .map(|within| (within.score, within.license.name))
        });
    let inside = |id: &String| {
        let mut names = scanned.containing.iter().map(|within| within.license.name);
        names.any(|name| same(store, name, id))
    };
    match (found, nearest) {
        (Some((_, name)), _) if declared.iter().any(|id| same(store, name, id)) => {
            let mut all = declared.iter();
            let id = all.find(|id| same(store, name, id)).cloned();
            Told::Declared(id.unwrap_or_default())
        }
        (Some((score, _)), Some((likeness, id)))
            if likeness >= ALIKE_MIN && likeness + TIE >= score =>
        {
            Told::Declared(id.clone())
        }
        (None, Some((likeness, id))) if likeness >= ALIKE_MIN => Told::Declared(id.clone()),
        (_, Some((_, id))) if inside(id) => Told::Declared(id.clone()),
        (Some((_, name)), _) => Told::Other(name.to_owned()),
        (None, _) => {
            let named = names::only_names(text).unwrap_or_default();
            let is_declared = |name: &String| declared.iter().any(|id| same(store, name, id));
            match named.iter().any(is_declared) {
                true => Told::Names,
                false => Told::Unknown,
            }
        }
    }
}

/// The identifiers in an expression.
pub(super) fn identifiers(expression: &Expression) -> Vec<String> {
    let mut ids: Vec<String> = expression
        .requirements()
        .filter_map(|requirement| match &requirement.req.license {
            LicenseItem::Spdx { id, .. } => Some(id.name.to_owned()),
            LicenseItem::Other(_) => None,
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// How near a text is to a licence: its own text or a variant of it, or that of a licence
/// with the same words.
fn likeness(store: &Store, id: &str, data: &TextData) -> f32 {
    store
        .iter()
        .filter(|(name, entry)| {
            family(name) == family(id) || entry.aliases.iter().any(|alias| alias == id)
        })
        .flat_map(|(_, entry)| std::iter::once(&entry.original).chain(&entry.alternates))
        .map(|text| text.match_score(data))
        .fold(0.0, f32::max)
}

/// `-only` and `-or-later` say how a licence is given, and share its text.
fn family(id: &str) -> &str {
    let id = id.strip_suffix('+').unwrap_or(id);
    let id = id.strip_suffix("-only").unwrap_or(id);
    id.strip_suffix("-or-later").unwrap_or(id)
}

fn same(store: &Store, name: &str, id: &str) -> bool {
    family(name) == family(id)
        || store
            .aliases(name)
            .is_some_and(|aliases| aliases.iter().any(|alias| family(alias) == family(id)))
}

/// The known texts: loaded once, in some tenths of a second. None where the list that is
/// built in can't be read, which a test rules out.
fn store() -> Option<&'static Store> {
    static STORE: OnceLock<Option<Store>> = OnceLock::new();
    STORE
        .get_or_init(|| {
            let mut store = Store::load_inline().ok()?;
            // Most files leave the appendix out, and then resemble another licence more.
            let (terms, _) = APACHE.split_once("APPENDIX: How to apply")?;
            store
                .add_variant("Apache-2.0", LicenseType::Alternate, TextData::new(terms))
                .ok()?;
            Some(store)
        })
        .as_ref()
}

/// The Apache License, which is this project's own.
const APACHE: &str = include_str!("../../../../LICENSE");

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, declared: &str) -> Told {
        tell(text, Expression::parse(declared).ok().as_ref())
    }

    #[test]
    fn apache_without_its_appendix_is_apache() {
        let (terms, _) = APACHE.split_once("END OF TERMS").unwrap();
        for text in [APACHE, terms] {
            for declared in ["Apache-2.0", "MIT OR Apache-2.0"] {
                assert_eq!(told(text, declared), Told::Declared("Apache-2.0".into()));
            }
            assert_eq!(told(text, "MIT"), Told::Other("Apache-2.0".into()));
        }
    }

    #[test]
    fn what_is_no_licence() {
        for text in [
            "",
            "All rights reserved.",
            &"x ".repeat(100_000),
            "\u{0}\u{fffd}",
        ] {
            assert_eq!(told(text, "MIT"), Told::Unknown);
        }
    }

    #[test]
    fn what_only_names_declared_licences_is_no_text_of_one() {
        let names = "This project is dual-licensed under the Unlicense and MIT licenses.";
        assert_eq!(told(names, "Unlicense OR MIT"), Told::Names);
        assert_eq!(told(names, "MIT"), Told::Names);
        // Which it is then is for somebody to look at.
        assert_eq!(told(names, "Apache-2.0"), Told::Unknown);
        assert_eq!(tell(names, None), Told::Unknown);
    }
}
