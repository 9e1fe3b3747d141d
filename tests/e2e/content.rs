//! Resources, prompts and completion, from a plugin to a client of either era.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Client, Project, eventually, plugin};

/// Parameters of a request that stands for itself.
fn stateless(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    });
    params
}

fn uris(answer: &Value) -> Vec<&str> {
    let resources = answer["result"]["resources"].as_array();
    let resources = resources.unwrap_or_else(|| panic!("{answer}"));
    resources
        .iter()
        .map(|resource| resource["uri"].as_str().unwrap())
        .collect()
}

fn read(client: &mut Client, uri: &str) -> Value {
    client.request("resources/read", json!({"uri": uri}))
}

#[test]
fn resources_are_listed_page_by_page_in_both_eras() {
    let project = Project::of(&[
        ("a", programs::RESOURCES),
        // It has none, and hides nothing.
        ("b", programs::ECHO),
        // It can't be used, and hides nothing either.
        ("c", "missing.wasm"),
        ("d", programs::RESOURCES),
    ]);
    let mut older = project.serve();
    let mut newer = project.connect();
    for (client, params) in [
        (&mut older, (|params| params) as fn(Value) -> Value),
        (&mut newer, stateless),
    ] {
        let mut found = Vec::new();
        let mut page = client.request("resources/list", params(json!({})));
        loop {
            found.extend(uris(&page).into_iter().map(str::to_owned));
            let next = page["result"]["nextCursor"].clone();
            if next.is_null() {
                break;
            }
            page = client.request("resources/list", params(json!({"cursor": next})));
        }
        assert_eq!(
            found,
            [
                "portreeve://a/shelf://text",
                "portreeve://a/shelf://bytes",
                "portreeve://a/shelf://last",
                "portreeve://d/shelf://text",
                "portreeve://d/shelf://bytes",
                "portreeve://d/shelf://last",
            ]
        );
        let templates = client.request("resources/templates/list", params(json!({})));
        let templates = &templates["result"]["resourceTemplates"];
        assert_eq!(
            templates[0]["uriTemplate"],
            "portreeve://a/shelf://book/{id}"
        );
        assert_eq!(
            templates[1]["uriTemplate"],
            "portreeve://d/shelf://book/{id}"
        );
        let foreign = client.request("resources/list", params(json!({"cursor": "x"})));
        assert_eq!(foreign["error"]["code"], -32602, "{foreign}");
    }
}

#[test]
fn resources_are_read() {
    let project = Project::of(&[("a", programs::RESOURCES), ("other", programs::RESOURCES)]);
    let mut client = project.serve();
    let text = read(&mut client, "portreeve://a/shelf://text");
    assert_eq!(
        text["result"]["contents"],
        json!([{"uri": "portreeve://a/shelf://text", "mimeType": "text/plain", "text": "on the shelf"}])
    );
    let bytes = read(&mut client, "portreeve://a/shelf://bytes");
    assert_eq!(
        bytes["result"]["contents"],
        json!([{"uri": "portreeve://a/shelf://bytes", "mimeType": "image/png", "blob": "AQID"}])
    );
    let book = read(&mut client, "portreeve://other/shelf://book/7");
    assert_eq!(book["result"]["contents"][0]["text"], "book 7");
    // What it says of another plugin stays below its own name.
    let posing = read(&mut client, "portreeve://a/shelf://posing");
    assert_eq!(
        posing["result"]["contents"][0]["uri"],
        "portreeve://a/portreeve://other/note://1"
    );
    for (uri, code) in [
        ("portreeve://a/shelf://none", -32002),
        ("portreeve://b/shelf://text", -32002),
        ("shelf://text", -32002),
        ("nothing", -32002),
        ("portreeve://a/shelf://broken", -32603),
        ("portreeve://a/shelf://huge", -32603),
    ] {
        let answer = read(&mut client, uri);
        assert_eq!(answer["error"]["code"], code, "{uri}: {answer}");
    }
    let huge = read(&mut client, "portreeve://a/shelf://huge");
    let message = huge["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("Refused or stopped by the host"),
        "{message}"
    );
    // Each is on record as what it was.
    assert!(client.close());
    let found = project.run(&["audit", "search", "--json", "--kind", "call"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(
        found.contains("resources/read") && found.contains("shelf://book/7"),
        "{found}"
    );
}

#[test]
fn an_operator_gives_a_scheme_to_one_plugin() {
    let project = Project::with(&format!(
        "{}expose.schemes = ['shelf']\nprefix = ''\n{}",
        plugin("a", programs::RESOURCES),
        plugin("d", programs::RESOURCES),
    ));
    let mut client = project.serve();
    let page = client.request("resources/list", json!({}));
    assert_eq!(uris(&page)[0], "shelf://text");
    let text = read(&mut client, "shelf://text");
    assert_eq!(text["result"]["contents"][0]["uri"], "shelf://text");
    // One thing has one address.
    let twice = read(&mut client, "portreeve://a/shelf://text");
    assert_eq!(twice["error"]["code"], -32002);
    assert_eq!(client.tools(), ["d__touch", "touch"]);
    let prompts = client.request("prompts/list", json!({}));
    assert_eq!(prompts["result"]["prompts"][0]["name"], "d__review");
    assert_eq!(prompts["result"]["prompts"][1]["name"], "review");
    project.write(&format!(
        "{}expose.schemes = ['shelf']\n{}expose.schemes = ['shelf']\n",
        plugin("a", programs::RESOURCES),
        plugin("d", programs::RESOURCES),
    ));
    let told = project.run(&["check"]);
    assert!(!told.status.success());
}

#[test]
fn prompts_are_filled_in_and_completed() {
    let project = Project::of(&[("a", programs::RESOURCES)]);
    let mut client = project.serve();
    let prompts = client.request("prompts/list", json!({}));
    let prompt = &prompts["result"]["prompts"][0];
    assert_eq!(prompt["name"], "a__review");
    assert_eq!(prompt["arguments"][0]["required"], true);
    let get = json!({"name": "a__review", "arguments": {"id": "7"}});
    let filled = client.request("prompts/get", get);
    let messages = &filled["result"]["messages"];
    assert_eq!(messages[0]["content"]["text"], "Review book 7.");
    assert_eq!(
        messages[1]["content"]["resource"]["uri"],
        "portreeve://a/shelf://text"
    );
    assert_eq!(messages[2]["role"], "assistant");
    assert_eq!(messages[2]["content"]["type"], "image");
    for get in [
        json!({"name": "a__review"}),
        json!({"name": "a__review", "arguments": {"id": "7", "more": "x"}}),
        json!({"name": "a__none"}),
        json!({"name": "review", "arguments": {"id": "7"}}),
    ] {
        let answer = client.request("prompts/get", get.clone());
        assert_eq!(answer["error"]["code"], -32602, "{get}: {answer}");
    }
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "a__review"},
        "argument": {"name": "id", "value": "x"},
    });
    let found = client.request("completion/complete", complete);
    let found = &found["result"]["completion"];
    assert_eq!(found["values"].as_array().unwrap().len(), 100);
    assert_eq!(found["hasMore"], true);
    let complete = json!({
        "ref": {"type": "ref/resource", "uri": "portreeve://a/shelf://book/{id}"},
        "argument": {"name": "id", "value": "b"},
    });
    let found = client.request("completion/complete", complete);
    assert_eq!(
        found["result"]["completion"]["values"],
        json!(["beta", "bytes"])
    );
}

#[test]
fn who_reads_and_fills_in_hears_how_far_that_is_in_both_eras() {
    let project = Project::with(&format!(
        "{}grants.ui = {{ progress = true }}\ngrants.client = {{ log = true }}\n",
        plugin("a", programs::RESOURCES)
    ));
    let mut older = project.serve();
    let mut newer = project.connect();
    let mut asked = project.connect();
    let asked_too = |params: Value| {
        let mut params = stateless(params);
        params["_meta"]["io.modelcontextprotocol/logLevel"] = "info".into();
        // Whoever can be asked is asked between turns.
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        params
    };
    for (method, params) in [
        (
            "resources/read",
            json!({"uri": "portreeve://a/shelf://slow"}),
        ),
        (
            "prompts/get",
            json!({"name": "a__review", "arguments": {"id": "slow"}}),
        ),
    ] {
        for (client, era) in [
            (&mut older, &(|params| params) as &dyn Fn(Value) -> Value),
            (&mut newer, &stateless),
            (&mut asked, &asked_too),
        ] {
            let mut sent = era(params.clone());
            sent["_meta"]["progressToken"] = "t".into();
            let wants_log = sent["_meta"]["io.modelcontextprotocol/protocolVersion"].is_null()
                || sent["_meta"]["io.modelcontextprotocol/logLevel"] == "info";
            let id = client.ask(method, sent);
            let (mut steps, mut logged) = (Vec::new(), Vec::new());
            let answer = loop {
                let message = client.message();
                let told = &message["params"];
                match message["method"].as_str() {
                    Some("notifications/progress") => {
                        assert_eq!(told["progressToken"], "t");
                        // The host tells of compiling with 0.
                        steps.extend(told["progress"].as_f64().filter(|step| *step > 0.0));
                    }
                    Some("notifications/message") => logged.push(told["data"].clone()),
                    Some(_) => {}
                    None => break message,
                }
            };
            assert_eq!(answer["id"], id);
            assert!(answer["result"].is_object(), "{answer}");
            assert_eq!(steps, [1.0, 2.0, 3.0], "{method}");
            assert_eq!(
                logged,
                vec![json!("looking"); usize::from(wants_log)],
                "{method}"
            );
            // Who does not ask for that does not hear it.
            let quiet = client.ask(method, era(params.clone()));
            let told = loop {
                let message = client.message();
                match message["method"].as_str() {
                    Some("notifications/progress") => panic!("{message}"),
                    Some(_) => {}
                    None => break message,
                }
            };
            assert_eq!(told["id"], quiet);
        }
    }
}

#[test]
fn those_who_subscribed_hear_of_changes() {
    let project = Project::of(&[("a", programs::RESOURCES)]);
    let mut older = project.serve();
    let uri = "portreeve://a/shelf://text";
    let subscribed = older.request("resources/subscribe", json!({"uri": uri}));
    assert!(subscribed.get("result").is_some(), "{subscribed}");
    let unknown = json!({"uri": "portreeve://b/shelf://text"});
    let unknown = older.request("resources/subscribe", unknown);
    assert_eq!(unknown["error"]["code"], -32002);
    // What is longer than an address can be is none, and is not kept.
    let long = json!({"uri": format!("{uri}{}", "x".repeat(3_000))});
    let long = older.request("resources/subscribe", long);
    assert_eq!(long["error"]["code"], -32002, "{long}");
    let touch = |uri: &str, fail: bool| json!({"uri": uri, "fail": fail});
    // What failed may have changed nothing, and others were not asked for.
    older.call("a__touch", touch("shelf://text", true));
    older.text("a__touch", touch("shelf://bytes", false));
    older.text("a__touch", touch("shelf://text", false));
    let told = older.notification("notifications/resources/updated");
    assert_eq!(told["params"]["uri"], uri);
    older.notification("notifications/resources/list_changed");
    let bad = older.call("a__touch", touch("no address", false));
    assert_eq!(bad["isError"], true);
    older.request("resources/unsubscribe", json!({"uri": uri}));
    older.text("a__touch", touch("shelf://text", false));
    older.request("ping", json!({}));
    let updated = |client: &Client| {
        let updated = client.notifications.iter();
        updated
            .filter(|told| told["method"] == "notifications/resources/updated")
            .count()
    };
    assert_eq!(updated(&older), 0, "{:?}", older.notifications);
}

#[test]
fn a_client_of_the_newer_era_listens() {
    let project = Project::of(&[("a", programs::RESOURCES)]);
    let mut newer = project.connect();
    let uri = "portreeve://a/shelf://text";
    let listen = json!({"notifications": {
        "resourcesListChanged": true, "promptsListChanged": true, "resourceSubscriptions": [uri, "nothing"],
    }});
    newer.ask("subscriptions/listen", stateless(listen));
    let accepted = newer.message();
    assert_eq!(
        accepted["params"]["notifications"]["resourceSubscriptions"],
        json!([uri]),
        "{accepted}"
    );
    let touch = json!({"name": "a__touch", "arguments": {"uri": "shelf://text", "fail": false}});
    newer.request("tools/call", stateless(touch));
    let told = newer.notification("notifications/resources/updated");
    assert_eq!(told["params"]["uri"], uri);
    project.write("");
    newer.notification("notifications/prompts/list_changed");
    eventually("nothing is left", || {
        let page = newer.request("resources/list", stateless(json!({})));
        uris(&page).is_empty()
    });
}

#[test]
fn panels_are_shown_as_far_as_they_are_granted() {
    let granted = "grants.ui = { panels = true }\n";
    let project = Project::with(&format!(
        "{}{granted}{}",
        plugin("a", programs::RESOURCES),
        plugin("b", programs::RESOURCES),
    ));
    let mut client = project.serve();
    let list = |client: &mut Client| {
        let page = client.request("resources/list", json!({}));
        let uris = uris(&page).into_iter();
        let mut panels: Vec<_> = uris.filter(|uri| uri.starts_with("ui:")).collect();
        panels.sort_unstable();
        panels.join(" ")
    };
    assert_eq!(list(&mut client), "ui://a/board");
    let panel = read(&mut client, "ui://a/board");
    let panel = &panel["result"]["contents"][0];
    assert_eq!(panel["mimeType"], "text/html;profile=mcp-app", "{panel}");
    assert_eq!(panel["uri"], "ui://a/board");

    // No way leads to one without a grant.
    for uri in [
        "ui://b/board",
        "portreeve://b/shelf://panel",
        "portreeve://b/shelf://profile",
    ] {
        let refused = read(&mut client, uri);
        let told = refused["error"]["message"].as_str().unwrap();
        for part in [
            "ui.panels",
            "portreeve.toml:",
            "portreeve grant b ui.panels",
        ] {
            assert!(told.contains(part), "{uri}: {refused}");
        }
    }
    let arguments = json!({"id": "panel"});
    let of = |name: &str| json!({"name": name, "arguments": arguments});
    let filled = client.request("prompts/get", of("a__review"));
    assert_eq!(
        filled["result"]["messages"][1]["content"]["resource"]["uri"],
        "ui://a/board"
    );
    let refused = client.request("prompts/get", of("b__review"));
    assert!(
        refused["error"].to_string().contains("ui.panels"),
        "{refused}"
    );
    // What is no panel at its address, and what is one at another, is the plugin's mistake.
    for uri in ["ui://a/text", "portreeve://a/shelf://profile"] {
        let broken = read(&mut client, uri);
        assert!(broken["error"].to_string().contains("no panel"), "{broken}");
    }

    // It is asked at each use, and clients are told.
    assert!(project.run(&["revoke", "a", "ui.panels"]).status.success());
    eventually("clients hear of it", || {
        client.request("ping", json!({}));
        let changed = "notifications/resources/list_changed";
        client
            .notifications
            .iter()
            .any(|told| told["method"] == changed)
    });
    assert_eq!(list(&mut client), "");
    let refused = read(&mut client, "ui://a/board");
    assert!(
        refused["error"].to_string().contains("ui.panels"),
        "{refused}"
    );
    assert!(client.close());
    let found = project.run(&["audit", "search", "--json", "--kind", "refusal"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("ui.panels"), "{found}");
}
