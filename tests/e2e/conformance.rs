//! The public conformance suite against `portreeve serve --listen`. What it asks of a server
//! is offered by a plugin, `tests/programs/examples/conformance.rs`, so that the host itself
//! is held to the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::clients;
use crate::http::HttpHost;
use crate::support::{Project, plugin};

/// What a scenario's checks may come to where it passes.
const PASSED: [&str; 2] = ["SUCCESS", "INFO"];

/// Scenarios of the suite's frozen lists that don't pass yet, by revision, each with what is
/// missing. A test fails when one of them passes, so that this shrinks.
const MISSING: &[(&str, &str, &str)] = &[
    (
        "2025-11-25",
        "completion-complete",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "prompts-get-embedded-resource",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "prompts-get-simple",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "prompts-get-with-args",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "prompts-get-with-image",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "prompts-list",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-list",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-read-binary",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-read-text",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-subscribe",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-templates-read",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "resources-unsubscribe",
        "resources, prompts and completion",
    ),
    (
        "2025-11-25",
        "elicitation-sep1034-defaults",
        "what plugins ask of clients",
    ),
    (
        "2025-11-25",
        "elicitation-sep1330-enums",
        "what plugins ask of clients",
    ),
    (
        "2025-11-25",
        "tools-call-elicitation",
        "what plugins ask of clients",
    ),
    (
        "2025-11-25",
        "tools-call-sampling",
        "what plugins ask of clients",
    ),
    (
        "2025-11-25",
        "tools-call-with-logging",
        "what plugins ask of clients",
    ),
    ("2026-07-28", "caching", "resources, prompts and completion"),
    (
        "2026-07-28",
        "prompts-get-embedded-resource",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "prompts-get-simple",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "prompts-get-with-args",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "prompts-get-with-image",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "resources-read-binary",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "resources-read-text",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "resources-templates-read",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "sep-2164-resource-not-found",
        "resources, prompts and completion",
    ),
    (
        "2026-07-28",
        "input-required-result-basic-elicitation",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-basic-list-roots",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-basic-sampling",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-capability-check",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-ignore-extra-params",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-missing-input-response",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-multi-round",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-multiple-input-requests",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-non-tool-request",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-request-state",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-result-type",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "input-required-result-tampered-state",
        "questions over several requests",
    ),
    (
        "2026-07-28",
        "server-stateless",
        "questions over several requests",
    ),
];

/// The programs of npm packages, if the suite is among them.
fn programs_of_node() -> Option<PathBuf> {
    clients::node("conformance").map(|dir| dir.join("node_modules/.bin"))
}

/// Runs all scenarios for servers of one revision: each one's worst check, and what it says.
fn run(programs: &Path, address: &str, revision: &str) -> BTreeMap<String, (String, String)> {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(programs.join("node"))
        .arg(programs.join("conformance"))
        .args(["server", "--url", address, "--requirements", revision])
        .arg("-o")
        .arg(out.path())
        .output()
        .unwrap();
    let mut scenarios = BTreeMap::new();
    for entry in std::fs::read_dir(out.path()).unwrap() {
        let dir = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(dir.join("checks.json")) else {
            continue;
        };
        let checks: Vec<Value> = serde_json::from_str(&text).unwrap();
        let bad: Vec<String> = checks
            .iter()
            .filter(|check| !PASSED.contains(&check["status"].as_str().unwrap()))
            .map(|check| {
                format!(
                    "{} {}: {}",
                    check["status"], check["id"], check["errorMessage"]
                )
            })
            .collect();
        let name = dir.file_name().unwrap().to_str().unwrap();
        // `server-NAME-TIME`, where the time is that of its start: `-2026-11-21T13-33-20-123Z`.
        let name = name.strip_prefix("server-").unwrap();
        let name = name
            .split_at(name.len() - "-2026-11-21T13-33-20-123Z".len())
            .0;
        let status = if checks.is_empty() || !bad.is_empty() {
            "FAILED"
        } else {
            "PASSED"
        };
        scenarios.insert(name.to_owned(), (status.to_owned(), bad.join("\n")));
    }
    assert!(
        !scenarios.is_empty(),
        "the suite ran nothing: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    scenarios
}

/// The scenarios that a server of this revision must pass, as the suite lists them.
fn required(programs: &Path, revision: &str) -> BTreeSet<String> {
    let output = Command::new(programs.join("node"))
        .arg(programs.join("conformance"))
        .args(["list", "--requirements", revision])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let servers = text.split("Server scenarios").nth(1).unwrap();
    let servers = servers.split("Client scenarios").next().unwrap();
    servers
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .map(str::to_owned)
        .collect()
}

/// A project whose plugin offers what the suite asks for, under its own names.
fn project() -> Project {
    let project = Project::with("");
    let dir = project.path().join("conformance");
    std::fs::create_dir_all(&dir).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::copy(
        root.join("tests/conformance/plugin.toml"),
        dir.join("plugin.toml"),
    )
    .unwrap();
    std::fs::copy(root.join("LICENSE"), dir.join("LICENSE")).unwrap();
    let component = portreeve_test_artifacts::CONFORMANCE;
    let built = project.run(&["build", dir.to_str().unwrap(), "--component", component]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    project.write(&format!(
        "{}prefix = \"\"\ngrants.ui = {{ progress = true }}\n",
        plugin("conformance", dir.to_str().unwrap())
    ));
    project
}

fn check(revision: &str) {
    let Some(programs) = programs_of_node() else {
        return;
    };
    let project = project();
    let host = HttpHost::start(&project);
    let address = format!("http://{}/mcp", host.address);
    let required = required(&programs, revision);
    assert!(required.len() >= 30, "{required:?}");
    let scenarios = run(&programs, &address, revision);
    let missing: BTreeMap<&str, &str> = MISSING
        .iter()
        .filter(|(of, ..)| *of == revision)
        .map(|(_, scenario, why)| (*scenario, *why))
        .collect();
    let mut wrong = Vec::new();
    for (name, (status, why)) in &scenarios {
        println!("{revision} {status} {name}");
        if !required.contains(name) {
            continue;
        }
        match (status.as_str(), missing.get(name.as_str())) {
            ("PASSED", None) | ("FAILED", Some(_)) => {}
            ("PASSED", Some(why)) => {
                wrong.push(format!("{name} passes now; it was missing: {why}"))
            }
            _ => wrong.push(format!("{name} fails:\n{why}")),
        }
    }
    let not_run = required
        .iter()
        .filter(|name| !scenarios.contains_key(*name));
    wrong.extend(not_run.map(|name| format!("{name} was not run")));
    assert!(wrong.is_empty(), "{revision}:\n{}", wrong.join("\n"));
}

#[test]
fn servers_conform_to_2025_11_25() {
    check("2025-11-25");
}

#[test]
fn servers_conform_to_2026_07_28() {
    check("2026-07-28");
}
