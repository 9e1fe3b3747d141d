//! Tool documents, as plugins hand them over and packages record them, and the names under
//! which clients see tools.

mod header;
mod name;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::content::check_uri;
use crate::icon::{ICONS_BYTES_MAX, Icon, check_icons};
use crate::json::{self, JsonError, JsonLimits};

pub use header::HeaderArgument;
pub use name::{NAME_BYTES_MAX, ToolPrefix, exposed_name, is_plain_name, is_tool_name};

/// The longest tool document without its icons, in bytes of JSON text: its schemas are all
/// sent to models, and 64 KiB is already more than a whole list should cost.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// How deep a tool document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 32;
/// Tools that one plugin may offer.
pub const TOOLS_MAX: usize = 512;
/// The longest title, in bytes.
pub const TITLE_BYTES_MAX: usize = 256;
/// The longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 16 << 10;

/// One tool: what `list-tools` returns and what MCP clients see.
///
/// Members that this version doesn't know are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The plugin's name of the tool: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the tool does and when to use it, for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of the arguments, of type `object`.
    pub input_schema: Map<String, Value>,
    /// The JSON Schema of the structured answer, of type `object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Map<String, Value>>,
    /// Hints about what the tool does, as in MCP. They come from the plugin's author and
    /// nothing may be decided on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
    /// Pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
    /// How it is called.
    #[serde(default, skip_serializing_if = "ToolExecution::is_plain")]
    pub execution: ToolExecution,
    /// What it has to do with panels.
    #[serde(default, rename = "_meta", skip_serializing_if = "ToolMeta::is_empty")]
    pub meta: ToolMeta,
}

/// How a tool is called, as in MCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolExecution {
    /// Whether its calls are tasks.
    #[serde(default)]
    pub task_support: TaskSupport,
}

/// Whether a tool's calls are tasks, which their callers come back for. The host keeps tasks for
/// its plugins, so that any tool can be one whose author says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskSupport {
    /// Never.
    Forbidden,
    /// Where the caller says so, or they take long.
    #[default]
    Optional,
    /// Always. Callers of versions that knew no tasks just call.
    Required,
}

impl TaskSupport {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskSupport::Forbidden => "forbidden",
            TaskSupport::Optional => "optional",
            TaskSupport::Required => "required",
        }
    }
}

/// What belongs to extensions of MCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolMeta {
    /// MCP Apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ui: Option<Box<ToolUi>>,
}

/// What a tool has to do with panels, as in MCP Apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUi {
    /// The plugin's own address of the panel that is shown with its answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_uri: Option<String>,
    /// Who may call it; both, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<BTreeSet<Visibility>>,
}

/// Who may call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Models.
    Model,
    /// Panels.
    App,
}

impl ToolExecution {
    fn is_plain(&self) -> bool {
        *self == ToolExecution::default()
    }
}

impl ToolMeta {
    fn is_empty(&self) -> bool {
        self.ui.is_none()
    }
}

/// What the author says about a tool's behaviour, as in MCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// The name for people; [`Tool::title`] goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// It changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may delete or overwrite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Calling it twice is as calling it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It deals with the world outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// Why a tool document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The text is not strict JSON, too long or too deep.
    #[error("the tool document is refused: {0}")]
    Json(#[from] JsonError),
    /// A member is missing or has the wrong type.
    #[error("the tool document is refused: {0}")]
    Shape(String),
    /// A member has a value that isn't allowed.
    #[error("the tool {tool:?} is refused: {why}")]
    Value {
        /// The name of the tool, cut off where it is long.
        tool: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// Two tools of one plugin have the same name.
    #[error("two tools are named {0:?}; give each a name of its own")]
    Duplicate(String),
    /// There are more tools than one plugin may offer.
    #[error("the plugin offers {0} tools, but at most {TOOLS_MAX} are allowed")]
    TooMany(usize),
}

impl Tool {
    /// Reads one tool document and checks all of it.
    ///
    /// # Errors
    /// Not strict JSON, longer than [`DOCUMENT_BYTES_MAX`] without its icons, deeper than
    /// [`DOCUMENT_DEPTH_MAX`], or one of the faults that [`Tool::check`] finds.
    pub fn parse(json_text: &str) -> Result<Tool, ToolError> {
        let limits = JsonLimits {
            bytes_max: DOCUMENT_BYTES_MAX.saturating_add(ICONS_BYTES_MAX),
            depth_max: DOCUMENT_DEPTH_MAX,
        };
        let document = json::parse(json_text, &limits)?;
        if !document.is_object() {
            return Err(ToolError::Shape("it must be a JSON object".into()));
        }
        let tool: Tool = serde_json::from_value(document)
            .map_err(|error| ToolError::Shape(error.to_string()))?;
        let icons: usize = tool.icons.iter().map(|icon| icon.src.len()).sum();
        let rest = json_text.len().saturating_sub(icons);
        if rest > DOCUMENT_BYTES_MAX {
            return Err(tool.refused(format!(
                "without its icons it has {rest} bytes, but at most {DOCUMENT_BYTES_MAX} are allowed"
            )));
        }
        tool.check()?;
        Ok(tool)
    }

    fn refused(&self, why: String) -> ToolError {
        ToolError::Value {
            tool: self.name.chars().take(NAME_BYTES_MAX).collect(),
            why,
        }
    }

    /// The plugin's own address of the panel that is shown with its answers.
    pub fn panel(&self) -> Option<&str> {
        self.meta.ui.as_ref()?.resource_uri.as_deref()
    }

    /// Whether its author lets it be called by `whom`.
    pub fn is_for(&self, whom: Visibility) -> bool {
        let said = self.meta.ui.as_ref().and_then(|ui| ui.visibility.as_ref());
        said.is_none_or(|said| said.contains(&whom))
    }

    /// The arguments that clients repeat in headers of HTTP.
    pub fn header_arguments(&self) -> Vec<HeaderArgument<'_>> {
        header::arguments(&self.input_schema)
    }

    /// Reads the documents of a plugin's whole list.
    ///
    /// # Errors
    /// More than [`TOOLS_MAX`] documents, two tools of one name, or a document that
    /// [`Tool::parse`] refuses.
    pub fn parse_list(documents: &[String]) -> Result<Vec<Tool>, ToolError> {
        if documents.len() > TOOLS_MAX {
            return Err(ToolError::TooMany(documents.len()));
        }
        let mut names = BTreeSet::new();
        documents
            .iter()
            .map(|document| {
                let tool = Tool::parse(document)?;
                if !names.insert(tool.name.clone()) {
                    return Err(ToolError::Duplicate(tool.name));
                }
                Ok(tool)
            })
            .collect()
    }

    /// Checks the name, the texts, the icons, the schemas and the headers of arguments.
    ///
    /// # Errors
    /// The first fault, with what would be right.
    pub fn check(&self) -> Result<(), ToolError> {
        let refuse = |why: String| Err(self.refused(why));
        if !is_tool_name(&self.name) {
            return refuse(format!(
                "a name has 1 to {NAME_BYTES_MAX} characters of A-Z, a-z, 0-9, `_`, `.` and `-`"
            ));
        }
        let annotated = self.annotations.as_ref().and_then(|a| a.title.as_ref());
        let texts = [
            ("title", self.title.as_ref(), TITLE_BYTES_MAX, false),
            (
                "description",
                self.description.as_ref(),
                DESCRIPTION_BYTES_MAX,
                true,
            ),
            ("annotations.title", annotated, TITLE_BYTES_MAX, false),
        ];
        for (member, text, bytes_max, lines) in texts {
            let Some(text) = text else { continue };
            if text.len() > bytes_max {
                return refuse(format!(
                    "its {member} has {} bytes, but at most {bytes_max} are allowed",
                    text.len()
                ));
            }
            // Clients print these: an escape sequence could rewrite a terminal.
            let control = |c: &char| c.is_control() && !(lines && matches!(c, '\n' | '\t'));
            if let Some(c) = text.chars().find(control) {
                return refuse(format!(
                    "its {member} contains the control character {c:?}; remove it"
                ));
            }
        }
        if let Err(why) = check_icons(&self.icons) {
            return refuse(why);
        }
        if let Some(panel) = self.panel() {
            if !panel.starts_with("ui://") {
                return refuse("the address of its panel does not begin with `ui://`".into());
            }
            if let Err(why) = check_uri(panel) {
                return refuse(format!("its panel: {why}"));
            }
        }
        let schemas = [
            ("inputSchema", Some(&self.input_schema)),
            ("outputSchema", self.output_schema.as_ref()),
        ];
        for (member, schema) in schemas {
            let Some(schema) = schema else { continue };
            if schema.get("type").and_then(Value::as_str) != Some("object") {
                return refuse(format!("its {member} must have \"type\": \"object\""));
            }
            if let Err(why) = crate::schema::compile(&Value::Object(schema.clone())) {
                return refuse(format!("its {member} is no usable JSON Schema: {why}"));
            }
        }
        if let Err(why) = header::check(&self.input_schema) {
            return refuse(why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    fn check(document: &Value, expected: Expect) {
        let shown = match Tool::parse(&document.to_string()) {
            Ok(tool) => serde_json::to_string(&tool).unwrap(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn documents_are_read_and_unknown_members_dropped() {
        check(
            &json!({
                "name": "search.all", "title": "Search", "description": "Find\nissues",
                "inputSchema": { "type": "object", "properties": { "q": { "type": "string" } } },
                "outputSchema": { "type": "object" },
                "annotations": { "readOnlyHint": true, "later": 1 },
                "icons": [{ "src": "data:image/png;base64,AAAA", "sizes": ["48x48"], "later": 1 }],
                "execution": { "taskSupport": "required", "later": 1 },
                "later": [],
            }),
            expect![[
                r#"{"name":"search.all","title":"Search","description":"Find\nissues","inputSchema":{"properties":{"q":{"type":"string"}},"type":"object"},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"icons":[{"src":"data:image/png;base64,AAAA","sizes":["48x48"]}],"execution":{"taskSupport":"required"}}"#
            ]],
        );
    }

    #[test]
    fn calls_may_be_tasks_where_nothing_is_said() {
        let tool = json!({ "name": "t", "inputSchema": { "type": "object" } });
        for execution in [json!({}), json!({ "taskSupport": "optional" })] {
            let mut with = tool.clone();
            with["execution"] = execution;
            let read = Tool::parse(&with.to_string()).unwrap();
            assert_eq!(read.execution.task_support, TaskSupport::Optional);
            assert_eq!(serde_json::to_value(read).unwrap(), tool);
        }
    }

    #[test]
    fn icons_come_on_top_of_a_document() {
        let with = |padding: usize, icons: usize| {
            let icon = json!({ "src": format!("data:image/png,{}", "A".repeat(16_000)) });
            json!({
                "name": "t", "inputSchema": { "type": "object" },
                "icons": vec![icon; icons], "padding": "x".repeat(padding),
            })
        };
        assert!(Tool::parse(&with(60_000, 8).to_string()).is_ok());
        check(
            &with(66_000, 8),
            expect![[
                r#"the tool "t" is refused: without its icons it has 66155 bytes, but at most 65536 are allowed"#
            ]],
        );
        check(
            &with(0, 9),
            expect![[r#"the tool "t" is refused: it has 9 icons, but at most 8 are allowed"#]],
        );
    }

    #[test]
    fn faulty_documents_are_refused() {
        let with = |members: Value| {
            let mut tool = json!({ "name": "t", "inputSchema": { "type": "object" } });
            tool.as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
            tool
        };
        check(
            &json!([]),
            expect!["the tool document is refused: it must be a JSON object"],
        );
        check(
            &json!({ "inputSchema": { "type": "object" } }),
            expect!["the tool document is refused: missing field `name`"],
        );
        check(
            &json!({ "name": "t" }),
            expect!["the tool document is refused: missing field `inputSchema`"],
        );
        check(
            &with(json!({ "name": "" })),
            expect![[
                r#"the tool "" is refused: a name has 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`"#
            ]],
        );
        check(
            &with(json!({ "name": "a b" })),
            expect![[
                r#"the tool "a b" is refused: a name has 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`"#
            ]],
        );
        check(
            &with(json!({ "name": "é" })),
            expect![[
                r#"the tool "é" is refused: a name has 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`"#
            ]],
        );
        check(
            &with(json!({ "name": "x".repeat(65) })),
            expect![[
                r#"the tool "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is refused: a name has 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`"#
            ]],
        );
        check(
            &with(json!({ "name": 1 })),
            expect!["the tool document is refused: invalid type: integer `1`, expected a string"],
        );
        check(
            &with(json!({ "description": "a\u{1b}[2Jb" })),
            expect![[
                r#"the tool "t" is refused: its description contains the control character '\u{1b}'; remove it"#
            ]],
        );
        check(
            &with(json!({ "title": "two\nlines" })),
            expect![[
                r#"the tool "t" is refused: its title contains the control character '\n'; remove it"#
            ]],
        );
        check(
            &with(json!({ "description": "x".repeat(16385) })),
            expect![[
                r#"the tool "t" is refused: its description has 16385 bytes, but at most 16384 are allowed"#
            ]],
        );
        check(
            &with(json!({ "inputSchema": { "type": "string" } })),
            expect![[r#"the tool "t" is refused: its inputSchema must have "type": "object""#]],
        );
        check(
            &with(json!({ "inputSchema": true })),
            expect!["the tool document is refused: invalid type: boolean `true`, expected a map"],
        );
        check(
            &with(
                json!({ "inputSchema": { "type": "object", "properties": { "a": { "type": "strin" } } } }),
            ),
            expect![[
                r#"the tool "t" is refused: its inputSchema is no usable JSON Schema: at /properties/a/type: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword"#
            ]],
        );
        check(
            &with(json!({ "outputSchema": { "type": "object", "$ref": "https://example.com/x" } })),
            expect![[
                r#"the tool "t" is refused: its outputSchema is no usable JSON Schema: the reference "https://example.com/x" is none within the schema (#/…)"#
            ]],
        );
        check(
            &with(
                json!({ "inputSchema": { "type": "object", "properties": { "a": { "type": "number", "x-mcp-header": "A" } } } }),
            ),
            expect![[
                r#"the tool "t" is refused: its argument `a` has a header, so that its type must be "string", "integer" or "boolean""#
            ]],
        );
        check(
            &with(json!({ "execution": { "taskSupport": "never" } })),
            expect![
                "the tool document is refused: unknown variant `never`, expected one of `forbidden`, `optional`, `required`"
            ],
        );
        check(
            &with(json!({ "annotations": { "readOnlyHint": "yes" } })),
            expect![[
                r#"the tool document is refused: invalid type: string "yes", expected a boolean"#
            ]],
        );
        check(
            &with(json!({ "padding": "x".repeat(70_000) })),
            expect![
                "the tool \"t\" is refused: without its icons it has 70057 bytes, but at most 65536 are allowed"
            ],
        );
    }

    #[test]
    fn lists_are_bounded_and_names_unique() {
        let document =
            |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } }).to_string();
        let list = Tool::parse_list(&[document("a"), document("b")]).unwrap();
        assert_eq!(list.len(), 2);
        let error = Tool::parse_list(&[document("a"), document("a")]).unwrap_err();
        assert_eq!(error, ToolError::Duplicate("a".into()));
        let error = Tool::parse_list(&vec![String::new(); TOOLS_MAX + 1]).unwrap_err();
        assert_eq!(error, ToolError::TooMany(TOOLS_MAX + 1));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = Tool::parse(&text);
        }
    }
}
