//! What is taken of an answer's body, and where it goes on after it broke off.

use std::sync::Mutex;

use portreeve_egress::{GateErrorKind, Take};

use crate::support::*;

const TAG: &str = "etag: \"one\"\r\n";

/// The beginning of ten bytes.
fn begin(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n{headers}\r\n0123")
}

fn go_on(range: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {length}\r\ncontent-range: {range}\r\n\r\n{body}"
    )
}

fn whole(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let answers = [
        begin(TAG),
        go_on("bytes 4-9/10", "45").replace("length: 2", "length: 6"),
        go_on("bytes 6-9/10", "6789"),
    ];
    let server = Server::says(answers.each_ref().map(String::as_str)).await;
    let seen = Mutex::new(Vec::new());
    let progress = |now, of| seen.lock().unwrap().push((now, of));
    let take = Take {
        progress: Some(&progress),
        ..Take::at_most(10)
    };
    let answer = client().send(&get(&server.url("/a")), &take).await.unwrap();
    assert_eq!(answer.body, b"0123456789");
    let asked = server.asked();
    assert!(!asked[0].contains("range"), "{}", asked[0]);
    for (asked, from) in asked[1..].iter().zip([4, 6]) {
        assert!(
            asked.contains(&format!("\r\nrange: bytes={from}-\r\n")),
            "{asked}"
        );
        assert!(asked.contains("\r\nif-range: \"one\"\r\n"), "{asked}");
    }
    assert_eq!(
        seen.into_inner().unwrap(),
        [(4, Some(10)), (6, Some(10)), (10, Some(10))]
    );
}

#[tokio::test]
async fn what_has_changed_or_may_have_begins_again() {
    for (first, again) in [
        (begin(TAG), whole("abc")),
        // A weak tag says nothing of bytes, and without one nothing is known.
        (begin("etag: W/\"one\"\r\n"), whole("0123456789")),
        (begin(""), whole("0123456789")),
    ] {
        let server = Server::says([&first, &again]).await;
        let answer = fetch(&server, 100).await.unwrap();
        assert!(again.as_bytes().ends_with(&answer.body) && !answer.body.is_empty());
        let ranged = server.asked()[1].contains("\r\nrange: ");
        assert_eq!(ranged, first.contains(TAG));
    }
    let gone = "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n";
    let server = Server::says([&begin(TAG), gone, &whole("abc")]).await;
    assert_eq!(fetch(&server, 100).await.unwrap().body, b"abc");
    assert!(!server.asked()[2].contains("range"));
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    for range in [
        "bytes 3-9/10",
        "bytes 5-9/10",
        "bytes 4-9/11",
        "bytes 4-10/10",
        "bytes 4-3/10",
        "bytes */10",
        "4-9/10",
        "bytes 4-9",
        "bytes 4-99999999999999999999999/10",
    ] {
        let server = Server::says([&begin(TAG), &go_on(range, "456789")]).await;
        let error = fetch(&server, 100).await.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Protocol, "{range}: {error}");
    }
    // A part that nobody asked for.
    let server = Server::says([&go_on("bytes 4-9/10", "456789")]).await;
    let error = fetch(&server, 100).await.unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn a_body_that_always_breaks_off_is_given_up() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n";
    for answer in [begin(""), begin(TAG), chunked.to_owned()] {
        let server = Server::says([&answer]).await;
        let error = fetch(&server, 100).await.unwrap_err();
        let kind = error.kind();
        // What was not asked for is sent again where the server forgets what it said.
        assert!(matches!(kind, GateErrorKind::Incomplete), "{error}");
        assert_eq!(server.asked().len(), LIMITS.tries);
    }
}

#[tokio::test]
async fn a_size_that_was_promised_is_held() {
    let closing = |body: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
    for (answer, expected) in [
        (whole("0123456789"), None),
        (closing("0123456789"), None),
        (whole("012345678"), Some((GateErrorKind::Protocol, 1))),
        (whole("0123456789a"), Some((GateErrorKind::BodyTooLarge, 1))),
        (
            closing("0123456789a"),
            Some((GateErrorKind::BodyTooLarge, 1)),
        ),
        (
            closing("012345678"),
            Some((GateErrorKind::Incomplete, LIMITS.tries)),
        ),
    ] {
        let server = Server::says([&answer]).await;
        let take = Take {
            size: Some(10),
            ..Take::at_most(100)
        };
        let result = client().send(&get(&server.url("/")), &take).await;
        match expected {
            None => assert_eq!(result.unwrap().body, b"0123456789"),
            Some((kind, tries)) => {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), &kind, "{answer}: {error}");
                assert_eq!(server.asked().len(), tries);
            }
        }
    }
}

#[tokio::test]
async fn no_more_is_taken_than_is_wanted() {
    for (answer, max) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n0",
            1 << 20,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n…",
            1 << 20,
        ),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n0123", 3),
    ] {
        let server = Server::says([answer]).await;
        let error = fetch(&server, max).await.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::BodyTooLarge, "{error}");
        assert_eq!(server.asked().len(), 1);
    }
    // Compressed, ten gigabytes are small.
    let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n0";
    let server = Server::says([packed]).await;
    let error = fetch(&server, 10).await.unwrap_err();
    assert!(error.to_string().contains("compressed"), "{error}");
}

#[tokio::test]
async fn of_complaints_the_beginning_is_taken() {
    let server =
        Server::says(["HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n…"]).await;
    let answer = fetch(&server, 3).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 16 << 10));
    let broken = "HTTP/1.1 403 Forbidden\r\ncontent-length: 10\r\n\r\nno";
    let answer = fetch(&Server::says([broken]).await, 3).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_slice()),
        (403, &b"no"[..])
    );
}
