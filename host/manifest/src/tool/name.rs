//! The names under which clients see tools.

use sha2::{Digest, Sha256};

use crate::text::{quoted, written_as_string};

/// The longest name of a tool, as a plugin gives it and as clients see it.
pub const NAME_BYTES_MAX: usize = 64;

/// Whether a text may be a plugin's name of a tool.
pub fn is_tool_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Hexadecimal digits of the hash that ends a changed name: 64 bits.
const HASH_DIGITS: usize = 16;

/// The name under which clients see a plugin's tool: `ALIAS__TOOL` in
/// `[A-Za-z0-9_-]{1,64}`.
///
/// Where that needs other characters or more room, the name is changed to fit and ends with
/// a hash of the original, which never changes. So different tools have different names:
/// a name that only looks as if it ended with such a hash gets one of its own.
pub fn exposed_name(alias: &str, tool: &str) -> String {
    let plain = format!("{alias}__{tool}");
    let kept = plain.len() <= NAME_BYTES_MAX
        && plain.chars().all(is_exposed)
        // The first `_` ends the alias, so that `a` + `b__c` is not `a__b` + `c`.
        && !alias.contains('_')
        && !looks_hashed(&plain);
    if kept {
        plain
    } else {
        hashed(&plain, alias, tool)
    }
}

/// What an operator has the names of a plugin's tools begin with, in place of `ALIAS__`: up to
/// 32 of `[A-Za-z0-9_-]`, or nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolPrefix(String);

/// Longest prefix: it leaves half of a name to the tool.
const PREFIX_BYTES_MAX: usize = NAME_BYTES_MAX / 2;

impl ToolPrefix {
    /// The name under which clients see a tool, fitted as [`exposed_name`] does it. Two plugins
    /// may come to have the same.
    pub fn exposed_name(&self, alias: &str, tool: &str) -> String {
        let plain = format!("{}{tool}", self.0);
        let kept = plain.len() <= NAME_BYTES_MAX && plain.chars().all(is_exposed);
        if kept {
            plain
        } else {
            hashed(&plain, alias, tool)
        }
    }
}

impl std::str::FromStr for ToolPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<ToolPrefix, String> {
        if text.len() <= PREFIX_BYTES_MAX && text.chars().all(is_exposed) {
            return Ok(ToolPrefix(text.to_owned()));
        }
        Err(format!(
            "{} is no prefix of tools' names: write up to {PREFIX_BYTES_MAX} letters, digits, `_` and `-`, or \"\"",
            quoted(text)
        ))
    }
}

impl std::fmt::Display for ToolPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(ToolPrefix, {
    "type": "string",
    "description": "What names of tools begin with, in place of ALIAS__.",
    "pattern": "^[A-Za-z0-9_-]{0,32}$",
});

/// Whether a character may stand in a name that clients see.
fn is_exposed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// A name that was changed to fit.
fn hashed(plain: &str, alias: &str, tool: &str) -> String {
    let digest = Sha256::new()
        .chain_update(alias)
        .chain_update([0])
        .chain_update(tool)
        .finalize();
    let mut name: String = plain
        .chars()
        .map(|c| if is_exposed(c) { c } else { '_' })
        .take(NAME_BYTES_MAX - HASH_DIGITS - 1)
        .collect();
    name.push('_');
    for byte in digest.iter().take(HASH_DIGITS / 2) {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// Whether a name may be shown without its plugin's: none that a name with a plugin's could
/// be, nor one that was changed to fit.
pub fn is_plain_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !name.contains("__")
        && !looks_hashed(name)
}

/// Whether a name ends as a hashed one does.
fn looks_hashed(name: &str) -> bool {
    name.rsplit_once('_').is_some_and(|(_, end)| {
        end.len() == HASH_DIGITS
            && end
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn exposed_names() {
        let long = "x".repeat(64);
        let shown: String = [
            ("markdown", "render"),
            ("a", "b__c"),
            ("a__b", "c"),
            ("github", "issues.search"),
            ("github", "issues_search"),
            ("a", &long),
            (&long, "a"),
            ("a", "b_0123456789abcdef"),
        ]
        .iter()
        .map(|(alias, tool)| format!("{}\n", exposed_name(alias, tool)))
        .collect();
        expect![[r#"
            markdown__render
            a__b__c
            a__b__c_a92700ced282f8ea
            github__issues_search_cf5c556464dc2069
            github__issues_search
            a__xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_6be4a121b10f8335
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_7a7e4308972b5334
            a__b_0123456789abcdef_9f4bb98e98f260af
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn no_tool_can_take_the_name_of_another() {
        // A tool that is named as the changed name of another one.
        let changed = exposed_name("a", "x.y");
        let imitation = changed.strip_prefix("a__").unwrap();
        assert_ne!(exposed_name("a", imitation), changed);
    }

    proptest! {
        #[test]
        fn exposed_names_are_valid(alias in "\\PC{0,80}", tool in "\\PC{0,80}") {
            let name = exposed_name(&alias, &tool);
            prop_assert!((1..=NAME_BYTES_MAX).contains(&name.len()));
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{}", name);
        }

        #[test]
        fn exposed_names_are_distinct(a in ("[ab_.]{1,3}", "[ab_.]{1,3}"), b in ("[ab_.]{1,3}", "[ab_.]{1,3}"), tail in "x{0,60}") {
            let name = |(alias, tool): &(String, String)| exposed_name(alias, &format!("{tail}{tool}"));
            prop_assert_eq!(name(&a) == name(&b), a == b);
        }
    }
}
