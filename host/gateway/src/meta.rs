//! Three tools in place of a long list: to search the tools, to describe one, and to call it.
//! For clients whose model could not hold all of them: `meta-tools = true` under `[serve]`.

use portreeve_core::{RegisteredTool, Registry};
use portreeve_manifest::clean;
use rmcp::model::{CallToolResult, ContentBlock, ErrorData, MetaObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::convert;
use crate::panels::{self, Shown};
use crate::tools;

/// Tools that one search shows.
const FOUND_MAX: usize = 20;

/// Longest part of a description that a search shows, in characters.
const DESCRIPTION_CHARS_MAX: usize = 300;

/// Words of a search that are looked at.
const WORDS_MAX: usize = 16;

const SEARCH: &str = "search_tools";
const DESCRIBE: &str = "describe_tool";
const CALL: &str = "call_tool";

/// What one of the three is asked for.
pub(crate) enum Asked {
    /// It is answered by the list alone.
    Answered(CallToolResult),
    /// The call of another tool, with its arguments.
    Call(String, Map<String, Value>),
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
            }),
            json!([]),
        ),
    ]
}

/// What a call of one of the three asks for; none where it is another tool.
pub(crate) fn asked(
    registry: &Registry,
    panels: &Shown,
    name: &str,
    arguments: &Map<String, Value>,
) -> Option<Result<Asked, ErrorData>> {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let wanted = || {
        text("name")
            .ok_or_else(|| ErrorData::invalid_params("`name` must be there, and a string", None))
    };
    Some(match name {
        SEARCH => Ok(Asked::Answered(search(
            registry,
            text("query").unwrap_or_default(),
            text("category"),
            text("tag"),
        ))),
        DESCRIBE => wanted().and_then(|name| {
            let tool = registry.tool(name);
            let tool = tool.ok_or_else(|| tools::unknown(registry, name))?;
            Ok(Asked::Answered(structured(
                json!({"tool": convert::tool(tool, panels)}),
            )))
        }),
        CALL => wanted().and_then(|name| match arguments.get("arguments") {
            None => Ok(Asked::Call(name.to_owned(), Map::new())),
            Some(Value::Object(inner)) => Ok(Asked::Call(name.to_owned(), inner.clone())),
            Some(_) => Err(ErrorData::invalid_params(
                "`arguments` must be an object",
                None,
            )),
        }),
        _ => return None,
    })
}

fn structured(value: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(value.to_string())]);
    result.structured_content = Some(value);
    result
}

/// The tools that fit best, first those in whose names the words stand.
fn search(
    registry: &Registry,
    query: &str,
    category: Option<&str>,
    tag: Option<&str>,
) -> CallToolResult {
    let query = query.to_lowercase();
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
    structured(json!({"found": all, "tools": shown}))
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
