//! The list of tools, as the protocol wants it, and the look-up of names.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portreeve_core::{CallError, ErrorCode, Host, Registry};
use portreeve_manifest::tool::NAME_BYTES_MAX;
use rmcp::model::{ErrorData, ListToolsResult, PaginatedRequestParams, Tool};

use crate::convert;
use crate::panels::Shown;
use crate::prepared::Prepared;
use crate::written::older_tools;

/// Tools on one page. Few clients ask for a second one, so that it shall be rare.
const PAGE_TOOLS: usize = 1_000;

/// Names that are suggested for one that is unknown.
const SUGGESTIONS_MAX: usize = 3;

/// How alike a name must be to be suggested, from 0 to 1.
const SUGGESTED_SIMILARITY_MIN: f64 = 0.6;

/// All tools of one registry.
pub(crate) struct ToolList {
    registry: Arc<Registry>,
    panels: Shown,
    /// By name.
    tools: Vec<Tool>,
    /// The tools of the first page as JSON, as each era has them.
    newer: OnceLock<Option<Arc<str>>>,
    older: OnceLock<Option<Arc<str>>>,
}

impl ToolList {
    fn new(registry: Arc<Registry>, panels: Shown) -> ToolList {
        let tools = registry.tools();
        let tools = tools.map(|tool| convert::tool(tool, &panels)).collect();
        ToolList {
            registry,
            panels,
            tools,
            newer: OnceLock::new(),
            older: OnceLock::new(),
        }
    }

    /// The page that the client asks for.
    ///
    /// # Errors
    /// When its cursor is none of ours.
    pub(crate) fn page(
        &self,
        request: Option<&PaginatedRequestParams>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (shown, next) = page(&self.tools, |tool| &tool.name, request, PAGE_TOOLS)?;
        let mut result = ListToolsResult::with_all_items(shown);
        result.next_cursor = next;
        Ok(result)
    }

    /// The same, with the tools of the first page left in `prepared`.
    ///
    /// # Errors
    /// As for [`page`](ToolList::page).
    pub(crate) fn page_in(
        &self,
        request: Option<&PaginatedRequestParams>,
        newer: bool,
        prepared: &Prepared,
    ) -> Result<ListToolsResult, ErrorData> {
        let shown = self.tools.get(..PAGE_TOOLS).unwrap_or(&self.tools);
        let (place, text): (_, fn(&[Tool]) -> _) = match newer {
            true => (&self.newer, |tools| serde_json::to_string(tools)),
            false => (&self.older, older_tools),
        };
        let text = || text(shown).ok().map(Arc::from);
        let first = request.is_none_or(|request| request.cursor.is_none());
        let tools = first.then(|| place.get_or_init(text).clone());
        let Some(tools) = tools.flatten() else {
            return self.page(request);
        };
        prepared.leave(tools);
        Ok(ListToolsResult {
            next_cursor: next(shown, &self.tools, |tool| &tool.name),
            ..ListToolsResult::default()
        })
    }
}

impl ToolList {
    /// The tool with this name.
    pub(crate) fn tool(&self, name: &str) -> Option<Tool> {
        let index = self
            .tools
            .binary_search_by(|tool| (*tool.name).cmp(name))
            .ok()?;
        self.tools.get(index).cloned()
    }
}

/// The list of the newest registry that was asked for.
#[derive(Default)]
pub(crate) struct ToolLists {
    last: Mutex<Option<Arc<ToolList>>>,
}

impl ToolLists {
    /// The list of the tools that are there, made when they, or what they link to, are not the
    /// same as the last time.
    pub(crate) fn now(&self, host: &Host) -> Arc<ToolList> {
        let (registry, panels) = (host.registry(), Shown::now(host));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(list) if Arc::ptr_eq(&list.registry, &registry) && list.panels == panels => {
                list.clone()
            }
            _ => last
                .insert(Arc::new(ToolList::new(registry, panels)))
                .clone(),
        }
    }
}

/// The page of `items`, which are in the order of their names, that the client asks for, and the
/// cursor of the next one.
///
/// # Errors
/// When the client's cursor is none of ours.
pub(crate) fn page<T: Clone>(
    items: &[T],
    name: impl Fn(&T) -> &str,
    request: Option<&PaginatedRequestParams>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    let rest = match request.and_then(|request| request.cursor.as_deref()) {
        None => items,
        Some(cursor) => {
            let after = read_cursor(cursor).ok_or_else(foreign_cursor)?;
            let begun = items.partition_point(|item| name(item) <= &*after);
            items.get(begun..).unwrap_or_default()
        }
    };
    let shown = rest.get(..size).unwrap_or(rest);
    Ok((shown.to_vec(), next(shown, rest, name)))
}

/// The cursor after what is shown of `rest`.
fn next<T>(shown: &[T], rest: &[T], name: impl Fn(&T) -> &str) -> Option<String> {
    let more = shown.len() < rest.len();
    let last = shown.last().filter(|_| more);
    last.map(|item| write_cursor(name(item)))
}

pub(crate) fn foreign_cursor() -> ErrorData {
    ErrorData::invalid_params(
        "the cursor is none that this server gave; begin again without one",
        None,
    )
}

/// The longest name that a page can end with: an address with its plugin's name.
const CURSOR_BYTES_MAX: usize = 1_200;

/// A cursor is the name that the page ended with: it stays right when the list changes.
fn write_cursor(name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(name)
}

fn read_cursor(cursor: &str) -> Option<String> {
    let name = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let valid = (1..=CURSOR_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then_some(name)
}

/// That a tool is not there; `lister` names those that are.
pub(crate) fn unknown(registry: &Registry, name: &str, lister: &str) -> CallError {
    let names = registry.tools().map(|tool| tool.name.as_str());
    let why = not_found(names, name, lister);
    CallError::host(ErrorCode::NotFound, "no-such-tool", why)
}

fn not_found<'a>(names: impl Iterator<Item = &'a str>, name: &str, lister: &str) -> String {
    // Longer than any name: neither quoted nor compared.
    if name.len() > NAME_BYTES_MAX.saturating_mul(2) {
        return format!("there is no tool with so long a name; `{lister}` shows those there are");
    }
    let mut near: Vec<(f64, &str)> = names
        .map(|known| (likeness(known, name), known))
        .filter(|(likeness, _)| *likeness >= SUGGESTED_SIMILARITY_MIN)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let near: Vec<String> = near
        .iter()
        .take(SUGGESTIONS_MAX)
        .map(|(_, known)| format!("`{known}`"))
        .collect();
    if near.is_empty() {
        format!("there is no tool {name:?}; `{lister}` shows those there are")
    } else {
        format!(
            "there is no tool {name:?}; do you mean {}?",
            near.join(" or ")
        )
    }
}

/// How alike two names are. The plugin's own name of a tool counts as almost the whole.
fn likeness(known: &str, name: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(known, name);
    match known.split_once("__") {
        Some((_, own)) if own == name => 0.95,
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn tools(names: &[&str]) -> Vec<Tool> {
        names
            .iter()
            .map(|name| Tool::new((*name).to_owned(), "", serde_json::Map::new()))
            .collect()
    }

    fn names(tools: &[Tool]) -> Vec<&str> {
        tools.iter().map(|tool| &*tool.name).collect()
    }

    fn page(
        tools: &[Tool],
        request: Option<&PaginatedRequestParams>,
        size: usize,
    ) -> Result<(Vec<Tool>, Option<String>), ErrorData> {
        super::page(tools, |tool| &tool.name, request, size)
    }

    fn after(cursor: &str) -> PaginatedRequestParams {
        let mut request = PaginatedRequestParams::default();
        request.cursor = Some(cursor.to_owned());
        request
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let tools = tools(&["a", "b", "c", "d", "e"]);
        for size in 1..7 {
            let mut seen = Vec::new();
            let mut request = None;
            loop {
                let (shown, next) = page(&tools, request.as_ref(), size).unwrap();
                assert!(shown.len() <= size);
                seen.extend(names(&shown).into_iter().map(str::to_owned));
                match next {
                    Some(cursor) => request = Some(after(&cursor)),
                    None => break,
                }
            }
            assert_eq!(seen, ["a", "b", "c", "d", "e"], "{size}");
        }
    }

    #[test]
    fn a_cursor_outlives_a_change_of_the_list() {
        let (_, cursor) = page(&tools(&["a", "b", "c", "d"]), None, 2).unwrap();
        let cursor = cursor.unwrap();
        let changed = tools(&["a", "aa", "c", "e"]);
        let (second, next) = page(&changed, Some(&after(&cursor)), 2).unwrap();
        assert_eq!(names(&second), ["c", "e"]);
        assert_eq!(next, None);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let tools = tools(&["a"]);
        for cursor in [
            "",
            "?",
            "0",
            "YSBi",
            "=",
            &write_cursor(&"x".repeat(CURSOR_BYTES_MAX + 1)),
        ] {
            let error = page(&tools, Some(&after(cursor)), 1).unwrap_err();
            assert!(error.message.contains("cursor"), "{cursor}");
        }
    }

    #[test]
    fn near_names_are_suggested() {
        fn check(name: &str, expected: Expect) {
            let names = [
                "github__create_issue",
                "github__list_issues",
                "markdown__render",
            ];
            expected.assert_eq(&not_found(names.into_iter(), name, "tools/list"));
        }
        check(
            "github__create_isue",
            expect![[
                r#"there is no tool "github__create_isue"; do you mean `github__create_issue` or `github__list_issues`?"#
            ]],
        );
        check(
            "render",
            expect![[r#"there is no tool "render"; do you mean `markdown__render`?"#]],
        );
        check(
            "github__issues",
            expect![[
                r#"there is no tool "github__issues"; do you mean `github__list_issues` or `github__create_issue`?"#
            ]],
        );
        check(
            "weather",
            expect![[r#"there is no tool "weather"; `tools/list` shows those there are"#]],
        );
        check(
            "a\u{1b}[31m\"",
            expect![[r#"there is no tool "a\u{1b}[31m\""; `tools/list` shows those there are"#]],
        );
        check(
            &"x".repeat(1_000_000),
            expect!["there is no tool with so long a name; `tools/list` shows those there are"],
        );
    }
}
