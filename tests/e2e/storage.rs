//! What plugins keep, from end to end: over a host that is killed, apart from each other, within
//! what is granted, and in their operator's hands.

use std::io::Write as _;
use std::process::{Output, Stdio};

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Client, Project, eventually, plugin};
use crate::web::{done, records, said};

/// A project in which `notes` may keep so much.
fn keeping(size: &str) -> Project {
    Project::with(&entry("notes", size))
}

fn entry(alias: &str, size: &str) -> String {
    format!(
        "{}grants.storage.kv = {size:?}\n",
        plugin(alias, programs::KV)
    )
}

fn structured(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let result = client.call(tool, arguments);
    assert_ne!(result["isError"], json!(true), "{result}");
    result["structuredContent"].clone()
}

fn error(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let result = client.call(tool, arguments);
    assert_eq!(result["isError"], json!(true), "{result}");
    result["_meta"]["portreeve/error"].clone()
}

fn set(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "expected": null})
}

#[test]
fn what_was_acknowledged_survives_a_host_that_is_killed() {
    let project = keeping("1 MiB");
    for round in 0..3 {
        let mut server = project.serve();
        for number in 0..20 {
            let key = format!("{round}/{number}");
            structured(&mut server, "notes__set", set(&key, "x"));
        }
        // Some more is on its way.
        for number in 20..30 {
            let arguments = set(&format!("{round}/{number}"), "x");
            let call = json!({"name": "notes__set", "arguments": arguments});
            server.ask("tools/call", call);
        }
        server.kill();
    }
    let mut server = project.serve();
    for round in 0..3 {
        let listed = json!({"prefix": format!("{round}/"), "limit": 100});
        let listed = structured(&mut server, "notes__list", listed);
        let listed = listed["entries"].as_array().unwrap();
        let keys: Vec<_> = listed
            .iter()
            .map(|info| info["key"].as_str().unwrap())
            .collect();
        for number in 0..20 {
            let key = format!("{round}/{number}");
            assert!(keys.contains(&&*key), "{key} is lost: {keys:?}");
        }
    }
    let used = structured(&mut server, "notes__used", json!({}));
    let keys = used["keys"].as_u64().unwrap();
    assert!((60..=90).contains(&keys), "{used}");
}

#[test]
fn plugins_never_see_what_others_keep() {
    let project = Project::with(&format!(
        "{}{}{}grants.storage.kv = \"1 MiB\"\n",
        entry("one", "1 MiB"),
        entry("two", "1 MiB"),
        plugin("other", programs::KEYVALUE),
    ));
    let mut server = project.serve();
    structured(&mut server, "one__set", set("key", "of one"));
    let get = json!({"key": "key"});
    for (tool, arguments) in [
        ("two__get", get.clone()),
        ("two__stat", get.clone()),
        ("other__get", json!({"bucket": "", "key": "key"})),
        ("other__get", json!({"bucket": "one", "key": "key"})),
        ("other__get", json!({"bucket": "../one", "key": "key"})),
    ] {
        let found = structured(&mut server, tool, arguments);
        assert_eq!(found["found"], Value::Null, "{tool}: {found}");
    }
    structured(&mut server, "two__set", set("key", "of two"));
    let deleted = json!({"key": "key", "expected": null});
    structured(&mut server, "two__delete", deleted);
    let found = structured(&mut server, "one__get", get);
    assert_eq!(found["found"]["value"], "of one");
    for (tool, keys) in [("one__used", 1), ("two__used", 0)] {
        assert_eq!(
            structured(&mut server, tool, json!({}))["keys"],
            json!(keys)
        );
    }
}

/// Keys are texts and nothing else: no path, no pattern, no statement, and no two are one.
#[test]
fn keys_of_every_shape_are_kept_apart() {
    let project = keeping("1 MiB");
    let mut server = project.serve();
    let long = "k".repeat(1_024);
    let keys = [
        "a",
        "A",
        "a ",
        " a",
        "a\0",
        "a\0b",
        "\0",
        "..",
        "../a",
        "/a",
        "a//b",
        "a/b",
        "%",
        "_",
        "a%",
        "a_",
        "[a]*?",
        "'; DROP TABLE kv; --",
        "\"\\",
        "\r\n",
        "\u{1b}[2J",
        "\u{202e}a",
        "\u{e9}",
        "e\u{301}",
        "\u{10ffff}",
        "\u{1f469}\u{200d}\u{1f52c}",
        &long,
    ];
    for (number, key) in keys.iter().enumerate() {
        structured(&mut server, "notes__set", set(key, &number.to_string()));
    }
    let listed = |server: &mut Client, prefix: &str| -> Vec<String> {
        let asked = json!({"prefix": prefix, "limit": 100});
        let page = structured(server, "notes__list", asked);
        let entries = page["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let beginning = |prefix: &str| -> Vec<String> {
        let mut found: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        found.sort_unstable();
        found.into_iter().map(|key| (*key).to_owned()).collect()
    };
    for prefix in [
        "", "a", "%", "_", "a%", "a_", "..", "[a]", "\0", "a\0", "e", "'",
    ] {
        assert_eq!(listed(&mut server, prefix), beginning(prefix), "{prefix:?}");
    }
    for (number, key) in keys.iter().enumerate() {
        let found = structured(&mut server, "notes__get", json!({"key": key}));
        assert_eq!(found["found"]["value"], number.to_string(), "{key:?}");
    }
    for (number, key) in keys.iter().enumerate() {
        let deleted = json!({"key": key, "expected": null});
        assert_eq!(
            structured(&mut server, "notes__delete", deleted)["was"],
            true,
            "{key:?}"
        );
        assert_eq!(listed(&mut server, "").len(), keys.len() - number - 1);
    }
}

#[test]
fn a_quota_is_told_with_the_setting_that_raises_it() {
    let project = Project::with(&format!(
        "{}limits = {{ keys = 40, value = \"1 KiB\" }}\n",
        entry("notes", "20 KiB")
    ));
    let mut server = project.serve();
    let fill = |bytes: u64, keys: u64| json!({"prefix": "k", "bytes": bytes, "keys": keys});
    let filled = structured(&mut server, "notes__fill", fill(1_024, 100));
    assert_eq!(filled["keys"], json!(19), "{filled}");
    assert_eq!(filled["reason"], "storage");
    let told = filled["failure"].as_str().unwrap();
    for part in [
        "may keep 20 KiB",
        "`grants.storage.kv` under [plugins.notes] (portreeve.toml:2)",
        "portreeve grant notes",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let filled = structured(&mut server, "notes__fill", fill(1_025, 1));
    assert!(
        filled["failure"].as_str().unwrap().contains("`value`"),
        "{filled}"
    );
    // More is granted, and used at once.
    done(&project.run(&["grant", "notes", "storage.kv=10 MiB"]));
    let filled = structured(&mut server, "notes__fill", fill(1_024, 100));
    assert_eq!(filled["keys"], json!(40), "{filled}");
    assert_eq!(filled["reason"], "limit-keys");
    assert!(
        filled["failure"].as_str().unwrap().contains("`keys`"),
        "{filled}"
    );
    let used = structured(&mut server, "notes__used", json!({}));
    assert_eq!((&used["keys"], &used["keys_max"]), (&json!(40), &json!(40)));
    assert_eq!(used["bytes_max"], json!(10 << 20));
    assert!(server.close());
    let calls = records(&project, "call");
    let storage = &calls[0]["body"]["storage"];
    assert_eq!(storage["changes"], json!(19), "{storage}");
}

#[test]
fn no_more_is_kept_than_is_asked_for() {
    let project = Project::with("");
    let dir = project.path().join("keeper");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("plugin.toml"),
        "schema = 1\n[plugin]\nid = \"keeper\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n[requests.storage]\nkv = \"4 KiB\"\nreason = \"remember things\"\n",
    )
    .unwrap();
    std::fs::write(dir.join("LICENSE"), "MIT License\n").unwrap();
    let path = dir.to_str().unwrap();
    done(&project.run(&["build", path, "--component", programs::KV]));
    let checked = done(&project.run(&["check", path]));
    assert!(!checked.contains("warning"), "{checked}");
    let added = done(&project.run(&["add", path]));
    assert!(added.contains("keep up to 4 KiB"), "{added}");
    let refused = project.run(&["call", "keeper__get", "--arg", "key=k"]);
    let told = said(&refused);
    assert!(!refused.status.success(), "{told}");
    for part in [
        "`keeper` may not keep up to 4 KiB",
        "`grants.storage.kv = \"4 KiB\"`",
        "portreeve grant keeper",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(records(&project, "refusal").len(), 1);
    // A grant of more than that is one of that.
    done(&project.run(&["grant", "keeper", "storage.kv=1 MiB"]));
    let mut server = project.serve();
    let used = structured(&mut server, "keeper__used", json!({}));
    assert_eq!(used["bytes_max"], json!(4_096));
    let fill = json!({"prefix": "k", "bytes": 1_024, "keys": 9});
    let filled = structured(&mut server, "keeper__fill", fill);
    assert_eq!(filled["keys"], json!(3), "{filled}");
    let told = filled["failure"].as_str().unwrap();
    assert!(told.contains("its author has to ask for more"), "{told}");
    // And one of less is of less.
    done(&project.run(&["revoke", "keeper", "storage.kv"]));
    done(&project.run(&["grant", "keeper", "storage.kv=1 KiB"]));
    let fill = json!({"prefix": "k", "bytes": 1_024, "keys": 9});
    let filled = structured(&mut server, "keeper__fill", fill);
    assert_eq!(filled["keys"], json!(0), "{filled}");
    // What is there can still be read and deleted.
    let get = json!({"key": "k0"});
    assert_ne!(
        structured(&mut server, "keeper__get", get)["found"],
        Value::Null
    );
    let delete = json!({"key": "k0", "expected": null});
    assert_eq!(
        structured(&mut server, "keeper__delete", delete)["was"],
        json!(true)
    );
}

#[test]
fn a_revoke_bites_in_a_call_that_runs() {
    let project = keeping("1 MiB");
    let mut server = project.serve();
    let beat = json!({"key": "n", "times": 300, "pause_ms": 20});
    let beating = server.ask(
        "tools/call",
        json!({"name": "notes__beat", "arguments": beat}),
    );
    eventually("it has counted", || {
        let exported = project.run(&["data", "export", "notes"]);
        !exported.stdout.is_empty()
    });
    done(&project.run(&["revoke", "notes", "storage.kv"]));
    let answer = server.answer(beating)["result"]["structuredContent"].clone();
    let counted = answer["done"].as_u64().unwrap();
    assert!(counted > 0 && counted < 300, "{answer}");
    let failure = answer["failure"].as_str().unwrap();
    assert!(failure.contains("grants.storage.kv"), "{failure}");
    let refused = error(&mut server, "notes__get", json!({"key": "n"}));
    assert_eq!(refused["code"], "permission-denied", "{refused}");
    // What was kept is there again with the grant.
    done(&project.run(&["grant", "notes", "storage.kv=1 MiB"]));
    let found = structured(&mut server, "notes__get", json!({"key": "n"}));
    assert_eq!(found["found"]["value"], json!(counted.to_string()));
    assert!(server.close());
    let calls = records(&project, "call");
    assert_eq!(
        calls[0]["body"]["refused"]["storage.kv"],
        json!(300 - counted)
    );
}

#[test]
fn calls_that_swap_at_once_lose_nothing() {
    let project = keeping("1 MiB");
    let mut server = project.serve();
    let asked: Vec<_> = (0..8)
        .map(|number| {
            let (tool, arguments) = match number % 2 {
                0 => ("notes__swap", json!({"key": "swapped", "times": 25})),
                _ => (
                    "notes__beat",
                    json!({"key": "added", "times": 25, "pause_ms": 0}),
                ),
            };
            server.ask("tools/call", json!({"name": tool, "arguments": arguments}))
        })
        .collect();
    for _ in &asked {
        let answer = server.message();
        assert_ne!(answer["result"]["isError"], json!(true), "{answer}");
    }
    for key in ["swapped", "added"] {
        let found = structured(&mut server, "notes__get", json!({"key": key}));
        assert_eq!(found["found"]["value"], "100", "{key}");
    }
}

#[test]
fn a_value_ends_with_its_time() {
    let project = keeping("1 MiB");
    let mut server = project.serve();
    let mut soon = set("soon", "x");
    soon["ttl_ms"] = json!(1_500);
    structured(&mut server, "notes__set", soon);
    structured(&mut server, "notes__set", set("late", "x"));
    let found = structured(&mut server, "notes__get", json!({"key": "soon"}));
    assert!(found["found"]["expires"].as_u64().is_some(), "{found}");
    eventually("it ends", || {
        structured(&mut server, "notes__get", json!({"key": "soon"}))["found"] == Value::Null
    });
    let listed = json!({"prefix": "", "limit": 10});
    let listed = structured(&mut server, "notes__list", listed);
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    let absent = json!({"key": "soon", "value": "new", "expected": "absent"});
    structured(&mut server, "notes__set", absent);
}

#[test]
fn the_sdk_keeps_what_it_says() {
    let project = Project::with(&format!(
        "{}grants.storage.kv = \"1 MiB\"\nlimits = {{ timeout = \"60s\" }}\n",
        plugin("sdk", programs::SDK_KV)
    ));
    let mut server = project.serve();
    let mut all = structured(&mut server, "sdk__all", json!({}));
    let seconds = all.as_object_mut().unwrap().remove("seconds").unwrap();
    assert!((90..=100).contains(&seconds.as_u64().unwrap()), "{seconds}");
    assert_eq!(
        all,
        json!({
            "listed": 1_200,
            "last": "n/1199",
            "conflict": true,
            "sum": -2,
            "left": 0,
            "json": [1, 2],
        })
    );
}

fn import(project: &Project, arguments: &[&str], lines: &str) -> Output {
    let mut child = project
        .portreeve(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads no further is no failure of this.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_kept_goes_out_in_and_away_by_the_operators_hand() {
    let project = Project::with(&format!(
        "{}{}{}grants.storage.kv = \"10 MiB\"\n",
        entry("notes", "10 MiB"),
        entry("tiny", "1 KiB"),
        plugin("other", programs::KEYVALUE),
    ));
    let mut server = project.serve();
    let keys = 1_250;
    let fill = json!({"prefix": "k", "bytes": 3, "keys": keys});
    structured(&mut server, "notes__fill", fill);
    structured(&mut server, "notes__set", set("a\u{1b}[31m\u{202e}", "é"));
    let in_bucket = json!({"bucket": "b", "key": "k", "value": "v"});
    structured(&mut server, "other__set", in_bucket);

    // Asked of the host that runs, and the same without one.
    let export = |alias: &str| {
        let exported = project.run(&["data", "export", alias]);
        done(&exported);
        String::from_utf8(exported.stdout).unwrap()
    };
    let exported = export("notes");
    assert!(server.close());
    assert_eq!(export("notes"), exported);
    assert_eq!(exported.lines().count(), keys + 1);
    assert!(!exported.contains('\u{1b}') && !exported.contains('\u{202e}'));
    let first: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        json!({"key": "a\u{1b}[31m\u{202e}", "value": "w6k="})
    );
    assert_eq!(
        export("other"),
        "{\"bucket\":\"b\",\"key\":\"k\",\"value\":\"dg==\"}\n"
    );

    let unsure = project.run(&["data", "clear", "notes"]);
    assert_eq!(unsure.status.code(), Some(2), "{}", said(&unsure));
    let cleared = done(&project.run(&["data", "clear", "notes", "--yes", "--json"]));
    let cleared: Value = serde_json::from_str(&cleared).unwrap();
    assert_eq!(cleared["keys"], json!(keys + 1), "{cleared}");
    assert_eq!(export("notes"), "");
    let told = done(&import(&project, &["data", "import", "notes"], &exported));
    assert!(told.contains(&format!("{} entries", keys + 1)), "{told}");
    assert_eq!(export("notes"), exported);
    let file = project.path().join("other.jsonl");
    std::fs::write(&file, export("other")).unwrap();
    let into_notes = ["data", "import", "notes", file.to_str().unwrap()];
    done(&project.run(&into_notes));
    assert_eq!(export("notes").lines().count(), keys + 2);

    // Within what is granted, and all of a part or nothing.
    for (alias, lines, says) in [
        ("tiny", &*exported, "may keep 1 KiB"),
        ("nobody", &exported, "there is no plugin `nobody`"),
        (
            "tiny",
            "{\"key\":\"\",\"value\":\"\"}",
            "keys have 1 to 1024",
        ),
        (
            "tiny",
            "{\"key\":\"k\",\"value\":\"!\"}",
            "line 1 of standard input",
        ),
        ("tiny", "nonsense", "line 1 of standard input"),
    ] {
        let refused = import(&project, &["data", "import", alias], lines);
        assert!(!refused.status.success(), "{alias}");
        assert!(said(&refused).contains(says), "{}", said(&refused));
    }
    assert_eq!(export("tiny"), "");
    let nobody = project.run(&["data", "export", "nobody"]);
    assert!(
        said(&nobody).contains("there is no plugin"),
        "{}",
        said(&nobody)
    );

    // What a plugin kept stays when it is removed, until it is cleared.
    done(&project.run(&["remove", "other"]));
    assert_eq!(export("other").lines().count(), 1);
    done(&project.run(&["data", "clear", "other", "--yes"]));
    let gone = project.run(&["data", "export", "other"]);
    assert!(!gone.status.success(), "{}", said(&gone));

    let cleared = records(&project, "data-clear");
    assert_eq!(cleared[0]["plugin"], "notes");
    assert_eq!(cleared[0]["body"]["keys"], json!(keys + 1));
    assert_eq!(
        records(&project, "data-import")[0]["body"]["keys"],
        json!(1_000)
    );
    assert!(records(&project, "data-export").len() > 5);
    done(&project.run(&["audit", "verify"]));
}
