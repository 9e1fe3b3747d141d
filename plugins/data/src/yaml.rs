//! YAML, whose aliases let a short text stand for a huge value.

use portreeve_sdk::Error;
use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use crate::format::{Problem, unwritable};

/// What a text may expand to. Text of the largest size taken has fewer nodes by itself; aliases
/// may add as many again as a large configuration file has.
const NODES_MAX: usize = 200_000;
const ALIASES_MAX: usize = 500;
const ALIASED_NODES_MAX: usize = 20_000;
const ALIASED_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn read(text: &str) -> Result<Value, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_recorded_anchor_bytes: ALIASED_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIASED_NODES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location();
        Problem {
            message: message(&error),
            line: location.map(|location| location.line()),
            column: location.map(|location| location.column()),
        }
    })
}

/// What is wrong, for someone who doesn't know the library; the place stands apart.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

pub(crate) fn write(value: &Value) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|error| unwritable(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded() {
        let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let alias = format!("*a{}", n - 1);
            format!("{text}a{n}: &a{n} [{alias}, {alias}, {alias}]\n")
        });
        assert!(read(&bomb).is_err());
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            "*a, ".repeat(400)
        );
        assert!(read(&long).is_err());
        assert!(read("a: &a [1, 2]\nb: [*a, *a]\n").is_ok());
    }

    #[test]
    fn a_stream_of_documents_is_refused() {
        assert!(read("a: 1\n---\nb: 2\n").is_err());
    }
}
