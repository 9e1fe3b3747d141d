//! How much work a plugin's JSON Schema can make of a value.
//!
//! References let a few lines of schema stand for a vast one, and a validator walks the vast
//! one. Both ways in which that happens are bounded before a schema is used: what it is when
//! its references are followed, and, where it refers to itself in several places, how deep a
//! value may be, since the work then multiplies with each level.

use serde_json::Value;

/// Most nodes of a schema whose references are followed. Schemas of real tools have some
/// hundred.
const NODES_MAX: usize = 5_000;

/// Bits of work that one value may make through recursion: about a million steps.
const RECURSION_BITS: u32 = 20;

/// Deepest value that any tool takes.
const DEPTH_MAX: usize = 126;

/// Keywords whose values are not schemas, or only looked at when they are referred to.
const NOT_WALKED: [&str; 6] = [
    "$defs",
    "definitions",
    "const",
    "enum",
    "default",
    "examples",
];

/// The deepest nesting of a value that may be held against `schema`.
///
/// # Errors
/// A sentence: the schema is too large when its references are followed, or has a reference
/// of a kind that can't be.
pub fn depth_max(schema: &Value) -> Result<usize, String> {
    let mut walk = Walk {
        root: schema,
        nodes: 0,
        recursions: 0,
    };
    walk.node(schema, &mut Vec::new())?;
    Ok(match walk.recursions {
        0 | 1 => DEPTH_MAX,
        // At each level, each of them may be followed.
        many => usize::try_from(RECURSION_BITS / many.ilog2().max(1))
            .unwrap_or(0)
            .max(4),
    })
}

/// How deep arrays and objects lie within each other.
pub fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0).saturating_add(1)
}

struct Walk<'s> {
    root: &'s Value,
    nodes: usize,
    /// Places in which the schema refers to what they are part of.
    recursions: u32,
}

impl<'s> Walk<'s> {
    fn node(&mut self, node: &'s Value, within: &mut Vec<&'s str>) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            return Err(format!(
                "it has more than {NODES_MAX} parts when its references are followed"
            ));
        }
        match node {
            Value::Array(items) => items.iter().try_for_each(|item| self.node(item, within)),
            Value::Object(members) => {
                members
                    .iter()
                    .try_for_each(|(key, value)| match (key.as_str(), value) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                            self.reference(reference, within)
                        }
                        (key, _) if NOT_WALKED.contains(&key) => Ok(()),
                        _ => self.node(value, within),
                    })
            }
            _ => Ok(()),
        }
    }

    fn reference(&mut self, reference: &'s str, within: &mut Vec<&'s str>) -> Result<(), String> {
        if within.contains(&reference) || reference == "#" {
            self.recursions = self.recursions.saturating_add(1);
            return Ok(());
        }
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| {
                let shown: String = reference.chars().take(80).collect();
                format!("the reference {shown:?} is none within the schema (#/…)")
            })?;
        within.push(reference);
        self.node(target, within)?;
        within.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_schemas_are_free() {
        for schema in [
            json!({ "type": "object", "properties": { "a": { "type": "string" } } }),
            json!({ "type": "object", "properties": { "child": { "$ref": "#" } } }),
            json!({ "$defs": { "p": { "type": "number" } }, "properties": { "x": { "$ref": "#/$defs/p" }, "y": { "$ref": "#/$defs/p" } } }),
        ] {
            assert_eq!(depth_max(&schema), Ok(DEPTH_MAX), "{schema}");
        }
    }

    #[test]
    fn schemas_that_explode_are_refused() {
        let mut defs = serde_json::Map::new();
        for n in 0..40 {
            let next = format!("#/$defs/a{}", n + 1);
            defs.insert(
                format!("a{n}"),
                json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }),
            );
        }
        defs.insert("a40".to_owned(), json!({ "type": "object" }));
        let schema = json!({ "$defs": defs, "$ref": "#/$defs/a0" });
        assert!(
            depth_max(&schema)
                .unwrap_err()
                .contains("more than 5000 parts")
        );
    }

    #[test]
    fn recursion_in_several_places_bounds_the_depth() {
        let twice = json!({ "items": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } });
        assert_eq!(depth_max(&twice), Ok(20));
        let many = json!({ "items": { "allOf": vec![json!({ "$ref": "#" }); 1_000] } });
        assert_eq!(depth_max(&many), Ok(4));
    }

    #[test]
    fn references_lead_within_the_schema() {
        for reference in [
            "#/$defs/none",
            "other.json",
            "#anchor",
            "https://example.com",
        ] {
            assert!(
                depth_max(&json!({ "$ref": reference })).is_err(),
                "{reference}"
            );
        }
    }

    #[test]
    fn depths() {
        assert_eq!(depth(&json!(1)), 0);
        assert_eq!(depth(&json!([])), 1);
        assert_eq!(depth(&json!({ "a": [1, { "b": [] }] })), 4);
    }
}
