//! The author's way: from source to a call, with the commands of the README.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::Project;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The first code block of a language in the README after `heading`.
fn block(heading: &str, language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split(heading).nth(1).unwrap();
    let fence = format!("```{language}\n");
    section
        .split(&fence)
        .nth(1)
        .unwrap()
        .split("\n```")
        .next()
        .unwrap()
        .to_owned()
}

/// The README's plugin, as its author would have it.
pub(crate) fn greeter(project: &Project) -> PathBuf {
    let heading = "## A plugin, from its author to its client";
    let dir = project.path().join("greeter");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    std::fs::write(dir.join("src/lib.rs"), block(heading, "rust")).unwrap();
    std::fs::write(dir.join("plugin.toml"), block(heading, "toml")).unwrap();
    let cargo = format!(
        "[package]\nname = \"greeter\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nportreeve-sdk = {{ path = {:?} }}\n[workspace]\n",
        root().join("sdk")
    );
    std::fs::write(dir.join("Cargo.toml"), cargo).unwrap();
    std::fs::write(dir.join("LICENSE"), "MIT License\n").unwrap();
    // The same versions as here, so that nothing has to be fetched.
    std::fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    dir
}

#[test]
fn from_source_to_a_client() {
    let project = Project::none();
    let dir = greeter(&project);
    let built = project
        .portreeve(&["build", dir.to_str().unwrap()])
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("author"),
        )
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let package = dir.join("dist/greeter-0.1.0.wasm");
    assert!(
        package.is_file(),
        "{}",
        String::from_utf8_lossy(&built.stdout)
    );

    let inspected = project.run(&["--json", "inspect", package.to_str().unwrap()]);
    let papers: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let text = papers.to_string();
    for part in ["greeter", "0.1.0", "MIT", "sha256:", "greet"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // It says of itself that it asks for nothing, rather than saying nothing.
    assert_eq!(papers["requests"], json!([]), "{text}");

    assert!(
        project
            .run(&["init", project.path().to_str().unwrap()])
            .status
            .success()
    );
    let added = project.run(&["add", dir.to_str().unwrap()]);
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let listed = String::from_utf8(project.run(&["list"]).stdout).unwrap();
    assert!(listed.contains("greeter__greet"), "{listed}");
    let called = project.run(&["call", "greeter__greet", "--arg", "name=Ada"]);
    assert_eq!(
        String::from_utf8(called.stdout).unwrap().trim(),
        "Hello, Ada!"
    );

    let mut client = project.serve();
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    let tool = &tools[0];
    assert_eq!(tool["name"], "greeter__greet");
    assert_eq!(tool["description"], "Greets somebody by name.");
    assert_eq!(tool["annotations"]["readOnlyHint"], json!(true));
    assert_eq!(
        tool["inputSchema"]["properties"]["name"]["description"],
        "Whom to greet."
    );
    assert_eq!(
        client.text("greeter__greet", json!({"name": "Ada"})),
        "Hello, Ada!"
    );

    let config = project.run(&["serve", "--print-client-config"]);
    let config: Value = serde_json::from_slice(&config.stdout).unwrap();
    let server = config["mcpServers"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    assert!(Path::new(server["command"].as_str().unwrap()).is_absolute());
    assert!(server["args"].as_array().unwrap().contains(&json!("serve")));
}

/// A package whose list of tools was changed after it was built is not run.
#[test]
fn a_package_that_lists_other_tools_than_it_has_is_refused() {
    let project = Project::none();
    let bytes = std::fs::read(portreeve_test_artifacts::ECHO).unwrap();
    let tool = json!({"name": "harmless", "inputSchema": {"type": "object"}}).to_string();
    let parts = portreeve_supply::PackParts {
        manifest_toml: "schema = 1\n[plugin]\nid = \"liar\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n",
        licence_texts: &[],
        tools: &[portreeve_manifest::tool::Tool::parse(&tool).unwrap()],
        ..portreeve_supply::PackParts::default()
    };
    let packed = portreeve_supply::pack(&bytes, &parts).unwrap();
    std::fs::write(project.path().join("liar.wasm"), packed).unwrap();
    project.write("[plugins.liar]\nsource = \"liar.wasm\"\n");
    let mut client = project.serve();
    assert_eq!(client.tools(), ["liar__harmless"]);
    let refused = client.call("liar__harmless", json!({}));
    assert_eq!(refused["isError"], json!(true));
    assert_eq!(
        refused["_meta"]["portreeve/error"]["reason"], "tools-differ",
        "{refused}"
    );
}
