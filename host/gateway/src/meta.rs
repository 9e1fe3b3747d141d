//! Three tools in place of a long list: to search the tools, to describe one, and to call it.
//! For clients whose model could not hold all of them: `meta-tools = true` under `[serve]`.

use portreeve_core::{CallError, ErrorCode, RegisteredTool, Registry};
use portreeve_manifest::clean;
use rmcp::model::{CallToolResult, ContentBlock, MetaObject, Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::convert;
use crate::message;
use crate::panels::{self, Shown};
use crate::tools;

/// Tools that one search shows.
const FOUND_MAX: usize = 20;

/// Longest part of a description that a search shows, in characters.
const DESCRIPTION_CHARS_MAX: usize = 300;

/// Words of a search that are looked at.
const WORDS_MAX: usize = 16;

pub(crate) const SEARCH: &str = "search_tools";
const DESCRIBE: &str = "describe_tool";
const CALL: &str = "call_tool";

/// What one of the three is asked for.
pub(crate) enum Asked {
    /// It is answered by the list alone.
    Answered(CallToolResult),
    /// The call of another tool, with its arguments.
    Call(String, Map<String, Value>),
    /// Something that its schema does not allow, or that is not there.
    Mistaken(CallError),
    /// It is another tool, with its arguments.
    Other(Map<String, Value>),
}

/// What the three are given, as their schemas have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Describe {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Search {
    query: String,
    #[serde(deserialize_with = "given")]
    category: Option<String>,
    #[serde(deserialize_with = "given")]
    tag: Option<String>,
    after: usize,
}

/// A text that is there: `null` is none.
fn given<'de, D: Deserializer<'de>>(written: D) -> Result<Option<String>, D::Error> {
    String::deserialize(written).map(Some)
}

/// Whether a tool is one of the two that the list alone answers.
pub(crate) fn answers_at_once(name: &str) -> bool {
    matches!(name, SEARCH | DESCRIBE)
}

/// The three tools.
pub(crate) fn tools() -> Vec<Tool> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let tool = |name: &'static str,
                description: &'static str,
                reads: bool,
                properties: Value,
                required: Value| {
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        let schema = match schema {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let mut tool = Tool::new(name, description, schema);
        let ui = Map::from_iter([("ui".to_owned(), panels::of_none())]);
        tool.meta = Some(MetaObject(ui));
        if reads {
            tool.annotations = Some(ToolAnnotations::new().read_only(true));
        }
        tool
    };
    vec![
        tool(
            CALL,
            "Calls a tool that search_tools has found, with arguments that fit the schema that describe_tool shows.",
            false,
            json!({
                "name": text("The tool's name."),
                "arguments": {"type": "object", "description": "Its arguments."},
            }),
            json!(["name"]),
        ),
        tool(
            DESCRIBE,
            "Shows one tool: what it does, and the schema of its arguments.",
            true,
            json!({"name": text("The tool's name.")}),
            json!(["name"]),
        ),
        tool(
            SEARCH,
            "Finds tools by words in their names, descriptions, categories and tags. Without words it shows the first ones.",
            true,
            json!({
                "query": text("Words to look for."),
                "category": text("Only tools of this category."),
                "tag": text("Only tools with this tag."),
                "after": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Go on after so many: the `after` of the last answer, which has one where there are more.",
                },
            }),
            json!([]),
        ),
    ]
}

/// What a call asks for, if it is of one of the three.
pub(crate) fn asked(
    registry: &Registry,
    panels: &Shown,
    name: &str,
    arguments: Map<String, Value>,
) -> Asked {
    match name {
        SEARCH => read(arguments).map(|asked| Asked::Answered(search(registry, &asked))),
        DESCRIBE => read(arguments).map(|Describe { name }| match registry.tool(&name) {
            None => Asked::Mistaken(tools::unknown(registry, &name, SEARCH)),
            Some(tool) => {
                let tool = convert::tool(tool, panels);
                Asked::Answered(structured(json!({ "tool": tool })))
            }
        }),
        CALL => read(arguments).map(|Call { name, arguments }| Asked::Call(name, arguments)),
        _ => Ok(Asked::Other(arguments)),
    }
    .unwrap_or_else(Asked::Mistaken)
}

/// Reads the arguments of one of the three.
fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, CallError> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        let why = message::shortened(&error.to_string());
        let why = format!("the arguments: {why}; `tools/list` has the schema of this tool");
        CallError::host(ErrorCode::InvalidArgument, "arguments", why)
    })
}

fn structured(value: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(value.to_string())]);
    result.structured_content = Some(value);
    result
}

/// The tools that fit best, first those in whose names the words stand.
fn search(registry: &Registry, asked: &Search) -> CallToolResult {
    let (category, tag) = (asked.category.as_deref(), asked.tag.as_deref());
    let query = asked.query.to_lowercase();
    let words: Vec<&str> = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .collect();
    let fits = |tool: &&std::sync::Arc<RegisteredTool>| {
        category.is_none_or(|wanted| tool.category() == Some(wanted))
            && tag.is_none_or(|wanted| tool.tags().contains(wanted))
    };
    let mut found: Vec<(usize, &RegisteredTool)> = registry
        .tools()
        .filter(fits)
        .map(|tool| (score(tool, &words), &**tool))
        .filter(|(score, _)| *score > 0 || words.is_empty())
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
    let all = found.len();
    let shown: Vec<Value> = found
        .into_iter()
        .skip(asked.after)
        .take(FOUND_MAX)
        .map(|(_, tool)| {
            let description = clean::visible(tool.description().unwrap_or_default());
            let short: String = description.chars().take(DESCRIPTION_CHARS_MAX).collect();
            json!({
                "name": tool.name,
                "title": clean::visible(tool.title()),
                "description": short,
                "category": tool.category(),
                "tags": tool.tags(),
            })
        })
        .collect();
    let seen = asked.after.saturating_add(shown.len());
    let mut found = json!({"found": all, "tools": shown});
    if seen < all
        && let Some(found) = found.as_object_mut()
    {
        found.insert("after".to_owned(), seen.into());
    }
    structured(found)
}

/// How often the words stand where, by how much that says.
fn score(tool: &RegisteredTool, words: &[&str]) -> usize {
    let labels: Vec<String> = tool
        .tags()
        .into_iter()
        .chain(tool.category())
        .map(str::to_lowercase)
        .collect();
    let names = format!("{} {}", tool.name, tool.title()).to_lowercase();
    let description = tool.description().unwrap_or_default().to_lowercase();
    let of_word = |word: &&str| {
        let in_name = if names.contains(word) { 4 } else { 0 };
        let in_labels = if labels.iter().any(|label| label.contains(word)) {
            3
        } else {
            0
        };
        let in_description = usize::from(description.contains(word));
        in_name + in_labels + in_description
    };
    words.iter().map(of_word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_manifest::settings::META_TOOLS;

    #[test]
    fn their_names_are_kept_for_them() {
        let tools = tools();
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, META_TOOLS);
    }
}
