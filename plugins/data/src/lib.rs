//! Converts, queries and checks JSON, TOML, YAML and CSV.
//!
//! Every text is read into one JSON value, so that each tool takes each format. Sizes are bounded
//! before they can multiply: aliases of YAML, column names of CSV, descents of JSONPath.
#![deny(missing_docs)]

mod find;
mod format;
mod table;
mod yaml;

use portreeve_sdk::{Error, Json, plugin, tool};
use schemars::JsonSchema;
use serde::Serialize;

use find::Found;
use format::{Format, Problem};

/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 512 * 1024;

/// How many matches a query returns by default, and at most.
const MATCHES_DEFAULT: u16 = 50;
const MATCHES_MAX: u16 = 1_000;

/// Converts data between JSON, TOML, YAML and CSV. Members of objects come out sorted by name;
/// comments are not kept. CSV is a list of objects: the first row names the columns, and values
/// read from it are text.
#[tool(
    title = "Convert data",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn convert(
    /// The data, at most 512 KiB.
    text: String,
    /// The format of `text`.
    from: Format,
    /// The format to write.
    to: Format,
) -> Result<String, Error> {
    let value = from
        .read(bounded(&text)?)
        .map_err(|problem| problem.into_error(from))?;
    to.write(&value)
}

/// Finds values in JSON, TOML, YAML or CSV by JSONPath (RFC 9535) or JSON Pointer (RFC 6901). Use it
/// to look into data that are too long to read.
#[tool(
    title = "Query data",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn query(
    /// The data, at most 512 KiB.
    text: String,
    /// What to find: a JSONPath such as `$.items[?@.price < 10].name`, or a JSON Pointer such as
    /// `/items/0/name`.
    path: String,
    /// The format of `text`; `json` if left out.
    format: Option<Format>,
    /// At most so many matches, 1 to 1000; 50 if left out.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u16>,
) -> Result<Json<Found>, Error> {
    let format = format.unwrap_or(Format::Json);
    let limit = limit.unwrap_or(MATCHES_DEFAULT).clamp(1, MATCHES_MAX);
    let value = format
        .read(bounded(&text)?)
        .map_err(|problem| problem.into_error(format))?;
    find::in_value(&value, &path, usize::from(limit)).map(Json)
}

/// What `check` found out.
#[derive(Serialize, JsonSchema)]
struct Verdict {
    /// Whether the text is well-formed.
    valid: bool,
    /// What is wrong and where, if anything.
    problem: Option<Problem>,
    /// What is at the top: `object`, `array`, `string`, `number`, `boolean` or `null`.
    kind: Option<&'static str>,
}

/// Checks whether a text is well-formed JSON, TOML, YAML or CSV; says what is wrong, with line and
/// column. Use it before writing a configuration file.
#[tool(
    title = "Check data",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn check(
    /// The text, at most 512 KiB.
    text: String,
    /// The format that it should have.
    format: Format,
) -> Result<Json<Verdict>, Error> {
    Ok(Json(match format.read(bounded(&text)?) {
        Ok(value) => Verdict {
            valid: true,
            problem: None,
            kind: Some(format::kind(&value)),
        },
        Err(problem) => Verdict {
            valid: false,
            problem: Some(problem),
            kind: None,
        },
    }))
}

plugin!(convert, query, check);

fn bounded(text: &str) -> Result<&str, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid_argument(format_args!(
            "the text has {} bytes, more than the {TEXT_BYTES_MAX} that are taken; pass a part of \
             it",
            text.len()
        ))
        .reason("text-too-long"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use portreeve_sdk::{Content, call};
    use serde_json::{Value, json};

    fn structured(outcome: portreeve_sdk::Outcome) -> Value {
        match outcome.content.into_iter().next() {
            Some(Content::Structured(object)) => Value::Object(object),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tools_answer() {
        let arguments = json!({"text": "a: [1, x]", "from": "yaml", "to": "toml"}).to_string();
        let outcome = call::<super::convert>(&arguments).unwrap();
        let [Content::Text(text)] = outcome.content.as_slice() else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            text.parse::<toml::Table>().unwrap()["a"][1].as_str(),
            Some("x")
        );

        let arguments =
            json!({"text": "a,b\n1,2\n", "format": "csv", "path": "$[*].b"}).to_string();
        assert_eq!(
            structured(call::<super::query>(&arguments).unwrap()),
            json!({"count": 1, "matches": [{"path": "/0/b", "value": "2"}], "complete": true})
        );

        let arguments = json!({"text": "a = 1\na = 2", "format": "toml"}).to_string();
        let verdict = structured(call::<super::check>(&arguments).unwrap());
        assert_eq!(verdict["valid"], false);
        assert_eq!(verdict["problem"]["line"], 2);
    }

    #[test]
    fn a_text_beyond_the_limit_is_refused() {
        let text = " ".repeat(super::TEXT_BYTES_MAX + 1);
        let arguments = json!({"text": text, "format": "json"}).to_string();
        let error = call::<super::check>(&arguments).unwrap_err();
        assert!(error.message().contains("524289 bytes"), "{error}");
    }
}
