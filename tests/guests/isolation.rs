//! What a guest sees of the machine, of the host and of other calls: nothing that it was
//! not given.

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{Config, ErrorCode, Failure, Origin, Stream};
use serde_json::{Value, json};

use crate::support::{Recorder, guest, none, run, text};

/// wassette let guests read the host's argv and environment, secrets in them included.
#[test]
fn no_arguments_environment_or_directories() {
    let environment = guest(portreeve_test_artifacts::ENVIRONMENT);
    let seen = environment.structured("environment", none());
    assert_eq!(seen["args"], json!([]));
    assert_eq!(seen["env"], json!({}));
    assert_eq!(seen["preopens"], json!([]));
    let terminals = environment.structured("terminals", none());
    assert_eq!(
        terminals,
        json!({"stdin": false, "stdout": false, "stderr": false})
    );
}

#[test]
fn no_files() {
    let files = guest(portreeve_test_artifacts::FILESYSTEM);
    for (tool, arguments) in [
        ("read", json!({"path": "/etc/passwd"})),
        ("read", json!({"path": "../../../etc/passwd"})),
        (
            "write",
            json!({"path": "/tmp/portreeve-escape", "text": "x"}),
        ),
        ("write", json!({"path": "portreeve-escape", "text": "x"})),
        ("list", json!({"path": "/"})),
        ("list", json!({"path": "."})),
    ] {
        let answer = files.structured(tool, arguments.clone());
        assert!(
            answer.get("error").is_some(),
            "{tool} {arguments}: {answer}"
        );
    }
}

#[test]
fn no_network() {
    // A server that really listens: only the host's refusal can keep the guest from it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let network = guest(portreeve_test_artifacts::NETWORK);
    for (tool, arguments) in [
        ("connect", json!({"address": address})),
        ("listen", json!({"address": "127.0.0.1:0"})),
        ("send", json!({"address": address})),
        ("resolve", json!({"name": "localhost"})),
    ] {
        let answer = network.structured(tool, arguments);
        assert!(answer.get("error").is_some(), "{tool}: {answer}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn stdin_is_empty() {
    let blocked = guest(portreeve_test_artifacts::BLOCKED_IO);
    assert_eq!(
        text(&blocked.call("read_stdin", none()).result.unwrap()),
        "0"
    );
}

#[test]
fn no_state_leaks_from_one_call_into_the_next() {
    let state = guest(portreeve_test_artifacts::STATE);
    for round in 0..50 {
        assert_eq!(state.structured("count", none()), json!({"count": 1}));
        let before = state.structured("remember", json!({"note": format!("secret {round}")}));
        assert_eq!(before["before"], Value::Null, "round {round}");
    }
}

#[test]
fn output_becomes_lines_for_the_log() {
    let output = guest(portreeve_test_artifacts::OUTPUT);
    let (finished, recorder) = output.recorded(
        "print",
        json!({"text": "to stdout", "error": "to stderr"}),
        &Limits::default(),
    );
    assert_eq!(text(&finished.result.unwrap()), "printed");
    let lines = recorder.lines();
    assert!(
        lines.contains(&(Stream::Stdout, "to stdout".to_owned())),
        "{lines:?}"
    );
    assert!(
        lines.contains(&(Stream::Stderr, "to stderr".to_owned())),
        "{lines:?}"
    );

    let (finished, recorder) = output.recorded("invalid_utf8", none(), &Limits::default());
    assert!(finished.result.is_ok());
    assert!(
        recorder
            .lines()
            .iter()
            .any(|(_, line)| line.contains('\u{fffd}'))
    );
}

#[test]
fn threads_are_refused_without_harm() {
    let threads = guest(portreeve_test_artifacts::THREADS);
    assert!(threads.structured("spawn", none()).get("error").is_some());
}

#[test]
fn clocks_and_randomness_are_given() {
    let given = guest(portreeve_test_artifacts::CLOCKS_RANDOM);
    let clocks = given.structured("clocks", none());
    assert!(
        clocks["unix_ms"].as_u64() > Some(1_700_000_000_000),
        "{clocks}"
    );
    assert_eq!(clocks["monotonic_is_monotonic"], json!(true));
    let random = || given.structured("random", json!({"bytes": 32}))["hex"].clone();
    assert_ne!(random(), random());
}

#[test]
fn a_call_knows_about_itself() {
    let context = guest(portreeve_test_artifacts::CONTEXT);
    let config = json!({"owner": "acme", "list": [1, 2]});
    let recorder = Recorder {
        config: Config::new(config.as_object().unwrap().clone()),
        ..Recorder::default()
    };
    let call = |tool: &str, arguments: Value| {
        let finished = run(context.calling(tool, arguments, &Limits::default(), &recorder));
        Value::Object(finished.result.unwrap().structured.unwrap())
    };
    let seen = call("context", none());
    assert_eq!(seen["call_id"], json!("call-1"));
    assert_eq!(seen["caller"], json!("tester"));
    assert_eq!(seen["is_cancelled"], json!(false));
    let left = seen["deadline_ms"].as_u64().unwrap();
    assert!((1..=30_000).contains(&left), "{left}");
    let fuel: u64 = seen["fuel_left"].as_str().unwrap().parse().unwrap();
    assert!(fuel > 0 && fuel < Limits::default().fuel, "{fuel}");
    let text: Value = serde_json::from_str(seen["config"].as_str().unwrap()).unwrap();
    assert_eq!(text, config);
    assert_eq!(
        call("config", json!({"key": "owner"}))["value"],
        json!("\"acme\"")
    );
    assert_eq!(
        call("config", json!({"key": "list"}))["value"],
        json!("[1,2]")
    );
    assert_eq!(call("config", json!({"key": "none"}))["value"], Value::Null);
}

#[test]
fn start_gets_the_configuration_once() {
    let lifecycle = guest(portreeve_test_artifacts::LIFECYCLE);
    let recorder = Recorder {
        config: Config::new(json!({"a": 1}).as_object().unwrap().clone()),
        ..Recorder::default()
    };
    let finished = run(lifecycle.calling("starts", none(), &Limits::default(), &recorder));
    let seen = finished.result.unwrap().structured.unwrap();
    assert_eq!(seen["starts"], json!([r#"{"a":1}"#]));
    // Without any, it is an empty object.
    assert_eq!(
        lifecycle.structured("starts", none())["starts"],
        json!(["{}"])
    );
}

#[test]
fn a_failed_start_fails_the_call() {
    let fails = guest(portreeve_test_artifacts::LIFECYCLE_FAILS);
    let with = |config: Value| {
        let recorder = Recorder {
            config: Config::new(config.as_object().unwrap().clone()),
            ..Recorder::default()
        };
        run(fails.calling("call_me", none(), &Limits::default(), &recorder)).result
    };
    let error = with(json!({"start": false})).unwrap_err();
    assert_eq!(error.origin, Origin::Plugin);
    assert_eq!(error.failure.code, ErrorCode::Unavailable);
    assert_eq!(error.failure.reason, "not-today");
    assert!(error.failure.retry_after.is_some());
    assert!(error.failure.detail.is_some());
    assert_eq!(text(&with(json!({"start": true})).unwrap()), "called");
}

#[test]
fn progress_is_passed_on_when_permitted() {
    let progress = guest(portreeve_test_artifacts::PROGRESS);
    let (finished, recorder) = progress.recorded(
        "report",
        json!({"times": 1, "total": 4.0, "message": "half\u{1b}[31m\u{202e} w\u{200b}ay"}),
        &Limits::default(),
    );
    assert_eq!(
        finished.result.unwrap().structured.unwrap()["accepted"],
        json!(1)
    );
    let reports = recorder.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].done, reports[0].total), (1.0, Some(4.0)));
    assert_eq!(
        reports[0].message.as_deref(),
        Some("half[31m way"),
        "nothing that deceives"
    );

    // A flood is thinned out, not an error.
    let (finished, recorder) =
        progress.recorded("report", json!({"times": 5_000}), &Limits::default());
    assert_eq!(
        finished.result.unwrap().structured.unwrap()["accepted"],
        json!(5_000)
    );
    assert!(
        recorder.reports().len() < 50,
        "{}",
        recorder.reports().len()
    );

    let (finished, recorder) = progress.recorded("nonsense", none(), &Limits::default());
    // 5 and 1 would be numbers, but come with a total that is none.
    assert_eq!(
        finished.result.unwrap().structured.unwrap()["accepted"],
        json!(0)
    );
    assert!(recorder.reports().is_empty());
}

#[test]
fn progress_is_refused_when_not_granted() {
    let progress = guest(portreeve_test_artifacts::PROGRESS);
    let refusal = Failure::new(
        ErrorCode::PermissionDenied,
        "not-granted",
        "ask your operator",
    );
    let recorder = Recorder::refusing(refusal);
    let finished =
        run(progress.calling("report", json!({"times": 2}), &Limits::default(), &recorder));
    let answer = finished.result.unwrap().structured.unwrap();
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(answer["failure"], json!("ask your operator"));
    assert!(recorder.reports().is_empty());
}
