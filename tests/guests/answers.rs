//! What a plugin says, how it breaks, and what becomes of an answer that is none.

use portreeve_runtime::{Content, ErrorCode, Origin};
use serde_json::{Value, json};

use crate::support::{guest, none, text};

#[test]
fn every_kind_of_content() {
    let content = guest(portreeve_test_artifacts::CONTENT);
    let one = |tool: &str| {
        let outcome = content.call(tool, none()).result.unwrap();
        // A link comes with a word about it.
        outcome.content.into_iter().next_back().unwrap()
    };
    assert!(matches!(one("text"), Content::Text(_)));
    assert!(matches!(one("image"), Content::Blob { mime_type, .. } if mime_type == "image/png"));
    assert!(
        matches!(one("audio"), Content::Blob { mime_type, .. } if mime_type.starts_with("audio/"))
    );
    assert!(matches!(one("blob"), Content::Blob { .. }));
    assert!(matches!(one("link"), Content::Link { .. }));
    assert_eq!(
        content.structured("structured", none()),
        json!({"answer": 42})
    );
    let everything = content.call("everything", none()).result.unwrap();
    assert!(
        everything
            .meta
            .contains(&("test.trace-id".to_owned(), "abc".to_owned()))
    );
    assert!(everything.content.len() >= 4 && everything.structured.is_some());
    let nothing = content.call("nothing", none()).result.unwrap();
    assert!(nothing.content.is_empty() && nothing.structured.is_none() && !nothing.is_error);
}

#[test]
fn failures_keep_their_parts() {
    let failing = guest(portreeve_test_artifacts::FAILING);
    for code in [
        "invalid-argument",
        "not-found",
        "conflict",
        "permission-denied",
        "unauthenticated",
        "rate-limited",
        "quota-exceeded",
        "timeout",
        "cancelled",
        "unavailable",
        "unsupported",
        "internal",
    ] {
        let error = failing
            .call(
                "fail",
                json!({
                    "code": code, "reason": "out-of-tea", "message": "no tea left",
                    "retry_after_ms": 1500, "detail": "{\"cups\": 0}",
                }),
            )
            .result
            .unwrap_err();
        assert_eq!(error.origin, Origin::Plugin);
        assert_eq!(error.failure.code.as_str(), code);
        assert_eq!(error.failure.reason, "out-of-tea");
        assert_eq!(error.failure.message, "no tea left");
        assert_eq!(error.failure.retry_after.unwrap().as_millis(), 1500);
        assert_eq!(error.failure.detail, Some(json!({"cups": 0})));
        // A plugin that speaks of limits is not the host.
        assert_eq!(error.limit, None);
    }
    let outcome = failing
        .call("error_outcome", json!({"message": "sorry"}))
        .result
        .unwrap();
    assert!(outcome.is_error);
    assert_eq!(text(&outcome), "sorry");
}

#[test]
fn a_long_failure_is_cut_between_characters() {
    let results = guest(portreeve_test_artifacts::RESULTS);
    let error = results
        .call("big_failure", json!({"bytes": 100_000}))
        .result
        .unwrap_err();
    assert!(
        error.failure.message.len() <= 16_000,
        "{}",
        error.failure.message.len()
    );
}

#[test]
fn how_a_plugin_breaks() {
    let crash = guest(portreeve_test_artifacts::CRASH);
    for (tool, arguments, reason, told) in [
        ("trap", none(), "plugin-trapped", "gave up"),
        (
            "panic",
            json!({"message": "ouch"}),
            "plugin-trapped",
            "stderr",
        ),
        ("divide", json!({"divisor": 0}), "plugin-trapped", ""),
        (
            "exit",
            json!({"code": 0}),
            "plugin-exited",
            "instead of answering",
        ),
        (
            "exit",
            json!({"code": 3}),
            "plugin-exited",
            "instead of answering",
        ),
    ] {
        let error = crash.call(tool, arguments).result.unwrap_err();
        assert_eq!(error.origin, Origin::Plugin, "{tool}");
        assert_eq!(error.failure.code, ErrorCode::Internal, "{tool}");
        assert_eq!(error.failure.reason, reason, "{tool}");
        assert!(error.failure.message.contains(told), "{error}");
    }
    // A crash is that call's alone.
    let quotient = crash.call("divide", json!({"divisor": 1})).result.unwrap();
    assert!(text(&quotient).parse::<i64>().is_ok(), "{quotient:?}");
}

#[test]
fn a_panic_leaves_its_message_in_the_log() {
    let crash = guest(portreeve_test_artifacts::CRASH);
    let (_, recorder) = crash.recorded("panic", json!({"message": "ouch"}), &Default::default());
    assert!(
        recorder
            .lines()
            .iter()
            .any(|(_, line)| line.contains("ouch"))
    );
}

#[test]
fn structured_answers_that_are_none() {
    let bad = guest(portreeve_test_artifacts::BAD_JSON);
    for (tool, arguments, reason) in [
        ("invalid", none(), "invalid-json"),
        ("duplicate_keys", none(), "invalid-json"),
        ("deep", json!({"depth": 100}), "invalid-json"),
        ("deep", json!({"depth": 100_000}), "invalid-json"),
        ("nan", none(), "invalid-json"),
        ("raw", json!({"text": "{\"a\": 1e999}"}), "invalid-json"),
        (
            "raw",
            json!({"text": "{\"a\": \"\\ud800\"}"}),
            "invalid-json",
        ),
        ("raw", json!({"text": ""}), "invalid-json"),
        ("not_an_object", none(), "invalid-answer"),
        ("two", none(), "invalid-answer"),
    ] {
        let error = bad.call(tool, arguments.clone()).result.unwrap_err();
        assert_eq!(error.origin, Origin::Plugin, "{tool}");
        assert_eq!(error.failure.reason, reason, "{tool} {arguments}: {error}");
    }
    assert_eq!(
        bad.structured("raw", json!({"text": "{\"a\": 1}"})),
        json!({"a": 1})
    );
    // A failure whose detail is no JSON is still that failure.
    let error = bad.call("detail", none()).result.unwrap_err();
    assert_eq!(error.failure.detail, None::<Value>);
}

#[test]
fn what_echo_gets_is_what_was_sent() {
    let echo = guest(portreeve_test_artifacts::ECHO);
    let sent = json!({"text": "é\u{1F980}\u{0}", "list": [1, 2.5, null, true], "deep": {"a": {}}});
    let back = echo.call("echo", sent.clone()).result.unwrap();
    assert_eq!(serde_json::from_str::<Value>(text(&back)).unwrap(), sent);
    assert_eq!(echo.structured("echo_structured", sent.clone()), sent);
}
