//! What a host sees of a tool: its document and its answers, called natively.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it should be"
)]

use expect_test::{Expect, expect};
use portreeve_sdk::{
    Answer, Code, Content, Error, Icon, Json, Outcome, Theme, Tool, call, describe, tool,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

fn document<T: Tool>(expected: Expect) {
    let mut document = describe::<T>().unwrap();
    // Another crate of the same build may have serde_json keep the order of insertion.
    document.sort_all_objects();
    expected.assert_eq(&format!("{document:#}"));
}

/// Says hello.
#[tool]
fn hello() -> &'static str {
    "hello"
}

/// In what order.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Order {
    Newest,
    Oldest,
}

/// A span of time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Span {
    /// The first day.
    from: String,
    to: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// Ids of the issues.
    ids: Vec<u64>,
    next: Option<String>,
}

const ICONS: &[Icon] = &[
    Icon::new("data:image/png;base64,AAAA").sizes(&["48x48"]),
    Icon::new("data:image/svg+xml,x")
        .mime_type("image/svg+xml")
        .theme(Theme::Dark),
];

/// Finds issues.
///
/// Use it before filing one.
#[tool(
    name = "find-issues",
    title = "Find issues",
    read_only,
    destructive = false,
    idempotent,
    open_world = false,
    icons = ICONS,
    tasks = "required"
)]
fn find_issues(
    /// Words to look for,
    /// all of them.
    text: String,
    /// At most so many.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "ten")]
    limit: u8,
    order: Option<Order>,
    span: Option<Span>,
    r#type: Option<String>,
    #[serde(rename = "labelNames")] mut labels: Option<Vec<String>>,
) -> Result<Json<Found>, Error> {
    if let Some(labels) = &mut labels {
        labels.retain(|label| !label.is_empty());
    }
    if text.is_empty() {
        return Err(Error::invalid_argument("text is empty; give a word").reason("empty-text"));
    }
    let named = u64::from(r#type.is_some()) + labels.map_or(0, |labels| labels.len() as u64);
    let order = match order {
        Some(Order::Newest) => 1,
        Some(Order::Oldest) => 2,
        None => 0,
    };
    let next = span.map(|span| format!("{}..{}", span.from, span.to.unwrap_or_default()));
    Ok(Json(Found {
        ids: vec![u64::from(limit), named, order],
        next,
    }))
}

fn ten() -> u8 {
    10
}

#[test]
fn a_tool_without_arguments() {
    document::<hello>(expect![[r#"
        {
          "description": "Says hello.",
          "inputSchema": {
            "additionalProperties": false,
            "properties": {},
            "type": "object"
          },
          "name": "hello"
        }"#]]);
    assert_eq!(call::<hello>("{}").unwrap(), Content::text("hello").into());
    for arguments in [r#"{"name": "x"}"#, "[1]", "null", "", "{} {}", "\"a\""] {
        assert_eq!(
            call::<hello>(arguments).unwrap_err().code(),
            Code::InvalidArgument,
            "{arguments}"
        );
    }
}

#[test]
fn a_tool_with_everything() {
    document::<find_issues>(expect![[r#"
        {
          "annotations": {
            "destructiveHint": false,
            "idempotentHint": true,
            "openWorldHint": false,
            "readOnlyHint": true
          },
          "description": "Finds issues.\n\nUse it before filing one.",
          "execution": {
            "taskSupport": "required"
          },
          "icons": [
            {
              "sizes": [
                "48x48"
              ],
              "src": "data:image/png;base64,AAAA"
            },
            {
              "mimeType": "image/svg+xml",
              "src": "data:image/svg+xml,x",
              "theme": "dark"
            }
          ],
          "inputSchema": {
            "additionalProperties": false,
            "properties": {
              "labelNames": {
                "items": {
                  "type": "string"
                },
                "type": [
                  "array",
                  "null"
                ]
              },
              "limit": {
                "default": 10,
                "description": "At most so many.",
                "format": "uint8",
                "maximum": 100,
                "minimum": 1,
                "type": "integer"
              },
              "order": {
                "description": "In what order.",
                "enum": [
                  "newest",
                  "oldest",
                  null
                ],
                "type": [
                  "string",
                  "null"
                ]
              },
              "span": {
                "additionalProperties": false,
                "description": "A span of time.",
                "properties": {
                  "from": {
                    "description": "The first day.",
                    "type": "string"
                  },
                  "to": {
                    "type": [
                      "string",
                      "null"
                    ]
                  }
                },
                "required": [
                  "from"
                ],
                "type": [
                  "object",
                  "null"
                ]
              },
              "text": {
                "description": "Words to look for,\nall of them.",
                "type": "string"
              },
              "type": {
                "type": [
                  "string",
                  "null"
                ]
              }
            },
            "required": [
              "text"
            ],
            "type": "object"
          },
          "name": "find-issues",
          "outputSchema": {
            "properties": {
              "ids": {
                "description": "Ids of the issues.",
                "items": {
                  "format": "uint64",
                  "minimum": 0,
                  "type": "integer"
                },
                "type": "array"
              },
              "next": {
                "type": [
                  "string",
                  "null"
                ]
              }
            },
            "required": [
              "ids",
              "next"
            ],
            "title": "Found",
            "type": "object"
          },
          "title": "Find issues"
        }"#]]);
}

#[test]
fn arguments_arrive_typed() {
    let check = |arguments: serde_json::Value, expected: Expect| {
        let text = match call::<find_issues>(&arguments.to_string()) {
            Ok(outcome) => match outcome.content.as_slice() {
                [Content::Structured(object)] => {
                    format!("{} {}", json!(object["ids"]), json!(object["next"]))
                }
                other => format!("{other:?}"),
            },
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    };
    check(json!({"text": "a"}), expect![[r#"[10,0,0] null"#]]);
    check(
        json!({
            "text": "a", "limit": 3, "order": "oldest", "type": "bug",
            "labelNames": ["x", "", "y"], "span": {"from": "2026-01-01", "to": null},
        }),
        expect![[r#"[3,3,2] "2026-01-01..""#]],
    );
    check(
        json!({"text": ""}),
        expect!["invalid-argument (empty-text): text is empty; give a word"],
    );
    check(
        json!({}),
        expect![
            "invalid-argument: the arguments of `find-issues` don't fit its input schema: missing field `text` at line 1 column 2"
        ],
    );
    check(
        json!({"text": "a", "limit": 256}),
        expect![
            "invalid-argument: the arguments of `find-issues` don't fit its input schema: invalid value: integer `256`, expected u8 at line 1 column 12"
        ],
    );
    check(
        json!({"text": "a", "labels": []}),
        expect![
            "invalid-argument: the arguments of `find-issues` don't fit its input schema: unknown field `labels`, expected one of `text`, `limit`, `order`, `span`, `type`, `labelNames` at line 1 column 9"
        ],
    );
    check(
        json!({"text": "a", "order": "newer"}),
        expect![
            "invalid-argument: the arguments of `find-issues` don't fit its input schema: unknown variant `newer`, expected `newest` or `oldest` at line 1 column 16"
        ],
    );
    check(
        json!({"text": "a", "span": {"from": "x", "till": "y"}}),
        expect![
            "invalid-argument: the arguments of `find-issues` don't fit its input schema: unknown field `till`, expected `from` or `to` at line 1 column 26"
        ],
    );
}

/// A tree: its schema contains itself.
#[derive(Serialize, JsonSchema)]
struct Tree {
    children: Vec<Tree>,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Shape {
    Circle { radius: f64 },
    Square { side: f64 },
}

#[test]
fn output_schemas() {
    let check = |schema: Option<serde_json::Map<String, serde_json::Value>>, expected: Expect| {
        let mut schema = json!(schema);
        schema.sort_all_objects();
        expected.assert_eq(&schema.to_string());
    };
    for shape in [Shape::Circle { radius: 1.0 }, Shape::Square { side: 1.0 }] {
        assert!(Json(shape).into_outcome().is_ok());
    }
    check(
        <Json<Tree>>::output_schema(),
        expect![[
            r##"{"description":"A tree: its schema contains itself.","properties":{"children":{"items":{"$ref":"#"},"type":"array"}},"required":["children"],"title":"Tree","type":"object"}"##
        ]],
    );
    check(
        <Result<Json<Shape>, Error>>::output_schema(),
        expect![[
            r#"{"oneOf":[{"properties":{"kind":{"const":"circle","type":"string"},"radius":{"format":"double","type":"number"}},"required":["kind","radius"],"type":"object"},{"properties":{"kind":{"const":"square","type":"string"},"side":{"format":"double","type":"number"}},"required":["kind","side"],"type":"object"}],"title":"Shape","type":"object"}"#
        ]],
    );
    check(<Result<Outcome, Error>>::output_schema(), expect!["null"]);
}

/// Lists numbers.
#[tool]
fn bare_list() -> Json<Vec<u8>> {
    Json(vec![1])
}

#[test]
fn a_structured_answer_that_is_no_object_is_refused_when_listed() {
    expect!["internal: the structured answer of the tool `bare_list` is not an object; put it into a field of a struct"].assert_eq(&describe::<bare_list>().unwrap_err().to_string());
    expect!["internal: the structured answer `Array_of_uint8` is not a JSON object; put it into a field of a struct"].assert_eq(&call::<bare_list>("{}").unwrap_err().to_string());
}

mod elsewhere {
    use portreeve_sdk::tool;

    /// Reads a number.
    #[tool(name = "number.read")]
    pub(crate) fn read(
        /// Digits.
        text: String,
    ) -> Result<String, std::num::ParseIntError> {
        Ok(text.parse::<u32>()?.to_string())
    }
}

#[test]
fn a_standard_error_is_internal() {
    assert_eq!(elsewhere::read::NAME, "number.read");
    let error = call::<elsewhere::read>(r#"{"text": "x"}"#).unwrap_err();
    assert_eq!(error, Error::internal("invalid digit found in string"));
}

/// The operator's settings.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Settings {
    greeting: String,
}

fn setup(settings: Settings) -> Result<(), Error> {
    if settings.greeting == "no" {
        return Err(Error::unavailable("not today"));
    }
    Ok(())
}

fn stop(_deadline: std::time::Duration) {}

fn health() -> Result<(), std::fmt::Error> {
    Ok(())
}

fn migrate(_from_version: &str) -> Result<(), Error> {
    Ok(())
}

// Natively this is only compiled: names are held apart, hooks are type-checked.
portreeve_sdk::plugin!(
    hello,
    find_issues,
    elsewhere::read,
    start = setup,
    stop = stop,
    health = health,
    migrate = migrate
);

#[test]
fn the_host_seen_from_a_native_build() {
    assert_eq!(portreeve_sdk::context::call_id(), "");
    assert_eq!(portreeve_sdk::context::caller(), "local");
    assert!(!portreeve_sdk::context::is_cancelled());
    assert!(portreeve_sdk::context::deadline() > std::time::Duration::from_secs(1));
    assert_eq!(portreeve_sdk::context::fuel_left(), u64::MAX);
    assert_eq!(
        portreeve_sdk::config::get::<String>("greeting").unwrap(),
        None
    );
    assert_eq!(
        portreeve_sdk::config::all::<Settings>().unwrap().greeting,
        ""
    );
    let refused = portreeve_sdk::progress::report(1.0, None, None).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
