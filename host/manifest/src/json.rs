//! Strict JSON: what two readers could take for two things is refused.
//!
//! Arguments come from models and answers from guests. `serde_json` alone would keep the
//! last of two equal keys and read as deep as its own fixed limit; here duplicates are an
//! error and the bounds are the caller's.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde_json::{Map, Value};

/// The bounds of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// The longest text, in bytes.
    pub bytes_max: usize,
    /// How many arrays and objects may lie within each other, at most
    /// [`JsonLimits::DEPTH_MAX`].
    pub depth_max: usize,
}

impl JsonLimits {
    /// What the underlying reader nests at most.
    pub const DEPTH_MAX: usize = 126;
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits {
            bytes_max: 1 << 20,
            depth_max: 64,
        }
    }
}

/// Why a text is not the JSON that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is longer than allowed; it wasn't read.
    #[error("the JSON text has {bytes} bytes, but at most {max} are allowed")]
    TooLong {
        /// The length of the text.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The text is wrong at a place.
    #[error("line {line}, column {column}: {message}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
        /// What is wrong and what to do, as a sentence.
        message: String,
    },
}

/// Reads one JSON value from a text.
///
/// # Errors
/// Longer or deeper than allowed; not JSON (`NaN`, `Infinity`, a trailing comma, a comment,
/// a lone surrogate, …); a number that no 64-bit float can hold; a key that stands twice in
/// one object; text after the value.
pub fn parse(text: &str, limits: &JsonLimits) -> Result<Value, JsonError> {
    if text.len() > limits.bytes_max {
        return Err(JsonError::TooLong {
            bytes: text.len(),
            max: limits.bytes_max,
        });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let depth_max = limits.depth_max.min(JsonLimits::DEPTH_MAX);
    let seed = Strict {
        depth_left: depth_max,
        depth_max,
    };
    seed.deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| explain(text, &error))
}

/// Reads a TOML value as JSON; what JSON cannot say is refused.
pub(crate) fn from_toml<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let seed = Strict {
        depth_left: JsonLimits::DEPTH_MAX,
        depth_max: JsonLimits::DEPTH_MAX,
    };
    seed.deserialize(deserializer)
}

/// Reads a value and refuses what is not strict on the way.
#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
    depth_max: usize,
}

impl Strict {
    /// The reader of what lies within an array or object.
    fn inner<E: de::Error>(self) -> Result<Strict, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Strict { depth_left, ..self }),
            None => Err(E::custom(format_args!(
                "more than {} arrays and objects lie within each other; send flatter JSON",
                self.depth_max
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| {
                E::custom(
                    "`nan` and `inf` have no form in JSON; leave the key out or write a string",
                )
            })
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                let key: String = key.chars().take(64).collect();
                return Err(de::Error::custom(format_args!(
                    "the key {key:?} stands twice in one object; keep one of them"
                )));
            }
            let value = map.next_value_seed(inner)?;
            members.insert(key, value);
        }
        Ok(members.into())
    }
}

/// Turns the reader's error into a place and a sentence.
fn explain(text: &str, error: &serde_json::Error) -> JsonError {
    let (line, column) = (error.line().max(1), error.column().max(1));
    let rest = text
        .split('\n')
        .nth(line - 1)
        .and_then(|line| line.get(column - 1..))
        .unwrap_or_default();
    let full = error.to_string();
    let reason = full
        .rsplit_once(" at line ")
        .map_or(full.as_str(), |(reason, _)| reason);
    let message = if let Some(word) = ["NaN", "Infinity", "-Infinity"]
        .into_iter()
        .find(|word| rest.starts_with(word))
    {
        format!(
            "{word} is no JSON number; send a number, or the string \"{word}\" where the schema allows it"
        )
    } else if error.is_data() {
        // Our own refusals say it all.
        reason.to_owned()
    } else if error.is_eof() {
        "the text ends in the middle of a value; send all of it".into()
    } else {
        match reason {
            "number out of range" => {
                "a number is out of range: JSON numbers are 64-bit floats here, below 1.8e308".into()
            }
            "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
                "a \\u escape is half of a surrogate pair; write both halves or the character itself".into()
            }
            "recursion limit exceeded" => {
                "too many arrays and objects lie within each other; send flatter JSON".into()
            }
            "trailing characters" => {
                "there is more text after the JSON value; send exactly one value".into()
            }
            "trailing comma" => "there is a comma before the closing bracket; remove it".into(),
            "control character (\\u0000-\\u001F) found while parsing a string" => {
                "a string contains a control character; write it as an escape such as \\n".into()
            }
            reason => format!("this is not JSON: {reason}"),
        }
    };
    JsonError::Invalid {
        line,
        column,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(text: &str, expected: Expect) {
        let limits = JsonLimits {
            bytes_max: 1_000,
            depth_max: 4,
        };
        let shown = match parse(text, &limits) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn reads_json() {
        check(
            r#" {"a": [1, -2, 3.5, "x\u00e9\ud83d\ude00", true, null]} "#,
            expect![[r#"{"a":[1,-2,3.5,"xé😀",true,null]}"#]],
        );
        check("18446744073709551615", expect!["18446744073709551615"]);
        check("-9223372036854775808", expect!["-9223372036854775808"]);
        check("[[[[]]]]", expect!["[[[[]]]]"]);
    }

    #[test]
    fn refuses_what_is_not_strict() {
        check(
            r#"{"a": 1, "b": {"a": 1, "a": 2}}"#,
            expect![[
                r#"line 1, column 26: the key "a" stands twice in one object; keep one of them"#
            ]],
        );
        check(
            "{\"a\":\n  NaN}",
            expect![[
                r#"line 2, column 3: NaN is no JSON number; send a number, or the string "NaN" where the schema allows it"#
            ]],
        );
        check(
            "[1, Infinity]",
            expect![[
                r#"line 1, column 5: Infinity is no JSON number; send a number, or the string "Infinity" where the schema allows it"#
            ]],
        );
        check(
            "[-Infinity]",
            expect![[
                r#"line 1, column 3: Infinity is no JSON number; send a number, or the string "Infinity" where the schema allows it"#
            ]],
        );
        check(
            "[1e400]",
            expect![
                "line 1, column 6: a number is out of range: JSON numbers are 64-bit floats here, below 1.8e308"
            ],
        );
        check(
            "-1e400",
            expect![
                "line 1, column 6: a number is out of range: JSON numbers are 64-bit floats here, below 1.8e308"
            ],
        );
        check(
            r#"["\ud800"]"#,
            expect![[
                r#"line 1, column 9: a \u escape is half of a surrogate pair; write both halves or the character itself"#
            ]],
        );
        check(
            r#"["\udc00"]"#,
            expect![[
                r#"line 1, column 8: a \u escape is half of a surrogate pair; write both halves or the character itself"#
            ]],
        );
        check(
            r#"["\ud800\u0041"]"#,
            expect![[
                r#"line 1, column 14: a \u escape is half of a surrogate pair; write both halves or the character itself"#
            ]],
        );
        check(
            "[[[[[]]]]]",
            expect![
                "line 1, column 6: more than 4 arrays and objects lie within each other; send flatter JSON"
            ],
        );
        check(
            "{} {}",
            expect![
                "line 1, column 4: there is more text after the JSON value; send exactly one value"
            ],
        );
        check(
            "[1,]",
            expect!["line 1, column 4: there is a comma before the closing bracket; remove it"],
        );
        check(
            "{'a': 1}",
            expect!["line 1, column 2: this is not JSON: key must be a string"],
        );
        check(
            "{\"a\": 1 // one\n}",
            expect!["line 1, column 9: this is not JSON: expected `,` or `}`"],
        );
        check(
            "\"a\nb\"",
            expect![[
                r#"line 2, column 1: a string contains a control character; write it as an escape such as \n"#
            ]],
        );
        check(
            "",
            expect!["line 1, column 1: the text ends in the middle of a value; send all of it"],
        );
        check(
            "[1",
            expect!["line 1, column 2: the text ends in the middle of a value; send all of it"],
        );
        check(
            &format!("\"{}\"", "x".repeat(1_000)),
            expect!["the JSON text has 1002 bytes, but at most 1000 are allowed"],
        );
        check(
            "01",
            expect!["line 1, column 2: this is not JSON: invalid number"],
        );
        check(
            "\u{feff}{}",
            expect!["line 1, column 1: this is not JSON: expected value"],
        );
    }

    #[test]
    fn depth_is_bounded_whatever_is_asked_for() {
        let limits = JsonLimits {
            bytes_max: usize::MAX,
            depth_max: usize::MAX,
        };
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(JsonLimits::DEPTH_MAX), &limits).is_ok());
        assert!(parse(&nested(JsonLimits::DEPTH_MAX + 1), &limits).is_err());
        assert!(parse(&nested(1_000_000), &limits).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let expected: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parse(&text, &JsonLimits::default()), Ok(expected));
        }

        #[test]
        fn accepts_nothing_that_serde_json_refuses(text in "[\\[\\]{}:,\"a0-9eE.+ \\\\-]{0,12}|\\PC*") {
            if let Ok(value) = parse(&text, &JsonLimits::default()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
