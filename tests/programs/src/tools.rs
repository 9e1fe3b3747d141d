//! From plain functions to a provider of tools.

use serde_json::{Map, Value, json};

use crate::{ErrorCode, Failure, Parameter, failure};

/// Makes the program a provider of the given functions.
///
/// The doc comment becomes the tool's description, the parameters its input schema. The
/// type that implements the contract is `Program`.
#[macro_export]
macro_rules! tools {
    ($(
        $(#[doc = $description:literal])+
        fn $tool:ident($($parameter:ident: $type:ty),* $(,)?) -> $answer:ty $body:block
    )+) => {
        $(
            $(#[doc = $description])+
            fn $tool($($parameter: $type),*) -> $answer $body
        )+

        struct Program;

        impl $crate::Guest for Program {
            fn list_tools() -> Result<Vec<String>, $crate::Failure> {
                Ok(vec![$($crate::tool_document(
                    stringify!($tool),
                    concat!($($description),+),
                    &[$((
                        stringify!($parameter),
                        <$type as $crate::Parameter>::schema(),
                        <$type as $crate::Parameter>::REQUIRED,
                    )),*],
                ).to_string()),+])
            }

            fn call_tool(name: String, arguments: String) -> $crate::Answer {
                match name.as_str() {
                    $(stringify!($tool) => $tool(
                        $($crate::argument(&arguments, stringify!($parameter))?),*
                    ),)+
                    _ => Err($crate::no_such_tool(&name)),
                }
            }
        }

        $crate::export!(Program);
    };
}

/// Makes the program a provider whose list of tools is what the function returns. Its
/// only tool, under any name, answers `called`.
#[macro_export]
macro_rules! listing {
    ($list:expr) => {
        struct Program;

        impl $crate::Guest for Program {
            fn list_tools() -> Result<Vec<String>, $crate::Failure> {
                $list()
            }

            fn call_tool(_name: String, _arguments: String) -> $crate::Answer {
                Ok($crate::text("called"))
            }
        }

        $crate::export!(Program);
    };
}

/// One argument of a call.
///
/// # Errors
/// `invalid-argument` if it is missing or of another type.
pub fn argument<T: Parameter>(arguments: &str, name: &str) -> Result<T, Failure> {
    let wrong = |why: String| failure(ErrorCode::InvalidArgument, why);
    let arguments: Value =
        serde_json::from_str(arguments).map_err(|error| wrong(format!("no JSON: {error}")))?;
    T::read(arguments.get(name).unwrap_or(&Value::Null))
        .ok_or_else(|| wrong(format!("`{name}` must be {}", T::schema())))
}

/// The failure of a call to a tool that isn't there.
pub fn no_such_tool(name: &str) -> Failure {
    failure(ErrorCode::NotFound, format!("there is no tool `{name}`"))
}

/// The document of a tool, from its parameters: name, schema, and whether it is required.
pub fn tool_document(name: &str, description: &str, parameters: &[(&str, Value, bool)]) -> Value {
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|(name, schema, _)| ((*name).to_owned(), schema.clone()))
        .collect();
    let required: Vec<&str> = parameters
        .iter()
        .filter(|(_, _, required)| *required)
        .map(|(name, _, _)| *name)
        .collect();
    json!({
        "name": name,
        "description": description.trim(),
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
    })
}
