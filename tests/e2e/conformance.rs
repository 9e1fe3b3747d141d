//! The public conformance suite against `portreeve serve --listen`. What it asks of a server
//! is offered by a plugin, `tests/programs/examples/conformance.rs`, so that the host itself
//! is held to the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::clients;
use crate::http::HttpHost;
use crate::support::{Project, plugin};

/// What a scenario's checks may come to where it passes.
const PASSED: [&str; 2] = ["SUCCESS", "INFO"];

/// The programs of npm packages, if the suite is among them.
fn programs_of_node() -> Option<PathBuf> {
    clients::node("conformance").map(|dir| dir.join("node_modules/.bin"))
}

/// What came of a scenario.
struct Scenario {
    status: &'static str,
    /// What its bad checks say.
    why: String,
    /// Its checks that have found what they wanted.
    found: Vec<String>,
}

/// Runs all scenarios for servers of one revision.
fn run(programs: &Path, address: &str, revision: &str) -> BTreeMap<String, Scenario> {
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
        let found = checks.iter().filter(|check| check["status"] == "SUCCESS");
        let found = found.map(|check| check["id"].as_str().unwrap().to_owned());
        let scenario = Scenario {
            status,
            why: bad.join("\n"),
            found: found.collect(),
        };
        scenarios.insert(name.to_owned(), scenario);
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

/// So that the suite sees a stream end before its answer, and comes back for that; and so that
/// calls that take a while are tasks for those who come back for them.
const SERVE: &str = "[serve]\nlimits = { stream-time = '1500ms' }\n\
                     [host]\nlimits = { task-after = '300ms' }\n";

/// A project whose plugin offers what the suite asks for, under its own names.
struct Fixture {
    project: Project,
    source: String,
}

impl Fixture {
    fn new() -> Fixture {
        let project = Project::with(SERVE);
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
        let fixture = Fixture {
            source: dir.to_str().unwrap().to_owned(),
            project,
        };
        fixture.write(0);
        fixture
    }

    /// Writes the operator's file; each time it has the plugin shown otherwise.
    fn write(&self, times: usize) {
        self.project.write(&format!(
            "{SERVE}{}prefix = \"\"\n\
             grants.ui = {{ progress = true, ask = true }}\n\
             grants.client = {{ sampling = true, roots = true, log = true }}\n\
             limits = {{ questions-a-minute = 1000, samplings-a-minute = 1000, parked-calls = 100 }}\n\
             expose = {{ schemes = [\"test\"], category = \"suite {times}\" }}\n",
            plugin("conformance", &self.source)
        ));
    }

    /// Is the operator, who changes what is offered whenever a tool of the plugin asks for that
    /// in its log.
    fn operate(&self, host: &HttpHost, ended: &AtomicBool) {
        let mut done = 0;
        while !ended.load(Ordering::Relaxed) {
            let wanted = self
                .project
                .guest_log()
                .matches("change what is offered")
                .count();
            if wanted > done {
                done = wanted;
                self.write(done);
                host.signal("HUP");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Holds the host to a revision; nothing comes of it without the suite.
fn check(revision: &str) -> Option<BTreeMap<String, Scenario>> {
    let programs = programs_of_node()?;
    let fixture = Fixture::new();
    let host = HttpHost::start(&fixture.project);
    let address = format!("http://{}/mcp", host.address);
    let required = required(&programs, revision);
    assert!(required.len() >= 30, "{required:?}");
    let ended = AtomicBool::new(false);
    let scenarios = std::thread::scope(|scope| {
        scope.spawn(|| fixture.operate(&host, &ended));
        let scenarios = run(&programs, &address, revision);
        ended.store(true, Ordering::Relaxed);
        scenarios
    });
    let mut wrong = Vec::new();
    for (name, scenario) in &scenarios {
        println!("{revision} {} {name}", scenario.status);
        if scenario.status != "PASSED" && required.contains(name) {
            wrong.push(format!("{name} fails:\n{}", scenario.why));
        }
    }
    let not_run = required
        .iter()
        .filter(|name| !scenarios.contains_key(*name));
    wrong.extend(not_run.map(|name| format!("{name} was not run")));
    assert!(wrong.is_empty(), "{revision}:\n{}", wrong.join("\n"));
    Some(scenarios)
}

#[test]
fn servers_conform_to_2025_11_25() {
    let Some(scenarios) = check("2025-11-25") else {
        return;
    };
    // It passes as well where there is no stream to come back to.
    let found = &scenarios["server-sse-polling"].found;
    let resumed = "server-sse-disconnect-resume".to_owned();
    assert!(found.contains(&resumed), "{found:?}");
}

#[test]
fn servers_conform_to_2026_07_28() {
    let Some(scenarios) = check("2026-07-28") else {
        return;
    };
    // These are only reported, but hold what tools say of their calls.
    for name in [
        "tasks-required-task-error",
        "http-custom-header-server-validation",
    ] {
        let scenario = &scenarios[name];
        assert_eq!(scenario.status, "PASSED", "{name}: {}", scenario.why);
    }
}
