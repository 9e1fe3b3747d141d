//! The host over HTTP, by clients that keep to nothing. No guest runs here.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_gateway::http::{HttpServer, Listen, Reach};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{PATIENCE, without_tasks};
use crate::project::TestProject;
use crate::wire::{GREETING, exchange, exchange_on, greet, newer, older, parse, post};

/// A host that listens on a port of this machine.
struct Served {
    project: TestProject,
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

impl Served {
    /// One with these settings under `[serve]`.
    async fn with(settings: &str) -> Served {
        let project = TestProject::open().await;
        project.settle(settings).await;
        Served::on(project)
    }

    fn on(project: TestProject) -> Served {
        let listen: Listen = "127.0.0.1:0".parse().unwrap();
        let settings = project.host.serve_settings();
        let server = HttpServer::bind(&[listen], Reach::Local, &settings, project.dir()).unwrap();
        let endpoint = server.endpoints().remove(0);
        let address = endpoint.split('/').nth(2).unwrap().parse().unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(server.serve(project.host.clone(), shutdown.clone()));
        Served {
            project,
            address,
            shutdown,
            ended,
        }
    }

    async fn end(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.ended).await.unwrap().unwrap();
    }
}

/// Reads what comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read))
        .await
        .unwrap();
    String::from_utf8(read).unwrap()
}

/// Reads what comes until it has this in it.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(count > 0, "it ended after {text:?}");
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(wanted) {
            return text;
        }
    }
}

#[tokio::test]
async fn both_eras_see_the_same_tools() {
    let served = Served::with("").await;
    let session = greet(served.address).await;
    let in_older = exchange(served.address, older(&session, "tools/list", &json!({}))).await;
    let in_newer = exchange(served.address, newer("tools/list", None, json!({}))).await;
    assert_eq!(in_older.field("content-type"), Some("application/json"));
    assert_eq!(in_newer.field("content-type"), Some("application/json"));
    assert_eq!(in_newer.field("mcp-session-id"), None);
    let (in_older, in_newer) = (in_older.message(), in_newer.message());
    assert_eq!(in_older["result"]["tools"][0]["name"], "calc__add");
    let tools = without_tasks(in_older["result"]["tools"].clone());
    assert_eq!(tools, in_newer["result"]["tools"]);
    let found = exchange(served.address, newer("server/discover", None, json!({}))).await;
    let versions = &found.message()["result"]["supportedVersions"];
    assert!(versions.as_array().unwrap().contains(&json!("2026-07-28")));
    served.end().await;
}

#[tokio::test]
async fn sessions_end_at_their_clients_wish_and_are_then_unknown() {
    let served = Served::with("").await;
    let session = greet(served.address).await;
    let other = greet(served.address).await;
    assert_ne!(session, other);
    let delete = format!(
        "DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nmcp-session-id: {session}\r\n\r\n"
    );
    assert_eq!(exchange(served.address, &delete).await.status, 204);
    assert_eq!(exchange(served.address, &delete).await.status, 404);
    let gone = exchange(served.address, older(&session, "ping", &json!({}))).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.message()["id"], 1);
    let stays = exchange(served.address, older(&other, "ping", &json!({}))).await;
    assert_eq!(stays.message()["result"], json!({}));
    let none = exchange(
        served.address,
        post(&[], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
    )
    .await;
    assert_eq!(none.status, 400);
    served.end().await;
}

#[tokio::test]
async fn idle_sessions_end() {
    let served = Served::with("session-idle = '1s'").await;
    let session = greet(served.address).await;
    let since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let answer = exchange(served.address, older(&session, "ping", &json!({}))).await;
        if answer.status == 404 {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
    }
    served.end().await;
}

#[tokio::test]
async fn thousands_of_sessions_are_bounded_and_the_idlest_gives_way() {
    let served = Served::with("sessions = 100").await;
    let kept = greet(served.address).await;
    let first = greet(served.address).await;
    let mut opened = Vec::new();
    for _ in 0..1_000 {
        opened.push(greet(served.address).await);
        let answer = exchange(served.address, older(&kept, "ping", &json!({}))).await;
        assert_eq!(answer.status, 200, "one that is used stays");
    }
    let gone = exchange(served.address, older(&first, "ping", &json!({}))).await;
    assert_eq!(gone.status, 404);
    let newest = opened.last().unwrap();
    let newest = exchange(served.address, older(newest, "ping", &json!({}))).await;
    assert_eq!(newest.status, 200);
    served.end().await;
}

#[tokio::test]
async fn a_session_hears_of_changes() {
    let served = Served::with("").await;
    let session = greet(served.address).await;
    let get = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n"
    );
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(get.as_bytes()).await.unwrap();
    until(&mut first, "text/event-stream").await;
    served.project.change(&["calc", "more"]).await;
    until(&mut first, "notifications/tools/list_changed").await;
    // A second stream takes the first one's place.
    let mut second = TcpStream::connect(served.address).await.unwrap();
    second.write_all(get.as_bytes()).await.unwrap();
    until(&mut second, "text/event-stream").await;
    until(&mut first, "0\r\n\r\n").await;
    served.project.change(&["calc"]).await;
    until(&mut second, "notifications/tools/list_changed").await;
    // The host's end ends it, too.
    served.end().await;
    rest(&mut second).await;
}

/// Listens in a session, after an event if there is one.
async fn listening(served: &Served, session: &str, after: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let get = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n{after}\r\n"
    );
    stream.write_all(get.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn what_a_session_is_told_while_nobody_listens_is_heard_by_who_comes_back() {
    let served = Served::with("").await;
    let session = greet(served.address).await;
    let mut stream = listening(&served, &session, "").await;
    until(&mut stream, "id: u1-0\nretry: 1000\ndata: \n\n").await;
    drop(stream);
    served.project.change(&["calc", "more"]).await;
    let mut back = listening(&served, &session, "last-event-id: u1-0\r\n").await;
    let told = until(&mut back, "notifications/tools/list_changed").await;
    assert!(told.contains("id: u1-1\n"), "{told}");
    // What it has seen it is not told again.
    let mut again = listening(&served, &session, "last-event-id: u1-1\r\n").await;
    until(&mut again, "id: u1-1\nretry: 1000\ndata: \n\n").await;
    until(&mut back, "0\r\n\r\n").await;
    served.project.change(&["calc"]).await;
    let told = until(&mut again, "notifications/tools/list_changed").await;
    assert!(told.contains("id: u1-2\n"), "{told}");
    // One event is named, and one that there was.
    let twice = "last-event-id: u1-1\r\nlast-event-id: u1-2\r\n";
    let mut refused = listening(&served, &session, twice).await;
    until(&mut refused, "400 Bad Request").await;
    for wrong in ["u1-3", "a1-0", "\"", "u99999999999999999999-1"] {
        let after = format!("last-event-id: {wrong}\r\n");
        let mut refused = listening(&served, &session, &after).await;
        let said = until(&mut refused, "replay-age").await;
        assert!(said.contains("400 Bad Request"), "{wrong}: {said}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_stream_that_nobody_comes_back_for_ends_and_another_one_begins() {
    let served = Served::with("replay-age = '1s'").await;
    let session = greet(served.address).await;
    let mut stream = listening(&served, &session, "").await;
    until(&mut stream, "id: u1-0\n").await;
    drop(stream);
    let since = tokio::time::Instant::now();
    loop {
        // The host looks every five seconds: that it is gone, and that it has stayed away.
        tokio::time::sleep(Duration::from_secs(11)).await;
        let mut back = listening(&served, &session, "last-event-id: u1-0\r\n").await;
        if !until(&mut back, "\ndata: \n\n")
            .await
            .contains("id: u1-0\n")
        {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
    }
    served.end().await;
}

#[tokio::test]
async fn newer_clients_listen_by_request() {
    let served = Served::with("").await;
    let listen = newer(
        "subscriptions/listen",
        None,
        json!({"notifications": {"toolsListChanged": true}}),
    );
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(listen.as_bytes()).await.unwrap();
    until(&mut stream, "notifications/subscriptions/acknowledged").await;
    served.project.change(&[]).await;
    until(&mut stream, "notifications/tools/list_changed").await;
    served.end().await;
    rest(&mut stream).await;
    // There is no stream without a request in this era.
}

#[tokio::test]
async fn bad_messages_are_refused_and_say_why() {
    let served = Served::with("depth = 20").await;
    let session = greet(served.address).await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"a":{}1{}}}}}"#,
        "[".repeat(30),
        "]".repeat(30)
    );
    let cases: &[(&str, i64)] = &[
        ("", -32700),
        (" \r\n", -32700),
        ("\u{feff}", -32700),
        ("{", -32700),
        ("\u{1}", -32700),
        ("[]", -32600),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#,
            -32600,
        ),
        (r#"{"id":1,"method":"tools/list"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1e400,"method":"tools/list"}"#,
            -32700,
        ),
        (
            r#"{"jsonrpc":"2.0","id":99999999999999999999999999,"method":"tools/list"}"#,
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}"#,
            -32700,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (&deep, -32700),
    ];
    let eras = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    for (body, code) in cases {
        for era in eras {
            let answer = exchange(served.address, post(&[era], body)).await;
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            assert_eq!(answer.message()["error"]["code"], *code, "{body}");
        }
    }
    // What is of no use is no mistake.
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/other"}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
    ] {
        for era in eras {
            let answer = exchange(served.address, post(&[era], body)).await;
            assert_eq!((answer.status, &*answer.body), (202, ""), "{body}");
        }
    }
    // A mark that other systems write before a text.
    for list in [
        older(&session, "tools/list", &json!({})),
        newer("tools/list", None, json!({})),
    ] {
        let (head, body) = list.split_once("\r\n\r\n").unwrap();
        let longer = format!("content-length: {}\r\n", body.len() + 3);
        let head = head.replace(&format!("content-length: {}\r\n", body.len()), &longer);
        let marked = format!("{head}\r\n\r\n\u{feff}{body}");
        let answer = exchange(served.address, marked).await;
        assert!(answer.message()["result"]["tools"].is_array(), "{answer:?}");
    }
    // A long id is text like any other, and comes back.
    let id = "x".repeat(100_000);
    let body = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"ping"}}"#);
    let answer = exchange(served.address, post(&[("mcp-session-id", &session)], &body)).await;
    assert_eq!(answer.message()["id"], json!(id));
    served.end().await;
}

#[tokio::test]
async fn wrong_versions_and_contradictions_are_refused() {
    let served = Served::with("").await;
    let session = greet(served.address).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for version in ["1900-01-01", "2025-11-26", "x", "9999-99-99"] {
        let fields = [
            ("mcp-session-id", &*session),
            ("mcp-protocol-version", version),
        ];
        for fields in [&fields[..], &fields[1..]] {
            let answer = exchange(served.address, post(fields, ping)).await;
            assert_eq!(answer.status, 400, "{version}: {answer:?}");
            let message = answer.message();
            assert_eq!(message["id"], 1, "{answer:?}");
            assert_eq!(message["error"]["code"], -32022, "{answer:?}");
            let data = &message["error"]["data"];
            assert_eq!(data["requested"], version, "{answer:?}");
            let supported = data["supported"].as_array().unwrap();
            assert!(supported.contains(&json!("2026-07-28")), "{answer:?}");
        }
    }
    // As is one that the message says, too.
    let discover = newer("server/discover", None, json!({})).replace("2026-07-28", "2099-01-01");
    let answer = exchange(served.address, discover).await;
    assert_eq!(
        (answer.status, &answer.message()["error"]["code"]),
        (400, &json!(-32022))
    );
    let fields = [("mcp-protocol-version", "2025-06-18")];
    let answer = exchange(served.address, post(&fields, GREETING)).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    // This version has no such method.
    let fields = [("mcp-protocol-version", "2026-07-28")];
    let answer = exchange(served.address, post(&fields, GREETING)).await;
    assert_eq!(
        (answer.status, &answer.message()["error"]["code"]),
        (404, &json!(-32601))
    );
    // The head says one thing, the body another.
    let call = newer(
        "tools/call",
        Some("calc__add"),
        json!({"name": "calc__ad", "arguments": {}}),
    );
    let answer = exchange(served.address, call).await;
    assert_eq!(
        (answer.status, &answer.message()["error"]["code"]),
        (400, &json!(-32020))
    );
    let list =
        newer("tools/list", None, json!({})).replace("mcp-method: tools/list", "mcp-method: ping");
    let answer = exchange(served.address, list).await;
    assert_eq!(
        (answer.status, &answer.message()["error"]["code"]),
        (400, &json!(-32020))
    );
    let list = newer("tools/list", None, json!({})).replace(
        "mcp-protocol-version: 2026-07-28",
        "mcp-protocol-version: 2025-11-25",
    );
    let answer = exchange(served.address, list).await;
    assert_eq!(
        (answer.status, &answer.message()["error"]["code"]),
        (400, &json!(-32020))
    );
    served.end().await;
}

#[tokio::test]
async fn requests_that_two_readers_could_read_differently_are_refused() {
    let served = Served::with("").await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n";
    let inner = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for bytes in [
        format!("{head}content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef{inner}"),
        format!("{head}content-length: +5\r\n\r\nabcde{inner}"),
        format!("{head}content-length: 5, 5\r\n\r\nabcde{inner}"),
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{inner}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{inner}"),
        format!(
            "{head} folded: yes\r\ncontent-length: {}\r\n\r\n{ping}",
            ping.len()
        ),
        format!(
            "{head}bad\u{0}name: 1\r\ncontent-length: {}\r\n\r\n{ping}",
            ping.len()
        ),
        format!(
            "{head}host: evil.example\r\ncontent-length: {}\r\n\r\n{ping}",
            ping.len()
        ),
        format!("POST http://evil.example/mcp HTTP/1.1\r\nhost: localhost\r\n\r\n{inner}"),
        format!("POST /mcp HTTP/1.1\r\n\r\n{inner}"),
        format!("POST /mcp HTTP/9.9\r\nhost: localhost\r\n\r\n{inner}"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}hello".to_owned(),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let _ = stream.write_all(bytes.as_bytes()).await;
        stream.shutdown().await.unwrap();
        let read = rest(&mut stream).await;
        assert!(
            !read.contains("ok\n"),
            "the second request was read: {bytes:?}: {read}"
        );
        if !read.is_empty() {
            let answer = parse(&read);
            assert!(
                matches!(answer.status, 400 | 403 | 505),
                "{bytes:?}: {read}"
            );
        }
    }
    served.end().await;
}

#[tokio::test]
async fn names_origins_and_media_types_are_checked() {
    let served = Served::with("").await;
    let health = "GET /healthz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n";
    let answer = exchange(served.address, health).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let ready = exchange(served.address, health.replace("healthz", "readyz")).await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        exchange(served.address, health.replace("healthz", "x"))
            .await
            .status,
        404
    );
    let greeting = post(&[], GREETING);
    for (from, to, status) in [
        ("host: localhost", "host: evil.example", 403),
        (
            "host: localhost",
            "host: localhost\r\norigin: http://evil.example",
            403,
        ),
        ("host: localhost", "host: localhost\r\norigin: null", 403),
        (
            "host: localhost",
            "host: localhost\r\norigin: http://localhost",
            200,
        ),
        ("application/json\r\naccept", "text/plain\r\naccept", 415),
        (
            "application/json\r\naccept",
            "application/json; charset=utf-16\r\naccept",
            415,
        ),
        (
            "application/json\r\naccept",
            "application/json; charset=\"UTF-8\"\r\ncontent-encoding: identity\r\naccept",
            200,
        ),
        ("accept:", "content-encoding: gzip\r\naccept:", 415),
        (
            "application/json, text/event-stream",
            "application/json",
            406,
        ),
        ("POST", "PUT", 405),
        ("POST", "OPTIONS", 405),
        ("POST /mcp", "POST /", 404),
    ] {
        let answer = exchange(served.address, greeting.replace(from, to)).await;
        assert_eq!(answer.status, status, "{to}: {answer:?}");
    }
    // What the operator lists holds from the next request on.
    served
        .project
        .settle_serve("hosts = ['mcp.example']\norigins = ['https://app.example']")
        .await;
    let listed = greeting.replace(
        "host: localhost",
        "host: mcp.example\r\norigin: https://app.example",
    );
    let answer = exchange(served.address, &listed).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.field("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        answer.field("access-control-expose-headers"),
        Some("mcp-session-id")
    );
    let asked = listed.replace("POST", "OPTIONS").replace(
        "accept:",
        "access-control-request-headers: content-type\r\naccept:",
    );
    let answer = exchange(served.address, asked).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.field("access-control-allow-headers"),
        Some("content-type")
    );
    served.end().await;
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let served = Served::with("body = '4 KiB'\nhead = '8 KiB'\nfields = 20").await;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(5 << 10)
    );
    let answer = exchange(served.address, post(&[], &body)).await;
    assert_eq!(answer.status, 413);
    assert!(
        answer.body.contains("`body` under [serve] limits"),
        "{answer:?}"
    );
    // The same without a length that says so.
    let chunked = post(&[], &body)
        .replace(
            &format!("content-length: {}", body.len()),
            "transfer-encoding: chunked",
        )
        .replace(&body, &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    assert_eq!(exchange(served.address, chunked).await.status, 413);
    for (bytes, named) in [(8 << 10, true), (10 << 10, true), (40 << 10, false)] {
        let long = "x".repeat(bytes);
        let answer = exchange(served.address, post(&[("x", &long)], GREETING)).await;
        assert_eq!(answer.status, 431, "{bytes}");
        // What is far too long is not read to its end.
        let names = answer.body.contains("`head` under [serve] limits");
        assert_eq!(names, named, "{bytes}: {answer:?}");
    }
    for (count, named) in [(16, true), (20, true), (40, false)] {
        let many: Vec<_> = (0..count).map(|_| ("x", "y")).collect();
        let answer = exchange(served.address, post(&many, GREETING)).await;
        assert_eq!(answer.status, 431, "{count}");
        let names = answer.body.contains("`fields` under [serve] limits");
        assert_eq!(names, named, "{count}: {answer:?}");
    }
    let most: Vec<_> = (0..15).map(|_| ("x", "y")).collect();
    assert_eq!(
        exchange(served.address, post(&most, GREETING)).await.status,
        200
    );
    served.end().await;
}

#[tokio::test]
async fn bodies_are_bounded_together() {
    let served = Served::with("body = '1 MiB'\nbodies = '1 MiB'").await;
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let head = post(&[], "").replace("content-length: 0", "content-length: 1048576");
    slow.write_all(head.as_bytes()).await.unwrap();
    // Its room is taken as soon as its head is read.
    let since = tokio::time::Instant::now();
    let busy = loop {
        let answer = exchange(served.address, post(&[], GREETING)).await;
        if answer.status == 503 {
            break answer;
        }
        assert!(since.elapsed() < PATIENCE);
    };
    assert!(
        busy.body.contains("`bodies` under [serve] limits"),
        "{busy:?}"
    );
    drop(slow);
    loop {
        if exchange(served.address, post(&[], GREETING)).await.status == 200 {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
    }
    served.end().await;
}

#[tokio::test]
async fn a_message_counts_as_what_it_takes_up_once_it_is_read() {
    let served = Served::with("body = '1 MiB'\nbodies = '1 MiB'").await;
    let with = |objects: usize| {
        let objects = vec![json!({"a": 1}); objects];
        newer("tools/list", None, json!({"x": objects}))
    };
    // 8 KiB of text, and 80 KiB: an object takes up many times what it is written with.
    assert_eq!(exchange(served.address, with(1_000)).await.status, 200);
    let refused = exchange(served.address, with(10_000)).await;
    assert_eq!(refused.status, 413);
    assert!(
        refused.body.contains("`bodies` under [serve]"),
        "{refused:?}"
    );
    assert_eq!(exchange(served.address, with(1_000)).await.status, 200);
    served.end().await;
}

#[tokio::test]
async fn slow_clients_are_dropped() {
    let served = Served::with("idle = '300ms'\nbody-time = '300ms'").await;
    // One that says nothing, one that drips its head, one that has asked once and stays.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut dripping = TcpStream::connect(served.address).await.unwrap();
    let mut sent = 0;
    for byte in post(&[], GREETING).bytes() {
        if dripping.write_all(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sent < 100, "it was heard to its end");
    let mut asked = TcpStream::connect(served.address).await.unwrap();
    let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    asked.write_all(health.as_bytes()).await.unwrap();
    assert!(rest(&mut asked).await.contains("ok\n"));
    // One that drips its body.
    let mut body = TcpStream::connect(served.address).await.unwrap();
    let head = post(&[], "").replace("content-length: 0", "content-length: 1000");
    body.write_all(head.as_bytes()).await.unwrap();
    body.write_all(b"{").await.unwrap();
    let answer = parse(&rest(&mut body).await);
    assert_eq!(answer.status, 408);
    assert!(answer.body.contains("`body-time` under [serve] limits"));
    served.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let served = Served::with("stall = '300ms'").await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let list = newer("tools/list", None, json!({})).replace("connection: close\r\n", "");
    // It asks without end and reads nothing, until it is not heard any more.
    let sending = async { while stream.write_all(list.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, sending).await.unwrap();
    served.end().await;
}

#[tokio::test]
async fn connections_of_clients_are_bounded() {
    let served = Served::with("connections = 3").await;
    let health = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(health).await.unwrap();
        until(&mut stream, "ok\n").await;
        held.push(stream);
    }
    let stream = TcpStream::connect(served.address).await.unwrap();
    let answer = exchange_on(stream, b"").await;
    assert_eq!(answer.status, 503);
    let why = answer.message()["error"]["message"].to_string();
    assert!(why.contains("`connections` under [serve] limits"), "{why}");
    held.pop();
    let since = tokio::time::Instant::now();
    loop {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        if exchange_on(stream, request).await.status == 200 {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
    }
    served.end().await;
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let project = TestProject::open().await;
    let path = project.dir().join("mcp.sock");
    let listen: Listen = format!("unix:{}", path.display()).parse().unwrap();
    let settings = project.host.serve_settings();
    let server = HttpServer::bind(&[listen], Reach::Local, &settings, project.dir()).unwrap();
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(server.serve(project.host.clone(), shutdown.clone()));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let answer = exchange_on(stream, post(&[], GREETING).as_bytes()).await;
    assert_eq!(answer.status, 200);
    shutdown.cancel();
    timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(!path.exists(), "it is taken away");
}

/// A certificate for `localhost`, signed by itself, in the project's files.
fn write_certificate(project: &TestProject) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ] {
        let beside = project.dir().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, project.dir().join(name)).unwrap();
    }
    made.cert.der().clone()
}

/// An answer over TLS; none where the certificate is another one.
async fn over_tls(
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
    request: &str,
) -> Option<u16> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    Some(exchange_on(stream, request.as_bytes()).await.status)
}

#[tokio::test]
async fn certificates_are_shown_and_read_again_when_they_change() {
    let project = TestProject::open().await;
    let first = write_certificate(&project);
    project
        .settle_serve("tls = { certificate = 'cert.pem', key = 'key.pem' }")
        .await;
    let served = Served::on(project);
    let greeting = post(&[], GREETING);
    assert_eq!(over_tls(served.address, &first, &greeting).await, Some(200));
    // One that does not fit is not taken.
    std::fs::write(served.project.dir().join("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(over_tls(served.address, &first, &greeting).await, Some(200));
    let second = write_certificate(&served.project);
    let since = tokio::time::Instant::now();
    while over_tls(served.address, &second, &greeting).await != Some(200) {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(over_tls(served.address, &first, &greeting).await, None);
    // Without TLS nothing is said.
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain.write_all(greeting.as_bytes()).await.unwrap();
    assert!(!rest(&mut plain).await.contains("HTTP/1.1 200"));
    served.end().await;
}

#[tokio::test]
async fn tls_comes_and_goes_with_the_settings() {
    let project = TestProject::open().await;
    let certificate = write_certificate(&project);
    let served = Served::on(project);
    let greeting = post(&[], GREETING);
    let plainly = async || {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        rest(&mut stream).await.contains("HTTP/1.1 200")
    };
    assert!(plainly().await);
    let tls = |certificate| format!("tls = {{ certificate = '{certificate}', key = 'key.pem' }}");
    // One that is not there changes nothing.
    served.project.settle_serve(&tls("nope.pem")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(plainly().await);
    for (settings, over) in [(tls("cert.pem"), true), (String::new(), false)] {
        served.project.settle_serve(&settings).await;
        let since = tokio::time::Instant::now();
        while (over_tls(served.address, &certificate, &greeting).await == Some(200)) != over {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(plainly().await, !over);
    }
    served.end().await;
}

#[tokio::test]
async fn certificates_that_can_not_be_used_are_named() {
    let project = TestProject::open().await;
    project
        .settle_serve("tls = { certificate = 'cert.pem', key = 'key.pem' }")
        .await;
    let listen: Listen = "127.0.0.1:0".parse().unwrap();
    let bind = || {
        let settings = project.host.serve_settings();
        HttpServer::bind(
            std::slice::from_ref(&listen),
            Reach::Local,
            &settings,
            project.dir(),
        )
        .err()
        .unwrap()
        .to_string()
    };
    assert!(bind().contains("cert.pem"));
    write_certificate(&project);
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(project.dir().join("key.pem"), other).unwrap();
    assert!(bind().contains("does not belong to the certificate"));
    std::fs::write(project.dir().join("cert.pem"), "").unwrap();
    assert!(bind().contains("cert.pem"));
}
