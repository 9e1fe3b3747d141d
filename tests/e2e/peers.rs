//! What is known to go wrong in other hosts, each tried here. The names are of the hosts in
//! which it was seen.

use std::time::Duration;

use portreeve_test_artifacts as programs;
use serde_json::json;

use crate::support::{Project, cpu_of, eventually, plugin, resident_kib, until_it_spins};

/// wassette: guest stdout went to the protocol's stream.
#[test]
fn a_guest_can_not_forge_an_answer() {
    let project = Project::of(&[("output", programs::OUTPUT)]);
    let mut client = project.serve();
    for _ in 0..5 {
        // Every line that comes is checked to be JSON-RPC, and to answer this request.
        assert_eq!(client.text("output__forge", json!({})), "printed");
        assert_eq!(client.text("output__invalid_utf8", json!({})), "printed");
    }
    eventually("the forgery is in the log", || {
        project.guest_log().contains("forged")
    });
}

/// wassette: guests read the host's argv, secrets in it included.
#[test]
fn a_guest_does_not_see_the_hosts_environment() {
    let project = Project::of(&[("environment", programs::ENVIRONMENT)]);
    let mut client = project.serve();
    let seen = client.call("environment__environment", json!({}))["structuredContent"].clone();
    assert_eq!(
        (&seen["args"], &seen["env"], &seen["preopens"]),
        (&json!([]), &json!({}), &json!([]))
    );
}

/// hyper-mcp: `allowed_hosts` was bypassed by a redirect. Here nothing is reached at all.
#[test]
fn a_guest_reaches_no_network_and_no_files() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let project = Project::of(&[
        ("network", programs::NETWORK),
        ("files", programs::FILESYSTEM),
    ]);
    let mut client = project.serve();
    let manifest = project.manifest().display().to_string();
    for (tool, arguments) in [
        ("network__connect", json!({"address": address})),
        ("network__listen", json!({"address": "127.0.0.1:0"})),
        ("network__send", json!({"address": address})),
        ("network__resolve", json!({"name": "localhost"})),
        ("files__read", json!({"path": manifest})),
        ("files__list", json!({"path": "."})),
    ] {
        let answer = client.call(tool, arguments)["structuredContent"].clone();
        assert!(answer.get("error").is_some(), "{tool}: {answer}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

/// wassette and hyper-mcp: looping calls froze `ping` and `tools/list`; work went on after
/// cancel.
#[test]
fn looping_calls_freeze_nobody_and_end_when_cancelled() {
    let endless = "limits = { fuel = 9007199254740991, timeout = \"1h\", concurrent-calls = 32 }\n";
    let project = Project::with(&format!(
        "{}{endless}{}",
        plugin("spin", programs::SPIN),
        plugin("echo", programs::ECHO)
    ));
    let mut client = project.serve();
    client.text("echo__echo", json!({}));
    let loops: Vec<u64> = (0..16)
        .map(|_| client.ask("tools/call", json!({"name": "spin__spin", "arguments": {}})))
        .collect();
    // Let them begin.
    until_it_spins(client.pid());
    for _ in 0..3 {
        assert!(client.request("ping", json!({})).get("result").is_some());
        assert!(client.tools().contains(&"spin__spin".to_owned()));
        assert!(client.text("echo__echo", json!({"a": 1})).contains("\"a\""));
    }
    for id in loops {
        client.notify(
            "notifications/cancelled",
            json!({"requestId": id, "reason": "enough"}),
        );
    }
    client.request("ping", json!({}));
    // Work stops: over a second, next to no CPU time is used.
    eventually("it is quiet", || {
        let before = cpu_of(client.pid());
        std::thread::sleep(Duration::from_millis(500));
        cpu_of(client.pid()).saturating_sub(before) < Duration::from_millis(100)
    });
    assert!(client.text("echo__echo", json!({"b": 2})).contains("\"b\""));
}

/// Work also ends when the client is gone.
#[test]
fn a_disconnect_ends_the_work() {
    let endless = "limits = { fuel = 9007199254740991, timeout = \"1h\" }\n";
    let project = Project::with(&format!("{}{endless}", plugin("spin", programs::SPIN)));
    let mut client = project.serve();
    client.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    until_it_spins(client.pid());
    assert!(client.close());
    // It would also have ended, late and with a warning, while the guest spun on.
    let log = project.host_log();
    assert!(log.contains("ending"), "{log}");
    assert!(!log.contains("did not end in time"), "{log}");
}

/// hyper-mcp: one looping call and three queued ones froze the server for good.
#[test]
fn a_full_plugin_refuses_and_recovers() {
    let tight =
        "limits = { fuel = 9007199254740991, timeout = \"1h\", concurrent-calls = 1, queue = 2 }\n";
    let project = Project::with(&format!("{}{tight}", plugin("spin", programs::SPIN)));
    let mut client = project.serve();
    let running = client.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    until_it_spins(client.pid());
    let mut asked: Vec<u64> = (0..3)
        .map(|_| {
            client.ask(
                "tools/call",
                json!({"name": "spin__work", "arguments": {"rounds": 1}}),
            )
        })
        .collect();
    // Two may wait; whichever came last is told to come again.
    let refused = client.message();
    asked.retain(|id| refused["id"] != json!(id));
    assert_eq!(asked.len(), 2, "{refused}");
    assert_eq!(refused["result"]["isError"], json!(true));
    let text = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("rate-limited") && text.contains("queue"),
        "{text}"
    );
    client.notify("notifications/cancelled", json!({"requestId": running}));
    for _ in 0..2 {
        let answer = client.message();
        assert_eq!(
            answer["result"]["structuredContent"]["rounds"],
            json!(1),
            "{answer}"
        );
        asked.retain(|id| answer["id"] != json!(id));
    }
    assert!(asked.is_empty());
}

/// wassette: a string with a multi-byte character at byte 200 was never answered.
#[test]
fn a_multibyte_character_anywhere_is_answered() {
    let project = Project::of(&[("output", programs::OUTPUT), ("echo", programs::ECHO)]);
    let mut client = project.serve();
    for shift in 0..4 {
        let answer = client.text(
            "output__multibyte",
            json!({"bytes": 70_000, "shift": shift}),
        );
        assert_eq!(answer, "printed");
        let text = format!("{}{}", "x".repeat(197 + shift), "é🦀".repeat(50));
        assert!(
            client
                .text("echo__echo", json!({"text": text}))
                .contains(&text)
        );
    }
}

/// wassette: memory was unlimited by default.
#[test]
fn memory_is_limited_by_default() {
    let project = Project::of(&[("memory", programs::MEMORY)]);
    let mut client = project.serve();
    let result = client.call("memory__hog", json!({}));
    assert_eq!(result["isError"], json!(true));
    let limit = &result["_meta"]["portreeve/error"]["limit"];
    assert_eq!(limit["setting"], "memory", "{result}");
    assert_eq!(limit["allowed"], "64 MiB of memory");
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("[plugins.memory]"),
        "{result}"
    );
}

/// wassette: a stale compiled file ran after the component was replaced.
#[test]
fn a_replaced_component_is_the_one_that_runs() {
    let project = Project::none();
    let path = project.path().join("plugin.wasm");
    std::fs::copy(programs::STATE, &path).unwrap();
    project.write(&plugin("p", path.to_str().unwrap()));
    let mut client = project.serve();
    assert_eq!(
        client.call("p__count", json!({}))["structuredContent"]["count"],
        json!(1)
    );
    client.close();
    // The same path, size aside: another component.
    std::fs::copy(programs::ECHO, &path).unwrap();
    let mut client = project.serve();
    assert!(!client.tools().contains(&"p__count".to_owned()));
    assert!(client.text("p__echo", json!({"new": 1})).contains("new"));
}

/// wassette: after a warm restart the first `tools/list` had unnamed tools in 17 of 20
/// starts, and the first call failed in 14 of 20.
#[test]
fn tools_are_whole_just_after_a_restart() {
    let project = Project::of(&[
        ("spin", programs::SPIN),
        ("bare", programs::BARE_VALUES),
        ("echo", programs::ECHO),
    ]);
    let mut client = project.serve();
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    client.text("echo__echo", json!({}));
    client.close();
    for round in 0..20 {
        let mut client = project.serve();
        assert!(
            client
                .text("echo__echo", json!({"round": round}))
                .contains("round")
        );
        assert_eq!(
            client.request("tools/list", json!({}))["result"]["tools"],
            tools,
            "round {round}"
        );
        assert!(client.close());
    }
}

/// hyper-mcp: state leaked between calls.
#[test]
fn state_does_not_leak_between_calls() {
    let project = Project::of(&[("state", programs::STATE)]);
    let mut client = project.serve();
    for _ in 0..20 {
        assert_eq!(
            client.call("state__count", json!({}))["structuredContent"]["count"],
            json!(1)
        );
    }
}

/// wassette: memory grew with each request. A short run here; the bench `scale` makes
/// 100,000 calls.
#[test]
fn memory_does_not_grow_with_calls() {
    let project = Project::of(&[("echo", programs::ECHO), ("memory", programs::MEMORY)]);
    let mut client = project.serve();
    let mut after = |calls: u32| {
        for _ in 0..calls {
            client.text("echo__echo", json!({"text": "hello"}));
        }
        client.text("memory__touch", json!({"mib": 16}));
        resident_kib(client.pid())
    };
    let before = after(500);
    let grown = after(2_000).saturating_sub(before);
    assert!(grown < before / 5, "from {before} KiB by {grown} KiB");
}

/// wassette: two components with one tool name were both listed and neither callable.
#[test]
fn one_tool_name_in_two_plugins() {
    let project = Project::of(&[("one", programs::ECHO), ("two", programs::ECHO)]);
    let mut client = project.serve();
    let tools = client.tools();
    for alias in ["one", "two"] {
        assert!(tools.contains(&format!("{alias}__echo")), "{tools:?}");
        assert!(
            client
                .text(&format!("{alias}__echo"), json!({"to": alias}))
                .contains(alias)
        );
    }
}

/// hyper-mcp: one failing plugin failed the whole `tools/list`.
#[test]
fn a_failing_plugin_hides_no_other() {
    let project = Project::of(&[
        ("good", programs::ECHO),
        ("no-component", programs::CORE_MODULE),
        ("spins", programs::TOOLS_SPINNING),
        ("traps", programs::TOOLS_TRAPPING),
        ("garbage", programs::TOOLS_NOT_JSON),
        ("missing", "nowhere.wasm"),
        ("imports", programs::UNKNOWN_IMPORT),
    ]);
    let mut client = project.serve();
    let tools = client.tools();
    assert!(tools.contains(&"good__echo".to_owned()), "{tools:?}");
    assert!(
        !tools
            .iter()
            .any(|tool| tool.starts_with("spins") || tool.starts_with("garbage"))
    );
    assert!(client.text("good__echo", json!({"a": 1})).contains("\"a\""));
    let listed = String::from_utf8(project.run(&["list"]).stdout).unwrap();
    assert!(
        listed.contains("nowhere.wasm") && listed.contains("good__echo"),
        "{listed}"
    );
}

/// wassette: unknown arguments passed, integers had no range, `option` stayed required.
#[test]
fn arguments_are_held_against_strict_schemas() {
    let project = Project::of(&[("bare", programs::BARE_VALUES), ("spin", programs::SPIN)]);
    let mut client = project.serve();
    let mut refused = |tool: &str, arguments: serde_json::Value, part: &str| {
        let result = client.call(tool, arguments);
        assert_eq!(result["isError"], json!(true), "{result}");
        assert_eq!(
            result["_meta"]["portreeve/error"]["code"], "invalid-argument",
            "{result}"
        );
        assert_eq!(result["_meta"]["portreeve/error"]["origin"], "host");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(part), "{text}");
    };
    refused(
        "bare__add",
        json!({"left": 1, "right": 2_147_483_648_u64}),
        "right",
    );
    refused(
        "bare__add",
        json!({"left": 1, "right": 2, "more": 3}),
        "more",
    );
    refused("bare__add", json!({"left": 1}), "right");
    refused("spin__work", json!({"rounds": "many"}), "rounds");
    refused("spin__work", json!({"rounds": 1, "unknown": 1}), "unknown");
    assert_eq!(
        client.call("bare__add", json!({"left": 1, "right": 2}))["structuredContent"]["result"],
        json!(3)
    );
    assert!(
        client
            .text("bare__greet", json!({"name": "Ada"}))
            .contains("Ada")
    );
}
