//! JSONPath and JSON Pointer.

use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json_path::JsonPath;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_000;

/// The most `..` in a JSONPath: each multiplies the work by the depth of the data.
const DESCENTS_MAX: usize = 2;

/// What a query found.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// The matches, in the order of the data, up to the limit.
    matches: Vec<Match>,
    /// How many there are in all.
    count: usize,
    /// Whether `matches` holds all of them.
    complete: bool,
}

/// A match.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Match {
    /// Where it is, as a JSON Pointer.
    path: String,
    /// What is there.
    value: Value,
}

/// Finds what a path points at.
///
/// # Errors
/// `invalid-argument` where the path is malformed.
pub(crate) fn in_value(value: &Value, path: &str, limit: usize) -> Result<Found, Error> {
    if path.len() > PATH_BYTES_MAX {
        return Err(wrong(&format!(
            "the path has {} bytes; at most {PATH_BYTES_MAX} are taken",
            path.len()
        )));
    }
    if path.is_empty() || path.starts_with('/') {
        let matches: Vec<Match> = value
            .pointer(path)
            .map(|found| Match {
                path: path.to_owned(),
                value: found.clone(),
            })
            .into_iter()
            .collect();
        return Ok(Found {
            count: matches.len(),
            matches,
            complete: true,
        });
    }
    if !path.starts_with('$') {
        return Err(wrong(
            "a path begins with `$` (JSONPath, such as `$.items[0]`) or `/` (JSON Pointer, such as \
             `/items/0`)",
        ));
    }
    if path.matches("..").count() > DESCENTS_MAX {
        return Err(wrong(&format!(
            "the path has more than {DESCENTS_MAX} `..`; name the members on the way instead"
        )));
    }
    let query = JsonPath::parse(path)
        .map_err(|error| wrong(&format!("`{path}` is no JSONPath (RFC 9535): {error}")))?;
    let nodes = query.query_located(value);
    let count = nodes.len();
    let matches: Vec<Match> = nodes
        .iter()
        .take(limit)
        .map(|node| Match {
            path: node.location().to_json_pointer(),
            value: node.node().clone(),
        })
        .collect();
    Ok(Found {
        complete: matches.len() == count,
        matches,
        count,
    })
}

fn wrong(why: &str) -> Error {
    Error::invalid_argument(why).reason("invalid-path")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: &[&str]) {
        let data = json!({
            "items": [{"name": "a", "price": 5}, {"name": "b/c", "price": 12}],
            "b/c": {"~": [1, [2]]},
        });
        let found = in_value(&data, path, 100).unwrap();
        let shown: Vec<String> = found
            .matches
            .iter()
            .map(|found| format!("{} {}", found.path, found.value))
            .collect();
        assert_eq!(shown, expected, "{path}");
        assert!(found.complete);
    }

    #[test]
    fn paths() {
        check("$.items[0].name", &[r#"/items/0/name "a""#]);
        check("$.items[?@.price < 10].name", &[r#"/items/0/name "a""#]);
        check("$..price", &["/items/0/price 5", "/items/1/price 12"]);
        check("$['b/c']['~'][1][0]", &["/b~1c/~0/1/0 2"]);
        check("$.items[?length(@.name) > 1].price", &["/items/1/price 12"]);
        check("$.nothing", &[]);
        check("/items/1/price", &["/items/1/price 12"]);
        check("/b~1c/~0/0", &["/b~1c/~0/0 1"]);
        check("/items/7", &[]);
    }

    #[test]
    fn no_paths() {
        for (path, why) in [
            ("items", "begins with `$`"),
            ("$.items[", "is no JSONPath"),
            ("$..a..b..c", "more than 2 `..`"),
            (&format!("$.{}", "a".repeat(1_000)), "has 1002 bytes"),
        ] {
            let error = in_value(&json!({}), path, 1).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn matches_are_limited_and_counted() {
        let data: Value = (0..100).collect();
        let found = in_value(&data, "$[*]", 3).unwrap();
        assert_eq!(
            (found.matches.len(), found.count, found.complete),
            (3, 100, false)
        );
    }
}
