//! Texts that say which licences there are, and hold none: "dual-licensed under the Unlicense
//! and MIT".

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

/// The longest text that only names licences, in bytes: some twice what people write.
const TEXT_BYTES_MAX: usize = 1_500;

/// What people write for the commonest licences besides SPDX's own identifiers and names.
const SPOKEN: [(&str, &str); 14] = [
    ("apache license version 2.0", "Apache-2.0"),
    ("apache license 2", "Apache-2.0"),
    ("apache 2.0", "Apache-2.0"),
    ("apache 2", "Apache-2.0"),
    ("apache", "Apache-2.0"),
    ("2-clause bsd", "BSD-2-Clause"),
    ("3-clause bsd", "BSD-3-Clause"),
    ("bsd 2-clause", "BSD-2-Clause"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("boost software license version 1.0", "BSL-1.0"),
    ("expat", "MIT"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("mpl 2.0", "MPL-2.0"),
    ("the unlicense", "Unlicense"),
];

/// The words by which people lead from one licence to another, and that add no terms.
const LEADING: &str = "
    a all and any are as at available be both by can choice choose code component conditions
    content contents copies copy covered crate details directory distributed dual dual-licensed
    either file files following for found full ii in is it its legal library
    licence licences license licensed licenses licensing may more multi-licensed of offered
    one option or package part please program project provided published refer released
    repository root see separate software source spdx-license-identifier terms text texts
    that the them these this to tree triple-licensed two under use used version versions
    which with work you your
";

/// How files of licences begin to be called.
const FILES: [&str; 6] = [
    "license",
    "licence",
    "copying",
    "unlicense",
    "notice",
    "readme",
];

/// The licences that a text names, where it does nothing else: other words may be terms.
pub(super) fn only_names(text: &str) -> Option<BTreeSet<String>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let words = words(text);
    let known = known();
    let mut named = BTreeSet::new();
    let mut rest = words.as_slice();
    while let Some((word, after)) = rest.split_first() {
        let longest = (1..=known.words_max.min(rest.len())).rev();
        let found = longest.into_iter().find_map(|length| {
            let (name, after) = rest.split_at_checked(length)?;
            Some((known.ids.get(&name.join(" "))?, after))
        });
        rest = match found {
            Some((id, after)) => {
                named.insert((*id).to_owned());
                after
            }
            None if is_leading(word) => after,
            None => return None,
        };
    }
    (!named.is_empty()).then_some(named)
}

fn is_leading(word: &str) -> bool {
    let is_number = word.parse::<u32>().is_ok_and(|number| number < 10);
    is_number
        || LEADING.split_whitespace().any(|leading| leading == word)
        || FILES.iter().any(|file| word.starts_with(file))
}

/// The words of a text in one form, without addresses and without lines that only say whose it is.
fn words(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let said = lines.filter(|line| !is_copyright(line));
    said.flat_map(str::split_whitespace)
        .filter(|word| !word.contains("://"))
        .flat_map(plain)
        .collect()
}

fn is_copyright(line: &str) -> bool {
    let line = line.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '©');
    let starts = |with: &str| {
        line.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    starts("copyright") || starts("©")
}

/// A word without what stands around it; several where marks part it.
fn plain(word: &str) -> impl Iterator<Item = String> {
    let parts = word.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '+')));
    parts
        .map(|part| part.trim_matches(['-', '.']).to_lowercase())
        .filter(|part| !part.is_empty())
}

struct Known {
    /// Identifiers by the words of what they are called.
    ids: HashMap<String, &'static str>,
    words_max: usize,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let all = spdx::identifiers::LICENSES.iter();
        let own = all.flat_map(|one| [(one.name, one.name), (one.full_name, one.name)]);
        let mut ids = HashMap::new();
        let mut words_max = 0;
        for (name, id) in own.chain(SPOKEN) {
            let words = words(name);
            // Of licences with one name, the first stands for all.
            if !words.is_empty() {
                words_max = words_max.max(words.len());
                ids.entry(words.join(" ")).or_insert(id);
            }
        }
        Known { ids, words_max }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_names_licences_is_told_from_terms() {
        let short = "This project is dual-licensed under the Unlicense and MIT licenses.\n\nYou may use this code under the terms of either license.\n";
        let either = "This project is licensed under either of\n\n * Apache License, Version 2.0, ([LICENSE-APACHE](LICENSE-APACHE) or\n   https://www.apache.org/licenses/LICENSE-2.0)\n * MIT license ([LICENSE-MIT](LICENSE-MIT) or\n   https://opensource.org/licenses/MIT)\n\nat your option.\n";
        let whose = "Copyright 2012-2016 The Rust Project Developers.\nCopyright (c) 2016 Somebody <a@b.invalid>\n\nLicensed under the Apache License, Version 2.0 <LICENSE-APACHE or\nhttp://www.apache.org/licenses/LICENSE-2.0> or the MIT license\n<LICENSE-MIT or http://opensource.org/licenses/MIT>, at your\noption.\n";
        for (text, expected) in [
            (short, Some("MIT Unlicense")),
            (either, Some("Apache-2.0 MIT")),
            (whose, Some("Apache-2.0 MIT")),
            (
                "SPDX-License-Identifier: GPL-3.0-or-later",
                Some("GPL-3.0-or-later"),
            ),
            (
                "Licensed under the BSD 3-Clause License. See LICENSE.txt.",
                Some("BSD-3-Clause"),
            ),
            ("MIT", Some("MIT")),
            // Terms of its own, however short.
            ("MIT, but only on Sundays.", None),
            (
                "Licensed under MIT; commercial use needs our permission.",
                None,
            ),
            ("You may use this code.", None),
            ("See LICENSE.", None),
            ("All rights reserved.", None),
            ("", None),
            (&"MIT or ".repeat(400), None),
        ] {
            let named =
                only_names(text).map(|names| names.into_iter().collect::<Vec<_>>().join(" "));
            assert_eq!(named.as_deref(), expected, "{text}");
        }
    }

    /// No licence is so short and bare that it would pass for a list of names.
    #[test]
    fn no_licence_only_names_some() {
        for (id, text) in spdx::text::LICENSE_TEXTS {
            assert_eq!(only_names(text), None, "{id}");
        }
    }
}
