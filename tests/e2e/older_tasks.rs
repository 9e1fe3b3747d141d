//! Tasks as clients of 2025-11-25 have them: they say that a call shall be one.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::clients;
use crate::http::{HttpHost, older as fields, request, until};
use crate::support::{Client, Project, eventually, plugin};

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn project(limits: &str) -> Project {
    Project::with(&format!(
        "[host]\nlimits = {{ {limits} }}\n{}{}{}grants.ui = {{ ask = true }}\n{}grants.ui = {{ progress = true }}\n",
        plugin("sleep", programs::SLEEP),
        plugin("failing", programs::FAILING),
        plugin("client", programs::CLIENT),
        plugin("progress", programs::PROGRESS),
    ))
}

/// A client that greets with this version, and how it was answered.
fn greet(project: &Project, version: &str) -> (Client, Value) {
    let mut client = project.connect();
    let greeting = json!({
        "protocolVersion": version,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "e2e", "version": "1"},
    });
    let answer = client.request("initialize", greeting);
    client.notify("notifications/initialized", json!({}));
    (client, answer["result"].clone())
}

fn older(project: &Project) -> Client {
    greet(project, "2025-11-25").0
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments, "task": {"ttl": 60_000}})
}

/// Calls a tool as a task.
fn begin(client: &mut Client, tool: &str, arguments: &Value) -> String {
    let answer = client.request("tools/call", call(tool, arguments));
    let task = &answer["result"]["task"];
    assert_eq!(task["status"], "working", "{answer}");
    assert!(task["ttl"].as_u64().unwrap() > 0, "{answer}");
    task["taskId"].as_str().unwrap().to_owned()
}

fn of_task(client: &mut Client, method: &str, id: &str) -> Value {
    client.request(method, json!({"taskId": id}))
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
fn a_call_is_a_task_where_its_client_says_so() {
    let project = project("");
    let (mut client, greeted) = greet(&project, "2025-11-25");
    let tasks = &greeted["capabilities"]["tasks"];
    let expected = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(*tasks, expected);
    let listed = client.request("tools/list", json!({}));
    for tool in listed["result"]["tools"].as_array().unwrap() {
        assert_eq!(tool["execution"]["taskSupport"], "optional", "{tool}");
        assert!(tool["inputSchema"].is_object(), "{tool}");
    }
    // Short or long.
    let id = begin(&mut client, "sleep__sleep", &json!({"ms": 300}));
    let told = client.notification("notifications/tasks/status");
    assert_eq!(told["params"]["taskId"], json!(id), "{told}");
    assert_eq!(told["params"]["status"], "completed", "{told}");
    let short = begin(&mut client, "sleep__sleep", &json!({"ms": 0}));
    // Its result is waited for, and is what the call's would have been.
    for id in [&id, &short] {
        let answer = of_task(&mut client, "tasks/result", id);
        let result = &answer["result"];
        assert_eq!(result["content"][0]["text"], "slept", "{answer}");
        assert_eq!(result["_meta"][RELATED]["taskId"], json!(id), "{answer}");
        assert!(result.get("resultType").is_none(), "{answer}");
        let got = of_task(&mut client, "tasks/get", id);
        assert_eq!(got["result"]["status"], "completed", "{got}");
        assert!(got["result"].get("result").is_none(), "{got}");
    }
    // A tool's own error is a failure, and its result says so.
    let failing = begin(
        &mut client,
        "failing__error_outcome",
        &json!({"message": "no"}),
    );
    let result = of_task(&mut client, "tasks/result", &failing);
    assert_eq!(result["result"]["isError"], true, "{result}");
    once(&mut client, &failing, "failed");
    let unknown = of_task(&mut client, "tasks/get", "none");
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    // All of them are listed, also to another connection of the same person.
    let mut other = older(&project);
    let listed = other.request("tasks/list", json!({}))["result"]["tasks"].clone();
    let mut ids: Vec<_> = listed.as_array().unwrap().iter().collect();
    ids.sort_by_key(|task| task["createdAt"].as_str().unwrap().to_owned());
    let ids: Vec<_> = ids.into_iter().map(|task| &task["taskId"]).collect();
    assert_eq!(json!(ids), json!([id, short, failing]));
    // Mistakes.
    for (params, code) in [
        (json!({"name": "sleep__none", "task": {}}), -32602),
        (json!({"name": "sleep__sleep", "task": 7}), -32602),
        (
            json!({"name": "sleep__sleep", "task": {"ttl": "x"}}),
            -32602,
        ),
        (json!({"name": "sleep__sleep", "task": {"ttl": -1}}), -32602),
        (json!({"task": {}}), -32602),
    ] {
        let answer = client.request("tools/call", params.clone());
        assert_eq!(answer["error"]["code"], code, "{params}: {answer}");
    }
}

/// Holds what a client was told of a task that reports 1 to 4 against what it should be: how far
/// it is, then that it is done.
fn check_progress(told: &[Value], id: &Value) {
    let (status, reports) = told.split_last().unwrap();
    assert_eq!(status["params"]["status"], "completed", "{status}");
    assert_eq!(status["params"]["taskId"], *id, "{status}");
    let mut last = 0.0;
    for report in reports {
        assert_eq!(report["method"], "notifications/progress", "{report}");
        let params = &report["params"];
        assert_eq!(params["progressToken"], "far", "{report}");
        assert_eq!(params["total"], 4.0, "{report}");
        assert_eq!(params["_meta"][RELATED]["taskId"], *id, "{report}");
        let now = params["progress"].as_f64().unwrap();
        assert!(now > last && now <= 4.0, "{reports:?}");
        last = now;
    }
    assert!(last > 0.0, "{told:?}");
}

#[test]
fn the_token_of_a_task_is_good_until_it_ends() {
    let project = project("");
    let arguments = json!({"times": 4, "total": 4.0, "pause_ms": 200});
    let mut params = call("progress__report", &arguments);
    params["_meta"] = json!({"progressToken": "far"});
    let is_status = |message: &Value| message["method"] == "notifications/tasks/status";

    let mut client = older(&project);
    let answer = client.request("tools/call", params.clone());
    let id = &answer["result"]["task"]["taskId"];
    let mut told = std::mem::take(&mut client.notifications);
    while !told.last().is_some_and(is_status) {
        told.push(client.message());
    }
    check_progress(&told, id);
    // That is all.
    client.request("ping", json!({}));
    assert_eq!(client.notifications, Vec::<Value>::new());
    // Without a token, nobody is told.
    params["_meta"] = json!({});
    client.request("tools/call", params.clone());
    client.notification("notifications/tasks/status");
    assert_eq!(client.notifications, Vec::<Value>::new());
    assert!(client.close());

    // In a session, its own stream has it.
    params["_meta"] = json!({"progressToken": "far"});
    let host = HttpHost::start(&project);
    let session = host.greet();
    let mut stream = host.listen(&session);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let (head, answers) = host.post(&fields(&session), &message);
    assert_eq!(answers.len(), 1, "{head}{answers:?}");
    let id = &answers[0]["result"]["task"]["taskId"];
    let mut told = vec![stream.message()];
    while !told.last().is_some_and(is_status) {
        told.push(stream.message());
    }
    check_progress(&told, id);
}

#[test]
fn many_tasks_are_listed_page_by_page() {
    let project = project("");
    let mut client = older(&project);
    let mut begun: Vec<String> = (0..25)
        .map(|_| begin(&mut client, "sleep__sleep", &json!({"ms": 0})))
        .collect();
    let mut listed = Vec::new();
    let mut params = json!({});
    let mut pages = 0;
    loop {
        let page = client.request("tasks/list", params)["result"].clone();
        let tasks = page["tasks"].as_array().unwrap();
        listed.extend(
            tasks
                .iter()
                .map(|task| task["taskId"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page.get("nextCursor") {
            Some(next) => params = json!({"cursor": next}),
            None => break,
        }
    }
    assert!(pages > 1);
    begun.sort();
    assert_eq!(listed, begun);
}

#[test]
fn a_task_asks_whoever_waits_for_its_result() {
    let project = project("");
    let mut client = older(&project);
    let id = begin(&mut client, "client__gather_later", &json!({"ms": 100}));
    once(&mut client, &id, "input_required");
    let told = client.notification("notifications/tasks/status");
    assert_eq!(told["params"]["status"], "input_required", "{told}");
    let waiting = client.ask("tasks/result", json!({"taskId": id}));
    let asked = loop {
        let message = client.message();
        if message["method"] == "elicitation/create" {
            break message;
        }
    };
    assert_eq!(
        asked["params"]["_meta"][RELATED]["taskId"],
        json!(id),
        "{asked}"
    );
    let reply = json!({"action": "accept", "content": {"value": 7}});
    client.send_line(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": reply}).to_string());
    let answer = client.answer(waiting);
    let given = answer["result"]["structuredContent"]["given"].as_str();
    assert!(given.unwrap().contains('7'), "{answer}");
    once(&mut client, &id, "completed");
}

#[test]
fn a_wait_for_a_result_ends_when_nobody_comes_back_for_it() {
    // Longer than this test waits for anything.
    let project = Project::with(&format!(
        "[serve]\nlimits = {{ replay-age = '1s' }}\n{}limits = {{ timeout = '200s' }}\n",
        plugin("sleep", programs::SLEEP)
    ));
    let host = HttpHost::start(&project);
    let session = host.greet();
    let message = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let post = |message: &Value| host.post(&fields(&session), message);
    let begin = message(
        1,
        "tools/call",
        call("sleep__sleep", &json!({"ms": 150_000})),
    );
    let (_, begun) = post(&begin);
    let id = json!({"taskId": begun[0]["result"]["task"]["taskId"]});
    // An id is in use while its request is being worked on.
    let is_worked_on = |id| {
        let (head, _) = post(&message(id, "ping", json!({})));
        head.starts_with("HTTP/1.1 400")
    };
    let wait = |number| {
        let wait = message(number, "tasks/result", id.clone());
        host.send(&request(&fields(&session), &wait))
    };
    let mut begun = wait(2);
    until(&mut begun, "id: a");
    let new = wait(3);
    for (number, waiting) in [(2, begun), (3, new)] {
        eventually("it waits", || is_worked_on(number));
        drop(waiting);
    }
    for number in [2, 3] {
        eventually("it waits no more", || !is_worked_on(number));
    }
    // The task goes on.
    let (_, got) = post(&message(4, "tasks/get", id.clone()));
    assert_eq!(got[0]["result"]["status"], "working", "{got:?}");
    let (_, cancelled) = post(&message(5, "tasks/cancel", id.clone()));
    assert_eq!(
        cancelled[0]["result"]["status"], "cancelled",
        "{cancelled:?}"
    );
}

#[test]
fn a_task_is_cancelled_once() {
    let project = project("");
    let mut client = older(&project);
    let id = begin(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    let waiting = client.ask("tasks/result", json!({"taskId": id}));
    let cancelling = client.ask("tasks/cancel", json!({"taskId": id}));
    let mut answers = [client.message(), client.message(), client.message()];
    answers.sort_by_key(|answer| answer["id"].as_u64().unwrap_or_default());
    let [told, result, cancelled] = answers;
    assert_eq!(told["params"]["status"], "cancelled", "{told}");
    assert_eq!(
        (&result["id"], &cancelled["id"]),
        (&json!(waiting), &json!(cancelling))
    );
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cancelled")
    );
    assert_eq!(cancelled["result"]["status"], "cancelled", "{cancelled}");
    let again = of_task(&mut client, "tasks/cancel", &id);
    assert_eq!(again["error"]["code"], -32602, "{again}");
}

#[test]
fn a_task_of_an_older_client_survives_the_restart_of_its_host_as_failed() {
    let project = project("");
    let mut client = older(&project);
    let id = begin(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    client.kill();
    let mut client = older(&project);
    let failed = once(&mut client, &id, "failed");
    let why = failed["statusMessage"].as_str().unwrap();
    assert!(why.starts_with("host restarted"), "{failed}");
    let result = of_task(&mut client, "tasks/result", &id);
    assert!(
        result["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("host restarted")
    );
}

#[test]
fn tasks_that_older_clients_begin_are_bounded() {
    let project = project("tasks = 1");
    let mut client = older(&project);
    let id = begin(&mut client, "sleep__sleep", &json!({"ms": 25_000}));
    let refused = client.request("tools/call", call("sleep__sleep", &json!({"ms": 0})));
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("`tasks` under [host]"), "{refused}");
    of_task(&mut client, "tasks/cancel", &id);
}

#[test]
fn clients_of_other_versions_begin_no_task_so() {
    let project = project("");
    let (mut client, greeted) = greet(&project, "2025-06-18");
    assert!(greeted["capabilities"].get("tasks").is_none(), "{greeted}");
    let answer = client.request("tools/call", call("sleep__sleep", &json!({"ms": 0})));
    assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
    assert!(answer["result"].get("resultType").is_none(), "{answer}");
    for method in ["tasks/list", "tasks/result", "tasks/get"] {
        let answer = of_task(&mut client, method, "none");
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    let mut newer = project.connect();
    let mut params = call("sleep__sleep", &json!({"ms": 0}));
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let answer = newer.request("tools/call", params);
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    let listed = newer.request(
        "tools/list",
        json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }}),
    );
    assert!(
        listed["result"]["tools"][0].get("execution").is_none(),
        "{listed}"
    );
}

#[test]
fn a_tool_says_whether_its_calls_are_tasks() {
    let project = Project::of(&[("t", programs::SDK_TOOLS), ("sleep", programs::SLEEP)]);
    let mut client = older(&project);
    let listed = client.request("tools/list", json!({}));
    let support = |name: &str| {
        let tools = listed["result"]["tools"].as_array().unwrap().iter();
        let tool = tools.clone().find(|tool| tool["name"] == name).unwrap();
        tool["execution"]["taskSupport"].clone()
    };
    assert_eq!(support("t__no_task"), "forbidden");
    assert_eq!(support("t__task"), "required");
    assert_eq!(support("t__pictured"), "optional");
    let ms = json!({"ms": 1});
    // In the way that it wants.
    let plainly = |tool: &str| json!({"name": tool, "arguments": ms});
    let answer = client.request("tools/call", plainly("t__no_task"));
    assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
    let id = begin(&mut client, "t__task", &ms);
    once(&mut client, &id, "completed");
    // In the other one.
    for (params, why) in [
        (call("t__no_task", &ms), "without `task`"),
        (plainly("t__task"), "with `task`"),
    ] {
        let refused = client.request("tools/call", params);
        assert_eq!(refused["error"]["code"], -32601, "{refused}");
        let told = refused["error"]["message"].as_str().unwrap();
        assert!(told.contains(why), "{refused}");
    }
    // Those that had no tasks yet just call.
    let (mut oldest, _) = greet(&project, "2025-06-18");
    for tool in ["t__no_task", "t__task"] {
        for params in [plainly(tool), call(tool, &ms)] {
            let answer = oldest.request("tools/call", params);
            assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
        }
    }
}

#[test]
fn a_tool_that_stands_for_all_may_be_a_task() {
    let project = Project::with(&format!(
        "[serve]\nmeta-tools = true\n{}",
        plugin("t", programs::SDK_TOOLS)
    ));
    let mut client = older(&project);
    let through = |tool: &str| json!({"name": tool, "arguments": {"ms": 1}});
    for tool in ["t__no_task", "t__task"] {
        let params = json!({"name": "call_tool", "arguments": through(tool)});
        let answer = client.request("tools/call", params);
        assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
    }
    let id = begin(&mut client, "call_tool", &through("t__task"));
    once(&mut client, &id, "completed");
    let refused = client.request("tools/call", call("call_tool", &through("t__no_task")));
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
}

#[test]
fn the_typescript_client_calls_tools_as_tasks() {
    let project = project("");
    let host = HttpHost::start(&project);
    let Some((told, said)) = clients::typescript_tells("tasks.mjs", &host) else {
        return;
    };
    assert_eq!(
        told["slept"],
        json!(["taskCreated", "taskStatus", "result:slept"]),
        "{told}{said}"
    );
    let progress = told["progress"].as_array().unwrap();
    let progress: Vec<f64> = progress.iter().filter_map(Value::as_f64).collect();
    assert!(!progress.is_empty(), "{told}{said}");
    assert!(progress.is_sorted_by(|a, b| a < b), "{told}{said}");
    assert_eq!(told["asked"]["questions"], 1, "{told}{said}");
    assert!(
        told["asked"]["given"].as_str().unwrap().contains('7'),
        "{told}"
    );
    assert_eq!(told["cancelled"], "cancelled", "{told}");
    assert_eq!(told["listed"], 4, "{told}");
    assert_eq!(
        told["told"],
        json!([
            "completed",
            "completed",
            "input_required",
            "completed",
            "cancelled"
        ]),
        "{told}"
    );
}
