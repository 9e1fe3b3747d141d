//! What plugins tell people and ask of them, from end to end: through clients of both eras, and
//! through the inbox.

use std::io::Write as _;
use std::process::{Output, Stdio};

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::http::{self, HttpHost};
use crate::support::{Client, Project, eventually, plugin, structured};
use crate::terminal::Terminal;
use crate::web::{done, records, said};

fn project(limits: &str) -> Project {
    Project::with(&format!(
        "{}grants.ui = {{ ask = true, notify = true }}\n{limits}",
        plugin("people", programs::PROMPT)
    ))
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

fn schema() -> Value {
    json!({"type": "object", "required": ["name", "days"], "properties": {
        "name": {"type": "string", "title": "Na\u{1b}[31mme\u{202e}"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    }})
}

fn sensitive() -> Value {
    json!({"type": "object", "required": ["name", "key"], "properties": {
        "name": {"type": "string"},
        "key": {"type": "string", "writeOnly": true},
    }})
}

fn asking() -> Value {
    json!({"name": "people__ask", "arguments": {"message": "Where\u{1b}]0;x\u{7} to\u{202e}?", "schema": schema()}})
}

/// The next request of the server.
fn asked(client: &mut Client) -> Value {
    loop {
        let message = client.message();
        if message["method"] == "elicitation/create" {
            return message;
        }
        assert!(message.get("method").is_some(), "{message}");
    }
}

fn reply(client: &mut Client, request: &Value, result: &Value) {
    client.send_line(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
}

fn inbox(project: &Project) -> Vec<Value> {
    let output = project.run(&["inbox", "--json"]);
    done(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The id of the one question that waits.
fn waiting(project: &Project) -> String {
    let mut id = None;
    eventually("a question waits", || {
        let items = inbox(project);
        let question = items.iter().find(|item| item["question"]["waits"] == true);
        id = question.map(|item| item["id"].as_str().unwrap().to_owned());
        id.is_some()
    });
    id.unwrap()
}

fn answer_with(project: &Project, arguments: &[&str], input: &str) -> Output {
    let mut child = project
        .portreeve(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// How often the guest ran, as it says itself.
fn runs(project: &Project) -> usize {
    project.guest_log().matches("asking").count()
}

#[test]
fn a_client_of_the_older_era_is_asked_over_its_connection() {
    // The call's own time is far shorter than what the people take.
    let project = project("limits = { timeout = \"700ms\" }\n");
    let mut client = connect(&project, &json!({"elicitation": {}}));
    client.text(
        "people__tell",
        json!({"level": "info", "title": "t", "body": ""}),
    );
    let call = client.ask("tools/call", asking());
    let request = asked(&mut client);
    let params = &request["params"];
    assert_eq!(
        params["message"],
        "The plugin `people` asks:\n\nWhere]0;x to?"
    );
    let name = &params["requestedSchema"]["properties"]["name"];
    assert_eq!(name["title"], "Na[31mme");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let accepted = json!({"action": "accept", "content": {"name": "Ada", "days": 3}});
    reply(&mut client, &request, &accepted);
    let answer = client.answer(call);
    let expected = json!({"answer": {"accepted": {"name": "Ada", "days": 3}}});
    assert_eq!(*structured(&answer), expected);
    for (action, outcome) in [("decline", "declined"), ("cancel", "dismissed")] {
        let call = client.ask("tools/call", asking());
        let request = asked(&mut client);
        reply(&mut client, &request, &json!({"action": action}));
        assert_eq!(structured(&client.answer(call))["answer"], outcome);
    }
    // What does not fit is asked again, and given up in the end.
    let call = client.ask("tools/call", asking());
    for round in 0..3 {
        let request = asked(&mut client);
        let message = request["params"]["message"].as_str().unwrap();
        assert_eq!(message.contains("did not fit"), round > 0, "{message}");
        let unfit = json!({"action": "accept", "content": {"name": "Ada", "days": 10}});
        reply(&mut client, &request, &unfit);
    }
    assert_eq!(
        structured(&client.answer(call))["failed"]["reason"],
        "unfit-answer"
    );
    // An error of the client's.
    let call = client.ask("tools/call", asking());
    let request = asked(&mut client);
    client.send_line(
        &json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -1, "message": "no"}})
            .to_string(),
    );
    assert_eq!(
        structured(&client.answer(call))["failed"]["code"],
        "ErrorCode::Unavailable"
    );
    eventually("the answers are on record", || {
        !records(&project, "answer").is_empty()
    });
    let answers = records(&project, "answer");
    assert_eq!(
        answers[0]["body"]["answers"][0]["outcome"], "accepted",
        "{answers:?}"
    );
    assert_eq!(answers[0]["body"]["answers"][0]["via"], "client");
    assert!(!format!("{answers:?}").contains("Ada"));
    assert!(
        inbox(&project)
            .iter()
            .all(|item| item.get("question").is_none())
    );
}

#[test]
fn a_cancelled_call_takes_its_question_back() {
    let project = project("");
    let mut client = connect(&project, &json!({"elicitation": {"form": {}}}));
    let call = client.ask("tools/call", asking());
    let request = asked(&mut client);
    client.notify("notifications/cancelled", json!({"requestId": call}));
    let taken = client.notification("notifications/cancelled");
    assert_eq!(taken["params"]["requestId"], request["id"]);
    // An answer that comes too late harms nobody.
    reply(&mut client, &request, &json!({"action": "decline"}));
    client.request("ping", json!({}));
    // The same through the inbox.
    let mut plain = connect(&project, &json!({}));
    let call = plain.ask("tools/call", asking());
    let id = waiting(&project);
    plain.notify("notifications/cancelled", json!({"requestId": call}));
    eventually("the question is gone", || inbox(&project).is_empty());
    let told = said(&project.run(&["answer", &id, "--decline"]));
    assert!(told.contains("no question"), "{told}");
    eventually("both are on record", || {
        let answers = records(&project, "answer");
        answers
            .iter()
            .filter(|record| record["body"]["outcome"] == "given-up")
            .count()
            == 2
    });
}

#[test]
fn questions_that_no_client_shows_wait_in_the_inbox() {
    let project = project("limits = { timeout = \"700ms\" }\n");
    let mut client = connect(&project, &json!({}));
    let call = client.ask("tools/call", asking());
    let id = waiting(&project);
    let shown = done(&project.run(&["inbox"]));
    assert!(
        shown.contains("`people` asks") && shown.contains("Where]0;x to?"),
        "{shown}"
    );
    assert!(
        !shown.contains(['\u{1b}', '\u{202e}', '\u{7}']),
        "{shown:?}"
    );
    for (arguments, told) in [
        (vec!["--field", "name=Ada"], "`days` is missing"),
        (
            vec!["--field", "name=Ada", "--field", "days=10"],
            "between 1 and 9",
        ),
        (vec!["--field", "nickname=Ada"], "no field `nickname`"),
    ] {
        let arguments = [vec!["answer", &id], arguments].concat();
        let output = answer_with(&project, &arguments, "");
        assert!(!output.status.success());
        assert!(said(&output).contains(told), "{}", said(&output));
    }
    let fields = ["answer", &id, "--field", "name=Ada", "--field", "days=3"];
    done(&answer_with(&project, &fields, ""));
    let expected = json!({"answer": {"accepted": {"name": "Ada", "days": 3}}});
    assert_eq!(*structured(&client.answer(call)), expected);
    let told = said(&project.run(&["answer", &id, "--decline"]));
    assert!(told.contains("no question"), "{told}");
    for (how, outcome) in [("--decline", "declined"), ("--dismiss", "dismissed")] {
        let call = client.ask("tools/call", asking());
        let id = waiting(&project);
        done(&project.run(&["answer", &id, how]));
        assert_eq!(structured(&client.answer(call))["answer"], outcome);
    }
    eventually("the inbox is empty", || inbox(&project).is_empty());
}

#[test]
fn what_is_sensitive_is_asked_for_in_the_inbox_only_and_kept_nowhere() {
    const KEY: &str = "hunter2-hunter2-hunter2";
    let project = project("");
    // It could show forms, but sees none.
    let mut client = connect(&project, &json!({"elicitation": {}}));
    let arguments = json!({"message": "Who?", "schema": sensitive()});
    let call = client.ask(
        "tools/call",
        json!({"name": "people__ask", "arguments": arguments}),
    );
    let id = waiting(&project);
    let secret = format!("key={KEY}");
    let output = answer_with(&project, &["answer", &id, "--field", &secret], "");
    assert!(said(&output).contains("is sensitive"), "{}", said(&output));
    let given = ["answer", &id, "--field", "name=Ada"];
    let output = answer_with(&project, &given, &format!("{KEY}\n"));
    done(&output);
    assert!(!said(&output).contains(KEY));
    let answer = client.answer(call);
    assert_eq!(structured(&answer)["answer"]["accepted"]["key"], KEY);
    assert!(
        client
            .notifications
            .iter()
            .all(|told| told["method"] != "elicitation/create")
    );
    assert!(client.close());
    let mut files = 0;
    for dir in [".portreeve", ".portreeve/logs"] {
        for entry in std::fs::read_dir(project.path().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
                assert!(!found, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 2);
}

#[test]
fn an_answer_is_filled_in_at_a_terminal() {
    const KEY: &str = "hunter2-at-the-terminal";
    let project = project("");
    let mut client = connect(&project, &json!({}));
    // In the order of their names.
    let fields = json!({
        "a-name": {"type": "string", "title": "Name\u{1b}[31m"},
        "b-days": {"type": "integer", "minimum": 1, "maximum": 9},
        "c-size": {"type": "string", "enum": ["small", "large"]},
        "d-sure": {"type": "boolean"},
        "e-key": {"type": "string", "writeOnly": true},
        "f-note": {"type": "string"},
    });
    let required = ["a-name", "b-days", "c-size", "d-sure", "e-key"];
    let schema = json!({"type": "object", "required": required, "properties": fields});
    let arguments = json!({"message": "Where to?", "schema": schema});
    let ask = json!({"name": "people__ask", "arguments": arguments});
    let call = client.ask("tools/call", ask);
    let id = waiting(&project);
    let mut terminal = Terminal::open(&project, &["answer", &id]);
    terminal.sees("`people` asks:");
    terminal.sees("Where to?");
    terminal.sees("Name[31m");
    terminal.types("Ada\r");
    terminal.sees("b-days");
    terminal.types("10\r");
    terminal.sees("between 1 and 9");
    terminal.sees("b-days");
    terminal.types("\u{7f}\u{7f}3\r");
    terminal.sees("c-size");
    terminal.types("\u{1b}[B");
    terminal.types("\r");
    terminal.sees("d-sure");
    terminal.types("y");
    terminal.sees("e-key");
    terminal.types(&format!("{KEY}\r"));
    let between = terminal.sees("f-note");
    assert!(!between.contains(KEY), "{between}");
    terminal.types("\r");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    assert!(!rest.contains(KEY), "{rest}");
    let given = &structured(&client.answer(call))["answer"]["accepted"].clone();
    assert_eq!(given["a-name"], "Ada");
    assert_eq!(given["b-days"], 3);
    assert_eq!(given["d-sure"], true);
    assert_eq!(given["e-key"], KEY);
    assert!(
        ["small", "large"].contains(&given["c-size"].as_str().unwrap()),
        "{given}"
    );
    assert_eq!(given.get("f-note"), None);
}

/// What a request of the newer era carries.
fn newer(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    });
    params
}

fn with(params: &Value, state: &Value, responses: &Value) -> Value {
    let mut params = params.clone();
    params["requestState"] = state.clone();
    params["inputResponses"] = responses.clone();
    newer(params)
}

#[test]
fn a_client_of_the_newer_era_comes_back_with_the_answers_and_nothing_runs_twice() {
    let project = project("limits = { timeout = \"700ms\" }\n");
    let mut client = project.connect();
    let arguments = json!({"message": "Where to?", "schemas": [schema(), {"type": "object", "properties": {"sure": {"type": "boolean"}}}]});
    let call = json!({"name": "people__ask_many", "arguments": arguments});
    let first = client.request("tools/call", newer(call.clone()));
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let requests = &first["result"]["inputRequests"];
    assert_eq!(requests["question-1"]["method"], "elicitation/create");
    let message = requests["question-2"]["params"]["message"]
        .as_str()
        .unwrap();
    assert_eq!(message, "The plugin `people` asks:\n\nWhere to?");
    let state = &first["result"]["requestState"];
    assert!(!state.as_str().unwrap().contains("people"));
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let good = json!({
        "question-1": {"action": "accept", "content": {"name": "Ada", "days": 3}},
        "question-2": {"action": "decline"},
    });
    // Altered, for another call, or unreadable: refused, and the call still waits.
    let mut altered = state.as_str().unwrap().to_owned();
    let flipped = if altered.starts_with('A') { "B" } else { "A" };
    altered.replace_range(0..1, flipped);
    let mut other = call.clone();
    other["arguments"]["message"] = json!("What else?");
    for (call, state, responses) in [
        (&call, json!(altered), &good),
        (&call, json!("x"), &good),
        (&other, state.clone(), &good),
        (
            &call,
            state.clone(),
            &json!({"question-1": 1, "question-2": {"action": "decline"}}),
        ),
    ] {
        let refused = client.request("tools/call", with(call, &state, responses));
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    // What is not answered is asked once more, with another state; what was not asked is ignored.
    let part = json!({"question-1": good["question-1"], "other": {"action": "decline"}});
    let again = client.request("tools/call", with(&call, state, &part));
    let requests = again["result"]["inputRequests"].as_object().unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["question-2"]);
    let state = &again["result"]["requestState"];
    assert_ne!(*state, first["result"]["requestState"]);
    // Another connection of the same person may go on with it.
    let mut second = project.connect();
    let answer = second.request("tools/call", with(&call, state, &good));
    let expected = json!({"answers": [{"accepted": {"name": "Ada", "days": 3}}, "declined"]});
    assert_eq!(*structured(&answer), expected);
    let replayed = client.request("tools/call", with(&call, state, &good));
    assert_eq!(replayed["error"]["code"], -32602, "{replayed}");
    eventually("its guest is in the log", || runs(&project) > 0);
    assert_eq!(runs(&project), 1);
    // An answer that does not fit is asked for again, with another state.
    let first = client.request("tools/call", newer(asking()));
    let unfit = json!({"question-1": {"action": "accept", "content": {"name": "Ada"}}});
    let state = &first["result"]["requestState"];
    let again = client.request("tools/call", with(&asking(), state, &unfit));
    assert_eq!(again["result"]["resultType"], "input_required", "{again}");
    assert_ne!(again["result"]["requestState"], *state);
    let fits = json!({"question-1": {"action": "accept", "content": {"name": "Ada", "days": 1}}});
    let answer = client.request(
        "tools/call",
        with(&asking(), &again["result"]["requestState"], &fits),
    );
    assert_eq!(structured(&answer)["answer"]["accepted"]["days"], 1);
}

#[test]
fn who_does_not_come_back_is_not_waited_for() {
    let project = project("limits = { ask-timeout = \"1s\", parked-calls = 1 }\n");
    let mut client = project.connect();
    let first = client.request("tools/call", newer(asking()));
    let state = first["result"]["requestState"].clone();
    assert!(state.is_string(), "{first}");
    // The only place is taken.
    let refused = client.request("tools/call", newer(asking()));
    let failed = &structured(&refused)["failed"];
    assert_eq!(failed["reason"], "limit-parked-calls", "{failed}");
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("`parked-calls`")
    );
    eventually("it is given up", || {
        client.request("tools/call", newer(asking()))["result"]["resultType"] == "input_required"
    });
    let decline = json!({"question-1": {"action": "decline"}});
    let late = client.request("tools/call", with(&asking(), &state, &decline));
    assert_eq!(late["error"]["code"], -32602, "{late}");
    // In the inbox, the guest is told.
    let mut plain = connect(&project, &json!({}));
    let mut reason = String::new();
    eventually("nobody answers", || {
        let call = plain.ask("tools/call", asking());
        let answer = plain.answer(call);
        reason = structured(&answer)["failed"]["reason"]
            .as_str()
            .unwrap()
            .to_owned();
        reason == "limit-ask-timeout"
    });
    eventually("that is on record", || {
        records(&project, "answer")
            .iter()
            .any(|record| record["body"]["outcome"] == "timed-out")
    });
}

#[test]
fn after_a_restart_nobody_waits_for_the_answer() {
    let project = project("");
    let mut client = connect(&project, &json!({}));
    client.ask("tools/call", asking());
    let id = waiting(&project);
    client.kill();
    let items = inbox(&project);
    assert_eq!(items[0]["question"]["waits"], false, "{items:?}");
    let told = said(&project.run(&["answer", &id, "--decline"]));
    assert!(told.contains("unavailable: the call of `people`"), "{told}");
    assert!(inbox(&project).is_empty());
}

#[test]
fn notices_are_clean_and_reach_the_client_and_the_inbox() {
    let project = project("");
    let mut client = connect(&project, &json!({}));
    let tell = json!({
        "level": "warning",
        "title": "\u{1b}[2JBuild\u{202e} bro\u{200b}ke\nnow",
        "body": "line one\r\n\u{9b}31mline\u{2066} two\u{7}",
        "link": "https://ci.example.com/17",
    });
    client.text("people__tell", tell);
    let told = client.notification("notifications/message");
    let expected = json!({
        "level": "warning",
        "logger": "people",
        "data": {"title": "[2JBuild broke now", "body": "line one\n31mline two", "link": "https://ci.example.com/17"},
    });
    assert_eq!(told["params"], expected);
    let items = inbox(&project);
    assert_eq!(items[0]["notice"]["title"], "[2JBuild broke now");
    let shown = done(&project.run(&["inbox"]));
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
    for (title, link, reason) in [
        ("\u{202e}\u{1b}", None, "title"),
        ("t", Some("javascript:alert(1)"), "link"),
        ("t", Some("https://bank.example@evil.example/"), "link"),
    ] {
        let link = link.unwrap_or("https://example.com/");
        let tell = json!({"level": "info", "title": title, "body": "", "link": link});
        let call = client.ask(
            "tools/call",
            json!({"name": "people__tell", "arguments": tell}),
        );
        assert_eq!(structured(&client.answer(call))["failed"]["reason"], reason);
    }
    // Who wants to hear of errors only.
    client.request("logging/setLevel", json!({"level": "error"}));
    client.text(
        "people__tell",
        json!({"level": "info", "title": "quiet", "body": ""}),
    );
    client.request("ping", json!({}));
    assert!(!format!("{:?}", client.notifications).contains("quiet"));
    eventually("both notices are on record", || {
        records(&project, "notify").len() == 2
    });
    done(&project.run(&["inbox", "--clear"]));
    assert!(inbox(&project).is_empty());
}

#[test]
fn floods_and_huge_forms_are_refused_with_the_setting_that_raises_it() {
    let project = project("limits = { notices-a-minute = 5, questions-a-minute = 3 }\n");
    let mut client = connect(&project, &json!({"elicitation": {}}));
    let call = client.ask(
        "tools/call",
        json!({"name": "people__flood", "arguments": {"count": 200}}),
    );
    let answer = client.answer(call);
    let told = structured(&answer);
    assert_eq!(told["told"], 5, "{told}");
    assert_eq!(told["failed"]["code"], "ErrorCode::RateLimited");
    assert_eq!(told["failed"]["retry"], true);
    assert!(
        told["failed"]["message"]
            .as_str()
            .unwrap()
            .contains("`notices-a-minute`")
    );
    for arguments in [
        json!({"schema": "", "bytes": 1_000_000}),
        json!({"schema": "{", "bytes": 0}),
        json!({"schema": "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(a+)+$\"}}}", "bytes": 0}),
    ] {
        let call = client.ask(
            "tools/call",
            json!({"name": "people__ask_raw", "arguments": arguments}),
        );
        assert_eq!(structured(&client.answer(call))["failed"]["reason"], "form");
    }
    let many = json!({"message": "m", "schemas": vec![schema(); 9]});
    let call = client.ask(
        "tools/call",
        json!({"name": "people__ask_many", "arguments": many}),
    );
    assert_eq!(
        structured(&client.answer(call))["failed"]["reason"],
        "questions"
    );
    let often = json!({"schema": schema(), "count": 4});
    let call = client.ask(
        "tools/call",
        json!({"name": "people__ask_often", "arguments": often}),
    );
    for _ in 0..3 {
        let request = asked(&mut client);
        reply(&mut client, &request, &json!({"action": "decline"}));
    }
    let answer = client.answer(call);
    let answers = structured(&answer)["answers"].as_array().unwrap().clone();
    assert_eq!(
        answers[3]["failed"]["reason"], "limit-questions-a-minute",
        "{answers:?}"
    );
}

#[test]
fn nothing_is_told_or_asked_without_a_grant_or_after_a_revoke() {
    let project = Project::with(&plugin("people", programs::PROMPT));
    let mut client = connect(&project, &json!({"elicitation": {}}));
    let tell = json!({"level": "info", "title": "t", "body": ""});
    for (tool, arguments, grant) in [
        ("people__tell", tell, "ui.notify"),
        ("people__ask", asking()["arguments"].clone(), "ui.ask"),
    ] {
        let call = client.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let answer = client.answer(call);
        let failed = &structured(&answer)["failed"];
        assert_eq!(failed["code"], "ErrorCode::PermissionDenied", "{failed}");
        let told = failed["message"].as_str().unwrap();
        assert!(
            told.contains(&format!("portreeve grant people {grant}")),
            "{told}"
        );
    }
    done(&project.run(&["grant", "people", "ui.ask"]));
    let call = client.ask("tools/call", asking());
    let request = asked(&mut client);
    done(&project.run(&["revoke", "people", "ui.ask"]));
    let accepted = json!({"action": "accept", "content": {"name": "Ada", "days": 3}});
    reply(&mut client, &request, &accepted);
    let answer = client.answer(call);
    assert_eq!(
        structured(&answer)["failed"]["reason"],
        "not-granted",
        "{answer}"
    );
    assert!(inbox(&project).is_empty());
}

#[test]
fn a_client_of_the_newer_era_without_forms_hears_that_the_inbox_has_the_question() {
    let project = project("");
    let host = HttpHost::start(&project);
    let (fields, mut message) = http::newer("people__ask", asking()["arguments"].clone());
    let level = "io.modelcontextprotocol/logLevel";
    message["params"]["_meta"][level] = json!("info");
    let mut stream = host.stream(&fields, &message);
    let told = stream.message();
    assert_eq!(told["method"], "notifications/message", "{told}");
    let id = waiting(&project);
    let title = told["params"]["data"]["title"].as_str().unwrap();
    assert!(title.contains(&format!("portreeve answer {id}")), "{told}");
    done(&answer_with(&project, &["answer", &id, "--decline"], ""));
    let answer = stream.message();
    assert!(answer["result"].is_object(), "{answer}");
}
