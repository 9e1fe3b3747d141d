//! A project from nothing: init, add, inspect, list.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{CALCULATOR, Sandbox};
use serde_json::json;

#[test]
fn init_makes_a_project_once() {
    let sandbox = Sandbox::new();
    sandbox.write(".gitignore", "/target");
    std::fs::create_dir(sandbox.path(".git")).unwrap();
    sandbox
        .run(&["init"])
        .exits(0)
        .shows(&["portreeve.toml", ".gitignore", "portreeve add"]);
    assert_eq!(sandbox.read(".gitignore"), "/target\n.portreeve/\n");
    let written = sandbox.read("portreeve.toml");
    sandbox.run(&["init"]).exits(1).says(&["is there already"]);
    assert_eq!(sandbox.read("portreeve.toml"), written);

    let made = sandbox.run(&["init", "deep/er", "--json"]).exits(0).json();
    assert_eq!(made["gitignore"], false);
    assert!(sandbox.path("deep/er/portreeve.toml").is_file());
}

/// Paths are bytes on Linux; JSON is text.
#[test]
fn paths_that_are_no_text_break_no_command() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("").join(OsStr::from_bytes(b"not-\xff-text"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(
        dir.join("calculator.wasm"),
        wat::parse_str(CALCULATOR).unwrap(),
    )
    .unwrap();
    let ran = |args: &[&str]| sandbox.run_in(&dir, args).exits(0).json();
    let shown = "not-\u{fffd}-text";
    let path = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    assert!(path(&ran(&["init", "--json"])["project"]).contains(shown));
    let added = ran(&["add", "calculator.wasm", "--json"]);
    assert_eq!(added["source"], "calculator.wasm");
    ran(&["inspect", "calculator.wasm", "--json"]);
    let listed = ran(&["list", "--json"]);
    assert!(path(&listed["project"]).contains(shown));
    assert_eq!(listed["plugins"][0]["status"], "ready", "{listed}");
    sandbox
        .run_in(&dir, &["serve", "--print-client-config"])
        .exits(1)
        .says(&["UTF-8", "rename"]);
}

#[test]
fn the_project_is_found_or_named() {
    let sandbox = Sandbox::with_calculator();
    std::fs::create_dir_all(sandbox.path("a/b")).unwrap();
    sandbox
        .run_in(&sandbox.path("a/b"), &["list"])
        .exits(0)
        .shows(&["calc__add"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let project = sandbox.path("");
    let project = project.to_str().unwrap();
    sandbox
        .run_in(elsewhere.path(), &["list"])
        .exits(1)
        .says(&["portreeve init", "--project"]);
    sandbox
        .run_in(elsewhere.path(), &["list", "--project", project])
        .exits(0)
        .shows(&["calc__add"]);
    sandbox
        .run_in(elsewhere.path(), &["--project", "nowhere", "list"])
        .exits(1)
        .says(&["no portreeve.toml in nowhere"]);
}

#[test]
fn add_keeps_comments_and_refuses_a_taken_alias() {
    let sandbox = Sandbox::new();
    sandbox.component("calculator.wasm", CALCULATOR);
    sandbox.write("portreeve.toml", "# ours\nschema = 1 # one\n");
    let added = sandbox
        .run(&["add", "calculator.wasm", "--json"])
        .exits(0)
        .json();
    assert_eq!(added["alias"], "calculator");
    assert_eq!(added["source"], "calculator.wasm");
    assert_eq!(added["requests"], json!([]));
    let text = sandbox.read("portreeve.toml");
    assert!(text.starts_with("# ours\nschema = 1 # one\n"), "{text}");
    assert!(
        text.contains("[plugins.calculator]\nsource = \"calculator.wasm\""),
        "{text}"
    );

    sandbox
        .run(&["add", "calculator.wasm"])
        .exits(1)
        .says(&["calculator", "--alias"]);
    assert_eq!(sandbox.read("portreeve.toml"), text);
    sandbox
        .run(&["add", "calculator.wasm", "--alias", "second"])
        .exits(0)
        .shows(&["second"]);
    sandbox
        .run(&["add", "calculator.wasm", "--alias", "No Good"])
        .exits(2)
        .says(&["no valid name"]);
    let list = sandbox.run(&["list", "--json"]).exits(0).json();
    let tools: Vec<_> = list["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| &plugin["tools"][0]["name"])
        .collect();
    assert_eq!(tools, ["calculator__add", "second__add"]);
}

#[test]
fn add_grants_only_what_can_be_granted() {
    let sandbox = Sandbox::new();
    sandbox.component("calculator.wasm", CALCULATOR);
    sandbox.run(&["init"]).exits(0);
    let add = |grant: &str| sandbox.run(&["add", "calculator.wasm", "--grant", grant]);
    add("ui.progres")
        .exits(2)
        .says(&["no capability `ui.progres`", "ui.progress"]);
    add("schedules")
        .exits(1)
        .says(&["can't be granted by this version"]);
    // A component without manifest is nobody's request; there the grant alone counts.
    add("ui.progress").exits(0);
    let text = sandbox.read("portreeve.toml");
    assert!(text.contains("grants.ui = { progress = true }"), "{text}");
}

#[test]
fn inspect_says_what_a_component_is() {
    let sandbox = Sandbox::with_calculator();
    let by_path = sandbox
        .run(&["inspect", "calculator.wasm", "--json"])
        .exits(0)
        .json();
    assert_eq!(by_path["id"], "calculator");
    assert_eq!(by_path["manifest"], "inferred");
    assert_eq!(by_path["tools-from"], "functions");
    let schema = &by_path["tools"][0]["inputSchema"];
    assert_eq!(schema["properties"]["a"]["maximum"], i32::MAX, "{schema}");
    assert!(by_path["digest"].as_str().unwrap().starts_with("sha256:"));
    let by_alias = sandbox.run(&["inspect", "calc", "--json"]).exits(0).json();
    assert_eq!(by_alias["digest"], by_path["digest"]);
    sandbox
        .run(&["inspect", "calc"])
        .exits(0)
        .shows(&["inferred", "4 tools", "0 requests", "add"]);
    sandbox
        .run(&["inspect", "cal"])
        .exits(1)
        .says(&["no file `cal`", "no plugin of that name"]);
}

#[test]
fn inspect_refuses_what_is_no_component() {
    let sandbox = Sandbox::new();
    sandbox.write("text.wasm", "hello there");
    sandbox.write("escape.wasm", "hello\u{1b}[2J");
    sandbox.write("empty.wasm", "");
    sandbox.write("module.wasm", wat::parse_str("(module)").unwrap());
    for (file, said) in [
        ("text.wasm", "text file"),
        ("escape.wasm", "no WebAssembly"),
        ("empty.wasm", "empty"),
        ("module.wasm", "core WebAssembly module"),
        ("none.wasm", "no file"),
    ] {
        let ran = sandbox
            .run(&["inspect", file])
            .exits(1)
            .says(&["error: ", said]);
        assert!(
            ran.out.is_empty() && !ran.err.contains('\u{1b}'),
            "{}",
            ran.err
        );
        let error = sandbox.run(&["inspect", file, "--json"]).exits(1).json();
        assert_eq!(error["error"]["kind"], "failed");
        assert!(
            error["error"]["message"].as_str().unwrap().contains(said),
            "{error}"
        );
    }
}

#[test]
fn mistakes_in_the_manifest_are_shown_where_they_are() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "portreeve.toml",
        "schema = 1\n\n[plugins.a]\nsuorce = \"a.wasm\"\n",
    );
    let ran = sandbox
        .run(&["list"])
        .exits(1)
        .says(&["portreeve.toml:4:1: error:", "^^^^^^"]);
    assert!(ran.out.is_empty());
    let error = sandbox.run(&["list", "--json"]).exits(1).json();
    let place = &error["error"]["diagnostics"][0];
    assert_eq!((&place["line"], &place["column"]), (&json!(4), &json!(1)));
}

#[test]
fn one_broken_plugin_hides_no_other() {
    let sandbox = Sandbox::with_calculator();
    let manifest = format!(
        "{}\n[plugins.gone]\nsource = \"gone.wasm\"\n",
        sandbox.read("portreeve.toml")
    );
    sandbox.write("portreeve.toml", manifest);
    sandbox
        .run(&["list"])
        .exits(0)
        .shows(&["calc__add", "gone", "not usable", "no file"]);
    let list = sandbox.run(&["list", "--json"]).exits(0).json();
    assert_eq!(list["plugins"][0]["status"], "ready");
    assert_eq!(list["plugins"][1]["status"], "failed");
    sandbox
        .run(&["call", "gone", "x"])
        .exits(1)
        .says(&["`gone` can't be used"]);
}
