//! Resident instances, from `plugin.toml` to their end.

use serde_json::{Value, json};

use crate::post::{self, Post, act, dead, reason, seen};
use crate::support::{Client, Project, eventually};
use crate::web::done;

fn resident(table: &str) -> Post<'_> {
    Post {
        alias: "keeper",
        resident: true,
        table,
    }
}

fn status(project: &Project) -> String {
    done(&project.run(&["status"]))
}

/// Calls until the instance answers again; the turns that it remembers.
fn turns(client: &mut Client) -> u64 {
    let mut turns = 0;
    eventually("it answers", || {
        let result = client.call("keeper__seen", json!({}));
        if result["isError"] == json!(true) {
            assert_eq!(reason(&result), "restarting", "{result}");
            let error = &result["_meta"]["portreeve/error"];
            assert!(
                error["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0),
                "{result}"
            );
            return false;
        }
        turns = result["structuredContent"]["turns"].as_u64().unwrap();
        true
    });
    turns
}

/// The turns that the former instance had when it stopped.
fn kept(seen: &Value) -> Option<u64> {
    seen["kept"].as_str()?.parse().ok()
}

#[test]
fn it_remembers_is_told_of_its_end_and_shown() {
    let project = post::project("", &[resident("config = { start = \"hello\" }")]);
    let mut client = project.serve();
    eventually("it runs", || {
        status(&project).contains("keeper  instance runs since")
    });
    assert!(done(&project.run(&["list"])).contains("one instance for all calls: runs"));
    assert_eq!(turns(&mut client), 1);
    act(&mut client, "keeper", "note x");
    let mut other = project.serve();
    let now = seen(&mut other, "keeper");
    assert_eq!((&now["turns"], &now["start"]), (&json!(3), &json!("hello")));
    assert_eq!(now["kept"], Value::Null);
    // What a plugin says is no end of it.
    let failed = act(&mut client, "keeper", "fail locked");
    assert_eq!(reason(&failed), "locked");
    assert_eq!(turns(&mut other), 5);

    // Other settings are another instance; the former one is told.
    post::write(&project, "", &[resident("config = { start = \"again\" }")]);
    eventually("it is started with them", || {
        let result = client.call("keeper__seen", json!({}));
        let seen = &result["structuredContent"];
        seen["start"] == "again" && kept(seen).is_some_and(|turns| turns >= 5)
    });
    let before = turns(&mut client);
    // A change elsewhere leaves it alone.
    post::write(
        &project,
        "[host]\nlimits = { queue = 200 }",
        &[resident("config = { start = \"again\" }")],
    );
    let mut last = before;
    eventually("the change was taken up long since", || {
        let now = turns(&mut client);
        assert!(now > last, "it is the same instance");
        last = now;
        now > before + 100
    });

    drop(other);
    let last = turns(&mut client);
    assert!(client.close());
    let mut next = project.serve();
    assert_eq!(seen(&mut next, "keeper")["kept"], json!(last.to_string()));
    assert!(
        project.guest_log().contains("stopping within"),
        "{}",
        project.guest_log()
    );
    assert!(next.close());
    let audit = done(&project.run(&["audit", "search", "--kind", "call"]));
    assert!(audit.contains("start") && audit.contains("stop"), "{audit}");
}

#[test]
fn one_that_breaks_is_started_again() {
    let project = post::project("", &[resident("")]);
    let mut client = project.serve();
    assert_eq!(turns(&mut client), 1);
    // Those who wait meanwhile get an answer or are told to come again: the end of one call is
    // not theirs.
    let ask = |client: &mut Client, what: &str| {
        let params = json!({"name": "keeper__act", "arguments": {"what": what}});
        client.ask("tools/call", params)
    };
    let asked = ["sleep 300", "trap", "x", "y"].map(|what| ask(&mut client, what));
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < asked.len() {
        let message = client.message();
        if let Some(id) = message["id"].as_u64() {
            answers.insert(id, message["result"].clone());
        }
    }
    let mut trapped = 0;
    for answer in answers
        .values()
        .filter(|answer| answer["isError"] == json!(true))
    {
        match reason(answer) {
            "plugin-trapped" => trapped += 1,
            "restarting" => {}
            other => panic!("{other}: {answer}"),
        }
    }
    assert_eq!(trapped, 1, "{answers:?}");
    assert!(
        turns(&mut client) <= 3,
        "another instance remembers nothing"
    );
    assert!(
        status(&project).contains("it broke 1 times"),
        "{}",
        status(&project)
    );
}

#[test]
fn one_that_breaks_too_often_stays_down_and_says_so() {
    let project = post::project("", &[resident("limits = { restarts = 1 }")]);
    let mut client = project.serve();
    for _ in 0..2 {
        turns(&mut client);
        let broken = act(&mut client, "keeper", "trap");
        assert_eq!(reason(&broken), "plugin-trapped");
    }
    let refused = act(&mut client, "keeper", "x");
    assert_eq!(reason(&refused), "instance-failed");
    let told = refused["content"][0]["text"].as_str().unwrap();
    for part in [
        "more than 1 times",
        "portreeve logs --plugin keeper",
        "`restarts`",
        "gave up",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        status(&project).contains("keeper  instance FAILED"),
        "{}",
        status(&project)
    );
    let list = done(&project.run(&["list"]));
    assert!(list.contains("FAILED; it broke"), "{list}");
    // A change is a new beginning.
    post::write(&project, "", &[resident("limits = { restarts = 2 }")]);
    eventually("it is tried again", || {
        client.call("keeper__seen", json!({}))["isError"] != json!(true)
    });
}

#[test]
fn one_that_does_not_start_says_why() {
    let project = post::project(
        "",
        &[resident(
            "limits = { restarts = 0 }\nconfig = { start = \"fail no-key\" }",
        )],
    );
    let mut client = project.serve();
    eventually("it is given up", || status(&project).contains("FAILED"));
    let refused = act(&mut client, "keeper", "x");
    assert_eq!(reason(&refused), "instance-failed");
    assert!(
        refused.to_string().contains("it was told to fail"),
        "{refused}"
    );
    post::write(&project, "", &[resident("config = { start = \"\" }")]);
    eventually("it starts", || {
        client.call("keeper__seen", json!({}))["isError"] != json!(true)
    });
}

#[test]
fn a_full_mailbox_says_when_to_come_again() {
    let project = post::project("", &[resident("limits = { queue = 1 }")]);
    let mut client = project.serve();
    turns(&mut client);
    let asked = ["sleep 1000", "x", "y", "z"].map(|what| {
        let params = json!({"name": "keeper__act", "arguments": {"what": what}});
        client.ask("tools/call", params)
    });
    let mut refused = 0;
    let mut answered = 0;
    while answered < asked.len() {
        let message = client.message();
        if message["id"].as_u64().is_none() {
            continue;
        }
        answered += 1;
        if message["result"]["isError"] == json!(true) {
            assert_eq!(reason(&message["result"]), "limit-queue");
            let error = &message["result"]["_meta"]["portreeve/error"];
            assert!(
                error["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0),
                "{message}"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
}

#[test]
fn a_revoke_bites_in_the_instance_that_runs() {
    let project = post::project("", &[resident("")]);
    let mut client = project.serve();
    assert_ne!(act(&mut client, "keeper", "note x")["isError"], json!(true));
    done(&project.run(&["revoke", "keeper", "storage.kv"]));
    let refused = act(&mut client, "keeper", "note x");
    assert_eq!(reason(&refused), "not-granted", "{refused}");
    // It is the same instance.
    assert!(turns(&mut client) >= 3);
}

#[test]
fn it_handles_messages_in_its_turn() {
    let project = post::project(
        "[messages]\nattempts = 2",
        &[resident("limits = { restarts = 50 }")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["keeper"]);
    let before = turns(&mut client);
    for _ in 0..5 {
        done(&project.run(&["bus", "publish", "keeper.x", "hello"]));
    }
    eventually("it has handled them", || turns(&mut client) >= before + 6);
    // One that breaks it takes no other along: those wait, and are no tries.
    done(&project.run(&["bus", "publish", "keeper.x", "trap"]));
    for number in 0..5 {
        done(&project.run(&[
            "bus",
            "publish",
            "keeper.x",
            &format!("note after-{number}"),
        ]));
    }
    let mut letters = Vec::new();
    eventually("it is a dead letter", || {
        letters = dead(&project);
        !letters.is_empty()
    });
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(
        letters[0]["detail"].as_str().unwrap().contains("gave up"),
        "{letters:?}"
    );
    eventually("the others are handled", || {
        let stats = done(&project.run(&["bus", "stats"]));
        stats.contains("0 wait")
    });
    assert_eq!(dead(&project).len(), 1);
}

/// It can be asked as well; a failure of its own is the asker's.
#[test]
fn it_answers_requests() {
    let project = post::project("", &[resident(""), Post::fresh("asker")]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["asker"]);
    turns(&mut client);
    let answer = act(&mut client, "asker", "ask keeper.x hello");
    assert_eq!(answer["content"][0]["text"], "hello", "{answer}");
    let refused = act(&mut client, "asker", "ask keeper.x fail locked");
    assert_eq!(reason(&refused), "locked");
}
