//! Packing a component that another tool has built, and checking the result.

use crate::support::{CALCULATOR, Sandbox};
use serde_json::json;

fn manifest(version: &str) -> String {
    format!(
        r#"
schema = 1
[plugin]
id = "calculator"
version = "{version}"
license = "MIT"
[requests.ui]
progress = "show how far it has come"
[requests.schedules]
nightly = {{ every = "1d", reason = "look what is new" }}
"#
    )
}

fn plugin() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.component("built.wasm", CALCULATOR);
    sandbox.write("plugin.toml", manifest("1.2.3"));
    sandbox.write("LICENSE", "do as you like");
    sandbox
}

#[test]
fn a_component_is_packed_with_its_papers() {
    let sandbox = plugin();
    let made = sandbox
        .run(&["build", "--component", "built.wasm", "--json"])
        .exits(0)
        .json();
    assert_eq!(made["id"], "calculator");
    assert_eq!(made["version"], "1.2.3");
    assert_eq!(made["manifest"], "declared");
    assert_eq!(made["licence-texts"], json!(["LICENSE"]));
    let seen = sandbox.run(&["inspect", ".", "--json"]).exits(0).json();
    assert_eq!(seen["digest"], made["digest"]);
    sandbox.run(&["inspect", "."]).exits(0).shows(&[
        "declared by its author",
        "[low] report how far a call has come\n",
        "why: show how far it has come",
        "risk: its words may mislead you",
        "[medium] run by itself",
        "this version of Portreeve can't grant it",
    ]);
    sandbox
        .run(&["check"])
        .exits(0)
        .shows(&["packed with this plugin.toml", "fits this version"]);
}

#[test]
fn only_the_newest_package_stays() {
    let sandbox = plugin();
    sandbox
        .run(&["build", "--component", "built.wasm"])
        .exits(0)
        .shows(&["packed calculator 1.2.3"]);
    sandbox.write("dist/calculator-extra-1.0.0.wasm", "another plugin's");
    sandbox.write("plugin.toml", manifest("1.3.0"));
    sandbox
        .run(&["check"])
        .exits(1)
        .says(&[])
        .shows(&["several components"]);
    std::fs::remove_file(sandbox.path("dist/calculator-extra-1.0.0.wasm")).unwrap();
    sandbox
        .run(&["check"])
        .exits(0)
        .shows(&["packed with another plugin.toml"]);
    let made = sandbox
        .run(&["build", "--component", "built.wasm", "--json"])
        .exits(0)
        .json();
    assert_eq!(made["removed"].as_array().unwrap().len(), 1);
    let left: Vec<_> = std::fs::read_dir(sandbox.path("dist"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["calculator-1.3.0.wasm"]);
}

#[test]
fn a_declared_plugin_is_granted_what_it_asks_for() {
    let sandbox = plugin();
    sandbox
        .run(&["build", "--component", "built.wasm"])
        .exits(0);
    sandbox.run(&["init", "project"]).exits(0);
    let project = sandbox.path("project");
    sandbox
        .run_in(&project, &["add", "..", "--grant", "ui.progress"])
        .exits(0)
        .shows(&[
            "[low] report how far a call has come — granted",
            "why: show how far it has come",
            "[medium] run by itself",
        ]);
    sandbox
        .run_in(
            &project,
            &["call", "calculator", "add", "--arg", "a=1", "--arg", "b=1"],
        )
        .exits(0)
        .shows(&["2"]);
}

#[test]
fn mistakes_are_told_before_anything_is_built() {
    let sandbox = Sandbox::new();
    sandbox.run(&["build"]).exits(1).says(&["no plugin.toml"]);
    sandbox.write("plugin.toml", "schema = 1\n[plugin]\nid = \"Bad\"\n");
    sandbox
        .run(&["build"])
        .exits(1)
        .says(&["plugin.toml:", "error:", "^"]);
    sandbox.run(&["check"]).exits(1).says(&["plugin.toml:"]);
    sandbox.write("plugin.toml", manifest("1.0.0"));
    sandbox
        .run(&["build"])
        .exits(1)
        .says(&["no Cargo.toml", "--component FILE"]);
}

#[test]
fn a_crate_that_makes_no_component_is_told_so() {
    let sandbox = plugin();
    sandbox.write("src/lib.rs", "");
    let crate_file = |version: &str, lib: &str| {
        format!(
            "[package]\nname = \"calculator\"\nversion = \"{version}\"\nedition = \"2024\"\n{lib}\n[workspace]\n"
        )
    };
    sandbox.write("Cargo.toml", crate_file("1.2.3", ""));
    sandbox.run(&["build"]).exits(1).says(&["cdylib"]);
    sandbox.write(
        "Cargo.toml",
        crate_file("1.2.4", "[lib]\ncrate-type = [\"cdylib\"]"),
    );
    // Both places are named: the line of plugin.toml and that of Cargo.toml.
    sandbox
        .run(&["build"])
        .exits(1)
        .says(&["plugin.toml:5:", "1.2.3", "1.2.4", "Cargo.toml:3"]);
    sandbox
        .run(&["check"])
        .exits(1)
        .shows(&["error:", "Cargo.toml:3"]);
}
