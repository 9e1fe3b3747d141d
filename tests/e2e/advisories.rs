//! A host that runs, and a database of advisories that comes meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Project, eventually};

/// Genuine records of OSV and RustSec, and some of them that say nothing of the plugin here.
const GENUINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../supply/tests/advisories");

/// A project with a plugin that was made from a package with a weakness; its own state, since
/// the database is one for all projects of a user.
struct Harbour {
    project: Project,
    state: tempfile::TempDir,
}

impl Harbour {
    fn open() -> Harbour {
        let harbour = Harbour {
            project: Project::with(""),
            state: tempfile::tempdir().unwrap(),
        };
        let write = |name: &str, text: &[u8]| {
            std::fs::write(harbour.project.path().join(name), text).unwrap();
        };
        write(
            "plugin.toml",
            b"schema = 1\n[plugin]\nid = \"parser\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n",
        );
        write(
            "package-lock.json",
            br#"{"packages": {"node_modules/minimist": {"version": "1.2.5", "license": "MIT"}}}"#,
        );
        write("built.wasm", &wat::parse_str("(component)").unwrap());
        let dir = harbour.project.path().to_str().unwrap().to_owned();
        let at = |name: &str| format!("{dir}/{name}");
        let (built, packed) = (at("built.wasm"), at("parser.wasm"));
        harbour.done(&["build", &dir, "--component", &built, "--out", &packed]);
        harbour.done(&["add", &packed]);
        harbour
    }

    /// Made by the first command: private, as it has to be.
    fn state(&self) -> PathBuf {
        self.state.path().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.portreeve(arguments);
        command.env("PORTREEVE_STATE_DIR", self.state());
        // What is compiled is bound to the key in there.
        command.env("PORTREEVE_CACHE_DIR", self.state.path().join("cache"));
        command
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn alerts(&self) -> usize {
        let found = self.done(&["audit", "export", "--kind", "alert"]);
        // The first line says what it is an export of.
        found.lines().count() - 1
    }
}

#[test]
fn a_database_that_comes_while_a_host_runs_is_told_of() {
    let harbour = Harbour::open();
    let mut client = Client::start(harbour.command(&["serve"]));
    client.initialize();
    assert!(!harbour.done(&["status"]).contains("ADVISORY"));

    // Its owner puts it into its place, on record, and looks again at what is installed.
    let shown = harbour.done(&["advisories", "update", GENUINE]);
    assert!(shown.contains("GHSA-xvch-5gv4-984h"), "{shown}");
    let status = harbour.done(&["status"]);
    assert!(
        status.contains("ADVISORY: parser was made from"),
        "{status}"
    );
    eventually("the alert is on record", || harbour.alerts() == 1);
    let records = harbour.done(&["audit", "export", "--kind", "advisories"]);
    assert_eq!(records.lines().count(), 2, "{records}");

    // Another project of the same user takes another one in: this host notices by itself.
    let other = Project::with("");
    let crates = Path::new(GENUINE).join("crates");
    let taken = other
        .portreeve(&["advisories", "update", crates.to_str().unwrap()])
        .env("PORTREEVE_STATE_DIR", harbour.state())
        .output()
        .unwrap();
    assert!(taken.status.success());
    eventually("the alert is over", || {
        !harbour.done(&["status"]).contains("ADVISORY")
    });
    eventually("that is on record", || harbour.alerts() == 2);
    assert!(client.close());
}

#[test]
fn readers_of_papers_hear_of_what_comes_to_be_known() {
    let harbour = Harbour::open();
    let manifest = harbour.project.manifest();
    let text = std::fs::read_to_string(&manifest).unwrap();
    let scoped = format!("{text}\n[serve]\nscopes = {{ stdio = ['papers:read'] }}\n");
    std::fs::write(&manifest, scoped).unwrap();
    let mut client = Client::start(harbour.command(&["serve"]));
    client.initialize();
    let papers = json!({"uri": "portreeve://plugins/parser/papers"});
    let found = |client: &mut Client| {
        let read = client.request("resources/read", papers.clone());
        let text = read["result"]["contents"][0]["text"].as_str().unwrap();
        let read: Value = serde_json::from_str(text).unwrap();
        let found = read["advisories"]["found"].as_array().unwrap();
        let database = &read["advisories"]["database"];
        // Where it was made from is a path of this machine.
        assert!(database.is_null() || database["sources"] == json!([]));
        found.len()
    };
    client.request("resources/subscribe", papers.clone());
    assert_eq!(found(&mut client), 0);
    harbour.done(&["advisories", "update", GENUINE]);
    let told = client.notification("notifications/resources/updated");
    assert_eq!(told["params"], papers);
    assert_ne!(found(&mut client), 0);
    assert!(client.close());
}
