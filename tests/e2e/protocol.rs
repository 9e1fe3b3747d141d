//! MCP itself, in both eras: what any client sees.

use std::time::Duration;

use portreeve_test_artifacts as programs;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use rmcp::service::ServiceExt;
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};

use crate::support::{Client, Project, eventually, plugin};

fn project() -> Project {
    Project::of(&[
        ("content", programs::CONTENT),
        ("echo", programs::ECHO),
        ("failing", programs::FAILING),
    ])
}

/// What each request carries in the era of 2026-07-28.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[test]
fn the_legacy_era() {
    let project = project();
    let mut client = project.connect();
    let hello = client.initialize();
    let result = &hello["result"];
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"]["name"], "portreeve");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], json!(true));
    assert!(client.request("ping", json!({})).get("result").is_some());
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    let tool = tools
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "content__typed")
        .unwrap();
    assert!(
        tool["inputSchema"]["properties"].get("fits").is_some(),
        "{tool}"
    );
    assert!(
        tool["outputSchema"].is_object() && tool["title"].is_string(),
        "{tool}"
    );
    let typed = client.call("content__typed", json!({"fits": true}));
    assert!(typed["structuredContent"]["sum"].is_number(), "{typed}");
    assert!(client.close());
}

#[test]
fn the_era_of_2026() {
    let project = project();
    let mut client = project.connect();
    let discovered = client.request("server/discover", json!({"_meta": meta()}));
    let versions = &discovered["result"]["supportedVersions"];
    assert!(
        versions.as_array().unwrap().contains(&json!("2026-07-28")),
        "{discovered}"
    );
    let listed = client.request("tools/list", json!({"_meta": meta()}));
    assert!(
        listed["result"]["tools"].as_array().unwrap().len() > 3,
        "{listed}"
    );
    let answer = client.request(
        "tools/call",
        json!({"name": "echo__echo", "arguments": {"a": 1}, "_meta": meta()}),
    );
    assert_eq!(
        answer["result"]["content"][0]["text"], "{\"a\":1}",
        "{answer}"
    );
    assert!(client.close());
}

#[test]
fn what_a_caller_can_mend_begins_otherwise_than_what_only_the_operator_can() {
    let project = Project::with(&format!(
        "{}{}limits = {{ fuel = 1_000_000 }}\n",
        plugin("sleep", programs::SLEEP),
        plugin("spin", programs::SPIN),
    ));
    let mut client = project.serve();
    let told = |result: &Value| result["content"][0]["text"].as_str().unwrap().to_owned();
    let without = told(&client.call("sleep__sleep", json!({})));
    assert!(
        without.starts_with("Mistake in the request (invalid-argument, arguments): "),
        "{without}"
    );
    let unknown = client.request("prompts/get", json!({"name": "spin__none"}));
    let unknown = unknown["error"]["message"].as_str().unwrap();
    assert!(
        unknown.starts_with("Mistake in the request (not-found"),
        "{unknown}"
    );
    let spun = told(&client.call("spin__spin", json!({})));
    assert!(
        spun.starts_with("Refused or stopped by the host (quota-exceeded, limit-fuel): "),
        "{spun}"
    );
    assert!(client.close());
}

/// The official SDK's client, which tries the new era first.
#[test]
fn the_official_client() {
    let project = project();
    let threads = tokio::runtime::Runtime::new().unwrap();
    threads.block_on(async {
        let command = tokio::process::Command::from(project.portreeve(&["serve"]));
        let transport = TokioChildProcess::new(command).unwrap();
        let client = ClientConfig::default().serve(transport).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        assert!(tools.iter().any(|tool| tool.name == "echo__echo"));
        let mut call = CallToolRequestParams::new("echo__echo");
        call.arguments = json!({"text": "hello"}).as_object().cloned();
        let answer = client.call_tool(call).await.unwrap();
        let text = serde_json::to_value(&answer).unwrap();
        assert_eq!(text["content"][0]["text"], "{\"text\":\"hello\"}", "{text}");
        client.cancel().await.unwrap();
    });
}

#[test]
fn every_kind_of_content_has_its_form() {
    let project = project();
    let mut client = project.serve();
    let mut first = |tool: &str| client.call(tool, json!({}))["content"][0].clone();
    assert_eq!(first("content__text")["type"], "text");
    assert_eq!(first("content__image")["type"], "image");
    assert_eq!(first("content__audio")["type"], "audio");
    assert_eq!(first("content__blob")["type"], "resource");
    let everything = client.call("content__everything", json!({}));
    let kinds: Vec<_> = everything["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].clone())
        .collect();
    assert!(kinds.contains(&json!("resource_link")), "{kinds:?}");
    assert!(everything["structuredContent"].is_object());
    assert!(
        everything["_meta"]
            .as_object()
            .unwrap()
            .keys()
            .any(|key| key.contains("call-id")),
        "{everything}"
    );
    let nothing = client.call("content__nothing", json!({}));
    assert_eq!(nothing["content"], json!([]));
}

#[test]
fn the_three_kinds_of_failure_never_look_alike() {
    let project = Project::of(&[("failing", programs::FAILING), ("crash", programs::CRASH)]);
    let mut client = project.serve();
    let said = client.call(
        "failing__fail",
        json!({"code": "conflict", "reason": "limit-fuel", "message": "mine"}),
    );
    assert_eq!(said["isError"], json!(true));
    let error = &said["_meta"]["portreeve/error"];
    assert_eq!(
        (&error["origin"], &error["code"]),
        (&json!("plugin"), &json!("conflict"))
    );
    assert!(error["limit"].is_null(), "{error}");
    let broke = client.call("crash__panic", json!({"message": "secret-in-a-panic"}));
    assert_eq!(broke["_meta"]["portreeve/error"]["origin"], "plugin");
    assert!(
        !broke.to_string().contains("secret-in-a-panic"),
        "it stays in the log"
    );
    eventually("the panic is in the log", || {
        project.guest_log().contains("secret-in-a-panic")
    });
    let unknown = client.request(
        "tools/call",
        json!({"name": "failing__fial", "arguments": {}}),
    );
    assert_eq!(unknown["error"]["code"], json!(-32602), "{unknown}");
    assert!(
        unknown["error"]["message"]
            .as_str()
            .unwrap()
            .contains("failing__fail"),
        "{unknown}"
    );
}

#[test]
fn progress_reaches_whoever_asked_for_it() {
    let project = Project::with(&format!(
        "{}grants.ui.progress = true\n{}",
        plugin("granted", programs::PROGRESS),
        plugin("refused", programs::PROGRESS),
    ));
    let mut client = project.serve();
    let arguments = json!({"times": 3, "total": 3.0, "message": "on the way", "pause_ms": 150});
    let id = client.ask(
        "tools/call",
        json!({"name": "granted__report", "arguments": arguments, "_meta": {"progressToken": "t1"}}),
    );
    let answer = client.answer(id);
    assert_eq!(
        answer["result"]["structuredContent"]["accepted"],
        json!(3),
        "{answer}"
    );
    let reports: Vec<_> = client
        .notifications
        .iter()
        .filter(|n| n["method"] == "notifications/progress")
        .collect();
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .all(|report| report["params"]["progressToken"] == "t1")
    );
    let numbers: Vec<_> = reports
        .iter()
        .map(|r| r["params"]["progress"].as_f64().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );

    let refused = client.call("refused__report", json!({"times": 1}));
    let told = refused["structuredContent"]["failure"].as_str().unwrap();
    assert!(
        told.contains("grants.ui.progress = true") && told.contains("[plugins.refused]"),
        "{told}"
    );
}

/// What is no MCP gets an error, not silence, and the connection goes on.
#[test]
fn bad_messages() {
    let project = project();
    let mut client = project.serve();
    for line in [
        "not json",
        "{\"jsonrpc\":\"2.0\",\"id\":900,\"method\":\"tools/call\",\"params\":{\"name\":\"echo__echo\",\"arguments\":{\"a\":1,\"a\":2}}}",
        "{\"jsonrpc\":\"2.0\",\"id\":901,\"method\":\"tools/call\",\"params\":{\"name\":\"echo__echo\",\"arguments\":{\"a\":NaN}}}",
        "[{\"jsonrpc\":\"2.0\",\"id\":902,\"method\":\"ping\"}]",
    ] {
        client.send_line(line);
        let answer = client.message();
        assert!(answer["error"]["message"].is_string(), "{line}: {answer}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    client.send_line(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":903,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo__echo\",\"arguments\":{{\"a\":{deep}}}}}}}"
    ));
    assert!(client.message()["error"].is_object());
    let huge = "x".repeat(20 << 20);
    client.send_line(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":904,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo__echo\",\"arguments\":{{\"a\":\"{huge}\"}}}}}}"
    ));
    assert!(client.message()["error"].is_object());
    // Within the line, but over the plugin's own limit.
    let large = client.call("echo__echo", json!({"text": "x".repeat(2 << 20)}));
    assert_eq!(
        large["_meta"]["portreeve/error"]["limit"]["setting"],
        "arguments"
    );
    for arguments in [json!([]), json!("text"), json!(7)] {
        let answer = client.request(
            "tools/call",
            json!({"name": "echo__echo", "arguments": arguments}),
        );
        assert!(answer["error"].is_object(), "{answer}");
    }
    assert_eq!(
        client.text("echo__echo", json!({"still": "here"})),
        "{\"still\":\"here\"}"
    );
    assert!(client.close());
}

#[test]
fn cancelled_requests_are_not_answered() {
    let project = Project::of(&[("sleep", programs::SLEEP), ("echo", programs::ECHO)]);
    let mut client = project.serve();
    client.text("echo__echo", json!({}));
    let id = client.ask(
        "tools/call",
        json!({"name": "sleep__sleep", "arguments": {"ms": 3_600_000}}),
    );
    client.notify("notifications/cancelled", json!({"requestId": id}));
    client.request("ping", json!({}));
    assert!(client.message_within(Duration::from_millis(300)).is_none());
}

#[test]
fn the_process_ends_with_its_client() {
    let project = project();
    let client: Client = project.serve();
    assert!(client.close());
}

#[test]
fn three_tools_stand_for_a_long_list_where_that_is_wanted() {
    let project = Project::with(&format!(
        "[serve]\nmeta-tools = true\n{}expose = {{ category = \"repeating\", tags = [\"mirror\"] }}\n{}",
        plugin("echo", programs::ECHO),
        plugin("content", programs::CONTENT),
    ));
    let mut client = project.serve();
    assert_eq!(
        client.tools(),
        ["call_tool", "describe_tool", "search_tools"]
    );
    let found = |client: &mut Client, search: Value| -> Vec<String> {
        let found = client.call("search_tools", search)["structuredContent"].clone();
        let tools = found["tools"].as_array().unwrap();
        let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let echoes = ["echo__echo", "echo__echo_structured"];
    assert_eq!(found(&mut client, json!({"query": "Echo!"})), echoes);
    assert_eq!(found(&mut client, json!({"query": "mirror"})), echoes);
    assert_eq!(found(&mut client, json!({"category": "repeating"})), echoes);
    assert_eq!(
        found(
            &mut client,
            json!({"query": "structured content", "tag": "mirror"})
        ),
        ["echo__echo_structured"]
    );
    assert!(found(&mut client, json!({"query": "xylophone"})).is_empty());
    assert!(found(&mut client, json!({})).len() > 2);
    let described = client.call("describe_tool", json!({"name": "echo__echo"}));
    let schema = &described["structuredContent"]["tool"]["inputSchema"];
    assert_eq!(schema["type"], "object", "{described}");
    let call = json!({"name": "echo__echo", "arguments": {"a": 1}});
    assert!(client.text("call_tool", call).contains("\"a\""));
    // By its own name as well.
    assert!(client.text("echo__echo", json!({"b": 1})).contains("\"b\""));
    // What a model can mend, it is told as a result, which it sees.
    for (tool, arguments, told) in [
        ("call_tool", json!({}), "missing field `name`"),
        (
            "call_tool",
            json!({"name": "echo__echo", "arguments": 7}),
            "invalid type",
        ),
        ("call_tool", json!({"name": "echo__ehco"}), "echo__echo"),
        ("call_tool", json!({"name": "xylophone"}), "`search_tools`"),
        ("describe_tool", json!({"name": "echo__ehco"}), "echo__echo"),
        ("describe_tool", json!({"nam": "echo__echo"}), "`nam`"),
        ("search_tools", json!({"query": 5}), "invalid type"),
        ("search_tools", json!({"nope": 1}), "`query`"),
        ("search_tools", json!({"after": -1}), "invalid value"),
        ("search_tools", json!({"tag": null}), "invalid type"),
    ] {
        let refused = client.call(tool, arguments);
        assert_eq!(refused["isError"], true, "{refused}");
        let text = refused["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("Mistake in the request ("), "{refused}");
        assert!(text.contains(told), "{refused}");
    }
    // A tool that is not there is a mistake of the protocol, as ever.
    let unknown = client.request("tools/call", json!({"name": "echo__none"}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
}

#[test]
fn a_search_goes_on_where_it_ended() {
    let aliases: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let plugins: String = aliases
        .iter()
        .map(|alias| plugin(alias, programs::ECHO))
        .collect();
    let project = Project::with(&format!("[serve]\nmeta-tools = true\n{plugins}"));
    let mut client = project.serve();
    let (mut names, mut search) = (Vec::new(), json!({}));
    loop {
        let found = client.call("search_tools", search)["structuredContent"].clone();
        assert_eq!(found["found"], 24, "{found}");
        let tools = found["tools"].as_array().unwrap();
        names.extend(tools.iter().map(|tool| tool["name"].to_string()));
        match found.get("after") {
            Some(after) => search = json!({"after": after}),
            None => break,
        }
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!((all, names.len()), (24, 24));
}

#[test]
fn methods_of_the_other_era_are_refused_with_a_sentence() {
    let project = project();
    let mut client = project.connect();
    let refused = |answer: Value, told: &str| {
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{answer}");
    };
    client.request("tools/list", json!({"_meta": meta()}));
    for method in [
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "initialize",
    ] {
        let answer = client.request(method, json!({"_meta": meta()}));
        refused(answer, "`server/discover` says what there is");
    }
    let greeting = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "e2e", "version": "1"},
    });
    let answer = client.request("initialize", greeting);
    refused(answer, "`server/discover` says what there is");
    let answer = client.request("none/such", json!({"_meta": meta()}));
    refused(answer, "no method");
    assert!(client.close());
    let mut older = project.serve();
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let answer = older.request("subscriptions/listen", listen);
    refused(answer, "it came with 2026-07-28");
    assert!(older.close());
}
