//! Arguments that clients of 2026-07-28 repeat in headers of HTTP (`x-mcp-header`), so that
//! what stands between them and the host can act on those without reading bodies.
//!
//! A client that holds to the protocol takes no tool whose headers are wrong. So these are
//! refused here, where their author sees it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::text::quoted;

/// The keyword that gives an argument a header. What it says stands after `Mcp-Param-`.
const KEYWORD: &str = "x-mcp-header";

/// An argument that is repeated in a header.
#[derive(Clone, Debug)]
pub struct HeaderArgument<'a> {
    /// The names of the members that lead to it.
    pub path: Vec<&'a str>,
    /// Its schema.
    pub schema: &'a Map<String, Value>,
    /// The header's name, after `Mcp-Param-`, in a schema that was checked.
    pub header: &'a Value,
}

/// The arguments of a tool that are repeated in headers.
pub(super) fn arguments(input_schema: &Map<String, Value>) -> Vec<HeaderArgument<'_>> {
    let mut found = Vec::new();
    collect(input_schema, &mut Vec::new(), &mut found);
    found
}

fn collect<'a>(
    schema: &'a Map<String, Value>,
    path: &mut Vec<&'a str>,
    found: &mut Vec<HeaderArgument<'a>>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        let Some(schema) = schema.as_object() else {
            continue;
        };
        path.push(name);
        if let Some(header) = schema.get(KEYWORD) {
            found.push(HeaderArgument {
                path: path.clone(),
                schema,
                header,
            });
        }
        collect(schema, path, found);
        path.pop();
    }
}

/// Checks the headers of a tool's arguments.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn check(input_schema: &Map<String, Value>) -> Result<(), String> {
    let misplaced = match input_schema.contains_key(KEYWORD) {
        true => Some(format!("/{KEYWORD}")),
        false => misplaced(input_schema, true, ""),
    };
    if let Some(place) = misplaced {
        return Err(format!(
            "its inputSchema has {}, which is at no argument: only what is reached through `properties` alone has a header",
            quoted(&place)
        ));
    }
    let mut taken = BTreeSet::new();
    for argument in arguments(input_schema) {
        let name = quoted(&argument.path.join("."));
        let header = argument.header.as_str().filter(|header| is_token(header));
        let Some(header) = header else {
            return Err(format!(
                "the `{KEYWORD}` of its argument {name} is no name of a header: write letters, digits and `-`, as in `Region`"
            ));
        };
        if !taken.insert(header.to_ascii_lowercase()) {
            return Err(format!(
                "its argument {name} has the header `{header}`, as another one has; large and small letters are the same there"
            ));
        }
        let kind = argument.schema.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(format!(
                "its argument {name} has a header, so that its type must be \"string\", \"integer\" or \"boolean\""
            ));
        }
    }
    Ok(())
}

/// Where the keyword stands at something that is no argument. `chained` says whether `schema` is
/// reached through `properties` alone.
fn misplaced(schema: &Map<String, Value>, chained: bool, place: &str) -> Option<String> {
    schema.iter().find_map(|(key, value)| {
        let place = format!("{place}/{key}");
        match key.as_str() {
            KEYWORD => (!chained).then_some(place),
            // Values, and no schemas.
            "default" | "const" | "enum" | "examples" => None,
            "properties" => misplaced_in(value, chained, &place),
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                misplaced_in(value, false, &place)
            }
            _ => misplaced_at(value, false, &place),
        }
    })
}

/// The same for schemas by their names, which may be any.
fn misplaced_in(schemas: &Value, chained: bool, place: &str) -> Option<String> {
    let mut schemas = schemas.as_object()?.iter();
    schemas.find_map(|(name, schema)| misplaced_at(schema, chained, &format!("{place}/{name}")))
}

fn misplaced_at(schema: &Value, chained: bool, place: &str) -> Option<String> {
    match schema {
        Value::Object(schema) => misplaced(schema, chained, place),
        Value::Array(items) => items
            .iter()
            .find_map(|item| misplaced_at(item, false, place)),
        _ => None,
    }
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_in_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_in_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    fn checked(schema: &Value) -> Result<(), String> {
        check(schema.as_object().unwrap())
    }

    fn with(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties})
    }

    #[test]
    fn arguments_have_headers() {
        let schema = with(&json!({
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "X.Count_1"},
            "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
            "place": with(&json!({"zone": {"type": "string", "x-mcp-header": "Zone"}})),
            "x-mcp-header": {"type": "string", "default": {"x-mcp-header": 1}},
            "free": {"enum": [{"x-mcp-header": "a"}], "examples": [{"x-mcp-header": "b"}]},
        }));
        assert_eq!(checked(&schema), Ok(()));
        let found = arguments(schema.as_object().unwrap());
        let mut paths: Vec<String> = found.iter().map(|found| found.path.join(".")).collect();
        paths.sort();
        assert_eq!(paths, ["count", "dry", "place.zone", "region"]);
    }

    #[test]
    fn wrong_headers_are_refused() {
        let check = |schema: Value, expected: Expect| {
            expected.assert_eq(&checked(&schema).unwrap_err());
        };
        for header in [
            json!(1),
            json!(""),
            json!("a b"),
            json!("é"),
            json!("a:b"),
            json!(null),
        ] {
            let schema = with(&json!({"a": {"type": "string", "x-mcp-header": header}}));
            let told = checked(&schema).unwrap_err();
            assert_eq!(
                told,
                "the `x-mcp-header` of its argument `a` is no name of a header: write letters, digits and `-`, as in `Region`"
            );
        }
        for kind in [
            json!("number"),
            json!("object"),
            json!("array"),
            json!(["string"]),
            json!(null),
        ] {
            let schema = with(&json!({"a": {"type": kind, "x-mcp-header": "A"}}));
            let told = checked(&schema).unwrap_err();
            assert_eq!(
                told,
                "its argument `a` has a header, so that its type must be \"string\", \"integer\" or \"boolean\""
            );
        }
        check(
            with(&json!({
                "a": {"type": "string", "x-mcp-header": "Region"},
                "b": with(&json!({"c": {"type": "string", "x-mcp-header": "rEGION"}})),
            })),
            expect![
                "its argument `b.c` has the header `rEGION`, as another one has; large and small letters are the same there"
            ],
        );
        check(
            json!({"type": "object", "x-mcp-header": "A"}),
            expect![
                "its inputSchema has `/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header"
            ],
        );
        let argument = json!({"type": "string", "x-mcp-header": "A"});
        let misplaced: String = [
            json!({"$defs": {"a": argument}}),
            json!({"items": argument}),
            json!({"allOf": [{"properties": {"a": argument}}]}),
            json!({"additionalProperties": argument}),
            json!({"patternProperties": {"a": argument}}),
            json!({"properties": {"a": {"anyOf": [argument]}}}),
            json!({"properties": {"a": {"type": "array", "items": argument}}}),
        ]
        .iter()
        .map(|schema| checked(schema).unwrap_err() + "\n")
        .collect();
        expect![[r#"
            its inputSchema has `/$defs/a/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/items/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/allOf/properties/a/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/additionalProperties/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/patternProperties/a/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/properties/a/anyOf/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
            its inputSchema has `/properties/a/items/x-mcp-header`, which is at no argument: only what is reached through `properties` alone has a header
        "#]].assert_eq(&misplaced);
    }

    /// Schemas of arguments, with headers in the right and in wrong places.
    fn schemas() -> impl Strategy<Value = Value> {
        let argument = "[a-d]".prop_map(|header| json!({"type": "string", "x-mcp-header": header}));
        argument.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                4 => prop::collection::btree_map("[a-d]", inner.clone(), 0..4)
                    .prop_map(|properties| json!({"type": "object", "properties": properties})),
                1 => inner.clone().prop_map(|inner| json!({"items": inner})),
                1 => inner.prop_map(|inner| json!({"allOf": [inner]})),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_header_is_missed(schema in schemas()) {
            if checked(&schema).is_ok() {
                let said = schema.to_string().matches(KEYWORD).count();
                prop_assert_eq!(arguments(schema.as_object().unwrap()).len(), said);
            }
        }
    }
}
