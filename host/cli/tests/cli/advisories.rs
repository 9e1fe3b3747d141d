//! Advisories as operators meet them: a database that comes, gets old and is replaced; what it
//! knows of what is installed, and what it refuses.

use serde_json::Value;

use crate::support::{CALCULATOR, Sandbox};

/// Genuine records of OSV and RustSec.
const GENUINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../supply/tests/advisories");

/// Another database, which knows nothing of what plugins here are made from.
const OTHER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../supply/tests/advisories/crates"
);

/// A plugin that was made from a package with a weakness, and its project.
fn project(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.component("built.wasm", CALCULATOR);
    sandbox.write(
        "plugin.toml",
        "schema = 1\n[plugin]\nid = \"calc\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n",
    );
    sandbox.write(
        "package-lock.json",
        r#"{"packages": {"node_modules/minimist": {"version": "1.2.5", "license": "MIT"},
            "node_modules/lodash": {"version": "4.17.21", "license": "MIT"}}}"#,
    );
    sandbox
        .run(&["build", "--component", "built.wasm", "--out", "calc.wasm"])
        .exits(0);
    sandbox.write("portreeve.toml", format!("schema = 1\n{policy}"));
    sandbox
}

/// The records of one kind in the audit log.
fn records(sandbox: &Sandbox, kind: &str) -> Vec<Value> {
    let found = sandbox
        .run(&["audit", "export", "--kind", kind])
        .exits(0)
        .out;
    let lines = found
        .lines()
        // The first says what it is an export of.
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn a_new_database_re_examines_what_is_installed() {
    let sandbox = project("");
    sandbox
        .run(&["inspect", "calc.wasm"])
        .exits(0)
        .shows(&["unknown: there is no database of advisories here"]);
    sandbox
        .run(&["advisories", "status"])
        .exits(0)
        .shows(&["no database of advisories here"]);
    sandbox.run(&["add", "calc.wasm"]).exits(0);

    sandbox
        .run(&["advisories", "update", GENUINE])
        .exits(0)
        .shows(&[
            "took in 10 advisories, the newest of 2025-12-11",
            "calc: 1 advisory of 2 packages",
            "GHSA-xvch-5gv4-984h minimist 1.2.5 Prototype Pollution in minimist [critical]; mended in",
        ]);
    let taken = records(&sandbox, "advisories");
    assert_eq!(taken.len(), 1);
    assert!(taken[0].to_string().contains("2025-12-11"), "{taken:?}");
    let raised = records(&sandbox, "alert");
    assert_eq!(raised.len(), 1, "{raised:?}");
    let alert = raised[0].to_string();
    for part in ["calc", "GHSA-xvch-5gv4-984h", "raised", "critical"] {
        assert!(alert.contains(part), "{alert}");
    }
    // The same again tells nobody anything new.
    sandbox.run(&["advisories", "update", GENUINE]).exits(0);
    assert_eq!(records(&sandbox, "advisories").len(), 2);
    assert_eq!(records(&sandbox, "alert").len(), 1);

    // It is of 2025: old, and says so wherever it is used.
    sandbox
        .run(&["advisories", "status"])
        .exits(0)
        .shows(&["OLD: it is", "where 30 days are the limit"]);
    sandbox.run(&["inspect", "calc"]).exits(0).shows(&[
        "1 advisory of 2 packages, held against 10 advisories",
        "the database of advisories is old: its newest is of 2025-12-11",
    ]);
    let seen = sandbox.run(&["inspect", "calc", "--json"]).exits(0).json();
    let found = &seen["advisories"]["found"];
    assert_eq!(found[0]["id"], "GHSA-xvch-5gv4-984h");
    assert_eq!(found[0]["standing"], "told");
    assert_eq!(seen["advisories"]["stale"], true);
    sandbox.run(&["advisories", "check"]).exits(0);

    // One that knows nothing of it ends the alert.
    sandbox.run(&["advisories", "update", OTHER]).exits(0);
    let over = records(&sandbox, "alert");
    assert_eq!(over.len(), 2);
    assert!(over[1].to_string().contains("over"), "{over:?}");
}

#[test]
fn a_weakness_refuses_until_an_exception_says_why() {
    let policy = "[policy.advisories]\ndeny = \"high\"\n";
    let sandbox = project(policy);
    sandbox.run(&["advisories", "update", GENUINE]).exits(0);
    sandbox.run(&["add", "calc.wasm"]).exits(3).says(&[
        "advisory: GHSA-xvch-5gv4-984h minimist 1.2.5",
        "[policy.advisories] refuses",
        "ignore = [{ id = \"GHSA-xvch-5gv4-984h\", plugin = \"calc\", reason = \"...\" }]",
    ]);
    assert!(!sandbox.read("portreeve.toml").contains("calc"));
    sandbox
        .run(&["advisories", "check", "calc.wasm"])
        .exits(3)
        .shows(&["REFUSED: GHSA-xvch-5gv4-984h"]);

    let ignore = "ignore = [{ id = \"CVE-2021-44906\", plugin = \"calc\", reason = \"no arguments are read\", until = \"2099-12-31\" }]\n";
    sandbox.write("portreeve.toml", format!("schema = 1\n{policy}{ignore}"));
    sandbox
        .run(&["add", "calc.wasm"])
        .exits(0)
        .shows(&["passed over until 2099-12-31 (no arguments are read): GHSA-xvch-5gv4-984h"]);
    assert_eq!(records(&sandbox, "alert").len(), 0);
}

/// What works is not stopped by what comes to be known: its operator is told.
#[test]
fn what_is_installed_stays_and_is_told() {
    let sandbox = project("[policy.advisories]\ndeny = \"low\"\n");
    sandbox.run(&["add", "calc.wasm"]).exits(0);
    sandbox
        .run(&["advisories", "update", GENUINE])
        .exits(0)
        .shows(&["REFUSED: GHSA-xvch-5gv4-984h"]);
    sandbox
        .run(&["call", "calc", "add", "--arg", "a=1", "--arg", "b=1"])
        .exits(0)
        .shows(&["2"]);
    assert_eq!(records(&sandbox, "alert").len(), 1);
    // Without it, it can't come in again.
    sandbox.run(&["remove", "calc", "--yes"]);
    sandbox
        .run(&["add", "calc.wasm", "--alias", "again"])
        .exits(3);
}

#[test]
fn what_is_no_database_changes_nothing() {
    let sandbox = project("");
    sandbox.run(&["advisories", "update", GENUINE]).exits(0);
    sandbox.write("empty/README.md", "nothing");
    sandbox
        .run(&["advisories", "update", "empty"])
        .exits(1)
        .says(&["no advisory in empty"]);
    sandbox
        .run(&["advisories", "update", "nowhere"])
        .exits(1)
        .says(&["nowhere"]);
    sandbox
        .run(&["advisories", "update", "https://example.com/all.zip"])
        .exits(2)
        .says(&["oci://"]);
    sandbox
        .run(&["advisories", "status"])
        .exits(0)
        .shows(&["10 advisories"]);
    // One that was changed by somebody is not used, and said to be damaged.
    let file = sandbox.path("../state/advisories/database");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("1.2.6", "1.2.5")).unwrap();
    sandbox
        .run(&["advisories", "status"])
        .exits(1)
        .says(&["changed after it was written", "advisories update"]);
    sandbox
        .run(&["inspect", "calc.wasm"])
        .exits(0)
        .shows(&["unknown: the database of advisories"]);
    sandbox.run(&["add", "calc.wasm"]).exits(0);
    let left = std::fs::read_dir(sandbox.path("../state/advisories")).unwrap();
    assert_eq!(left.count(), 1, "nothing is left lying about");
}
