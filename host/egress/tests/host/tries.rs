//! What is tried again, and how long.

use std::time::Duration;

use portreeve_egress::{GateErrorKind, HostLimits, Phase, Take};

use crate::support::*;

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n";
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn what_passes_is_tried_again() {
    let now = format!("{BUSY}retry-after: 0\r\n\r\n");
    let later = format!("{BUSY}retry-after: 3600\r\n\r\n");
    for (method, first, status, tries) in [
        ("GET", now.as_str(), 200, 2),
        ("PUT", &now, 200, 2),
        ("POST", &now, 503, 1),
        // Nobody waits for an hour.
        ("GET", &later, 503, 1),
        ("GET", "", 200, 2),
        (
            "GET",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            404,
            1,
        ),
        (
            "GET",
            "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
            500,
            1,
        ),
    ] {
        let server = Server::says([first, FINE]).await;
        let request = request(method, &server.url("/"));
        let answer = client().send(&request, &Take::at_most(10)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), server.asked().len()),
            (status, tries),
            "{method} {first}"
        );
    }
    let server = Server::says(["", FINE]).await;
    let request = request("POST", &server.url("/"));
    let error = client()
        .send(&request, &Take::at_most(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Incomplete, "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn all_of_it_has_an_end() {
    let server = Server::says([&format!("{BUSY}\r\n")]).await;
    let limits = HostLimits {
        total: Duration::from_millis(200),
        tries: usize::MAX,
        ..LIMITS
    };
    let answer = client_with(limits)
        .send(&get(&server.url("/")), &Take::at_most(9))
        .await;
    // The last answer, or the last try was cut short.
    match answer {
        Ok(answer) => assert_eq!(answer.status, 503),
        Err(error) => assert_eq!(
            error.kind(),
            &GateErrorKind::Timeout(Phase::Total),
            "{error}"
        ),
    }
    assert!(server.asked().len() > LIMITS.tries);
    // One that never ends, and sends all the time.
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n…";
    let server = Server::says([endless]).await;
    let error = client_with(limits)
        .send(&get(&server.url("/")), &Take::at_most(u64::MAX))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        &GateErrorKind::Timeout(Phase::Total),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_sent_arrives() {
    let server = Server::says([FINE]).await;
    let body = "0123456789".repeat(20_000);
    for (method, body) in [("PUT", body.as_str()), ("POST", ""), ("PUT", "x")] {
        let request = request(method, &server.url("/x?y=%2F")).body(body.to_owned());
        client().send(&request, &Take::at_most(10)).await.unwrap();
        let asked = server.asked().pop().unwrap();
        assert!(asked.starts_with(&format!("{method} /x?y=%2F HTTP/1.1\r\n")));
        assert!(asked.ends_with(&format!("\r\n\r\n{body}")));
        let head = &asked[..asked.len() - body.len()];
        assert!(
            head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(head.contains("\r\nuser-agent: portreeve/"), "{head}");
    }
}

#[tokio::test]
async fn a_head_has_no_body() {
    let server = Server::says(["HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n"]).await;
    let request = request("HEAD", &server.url("/"));
    let answer = client().send(&request, &Take::at_most(1)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
}
