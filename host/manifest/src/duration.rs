//! Durations as people write them: `"20s"`, `"1h30m"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::size::split_number;

/// A length of time, written as `"20s"`, `"500ms"`, `"2m"`, `"1h"` or `"1h30m"`.
///
/// The units are `d`, `h`, `m`, `s`, `ms`, `us` and `ns`, the largest first, each at most
/// once. A number without a unit is refused: seconds and milliseconds are too easily
/// taken for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// The units and their nanoseconds, the largest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no whole number where one is needed.
    #[error("`{0}` is no duration; write whole numbers with units, such as \"20s\" or \"1h30m\"")]
    Number(String),
    /// A number is followed by none of the units.
    #[error("`{0}` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in \"20s\"")]
    Unit(String),
    /// A unit stands twice or after a smaller one.
    #[error(
        "`{0}` names a unit twice or after a smaller one; write the largest first, as in \"1h30m\""
    )]
    Order(String),
    /// The duration is beyond what can be counted.
    #[error("`{0}` is too long a time")]
    TooLong(String),
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text.trim();
        let mut total = Duration::ZERO;
        let mut larger = u64::MAX;
        if rest.is_empty() {
            return Err(DurationError::Number(text.into()));
        }
        while !rest.is_empty() {
            let (digits, after) = split_number(rest);
            if digits.is_empty() {
                return Err(DurationError::Number(text.into()));
            }
            let after = after.trim_start();
            let end = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at_checked(end).unwrap_or((after, ""));
            let nanoseconds = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, nanoseconds)| *nanoseconds)
                .ok_or_else(|| DurationError::Unit(text.into()))?;
            if nanoseconds >= larger {
                return Err(DurationError::Order(text.into()));
            }
            larger = nanoseconds;
            total = part(digits, nanoseconds)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| DurationError::TooLong(text.into()))?;
            rest = after.trim_start();
        }
        Ok(HumanDuration(total))
    }
}

/// `digits` times a unit, unless that is beyond what can be counted.
fn part(digits: &str, nanoseconds: u64) -> Option<Duration> {
    const NANOSECONDS_OF_SECOND: u128 = 1_000_000_000;
    let total = digits
        .parse::<u128>()
        .ok()?
        .checked_mul(nanoseconds.into())?;
    let seconds = u64::try_from(total / NANOSECONDS_OF_SECOND).ok()?;
    let rest = u32::try_from(total % NANOSECONDS_OF_SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut rest = self.0.as_nanos();
        for (unit, nanoseconds) in UNITS {
            let count = rest / u128::from(nanoseconds);
            rest %= u128::from(nanoseconds);
            if count > 0 {
                text.push_str(&format!("{count}{unit}"));
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Duration {
        duration.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> HumanDuration {
        HumanDuration(duration)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as \"20s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for HumanDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A duration: \"20s\", \"500ms\", \"2m\", \"1h30m\".",
            "type": "string",
            "pattern": r"^([0-9]+ *d *)?([0-9]+ *h *)?([0-9]+ *m *)?([0-9]+ *s *)?([0-9]+ *ms *)?([0-9]+ *us *)?([0-9]+ *ns *)?$",
            "minLength": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(text: &str, expected: Expect) {
        let shown = match text.parse::<HumanDuration>() {
            Ok(duration) => format!("{:?} = {duration}", duration.0),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn reads_durations() {
        check("20s", expect!["20s = 20s"]);
        check("500ms", expect!["500ms = 500ms"]);
        check("2m", expect!["120s = 2m"]);
        check("1h30m", expect!["5400s = 1h30m"]);
        check("1 h 30 m", expect!["5400s = 1h30m"]);
        check("90s", expect!["90s = 1m30s"]);
        check("0s", expect!["0ns = 0s"]);
        check("1d", expect!["86400s = 1d"]);
    }

    #[test]
    fn refuses_what_is_no_duration() {
        check(
            "",
            expect![[
                r#"`` is no duration; write whole numbers with units, such as "20s" or "1h30m""#
            ]],
        );
        check(
            "20",
            expect![[
                r#"`20` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in "20s""#
            ]],
        );
        check(
            "soon",
            expect![[
                r#"`soon` is no duration; write whole numbers with units, such as "20s" or "1h30m""#
            ]],
        );
        check(
            "1.5s",
            expect![[
                r#"`1.5s` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in "20s""#
            ]],
        );
        check(
            "20 sec",
            expect![[
                r#"`20 sec` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in "20s""#
            ]],
        );
        check(
            "30m1h",
            expect![[
                r#"`30m1h` names a unit twice or after a smaller one; write the largest first, as in "1h30m""#
            ]],
        );
        check(
            "1s1s",
            expect![[
                r#"`1s1s` names a unit twice or after a smaller one; write the largest first, as in "1h30m""#
            ]],
        );
        check(
            "-5s",
            expect![[
                r#"`-5s` is no duration; write whole numbers with units, such as "20s" or "1h30m""#
            ]],
        );
        check(
            "999999999999999999999999d",
            expect!["`999999999999999999999999d` is too long a time"],
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(seconds: u64, nanoseconds in 0u32..1_000_000_000) {
            let duration = HumanDuration(Duration::new(seconds, nanoseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
