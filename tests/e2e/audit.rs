//! What was done is on record, and a change of the record shows.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Project, signal};

fn echo() -> Project {
    Project::of(&[("echo", programs::ECHO)])
}

fn call(project: &Project, argument: &str) {
    let output = project.run(&["call", "echo__echo", "--arg", argument]);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must end well, and gives what it printed.
fn said(project: &Project, arguments: &[&str]) -> String {
    let output = project.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn database(project: &Project) -> PathBuf {
    project.path().join(".portreeve/state.db")
}

/// The kinds of what `verify` found; nothing, for a log that is whole.
fn findings(project: &Project) -> Vec<String> {
    let output = project.run(&["audit", "verify", "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = verdict["findings"].as_array().unwrap();
    let expected = if findings.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{verdict}");
    let kind = |finding: &Value| finding["kind"].as_str().unwrap().to_owned();
    findings.iter().map(kind).collect()
}

#[test]
fn what_was_done_is_shown_summed_up_and_verified() {
    let project = echo();
    call(&project, "text=one");
    call(&project, "text=two");
    let tail = said(&project, &["audit", "tail"]);
    assert!(tail.contains(" started "), "{tail}");
    assert!(tail.contains(" call "), "{tail}");
    assert!(tail.contains("\"tool\":\"echo\""), "{tail}");
    let last = said(&project, &["audit", "tail", "-n", "1"]);
    assert_eq!(last.lines().count(), 1, "{last}");
    assert!(last.contains(" stopped "), "{last}");

    let calls = said(
        &project,
        &[
            "audit", "search", "--plugin", "echo", "--kind", "call", "--since", "1h", "--json",
        ],
    );
    let calls: Vec<Value> = calls
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[0]["body"]["tool"], "echo");
    let id = calls[1]["call"].as_str().unwrap();
    let one = said(&project, &["audit", "search", "--call", id]);
    assert_eq!(one.lines().count(), 1, "{one}");
    for nothing in [
        ["audit", "search", "--plugin", "other"],
        ["audit", "search", "--until", "2026-01-01"],
    ] {
        assert_eq!(said(&project, &nothing).trim(), "", "{nothing:?}");
    }

    let report = said(&project, &["audit", "report"]);
    assert!(report.contains("       2  echo echo"), "{report}");
    assert!(report.trim_end().ends_with("\n  nothing"), "{report}");
    let verdict = said(&project, &["audit", "verify"]);
    assert!(verdict.starts_with("the audit log is whole"), "{verdict}");
    assert!(verdict.contains("heads"), "{verdict}");
}

#[test]
fn an_export_is_verified_elsewhere() {
    let project = echo();
    call(&project, "text=one");
    let whole = said(&project, &["audit", "export"]);
    let file = project.path().join("log.jsonl");
    let path = file.display().to_string();
    let verify = |text: &str| {
        std::fs::write(&file, text).unwrap();
        project.run(&["audit", "verify", "--file", &path])
    };
    let verdict = verify(&whole);
    assert!(verdict.status.success(), "{}", stdout(&verdict));
    let changed = whole.replace("\\\"tool\\\":\\\"echo\\\"", "\\\"tool\\\":\\\"ecco\\\"");
    assert_ne!(changed, whole);
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.remove(2);
    for (tampered, what) in [
        (changed.as_str(), "changed"),
        (&lines.join("\n"), "missing"),
    ] {
        let verdict = verify(tampered);
        assert_eq!(verdict.status.code(), Some(1), "{what}");
        assert!(stdout(&verdict).contains(what), "{}", stdout(&verdict));
    }
    let some = said(&project, &["audit", "export", "--kind", "call"]);
    assert_eq!(some.lines().count(), 2, "{some}");
    let refused = verify(&some);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("left out"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_server_is_followed_and_verified_while_it_runs() {
    let project = echo();
    let mut server = project.serve();
    server.text("echo__echo", json!({"text": "one"}));
    let mut following = project
        .portreeve(&["audit", "tail", "-f", "--kind", "call"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains(" call "));
    server.text("echo__echo", json!({"text": "two"}));
    assert!(lines.next().unwrap().unwrap().contains(" call "));
    assert!(findings(&project).is_empty());
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(server.close());
    assert!(findings(&project).is_empty());
}

#[test]
fn a_host_that_was_killed_leaves_a_gap_and_a_whole_log() {
    let project = echo();
    let mut server = project.serve();
    server.text("echo__echo", json!({"text": "one"}));
    server.kill();
    call(&project, "text=two");
    let gaps = said(&project, &["audit", "search", "--kind", "gap"]);
    assert_eq!(gaps.lines().count(), 1, "{gaps}");
    assert!(findings(&project).is_empty());
    let report = said(&project, &["audit", "report", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["gaps"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn a_changed_database_shows() {
    let project = echo();
    call(&project, "text=one");
    let before = std::fs::read(database(&project)).unwrap();
    call(&project, "text=two");
    let after = std::fs::read(database(&project)).unwrap();
    assert!(findings(&project).is_empty());

    // An older state in its place.
    std::fs::write(database(&project), &before).unwrap();
    assert_eq!(findings(&project), ["cut-off"]);
    // A host goes on with it, and says so; it does not become right by that.
    call(&project, "text=three");
    call(&project, "text=four");
    let gaps = said(&project, &["audit", "search", "--kind", "gap"]);
    assert!(gaps.contains("cut off"), "{gaps}");
    assert!(!findings(&project).is_empty());

    // A record that says something else, as long as before.
    let (from, to) = (b"\"tool\":\"echo\"", b"\"tool\":\"ecco\"");
    let place = after.windows(from.len()).position(|bytes| bytes == from);
    let place = place.expect("a record of a call");
    let mut edited = after;
    edited[place..place + to.len()].copy_from_slice(to);
    std::fs::write(database(&project), edited).unwrap();
    assert!(findings(&project).contains(&"changed".to_owned()));
}

#[test]
fn what_can_not_be_read_is_said() {
    let project = echo();
    let nothing = project.run(&["audit", "verify"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        stderr(&nothing).contains("nothing has run here"),
        "{}",
        stderr(&nothing)
    );
    call(&project, "text=one");
    for wrong in [
        ["audit", "search", "--kind", "calls"],
        ["audit", "search", "--since", "yesterday"],
        ["audit", "report", "--since", "2100-01-01"],
    ] {
        let output = project.run(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

/// What the operator's file says besides grants is on record when it is changed by hand: where
/// requests go and where a plugin sends its credential are as good as grants.
#[test]
fn settings_that_are_changed_by_hand_are_on_record() {
    let project = echo();
    let mut client = project.serve();
    let text = std::fs::read_to_string(project.manifest()).unwrap();
    let text = text.trim_start_matches("schema = 1\n");
    project.write(&format!(
        "{text}limits = {{ timeout = \"20s\" }}\n[network]\nproxy = \"http://127.0.0.1:9\"\n"
    ));
    let edits = || said(&project, &["audit", "search", "--kind", "edit", "--json"]);
    crate::support::eventually("it is on record", || edits().contains("\"network\""));
    assert!(edits().contains("plugins.echo.limits"), "{}", edits());
    client.text("echo__echo", json!({"a": 1}));
    assert!(client.close());
    let started = said(
        &project,
        &["audit", "search", "--kind", "started", "--json"],
    );
    assert!(started.contains("\"manifest\":\"sha256:"), "{started}");
}

/// What is on record and could not be done is on record as not done.
#[test]
fn what_could_not_be_done_is_told_as_undone() {
    let project = Project::none();
    // A directory where the vault's key should be.
    let key = project.path().to_owned();
    project.write(&format!("[vault]\nkey = \"file:{}\"\n", key.display()));
    let mut set = project
        .portreeve(&["secrets", "set", "bot", "--kind", "bearer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut set.stdin.take().unwrap(), b"token").unwrap();
    assert!(!set.wait().unwrap().success());
    let records = |kind| {
        let found = said(&project, &["audit", "search", "--kind", kind, "--json"]);
        let records: Vec<Value> = found
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        records
    };
    let (announced, undone) = (records("secret-set"), records("undone"));
    assert_eq!(
        (announced.len(), undone.len()),
        (1, 1),
        "{announced:?} {undone:?}"
    );
    assert_eq!(undone[0]["body"]["seq"], announced[0]["seq"]);
}

/// What ends a host before it serves anybody is no gap.
#[test]
fn a_host_that_never_came_to_serve_leaves_no_gap() {
    let project = echo();
    call(&project, "a=1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for address in [&*taken, "0.0.0.0:0", "inherited", "unix:/nope/x.sock"] {
        let refused = project.run(&["serve", "--listen", address]);
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        call(&project, "b=2");
    }
    let sound = std::fs::read_to_string(project.manifest()).unwrap();
    let tls = "[serve]\ntls = { certificate = \"a.pem\", key = \"a.key\" }\n";
    std::fs::write(project.manifest(), format!("{sound}{tls}")).unwrap();
    let refused = project.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(stderr(&refused).contains("a.pem"), "{}", stderr(&refused));
    std::fs::write(project.manifest(), sound).unwrap();
    // It is read only after the log was opened.
    let lock = project.path().join("portreeve.lock");
    std::fs::write(&lock, "no lock").unwrap();
    assert!(!project.run(&["list"]).status.success());
    std::fs::remove_file(&lock).unwrap();
    // Asked to end at any moment of its beginning.
    for pause in [0, 5, 10, 20, 40, 80, 160] {
        let mut begun = project.portreeve(&["serve"]);
        let mut begun = begun.stdin(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        signal(begun.id(), "TERM");
        begun.wait().unwrap();
    }
    assert_eq!(findings(&project), Vec::<String>::new());
    let tail = said(&project, &["audit", "tail", "--json"]);
    let last: Value = serde_json::from_str(tail.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "stopped", "{last}");
    let gaps = tail.lines().filter(|line| line.contains("\"gap\""));
    assert_eq!(gaps.count(), 0, "{tail}");
}
