//! Grants as an operator makes them at a terminal, one request after the other.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::Project;
use crate::terminal::Terminal;

const COMMENT: &str = "# What my people agreed on.\n";

const REQUESTS: &str = "\
[requests.ui]
progress = \"show how far it has come\"
[requests.schedules]
nightly = { every = \"1d\", reason = \"look what is new\" }
[requests.secrets]
inject = [\"webhook-token\"]
reason = \"call back\"
";

/// Builds the plugin beside the project's manifest, as its author does.
fn build(project: &Project, version: &str, requests: &str) {
    let dir = project.path().join("reporter");
    std::fs::create_dir_all(&dir).unwrap();
    let manifest = format!(
        "schema = 1\n[plugin]\nid = \"reporter\"\nversion = \"{version}\"\nlicense = \"MIT\"\n{requests}"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    std::fs::write(dir.join("LICENSE"), "MIT License\n").unwrap();
    let dir = dir.to_str().unwrap();
    let built = project.run(&["build", dir, "--component", programs::PROGRESS]);
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

fn project(requests: &str) -> Project {
    let project = Project::with(COMMENT);
    build(&project, "1.0.0", requests);
    project
}

fn text(project: &Project) -> String {
    std::fs::read_to_string(project.manifest()).unwrap()
}

/// The grants of the plugin, as the file has them.
fn granted(project: &Project) -> Value {
    let text = text(project);
    let manifest =
        portreeve_manifest::project::ProjectManifest::parse("portreeve.toml", &text).unwrap();
    Value::Object(manifest.plugins["reporter"].grants.to_json())
}

fn add(project: &Project) -> Terminal {
    let path = project.path().join("reporter");
    Terminal::open(project, &["add", path.to_str().unwrap()])
}

#[test]
fn what_is_asked_for_is_asked_about_the_heaviest_first() {
    let requests = REQUESTS.replace("inject", "reveal = [\"signing-key\"]\ninject");
    let project = project(&requests);
    let mut terminal = add(&project);
    terminal.sees("[high] read the secret `signing-key` itself");
    terminal.sees("why: call back");
    terminal.sees("risk: once read");
    terminal.sees("Grant `secrets.reveal=signing-key`?");
    terminal.types("n");
    terminal.sees("[medium] have the secret `webhook-token` put");
    terminal.sees("Grant `secrets.inject=webhook-token`?");
    terminal.types("y");
    terminal.sees("Which secret of the vault");
    // What is no name is asked for again.
    terminal.types("Not A Name\r");
    terminal.sees("is no valid name");
    terminal.types(&"\u{7f}".repeat(20));
    terminal.types("acme-hook\r");
    let between = terminal.sees("Grant `ui.progress`?");
    assert!(
        between.contains("why: show how far it has come"),
        "{between}"
    );
    // This version can't grant it, so it is not asked about.
    assert!(!between.contains("schedules"), "{between}");
    terminal.types("y");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("added reporter 1.0.0"), "{rest}");
    assert_eq!(rest.matches("[y/N]").count(), 1, "{rest}");

    assert_eq!(
        granted(&project),
        json!({"secrets": {"inject": {"webhook-token": "vault:acme-hook"}}, "ui": {"progress": true}})
    );
    assert!(text(&project).contains(COMMENT));
    let mut client = project.serve();
    let report = client.call("reporter__report", json!({"times": 3}))["structuredContent"].clone();
    assert_eq!(report["accepted"], json!(3), "{report}");
    // Nothing is left to be asked about but what was refused.
    let mut terminal = Terminal::open(&project, &["grant", "reporter"]);
    terminal.sees("Grant `secrets.reveal=signing-key`?");
    terminal.types("n");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    assert_eq!(rest.matches("[y/N]").count(), 1, "{rest}");
    assert!(rest.contains("nothing was changed"), "{rest}");
}

/// Who only presses Enter grants nothing.
#[test]
fn the_answer_is_no_unless_it_is_yes() {
    let project = project(REQUESTS);
    let mut terminal = add(&project);
    for asked in ["secrets.inject=webhook-token", "ui.progress"] {
        terminal.sees(&format!("Grant `{asked}`?"));
        terminal.types("\r");
    }
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    assert_eq!(granted(&project), json!({}));
    let mut client = project.serve();
    let report = client.call("reporter__report", json!({"times": 3}))["structuredContent"].clone();
    assert_eq!(report["refused"], json!(3), "{report}");

    // A grant at a terminal holds for a server that runs.
    let mut terminal = Terminal::open(&project, &["grant", "reporter"]);
    terminal.sees("Grant `secrets.inject=webhook-token`?");
    terminal.types("n");
    terminal.sees("Grant `ui.progress`?");
    terminal.types("y");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    let report = client.call("reporter__report", json!({"times": 3}))["structuredContent"].clone();
    assert_eq!(report["accepted"], json!(3), "{report}");
    assert!(text(&project).contains(COMMENT));
}

#[test]
fn who_leaves_in_the_middle_changes_nothing() {
    let project = project(REQUESTS);
    let before = text(&project);
    let mut terminal = add(&project);
    terminal.sees("Grant `secrets.inject=webhook-token`?");
    terminal.types("y");
    terminal.sees("Which secret of the vault");
    terminal.types("\u{3}");
    let (code, rest) = terminal.ends();
    assert_ne!(code, 0, "{rest}");
    assert_eq!(text(&project), before);
    assert!(!project.path().join("portreeve.lock").exists());
}

/// An interrupt at a question leaves a terminal whose cursor shows.
#[test]
fn an_interrupt_leaves_the_cursor_shown() {
    let project = project(REQUESTS);
    let before = text(&project);
    let mut terminal = add(&project);
    terminal.sees("Grant `secrets.inject=webhook-token`?");
    terminal.types("\u{3}");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 130, "{rest:?}");
    assert!(rest.contains("\u{1b}[?25h"), "{rest:?}");
    assert_eq!(text(&project), before);
}

/// Where nobody can be asked, nothing is granted, and nothing waits.
#[test]
fn without_a_terminal_nothing_is_granted() {
    let project = project(REQUESTS);
    let path = project.path().join("reporter");
    let added = project.run(&["add", path.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(added.status.success(), "{shown}");
    assert!(!shown.contains("Grant `"), "{shown}");
    assert_eq!(granted(&project), json!({}));
}

/// A component that asks for more than was agreed to is not run before somebody agrees.
#[test]
fn a_new_version_that_asks_for_more_is_agreed_to_at_a_terminal() {
    let project = project("[requests.ui]\nprogress = \"show it\"\n");
    let mut terminal = add(&project);
    terminal.sees("Grant `ui.progress`?");
    terminal.types("y");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");

    build(&project, "1.1.0", REQUESTS);
    let stopped = project.run(&["call", "reporter__report", "--arg", "times=1"]);
    assert!(!stopped.status.success());
    let before = text(&project);
    let refuse = |answer: &str| {
        let mut terminal = Terminal::open(&project, &["grant", "reporter"]);
        terminal.sees("asks for more than was agreed to");
        terminal.sees("+ secrets.inject webhook-token");
        terminal.sees("May it ask for that?");
        terminal.types(answer);
        terminal
    };
    let (code, rest) = refuse("\r").ends();
    assert_ne!(code, 0, "{rest}");
    assert!(rest.contains("nothing was changed"), "{rest}");
    assert_eq!(text(&project), before);
    assert!(
        !project
            .run(&["call", "reporter__report", "--arg", "times=1"])
            .status
            .success()
    );

    let mut terminal = refuse("y");
    terminal.sees("Grant `secrets.inject=webhook-token`?");
    terminal.types("n");
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    // Agreed to, and granted what it was before.
    assert_eq!(granted(&project), json!({"ui": {"progress": true}}));
    let called = project.run(&["call", "reporter__report", "--arg", "times=1"]);
    assert!(
        called.status.success(),
        "{}",
        String::from_utf8_lossy(&called.stderr)
    );
}

#[test]
fn what_is_not_granted_yet_is_the_next_step() {
    let project = project("[requests.ui]\nprogress = \"show it\"\n");
    let said = |arguments: &[&str]| String::from_utf8(project.run(arguments).stdout).unwrap();
    let reporter = project.path().join("reporter");
    let reporter = reporter.to_str().unwrap();
    let added = said(&["add", reporter]);
    assert!(
        added.contains("next: `portreeve grant reporter`"),
        "{added}"
    );
    let looked = said(&["doctor"]);
    let expected = "reporter: 1 of 1 request is not granted; `portreeve grant reporter`";
    assert!(looked.contains(expected), "{looked}");
    let added = said(&["add", reporter, "--alias", "second", "--yes"]);
    assert!(added.contains("next: `portreeve list`"), "{added}");
    assert!(!said(&["doctor"]).contains("second: "));
    // Each finding stands there once.
    let added = said(&["add", programs::ECHO, "--alias", "bare"]);
    assert_eq!(added.matches("licence-unknown").count(), 1, "{added}");
}
