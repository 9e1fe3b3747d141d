//! Texts that models and people read: names, descriptions and schemas of tools, reasons of
//! requests. What is hidden in them, what they tell a model to do, and what they say that
//! the requests don't bear out.

mod headers;
mod phrases;
mod unicode;

use portreeve_manifest::clean;
use portreeve_manifest::grant::Requests;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::tool::Tool;
use serde_json::{Map, Value};

use crate::finding::{Finding, Findings, Place, Rule, rules};
use crate::{Package, Tools};

/// Characters of a text around what was found in it that are shown.
const AROUND: usize = 20;

/// Reads all texts of a package.
pub(super) fn read(package: &Package, findings: &mut Findings) {
    let tools: Vec<&Tool> = match &package.tools {
        Tools::Recorded(tools) => tools.iter().collect(),
        Tools::Bare(functions) => functions.iter().map(|function| &function.tool).collect(),
        Tools::Unrecorded | Tools::None => Vec::new(),
    };
    for tool in &tools {
        read_tool(tool, findings);
    }
    read_manifest(&package.manifest, findings);
    contradictions(&package.manifest, &tools, findings);
}

/// Reads the texts of tools that were listed by a plugin itself, in place of recorded ones.
pub fn read_tools(manifest: &PluginManifest, tools: &[Tool]) -> Findings {
    let mut findings = Findings::default();
    for tool in tools {
        read_tool(tool, &mut findings);
    }
    contradictions(manifest, &tools.iter().collect::<Vec<_>>(), &mut findings);
    findings.sort();
    findings
}

fn read_tool(tool: &Tool, findings: &mut Findings) {
    let name = &tool.name;
    let mut text = |part: &str, text: &str| {
        look(text, findings, |offset| Place::Tool {
            tool: name.clone(),
            part: part.to_owned(),
            offset,
        });
    };
    text("name", name);
    for (part, said) in [("title", &tool.title), ("description", &tool.description)] {
        text(part, said.as_deref().unwrap_or_default());
    }
    let hint = tool
        .annotations
        .as_ref()
        .and_then(|hints| hints.title.as_ref());
    text("annotations/title", hint.map_or("", String::as_str));
    schema("inputSchema", &tool.input_schema, &mut text);
    if let Some(output) = &tool.output_schema {
        schema("outputSchema", output, &mut text);
    }
    let asked = tool
        .input_schema
        .get("properties")
        .and_then(Value::as_object);
    for property in asked.into_iter().flat_map(Map::keys) {
        if phrases::collects(property) {
            let place = Place::Tool {
                tool: name.clone(),
                part: format!("inputSchema/properties/{property}"),
                offset: 0,
            };
            let what = format!("a parameter named `{property}`");
            findings.push(Finding::new(&rules::TEXT_COLLECTS, place, what));
        }
    }
    read_headers(tool, findings);
}

/// What clients repeat in headers and should not.
fn read_headers(tool: &Tool, findings: &mut Findings) {
    for argument in tool.header_arguments() {
        let Some(what) = headers::secret(&argument) else {
            continue;
        };
        let place = Place::Tool {
            tool: tool.name.clone(),
            part: format!(
                "inputSchema/properties/{}",
                argument.path.join("/properties/")
            ),
            offset: 0,
        };
        findings.push(Finding::new(&rules::HEADER_SECRET, place, what));
    }
}

fn read_manifest(manifest: &PluginManifest, findings: &mut Findings) {
    let mut text = |path: &str, text: &str| {
        look(text, findings, |offset| Place::Manifest {
            path: path.to_owned(),
            offset,
        });
    };
    text(
        "plugin.description",
        manifest.description.as_deref().unwrap_or_default(),
    );
    for item in manifest.requests.items() {
        let path = format!("requests.{}", item.feature);
        text(&path, item.reason.as_deref().unwrap_or_default());
    }
    if let Ok(Value::Object(config)) = serde_json::to_value(&manifest.config) {
        schema("config", &config, &mut text);
    }
}

/// All texts of a schema, names of members included, with where they are. Schemas are
/// bounded in depth and size where they are read.
fn schema(at: &str, members: &Map<String, Value>, text: &mut impl FnMut(&str, &str)) {
    for (key, value) in members {
        let at = format!("{at}/{key}");
        text(&at, key);
        values(&at, value, text);
    }
}

fn values(at: &str, value: &Value, text: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(said) => text(at, said),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                values(&format!("{at}/{number}"), item, text);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                let at = format!("{at}/{key}");
                text(&at, key);
                values(&at, value, text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Looks at one text; `place` is where a byte of it is.
fn look(text: &str, findings: &mut Findings, place: impl Fn(u64) -> Place) {
    let mut found = |rule: &'static Rule, at: usize, what: String| {
        findings.push(Finding::new(rule, place(at as u64), what));
    };
    if let Some(hidden) = unicode::hidden(text) {
        found(&rules::TEXT_HIDDEN, hidden.at, hidden.what);
    }
    if let Some((at, what)) = unicode::confusable(text) {
        found(&rules::TEXT_CONFUSABLE, at, what);
    }
    for (rule, range) in phrases::find(text) {
        let said = text.get(range.clone()).unwrap_or_default();
        found(
            rule,
            range.start,
            format!("`{}`", around(text, &range, said)),
        );
    }
}

/// What was found with a little of what stands around it.
fn around(text: &str, range: &std::ops::Range<usize>, said: &str) -> String {
    let before: Vec<char> = text
        .get(..range.start)
        .unwrap_or_default()
        .chars()
        .rev()
        .take(AROUND)
        .collect();
    let before: String = before.into_iter().rev().collect();
    let after: String = text
        .get(range.end..)
        .unwrap_or_default()
        .chars()
        .take(AROUND)
        .collect();
    clean::line(&format!("{before}{said}{after}"), 160)
}

/// What is said of the tools, held against what is requested for them.
fn contradictions(manifest: &PluginManifest, tools: &[&Tool], findings: &mut Findings) {
    let requests = &manifest.requests;
    let all_say = |hint: fn(&portreeve_manifest::tool::ToolAnnotations) -> bool| {
        !tools.is_empty()
            && tools
                .iter()
                .all(|tool| tool.annotations.as_ref().is_some_and(hint))
    };
    let first = tools.first().map_or("", |tool| tool.name.as_str());
    let at_tools = |part: &str| Place::Tool {
        tool: first.to_owned(),
        part: part.to_owned(),
        offset: 0,
    };
    let mut say = |place: Place, what: String| {
        findings.push(Finding::new(&rules::HINT_CONTRADICTED, place, what));
    };
    let description = manifest.description.as_deref().unwrap_or_default();
    let at_description = |at: usize| Place::Manifest {
        path: "plugin.description".to_owned(),
        offset: at as u64,
    };
    if let Some(writes) = writes(requests) {
        if all_say(|hints| hints.read_only_hint == Some(true)) {
            let what = format!("all tools say that they are read-only, but it requests {writes}");
            say(at_tools("annotations/readOnlyHint"), what);
        }
        if let Some(at) = phrases::says_read_only(description) {
            say(
                at_description(at),
                format!("it is said to only read, but it requests {writes}"),
            );
        }
    }
    if let Some(outside) = outside(requests) {
        if all_say(|hints| hints.open_world_hint == Some(false)) {
            let what = format!(
                "all tools say that they deal with nothing outside, but it requests {outside}"
            );
            say(at_tools("annotations/openWorldHint"), what);
        }
        if let Some(at) = phrases::says_offline(description) {
            say(
                at_description(at),
                format!("it is said to stay on this machine, but it requests {outside}"),
            );
        }
    }
}

/// The first request that changes something outside of the plugin itself: its own storage
/// may well keep what it has read.
fn writes(requests: &Requests) -> Option<String> {
    /// Methods that change nothing, as RFC 9110, section 9.2.1 has them.
    const SAFE: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
    let rule = requests
        .network
        .iter()
        .map(|request| &request.allow)
        .find(|rule| {
            let methods = rule.methods.as_deref();
            methods.is_none_or(|methods| {
                methods
                    .iter()
                    .any(|method| !SAFE.contains(&method.as_str()))
            })
        });
    if let Some(rule) = rule {
        return Some(format!("`{rule}`"));
    }
    let directory = requests
        .directories
        .iter()
        .find(|directory| directory.write);
    directory.map(|directory| format!("to write to {}", directory.path.as_str()))
}

/// The first request that leads outside.
fn outside(requests: &Requests) -> Option<String> {
    if let Some(request) = requests.network.first() {
        return Some(format!("`{}`", request.allow));
    }
    requests
        .sockets
        .first()
        .map(|request| format!("`{}`", request.allow))
}
