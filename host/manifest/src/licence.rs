//! Licences as SPDX expressions.

use std::fmt;
use std::str::FromStr;

use crate::text::{quoted, written_as_string};

/// An SPDX licence expression, such as `MIT OR Apache-2.0`: valid identifiers only, spelt
/// as SPDX spells them.
#[derive(Clone, Debug, PartialEq)]
pub struct Licence(spdx::Expression);

/// Why a text is no SPDX expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text} is no SPDX licence expression: {why}; write one such as \"MIT OR Apache-2.0\" (identifiers: spdx.org/licenses)"
)]
pub struct LicenceError {
    text: String,
    why: String,
}

/// The longest expression, in bytes: a plugin of many parts may well name a dozen.
const BYTES_MAX: usize = 1_000;

impl Licence {
    /// The expression, to be evaluated.
    pub fn expression(&self) -> &spdx::Expression {
        &self.0
    }
}

impl FromStr for Licence {
    type Err = LicenceError;

    fn from_str(text: &str) -> Result<Self, LicenceError> {
        let refuse = |why: String| LicenceError {
            text: quoted(text),
            why,
        };
        if text.len() > BYTES_MAX {
            return Err(refuse(format!("it is longer than {BYTES_MAX} bytes")));
        }
        spdx::Expression::parse_mode(text, spdx::ParseMode::STRICT)
            .map(Licence)
            .map_err(|error| refuse(error.reason.to_string()))
    }
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_ref())
    }
}

written_as_string!(Licence, {
    "type": "string",
    "description": "An SPDX licence expression, such as \"MIT OR Apache-2.0\".",
    "minLength": 1,
    "maxLength": BYTES_MAX,
});

/// One licence that a policy allows, such as `MIT` or `GPL-2.0-only WITH
/// Classpath-exception-2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licensee(spdx::Licensee);

impl Licensee {
    /// The licence, to be matched.
    pub fn get(&self) -> &spdx::Licensee {
        &self.0
    }
}

impl FromStr for Licensee {
    type Err = LicenceError;

    fn from_str(text: &str) -> Result<Self, LicenceError> {
        spdx::Licensee::parse(text)
            .map(Licensee)
            .map_err(|error| LicenceError {
                text: quoted(text),
                why: error.reason.to_string(),
            })
    }
}

impl fmt::Display for Licensee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_string!(Licensee, {
    "type": "string",
    "description": "One SPDX licence, such as \"MIT\".",
    "minLength": 1,
});

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown = match text.parse::<Licence>() {
            Ok(licence) => licence.to_string(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn expressions_are_checked() {
        check("MIT OR Apache-2.0", expect!["MIT OR Apache-2.0"]);
        check(
            "(MIT AND BSD-3-Clause) OR Apache-2.0 WITH LLVM-exception",
            expect!["(MIT AND BSD-3-Clause) OR Apache-2.0 WITH LLVM-exception"],
        );
        check("LicenseRef-acme-1", expect!["LicenseRef-acme-1"]);
        check(
            "",
            expect![[
                r#"`` is no SPDX licence expression: empty expression; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            "MIT/Apache-2.0",
            expect![[
                r#"`MIT/Apache-2.0` is no SPDX licence expression: invalid character(s); write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            "MIT License",
            expect![[
                r#"`MIT License` is no SPDX licence expression: unknown term; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            "Apache 2",
            expect![[
                r#"`Apache 2` is no SPDX licence expression: unknown term; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            "GPL-2.0",
            expect![[
                r#"`GPL-2.0` is no SPDX licence expression: a deprecated license identifier was used; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            "MIT OR",
            expect![[
                r#"`MIT OR` is no SPDX licence expression: expected one of `<license>`, `(` here; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
        check(
            &"MIT OR ".repeat(500),
            expect![[
                r#"`MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MIT OR MI…` is no SPDX licence expression: it is longer than 1000 bytes; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)"#
            ]],
        );
    }

    #[test]
    fn deep_expressions_are_answered() {
        let deep = format!("{}MIT{}", "(".repeat(490), ")".repeat(490));
        let _ = deep.parse::<Licence>();
    }
}
