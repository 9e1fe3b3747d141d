//! Secrets and grants from end to end: set, granted, used, revoked in the middle of a call,
//! and on record.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use portreeve_test_artifacts as programs;
use serde_json::json;

use crate::skipped::skipped;
use crate::support::{Project, eventually, plugin};
use crate::web::records_of;

/// Stands in the secret, and in nothing that is kept or said.
const CANARY: &str = "CANARY-91c2-e2e";

fn set(project: &Project, name: &str, value: &str) -> Output {
    let mut child = project
        .portreeve(&["secrets", "set", name, "--kind", "bearer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(value.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// The records of some kinds.
fn assert_nowhere(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere(&path);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn a_secret_is_granted_used_revoked_in_the_middle_and_on_record() {
    let project = Project::with(&plugin("demo", programs::SECRETS));
    let told = done(&set(&project, "bot", &format!("{CANARY}\n")));
    assert!(told.contains("`bot`") && !told.contains(CANARY), "{told}");
    let again = set(&project, "bot", "other");
    assert!(!again.status.success());
    assert!(
        said(&again).contains("secrets rotate bot"),
        "{}",
        said(&again)
    );

    // Without a grant: which line of which file would allow it.
    let refused = project.run(&["call", "demo__read", "--arg", "name=token"]);
    let told = said(&refused);
    assert!(
        !refused.status.success() && !told.contains(CANARY),
        "{told}"
    );
    assert!(told.contains("portreeve.toml:2"), "{told}");
    assert!(told.contains("portreeve grant demo"), "{told}");

    let mut server = project.serve();
    let granted = done(&project.run(&["grant", "demo", "secrets.reveal=token:bot"]));
    assert!(granted.contains("in force now"), "{granted}");
    let shown = server.text("demo__read", json!({"name": "token"}));
    assert!(shown.contains(CANARY), "{shown}");

    // Revoked while a call runs: the next use of that call is refused.
    let reading = server.ask(
        "tools/call",
        json!({"name": "demo__read", "arguments": {"name": "token", "times": 300, "pause_ms": 20}}),
    );
    eventually("it has read the secret", || {
        records_of(&project, &["secret-reveal"]).len() >= 2
    });
    done(&project.run(&["revoke", "demo", "secrets.reveal"]));
    let answer = server.answer(reading)["result"]["structuredContent"].clone();
    let read = answer["read"].as_u64().unwrap();
    assert!(read > 0 && read < 300, "{answer}");
    let failure = answer["failure"].as_str().unwrap();
    assert!(failure.contains("grants.secrets.reveal"), "{failure}");
    assert!(server.close());

    // Each use was on record before it was one, refusals are counted, and acts have both
    // what was and what is granted.
    // One record for each call that is shown a secret; how often it was is in the call's.
    let reveals = records_of(&project, &["secret-reveal"]);
    assert_eq!(reveals.len(), 2);
    assert_eq!(reveals[0]["body"]["secret"], "bot");
    let refusals = records_of(&project, &["refusal"]);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    let calls = records_of(&project, &["call"]);
    let counted = calls.last().unwrap()["body"]["refused"]["secrets.reveal"].as_u64();
    assert_eq!(counted, Some(300 - read));
    let shown = &calls.last().unwrap()["body"]["revealed"][0];
    assert_eq!(
        (&shown["secret"], &shown["times"]),
        (&json!("bot"), &json!(read))
    );
    let acts = records_of(&project, &["grant", "revoke"]);
    assert_eq!(
        acts[0]["body"]["after"]["secrets"]["reveal"]["token"],
        "vault:bot"
    );
    assert_eq!(acts[1]["body"]["after"], json!({}));
    done(&project.run(&["audit", "verify"]));
    let listed = done(&project.run(&["secrets", "list", "--json"]));
    assert!(listed.contains("\"used\"") && !listed.contains(CANARY));
    done(&project.run(&["secrets", "rotate-key"]));
    done(&project.run(&["secrets", "remove", "bot"]));
    assert_nowhere(&project.path().join(".portreeve"));
}

#[test]
fn a_lost_vault_key_stops_secrets_and_nothing_else() {
    let project = Project::with(&format!(
        "[vault]\nkey = \"env:PORTREEVE_TEST_VAULT\"\n{}{}grants.secrets.reveal.token = \"vault:bot\"\n",
        plugin("echo", programs::ECHO),
        plugin("demo", programs::SECRETS),
    ));
    let key = "11".repeat(32);
    let call = |key: Option<&str>, arguments: &[&str]| {
        let mut command = project.portreeve(arguments);
        match key {
            Some(key) => command.env("PORTREEVE_TEST_VAULT", key),
            None => command.env_remove("PORTREEVE_TEST_VAULT"),
        };
        command
    };
    let mut child = call(Some(&key), &["secrets", "set", "bot", "--kind", "bearer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(CANARY.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    let read = ["call", "demo__read", "--arg", "name=token"];
    assert!(done(&call(Some(&key), &read).output().unwrap()).contains(CANARY));
    for wrong in [None, Some("22".repeat(32)), Some("short".to_owned())] {
        let told = call(wrong.as_deref(), &read).output().unwrap();
        assert!(said(&told).contains("can't be opened"), "{}", said(&told));
        assert!(!said(&told).contains(CANARY));
        done(
            &call(wrong.as_deref(), &["call", "echo__echo"])
                .output()
                .unwrap(),
        );
    }
}

#[test]
fn edits_by_hand_are_on_record() {
    let project = Project::with(&plugin("demo", programs::SECRETS));
    let mut server = project.serve();
    assert!(server.tools().contains(&"demo__read".to_owned()));
    project.write(&format!(
        "{}grants.secrets.inject = {{ token = \"vault:bot\" }}\n",
        plugin("demo", programs::SECRETS)
    ));
    eventually("the edit is on record", || {
        !records_of(&project, &["edit"]).is_empty()
    });
    let edit = records_of(&project, &["edit"]).remove(0);
    assert_eq!(edit["body"]["by"], "file");
    assert_eq!(
        edit["body"]["after"]["secrets"]["inject"]["token"],
        "vault:bot"
    );
    project.write("");
    eventually("the removal is on record", || {
        !records_of(&project, &["remove"]).is_empty()
    });
    assert!(server.close());
}

#[test]
fn an_edit_by_hand_is_on_record_before_a_command_puts_it_in_force() {
    let both = |neighbour: &str| {
        format!(
            "{}{neighbour}\n{}",
            plugin("neighbour", programs::SECRETS),
            plugin("demo", programs::SECRETS)
        )
    };
    let project = Project::with(&both(""));
    let mut server = project.serve();
    assert!(server.tools().contains(&"demo__read".to_owned()));
    project.write(&both("grants.secrets.inject = { token = \"vault:bot\" }"));
    // Sooner than the watcher reads the file again.
    done(&project.run(&["grant", "demo", "secrets.inject=token:bot"]));
    let order: Vec<_> = records_of(&project, &["edit", "grant"])
        .iter()
        .map(|record| (record["kind"].clone(), record["plugin"].clone()))
        .collect();
    let [(edit, neighbour), (grant, demo)] = order.as_slice() else {
        panic!("{order:?}");
    };
    assert_eq!((edit, neighbour), (&json!("edit"), &json!("neighbour")));
    assert_eq!((grant, demo), (&json!("grant"), &json!("demo")));
    assert!(server.close());
}

#[test]
fn a_key_is_moved_under_a_running_owner() {
    let plugins = format!(
        "{}grants.secrets.reveal.token = \"vault:bot\"\n",
        plugin("demo", programs::SECRETS)
    );
    let project = Project::with(&plugins);
    let neighbour = Project::with(&plugins);
    for project in [&project, &neighbour] {
        done(&set(project, "bot", CANARY));
    }
    let mut server = project.serve();
    let key = project.path().join("kept/elsewhere.key");
    let place = format!("file:{}", key.display());
    // Asked of an owner that may not have read the file again yet.
    project.write(&format!("[vault]\nkey = {place:?}\n{plugins}"));
    let told = done(&project.run(&["secrets", "rotate-key", "--from", "file"]));
    assert!(told.contains('1'), "{told}");
    assert_eq!(std::fs::metadata(&key).unwrap().len(), 32);
    let shown = server.text("demo__read", json!({"name": "token"}));
    assert!(shown.contains(CANARY), "{shown}");
    // There it may be others' too, and is never replaced.
    let refused = project.run(&["secrets", "rotate-key"]);
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("--from file:"),
        "{}",
        said(&refused)
    );
    assert!(server.close());
    // What one project does with its key is nothing to the other, of the same user.
    done(&neighbour.run(&["secrets", "rotate-key"]));
    for project in [&project, &neighbour] {
        let shown = done(&project.run(&["call", "demo__read", "--arg", "name=token"]));
        assert!(shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn what_could_not_be_used_is_not_kept() {
    let project = Project::with("");
    for value in [format!("{CANARY}\r\nX-Admin: 1"), "x".repeat(65_537)] {
        let refused = set(&project, "bot", &value);
        let told = said(&refused);
        assert!(
            !refused.status.success() && !told.contains(CANARY),
            "{told}"
        );
    }
    let mut past = project.portreeve(&["secrets", "set", "bot", "--expires", "2020-01-31"]);
    let past = past.stdin(Stdio::null()).output().unwrap();
    assert_eq!(past.status.code(), Some(2), "{}", said(&past));
    done(&set(&project, "bot", CANARY));
    let _ = set(&project, "bot", CANARY);
    let absent = project.run(&["secrets", "remove", "other"]);
    assert!(!absent.status.success());
    // What was refused is not on record as done.
    assert_eq!(
        records_of(&project, &["secret-set", "secret-remove"]).len(),
        1
    );
}

/// Out of reach is told as such: no key is made up, and nothing else stops.
#[cfg(target_os = "linux")]
#[test]
fn a_keyring_that_is_out_of_reach_is_told() {
    let project = Project::with("[vault]\nkey = \"keyring\"\n");
    let mut command = project.portreeve(&["secrets", "set", "bot", "--kind", "bearer"]);
    let mut child = command
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
        .env("XDG_RUNTIME_DIR", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(CANARY.as_bytes()).unwrap();
    drop(stdin);
    let told = child.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(1), "{}", said(&told));
    let told = said(&told);
    assert!(told.contains("keyring of your session"), "{told}");
    assert!(
        !told.contains(CANARY) && !told.contains("panicked"),
        "{told}"
    );
    assert_eq!(
        done(&project.run(&["secrets", "list", "--json"])).trim(),
        "[]"
    );
}

/// A crash of a host leaves no picture of its memory.
#[cfg(target_os = "linux")]
#[test]
fn a_host_leaves_no_core() {
    let project = Project::with("");
    let server = project.serve();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let values: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"]);
}

/// A key in the keyring of a session, which a bus and a keyring of the test's own stand for.
#[test]
fn a_key_in_the_keyring_opens_the_vault() {
    let has = |program: &str| {
        let found = std::process::Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    };
    if !has("dbus-run-session") || !has("gnome-keyring-daemon") {
        skipped("dbus and gnome-keyring, which a key in the keyring needs, are not installed");
        return;
    }
    let project = Project::with(&format!(
        "[vault]\nkey = \"keyring\"\n{}grants.secrets.reveal = {{ token = \"vault:bot\" }}\n",
        plugin("demo", programs::SECRETS)
    ));
    let portreeve = project.portreeve(&[]);
    let home = tempfile::tempdir().unwrap();
    // Another process each time, so that nothing but the keyring has the key.
    let script = format!(
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null &&\n\
         printf {CANARY} | \"$@\" secrets set bot --kind bearer &&\n\
         exec \"$@\" call demo__read --arg name=token"
    );
    let mut command = std::process::Command::new("dbus-run-session");
    command
        .args(["--", "sh", "-c", &script, "sh"])
        .arg(portreeve.get_program())
        .args(portreeve.get_args())
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null());
    for (name, value) in portreeve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let shown = done(&command.output().unwrap());
    assert!(shown.contains(CANARY), "{shown}");
    // Nothing but the keyring has it.
    let without = project
        .portreeve(&["call", "demo__read", "--arg", "name=token"])
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
        .output()
        .unwrap();
    let told = said(&without);
    assert!(
        told.contains("can't be opened") && !told.contains(CANARY),
        "{told}"
    );
}
