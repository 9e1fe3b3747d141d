//! One process owns a project; further ones are its proxies.

use std::os::unix::fs::PermissionsExt;

use portreeve_test_artifacts as programs;
use serde_json::json;

use crate::http::HttpHost;
use crate::support::{Client, Project, eventually, plugin, until_it_spins};

/// Of a plugin that runs one call at a time, for as long as it likes.
const ENDLESS: &str =
    "limits = { fuel = 9007199254740991, timeout = \"1h\", concurrent-calls = 1, queue = 0 }\n";

#[test]
fn a_second_server_is_a_proxy_of_the_first() {
    let project = Project::with(&format!(
        "{}{}{ENDLESS}",
        plugin("echo", programs::ECHO),
        plugin("spin", programs::SPIN)
    ));
    let mut first = project.serve();
    let mut second = project.serve();
    let mut third = project.serve();
    for (client, name) in [
        (&mut first, "first"),
        (&mut second, "second"),
        (&mut third, "third"),
    ] {
        assert!(client.tools().contains(&"echo__echo".to_owned()), "{name}");
        assert!(
            client
                .text("echo__echo", json!({"from": name}))
                .contains(name)
        );
    }
    let socket = project.path().join(".portreeve/host.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // They share one host: the only place of a plugin is taken for all of them.
    first.call("spin__work", json!({"rounds": 1}));
    let spinning = second.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    until_it_spins(first.pid());
    for client in [&mut first, &mut third] {
        let refused = client.call("spin__work", json!({"rounds": 1}));
        let error = &refused["_meta"]["portreeve/error"];
        assert_eq!(error["code"], "rate-limited", "{refused}");
        assert_eq!(error["origin"], "host", "{refused}");
    }
    second.notify("notifications/cancelled", json!({"requestId": spinning}));
    eventually("its place is free", || {
        third.call("spin__work", json!({"rounds": 1}))["isError"] != json!(true)
    });
    // A change reaches all of them.
    project.write(&plugin("other", programs::ECHO));
    for client in [&mut first, &mut second, &mut third] {
        client.notification("notifications/tools/list_changed");
        assert_eq!(
            client
                .tools()
                .iter()
                .filter(|tool| tool.starts_with("other__"))
                .count(),
            2
        );
    }
    assert!(second.close());
    assert!(
        first
            .text("other__echo", json!({"still": 1}))
            .contains("still")
    );
}

#[test]
fn the_owners_client_leaving_cuts_off_nobody() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let first = project.serve();
    let mut second = project.serve();
    second.text("echo__echo", json!({}));
    let first_closed = std::thread::spawn(move || first.close());
    for _ in 0..20 {
        assert!(second.text("echo__echo", json!({"a": 1})).contains("\"a\""));
    }
    assert!(second.close());
    assert!(first_closed.join().unwrap());
}

/// Once the owner has ended: a list is asked for again, where a call would fail that was on its
/// way to that one.
fn until_another_owns(client: &mut Client) {
    assert!(!client.tools().is_empty());
}

/// As clients close a server: its input ends, and some seconds later it is asked to end.
#[test]
fn a_client_that_closes_its_server_leaves_the_others_theirs() {
    let project = Project::with(&format!(
        "{}{}{ENDLESS}",
        plugin("echo", programs::ECHO),
        plugin("spin", programs::SPIN)
    ));
    let first = project.serve();
    let mut others = [project.serve(), project.serve()];
    for other in &mut others {
        other.text("echo__echo", json!({"before": 1}));
    }
    let [second, _] = &mut others;
    let spinning = second.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    until_it_spins(first.pid());
    let mut first = first.leave();
    assert!(
        others[1]
            .text("echo__echo", json!({"c": 3}))
            .contains("\"c\"")
    );
    first.signal("TERM");
    // A call that was being worked on is not answered by silence.
    let failed = others[0].answer(spinning);
    assert!(failed.get("error").is_some(), "{failed}");
    assert!(first.ended());
    for other in &mut others {
        until_another_owns(other);
        other.text("echo__echo", json!({"after": 1}));
        other.notification("notifications/tools/list_changed");
    }
    // The owner goes on for the other one.
    for mut left in others.map(Client::leave) {
        assert!(left.ended());
    }
    let verified = project.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn an_owner_that_was_killed_is_taken_over() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut first = project.serve();
    let mut proxies = [project.serve(), project.serve()];
    for proxy in &mut proxies {
        proxy.text("echo__echo", json!({}));
    }
    first.kill();
    for round in 0..3 {
        for proxy in &mut proxies {
            until_another_owns(proxy);
            let said = proxy.text("echo__echo", json!({"round": round}));
            assert!(said.contains("round"));
        }
    }
    let mut next = project.serve();
    assert!(next.text("echo__echo", json!({"b": 2})).contains("\"b\""));
    assert!(project.host_log().contains("takes its place"));
    // And again, until nobody is left.
    let [mut one, mut other] = proxies;
    one.kill();
    until_another_owns(&mut other);
    assert!(other.text("echo__echo", json!({"d": 4})).contains("\"d\""));
    other.kill();
    until_another_owns(&mut next);
    assert!(next.text("echo__echo", json!({"e": 5})).contains("\"e\""));
}

/// A service manager starts it again, so nobody else takes its place.
#[test]
fn an_owner_that_listens_can_be_started_again() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut host = HttpHost::start(&project);
    let mut client = project.serve();
    client.text("echo__echo", json!({}));
    host.signal("TERM");
    assert!(host.ended());
    let _host = HttpHost::start(&project);
    until_another_owns(&mut client);
    assert!(client.text("echo__echo", json!({"f": 6})).contains("\"f\""));
    assert!(client.close());
}

/// Clients restart servers: the next one begins before the one before has ended.
#[test]
fn a_restart_finds_a_host_at_any_moment() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut leaving = Vec::new();
    let mut client = project.serve();
    client.text("echo__echo", json!({}));
    for round in 0..10 {
        leaving.push(client.leave());
        client = project.serve();
        assert!(
            client
                .text("echo__echo", json!({"round": round}))
                .contains("round"),
            "round {round}"
        );
    }
    assert!(client.close());
    for mut left in leaving {
        assert!(left.ended());
    }
}

#[test]
fn a_proxy_that_is_killed_ends_its_calls() {
    let project = Project::with(&format!("{}{ENDLESS}", plugin("spin", programs::SPIN)));
    let mut first = project.serve();
    first.call("spin__work", json!({"rounds": 1}));
    let mut proxy = project.serve();
    proxy.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    // Watched from outside: a call to look would take its place.
    until_it_spins(first.pid());
    let refused = first.call("spin__work", json!({"rounds": 1}));
    assert_eq!(refused["isError"], json!(true));
    proxy.kill();
    eventually("its place is free", || {
        first.call("spin__work", json!({"rounds": 1}))["isError"] != json!(true)
    });
}
