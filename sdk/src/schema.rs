//! JSON Schemas of arguments and answers, derived from their types.

use schemars::JsonSchema;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value};

use crate::Error;

/// The schema that a tool's arguments are held to.
pub(crate) fn input<T: JsonSchema>() -> Map<String, Value> {
    let mut schema = root::<T>(Contract::Deserialize);
    // The struct is made by the macro: its name tells nothing.
    schema.remove("title");
    // An object without members has no list of them in schemars' view; clients expect one.
    schema
        .entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    schema
}

/// The schema of a structured answer.
pub(crate) fn output<T: JsonSchema>() -> Map<String, Value> {
    let mut schema = root::<T>(Contract::Serialize);
    if !schema.contains_key("type") && has_object_branches_only(&schema) {
        // An enum of structs: MCP wants the type said at the top as well.
        schema.insert("type".to_owned(), Value::from("object"));
    }
    schema
}

/// Whether a schema admits nothing but objects, as a structured answer must be.
pub(crate) fn is_object(schema: &Map<String, Value>) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

/// Why `T` can't be a structured answer.
pub(crate) fn not_an_object<T: JsonSchema>() -> Error {
    Error::internal(format_args!(
        "the structured answer `{}` is not a JSON object; put it into a field of a struct",
        T::schema_name()
    ))
}

/// Schemas are written out in place (`$ref` only where a type contains itself): models and
/// clients read them better than references.
fn root<T: JsonSchema>(contract: Contract) -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
        settings.contract = contract;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    match schema.to_value() {
        Value::Object(schema) => schema,
        // `true` and `false` as schemas: anything, nothing.
        Value::Bool(false) => Map::from_iter([("not".to_owned(), Value::Object(Map::new()))]),
        _ => Map::new(),
    }
}

fn has_object_branches_only(schema: &Map<String, Value>) -> bool {
    ["oneOf", "anyOf"].iter().any(|word| {
        schema
            .get(*word)
            .and_then(Value::as_array)
            .is_some_and(|branches| {
                !branches.is_empty()
                    && branches
                        .iter()
                        .all(|branch| branch.as_object().is_some_and(is_object))
            })
    })
}
