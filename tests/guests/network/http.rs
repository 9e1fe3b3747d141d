//! `wasi:http`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{HttpErrorKind, HttpSource};
use serde_json::{Value, json};

use super::web::{REFUSAL, Web};
use crate::support::{Recorder, guest, limit_of, run};

fn web() -> Arc<Web> {
    Arc::new(Web::default())
}

fn recorder(web: &Arc<Web>) -> Recorder {
    Recorder {
        http: Some(web.clone() as Arc<dyn HttpSource>),
        ..Recorder::default()
    }
}

/// The answer of a tool of `http` to these arguments.
fn ask(web: &Arc<Web>, tool: &str, arguments: Value) -> Value {
    let http = guest(portreeve_test_artifacts::HTTP);
    let finished = run(http.calling(tool, arguments, &Limits::default(), &recorder(web)));
    Value::Object(finished.result.unwrap().structured.unwrap())
}

fn send(web: &Arc<Web>, request: Value) -> Value {
    ask(web, "send", json!({"request": request}))
}

#[test]
fn denied_by_default_with_a_sentence() {
    let http = guest(portreeve_test_artifacts::HTTP);
    let answer = http.structured("send", json!({"request": {"url": "https://h.example/ok"}}));
    assert_eq!(answer["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!(answer["host"]["code"], "ErrorCode::PermissionDenied");
    let message = answer["host"]["message"].as_str().unwrap();
    assert!(message.contains("without any grant"), "{answer}");
}

#[test]
fn a_request_arrives_as_it_was_written() {
    let web = web();
    let answer = send(
        &web,
        json!({
            "url": "https://h.example:8443/count?q=%20",
            "method": "PUT",
            "headers": [["x-a", "1"], ["x-a", "2"], ["authorization", "mine"], ["te", "gzip"]],
            "chunks": ["one", "two"],
            "trailers": [["x-sum", "6"]],
            "connect_ms": 1_000,
            "first_byte_ms": 100_000_000,
        }),
    );
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(answer["body"], r#"6 bytes, {"x-sum": "6"} trailers"#);
    let seen = web.seen.lock().unwrap();
    let [seen] = seen.as_slice() else {
        panic!("{} requests", seen.len())
    };
    assert_eq!(seen.method, "PUT");
    assert_eq!(seen.uri.to_string(), "https://h.example:8443/count?q=%20");
    let headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    // No `Host`, which is the sender's, and no `TE` but for trailers.
    assert_eq!(headers, ["x-a: 1", "x-a: 2", "authorization: mine"]);
    assert_eq!(seen.timeouts.connect, Some(Duration::from_secs(1)));
    // Not beyond the call itself.
    let first_byte = seen.timeouts.first_byte.unwrap();
    assert!(first_byte <= Limits::default().timeout, "{first_byte:?}");
    assert_eq!(seen.timeouts.between_bytes, None);
}

#[test]
fn headers_of_the_connection_are_refused() {
    let web = web();
    for (name, refused) in [
        ("Host", true),
        ("connection", true),
        ("Keep-Alive", true),
        ("transfer-encoding", true),
        ("upgrade", true),
        ("proxy-authorization", true),
        ("Proxy-Status", true),
        ("http2-settings", true),
        ("authorization", false),
        ("cookie", false),
        ("te", false),
    ] {
        let answer = ask(&web, "forbidden", json!({"name": name}));
        assert_eq!(answer["refused"].is_string(), refused, "{name}: {answer}");
    }
    // A length that isn't the body's.
    for (length, chunks, kind) in [
        ("5", json!(["123"]), "HttpRequestBodySize"),
        ("2", json!(["123"]), "HttpRequestBodySize"),
        ("5, 5", json!(["12345"]), "InternalError"),
    ] {
        let answer = send(
            &web,
            json!({
                "url": "http://h.example/count",
                "headers": [["content-length", length]],
                "chunks": chunks,
            }),
        );
        let error = answer.to_string();
        assert!(
            error.contains(kind) || error.contains("headers"),
            "{length}: {error}"
        );
    }
}

#[test]
fn failures_have_their_code_and_their_sentence() {
    use HttpErrorKind as Kind;
    let expected = [
        (Kind::Refused, "HttpRequestDenied"),
        (Kind::AddressRefused, "DestinationIpProhibited"),
        (Kind::Dns, "DnsError"),
        (Kind::DnsTimeout, "DnsTimeout"),
        (Kind::ConnectionRefused, "ConnectionRefused"),
        (Kind::Unavailable, "DestinationUnavailable"),
        (Kind::ConnectTimeout, "ConnectionTimeout"),
        (Kind::FirstByteTimeout, "HttpResponseTimeout"),
        (Kind::BetweenBytesTimeout, "ConnectionReadTimeout"),
        (Kind::ConnectionLimit, "ConnectionLimitReached"),
        (Kind::ConnectionTerminated, "ConnectionTerminated"),
        (Kind::Certificate, "TlsCertificateError"),
        (Kind::Tls, "TlsProtocolError"),
        (Kind::InvalidUrl, "HttpRequestUriInvalid"),
        (Kind::UrlTooLong, "HttpRequestUriTooLong"),
        (Kind::RequestBody, "HttpRequestBodySize"),
        (Kind::ResponseHeaders, "HttpResponseHeaderSectionSize"),
        (Kind::ResponseBody, "HttpResponseBodySize"),
        (Kind::Protocol, "HttpProtocolError"),
        (Kind::Internal, "InternalError"),
    ];
    let web = Arc::new(Web {
        failures: expected.iter().map(|(kind, _)| *kind).collect(),
        ..Web::default()
    });
    for (index, (kind, code)) in expected.iter().enumerate() {
        let answer = send(
            &web,
            json!({"url": format!("http://h.example/fail?{index}")}),
        );
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.starts_with(&format!("ErrorCode::{code}")),
            "{kind:?}: {error}"
        );
        assert_eq!(answer["host"]["message"], format!("this is why: {kind:?}"));
        assert_eq!(answer["host"]["retry_after_ms"], 3_000);
    }
    // And in the middle of a body.
    let answer = send(&web, json!({"url": "http://h.example/break"}));
    assert_eq!(
        (&answer["at"], &answer["bytes"], &answer["error"]),
        (
            &json!("body"),
            &json!(1),
            &json!("ErrorCode::ConnectionTerminated")
        ),
    );
    assert_eq!(
        answer["host"]["message"],
        "this is why: ConnectionTerminated"
    );
}

#[test]
fn what_is_revoked_is_refused_from_the_next_request_on() {
    let web = Arc::new(Web {
        revoked_after: Some(2),
        ..Web::default()
    });
    let answer = ask(
        &web,
        "send_again",
        json!({"request": {"url": "http://h.example/ok"}, "times": 4, "pause_ms": 0}),
    );
    let answers = answer["answers"].as_array().unwrap();
    let came: Vec<_> = answers
        .iter()
        .map(|answer| {
            let answer = answer["status"].as_u64().map(|status| status.to_string());
            answer.unwrap_or_default()
        })
        .collect();
    assert_eq!(came, ["200", "200", "", ""]);
    for refused in &answers[2..] {
        assert_eq!(refused["host"]["message"], REFUSAL);
    }
}

#[test]
fn bodies_larger_than_memory_stream_both_ways() {
    let web = web();
    let http = guest(portreeve_test_artifacts::HTTP);
    let limits = Limits {
        memory: ByteSize::mib(4),
        fuel: 100_000_000_000,
        timeout: Duration::from_secs(120),
        ..Limits::default()
    };
    let bytes = 32 << 20;
    let arguments = json!({"url": "http://h.example/echo", "bytes": bytes});
    let finished = run(http.calling("echo", arguments, &limits, &recorder(&web)));
    assert_eq!(
        Value::Object(finished.result.unwrap().structured.unwrap()),
        json!({"sent": bytes, "received": bytes, "same": true})
    );
    run(web.alive.reaches(0));
}

#[test]
fn nothing_is_made_that_is_not_read() {
    let web = web();
    let answer = send(
        &web,
        json!({"url": "http://h.example/big?1000000000", "read": 100_000}),
    );
    assert!(answer["bytes"].as_u64().unwrap() >= 100_000, "{answer}");
    // What is read, and one piece that is waiting.
    assert!(web.made.load(Ordering::Relaxed) <= 100_000 + 64 * 1024 + 10_000);
    run(web.alive.reaches(0));
}

#[test]
fn an_answer_before_the_end_of_the_body_is_an_answer() {
    let web = web();
    let answer = send(
        &web,
        json!({"url": "http://h.example/early", "method": "POST", "fill": 8 << 20}),
    );
    assert_eq!(answer["status"], 413, "{answer}");
}

#[test]
fn a_call_that_is_cancelled_leaves_nothing_behind() {
    let http = guest(portreeve_test_artifacts::HTTP);
    for path in ["hang", "drip"] {
        let web = web();
        let recorder = recorder(&web);
        let url = format!("http://h.example/{path}");
        let arguments = json!({"request": {"url": url, "chunks": ["x"]}});
        let limits = Limits::default();
        let call = http.calling("send", arguments, &limits, &recorder);
        let cancel = async {
            // What `send` holds and the body that it did not give back, or the body alone.
            web.alive.reaches(if path == "hang" { 2 } else { 1 }).await;
            recorder.cancel.cancel();
        };
        let (finished, ()) = run(async { tokio::join!(call, cancel) });
        assert_eq!(
            finished.result.unwrap_err().failure.reason,
            "cancelled",
            "{path}"
        );
        run(web.alive.reaches(0));
    }
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let web = web();
    let http = guest(portreeve_test_artifacts::HTTP);
    let flood = |path: &str, times: u64, wait: u64| {
        let request = json!({"url": format!("http://h.example/{path}")});
        json!({"request": request, "times": times, "wait": wait})
    };
    // All that are answered at once have their turn.
    let answer = ask(&web, "send_at_once", flood("early", 64, 64));
    assert_eq!(answer["counts"], json!({"413": 64}));
    // Those that wait fill the room, and the others are told so.
    let answer = ask(&web, "send_at_once", flood("hang", 600, 536));
    assert_eq!(
        answer["counts"],
        json!({"ErrorCode::ConnectionLimitReached": 536})
    );
    run(web.alive.reaches(0));
    assert!(web.seen.lock().unwrap().len() <= 64 + 64);
    // Handles bound the rest.
    let arguments = flood("hang", 5_000, 0);
    let limits = Limits {
        handles: 100,
        ..Limits::default()
    };
    let finished = run(http.calling("send_at_once", arguments, &limits, &recorder(&web)));
    assert_eq!(limit_of(&finished).setting, "handles");
    run(web.alive.reaches(0));
}

#[test]
fn what_is_held_for_requests_is_bounded() {
    let web = web();
    // Each part of a request has its own length.
    for (bytes, expected) in [
        (
            60,
            json!({"method": true, "scheme": true, "authority": true, "path": true}),
        ),
        (
            1_000,
            json!({"method": false, "scheme": false, "authority": true, "path": true}),
        ),
        (
            8_500,
            json!({"method": false, "scheme": false, "authority": false, "path": true}),
        ),
        (
            20_000,
            json!({"method": false, "scheme": false, "authority": false, "path": false}),
        ),
    ] {
        let answer = ask(&web, "parts", json!({"bytes": bytes}));
        for part in ["method", "scheme", "authority", "path"] {
            assert_eq!(answer[part], expected[part], "{part} of {bytes} bytes");
        }
        assert_eq!(answer["none"], true);
    }
    // Bodies take 16 KiB at once, paths of 1 MiB are not taken.
    let hoard =
        |headers: u64| json!({"times": 50, "path": 1 << 20, "headers": headers, "body": 16 << 10});
    assert_eq!(
        ask(&web, "hoard", hoard(10_000)),
        json!({"requests": 50, "paths": 0, "bodies": 50})
    );
    let http = guest(portreeve_test_artifacts::HTTP);
    let large = run(http.calling("hoard", hoard(17_000), &Limits::default(), &recorder(&web)));
    let error = large.result.unwrap_err();
    assert_eq!(error.failure.reason, "plugin-headers", "{error}");
    let limits = Limits {
        handles: 100,
        ..Limits::default()
    };
    let many = run(http.calling("hoard", hoard(100), &limits, &recorder(&web)));
    assert_eq!(limit_of(&many).setting, "handles");
    // A URL that the host takes apart is still too long to be sent.
    let url = format!("http://h.example/{}", "a".repeat(9_000));
    let answer = send(&web, json!({"url": url}));
    assert_eq!(answer["error"], "ErrorCode::HttpRequestUriTooLong");
    assert!(web.seen.lock().unwrap().is_empty());
}

#[test]
fn what_an_answer_holds_is_bounded() {
    let web = web();
    for (path, fits, code) in [
        ("head?20000", true, ""),
        ("head?40000", false, "HttpResponseHeaderSectionSize"),
        ("trailers?20000", true, ""),
        ("trailers?40000", false, "HttpResponseHeaderSectionSize"),
    ] {
        let answer = send(&web, json!({"url": format!("http://h.example/{path}")}));
        assert_eq!(answer["error"].is_null(), fits, "{path}: {answer}");
        assert!(answer.to_string().contains(code), "{path}: {answer}");
    }
    run(web.alive.reaches(0));
}
