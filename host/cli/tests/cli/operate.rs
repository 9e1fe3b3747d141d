//! Running it: help, usage, the client's configuration, logs, the doctor.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::support::Sandbox;
use serde_json::{Value, json};

#[test]
fn help_and_wrong_usage() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["--help"])
        .exits(0)
        .shows(&["doctor", "Examples:", "Exit codes"]);
    sandbox
        .run(&["--version"])
        .exits(0)
        .shows(&[env!("CARGO_PKG_VERSION")]);
    let ran = sandbox.run(&["frobnicate"]).exits(2).says(&["frobnicate"]);
    assert!(ran.out.is_empty());
    let error = sandbox
        .run(&["list", "--nonsense", "--json"])
        .exits(2)
        .json();
    assert_eq!(error["error"]["kind"], "usage");
}

#[test]
fn the_snippet_for_clients_is_json_with_absolute_paths() {
    let sandbox = Sandbox::with_calculator();
    let project = sandbox.path("").canonicalize().unwrap();
    let snippet = sandbox
        .run(&["serve", "--print-client-config"])
        .exits(0)
        .json();
    let server = &snippet["mcpServers"]["portreeve"];
    assert_eq!(server["args"], json!(["serve", "--project", project]));
    let program = server["command"].as_str().unwrap();
    assert!(std::path::Path::new(program).is_absolute() && std::path::Path::new(program).is_file());
    let snippet = sandbox
        .run(&["serve", "--print-client-config", "--client", "vscode"])
        .exits(0)
        .json();
    assert_eq!(snippet["servers"]["portreeve"]["type"], "stdio");
    sandbox
        .run(&["serve", "--print-client-config", "--client", "other"])
        .exits(2);
}

fn record(plugin: &str, call: &str, text: &str) -> String {
    let record = json!({
        "time": "2026-11-20T10:00:00Z", "plugin": plugin, "call": call, "stream": "stdout", "text": text,
    });
    format!("{record}\n")
}

#[test]
fn logs_are_filtered_and_clean() {
    let sandbox = Sandbox::with_calculator();
    sandbox.run(&["logs"]).exits(0);
    sandbox.write(".portreeve/logs/guest.log.1", record("p", "c1", "old"));
    let newer = record("p", "c2", "evil\u{1b}[2J\u{202e}\u{9b}") + &record("q", "c3", "other");
    sandbox.write(".portreeve/logs/guest.log", newer);
    let all = sandbox.run(&["logs"]).exits(0).out;
    let texts: Vec<_> = all
        .lines()
        .map(|line| line.rsplit_once("stdout: ").unwrap().1)
        .collect();
    assert_eq!(texts, ["old", "evil\\u{1b}[2J\\u{202e}\\u{9b}", "other"]);
    let of_p = sandbox
        .run(&["logs", "--plugin", "p", "-n", "1"])
        .exits(0)
        .out;
    assert!(of_p.lines().count() == 1 && of_p.contains("evil"), "{of_p}");
    sandbox
        .run(&["logs", "--call", "c1"])
        .exits(0)
        .shows(&["old"]);
    let json = sandbox
        .run(&["logs", "--json", "--call", "c2"])
        .exits(0)
        .out;
    assert!(!json.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{json}");
    let parsed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["text"], "evil\u{1b}[2J\u{202e}\u{9b}");
}

#[test]
fn the_doctor_finds_what_is_broken() {
    let sandbox = Sandbox::with_calculator();
    let findings = sandbox.run(&["doctor", "--json"]).exits(0).json();
    let status = |check: &str| {
        let findings = findings["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap()["status"]
            .clone()
    };
    for check in ["compiler", "cache", "owner", "project"] {
        assert_eq!(status(check), "fine", "{findings}");
    }
    let broken = |args: &mut std::process::Command| {
        let output = args.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = broken(
        sandbox
            .command(&["doctor"])
            .env("PORTREEVE_COMPILER", "/bin/true"),
    );
    assert!(shown.contains("BROKEN   compiler"), "{shown}");
    let open = tempfile::tempdir().unwrap();
    std::fs::create_dir(open.path().join("compiled")).unwrap();
    std::fs::set_permissions(
        open.path().join("compiled"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    let shown = broken(
        sandbox
            .command(&["doctor"])
            .env("PORTREEVE_CACHE_DIR", open.path()),
    );
    assert!(
        shown.contains("BROKEN   cache") && shown.contains("chmod 700"),
        "{shown}"
    );
    std::fs::remove_file(sandbox.path("calculator.wasm")).unwrap();
    let shown = broken(&mut sandbox.command(&["doctor"]));
    assert!(shown.contains("BROKEN   plugin: calc"), "{shown}");
}

#[test]
fn logs_are_followed() {
    let sandbox = Sandbox::with_calculator();
    sandbox.write(".portreeve/logs/guest.log", record("p", "c1", "before"));
    let mut child = sandbox
        .command(&["logs", "-f", "--plugin", "p"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with("before"));
    std::fs::rename(
        sandbox.path(".portreeve/logs/guest.log"),
        sandbox.path(".portreeve/logs/guest.log.1"),
    )
    .unwrap();
    let newer = record("q", "c2", "other") + &record("p", "c3", "after");
    sandbox.write(".portreeve/logs/guest.log", newer);
    assert!(lines.next().unwrap().unwrap().ends_with("after"));
    child.kill().unwrap();
    child.wait().unwrap();
}
