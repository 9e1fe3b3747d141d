//! Sizes as people write them: `"64 MiB"`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written as `"64 MiB"`, `"10 KiB"`, `"5MB"` or `"512"`.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1,024; `KB`, `MB`, `GB` and `TB` are powers
/// of 1,000; `B` or nothing means bytes. Fractions are refused, so that every size is
/// exact and what is displayed reads back as the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// The units, the one that `Display` prefers first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// There is no whole number at the start.
    #[error("`{0}` is no size; write a whole number and a unit, such as \"64 MiB\"")]
    Number(String),
    /// What follows the number is none of the units.
    #[error("`{0}` is no unit of size; use B, KiB, MiB, GiB, TiB (or KB, MB, GB, TB)")]
    Unit(String),
    /// The number of bytes does not fit into 64 bits.
    #[error("`{0}` is more than 2^64 bytes")]
    TooLarge(String),
}

impl ByteSize {
    /// `n` times 1,024 bytes; the largest number of bytes where that overflows.
    pub const fn kib(n: u64) -> Self {
        ByteSize(n.saturating_mul(1 << 10))
    }

    /// `n` times 1,024² bytes; the largest number of bytes where that overflows.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n.saturating_mul(1 << 20))
    }

    /// `n` times 1,024³ bytes; the largest number of bytes where that overflows.
    pub const fn gib(n: u64) -> Self {
        ByteSize(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest one where it doesn't fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (digits, unit) = split_number(text.trim());
        if digits.is_empty() || unit.starts_with(['.', ',', '_']) {
            return Err(SizeError::Number(text.into()));
        }
        let unit = match unit.trim_start() {
            "" => "B",
            "kB" => "KB",
            unit => unit,
        };
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| SizeError::Unit(unit.into()))?;
        // The digits are ASCII, so the only failure is overflow.
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(ByteSize)
            .ok_or_else(|| SizeError::TooLarge(text.into()))
    }
}

/// Splits a text after its leading ASCII digits.
pub(crate) fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        f.pad(&format!("{} {unit}", self.0 / factor))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64 MiB\" or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::custom(format!("a size cannot be negative: {bytes}")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A size: \"64 MiB\", \"10 KiB\", \"5MB\", or a number of bytes.",
            "anyOf": [
                { "type": "string", "pattern": r"^[0-9]+ *([KMGT]i?B|kB|B)?$" },
                { "type": "integer", "minimum": 0 },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(text: &str, expected: Expect) {
        let shown = match text.parse::<ByteSize>() {
            Ok(size) => format!("{} = {size}", size.0),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn reads_sizes() {
        check("64 MiB", expect!["67108864 = 64 MiB"]);
        check("10KiB", expect!["10240 = 10 KiB"]);
        check("5MB", expect!["5000000 = 5000000 B"]);
        check("2 kB", expect!["2000 = 2000 B"]);
        check("512", expect!["512 = 512 B"]);
        check("0", expect!["0 = 0 B"]);
        check("1024 B", expect!["1024 = 1 KiB"]);
        check(
            "16777215 TiB",
            expect!["18446742974197923840 = 16777215 TiB"],
        );
    }

    #[test]
    fn refuses_what_is_no_size() {
        check(
            "",
            expect![[r#"`` is no size; write a whole number and a unit, such as "64 MiB""#]],
        );
        check(
            "lots",
            expect![[r#"`lots` is no size; write a whole number and a unit, such as "64 MiB""#]],
        );
        check(
            "-1 MiB",
            expect![[r#"`-1 MiB` is no size; write a whole number and a unit, such as "64 MiB""#]],
        );
        check(
            "1.5 MiB",
            expect![[r#"`1.5 MiB` is no size; write a whole number and a unit, such as "64 MiB""#]],
        );
        check(
            "64 Mb",
            expect!["`Mb` is no unit of size; use B, KiB, MiB, GiB, TiB (or KB, MB, GB, TB)"],
        );
        check(
            "1 MiB 2",
            expect!["`MiB 2` is no unit of size; use B, KiB, MiB, GiB, TiB (or KB, MB, GB, TB)"],
        );
        check(
            "16777216 TiB",
            expect!["`16777216 TiB` is more than 2^64 bytes"],
        );
        check(
            "99999999999999999999",
            expect!["`99999999999999999999` is more than 2^64 bytes"],
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn round_sizes_read_back(number in 0u64..1 << 20, shift in 0u32..44) {
            let size = ByteSize(number << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let json = serde_json::to_string(&size).unwrap();
            prop_assert_eq!(serde_json::from_str::<ByteSize>(&json).unwrap(), size);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
