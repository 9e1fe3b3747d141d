//! Licences as packages declare them, which are not always SPDX expressions.

use spdx::{Expression, ParseMode};

/// The longest expression that is read, in bytes.
const BYTES_MAX: usize = 1_000;

/// A declared licence, read.
#[derive(Clone, Debug)]
pub enum Declared {
    /// An SPDX expression as it should be.
    Strict(Expression),
    /// One that is meant, though it isn't written as it should be.
    Lax {
        /// As it should be written.
        expression: Expression,
        /// What is wrong with it.
        warning: String,
    },
    /// Anything else, such as npm's `UNLICENSED`, and why it isn't taken.
    Unknown(String),
}

impl Declared {
    /// Reads what a package declares: strictly first, then leniently with a warning.
    pub fn read(said: &str) -> Declared {
        let said = said.trim();
        if said.len() > BYTES_MAX {
            return Declared::Unknown(format!(
                "its licence has {} bytes, where {BYTES_MAX} are read",
                said.len()
            ));
        }
        match said.to_ascii_uppercase().as_str() {
            "" | "NOASSERTION" | "NONE" => return Declared::Unknown("it declares none".to_owned()),
            "UNLICENSED" => {
                return Declared::Unknown(
                    "`UNLICENSED` is how npm says that nobody may use it".to_owned(),
                );
            }
            _ => {}
        }
        let strict = match Expression::parse_mode(said, ParseMode::STRICT) {
            Ok(expression) => return Declared::Strict(expression),
            Err(error) => error.reason.to_string(),
        };
        // What people write: other separators, other case, old identifiers, loose names.
        let candidates = [
            said.to_owned(),
            said.replace('/', " OR "),
            usual_case(&said.replace('/', " OR ")),
        ];
        for candidate in candidates {
            let Ok(Some(canonical)) = Expression::canonicalize(&candidate)
                .map(|canonical| canonical.or_else(|| Some(candidate.clone())))
            else {
                continue;
            };
            // What it makes of a text need not be an expression: read it again.
            let mode = ParseMode {
                allow_deprecated: true,
                ..ParseMode::STRICT
            };
            let read = Expression::parse_mode(&canonical, ParseMode::STRICT)
                .or_else(|_| Expression::parse_mode(&canonical, mode));
            if let Ok(expression) = read {
                let warning = format!(
                    "`{said}` is no valid SPDX expression ({strict}); it is taken for `{expression}`"
                );
                return Declared::Lax {
                    expression,
                    warning,
                };
            }
        }
        Declared::Unknown(format!("`{said}` is no SPDX expression: {strict}"))
    }

    /// The expression, where there is one.
    pub fn expression(&self) -> Option<&Expression> {
        match self {
            Declared::Strict(expression) | Declared::Lax { expression, .. } => Some(expression),
            Declared::Unknown(_) => None,
        }
    }
}

/// The words of a text as SPDX writes them, where they differ in case alone.
fn usual_case(text: &str) -> String {
    let word = |word: &str| {
        let upper = word.to_ascii_uppercase();
        if ["AND", "OR", "WITH"].contains(&upper.as_str()) {
            return upper;
        }
        let id = spdx::identifiers::LICENSES
            .iter()
            .map(|license| license.name)
            .chain(
                spdx::identifiers::EXCEPTIONS
                    .iter()
                    .map(|exception| exception.name),
            )
            .find(|name| name.eq_ignore_ascii_case(word));
        id.unwrap_or(word).to_owned()
    };
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced
        .split_whitespace()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
        .replace("( ", "(")
        .replace(" )", ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (said, expected) in [
            ("MIT", "strict MIT"),
            ("MIT OR Apache-2.0", "strict MIT OR Apache-2.0"),
            ("MIT/Apache-2.0", "lax MIT OR Apache-2.0"),
            ("apache-2.0", "lax Apache-2.0"),
            (
                "mit or (apache-2.0 and isc)",
                "lax MIT OR (Apache-2.0 AND ISC)",
            ),
            ("Unlicense/MIT", "lax Unlicense OR MIT"),
            ("NOASSERTION", "unknown"),
            ("UNLICENSED", "unknown"),
            ("SEE LICENSE IN LICENSE.md", "unknown"),
            ("", "unknown"),
            ("MIT OR", "unknown"),
            ("(((((((", "unknown"),
        ] {
            let found = match Declared::read(said) {
                Declared::Strict(expression) => format!("strict {expression}"),
                Declared::Lax { expression, .. } => format!("lax {expression}"),
                Declared::Unknown(_) => "unknown".to_owned(),
            };
            assert_eq!(found, expected, "{said}");
        }
    }

    #[test]
    fn bombs_are_answered() {
        for bomb in [
            "(".repeat(900),
            "MIT OR ".repeat(1_000_000),
            "MIT/".repeat(240),
        ] {
            let _ = Declared::read(&bomb);
        }
    }
}
