//! What is granted: shown as it is, granted without a terminal, and what is told beside it.

use crate::support::{CALCULATOR, Sandbox};
use serde_json::Value;

const REQUESTS: &str = r#"
[[requests.network]]
allow = "GET,HEAD http://*:*/**"
reason = "read pages"

[[requests.network]]
allow = "GET https://*.ghe.com/**"
credential = "github"
reason = "read issues"

[[requests.network]]
allow = "GET https://api.github.com/**"
credential = "github"
reason = "read issues"
"#;

/// Builds the plugin in `built`, as its author does.
fn build(sandbox: &Sandbox, version: &str, requests: &str) {
    let manifest = format!(
        "schema = 1\n[plugin]\nid = \"calculator\"\nversion = \"{version}\"\nlicense = \"MIT\"\n{requests}"
    );
    sandbox.component("built.wasm", CALCULATOR);
    sandbox.write("calc/plugin.toml", manifest);
    sandbox.write("calc/LICENSE", "MIT License");
    sandbox
        .run(&["build", "calc", "--component", "built.wasm"])
        .exits(0);
}

/// A project with the plugin as `calc`, granted nothing.
fn project(requests: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(&["init"]).exits(0);
    build(&sandbox, "1.0.0", requests);
    sandbox
        .run(&["add", "calc", "--alias", "calc"])
        .exits(0)
        .shows(&["not granted"]);
    // The alias, not the directory of that name.
    std::fs::rename(sandbox.path("calc"), sandbox.path("plugin")).unwrap();
    let text = sandbox.read("portreeve.toml");
    sandbox.write(
        "portreeve.toml",
        text.replace("source = \"calc\"", "source = \"./plugin\""),
    );
    sandbox
}

/// What `list --json` says of each request.
fn standings(sandbox: &Sandbox) -> Vec<(String, String)> {
    let listed = sandbox.run(&["list", "--json"]).exits(0).json();
    let requests = listed["plugins"][0]["requests"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    requests
        .iter()
        .map(|request| (text(&request["what"]), text(&request["standing"])))
        .collect()
}

#[test]
fn a_narrower_grant_is_shown_as_it_is() {
    let sandbox = project(REQUESTS);
    for grant in [
        "network=GET http://127.0.0.1:8043/**",
        "network=GET https://api.github.com/repos/**",
        "credentials=github:bot",
    ] {
        sandbox.run(&["grant", "calc", grant]).exits(0);
    }
    let shown = [
        "in part      [high] network: send GET and HEAD to http://*:*/**\n",
        "granted of it: GET http://127.0.0.1:8043/**\n",
        "not granted  [high] network: send GET to https://*.ghe.com/**\n",
        "not granted  [high] credentials: have the host add the credential `github` to GET https://*.ghe.com/**\n",
        "in part      [medium] credentials: have the host add the credential `github` to GET https://api.github.com/**\n",
        "granted of it: GET https://api.github.com/repos/**\n",
    ];
    let listed = sandbox.run(&["list", "--grants"]).exits(0).shows(&shown);
    assert!(!listed.out.contains("  granted  "), "{}", listed.out);
    let part = |what: &str| (what.to_owned(), "partly".to_owned());
    let standings = standings(&sandbox);
    assert!(
        standings.contains(&part("GET,HEAD http://*:*/**")),
        "{standings:?}"
    );
    sandbox.run(&["inspect", "calc"]).exits(0).shows(&[
        "send GET and HEAD to http://*:*/** — granted in part: GET http://127.0.0.1:8043/**\n",
        "`github` to GET https://*.ghe.com/** — not granted\n",
    ]);
    let inspected = sandbox.run(&["inspect", "calc", "--json"]).exits(0).json();
    assert_eq!(
        inspected["grants"]["credentials"]["github"], "vault:bot",
        "{inspected}"
    );
}

/// Without a terminal somebody can agree to a new component and grant as little as before.
#[test]
fn to_agree_is_not_to_grant() {
    let sandbox = project("[requests.ui]\nprogress = \"show it\"\n");
    std::fs::rename(sandbox.path("plugin"), sandbox.path("calc")).unwrap();
    build(
        &sandbox,
        "1.1.0",
        &format!("[requests.ui]\nprogress = \"show it\"\n{REQUESTS}"),
    );
    std::fs::rename(sandbox.path("calc"), sandbox.path("plugin")).unwrap();
    let stopped = sandbox.run(&["list", "--grants"]).exits(0).shows(&[
        "stopped",
        "asks for more than was agreed to",
        "+ network GET,HEAD http://*:*/**",
    ]);
    assert!(!stopped.out.contains("asks for nothing"), "{}", stopped.out);
    sandbox
        .run(&["grant", "calc", "ui.progress"])
        .exits(1)
        .says(&["--agree", "only what you name", "--yes"]);
    sandbox.run(&["grant", "calc", "--agree", "--yes"]).exits(2);
    sandbox
        .run(&["grant", "calc", "--agree"])
        .exits(0)
        .shows(&["`calc` is granted nothing", "on record"]);
    assert!(
        standings(&sandbox)
            .iter()
            .all(|(_, standing)| standing == "not-granted")
    );
    sandbox
        .run(&["call", "calc__add", "--arg", "a=1", "--arg", "b=2"])
        .exits(0)
        .shows(&["3"]);
    // Nothing is left to be agreed to; what is named is granted all the same.
    sandbox
        .run(&["grant", "calc", "ui.progress", "--agree"])
        .exits(0)
        .shows(&["{\"ui\":{\"progress\":true}}"]);
    sandbox
        .run(&["grant", "calc", "--agree"])
        .exits(0)
        .shows(&["nothing was changed"]);
}

#[test]
fn a_secret_that_is_not_there_yet_is_told() {
    let sandbox = project(REQUESTS);
    let note = "there is no secret `bot` in the vault yet; `portreeve secrets set bot`";
    sandbox
        .run(&["grant", "calc", "credentials=github:bot"])
        .exits(0)
        .says(&[note]);
    for (kind, advice) in [
        ("bearer", "`portreeve grant PLUGIN credentials=NAME:bot`"),
        (
            "ssh-key",
            "`portreeve grant PLUGIN secrets.reveal=NAME:bot`",
        ),
    ] {
        let key = "{\"key\": \"x\"}";
        let value = if kind == "ssh-key" { key } else { "x" };
        sandbox
            .run_with(&["secrets", "set", "bot", "--kind", kind], value)
            .exits(0)
            .shows(&[advice]);
        let granted = sandbox
            .run(&["grant", "calc", "credentials=github:bot"])
            .exits(0);
        assert!(granted.err.is_empty(), "{}", granted.err);
        sandbox.run(&["secrets", "remove", "bot"]).exits(0);
    }
}

#[test]
fn what_is_asked_in_another_way_is_answered() {
    let sandbox = project(&format!(
        "{REQUESTS}\n[[requests.addresses]]\nallow = \"127.0.0.0/8\"\nreason = \"x\"\n"
    ));
    sandbox
        .run(&["revoke", "calc", "--all"])
        .exits(1)
        .says(&["error: nothing is granted to `calc`"]);
    sandbox
        .run(&["grant", "calc", "addresses=localhost"])
        .exits(2)
        .says(&["write 127.0.0.1 or ::1"]);
    sandbox
        .run(&["grant", "calc", "--all"])
        .exits(2)
        .says(&["has no --all", "--yes"]);
    let told = sandbox
        .run(&["secrets", "set", "bot", "--value", "CANARY"])
        .exits(2)
        .says(&["leave --value out", "standard input"]);
    assert!(!told.err.contains("CANARY"), "{}", told.err);
}
