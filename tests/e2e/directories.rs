//! Directories of the operator's machine in plugins' hands, from end to end: granted, used,
//! narrowed in the middle of a call, taken away, and on record.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Client, Project, eventually, plugin};
use crate::web::{done, records, said};

/// A project with a directory `notes` in which there is a file, granted as `more` says.
fn granting(more: &str) -> Project {
    let project = Project::with(&format!(
        "{}grants.directories = [{{ path = \"/notes\", from = \"notes\"{more} }}]\n",
        plugin("files", programs::DIRECTORIES)
    ));
    fs::create_dir(notes(&project)).unwrap();
    fs::write(notes(&project).join("a"), "one two").unwrap();
    project
}

fn notes(project: &Project) -> PathBuf {
    project.path().join("notes")
}

fn structured(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let result = client.call(tool, arguments);
    assert_ne!(result["isError"], json!(true), "{result}");
    result["structuredContent"].clone()
}

fn steps(client: &mut Client, steps: Value) -> Vec<Value> {
    let done = structured(client, "files__run", json!({"steps": steps}));
    done["done"].as_array().unwrap().clone()
}

#[test]
fn a_directory_is_used_as_far_as_it_is_granted() {
    let project = granting("");
    let mut server = project.serve();
    let read = json!([["open", "a", "/notes", "a", "r"], ["read", "a", 0, 9]]);
    assert_eq!(steps(&mut server, read)[1]["ok"][0], "one two");
    let write = json!([["open", "a", "/notes", "a", "w"], ["why"]]);
    let refused = steps(&mut server, write.clone());
    assert_eq!(refused[0]["error"], "not-permitted");
    let why = refused[1]["ok"].as_str().unwrap();
    for part in [
        "`files` may not read and change what is in /notes",
        "portreeve.toml:",
        r#"grants.directories = [{ path = "/notes", from = "DIRECTORY", write = true }]"#,
        "portreeve grant files 'directories=/notes:DIRECTORY:write'",
    ] {
        assert!(why.contains(part), "{part} in {why}");
    }

    // What the sentence says is what helps.
    let granted = project.run(&["grant", "files", "directories=/notes:notes:write"]);
    assert!(done(&granted).contains("in force now"));
    assert_eq!(steps(&mut server, write)[0], json!({"ok": null}));
    let shown = done(&project.run(&["list", "--grants"]));
    assert!(shown.contains("notes"), "{shown}");

    let out = json!([["open", "x", "/notes", "../portreeve.toml", "r"], ["why"]]);
    let out = steps(&mut server, out);
    assert_eq!(out[0]["error"], "not-permitted");
    assert!(out[1]["ok"].as_str().unwrap().contains("leads out of it"));
    assert!(server.close());

    let refusals = records(&project, "refusal");
    let items: Vec<_> = refusals.iter().map(|it| &it["body"]["item"]).collect();
    assert_eq!(items, ["/notes (read and write)", "/notes (outside)"]);
    let calls = records(&project, "call");
    assert_eq!(calls[0]["body"]["directories"]["read"], 7, "{}", calls[0]);
    assert_eq!(calls[1]["body"]["refused"]["directories"], 1);
}

#[test]
fn a_revoke_ends_handles_and_streams_of_calls_that_run() {
    let project = granting(", write = true");
    let mut server = project.serve();
    // It reads for some seconds, byte by byte, through handles that it has kept.
    let mut given = vec![
        json!(["open", "a", "/notes", "a", "rw"]),
        json!(["reading", "s", "a", 0]),
        json!(["next", "s", 1]),
        json!(["mkdir", "/notes", "begun"]),
    ];
    given.push(json!(["repeat", 400_000, ["read", "a", 0, 1]]));
    given.extend([
        json!(["next", "s", 1]),
        json!(["write", "a", 0, "x"]),
        json!(["open", "n", "/notes", "a", "r"]),
    ]);
    let call = json!({"name": "files__run", "arguments": {"steps": given}});
    let running = server.ask("tools/call", call);
    eventually("it has begun", || notes(&project).join("begun").exists());
    done(&project.run(&["revoke", "files", "directories"]));
    let answer = server.answer(running)["result"]["structuredContent"].clone();
    let answers = answer["done"].as_array().unwrap();
    assert_eq!(answers[2]["ok"], "o");
    for last in answers.iter().rev().take(4) {
        assert_eq!(last["error"], "not-permitted");
    }
    assert_eq!(
        fs::read_to_string(notes(&project).join("a")).unwrap(),
        "one two"
    );
    let mounted = structured(&mut server, "files__mounted", json!({}));
    assert_eq!(mounted["names"], json!([]));
}

#[test]
fn the_hosts_own_files_can_not_be_granted() {
    let project = granting("");
    symlink("..", notes(&project).join("up")).unwrap();
    symlink("../.portreeve", notes(&project).join("state")).unwrap();
    let mut server = project.serve();
    let before = fs::read_to_string(project.manifest()).unwrap();
    for (from, why) in [
        (".", "portreeve.toml"),
        ("..", "portreeve.toml"),
        ("/", "everything"),
        (".portreeve", "state"),
        (".portreeve/logs", "state"),
        // By what they are, not by how they are called.
        ("notes/up", "portreeve.toml"),
        ("notes/state", "state"),
        ("notes/state/logs", "state"),
    ] {
        let argument = format!("directories=/notes:{from}");
        let refused = project.run(&["grant", "files", &argument]);
        assert!(!refused.status.success(), "{from}");
        let said = said(&refused);
        assert!(
            said.contains("can't be granted") && said.contains(why),
            "{from}: {said}"
        );
        assert!(said.contains("portreeve.toml:"), "{from}: {said}");
    }
    assert_eq!(fs::read_to_string(project.manifest()).unwrap(), before);

    // A directory that becomes such a one later is refused when it is used.
    fs::rename(notes(&project), project.path().join("was")).unwrap();
    symlink(".portreeve", notes(&project)).unwrap();
    let mounted = structured(&mut server, "files__mounted", json!({}));
    assert_eq!(mounted["names"], json!([]));
    assert!(
        mounted["why"]
            .as_str()
            .unwrap()
            .contains("the project's state")
    );
    fs::remove_file(notes(&project)).unwrap();
    let mounted = structured(&mut server, "files__mounted", json!({}));
    let why = mounted["why"].as_str().unwrap();
    assert!(
        why.contains("`notes`") && why.contains("portreeve.toml:"),
        "{why}"
    );
}

#[test]
fn limits_are_told_with_the_setting_that_raises_them() {
    let project = granting(", write = true");
    let text = fs::read_to_string(project.manifest()).unwrap();
    let limits = "limits = { written = \"10 B\", files = 1, open-files = 3 }\n";
    fs::write(project.manifest(), format!("{text}{limits}")).unwrap();
    let mut server = project.serve();
    for (given, setting) in [
        (
            json!([
                ["open", "n", "/notes", "n", "rwc"],
                ["write", "n", 5, "abcdef"],
                ["why"]
            ]),
            "written",
        ),
        (
            json!([["mkdir", "/notes", "d"], ["mkdir", "/notes", "e"], ["why"]]),
            "files",
        ),
        (
            json!([
                ["open", "a", "/notes", "a", "r"],
                ["open", "b", "/notes", "a", "r"],
                ["open", "c", "/notes", "a", "r"],
                ["why"]
            ]),
            "open-files",
        ),
    ] {
        let done = steps(&mut server, given);
        let [.., over, why] = done.as_slice() else {
            panic!("{done:?}");
        };
        assert_eq!(over["error"], "quota", "{done:?}");
        let why = why["ok"].as_str().unwrap();
        let told = format!("the setting `{setting}` in its `limits` ([plugins.files] in");
        assert!(why.contains(&told), "{why}");
    }
}
