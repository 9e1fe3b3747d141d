//! `portreeve call`, and what it prints.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::Project;

fn stdout(project: &Project, arguments: &[&str]) -> (String, Option<i32>) {
    let output = project.run(arguments);
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

#[test]
fn answers_go_to_stdout() {
    let project = Project::of(&[("echo", programs::ECHO), ("bare", programs::BARE_VALUES)]);
    let (text, code) = stdout(&project, &["call", "echo__echo", "{\"a\": 1}"]);
    assert_eq!((text.trim(), code), ("{\"a\":1}", Some(0)));
    let (text, code) = stdout(
        &project,
        &["call", "bare__add", "{\"left\": 40, \"right\": 2}"],
    );
    assert!(text.contains("42") && code == Some(0), "{text}");
    let (text, code) = stdout(&project, &["--json", "call", "echo__echo", "{}"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(code == Some(0) && answer.is_object(), "{answer}");
}

#[test]
fn failures_say_what_to_do() {
    let project = Project::of(&[("echo", programs::ECHO), ("spin", programs::SPIN)]);
    for (arguments, part) in [
        (&["call", "echo__ehco", "{}"][..], "echo__echo"),
        (&["call", "echo__echo", "{\"a\": 1, \"a\": 2}"], "twice"),
        (&["call", "echo__echo", "{"], "line 1"),
        (&["call", "echo__echo", "[]"], "object"),
        (&["call", "spin__work", "{\"rounds\": -1}"], "rounds"),
    ] {
        let output = project.run(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(part), "{arguments:?}: {told}");
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{arguments:?}: {:?}",
            output.status
        );
    }
}

#[test]
fn what_a_plugin_prints_is_in_the_log() {
    let project = Project::of(&[("output", programs::OUTPUT)]);
    let text = json!({"text": "hello \u{1b}[31mred"}).to_string();
    assert_eq!(
        stdout(&project, &["call", "output__print", &text]).1,
        Some(0)
    );
    crate::support::eventually("it is logged", || project.guest_log().contains("hello"));
    let (log, code) = stdout(&project, &["logs"]);
    assert!(
        log.contains("hello") && !log.contains('\u{1b}') && code == Some(0),
        "{log:?}"
    );
}
