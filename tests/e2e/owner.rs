//! One process owns a project; further ones are its proxies.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use portreeve_test_artifacts as programs;
use serde_json::json;

use crate::support::{Project, cpu_of, eventually, plugin};

#[test]
fn a_second_server_is_a_proxy_of_the_first() {
    let project = Project::of(&[("echo", programs::ECHO)]);
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

#[test]
fn an_owner_that_was_killed_is_taken_over() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut first = project.serve();
    let mut proxy = project.serve();
    proxy.text("echo__echo", json!({}));
    first.kill();
    // The proxy can't go on without losing what its client knows; it ends, and says why.
    proxy.ended();
    let said = proxy.stderr().join("\n");
    assert!(!said.is_empty(), "it ended in silence");
    let mut next = project.serve();
    assert!(next.text("echo__echo", json!({"b": 2})).contains("\"b\""));
}

#[test]
fn a_proxy_that_is_killed_ends_its_calls() {
    let endless =
        "limits = { fuel = 9007199254740991, timeout = \"1h\", concurrent-calls = 1, queue = 0 }\n";
    let project = Project::with(&format!("{}{endless}", plugin("spin", programs::SPIN)));
    let mut first = project.serve();
    first.call("spin__work", json!({"rounds": 1}));
    let mut proxy = project.serve();
    proxy.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    // Watched from outside: a call to look would take its place.
    eventually("it spins", || {
        cpu_of(first.pid()) > Duration::from_millis(500)
    });
    let refused = first.call("spin__work", json!({"rounds": 1}));
    assert_eq!(refused["isError"], json!(true));
    proxy.kill();
    eventually("its place is free", || {
        first.call("spin__work", json!({"rounds": 1}))["isError"] != json!(true)
    });
}
