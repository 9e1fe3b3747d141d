//! The first command of the README: builds the host and the first-party plugins, installs
//! them in a project, calls one through MCP, and says how to connect a client.
//!
//! It uses the same commands as an author and an operator would, and prints each.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

const PLUGINS: [&str; 9] = [
    "markdown",
    "datetime",
    "data",
    "fetch",
    "github",
    "file-searcher",
    "notes-keeper",
    "feed-watcher",
    "digest-writer",
];

fn main() -> ExitCode {
    match quickstart() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nquickstart failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, String>;

fn quickstart() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the workspace has moved")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    say("1. Building the host. The first time, this takes some minutes.");
    run(Command::new(cargo)
        .args(["build", "--package", "portreeve", "--bins"])
        .current_dir(root))?;
    // Beside this program: both were built by the same cargo.
    let host = std::env::current_exe()
        .ok()
        .and_then(|me| me.parent().map(|dir| dir.join("portreeve")))
        .filter(|path| path.is_file())
        .ok_or("the host was built somewhere else than this program; is `build.target-dir` set?")?;

    say("\n2. Building the first-party plugins, as their author.");
    for plugin in PLUGINS {
        run(Command::new(&host)
            .arg("build")
            .arg(root.join("plugins").join(plugin)))?;
    }

    let project = root.join("target/quickstart");
    say("\n3. Installing them in a project, as an operator.");
    std::fs::create_dir_all(&project).map_err(|error| error.to_string())?;
    if !project.join("portreeve.toml").exists() {
        run(Command::new(&host).arg("init").arg(&project))?;
        for plugin in PLUGINS {
            run(Command::new(&host)
                .arg("--project")
                .arg(&project)
                .arg("add")
                .arg(root.join("plugins").join(plugin)))?;
        }
    }

    say("\n4. Calling one through MCP, as a client.");
    call(&host, &project)?;

    say("\n5. To connect a client, give it this:\n");
    run(Command::new(&host)
        .arg("--project")
        .arg(&project)
        .args(["serve", "--print-client-config"]))
}

/// Speaks MCP with `portreeve serve`, as any client does.
fn call(host: &PathBuf, project: &Path) -> Result<()> {
    let mut child = Command::new(host)
        .arg("--project")
        .arg(project)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the host does not start: {error}"))?;
    let mut to = child.stdin.take().ok_or("no stdin")?;
    let mut from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let mut request = |id: u64, method: &str, params: Value| -> Result<Value> {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        writeln!(to, "{message}").map_err(|error| error.to_string())?;
        let mut line = String::new();
        loop {
            line.clear();
            if from
                .read_line(&mut line)
                .map_err(|error| error.to_string())?
                == 0
            {
                return Err("the host ended".to_owned());
            }
            let answer: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            if answer.get("id") == Some(&json!(id)) {
                return match answer.get("error") {
                    None => Ok(answer.get("result").cloned().unwrap_or_default()),
                    Some(error) => Err(error.to_string()),
                };
            }
        }
    };
    let client = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "quickstart", "version": "1"}});
    request(1, "initialize", client)?;
    let tools = request(2, "tools/list", json!({}))?;
    let names: Vec<&str> = tools
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("name")?.as_str())
        .collect();
    say(&format!("   tools: {}", names.join(", ")));
    let arguments = json!({"markdown": "# Portreeve\n\n| sandboxed | limited |\n|---|---|\n| yes | yes |\n\n<script>alert(1)</script>"});
    say(&format!("   markdown__render {arguments}"));
    let answer = request(
        3,
        "tools/call",
        json!({"name": "markdown__render", "arguments": arguments}),
    )?;
    let text = answer
        .pointer("/content/0/text")
        .and_then(Value::as_str)
        .ok_or_else(|| format!("an answer without text: {answer}"))?;
    if answer.get("isError") == Some(&json!(true)) {
        return Err(format!("the tool failed: {text}"));
    }
    say(&format!("   answer:\n{text}"));
    drop(to);
    child.wait().map_err(|error| error.to_string())?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    say(&format!("   $ {}", shown(command)));
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", shown(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` ended with {status}", shown(command)))
    }
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn say(text: &str) {
    // Whoever closed our stdout does not want to hear it.
    let _ = writeln!(std::io::stdout(), "{text}");
}
