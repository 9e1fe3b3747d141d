//! The network of plugins from end to end: granted, used, revoked, limited, and on record; with
//! credentials that no plugin sees.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Project, eventually, plugin};
use crate::web::{Server, done, records, set_secret};

/// Stands in the secret, and in nothing that a guest gets, or that is kept or said.
const CANARY: &str = "CANARY-77ab-net";

fn server() -> Server {
    Server::start(|port, path| match path {
        "/away" => (
            302,
            format!("location: http://localhost:{port}/open\r\n"),
            String::new(),
        ),
        "/broken" => (503, String::new(), "later".to_owned()),
        "/large" => (200, String::new(), "x".repeat(100_000)),
        _ => (200, String::new(), "hello".to_owned()),
    })
}

/// What came of a request of the test program's.
fn send(client: &mut crate::support::Client, request: Value) -> Value {
    let result = client.call("web__send", json!({ "request": request }));
    assert_ne!(result["isError"], json!(true), "{result}");
    result["structuredContent"].clone()
}

fn with_grants(grants: &str) -> Project {
    Project::with(&format!("{}{grants}\n", plugin("web", programs::HTTP)))
}

#[test]
fn what_is_granted_is_reached_and_nothing_else() {
    let server = server();
    let project = with_grants("");
    let mut client = project.serve();
    let open = json!({"url": server.url("/open/a")});

    // Nothing is granted: which line of which file would allow it, and the command.
    let answer = send(&mut client, open.clone());
    assert_eq!(answer["error"], "ErrorCode::HttpRequestDenied", "{answer}");
    let told = answer["host"].to_string();
    assert!(told.contains("portreeve.toml:2"), "{told}");
    assert!(told.contains("portreeve grant web"), "{told}");

    // The rule alone opens no special address.
    let rule = format!("network=GET http://127.0.0.1:{}/open/**", server.port);
    done(&project.run(&["grant", "web", &rule]));
    let answer = send(&mut client, open.clone());
    assert_eq!(
        answer["error"], "ErrorCode::DestinationIpProhibited",
        "{answer}"
    );
    assert!(
        answer["host"].to_string().contains("addresses=127.0.0.1"),
        "{answer}"
    );
    assert_eq!(server.heads().len(), 0);

    done(&project.run(&["grant", "web", "addresses=127.0.0.1"]));
    let answer = send(&mut client, open.clone());
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(200), &json!("hello"))
    );
    for other in [
        json!({"url": server.url("/other")}),
        json!({"url": server.url("/open/../other")}),
        json!({"url": server.url("/open/%2e%2e/other")}),
        json!({"url": server.url("/open/a"), "method": "POST"}),
        json!({"url": format!("http://localhost:{}/open/a", server.port)}),
        json!({"url": format!("http://127.0.0.1:{}/open/a", server.port + 1)}),
    ] {
        let answer = send(&mut client, other.clone());
        assert_eq!(
            answer["error"], "ErrorCode::HttpRequestDenied",
            "{other}: {answer}"
        );
    }
    assert_eq!(server.heads().len(), 1);

    // A revoke bites in the middle of a call.
    let sending = client.ask(
        "tools/call",
        json!({"name": "web__send_again", "arguments": {"request": open, "times": 200, "pause_ms": 20}}),
    );
    eventually("some were sent", || server.heads().len() >= 5);
    done(&project.run(&["revoke", "web", "network"]));
    let answer = client.answer(sending)["result"]["structuredContent"].clone();
    let answers = answer["answers"].as_array().unwrap();
    let sent = answers
        .iter()
        .take_while(|answer| answer["status"] == 200)
        .count();
    assert!((4..200).contains(&sent), "{sent}");
    let refused = answers.iter().skip(sent);
    assert!(
        refused
            .clone()
            .all(|answer| answer["error"] == "ErrorCode::HttpRequestDenied")
    );

    // Counted, on record, and shown.
    let status = done(&project.run(&["status"]));
    assert!(status.contains("web has made"), "{status}");
    assert!(client.close());
    let refusals = records(&project, "refusal");
    assert!(refusals.len() >= 8, "{refusals:?}");
    assert_eq!(refusals[0]["body"]["capability"], "network");
    let calls = records(&project, "call");
    let last = &calls.last().unwrap()["body"];
    // One more where the revoke came in the middle of a body.
    let refused = last["refused"]["network"].as_u64().unwrap() as usize;
    assert!((200 - sent..=201 - sent).contains(&refused), "{last}");
    let requests = last["network"]["requests"].as_u64().unwrap() as usize;
    assert!((sent..=sent + 1).contains(&requests), "{last}");
}

#[test]
fn a_redirect_is_a_request_of_its_own() {
    let server = server();
    let project = Project::with(&format!(
        "{}grants.network = [\"GET http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\", \"::1\"]\n",
        plugin("web", programs::SDK_HTTP),
        server.port
    ));
    let mut client = project.serve();
    let result = client.call(
        "web__send",
        json!({"method": "GET", "url": server.url("/away")}),
    );
    assert_eq!(result["isError"], json!(true), "{result}");
    assert!(result.to_string().contains("localhost"), "{result}");
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn requests_of_a_call_are_counted() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"GET http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ requests = 3 }}",
        server.port
    ));
    let mut client = project.serve();
    let again = json!({"request": {"url": server.url("/a")}, "times": 5, "pause_ms": 0});
    let result = client.call("web__send_again", again);
    let answers = result["structuredContent"]["answers"]
        .as_array()
        .unwrap()
        .clone();
    let sent = answers
        .iter()
        .filter(|answer| answer["status"] == 200)
        .count();
    assert_eq!(sent, 3, "{answers:?}");
    let told = answers[4]["host"].to_string();
    assert!(told.contains("requests"), "{told}");
    assert!(client.close());
    let limits = records(&project, "limit");
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert_eq!(limits[0]["body"]["setting"], "requests");
}

#[test]
fn bytes_that_a_call_receives_are_counted() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"GET http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ received = \"20 KiB\" }}",
        server.port
    ));
    let mut client = project.serve();
    let answer = send(
        &mut client,
        json!({"url": server.url("/large"), "read": 200_000}),
    );
    assert!(answer["host"].to_string().contains("received"), "{answer}");
}

#[test]
fn bytes_that_a_call_sends_are_counted() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"* http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ sent = \"20 KiB\" }}",
        server.port
    ));
    let mut client = project.serve();
    let request = json!({"url": server.url("/a"), "method": "POST", "fill": 200_000});
    let answer = send(&mut client, request);
    assert!(answer["host"].to_string().contains("sent"), "{answer}");
}

/// What was used of the day is not given back by a restart.
#[test]
fn requests_of_a_day_are_counted() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"GET http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ requests-a-day = 3 }}",
        server.port
    ));
    let get = json!({"url": server.url("/a")});
    for _ in 0..3 {
        let mut client = project.serve();
        assert_eq!(send(&mut client, get.clone())["status"], 200);
        assert!(client.close());
    }
    let mut client = project.serve();
    let answer = send(&mut client, get);
    assert!(
        answer["host"].to_string().contains("requests-a-day"),
        "{answer}"
    );
    assert_eq!(server.heads().len(), 3);
}

#[test]
fn traffic_of_a_day_is_counted() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"GET http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ traffic-a-day = \"150 KiB\" }}",
        server.port
    ));
    let mut client = project.serve();
    let get = json!({"url": server.url("/large"), "read": 200_000});
    assert_eq!(send(&mut client, get.clone())["bytes"], 100_000);
    let answer = send(&mut client, get);
    assert!(
        answer["host"].to_string().contains("traffic-a-day"),
        "{answer}"
    );
}

#[test]
fn connections_of_a_plugin_are_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Nobody is hung up on.
        let _all: Vec<_> = listener.incoming().collect();
    });
    let project = Project::with(&format!(
        "{}grants.sockets = [\"tcp {address}\"]\ngrants.addresses = [\"127.0.0.1\"]\nlimits = {{ connections = 4 }}\n",
        plugin("sockets", programs::SOCKETS),
    ));
    let mut client = project.serve();
    let result = client.call(
        "sockets__hoard",
        json!({"address": address.to_string(), "again": true}),
    );
    let answer = &result["structuredContent"];
    assert_eq!(
        (&answer["opened"], &answer["again"]),
        (&json!(4), &json!(true)),
        "{result}"
    );
    assert!(
        answer["host"].to_string().contains("connections"),
        "{answer}"
    );
}

#[test]
fn sockets_reach_what_is_granted_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut piece = [0; 1_024];
            while let Ok(read @ 1..) = stream.read(&mut piece) {
                stream.write_all(&piece[..read]).unwrap();
            }
        }
    });
    let project = Project::with(&format!(
        "{}grants.sockets = [\"tcp {address}\"]\ngrants.addresses = [\"127.0.0.1\"]\n",
        plugin("sockets", programs::SOCKETS),
    ));
    let mut client = project.serve();
    let mut exchange = |address: String| {
        let result = client.call(
            "sockets__exchange",
            json!({"address": address, "bytes": 1_000}),
        );
        result["structuredContent"].clone()
    };
    let answer = exchange(address.to_string());
    assert_eq!(answer["ok"], 1_000, "{answer}");
    let answer = exchange(format!("127.0.0.1:{}", address.port() ^ 1));
    assert!(
        answer["host"].to_string().contains("grants.sockets"),
        "{answer}"
    );
    assert!(client.close());
    let refusals = records(&project, "refusal");
    assert_eq!(refusals[0]["body"]["capability"], "sockets");
}

/// Builds a plugin that asks for a credential.
fn build(project: &Project, server: &Server) {
    let dir = project.path().join("web");
    std::fs::create_dir_all(&dir).unwrap();
    let port = server.port;
    let manifest = format!(
        "schema = 1\n[plugin]\nid = \"web\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [[requests.network]]\nallow = \"GET http://127.0.0.1:{port}/**\"\nreason = \"read\"\n\
         [[requests.network]]\nallow = \"GET http://127.0.0.1:{port}/private/**\"\ncredential = \"key\"\nreason = \"read what is yours\"\n\
         [[requests.addresses]]\nallow = \"127.0.0.1\"\nreason = \"it is there\"\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    std::fs::write(dir.join("LICENSE"), "MIT License\n").unwrap();
    done(&project.run(&[
        "build",
        dir.to_str().unwrap(),
        "--component",
        programs::HTTP,
    ]));
}

#[test]
fn a_placeholder_becomes_the_secret_in_headers_and_the_query() {
    let server = server();
    let project = Project::with(&format!(
        "{}grants.network = [\"POST http://127.0.0.1:{}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\n\
         grants.secrets = {{ inject = {{ token = \"vault:bot\" }} }}\n",
        plugin("web", programs::SDK_HTTP),
        server.port
    ));
    set_secret(&project, "bot", CANARY);
    let mut client = project.serve();
    let arguments = json!({"url": server.url("/hook"), "name": "token"});
    let placeholder = client.text("web__send_secret", arguments.clone());
    assert!(!placeholder.contains(CANARY), "{placeholder}");
    let head = server.heads().remove(0);
    let expected = format!(
        "POST /hook/{placeholder}?key={}",
        CANARY.replace('-', "%2D")
    );
    assert!(head.starts_with(&expected), "{head}");
    assert!(head.contains(&format!("x-key: Key {CANARY}")), "{head}");
    // Whoever is sent it can hand it back, so that the operator must have named them.
    done(&project.run(&["revoke", "web", "network"]));
    done(&project.run(&["grant", "web", "network=POST http://*:*/**"]));
    let refused = client
        .call("web__send_secret", arguments.clone())
        .to_string();
    assert!(
        refused.contains("goes only to hosts that a granted rule names"),
        "{refused}"
    );
    assert_eq!(server.heads().len(), 1);
    let rule = format!("network=POST http://127.0.0.1:{}/**", server.port);
    done(&project.run(&["grant", "web", &rule]));
    // The placeholder of one call is nothing to another.
    let other = client.text("web__send_secret", arguments);
    assert_ne!(other, placeholder);
    assert!(client.close());
    // Each is on record as given out, and as sent to where it went.
    let uses = records(&project, "secret-use");
    let places: Vec<_> = uses
        .iter()
        .map(|used| used["body"]["to"].as_str())
        .collect();
    let to = server.url("");
    assert_eq!(places, [None, Some(&*to), None, None, Some(&*to)]);
}

#[test]
fn a_credential_is_added_where_it_was_asked_for_and_seen_by_nobody_else() {
    let server = server();
    let project = Project::with("");
    build(&project, &server);
    set_secret(&project, "bot", CANARY);
    let web = project.path().join("web");
    done(&project.run(&["add", web.to_str().unwrap()]));
    let rule = format!("network=GET http://127.0.0.1:{}/**", server.port);
    done(&project.run(&["grant", "web", &rule, "addresses=127.0.0.1"]));

    let mut client = project.serve();
    let private = json!({"url": server.url("/private/a"), "headers": [["authorization", "mine"]]});
    // Asked for, and not granted: refused, rather than sent without.
    let answer = send(&mut client, private.clone());
    assert!(
        answer["host"].to_string().contains("credentials=key:NAME"),
        "{answer}"
    );
    assert_eq!(server.heads().len(), 0);

    done(&project.run(&["grant", "web", "credentials=key:bot"]));
    let answer = send(&mut client, private.clone());
    assert_eq!(answer["status"], 200, "{answer}");
    let heads = server.heads();
    assert_eq!(
        heads[0]
            .matches(&format!("authorization: Bearer {CANARY}"))
            .count(),
        1,
        "{heads:?}"
    );
    assert!(!heads[0].contains("mine"), "{heads:?}");
    assert!(!answer.to_string().contains(CANARY), "{answer}");
    // Elsewhere it is not added, and what the guest writes is what is sent.
    send(
        &mut client,
        json!({"url": server.url("/a"), "headers": [["authorization", "mine"]]}),
    );
    let heads = server.heads();
    assert!(heads[1].contains("authorization: mine"), "{heads:?}");

    done(&project.run(&["revoke", "web", "credentials"]));
    send(&mut client, private);
    assert_eq!(server.heads().len(), 2);
    assert!(client.close());
    let uses = records(&project, "secret-use");
    assert_eq!(uses.len(), 1, "{uses:?}");
    assert_eq!(uses[0]["body"]["secret"], "bot");
    assert_eq!(uses[0]["body"]["to"], server.url(""));
    for log in ["guest.log", "host.log"] {
        let path = project.path().join(".portreeve/logs").join(log);
        assert!(
            !std::fs::read_to_string(path)
                .unwrap_or_default()
                .contains(CANARY)
        );
    }
}

#[test]
fn the_care_of_an_origin_is_shown() {
    let server = server();
    let project = with_grants(&format!(
        "grants.network = [\"GET http://127.0.0.1:{0}/**\"]\ngrants.addresses = [\"127.0.0.1\"]\n\
         [network.origins.\"http://127.0.0.1:{0}\"]\nattempts = 3\nbreaker = {{ failures = 3, pause = \"1h\" }}",
        server.port
    ));
    let mut client = project.serve();
    let broken = json!({"url": server.url("/broken")});
    assert_eq!(send(&mut client, broken.clone())["status"], 503);
    assert_eq!(server.heads().len(), 3);
    // The origin is left alone now.
    let answer = send(&mut client, broken);
    assert!(answer["error"].is_string(), "{answer}");
    assert_eq!(server.heads().len(), 3);
    let status = done(&project.run(&["status"]));
    assert!(
        status.contains("2 retries") && status.contains("OPEN"),
        "{status}"
    );
}
