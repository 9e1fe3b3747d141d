//! The types of a bare component's functions and the JSON Schemas made of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::tool::{Tool, ToolExecution, ToolMeta};

/// A component-model value type that has a JSON form. Resources, streams, futures and
/// error contexts have none and don't appear here.
///
/// | Type | JSON |
/// |---|---|
/// | `bool`, `string` | boolean, string |
/// | `s8` … `u32` | integer within the type's range |
/// | `s64`, `u64` | integer up to ±(2^53 − 1), or a decimal string |
/// | `f32`, `f64` | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
/// | `char` | string of one code point |
/// | `list<T>`, `tuple<…>` | array |
/// | `record` | object; members of type `option` may be left out |
/// | `variant` | `"case"`, or `{"case": payload}` |
/// | `enum`, `flags` | string, array of distinct strings |
/// | `option<T>` | the value or `null`; where the value may itself be `null`: `{"some": value}` or `null` |
/// | `result<T, E>` | `{"ok": value}` or `{"err": value}` (`null` without payload) |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitType {
    /// `bool`
    Bool,
    /// `s8`
    S8,
    /// `u8`
    U8,
    /// `s16`
    S16,
    /// `u16`
    U16,
    /// `s32`
    S32,
    /// `u32`
    U32,
    /// `s64`
    S64,
    /// `u64`
    U64,
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `char`
    Char,
    /// `string`
    String,
    /// `list<T>`
    List(Box<WitType>),
    /// `record { … }`
    Record(Vec<Field>),
    /// `tuple<…>`
    Tuple(Vec<WitType>),
    /// `variant { … }`
    Variant(Vec<Case>),
    /// `enum { … }`
    Enum(Vec<String>),
    /// `flags { … }`
    Flags(Vec<String>),
    /// `option<T>`
    Option(Box<WitType>),
    /// `result<T, E>`
    Result {
        /// The payload of `ok`.
        ok: Option<Box<WitType>>,
        /// The payload of `err`.
        err: Option<Box<WitType>>,
    },
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name, in WIT's kebab-case; the JSON member has the same.
    pub name: String,
    /// Its type.
    pub ty: WitType,
    /// Its doc comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name, in WIT's kebab-case.
    pub name: String,
    /// The type of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<WitType>,
    /// Its doc comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// Where a component exports a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExportRef {
    /// The exported interface (`namespace:package/interface@1.0.0`); none for a function
    /// that the world exports itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The function's name.
    pub function: String,
}

/// An exported function of a bare component and the tool made of it.
///
/// A result type `result<T, E>` makes `ok` the answer and `err` an error of the tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BareFunction {
    /// The tool.
    pub tool: Tool,
    /// The function behind it.
    pub export: ExportRef,
    /// The parameters in the function's order; by name in the tool's arguments.
    pub params: Vec<(String, WitType)>,
    /// The type of what it returns.
    pub result: Option<WitType>,
}

/// The largest integer that every JSON reader keeps exact: 2^53 − 1.
pub const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;

impl WitType {
    /// The JSON Schema of this type's values: strict, so that what it accepts is what the
    /// conversion to component values accepts, but for the range of 64-bit integers that
    /// are written as strings.
    pub fn schema(&self) -> Value {
        match self {
            WitType::Bool => json!({ "type": "boolean" }),
            WitType::S8 => integer(i8::MIN, i8::MAX),
            WitType::U8 => integer(u8::MIN, u8::MAX),
            WitType::S16 => integer(i16::MIN, i16::MAX),
            WitType::U16 => integer(u16::MIN, u16::MAX),
            WitType::S32 => integer(i32::MIN, i32::MAX),
            WitType::U32 => integer(u32::MIN, u32::MAX),
            WitType::S64 => wide_integer(-SAFE_INTEGER_MAX, "^-?[0-9]{1,19}$"),
            WitType::U64 => wide_integer(0, "^[0-9]{1,20}$"),
            WitType::F32 | WitType::F64 => json!({
                "anyOf": [
                    { "type": "number" },
                    { "enum": ["NaN", "Infinity", "-Infinity"] },
                ],
            }),
            WitType::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            WitType::String => json!({ "type": "string" }),
            WitType::List(item) => json!({ "type": "array", "items": item.schema() }),
            WitType::Record(fields) => object(
                fields
                    .iter()
                    .map(|f| (f.name.as_str(), &f.ty, f.docs.as_deref())),
            ),
            WitType::Tuple(items) if items.is_empty() => json!({ "type": "array", "maxItems": 0 }),
            WitType::Tuple(items) => json!({
                "type": "array",
                "prefixItems": items.iter().map(WitType::schema).collect::<Vec<_>>(),
                "items": false,
                "minItems": items.len(),
                "maxItems": items.len(),
            }),
            WitType::Variant(cases) => one_of(cases.iter().map(|case| {
                let schema = match &case.ty {
                    None => json!({ "const": case.name }),
                    Some(ty) => member(&case.name, ty.schema()),
                };
                described(schema, case.docs.as_deref())
            })),
            WitType::Enum(names) => json!({ "type": "string", "enum": names }),
            WitType::Flags(names) => json!({
                "type": "array",
                "items": { "enum": names },
                "uniqueItems": true,
            }),
            WitType::Option(inner) if inner.accepts_null() => {
                one_of([member("some", inner.schema()), json!({ "type": "null" })])
            }
            WitType::Option(inner) => one_of([inner.schema(), json!({ "type": "null" })]),
            WitType::Result { ok, err } => one_of([("ok", ok), ("err", err)].map(|(name, ty)| {
                let payload = ty
                    .as_ref()
                    .map_or(json!({ "type": "null" }), |ty| ty.schema());
                member(name, payload)
            })),
        }
    }

    /// Whether `null` is a value of this type, so that an `option` of it needs a wrapper.
    pub fn accepts_null(&self) -> bool {
        matches!(self, WitType::Option(_))
    }
}

impl BareFunction {
    /// The tool of an exported function: named `name`, described by the function's doc
    /// comment, its parameters the members of an object.
    pub fn new(
        name: &str,
        docs: Option<&str>,
        export: ExportRef,
        params: Vec<(String, WitType)>,
        result: Option<WitType>,
    ) -> BareFunction {
        let members = params.iter().map(|(name, ty)| (name.as_str(), ty, None));
        let input_schema = into_object(object(members));
        let output_schema = answer(result.as_ref()).map(|ty| into_object(answer_schema(ty)));
        let tool = Tool {
            name: name.to_owned(),
            title: None,
            description: docs.map(|docs| docs.trim().to_owned()),
            input_schema,
            output_schema,
            annotations: None,
            icons: Vec::new(),
            execution: ToolExecution::default(),
            meta: ToolMeta::default(),
        };
        BareFunction {
            tool,
            export,
            params,
            result,
        }
    }
}

/// The type of a function's answer: that of `ok` where it returns a `result`.
pub fn answer(result: Option<&WitType>) -> Option<&WitType> {
    match result? {
        WitType::Result { ok, .. } => ok.as_deref(),
        ty => Some(ty),
    }
}

/// Whether an answer of this type is the structured content itself. Structured content
/// must be an object: any other answer is the member `result` of one.
pub fn is_structured(answer: &WitType) -> bool {
    matches!(answer, WitType::Record(_))
}

/// The schema of the structured content for an answer of this type.
fn answer_schema(answer: &WitType) -> Value {
    if is_structured(answer) {
        answer.schema()
    } else {
        member("result", answer.schema())
    }
}

fn into_object(schema: Value) -> Map<String, Value> {
    match schema {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn integer(min: impl Into<i64>, max: impl Into<i64>) -> Value {
    json!({ "type": "integer", "minimum": min.into(), "maximum": max.into() })
}

/// A 64-bit integer: exact in JSON up to 2^53 − 1, as decimal text beyond.
fn wide_integer(min: i64, pattern: &str) -> Value {
    json!({
        "anyOf": [
            { "type": "integer", "minimum": min, "maximum": SAFE_INTEGER_MAX },
            { "type": "string", "pattern": pattern },
        ],
    })
}

/// An object with exactly one member.
fn member(name: &str, schema: Value) -> Value {
    json!({
        "type": "object",
        "properties": { name: schema },
        "required": [name],
        "additionalProperties": false,
    })
}

/// An object of named, typed members, none other allowed; those of type `option` may be
/// left out.
fn object<'a>(members: impl Iterator<Item = (&'a str, &'a WitType, Option<&'a str>)>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, ty, docs) in members {
        properties.insert(name.into(), described(ty.schema(), docs));
        if !matches!(ty, WitType::Option(_)) {
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn one_of(schemas: impl IntoIterator<Item = Value>) -> Value {
    json!({ "oneOf": schemas.into_iter().collect::<Vec<_>>() })
}

/// A schema with a description.
fn described(mut schema: Value, docs: Option<&str>) -> Value {
    if let (Some(docs), Some(members)) = (docs, schema.as_object_mut()) {
        members.insert("description".into(), docs.trim().into());
    }
    schema
}

#[cfg(test)]
mod tests;
