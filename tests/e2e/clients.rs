//! The official clients in Python and TypeScript, and the inspector's command line, over stdio
//! and over HTTP.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::http::HttpHost;
use crate::skipped::skipped;
use crate::support::Project;

/// Where `.ci/run` installs packages of npm and PyPI.
fn installed(variable: &str, name: &str, file: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    if dir.join(file).exists() {
        return Some(dir);
    }
    skipped(&format!(
        "{file} is not installed in {} (`.ci/run` does that, and {variable} names another place)",
        dir.display()
    ));
    None
}

/// The packages of npm, if this one is among them.
pub(crate) fn node(program: &str) -> Option<PathBuf> {
    let program = format!("node_modules/.bin/{program}");
    installed("PORTREEVE_NODE_DIR", "node", &program)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/clients")
        .join(name)
}

/// Runs a client; what it prints, and what else it says.
fn run(mut client: Command) -> (Value, String) {
    let output = client.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let told = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{said}"));
    (told, said)
}

/// Runs a client over both transports, `client` being all but how to reach the host, and shows
/// `check` what it prints.
fn over_both(client: impl Fn() -> Command, http: &[&str], stdio: &[&str], check: impl Fn(&Value)) {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let run = |command: Command| {
        let (told, said) = run(command);
        // A client that is not content with its host says so, and goes on.
        let said = said.to_lowercase();
        for word in ["warn", "fail", "error"] {
            assert!(!said.contains(word), "{said}");
        }
        check(&told);
    };
    // The same program and environment as all tests have.
    let serve = project.portreeve(&["serve"]);
    let mut over_stdio = client();
    let words: Vec<OsString> = std::iter::once(serve.get_program())
        .chain(serve.get_args())
        .map(ToOwned::to_owned)
        .collect();
    over_stdio.args(words).args(stdio);
    for (name, value) in serve.get_envs() {
        if let Some(value) = value {
            over_stdio.env(name, value);
        }
    }
    run(over_stdio);
    let host = HttpHost::start(&project);
    let mut over_http = client();
    over_http
        .arg(format!("http://{}/mcp", host.address))
        .args(http);
    run(over_http);
}

fn check(told: &Value) {
    let tools = told["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool == "echo__echo"), "{told}");
    let text: Value = serde_json::from_str(told["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, serde_json::json!({"a": [1, "ü"]}));
}

#[test]
fn the_python_client() {
    let Some(dir) = installed("PORTREEVE_PYTHON_DIR", "python", "bin/python") else {
        return;
    };
    let client = || {
        let mut command = Command::new(dir.join("bin/python"));
        command.arg(script("client.py"));
        command
    };
    over_both(client, &[], &[], check);
}

/// The official TypeScript client with a script.
fn typescript(dir: &Path, name: &str) -> Command {
    let mut command = Command::new(dir.join("node_modules/.bin/node"));
    command.env("PORTREEVE_NODE_DIR", dir);
    command.arg(script(name));
    command
}

/// What a script of it prints about a host, and what else it says; none where there is no Node.
pub(crate) fn typescript_tells(name: &str, host: &HttpHost) -> Option<(Value, String)> {
    let dir = node("node")?;
    let mut client = typescript(&dir, name);
    client.arg(format!("http://{}/mcp", host.address));
    Some(run(client))
}

#[test]
fn the_typescript_client() {
    let Some(dir) = node("node") else {
        return;
    };
    let client = || typescript(&dir, "client.mjs");
    over_both(client, &[], &[], check);
}

#[test]
fn the_inspectors_command_line() {
    let Some(dir) = node("mcp-inspector") else {
        return;
    };
    let client = || {
        let bin = dir.join("node_modules/.bin");
        let mut command = Command::new(bin.join("node"));
        command.arg(bin.join("mcp-inspector")).arg("--cli");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap());
        command
    };
    let list = ["--method", "tools/list"];
    over_both(
        client,
        &["--transport", "http", "--method", "tools/list"],
        &list,
        |told| {
            assert!(
                told["tools"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|tool| tool["name"] == "echo__echo"),
                "{told}"
            );
        },
    );
}

/// The blocks of JSON in the README's chapter on clients.
fn shown() -> Vec<Value> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let chapter = readme.split("\n## Clients\n").nth(1).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let blocks = chapter.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks
        .map(|block| serde_json::from_str(block).unwrap())
        .collect()
}

#[test]
fn the_readme_shows_what_clients_are_given() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let shown = shown();
    for (client, shown) in [
        ("claude", &shown[0]),
        ("cursor", &shown[0]),
        ("vscode", &shown[1]),
    ] {
        let printed = project.run(&["serve", "--print-client-config", "--client", client]);
        let mut printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        let servers = printed
            .as_object_mut()
            .unwrap()
            .values_mut()
            .next()
            .unwrap();
        let server = &mut servers["portreeve"];
        let program = PathBuf::from(server["command"].as_str().unwrap());
        assert!(program.is_absolute() && program.exists(), "{client}");
        let dir = PathBuf::from(server["args"][2].as_str().unwrap());
        assert_eq!(dir, project.path().canonicalize().unwrap(), "{client}");
        server["command"] = "/usr/local/bin/portreeve".into();
        server["args"][2] = "/path/to/my-project".into();
        assert_eq!(printed, *shown, "{client}");
    }
    let print = |client: &str, address: &str| {
        project.run(&[
            "serve",
            "--print-client-config",
            "--client",
            client,
            "--listen",
            address,
        ])
    };
    let url = json!("http://127.0.0.1:8080/mcp");
    let cursor = json!({"mcpServers": {"portreeve": {"url": url}}});
    let zed = json!({"context_servers": {"portreeve": {"url": url}}});
    for (client, shown) in [
        ("claude", &shown[2]),
        ("vscode", &shown[3]),
        ("cursor", &cursor),
        ("zed", &zed),
    ] {
        for address in ["127.0.0.1:8080", "0.0.0.0:8080"] {
            let printed = print(client, address).stdout;
            let printed: Value = serde_json::from_slice(&printed).unwrap();
            assert_eq!(printed, *shown, "{client}");
        }
    }
    for address in ["127.0.0.1:0", "unix:/run/mcp.sock", "inherited"] {
        let refused = print("claude", address);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("an address with a port"), "{said}");
    }
    project.write("[serve]\ntls = { certificate = \"a.pem\", key = \"a.key\" }\n");
    let printed = String::from_utf8(print("claude", "127.0.0.1:8080").stdout).unwrap();
    assert!(printed.contains("https://127.0.0.1:8080/mcp"), "{printed}");
}
