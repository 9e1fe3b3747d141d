//! The names of plugins: the author's (`PluginId`) and the operator's (`Alias`).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::text::{quoted, written_as_string};

/// The longest name, in bytes. The exposed name of a tool has 64 characters, and a file
/// name made of this one must fit everywhere.
pub const NAME_BYTES_MAX: usize = 64;

/// The pattern of a name, as JSON Schemas carry it.
const PATTERN: &str = "^[a-z0-9]+(-[a-z0-9]+)*$";

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text} is no valid name: {why}; use a-z, 0-9 and single hyphens between them, at most {NAME_BYTES_MAX} characters, as in \"github-issues\""
)]
pub struct NameError {
    /// The refused text as the message quotes it.
    text: String,
    /// What is wrong with it.
    why: &'static str,
}

/// Whether a text is a name, and if not, what is wrong with it.
fn check(text: &str) -> Result<(), NameError> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > NAME_BYTES_MAX {
        "it is too long"
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        "it has other characters"
    } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
        "it has capital letters"
    } else if text.starts_with('-') || text.ends_with('-') {
        "it starts or ends with a hyphen"
    } else if text.contains("--") {
        "it has two hyphens in a row"
    } else {
        return Ok(());
    };
    Err(NameError {
        text: quoted(text),
        why,
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a text and takes it as a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check(&text)?;
                Ok($name(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $name::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        written_as_string!($name, {
            "type": "string",
            "pattern": PATTERN,
            "maxLength": NAME_BYTES_MAX,
        });
    };
}

name! {
    /// What the author calls the plugin: `id` in `plugin.toml`.
    PluginId
}

name! {
    /// What the operator calls an installed plugin: the key under `[plugins]` in
    /// `portreeve.toml`. One plugin may be installed under several aliases.
    Alias
}

name! {
    /// What a plugin calls a thing that its manifest and its operator's grants both speak
    /// of: a credential, a secret, a schedule.
    Name
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "github-issues", "0", "a-1-b", &"a".repeat(64)] {
            assert_eq!(Alias::new(good).unwrap().as_str(), good);
        }
        let bad = [
            "",
            "A",
            "a_b",
            "-a",
            "a-",
            "a--b",
            "é",
            // Letters of Cyrillic and of full width, and what nobody sees.
            "\u{430}cme",
            "\u{ff41}cme",
            "ac\u{200b}me",
            "../acme",
            "a b",
            "a\u{1b}[0m",
            &"a".repeat(65),
        ];
        let shown: String = bad
            .iter()
            .map(|text| format!("{}\n", PluginId::new(*text).unwrap_err()))
            .map(|line| line.replace("; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in \"github-issues\"", ""))
            .collect();
        expect![[r#"
            `` is no valid name: it is empty
            `A` is no valid name: it has capital letters
            `a_b` is no valid name: it has other characters
            `-a` is no valid name: it starts or ends with a hyphen
            `a-` is no valid name: it starts or ends with a hyphen
            `a--b` is no valid name: it has two hyphens in a row
            `é` is no valid name: it has other characters
            `аcme` is no valid name: it has other characters
            `ａcme` is no valid name: it has other characters
            `ac\u{200b}me` is no valid name: it has other characters
            `../acme` is no valid name: it has other characters
            `a b` is no valid name: it has other characters
            `a\u{1b}[0m` is no valid name: it has other characters
            `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is no valid name: it is too long
        "#]].assert_eq(&shown);
    }

    proptest! {
        #[test]
        fn the_pattern_says_the_same(text in "[a-z0-9A-]{0,6}|.{0,4}") {
            let validator = jsonschema::validator_for(&schemars::schema_for!(Alias).to_value()).unwrap();
            prop_assert_eq!(Alias::new(text.clone()).is_ok(), validator.is_valid(&text.into()));
        }
    }
}
