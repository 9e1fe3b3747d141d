//! Plugins that misuse messages: nobody else suffers, and nothing is lost without being told.

use serde_json::json;

use crate::post::{self, Post, act, dead, reason};
use crate::support::{Project, eventually};
use crate::web::{done, said};

fn with(alias: &'static str, table: &'static str) -> Post<'static> {
    Post {
        alias,
        resident: false,
        table,
    }
}

/// Messages that `good` has handled.
fn handled(client: &mut crate::support::Client) -> u64 {
    let result = client.call("good__kept", json!({"key": "handled"}));
    let text = result["content"][0]["text"].as_str().unwrap_or("0");
    text.parse().unwrap_or(0)
}

fn publish(project: &Project, topic: &str, text: &str, times: usize) {
    for _ in 0..times {
        done(&project.run(&["bus", "publish", topic, text]));
    }
}

fn a_bad_subscriber(what: &str, table: &'static str, says: &str) {
    let project = post::project(
        "[messages]\nattempts = 2",
        &[with("bad", table), Post::fresh("good")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["bad", "good"]);
    publish(&project, "bad.x", what, 3);
    publish(&project, "good.x", "hello", 3);
    eventually("the good one has its own", || handled(&mut client) == 3);
    let mut letters = Vec::new();
    eventually("the bad one's are dead letters", || {
        letters = dead(&project);
        letters.len() == 3
    });
    for letter in &letters {
        assert_eq!(
            (&letter["plugin"], &letter["attempts"]),
            (&json!("bad"), &json!(2))
        );
        assert!(
            letter["detail"].as_str().unwrap().contains(says),
            "{letter}"
        );
    }
    // It can still be called, and told what it can do.
    assert_ne!(act(&mut client, "bad", "hello")["isError"], json!(true));
    publish(&project, "bad.x", "hello", 1);
    eventually("it is handled", || {
        let stats = done(&project.run(&["bus", "stats"]));
        !stats.contains("1 wait")
    });
    assert_eq!(dead(&project).len(), 3);
}

#[test]
fn a_subscriber_that_traps_on_every_message() {
    a_bad_subscriber("trap", "", "gave up");
}

#[test]
fn a_subscriber_that_never_returns() {
    a_bad_subscriber(
        "spin",
        "limits = { timeout = \"300ms\" }",
        "took longer than",
    );
    a_bad_subscriber(
        "sleep 60000",
        "limits = { timeout = \"300ms\" }",
        "took longer than",
    );
}

#[test]
fn a_storm_is_refused_by_its_publishers_own_quota() {
    let project = post::project(
        "[messages]\npublisher-rate = 50",
        &[Post::fresh("storm"), Post::fresh("good")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["storm", "good"]);
    let refused = act(&mut client, "storm", "publish good.x 100000 hello");
    assert_eq!(reason(&refused), "messages");
    let error = &refused["_meta"]["portreeve/error"];
    assert_eq!(error["code"], "rate-limited", "{refused}");
    assert!(
        error["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("[messages] publisher-rate"),
        "{refused}"
    );
    // Nobody else is refused, and what was published is handled.
    let published = act(&mut client, "good", "publish good.x 1 hello");
    assert_ne!(published["isError"], json!(true), "{published}");
    eventually("all is handled", || handled(&mut client) > 50);
    assert_eq!(dead(&project).len(), 0);
}

#[test]
fn a_circle_of_requests_ends_as_a_dead_letter_that_shows_its_way() {
    let project = post::project(
        "[messages]\nhops = 4",
        &[Post::fresh("a"), Post::fresh("b")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["a", "b"]);
    let refused = act(&mut client, "a", "ring b.x a.x");
    let way = "a:b.x -> b:a.x -> a:b.x -> b:a.x";
    assert!(refused.to_string().contains(way), "{refused}");
    assert_eq!(
        refused["_meta"]["portreeve/error"]["code"],
        "quota-exceeded"
    );
    let letters = dead(&project);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["reason"], "hops");
    assert!(
        letters[0]["detail"].as_str().unwrap().contains(way),
        "{letters:?}"
    );
}

#[test]
fn a_circle_of_messages_ends_as_a_dead_letter_that_shows_its_way() {
    let project = post::project(
        "[messages]\nhops = 4",
        &[Post::fresh("a"), Post::fresh("b")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["a", "b"]);
    let text =
        "publish b.x 1 publish a.x 1 publish b.x 1 publish a.x 1 publish b.x 1 publish a.x 1 hello";
    assert_ne!(act(&mut client, "a", text)["isError"], json!(true));
    let mut letters = Vec::new();
    eventually("it is a dead letter", || {
        letters = dead(&project);
        !letters.is_empty()
    });
    assert_eq!((letters.len(), &letters[0]["reason"]), (1, &json!("hops")));
    let way = "a:b.x -> b:a.x -> a:b.x -> b:a.x";
    assert!(
        letters[0]["detail"].as_str().unwrap().contains(way),
        "{letters:?}"
    );
}

/// What an operator keeps can be delivered again, from a position or a time.
#[test]
fn what_is_kept_is_replayed_by_command() {
    let head = "[messages.topics.\"good.kept\"]\nkeep = \"1d\"";
    let project = post::project(head, &[Post::fresh("good")]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["good"]);
    publish(&project, "good.kept", "hello", 3);
    publish(&project, "good.gone", "hello", 1);
    eventually("all are handled", || handled(&mut client) == 4);
    done(&project.run(&["bus", "replay", "good", "good.kept", "--position", "2"]));
    eventually("two come again", || handled(&mut client) == 6);
    done(&project.run(&["bus", "replay", "good", "good.kept", "--from", "1h"]));
    eventually("all three come again", || handled(&mut client) == 9);
    let refused = project.run(&["bus", "replay", "good", "good.gone", "--position", "1"]);
    assert!(
        said(&refused).contains("`keep` under"),
        "{}",
        said(&refused)
    );
    let refused = project.run(&["bus", "replay", "nobody", "good.kept", "--position", "1"]);
    assert!(
        said(&refused).contains("portreeve bus stats"),
        "{}",
        said(&refused)
    );
    let audit = done(&project.run(&["audit", "search", "--kind", "bus-replay"]));
    assert!(audit.contains("good.kept"), "{audit}");
}

/// Whoever asks waits no longer than it has, and may still do without; what whoever answers
/// fails with is what the asker is told.
#[test]
fn a_request_ends_with_its_asker_and_fails_as_its_answerer() {
    let project = post::project(
        "",
        &[with("a", "limits = { timeout = \"2s\" }"), Post::fresh("b")],
    );
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["a", "b"]);
    let late = act(&mut client, "a", "ask-within 60000 b.x sleep 20000");
    let told = late["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{late}"));
    assert!(told.starts_with("no answer: "), "{late}");
    let refused = act(&mut client, "a", "ask b.x fail locked");
    assert_eq!(reason(&refused), "locked");
    assert_eq!(refused["_meta"]["portreeve/error"]["code"], "conflict");
    let trapped = act(&mut client, "a", "ask b.x trap");
    assert_eq!(reason(&trapped), "plugin-trapped");
}

fn kept(client: &mut crate::support::Client, alias: &str, key: &str) -> u64 {
    let result = client.call(&format!("{alias}__kept"), json!({ "key": key }));
    let text = result["content"][0]["text"].as_str().unwrap_or("0");
    text.parse().unwrap_or(0)
}

/// Each message has an instance of its own, unless the plugin has one for all.
#[test]
fn a_message_has_a_fresh_instance_or_the_one_that_there_is() {
    let one = Post {
        alias: "one",
        resident: true,
        table: "",
    };
    let project = post::project("", &[Post::fresh("fresh"), one]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["fresh", "one"]);
    publish(&project, "all.x", "turn", 3);
    eventually("each has handled three", || {
        kept(&mut client, "fresh", "handled") == 3 && kept(&mut client, "one", "handled") == 3
    });
    let turns =
        |client: &mut _, alias| [1, 2, 3].map(|n| kept(client, alias, &format!("turn-{n}")));
    assert_eq!(turns(&mut client, "fresh"), [3, 0, 0]);
    assert_eq!(turns(&mut client, "one"), [1, 1, 1]);
}

#[test]
fn a_publish_stands_though_its_call_fails() {
    let project = post::project("", &[Post::fresh("a"), Post::fresh("good")]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["a", "good"]);
    let failed = act(&mut client, "a", "both publish good.x 2 hello ; trap");
    assert_eq!(reason(&failed), "plugin-trapped");
    eventually("both are handled", || handled(&mut client) == 2);
}

#[test]
fn a_dead_letter_is_tried_once_more_by_command() {
    let project = post::project("[messages]\nattempts = 1", &[Post::fresh("a")]);
    let mut client = project.serve();
    post::until_they_subscribe(&project, &["a"]);
    done(&project.run(&["revoke", "a", "storage.kv"]));
    publish(&project, "a.x", "note once", 1);
    let mut letters = Vec::new();
    eventually("it is a dead letter", || {
        letters = dead(&project);
        !letters.is_empty()
    });
    done(&project.run(&["grant", "a", "storage.kv=1 MiB"]));
    let id = letters[0]["id"].as_str().unwrap();
    done(&project.run(&["bus", "dead", "retry", id]));
    eventually("it is handled", || kept(&mut client, "a", "once") == 1);
    assert_eq!(dead(&project).len(), 0);
    let again = project.run(&["bus", "dead", "retry", id]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    let audit = done(&project.run(&["audit", "search", "--kind", "bus-dead-retry"]));
    assert!(audit.contains(id), "{audit}");
}
