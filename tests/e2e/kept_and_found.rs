//! The first-party plugins that keep notes and search files, from a grant to its end: the way
//! that the README walks.

use std::fs;

use serde_json::{Value, json};

use crate::support::Project;
use crate::web::{done, said};
use crate::web_plugins::built;

#[test]
fn notes_are_kept_where_that_is_granted() {
    let project = Project::with("");
    let package = built(&project, "notes-keeper");
    let added = done(&project.run(&["add", package.to_str().unwrap()]));
    for part in [
        "keep up to 10 MiB of its own between calls",
        "show panels of its own",
    ] {
        assert!(added.contains(part), "{part}: {added}");
    }
    let call = |words: &[&str]| project.run(&[&["call", "notes-keeper"], words].concat());
    let refused = said(&call(&["add", "--arg", "text=milk"]));
    assert!(
        refused.contains("portreeve grant notes-keeper 'storage.kv="),
        "{refused}"
    );
    done(&project.run(&["grant", "notes-keeper", "storage.kv=1 MiB"]));
    done(&call(&["add", "--arg", "text=milk for the cat"]));
    done(&call(&["add", "--arg", "text=bread"]));
    let found = done(&call(&["search", "--arg", "words=cat"]));
    assert!(
        found.contains("milk for the cat") && !found.contains("bread"),
        "{found}"
    );
    done(&call(&[
        "edit",
        r#"{"number": 2, "revision": 1, "text": "butter"}"#,
    ]));
    let lost = call(&["edit", r#"{"number": 2, "revision": 1, "text": "jam"}"#]);
    assert!(!lost.status.success());
    assert!(
        said(&lost).contains("somebody changed it"),
        "{}",
        said(&lost)
    );

    // Each is a resource; the panel is one where it is granted.
    let mut client = project.serve();
    let uris = |client: &mut crate::support::Client| {
        let page = client.request("resources/list", json!({}));
        let list = page["result"]["resources"].as_array().unwrap().clone();
        let uris = list
            .iter()
            .map(|item| item["uri"].as_str().unwrap().to_owned());
        uris.collect::<Vec<_>>()
    };
    let notes = [
        "portreeve://notes-keeper/note://1",
        "portreeve://notes-keeper/note://2",
    ];
    assert_eq!(uris(&mut client), notes);
    let read = client.request("resources/read", json!({"uri": notes[1]}));
    assert_eq!(read["result"]["contents"][0]["text"], "butter", "{read}");
    let completed = client.request(
        "completion/complete",
        json!({
            "ref": {"type": "ref/resource", "uri": "portreeve://notes-keeper/note://{number}"},
            "argument": {"name": "number", "value": ""},
        }),
    );
    assert_eq!(
        completed["result"]["completion"]["values"],
        json!(["1", "2"]),
        "{completed}"
    );
    done(&project.run(&["grant", "notes-keeper", "ui.panels"]));
    assert_eq!(uris(&mut client)[0], "ui://notes-keeper/notes");
    let called = client.call("notes-keeper__delete", json!({"number": 1, "revision": 1}));
    assert_eq!(called["structuredContent"]["deleted"], 1, "{called}");
    assert_eq!(uris(&mut client).len(), 2);
}

#[test]
fn files_are_found_where_that_is_granted() {
    let project = Project::with("");
    let package = built(&project, "file-searcher");
    done(&project.run(&["add", package.to_str().unwrap()]));
    fs::create_dir_all(project.path().join("papers/2026")).unwrap();
    fs::write(
        project.path().join("papers/2026/tax.md"),
        "zebra\nThe Port is open\n",
    )
    .unwrap();
    fs::write(project.path().join("papers/note.txt"), "nothing here").unwrap();
    fs::write(project.path().join("secret.txt"), "the port's secret").unwrap();
    std::os::unix::fs::symlink("../secret.txt", project.path().join("papers/way-out.txt")).unwrap();
    let call = |words: &[&str]| project.run(&[&["call", "file-searcher"], words].concat());
    let refused = said(&call(&["search", "--arg", "text=port"]));
    assert!(refused.contains("directories"), "{refused}");

    done(&project.run(&["grant", "file-searcher", "directories=/files:papers"]));
    let found = done(&call(&["search", "--arg", "text=port"]));
    assert!(
        found.contains("2026/tax.md") && found.contains("The Port is open"),
        "{found}"
    );
    assert!(!found.contains("secret"), "{found}");
    let listed = done(&call(&["list", "--arg", "recursive=true"]));
    assert!(
        listed.contains("note.txt") && listed.contains("2026/tax.md"),
        "{listed}"
    );
    let read = done(&call(&["read", r#"{"path": "2026/tax.md", "from": 2}"#]));
    assert!(
        read.contains("The Port is open") && !read.contains("zebra"),
        "{read}"
    );
    for path in ["../secret.txt", "way-out.txt", "/etc/hostname"] {
        let refused = call(&["read", &json!({ "path": path }).to_string()]);
        assert!(!refused.status.success(), "{path}: {}", said(&refused));
    }
    done(&project.run(&["revoke", "file-searcher", "directories"]));
    let refused = said(&call(&["read", "--arg", "path=note.txt"]));
    assert!(refused.contains("not granted"), "{refused}");
    let found = done(&project.run(&["audit", "search", "--json", "--kind", "refusal"]));
    let refusals = found.lines().filter(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        record.to_string().contains("directories")
    });
    assert!(refusals.count() >= 1, "{found}");
}
