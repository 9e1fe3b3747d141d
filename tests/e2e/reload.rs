//! A manifest that changes while the host runs.

use std::path::Path;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Project, eventually, plugin};

const CHANGED: &str = "notifications/tools/list_changed";

#[test]
fn a_changed_manifest_changes_the_tools() {
    let project = Project::of(&[("one", programs::ECHO)]);
    let mut client = project.serve();
    assert!(client.tools().contains(&"one__echo".to_owned()));
    project.write(&format!(
        "{}{}",
        plugin("one", programs::ECHO),
        plugin("two", programs::STATE)
    ));
    client.notification(CHANGED);
    assert!(client.tools().contains(&"two__count".to_owned()));
    assert_eq!(
        client.call("two__count", json!({}))["structuredContent"]["count"],
        json!(1)
    );
    project.write(&plugin("two", programs::STATE));
    client.notification(CHANGED);
    assert!(!client.tools().contains(&"one__echo".to_owned()));
}

#[test]
fn a_manifest_with_mistakes_changes_nothing() {
    let project = Project::of(&[("one", programs::ECHO)]);
    let mut client = project.serve();
    let tools = client.tools();
    project.write("[plugins.one]\nsuorce = \"x\"\n");
    eventually("the mistake is told", || {
        client.stderr().iter().any(|line| line.contains("suorce"))
    });
    assert_eq!(client.tools(), tools);
    assert!(client.text("one__echo", json!({"a": 1})).contains("\"a\""));
    // And is taken up again once it is mended.
    project.write(&plugin("mended", programs::ECHO));
    client.notification(CHANGED);
    assert!(client.tools().contains(&"mended__echo".to_owned()));
}

#[test]
fn a_component_that_appears_later_is_noticed() {
    let project = Project::with(&plugin("late", "made/later/tool.wasm"));
    let mut client = project.serve();
    assert_eq!(client.tools(), Vec::<String>::new());
    let dir = project.path().join("made/later");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(programs::ECHO, dir.join("tool.wasm")).unwrap();
    eventually("its tools are there", || {
        client.tools().contains(&"late__echo".to_owned())
    });
}

#[test]
fn a_tool_whose_words_changed_is_withheld_until_that_is_agreed_to() {
    let project = Project::with("");
    let component = project.path().join("tool.wasm");
    std::fs::copy(programs::ECHO, &component).unwrap();
    project.write(&plugin("one", component.to_str().unwrap()));
    let mut client = project.serve();
    assert!(client.tools().contains(&"one__echo".to_owned()));
    // Beside and renamed, as builds do.
    let next = project.path().join("next.wasm");
    std::fs::copy(programs::ECHO_OTHER, &next).unwrap();
    std::fs::rename(&next, &component).unwrap();
    client.notification(CHANGED);
    let tools = client.tools();
    assert_eq!(tools, ["one__echo_structured", "one__more"]);
    let refused = client.call("one__echo", json!({}));
    let told = refused["content"][0]["text"].as_str().unwrap();
    assert!(told.contains("portreeve grant one --agree"), "{told}");
    // Its operator sees that, why, and what to do.
    let shown = |words: &[&str]| String::from_utf8(project.run(words).stdout).unwrap();
    let read = |words: &[&str]| serde_json::from_str::<Value>(&shown(words)).unwrap();
    for command in [&["list"], &["status"]] {
        let shown = shown(command);
        let line = shown
            .split("WITHHELD")
            .nth(1)
            .unwrap_or_else(|| panic!("{command:?}: {shown}"));
        for word in [
            "echo: it has another description",
            "`portreeve grant one --agree`",
        ] {
            assert!(line.contains(word), "{command:?}: {shown}");
        }
    }
    let listed = &read(&["list", "--json"])["plugins"][0]["withheld"];
    let expected = json!([{
        "plugin": "one",
        "name": "one__echo",
        "reason": "it has another description, other schemas, icons or tasks than those that were agreed to",
        "command": "portreeve grant one --agree",
    }]);
    assert_eq!(*listed, expected);
    assert_eq!(read(&["status", "--json"])["host"]["withheld"], expected);
    // It stays so after a restart.
    assert!(client.close());
    let mut client = project.serve();
    assert!(!client.tools().contains(&"one__echo".to_owned()));
    let agreed = project.run(&["grant", "one", "--agree"]);
    assert!(agreed.status.success(), "{agreed:?}");
    eventually("it is offered", || {
        client.tools().contains(&"one__echo".to_owned())
    });
    for command in [&["list"], &["status"]] {
        let shown = shown(command);
        assert!(!shown.contains("WITHHELD"), "{command:?}: {shown}");
    }
    // The former one is as much another one now.
    std::fs::copy(programs::ECHO, &next).unwrap();
    std::fs::rename(&next, &component).unwrap();
    eventually("it is withheld again", || {
        client.tools() == ["one__echo_structured"]
    });
}

#[test]
fn inspecting_a_plugin_shows_which_of_its_tools_are_withheld() {
    let project = Project::with("");
    let dir = project.path().join("one");
    std::fs::create_dir_all(&dir).unwrap();
    let manifest =
        "schema = 1\n[plugin]\nid = \"one\"\nversion = \"0.1.0\"\nlicense = \"Apache-2.0\"\n";
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    let licence = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../LICENSE");
    std::fs::copy(licence, dir.join("LICENSE")).unwrap();
    let build = |component: &str| {
        let built = project.run(&["build", dir.to_str().unwrap(), "--component", component]);
        assert!(built.status.success(), "{built:?}");
    };
    let inspect = |more: &[&str]| {
        let output = project.run(&[&["inspect", "one"], more].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    build(programs::ECHO);
    project.write(&plugin("one", dir.to_str().unwrap()));
    assert!(project.serve().close());
    assert!(!inspect(&[]).contains("WITHHELD"));
    build(programs::ECHO_OTHER);
    let shown = inspect(&[]);
    let line = "\nWITHHELD\n  echo: it has another description, other schemas, icons or tasks than those that were agreed to; `portreeve grant one --agree` lets it through\n";
    assert!(shown.contains(line), "{shown}");
    let read: Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    assert_eq!(read["withheld"][0]["name"], "echo", "{read}");
    // One that its operator does not show is not missed.
    let hidden = format!(
        "{}expose = {{ except = [\"echo\"] }}\n",
        plugin("one", dir.to_str().unwrap())
    );
    project.write(&hidden);
    assert!(!inspect(&[]).contains("WITHHELD"));
}

#[test]
fn calls_in_flight_finish_on_what_they_began_with() {
    let project = Project::of(&[("sleep", programs::SLEEP)]);
    let mut client = project.serve();
    client.text("sleep__sleep", json!({"ms": 1}));
    let id = client.ask(
        "tools/call",
        json!({"name": "sleep__sleep", "arguments": {"ms": 1_500}}),
    );
    project.write(&plugin("other", programs::ECHO));
    client.notification(CHANGED);
    assert!(!client.tools().contains(&"sleep__sleep".to_owned()));
    assert_eq!(client.answer(id)["result"]["content"][0]["text"], "slept");
}

#[test]
fn a_revoked_grant_bites_in_a_running_call() {
    let granted = format!(
        "{}grants.ui.progress = true\n",
        plugin("p", programs::PROGRESS)
    );
    let project = Project::with(&granted);
    let mut client = project.serve();
    client.call("p__report", json!({"times": 1}));
    let id = client.ask(
        "tools/call",
        json!({"name": "p__report", "arguments": {"times": 40, "pause_ms": 100}}),
    );
    client.request("ping", json!({}));
    project.write(&plugin("p", programs::PROGRESS));
    let answer = client.answer(id)["result"]["structuredContent"].clone();
    assert!(answer["accepted"].as_u64() > Some(0), "{answer}");
    assert!(answer["refused"].as_u64() > Some(0), "{answer}");
}

#[test]
fn a_component_that_is_built_again_is_taken_up() {
    let project = Project::none();
    let path = project.path().join("plugin.wasm");
    std::fs::copy(programs::ECHO, &path).unwrap();
    project.write(&plugin("p", path.to_str().unwrap()));
    let mut client = project.serve();
    assert!(client.text("p__echo", json!({"a": 1})).contains("\"a\""));
    let beside = project.path().join("new.wasm");
    std::fs::copy(programs::STATE, &beside).unwrap();
    std::fs::rename(beside, &path).unwrap();
    client.notification(CHANGED);
    assert_eq!(
        client.call("p__count", json!({}))["structuredContent"]["count"],
        json!(1)
    );
}

/// Where heads of the audit log go is taken up like all else.
#[test]
fn heads_go_where_the_file_says_now() {
    let project = Project::none();
    let told = |name: &str| {
        let text = std::fs::read_to_string(project.path().join(name)).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"mac\"")).count()
    };
    let to = |name: &str| {
        let file = project.path().join(name);
        format!(
            "[audit]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
            file.display()
        )
    };
    project.write(&format!("{}{}", to("first"), plugin("one", programs::ECHO)));
    let mut client = project.serve();
    eventually("a head goes to the first", || told("first") > 0);
    project.write(&format!(
        "{}{}",
        to("second"),
        plugin("two", programs::ECHO)
    ));
    client.notification(CHANGED);
    eventually("a head goes to the second", || told("second") > 0);
}
