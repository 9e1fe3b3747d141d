//! JSON Schemas: those of the manifests, for editors, and the one way in which Portreeve
//! compiles the schemas of others.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::schema_cost;

/// The JSON Schema of `plugin.toml`, for editors and other tools.
///
/// It says what the grammar is, not what this version enforces, and less than the parser
/// knows where a pattern cannot say it.
pub fn plugin_toml() -> Value {
    schemars::schema_for!(crate::plugin::RawPluginManifest).to_value()
}

/// The JSON Schema of `portreeve.toml`, for editors and other tools.
pub fn portreeve_toml() -> Value {
    schemars::schema_for!(crate::project::RawProject).to_value()
}

/// The most memory that one `pattern` of a schema may compile to, in bytes.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Compiles a JSON Schema (draft 2020-12 unless it says otherwise) that comes from a
/// plugin: patterns run without backtracking, references lead nowhere outside the schema,
/// and it is not too large when they are followed.
///
/// # Errors
/// A sentence that says where the schema is wrong.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    schema_cost::depth_max(schema)?;
    jsonschema::options()
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX),
        )
        .offline()
        .build(schema)
        .map_err(|error| {
            let place = error.instance_path().to_string();
            let message = shorten(&error.to_string());
            if place.is_empty() {
                message
            } else {
                format!("at {place}: {message}")
            }
        })
}

/// A message that may quote a whole value, cut to a readable length.
pub(crate) fn shorten(message: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut chars = message.chars();
    let start: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_none() {
        start
    } else {
        format!("{start}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;
    use serde_json::json;

    #[test]
    fn the_committed_schemas_are_current() {
        let pretty = |schema| format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        expect_file!["../schema/plugin.schema.json"].assert_eq(&pretty(plugin_toml()));
        expect_file!["../schema/portreeve.schema.json"].assert_eq(&pretty(portreeve_toml()));
    }

    #[test]
    fn references_and_patterns_are_contained() {
        let wrong = [
            json!({ "$ref": "https://example.com/schema.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!({ "type": "strin" }),
            json!({ "pattern": "(" }),
            json!({ "pattern": "((((a{100}){100}){100}){100})" }),
            json!({ "pattern": "(?=x)x" }),
            json!(7),
        ];
        for schema in wrong {
            assert!(compile(&schema).is_err(), "{schema}");
        }
        let validator = compile(&json!({ "pattern": "^(a+)+$" })).unwrap();
        assert!(!validator.is_valid(&format!("{}!", "a".repeat(100_000)).into()));
        let recursive = json!({ "type": "object", "properties": { "child": { "$ref": "#" } } });
        assert!(compile(&recursive).is_ok());
    }

    #[test]
    fn long_messages_are_cut() {
        assert_eq!(shorten("é"), "é");
        assert_eq!(shorten(&"é".repeat(400)).chars().count(), 301);
    }
}
