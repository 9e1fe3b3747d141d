//! Panels as MCP Apps has them: what links a tool to one, and what is said of one that is read.

use portreeve_core::{Asked, Body, Host, Part, Plugin, RegisteredTool, Registry};
use portreeve_manifest::content::is_panel;
use portreeve_manifest::tool::Visibility;
use rmcp::model::{ErrorCode, ErrorData};
use serde_json::{Map, Value, json};

use crate::convert;

/// The panels that clients may show by their own means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whose they are.
    plugins: Vec<String>,
    /// Whether they may have tools called. What a panel asks of its client reaches this host as
    /// the client's own request: nothing in it says which panel it was, or that it was one. So
    /// where there are those of several plugins, none may, unless the operator wants that.
    call: bool,
}

impl Shown {
    pub(crate) fn now(host: &Host) -> Shown {
        let plugins = host.registry().panels_shown();
        Shown {
            call: plugins.len() <= 1 || host.serve_settings().shared_panels,
            plugins,
        }
    }
}

/// `_meta.ui` of a tool: the address of its panel, and who may call it. A client takes all tools
/// of this host for one server's, so that those which aren't panels' business say so, as soon as
/// there is a panel at all.
pub(crate) fn of_tool(tool: &RegisteredTool, panels: &Shown) -> Option<Value> {
    let shown = panels.plugins.contains(&tool.plugin.alias);
    let said = tool.tool();
    let mut ui = Map::new();
    if let Some(own) = said.panel().filter(|_| shown) {
        let uri = tool.plugin.exposed_uri(own);
        ui.insert("resourceUri".to_owned(), uri.into());
    }
    let for_model = said.is_for(Visibility::Model);
    let for_panels = shown && panels.call && said.is_for(Visibility::App);
    if !for_model || (!for_panels && !panels.plugins.is_empty()) {
        let whom = [("model", for_model), ("app", for_panels)];
        let whom = whom.iter().filter(|(_, may)| *may).map(|(name, _)| *name);
        ui.insert("visibility".to_owned(), whom.collect());
    }
    (!ui.is_empty()).then(|| ui.into())
}

/// `_meta.ui` of a tool that is no plugin's, and leads to all of them: for models alone.
pub(crate) fn of_none() -> Value {
    json!({"visibility": ["model"]})
}

/// `_meta.ui` of a panel: it gets no network, whatever a client would allow.
pub(crate) fn meta() -> Value {
    json!({
        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []},
        "permissions": {},
        "prefersBorder": true,
    })
}

/// The HTML of a panel that was read, with the names of its plugin's tools.
///
/// # Errors
/// Why there is none.
pub(crate) fn html(asked: Asked<Vec<Part>>, registry: &Registry) -> Result<String, ErrorData> {
    let not_found = ErrorCode::RESOURCE_NOT_FOUND;
    let parts = match asked.result {
        Ok(parts) => parts,
        Err(error) => return Err(convert::refusal(error, &asked.call_id, not_found)),
    };
    let panel = parts.into_iter().find_map(|part| match part.body {
        Body::Text(text) if is_panel(&part.uri, part.mime_type.as_deref()) => Some(text),
        _ => None,
    });
    match (panel, &asked.plugin) {
        (Some(html), Some(plugin)) => Ok(with_names(&html, plugin, registry)),
        _ => Err(ErrorData::new(not_found, "this is no panel", None)),
    }
}

/// A panel's HTML that knows under which names clients call its plugin's tools: its author
/// doesn't. It finds them in `portreeve.tools`, by the plugin's own names.
pub(crate) fn with_names(html: &str, plugin: &Plugin, registry: &Registry) -> String {
    let own = registry
        .tools()
        .filter(|tool| tool.plugin.alias == plugin.alias && tool.is_for_panels());
    let names: Map<String, Value> = own
        .map(|tool| (tool.tool().name.clone(), tool.name.as_str().into()))
        .collect();
    let said = json!({ "tools": names })
        .to_string()
        .replace('<', "\\u003c");
    with_script(html, &format!("globalThis.portreeve={said}"))
}

/// A document with a script that runs before all of its own.
pub(crate) fn with_script(html: &str, script: &str) -> String {
    let at = head_end(html);
    let (before, rest) = html.split_at_checked(at).unwrap_or(("", html));
    format!("{before}<script>{script}</script>{rest}")
}

/// Where the first script of a document can stand: behind `<head>`, else behind the doctype.
fn head_end(html: &str) -> usize {
    let lower = html.to_ascii_lowercase();
    // What stands in a script is no tag.
    let lower = lower.split("<script").next().unwrap_or_default();
    let after = |tag: &str| {
        let begin = lower.find(tag)?;
        let end = lower.get(begin..)?.find('>')?;
        Some(begin.saturating_add(end).saturating_add(1))
    };
    after("<head>").or_else(|| after("<!doctype")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_before_all_scripts() {
        for (html, before) in [
            ("", ""),
            ("<p>a", ""),
            ("<!doctype html><p>a", "<!doctype html>"),
            (
                "<!DOCTYPE html>\n<html><HEAD><script>",
                "<!DOCTYPE html>\n<html><HEAD>",
            ),
            ("<header>a", ""),
            ("<script>'<head>'", ""),
            ("<!doctype", ""),
            ("ä<head>ö", "ä<head>"),
        ] {
            assert_eq!(&html[..head_end(html)], before, "{html}");
        }
    }
}
