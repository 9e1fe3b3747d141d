//! What tools say of themselves besides their names, words and schemas.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::http::{HttpHost, older};
use crate::support::Project;

/// Parameters as clients of the newer era send them.
fn newer(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// The lists of tools as clients of both eras get them, the older one's first, over pipes and
/// over HTTP.
fn lists(project: &Project) -> [Vec<Value>; 4] {
    let tools = |answer: &mut Value| match answer["result"]["tools"].take() {
        Value::Array(tools) => tools,
        other => panic!("no tools: {other}"),
    };
    let mut pipe = project.serve();
    let older_pipe = tools(&mut pipe.request("tools/list", json!({})));
    assert!(pipe.close());
    let mut pipe = project.connect();
    let newer_pipe = tools(&mut pipe.request("tools/list", newer(json!({}))));
    assert!(pipe.close());
    let host = HttpHost::start(project);
    let list =
        |params| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params});
    let session = host.greet();
    let (_, mut answers) = host.post(&older(&session), &list(json!({})));
    let older_http = tools(&mut answers[0]);
    let fields = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n";
    let (_, mut answers) = host.post(fields, &list(newer(json!({}))));
    let newer_http = tools(&mut answers[0]);
    [older_pipe, newer_pipe, older_http, newer_http]
}

fn named<'a>(tools: &'a [Value], name: &str) -> &'a Value {
    let found = tools.iter().find(|tool| tool["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {name} in {tools:?}"))
}

#[test]
fn icons_of_tools_reach_clients_of_both_eras() {
    let project = Project::of(&[("t", programs::SDK_TOOLS), ("echo", programs::ECHO)]);
    for tools in lists(&project) {
        let icons = &named(&tools, "t__pictured")["icons"];
        let expected = json!([
            {"src": "data:image/png;base64,iVBORw0KGgo=", "sizes": ["48x48", "any"]},
            {"src": "data:image/svg+xml;base64,PHN2Zy8+", "mimeType": "image/svg+xml", "theme": "dark"},
        ]);
        assert_eq!(*icons, expected);
        assert!(named(&tools, "echo__echo").get("icons").is_none());
    }
}

#[test]
fn what_an_argument_says_in_its_header_must_be_so() {
    let project = Project::of(&[("t", programs::SDK_TOOLS)]);
    for tools in lists(&project) {
        let schema = &named(&tools, "t__regional")["inputSchema"];
        assert_eq!(schema["properties"]["region"]["x-mcp-header"], "Region");
    }
    let host = HttpHost::start(&project);
    let call = |region: &Value| {
        let arguments = match region {
            Value::Null => json!({}),
            region => json!({"region": region}),
        };
        let params = newer(json!({"name": "t__regional", "arguments": arguments}));
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    };
    for (region, headers, code) in [
        (json!("north"), "mcp-param-region: north\r\n", None),
        (
            json!("north"),
            "Mcp-Param-REGION: =?base64?bm9ydGg=?=\r\n",
            None,
        ),
        (json!("north"), "", Some(-32020)),
        (json!("north"), "mcp-param-region: south\r\n", Some(-32020)),
        (
            json!("north"),
            "mcp-param-region: =?base64?bm9ydGg?=\r\n",
            Some(-32020),
        ),
        (
            json!("north"),
            "mcp-param-region: north\r\nmcp-param-region: south\r\n",
            Some(-32020),
        ),
        (Value::Null, "mcp-param-region: north\r\n", Some(-32020)),
    ] {
        let fields = format!(
            "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: t__regional\r\n{headers}"
        );
        let (head, answers) = host.post(&fields, &call(&region));
        let answer = &answers[0];
        assert_eq!(answer["error"]["code"].as_i64(), code, "{headers}{answer}");
        match code {
            None => assert_eq!(answer["result"]["content"][0]["text"], "north", "{answer}"),
            Some(_) => assert!(head.starts_with("HTTP/1.1 400"), "{head}"),
        }
    }
}
