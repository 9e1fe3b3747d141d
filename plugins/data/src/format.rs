//! Reading and writing the formats.

use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::{table, yaml};

/// A format of data.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Toml,
    Yaml,
    Csv,
}

/// Why a text can't be read.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) message: String,
    /// The line, from 1, where it is known.
    pub(crate) line: Option<u64>,
    /// The column in characters, from 1, where it is known.
    pub(crate) column: Option<u64>,
}

impl Problem {
    /// A problem of the whole text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: None,
            column: None,
        }
    }

    /// A problem at a byte of the text.
    fn at_byte(message: &str, text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        Self {
            message: message.to_owned(),
            line: Some(before.matches('\n').count() as u64 + 1),
            column: Some(column as u64 + 1),
        }
    }

    pub(crate) fn into_error(self, format: Format) -> Error {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!(" at line {line}, column {column}"),
            (Some(line), None) => format!(" at line {line}"),
            _ => String::new(),
        };
        Error::invalid_argument(format_args!(
            "the text is not {}{place}: {}",
            format.name(),
            self.message
        ))
        .reason("malformed")
        .detail(self)
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Csv => "CSV",
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Where it is malformed, or a value in it has no form in JSON.
    pub(crate) fn read(self, text: &str) -> Result<Value, Problem> {
        match self {
            Self::Json => serde_json::from_str(text).map_err(|error| json_problem(&error)),
            Self::Toml => match text.parse::<toml::Table>() {
                Ok(table) => from_toml(toml::Value::Table(table)),
                Err(error) => Err(match error.span() {
                    Some(span) => Problem::at_byte(error.message(), text, span.start),
                    None => Problem::new(error.message()),
                }),
            },
            Self::Yaml => yaml::read(text),
            Self::Csv => table::read(text),
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// `invalid-argument` where the format has no form for it.
    pub(crate) fn write(self, value: &Value) -> Result<String, Error> {
        match self {
            Self::Json => serde_json::to_string_pretty(value).map_err(Error::internal),
            Self::Toml => {
                if !value.is_object() {
                    return Err(unwritable(
                        "a TOML document is a table, not one value or list",
                    ));
                }
                if let Some((pointer, what)) = find_not_toml(value) {
                    return Err(unwritable(&format!(
                        "{pointer} is {what}, which TOML has not; leave it out"
                    )));
                }
                toml::to_string_pretty(value).map_err(|error| unwritable(&error.to_string()))
            }
            Self::Yaml => yaml::write(value),
            Self::Csv => table::write(value),
        }
    }
}

/// Why a value can't be written.
pub(crate) fn unwritable(why: &str) -> Error {
    Error::invalid_argument(why).reason("unwritable")
}

/// The JSON name of what a value is.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// One step of a JSON Pointer.
pub(crate) fn pointer_step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// serde_json ends its messages with the place, which a problem keeps apart.
fn json_problem(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    Problem {
        message: message.to_owned(),
        line: Some(error.line() as u64),
        // An empty line has no column by serde_json's count.
        column: Some(error.column().max(1) as u64),
    }
}

/// Dates become text, as everywhere that JSON has to hold them.
fn from_toml(value: toml::Value) -> Result<Value, Problem> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| Problem::new(format!("{number} has no form in JSON")))?,
        toml::Value::Boolean(bool) => Value::Bool(bool),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(from_toml).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| Ok((name, from_toml(value)?)))
                .collect::<Result<Map<_, _>, _>>()?,
        ),
    })
}

/// The first value that TOML has no form for: where it is, as a JSON Pointer, and what it is.
/// Readers bound the depth.
fn find_not_toml(value: &Value) -> Option<(String, &'static str)> {
    let below = |step: String, value: &Value| {
        find_not_toml(value).map(|(rest, what)| (format!("{step}{rest}"), what))
    };
    match value {
        Value::Null => Some((String::new(), "null")),
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Some((String::new(), "an integer beyond 64 bits with a sign"))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| below(format!("/{index}"), item)),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, member)| below(pointer_step(name), member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(text: &str, from: Format, to: Format, expected: Expect) {
        let shown = match from.read(text) {
            Ok(value) => to
                .write(&value)
                .unwrap_or_else(|error| format!("can't be written: {}", error.message())),
            Err(problem) => problem.into_error(from).message().to_owned(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn conversions() {
        use Format::{Csv, Json, Toml, Yaml};
        check(
            r#"{"a":{"b":[1,2.5,"x"]},"c":true}"#,
            Json,
            Toml,
            expect![[r#"
            c = true

            [a]
            b = [
                1,
                2.5,
                "x",
            ]
        "#]],
        );
        check(
            r#"{"a":{"b":[1,{"c":null}]},"d":"no"}"#,
            Json,
            Yaml,
            expect![[r#"
            a:
              b:
              - 1
              - c: null
            d: "no"
        "#]],
        );
        check(
            "d = 2026-11-20T10:00:00Z\n[a]\nb = 1",
            Toml,
            Json,
            expect![[r#"
            {
              "a": {
                "b": 1
              },
              "d": "2026-11-20T10:00:00Z"
            }"#]],
        );
        check(
            "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}",
            Yaml,
            Json,
            expect![[r#"
            {
              "a": {
                "b": 1
              },
              "c": {
                "b": 1
              },
              "d": {
                "b": 1,
                "e": 2
              }
            }"#]],
        );
        check(
            "name,note\nA,\"b, c\"\n",
            Csv,
            Json,
            expect![[r#"
            [
              {
                "name": "A",
                "note": "b, c"
              }
            ]"#]],
        );
        check(
            r#"[{"a":1,"b":"x,y"},{"a":null,"c":true}]"#,
            Json,
            Csv,
            expect![[r#"
            a,b,c
            1,"x,y",
            ,,true
        "#]],
        );
    }

    #[test]
    fn what_a_format_has_no_form_for() {
        use Format::{Csv, Json, Toml};
        check(
            "[1]",
            Json,
            Toml,
            expect!["can't be written: a TOML document is a table, not one value or list"],
        );
        check(
            r#"{"a/b":[{"c":null}]}"#,
            Json,
            Toml,
            expect!["can't be written: /a~1b/0/c is null, which TOML has not; leave it out"],
        );
        check(
            r#"{"a":18446744073709551615}"#,
            Json,
            Toml,
            expect![
                "can't be written: /a is an integer beyond 64 bits with a sign, which TOML has not; leave it out"
            ],
        );
        check(
            r#"{"a":1}"#,
            Json,
            Csv,
            expect!["can't be written: CSV needs a list of objects, this is of the kind object"],
        );
        check(
            r#"[{"a":[1]}]"#,
            Json,
            Csv,
            expect!["can't be written: /0/a is of the kind array, which a cell of CSV can't hold"],
        );
        check(
            "a = nan",
            Toml,
            Json,
            expect!["the text is not TOML: NaN has no form in JSON"],
        );
    }

    #[test]
    fn malformed_texts() {
        use Format::{Csv, Json, Toml, Yaml};
        check(
            "{\"a\": 1,\n  b}",
            Json,
            Json,
            expect!["the text is not JSON at line 2, column 3: key must be a string"],
        );
        check(
            "",
            Json,
            Json,
            expect!["the text is not JSON at line 1, column 1: EOF while parsing a value"],
        );
        check(
            "a = 1\nü = ",
            Toml,
            Json,
            expect![
                "the text is not TOML at line 2, column 1: invalid unquoted key, expected letters, numbers, `-`, `_`"
            ],
        );
        check(
            "a: [1,\nb: 2",
            Yaml,
            Json,
            expect!["the text is not YAML at line 1, column 4: unclosed bracket '['"],
        );
        check(
            "a: 1\na: 2",
            Yaml,
            Json,
            expect![
                "the text is not YAML at line 2, column 1: duplicate mapping key: a not allowed here"
            ],
        );
        check(
            "a: .nan",
            Yaml,
            Json,
            expect![
                "the text is not YAML at line 1, column 4: value `.nan` is not a finite number"
            ],
        );
        check(
            "a,b\n1\n",
            Csv,
            Json,
            expect!["the text is not CSV at line 2: a row has 1 fields, the first row 2"],
        );
        check(
            "a,a\n1,2\n",
            Csv,
            Json,
            expect!["the text is not CSV at line 1: two columns are named `a`"],
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for format in [Format::Json, Format::Yaml] {
            assert!(format.read(&deep(30)).is_ok());
            assert!(format.read(&deep(100_000)).is_err());
        }
        assert!(
            Format::Toml
                .read(&format!("a = {}", deep(100_000)))
                .is_err()
        );
        assert!(
            Format::Toml
                .read(&format!("[{}a]", "a.".repeat(100_000)))
                .is_err()
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|number: f64| json!(number)),
            ".*".prop_map(Value::from),
            "[-:#&*!|>'\"%@`~.0-9eE yntrufalsoNY\n\t]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[-:#&*!~.0-9a-c \n]{0,6}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn yaml_comes_back(value in values()) {
            let text = Format::Yaml.write(&value).unwrap();
            prop_assert_eq!(Format::Yaml.read(&text), Ok(value), "{}", text);
        }

        #[test]
        fn toml_comes_back(value in values()) {
            let value = json!({"a": value});
            if find_not_toml(&value).is_none() {
                let text = Format::Toml.write(&value).unwrap();
                prop_assert_eq!(Format::Toml.read(&text), Ok(value), "{}", text);
            }
        }

        #[test]
        fn no_text_breaks_a_reader(text in ".*") {
            for format in [Format::Json, Format::Toml, Format::Yaml, Format::Csv] {
                let _ = format.read(&text);
            }
        }
    }
}
