//! Messages as they are written: what the protocol had in 2025-11-25, and the library has no
//! place for, is added here.

use rmcp::RoleServer;
use rmcp::model::{
    JsonRpcMessage, ListToolsResult, MetaObject, ProtocolVersion, RequestId, ServerResult, Tool,
};
use rmcp::service::TxJsonRpcMessage;
use serde::Serialize;
use serde_json::Value;

use crate::convert::META_TASK_SUPPORT;
use crate::{meta, older_tasks};

/// A list of tools that can be called as tasks.
#[derive(Serialize)]
struct OlderList<'a> {
    jsonrpc: &'static str,
    id: &'a RequestId,
    result: OlderTools<'a>,
}

#[derive(Serialize)]
struct OlderTools<'a> {
    tools: Vec<OlderTool<'a>>,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'a MetaObject>,
}

#[derive(Serialize)]
struct OlderTool<'a> {
    #[serde(flatten)]
    tool: &'a Tool,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execution<'a> {
    task_support: &'a str,
}

impl<'a> OlderTool<'a> {
    fn new(tool: &'a Tool) -> OlderTool<'a> {
        let said = tool
            .meta
            .as_ref()
            .and_then(|meta| meta.0.get(META_TASK_SUPPORT));
        let task_support = said.and_then(Value::as_str).unwrap_or("optional");
        OlderTool {
            tool,
            execution: (!meta::answers_at_once(&tool.name)).then_some(Execution { task_support }),
        }
    }
}

/// Tools that can be called as tasks, as a JSON array.
///
/// # Errors
/// When they can't be written.
pub(crate) fn older_tools(tools: &[Tool]) -> serde_json::Result<String> {
    let tools: Vec<_> = tools.iter().map(OlderTool::new).collect();
    serde_json::to_string(&tools)
}

impl<'a> OlderList<'a> {
    fn new(id: &'a RequestId, list: &'a ListToolsResult) -> OlderList<'a> {
        let tools = list.tools.iter().map(OlderTool::new);
        let result = OlderTools {
            tools: tools.collect(),
            next_cursor: list.next_cursor.as_deref(),
            meta: list.meta.as_ref(),
        };
        OlderList {
            jsonrpc: "2.0",
            id,
            result,
        }
    }
}

/// A message as its client reads it.
///
/// # Errors
/// When it can't be written.
pub(crate) fn written(message: &TxJsonRpcMessage<RoleServer>) -> serde_json::Result<Vec<u8>> {
    let JsonRpcMessage::Response(response) = message else {
        return serde_json::to_vec(message);
    };
    match &response.result {
        ServerResult::InitializeResult(result)
            if result.protocol_version == ProtocolVersion::V_2025_11_25 =>
        {
            let mut message = serde_json::to_value(message)?;
            if let Some(Value::Object(capabilities)) = message.pointer_mut("/result/capabilities") {
                capabilities.insert("tasks".to_owned(), older_tasks::capability());
            }
            serde_json::to_vec(&message)
        }
        // Only the newer version's say how long they may be kept.
        ServerResult::ListToolsResult(list) if list.ttl_ms.is_none() => {
            serde_json::to_vec(&OlderList::new(&response.id, list))
        }
        _ => serde_json::to_vec(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use rmcp::model::{Implementation, InitializeResult, ServerCapabilities, ServerJsonRpcMessage};

    fn check(result: ServerResult, expected: Expect) {
        let message = ServerJsonRpcMessage::response(result, RequestId::Number(1));
        let text = String::from_utf8(written(&message).unwrap()).unwrap();
        expected.assert_eq(&text);
    }

    fn greeted(version: ProtocolVersion) -> ServerResult {
        let mut result = InitializeResult::new(ServerCapabilities::default());
        result.protocol_version = version;
        result.server_info = Implementation::new("p", "1");
        ServerResult::InitializeResult(result)
    }

    fn listed(ttl_ms: Option<u64>) -> ServerResult {
        let mut tools =
            ["a", "search_tools", "z"].map(|name| Tool::new(name, "d", serde_json::Map::new()));
        let said = (META_TASK_SUPPORT.to_owned(), "required".into());
        tools[2].meta = Some(MetaObject(serde_json::Map::from_iter([said])));
        let mut list = ListToolsResult::with_all_items(tools.to_vec());
        list.next_cursor = Some("c".to_owned());
        list.ttl_ms = ttl_ms;
        list.result_type = None;
        ServerResult::ListToolsResult(list)
    }

    #[test]
    fn those_of_2025_11_25_are_told_of_their_tasks() {
        check(
            greeted(ProtocolVersion::V_2025_11_25),
            expect![[
                r#"{"id":1,"jsonrpc":"2.0","result":{"capabilities":{"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}}},"protocolVersion":"2025-11-25","serverInfo":{"name":"p","version":"1"}}}"#
            ]],
        );
        check(
            greeted(ProtocolVersion::V_2025_06_18),
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"p","version":"1"}}}"#
            ]],
        );
        check(
            listed(None),
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","description":"d","inputSchema":{},"execution":{"taskSupport":"optional"}},{"name":"search_tools","description":"d","inputSchema":{}},{"name":"z","description":"d","inputSchema":{},"_meta":{"portreeve/task-support":"required"},"execution":{"taskSupport":"required"}}],"nextCursor":"c"}}"#
            ]],
        );
        check(
            listed(Some(5)),
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"result":{"nextCursor":"c","ttlMs":5,"tools":[{"name":"a","description":"d","inputSchema":{}},{"name":"search_tools","description":"d","inputSchema":{}},{"name":"z","description":"d","inputSchema":{},"_meta":{"portreeve/task-support":"required"}}]}}"#
            ]],
        );
    }
}
