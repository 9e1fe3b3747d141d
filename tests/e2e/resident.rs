//! Resident instances, from `plugin.toml` to their end.

use serde_json::{Value, json};

use crate::post::{self, Post, act, dead, reason, seen};
use crate::support::{Client, Project, eventually};
use crate::web::{done, records};

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

/// The results of calls that are under way, in whatever order they end.
fn answers(client: &mut Client, asked: &[u64]) -> Vec<Value> {
    let mut results = Vec::new();
    while results.len() < asked.len() {
        let message = client.message();
        if message["id"].as_u64().is_some_and(|id| asked.contains(&id)) {
            results.push(message["result"].clone());
        }
    }
    results
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
    let answers = answers(&mut client, &asked);
    let mut trapped = 0;
    for answer in answers
        .iter()
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

/// What would wait for itself is refused before it waits, and on record with the way.
#[test]
fn one_that_asks_itself_is_refused() {
    let project = post::project(
        "[messages]\nattempts = 1",
        &[resident(""), Post::fresh("helper")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["keeper", "helper"]);
    turns(&mut client);
    let refused = act(&mut client, "keeper", "ask keeper.x hello");
    assert_eq!(reason(&refused), "circle", "{refused}");
    assert!(
        refused.to_string().contains("keeper -> keeper"),
        "{refused}"
    );
    // Through somebody else as well, who is told.
    let refused = act(
        &mut client,
        "keeper",
        "ask helper.x ask-within 60000 keeper.x hello",
    );
    assert!(
        refused.to_string().contains("helper -> keeper -> helper"),
        "{refused}"
    );
    // While it handles a message.
    done(&project.run(&["bus", "publish", "keeper.x", "ask keeper.x hello"]));
    let mut letters = Vec::new();
    eventually("it is a dead letter", || {
        letters = dead(&project);
        !letters.is_empty()
    });
    assert!(
        letters[0]["detail"].as_str().unwrap().contains("(circle)"),
        "{letters:?}"
    );
    let audit = done(&project.run(&["audit", "search", "--kind", "refusal"]));
    assert!(audit.contains("keeper.x (keeper -> keeper)"), "{audit}");
    // It answers others, and can ask them.
    let answer = act(&mut client, "helper", "ask keeper.x hello");
    assert_eq!(answer["content"][0]["text"], "hello", "{answer}");
    let answer = act(&mut client, "keeper", "ask helper.x hello");
    assert_eq!(answer["content"][0]["text"], "hello", "{answer}");
}

/// Both are busy, and each asks the other: one is refused, so that the other is answered.
#[test]
fn of_two_that_ask_each_other_one_is_refused() {
    let other = Post {
        alias: "other",
        resident: true,
        table: "",
    };
    let project = post::project("", &[resident(""), other]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["keeper", "other"]);
    turns(&mut client);
    seen(&mut client, "other");
    let asked = [("keeper", "other"), ("other", "keeper")].map(|(asker, asked)| {
        let what = format!("after 1500 ask {asked}.x hello");
        let tool = format!("{asker}__act");
        let params = json!({"name": tool, "arguments": {"what": what}});
        client.ask("tools/call", params)
    });
    let results = answers(&mut client, &asked);
    let (refused, answered): (Vec<_>, Vec<_>) = results
        .iter()
        .partition(|result| result["isError"] == json!(true));
    assert_eq!((refused.len(), answered.len()), (1, 1), "{results:?}");
    assert_eq!(reason(refused[0]), "circle");
    assert_eq!(answered[0]["content"][0]["text"], "hello");
}

/// Fresh instances have places, too: a ring of them is refused where they end, not after its
/// time.
#[test]
fn a_ring_that_finds_no_place_is_refused() {
    let few = Post {
        alias: "few",
        resident: false,
        table: "limits = { concurrent-calls = 3 }",
    };
    let project = post::project("", &[few]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["few"]);
    let refused = act(&mut client, "few", "ring few.x few.x");
    assert_eq!(reason(&refused), "circle", "{refused}");
    assert!(refused.to_string().contains("few -> few"), "{refused}");
    let answer = act(&mut client, "few", "ask few.x ask few.x hello");
    assert_eq!(answer["content"][0]["text"], "hello", "{answer}");
}

/// Records of instances that were told of their end.
fn stops(project: &Project) -> Vec<Value> {
    let mut stops = records(project, "call");
    stops.retain(|call| call["body"]["instance"] == "stop");
    stops
}

/// When a component takes the place of another, the former one is told, and may do what it could
/// before; what is revoked with the same change it may do no more.
#[test]
fn the_former_component_stops_under_what_is_left_of_its_grants() {
    let table = "config = { stop = \"publish end.x 1 bye\" }";
    let project = post::project("", &[resident(table)]);
    let mut client = project.serve();
    turns(&mut client);
    post::pack(&project, &resident(table), "1.1.0", "keeper.wasm");
    let mut last = None;
    eventually("the next one has what the former one kept", || {
        let result = client.call("keeper__seen", json!({}));
        last = kept(&result["structuredContent"]);
        last.is_some()
    });
    assert!(last.is_some_and(|turns| turns >= 1));
    let mut stops = Vec::new();
    eventually("the former one's end is on record", || {
        stops = self::stops(&project);
        !stops.is_empty()
    });
    assert_eq!(stops.len(), 1, "{stops:?}");
    assert_eq!(records(&project, "refusal"), Vec::<Value>::new());
    assert_eq!(stops[0]["body"]["published"], json!({"end.x": 1}));

    // Both at once: the next component, and no more publishing.
    post::pack(&project, &resident(table), "1.2.0", "next.wasm");
    let text = std::fs::read_to_string(project.manifest()).unwrap();
    let text = text
        .replace("schema = 1\n", "")
        .replace("keeper.wasm", "next.wasm");
    let text = text.replace("publish = [\">\"], ", "");
    project.write(&text);
    let mut last = stops.len();
    eventually("the next one is told of its end", || {
        last = self::stops(&project).len();
        last == 2
    });
    let refused = records(&project, "refusal");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["body"]["item"], "end.x", "{refused:?}");
    let last = &self::stops(&project)[1];
    assert_eq!(last["body"]["storage"]["changes"], 1, "{last}");
}

/// One that does not stop has its time and no more, and that is on record.
#[test]
fn one_that_does_not_stop_is_left_after_its_time() {
    // Not one that spins: where that is quick, its fuel ends before its time.
    let table = "config = { stop = \"sleep 60000\" }";
    let project = post::project("", &[resident(table)]);
    let mut client = project.serve();
    turns(&mut client);
    post::pack(&project, &resident(table), "1.1.0", "keeper.wasm");
    let mut last = Vec::new();
    eventually("it is left", || {
        last = stops(&project);
        !last.is_empty()
    });
    assert_eq!(last[0]["body"]["error"], "timeout", "{last:?}");
    assert!(turns(&mut client) >= 1);
    // The same when the host ends.
    assert!(client.close());
    assert_eq!(stops(&project).len(), 2);
}
