//! Calls that take longer than their caller waits, and that it comes back for.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Client, Project, eventually, plugin};

fn project(limits: &str) -> Project {
    Project::with(&format!(
        "[host]\nlimits = {{ task-after = \"100ms\"{limits} }}\n{}{}grants.ui = {{ ask = true }}\n",
        plugin("sleep", programs::SLEEP),
        plugin("client", programs::CLIENT),
    ))
}

fn newer(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    });
    params
}

fn call(client: &mut Client, tool: &str, arguments: &Value) -> Value {
    let params = newer(json!({"name": tool, "arguments": arguments}));
    client.request("tools/call", params)["result"].clone()
}

/// Calls, and gets a task.
fn task(client: &mut Client, tool: &str, arguments: &Value) -> String {
    let result = call(client, tool, arguments);
    assert_eq!(result["resultType"], "task", "{result}");
    assert_eq!(result["status"], "working", "{result}");
    result["taskId"].as_str().unwrap().to_owned()
}

fn of_task(client: &mut Client, method: &str, id: &str) -> Value {
    client.request(method, newer(json!({"taskId": id})))
}

/// The task, once it has this status.
fn once(client: &mut Client, id: &str, status: &str) -> Value {
    let mut got = Value::Null;
    eventually(status, || {
        got = of_task(client, "tasks/get", id)["result"].clone();
        got["status"] == status
    });
    got
}

#[test]
fn a_long_call_becomes_a_task_and_a_short_one_does_not() {
    let project = project("");
    let mut client = project.connect();
    // Compiled first, so that the short one is short.
    call(&mut client, "sleep__sleep", &json!({"ms": 1}));
    let short = call(&mut client, "sleep__sleep", &json!({"ms": 1}));
    assert_eq!(short["resultType"], "complete", "{short}");
    let id = task(&mut client, "sleep__sleep", &json!({"ms": 1_500}));
    let working = of_task(&mut client, "tasks/get", &id);
    assert_eq!(working["result"]["resultType"], "complete", "{working}");
    let done = once(&mut client, &id, "completed");
    assert_eq!(done["result"]["content"][0]["text"], "slept", "{done}");
    // It can be asked for again, and by another connection of the same person.
    let mut second = project.connect();
    let again = of_task(&mut second, "tasks/get", &id);
    assert_eq!(again["result"]["status"], "completed", "{again}");
    let unknown = of_task(&mut client, "tasks/get", "none");
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    // Clients that do not come back wait.
    let params = json!({"name": "sleep__sleep", "arguments": {"ms": 500}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let waited = client.request("tools/call", params);
    assert_eq!(waited["result"]["resultType"], "complete", "{waited}");
}

#[test]
fn a_task_asks_and_goes_on_with_the_answers() {
    let project = project("");
    let mut client = project.connect();
    let id = task(&mut client, "client__gather_later", &json!({"ms": 500}));
    let asks = once(&mut client, &id, "input_required");
    let request = &asks["inputRequests"]["many"];
    assert_eq!(request["method"], "elicitation/create", "{asks}");
    for (responses, fits) in [
        (json!({"other": {"action": "decline"}}), true),
        (json!({"many": 7}), false),
        (
            json!({"many": {"action": "accept", "content": {"value": 7}}}),
            true,
        ),
    ] {
        let params = newer(json!({"taskId": id, "inputResponses": responses}));
        let answer = client.request("tasks/update", params);
        assert_eq!(answer.get("result").is_some(), fits, "{answer}");
    }
    let done = once(&mut client, &id, "completed");
    let given = done["result"]["structuredContent"]["given"]
        .as_str()
        .unwrap();
    assert!(given.contains('7'), "{done}");
}

#[test]
fn a_cancelled_task_says_so() {
    let project = project("");
    let mut client = project.connect();
    let id = task(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    let cancelled = of_task(&mut client, "tasks/cancel", &id);
    assert!(cancelled["result"].is_object(), "{cancelled}");
    once(&mut client, &id, "cancelled");
    // Once more, it stays as it is.
    let again = of_task(&mut client, "tasks/cancel", &id);
    assert!(again["result"].is_object(), "{again}");
}

#[test]
fn a_task_survives_the_restart_of_its_host_as_failed() {
    let project = project("");
    let mut client = project.connect();
    let id = task(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    client.kill();
    let mut client = project.connect();
    let failed = once(&mut client, &id, "failed");
    let told = failed["error"]["message"].as_str().unwrap();
    assert!(told.starts_with("host restarted"), "{failed}");
}

#[test]
fn tasks_are_bounded_and_the_oldest_that_ended_give_way() {
    let project = project(", tasks = 2");
    let mut client = project.connect();
    let first = task(&mut client, "sleep__sleep", &json!({"ms": 400}));
    once(&mut client, &first, "completed");
    let second = task(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    let third = task(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    let gone = of_task(&mut client, "tasks/get", &first);
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    // There is no room: the caller waits.
    let waited = call(&mut client, "sleep__sleep", &json!({"ms": 400}));
    assert_eq!(waited["resultType"], "complete", "{waited}");
    assert!(project.host_log().contains("the setting `tasks`"));
    for id in [second, third] {
        of_task(&mut client, "tasks/cancel", &id);
        once(&mut client, &id, "cancelled");
    }
}

#[test]
fn a_tool_says_whether_its_calls_become_tasks() {
    let project = Project::with(&format!(
        "[host]\nlimits = {{ task-after = \"100ms\" }}\n{}",
        plugin("t", programs::SDK_TOOLS)
    ));
    let mut client = project.connect();
    let listed = client.request("tools/list", newer(json!({})));
    let said = |name: &str| {
        let mut tools = listed["result"]["tools"].as_array().unwrap().iter();
        let tool = tools.find(|tool| tool["name"] == name).unwrap();
        assert!(tool.get("execution").is_none(), "{tool}");
        tool["_meta"]["portreeve/task-support"].clone()
    };
    assert_eq!(said("t__no_task"), "forbidden");
    assert_eq!(said("t__task"), "required");
    assert_eq!(said("t__pictured"), Value::Null);
    // However long it takes, or short.
    let waited = call(&mut client, "t__no_task", &json!({"ms": 700}));
    assert_eq!(waited["resultType"], "complete", "{waited}");
    for _ in 0..3 {
        let id = task(&mut client, "t__task", &json!({"ms": 0}));
        let done = once(&mut client, &id, "completed");
        assert_eq!(done["result"]["content"][0]["text"], "slept", "{done}");
    }
    // Who does not come back for tasks is told so.
    let params = json!({"name": "t__task", "arguments": {"ms": 0}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let refused = client.request("tools/call", params);
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let lacks = &refused["error"]["data"]["requiredCapabilities"];
    let expected = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    assert_eq!(*lacks, expected);
}
