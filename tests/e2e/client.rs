//! What plugins ask of clients besides forms, and write to their logs, from end to end: in both
//! eras of the protocol, over standard input and output and over HTTP.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::http::{self, HttpHost};
use crate::support::{Client, Project, eventually, plugin, structured};
use crate::web::records;

fn project(grants: &str, limits: &str) -> Project {
    Project::with(&format!(
        "{}grants.ui = {{ ask = true }}\ngrants.client = {{ {grants} }}\n{limits}",
        plugin("client", programs::CLIENT)
    ))
}

const ALL: &str = "sampling = true, roots = true, log = true";

fn everything() -> Value {
    json!({"sampling": {}, "roots": {}, "elicitation": {}})
}

fn connect(project: &Project, capabilities: &Value) -> Client {
    let mut client = project.connect();
    let greeting = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": {"name": "e2e", "version": "1"},
    });
    client.request("initialize", greeting);
    client.notify("notifications/initialized", json!({}));
    client
}

/// What the suite's clients would answer.
fn answer_to(request: &Value) -> Value {
    match request["method"].as_str().unwrap() {
        "sampling/createMessage" => {
            let said = &request["params"]["messages"][0]["content"]["text"];
            let text = format!("to {said}");
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": text}})
        }
        "roots/list" => json!({"roots": [{"uri": "file:///work"}, {"uri": "https://example.com"}]}),
        "elicitation/create" => json!({"action": "accept", "content": {"value": 7}}),
        other => panic!("{other} is no request of a server"),
    }
}

/// Calls, and answers what is asked meanwhile; the answer and the methods of what was asked.
fn call(client: &mut Client, tool: &str, arguments: &Value) -> (Value, Vec<String>) {
    let id = client.ask(
        "tools/call",
        json!({"name": format!("client__{tool}"), "arguments": arguments}),
    );
    let mut asked = Vec::new();
    loop {
        let message = client.message();
        match (message.get("method"), message.get("id")) {
            (Some(method), Some(of)) => {
                asked.push(method.as_str().unwrap().to_owned());
                let result = answer_to(&message);
                client
                    .send_line(&json!({"jsonrpc": "2.0", "id": of, "result": result}).to_string());
            }
            (Some(_), None) => client.notifications.push(message),
            (None, _) => {
                assert_eq!(message["id"], id, "{message}");
                return (message, asked);
            }
        }
    }
}

#[test]
fn a_client_of_the_older_era_lets_its_model_answer() {
    let project = project(ALL, "limits = { samplings-a-minute = 3 }\n");
    let mut client = connect(&project, &everything());
    let (answer, asked) = call(
        &mut client,
        "sample",
        &json!({"prompt": "hi", "tokens": 10}),
    );
    assert_eq!(
        *structured(&answer),
        json!({"model": "m", "said": "to \"hi\""})
    );
    assert_eq!(asked, ["sampling/createMessage"]);
    let (answer, _) = call(&mut client, "places", &json!({}));
    assert_eq!(*structured(&answer), json!({"roots": ["file:///work"]}));
    let wants = json!({"wants": "a=question,b=message,c=roots"});
    let (answer, asked) = call(&mut client, "gather", &wants);
    let given = &structured(&answer)["given"];
    assert_eq!(given[1], "to \"Say something\"", "{answer}");
    assert_eq!(given[2], "1 roots", "{answer}");
    assert_eq!(
        asked,
        ["elicitation/create", "sampling/createMessage", "roots/list"]
    );
    let (answer, _) = call(&mut client, "able", &json!({}));
    assert_eq!(structured(&answer)["can"], json!([true, true, true]));
    call(
        &mut client,
        "sample",
        &json!({"prompt": "hi", "tokens": 10}),
    );
    let (answer, asked) = call(
        &mut client,
        "sample",
        &json!({"prompt": "hi", "tokens": 10}),
    );
    let failed = &structured(&answer)["failed"];
    assert_eq!(failed["reason"], "limit-samplings-a-minute", "{answer}");
    assert!(asked.is_empty());
    eventually("what was asked is on record", || {
        records(&project, "answer").len() >= 4
    });
    let asked = records(&project, "ask");
    assert_eq!(asked[0]["body"]["questions"][0]["model"]["max-tokens"], 10);
    assert!(!format!("{asked:?}").contains("hi"), "{asked:?}");
}

#[test]
fn what_a_client_can_not_give_is_told() {
    let project = project(ALL, "");
    let mut client = connect(&project, &json!({}));
    let (answer, asked) = call(&mut client, "able", &json!({}));
    assert_eq!(structured(&answer)["can"], json!([false, false, false]));
    assert!(asked.is_empty());
    for (tool, arguments) in [
        ("sample", json!({"prompt": "hi", "tokens": 10})),
        ("places", json!({})),
    ] {
        let (answer, asked) = call(&mut client, tool, &arguments);
        let reason = &structured(&answer)["failed"]["reason"];
        assert_eq!(reason, "client-capability", "{answer}");
        assert!(asked.is_empty());
    }
    let (answer, _) = call(&mut client, "need", &json!({"prompt": "hi"}));
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(told.starts_with("Refused or stopped by the host"), "{told}");
    // A plugin that says so of itself is not taken for the host.
    let (answer, _) = call(&mut client, "pretend", &json!({}));
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(told.starts_with("Error of the plugin"), "{told}");
}

#[test]
fn what_is_not_granted_does_not_reach_the_client() {
    let project = project("log = false", "");
    let mut client = connect(&project, &everything());
    for (tool, arguments, capability) in [
        (
            "sample",
            json!({"prompt": "hi", "tokens": 10}),
            "client.sampling",
        ),
        ("places", json!({}), "client.roots"),
        (
            "gather",
            json!({"wants": "a=question,b=message"}),
            "client.sampling",
        ),
    ] {
        let (answer, asked) = call(&mut client, tool, &arguments);
        let failed = &structured(&answer)["failed"];
        assert_eq!(failed["code"], "ErrorCode::PermissionDenied", "{answer}");
        let message = failed["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("grants.{capability} = true")),
            "{message}"
        );
        assert!(asked.is_empty());
    }
    let (answer, _) = call(&mut client, "write", &json!({"data": "1", "count": 1}));
    assert_eq!(structured(&answer)["written"], 0, "{answer}");
    assert!(client.notifications.is_empty());
    eventually("the refusals are on record", || {
        records(&project, "refusal").len() >= 3
    });
}

#[test]
fn the_log_of_a_client_has_a_level_and_a_limit() {
    let project = project(ALL, "limits = { log-entries-a-minute = 5 }\n");
    let mut client = connect(&project, &json!({}));
    let entry = json!({"data": "{\"step\": 1}", "count": 2});
    let (answer, _) = call(&mut client, "write", &entry);
    assert_eq!(structured(&answer)["written"], 2);
    assert_eq!(client.notifications.len(), 2);
    let expected = json!({"level": "warning", "logger": "client", "data": {"step": 1}});
    assert_eq!(client.notifications[0]["params"], expected);
    client.request("logging/setLevel", json!({"level": "error"}));
    let (answer, _) = call(&mut client, "write", &entry);
    assert_eq!(structured(&answer)["written"], 2);
    assert_eq!(client.notifications.len(), 2);
    let (answer, _) = call(&mut client, "write", &entry);
    let stopped = &structured(&answer)["stopped"]["failed"];
    assert_eq!(stopped["reason"], "limit-log-entries-a-minute", "{answer}");
}

/// Its next owner counts its questions from the beginning, too.
#[test]
fn a_client_whose_owner_was_killed_is_asked_by_the_next_one() {
    let project = project(ALL, "");
    let mut first = project.serve();
    let mut client = connect(&project, &everything());
    let hi = json!({"prompt": "hi", "tokens": 10});
    call(&mut client, "sample", &hi);
    client.request("logging/setLevel", json!({"level": "error"}));
    first.kill();
    // Asked again, where a call would fail that was on its way to the one that was killed.
    client.tools();
    let (answer, asked) = call(&mut client, "sample", &hi);
    assert_eq!(structured(&answer)["said"], "to \"hi\"", "{answer}");
    assert_eq!(asked, ["sampling/createMessage"]);
    // The level holds on.
    client.notifications.clear();
    call(&mut client, "write", &json!({"data": "1", "count": 1}));
    let logged = |n: &&Value| n["method"] == "notifications/message";
    assert_eq!(client.notifications.iter().find(logged), None);
}

fn newer(mut params: Value, capabilities: &Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    });
    params
}

#[test]
fn a_client_of_the_newer_era_gives_everything_at_once_under_the_plugins_names() {
    let project = project(ALL, "");
    let mut client = project.connect();
    let arguments = json!({"wants": "a=question,b=message,c=roots"});
    let mut params = json!({"name": "client__gather", "arguments": arguments});
    let first = client.request("tools/call", newer(params.clone(), &everything()));
    let requests = first["result"]["inputRequests"].as_object().unwrap();
    let responses: serde_json::Map<String, Value> = requests
        .iter()
        .map(|(name, request)| (name.clone(), answer_to(request)))
        .collect();
    assert_eq!(responses.len(), 3, "{first}");
    params["requestState"] = first["result"]["requestState"].clone();
    params["inputResponses"] = responses.into();
    let answer = client.request("tools/call", newer(params.clone(), &everything()));
    assert_eq!(structured(&answer)["given"][2], "1 roots", "{answer}");
    // Who has the answers already need not be asked for them.
    params.as_object_mut().unwrap().remove("requestState");
    let answer = client.request("tools/call", newer(params.clone(), &everything()));
    assert_eq!(structured(&answer)["given"][2], "1 roots", "{answer}");
    // Of those that can't be read the plugin hears nothing: they are asked for.
    params["inputResponses"]["b"] = json!(12345);
    let again = client.request("tools/call", newer(params, &everything()));
    let requests = again["result"]["inputRequests"].as_object().unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["b"], "{again}");
}

#[test]
fn a_client_of_the_newer_era_is_told_which_capability_it_lacks() {
    let project = project(ALL, "");
    let mut client = project.connect();
    let params = json!({"name": "client__need", "arguments": {"prompt": "hi"}});
    for capabilities in [json!({}), json!({"elicitation": {}})] {
        let answer = client.request("tools/call", newer(params.clone(), &capabilities));
        assert_eq!(answer["error"]["code"], -32021, "{answer}");
        let required = &answer["error"]["data"]["requiredCapabilities"];
        assert_eq!(*required, json!({"sampling": {}}));
    }
    let pretending = json!({"name": "client__pretend", "arguments": {}});
    let answer = client.request("tools/call", newer(pretending, &json!({})));
    assert_eq!(answer["result"]["isError"], true, "{answer}");
}

#[test]
fn over_http_a_client_of_the_older_era_answers_by_another_request() {
    let project = project(ALL, "");
    let host = HttpHost::start(&project);
    let session = host.greet_as(&everything());
    let message = http::call(
        "client__gather",
        json!({"wants": "a=question,b=message,c=roots"}),
    );
    let mut stream = host.stream(&http::older(&session), &message);
    let mut asked = 0;
    let answer = loop {
        let message = stream.message();
        if message.get("method").is_none() {
            break message;
        }
        asked += 1;
        let result = answer_to(&message);
        let reply = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let (head, _) = host.post(&http::older(&session), &reply);
        assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    };
    assert_eq!(asked, 3);
    assert_eq!(structured(&answer)["given"][2], "1 roots", "{answer}");
    // A level that was set holds for the whole session.
    let level = json!({"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": {"level": "error"}});
    host.post(&http::older(&session), &level);
    let write = http::call("client__write", json!({"data": "1", "count": 1}));
    let (_, messages) = host.post(&http::older(&session), &write);
    assert_eq!(messages.len(), 1, "{messages:?}");
}
