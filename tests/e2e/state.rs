//! The state under a host: what can't be written is not done, what is newer is not touched,
//! and whoever was killed leaves a gap that shows.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Project, eventually};

fn text(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The state's database, opened by somebody else.
fn damage(project: &Project, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let path = project.path().join(".portreeve/state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    bytes
}

#[test]
fn a_newer_state_is_refused_and_left_as_it_is() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    assert!(project.run(&["call", "echo__echo"]).status.success());
    // `user_version` in the header.
    let bytes = damage(&project, |bytes| {
        bytes[60..64].copy_from_slice(&99_u32.to_be_bytes())
    });
    for arguments in [&["call", "echo__echo"][..], &["audit", "verify"]] {
        let told = project.run(arguments);
        assert!(!told.status.success());
        assert!(text(&told).contains("newer version"), "{}", text(&told));
    }
    let left = std::fs::read(project.path().join(".portreeve/state.db")).unwrap();
    assert_eq!(left, bytes);
}

#[test]
fn a_state_that_is_none_is_told_and_not_replaced() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    assert!(project.run(&["call", "echo__echo"]).status.success());
    damage(&project, |bytes| bytes.fill(7));
    let told = project.run(&["call", "echo__echo"]);
    assert!(!told.status.success());
    assert!(text(&told).contains("put it aside"), "{}", text(&told));
}

#[test]
fn a_host_that_was_killed_leaves_a_gap() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut server = project.serve();
    server.text("echo__echo", json!({}));
    server.kill();
    assert!(project.run(&["call", "echo__echo"]).status.success());
    let gaps = project.run(&["audit", "search", "--kind", "gap", "--json"]);
    let gap: Value = serde_json::from_str(text(&gaps).lines().next().unwrap()).unwrap();
    let reason = gap["body"]["reason"].as_str().unwrap();
    assert!(reason.contains("did not end in order"), "{reason}");
    assert!(project.run(&["audit", "verify"]).status.success());
}

/// Files of this process may grow to what the state has already, and no further: as a disk
/// that is full.
#[test]
fn a_full_disk_refuses_new_calls_and_says_so() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    assert!(project.run(&["call", "echo__echo"]).status.success());
    let mut server = project.serve();
    server.text("echo__echo", json!({}));
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let limit = |bytes| rustix::process::Rlimit {
        current: bytes,
        maximum: None,
    };
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit(Some(0))).unwrap();
    eventually("a call is refused", || {
        let answer = server.call("echo__echo", json!({}));
        let error = &answer["_meta"]["portreeve/error"];
        error["reason"] == "audit-unavailable" && error["origin"] == "host"
    });
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit(None)).unwrap();
    eventually("calls are answered again", || {
        server.call("echo__echo", json!({}))["isError"] != json!(true)
    });
    assert!(server.close());
    let verified = project.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
}

/// Several hosts and commands that come at once: one of them owns the state, and all are
/// answered.
#[test]
fn hosts_that_race_for_a_project_share_one_state() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let mut clients: Vec<_> = (0..4).map(|_| project.connect()).collect();
    for client in &mut clients {
        client.initialize();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let text = client.text("echo__echo", json!({"number": number}));
        assert!(text.contains(&number.to_string()), "{text}");
    }
    // The owner waits for the others.
    let leaving: Vec<_> = clients.into_iter().map(|client| client.leave()).collect();
    for mut client in leaving {
        assert!(client.ended());
    }
    let verified = project.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    let started = project.run(&["audit", "search", "--kind", "started", "--json"]);
    assert_eq!(text(&started).lines().count(), 1, "{}", text(&started));
}
