//! The SDK's client.

use std::sync::Arc;

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{CallError, ErrorCode, HttpErrorKind, HttpSource};
use serde_json::{Value, json};

use super::web::{REFUSAL, Web};
use crate::support::{Recorder, guest, run, text};

fn call(web: &Arc<Web>, tool: &str, arguments: Value) -> Result<Value, CallError> {
    let recorder = Recorder {
        http: Some(web.clone() as Arc<dyn HttpSource>),
        ..Recorder::default()
    };
    let client = guest(portreeve_test_artifacts::SDK_HTTP);
    let finished = run(client.calling(tool, arguments, &Limits::default(), &recorder));
    let outcome = finished.result?;
    Ok(match &outcome.structured {
        Some(structured) => Value::Object(structured.clone()),
        None => json!(text(&outcome)),
    })
}

#[test]
fn requests_and_answers() {
    let web = Arc::new(Web::default());
    let answer = call(
        &web,
        "send",
        json!({
            "method": "POST",
            "url": "https://h.example:444/echo?a=1",
            "query": [["b", "ü &"]],
            "headers": [["Accept", "text/plain"]],
            "body": "sent",
            "timeout_ms": 60_000,
        }),
    );
    assert_eq!(
        answer.unwrap(),
        json!({
            "status": 200,
            "url": "https://h.example:444/echo?a=1&b=%C3%BC+%26",
            "content_type": null,
            "text": "sent",
        })
    );
    let numbers = call(
        &web,
        "send_json",
        json!({"url": "http://h.example/echo", "numbers": [1, 2]}),
    );
    assert_eq!(numbers.unwrap(), "[1, 2]");
    let start = call(
        &web,
        "read_start",
        json!({"url": "http://h.example/big?1000000000", "bytes": 3}),
    );
    assert_eq!(start.unwrap(), "xxx");
    run(web.alive.reaches(0));

    let seen = web.seen.lock().unwrap();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].header("content-length"), "4");
    assert_eq!(seen[0].header("accept"), "text/plain");
    assert!(seen[0].timeouts.first_byte.is_some());
    assert_eq!(seen[1].header("content-type"), "application/json");
    assert_eq!(seen[1].timeouts.first_byte, None);
}

#[test]
fn redirects() {
    let web = Arc::new(Web::default());
    let to = |location: &str| format!("https://a.example/to?{location}");
    let headers = json!([["authorization", "Bearer x"], ["accept", "text/plain"]]);
    for (url, redirects, status, end) in [
        (to("/ok"), None, 200, "https://a.example/ok"),
        (
            to("https://b.example/ok"),
            None,
            200,
            "https://b.example/ok",
        ),
        (to("/ok"), Some(0), 307, "https://a.example/to?/ok"),
    ] {
        let arguments = json!({
            "method": "GET", "url": url, "headers": headers, "redirects": redirects,
        });
        let answer = call(&web, "send", arguments).unwrap();
        assert_eq!(answer["status"], status, "{url}");
        assert_eq!(answer["url"], end, "{url}");
        let seen = web.seen.lock().unwrap();
        let last = seen.last().unwrap();
        assert_eq!(last.header("accept"), "text/plain");
        let own = !end.contains("b.example");
        assert_eq!(!last.header("authorization").is_empty(), own, "{end}");
    }
    for (location, reason) in [
        ("/to?/to?/ok", "too-many-redirects"),
        ("http://a.example/ok", "bad-redirect"),
    ] {
        let arguments = json!({"method": "GET", "url": to(location), "redirects": 2});
        let error = call(&web, "send", arguments).unwrap_err();
        assert_eq!(error.failure.reason, reason, "{error}");
    }
    // A POST goes where it was sent.
    let arguments = json!({"method": "POST", "url": to("/ok"), "body": "x"});
    assert_eq!(call(&web, "send", arguments).unwrap()["status"], 307);
}

#[test]
fn failures() {
    let web = Arc::new(Web {
        failures: vec![HttpErrorKind::Certificate],
        ..Web::default()
    });
    for (arguments, code, reason, message) in [
        (
            json!({"method": "GET", "url": "http://h.example/fail?0"}),
            ErrorCode::Unavailable,
            "test",
            "this is why: Certificate",
        ),
        (
            json!({"method": "GET", "url": "http://h.example/break"}),
            ErrorCode::Unavailable,
            "test",
            "this is why: ConnectionTerminated",
        ),
        (
            json!({"method": "GET", "url": "http://h.example/hang", "timeout_ms": 100}),
            ErrorCode::Timeout,
            "request-timeout",
            "http://h.example did not answer in time",
        ),
        (
            json!({"method": "GET", "url": "http://h.example/drip", "timeout_ms": 100}),
            ErrorCode::Timeout,
            "request-timeout",
            "http://h.example did not answer in time",
        ),
        (
            json!({"method": "GET", "url": "http://h.example/big?1025"}),
            ErrorCode::QuotaExceeded,
            "response-too-large",
            "has more than 1024 bytes",
        ),
        (
            json!({"method": "GET", "url": "http://h.example/ok", "headers": [["Host", "other"]]}),
            ErrorCode::InvalidArgument,
            "invalid-header",
            "the host's own",
        ),
        (
            json!({"method": "BAD METHOD", "url": "http://h.example/ok"}),
            ErrorCode::InvalidArgument,
            "invalid-request",
            "not one of HTTP",
        ),
        (
            json!({"method": "GET", "url": "h.example/ok"}),
            ErrorCode::InvalidArgument,
            "invalid-url",
            "give one such as",
        ),
    ] {
        let failure = call(&web, "send", arguments.clone()).unwrap_err().failure;
        assert_eq!(
            (failure.code, &*failure.reason),
            (code, reason),
            "{arguments}"
        );
        assert!(
            failure.message.contains(message),
            "{arguments}: {}",
            failure.message
        );
    }
    let whole = json!({"method": "GET", "url": "http://h.example/big?1024"});
    assert_eq!(call(&web, "send", whole).unwrap()["text"], "x".repeat(1024));
    run(web.alive.reaches(0));
}

#[test]
fn statuses_as_failures() {
    let web = Arc::new(Web::default());
    let succeed = |path: &str| {
        let url = format!("http://h.example/{path}");
        call(&web, "succeed", json!({"url": url}))
    };
    assert_eq!(succeed("ok").unwrap(), "hello");
    for (status, code) in [
        (404, ErrorCode::NotFound),
        (429, ErrorCode::RateLimited),
        (503, ErrorCode::Unavailable),
    ] {
        let failure = succeed(&format!("status?{status}")).unwrap_err().failure;
        assert_eq!(failure.code, code);
        assert_eq!(failure.reason, format!("http-{status}"));
        assert_eq!(failure.retry_after.unwrap().as_secs(), 7);
        assert_eq!(
            failure.message,
            format!("http://h.example answered with status {status}")
        );
    }
}

#[test]
fn a_refusal_keeps_the_hosts_sentence() {
    let web = Arc::new(Web {
        revoked_after: Some(0),
        ..Web::default()
    });
    for body in [None, Some("x".repeat(100_000))] {
        let arguments = json!({"method": "POST", "url": "http://h.example/ok", "body": body});
        let failure = call(&web, "send", arguments).unwrap_err().failure;
        assert_eq!(failure.code, ErrorCode::PermissionDenied);
        assert_eq!(failure.reason, "not-granted");
        assert_eq!(failure.message, REFUSAL);
    }
}
