//! Messages between plugins, from a feed on a server of this machine to a digest.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Project;
use crate::web::{Server, done, said};
use crate::web_plugins::built;

const FEED: &str = "<rss><channel><title>Port</title>
    <item><guid>2</guid><title>Two *ships*</title><link>http://127.0.0.1/2</link></item>
    <item><guid>1</guid><title>One ship</title><link>http://127.0.0.1/1</link></item>
    </channel></rss>";

fn server() -> Server {
    Server::start(|_, path| match path {
        "/feed.xml" => (
            200,
            "content-type: application/rss+xml\r\n".to_owned(),
            FEED.to_owned(),
        ),
        _ => (404, String::new(), String::new()),
    })
}

/// Asks again until something is so.
fn until(what: &str, mut is: impl FnMut() -> Option<String>) {
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < Duration::from_secs(120) {
        match is() {
            None => return,
            Some(now) => last = now,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: {last}");
}

/// A project with both plugins and all that they ask for, but for what is left out.
fn project(server: &Server, grants: &[&str]) -> Project {
    let project = Project::with("");
    for name in ["feed-watcher", "digest-writer"] {
        let package = built(&project, name);
        done(&project.run(&["add", package.to_str().unwrap()]));
    }
    let manifest = std::fs::read_to_string(project.manifest()).unwrap();
    let table = "[plugins.feed-watcher]\n";
    assert!(manifest.contains(table), "{manifest}");
    let feeds = format!(
        "{table}config = {{ feeds = [\"{}\"] }}\n",
        server.url("/feed.xml")
    );
    std::fs::write(project.manifest(), manifest.replace(table, &feeds)).unwrap();
    let rule = format!("network=GET {}", server.url("/**"));
    let watcher = [
        "grant",
        "feed-watcher",
        &rule,
        "addresses=127.0.0.1",
        "storage.kv=1 MiB",
    ];
    done(&project.run(&watcher));
    done(&project.run(&["grant", "digest-writer", "storage.kv=4 MiB"]));
    for grant in grants {
        let (plugin, grant) = grant.split_once(' ').unwrap();
        done(&project.run(&["grant", plugin, grant]));
    }
    project
}

#[test]
fn a_feed_becomes_a_digest() {
    let server = server();
    let project = project(
        &server,
        &[
            "feed-watcher messages.publish=feeds.item",
            "digest-writer messages.subscribe=feeds.item",
        ],
    );
    let serving = project.serve();
    until("it subscribes", || {
        let stats = done(&project.run(&["bus", "stats"]));
        (!stats.contains("digest-writer subscribes to feeds.item")).then_some(stats)
    });
    let checked = done(&project.run(&["call", "feed-watcher__check"]));
    assert!(checked.contains('2'), "{checked}");
    until("the digest has both", || {
        let digest = done(&project.run(&["call", "digest-writer__read"]));
        let whole = digest.contains("# 2 items")
            && digest.contains("- [One ship](<http://127.0.0.1/1>)")
            && digest.contains("- [Two \\*ships\\*](<http://127.0.0.1/2>)");
        (!whole).then_some(digest)
    });
    // What was published is published once.
    let again = done(&project.run(&["call", "feed-watcher__check", "--json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    assert!(again.to_string().contains("\"published\":0"), "{again}");
    let status = done(&project.run(&["status"]));
    assert!(status.contains("2 handled"), "{status}");
    // What is no item is a dead letter, which can be seen and dropped.
    done(&project.run(&["bus", "publish", "feeds.item", "no item"]));
    let mut id = String::new();
    until("a dead letter", || {
        let list = done(&project.run(&["bus", "dead", "list", "--json"]));
        let list: Value = serde_json::from_str(&list).unwrap();
        id = list[0]["id"].as_str().unwrap_or("").to_owned();
        id.is_empty().then(|| list.to_string())
    });
    let shown = done(&project.run(&["bus", "dead", "show", &id]));
    assert!(shown.contains("rejected by digest-writer"), "{shown}");
    assert!(shown.contains("no item"), "{shown}");
    done(&project.run(&["bus", "dead", "drop", &id]));
    assert!(done(&project.run(&["bus", "dead", "list"])).contains("no dead letters"));
    let audit = done(&project.run(&["audit", "search", "--kind", "bus-dead-drop"]));
    assert!(audit.contains("bus-dead-drop"), "{audit}");
    assert!(serving.close());
}

#[test]
fn an_edge_is_granted_on_both_sides() {
    let server = server();
    let project = project(&server, &["digest-writer messages.subscribe=feeds.item"]);
    let checked = said(&project.run(&["call", "feed-watcher__check"]));
    for part in [
        "messages.publish",
        "portreeve grant feed-watcher",
        "feeds.item",
    ] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
    let audit = done(&project.run(&["audit", "search", "--kind", "refusal"]));
    assert!(audit.contains("messages.publish"), "{audit}");
    // What nobody asked for is granted to nobody.
    let output = project.run(&["grant", "feed-watcher", "messages.subscribe=feeds.item"]);
    assert!(!output.status.success(), "{}", said(&output));
}

/// Published without a host, it waits for one; and over its end.
#[test]
fn what_is_published_waits_for_a_host() {
    let server = server();
    let project = project(&server, &["digest-writer messages.subscribe=feeds.item"]);
    let serving = project.serve();
    until("it subscribes", || {
        let stats = done(&project.run(&["bus", "stats"]));
        (!stats.contains("digest-writer subscribes")).then_some(stats)
    });
    assert!(serving.close());
    let item = r#"{"feed": "f", "id": "1", "title": "Waiting", "link": ""}"#;
    done(&project.run(&["bus", "publish", "feeds.item", item]));
    assert!(done(&project.run(&["bus", "stats"])).contains("1 wait"));
    let serving = project.serve();
    until("the digest has it", || {
        let digest = done(&project.run(&["call", "digest-writer__read"]));
        (!digest.contains("Waiting")).then_some(digest)
    });
    assert!(serving.close());
}
