//! An instance that lives on from turn to turn: it remembers, and is bounded turn by turn.

use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{
    Arguments, CallError, Config, ErrorCode, Finished, GivenMessage, Handled, Outcome, Resident,
    Target,
};
use serde_json::{Value, json};

use crate::support::{Guest, Recorder, guest, limit_of, none, run, text};

fn post() -> Guest {
    guest(portreeve_test_artifacts::POST)
}

async fn started(
    post: &Guest,
    limits: &Limits,
    recorder: &Recorder,
) -> Result<Resident, CallError> {
    post.template.start(limits, recorder.context()).await.result
}

fn resident(limits: &Limits) -> Resident {
    run(started(&post(), limits, &Recorder::default())).unwrap_or_else(|error| panic!("{error}"))
}

fn turn(resident: &mut Resident, tool: &str, arguments: Value) -> Finished<Outcome> {
    turn_for(resident, tool, arguments, &Recorder::default())
}

fn turn_for(
    resident: &mut Resident,
    tool: &str,
    arguments: Value,
    recorder: &Recorder,
) -> Finished<Outcome> {
    let arguments = Arguments::new(arguments, &Limits::default()).unwrap();
    run(resident.call(Target::Tool(tool), &arguments, recorder.context()))
}

fn turns(resident: &mut Resident) -> Value {
    let seen = turn(resident, "seen", none());
    seen.result.unwrap().structured.unwrap()["turns"].clone()
}

fn act(what: &str) -> Value {
    json!({ "what": what })
}

fn message(text: &str) -> GivenMessage {
    GivenMessage {
        id: "m-1".to_owned(),
        topic: "t".to_owned(),
        position: 1,
        time_ms: 0,
        payload: text.as_bytes().to_vec(),
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
        key: None,
        source: "somebody".to_owned(),
    }
}

#[test]
fn it_remembers_from_turn_to_turn() {
    let recorder = Recorder {
        config: Config::new(json!({"start": "x"}).as_object().unwrap().clone()),
        ..Recorder::default()
    };
    let mut resident =
        run(started(&post(), &Limits::default(), &recorder)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(turns(&mut resident), json!(1));
    let answered = turn(&mut resident, "act", act("hello")).result.unwrap();
    assert_eq!(text(&answered), "hello");
    let handled = run(resident.handle(&message(""), 1, recorder.context()));
    assert_eq!(handled.result.unwrap(), Handled::Ack);
    let answer = run(resident.respond(&message("and you?"), recorder.context()));
    assert_eq!(answer.result.unwrap().payload, b"and you?");
    // `start` was called once.
    let seen = turn(&mut resident, "seen", none()).result.unwrap();
    let seen = seen.structured.unwrap();
    assert_eq!((&seen["turns"], &seen["start"]), (&json!(5), &json!("x")));
    assert_eq!(seen["caller"], "tester");
    // What the plugin says is no end of it, and neither are arguments that it has no use for.
    let failed = turn(&mut resident, "act", act("fail locked")).result;
    assert_eq!(failed.unwrap_err().failure.reason, "locked");
    assert!(turn(&mut resident, "act", none()).result.is_err());
    assert!(turn(&mut resident, "none", none()).result.is_err());
    assert!(!resident.is_broken());
    assert_eq!(turns(&mut resident), json!(7));
}

#[test]
fn bare_functions_have_turns_too() {
    let state = guest(portreeve_test_artifacts::STATE);
    let mut resident = run(started(&state, &Limits::default(), &Recorder::default()))
        .unwrap_or_else(|e| panic!("{e}"));
    for count in 1..4 {
        let counted = turn(&mut resident, "count", none()).result.unwrap();
        assert_eq!(counted.structured.unwrap()["count"], json!(count));
    }
}

#[test]
fn a_failed_start_is_no_instance() {
    for (start, says) in [("fail today", "told to fail"), ("trap", "gave up")] {
        let recorder = Recorder {
            config: Config::new(json!({ "start": start }).as_object().unwrap().clone()),
            ..Recorder::default()
        };
        match run(started(&post(), &Limits::default(), &recorder)) {
            Err(error) => assert!(error.failure.message.contains(says), "{error}"),
            Ok(_) => panic!("it started"),
        }
    }
    let limits = Limits {
        timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let recorder = Recorder {
        config: Config::new(json!({"start": "sleep 60000"}).as_object().unwrap().clone()),
        ..Recorder::default()
    };
    let error = run(started(&post(), &limits, &recorder))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.failure.code, ErrorCode::Timeout, "{error}");
}

/// Each turn has the fuel of a call: what is left of one is not the next one's, nor is what one
/// has used missing in the next.
#[test]
fn fuel_is_the_turns_own() {
    let limits = Limits {
        fuel: 20_000_000,
        ..Limits::default()
    };
    let spin = guest(portreeve_test_artifacts::SPIN);
    let mut resident =
        run(started(&spin, &limits, &Recorder::default())).unwrap_or_else(|e| panic!("{e}"));
    let mut used = Vec::new();
    for _ in 0..5 {
        let worked = turn(&mut resident, "work", json!({"rounds": 1_000_000}));
        worked.result.unwrap();
        used.push(worked.usage.fuel);
    }
    assert!(used.iter().all(|used| *used > 4_000_000), "{used:?}");
    let ended = turn(&mut resident, "spin", none());
    assert_eq!(limit_of(&ended).setting, "fuel");
    assert!(resident.is_broken());
}

/// So are time, host calls and output; a turn that is stopped is the instance's last.
#[test]
fn what_stops_a_turn_breaks_the_instance() {
    // Long enough to fill a memory on a machine that has other things to do; and fuel that lasts
    // longer on any.
    let limits = Limits {
        timeout: Duration::from_secs(2),
        fuel: 1_000_000_000_000,
        ..Limits::default()
    };
    for (what, setting) in [
        ("spin", Some("timeout")),
        ("sleep 60000", Some("timeout")),
        ("fill", Some("memory")),
        ("trap", None),
    ] {
        let mut resident = resident(&limits);
        // Time that passes between turns is nobody's.
        std::thread::sleep(Duration::from_millis(20));
        turn(&mut resident, "act", act("sleep 1100"))
            .result
            .unwrap();
        turn(&mut resident, "act", act("sleep 1100"))
            .result
            .unwrap();
        let stopped = turn(&mut resident, "act", act(what));
        match setting {
            Some(setting) => assert_eq!(limit_of(&stopped).setting, setting),
            None => assert_eq!(stopped.result.unwrap_err().failure.reason, "plugin-trapped"),
        }
        assert!(resident.is_broken(), "{what}");
        // There is no other turn.
        let after = turn(&mut resident, "seen", none()).result.unwrap_err();
        assert_eq!(after.failure.reason, "host-error");
    }
}

#[test]
fn host_calls_and_output_are_counted_by_turn() {
    let limits = Limits {
        host_calls: 2_000,
        output: ByteSize::kib(1),
        ..Limits::default()
    };
    let calls = guest(portreeve_test_artifacts::SPIN);
    let mut resident =
        run(started(&calls, &limits, &Recorder::default())).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..3 {
        turn(&mut resident, "read_clock", json!({"times": 1_500}))
            .result
            .unwrap();
    }
    let ended = turn(&mut resident, "read_clock", json!({"times": 2_500}));
    assert_eq!(limit_of(&ended).setting, "host-calls");
}

/// Memory is the instance's: what it has kept counts in each turn, and is told.
#[test]
fn memory_is_the_instances() {
    let memory = guest(portreeve_test_artifacts::POST);
    let mut resident = run(started(&memory, &Limits::default(), &Recorder::default()))
        .unwrap_or_else(|e| panic!("{e}"));
    let first = turn(&mut resident, "seen", none()).usage.memory_peak;
    assert!(first > 0);
    let second = turn(&mut resident, "seen", none()).usage.memory_peak;
    assert!(second >= first);
}

/// A turn goes on when its caller has left: the instance is not only this caller's.
#[test]
fn a_cancelled_turn_may_end_well() {
    let mut resident = resident(&Limits::default());
    let recorder = Recorder::default();
    recorder.cancel.cancel();
    let done = turn_for(&mut resident, "act", act("until-cancelled"), &recorder);
    done.result.unwrap();
    assert!(!resident.is_broken());
    assert_eq!(turns(&mut resident), json!(2));
}

/// A turn that its host gives up leaves an instance that nobody can say anything of.
#[test]
fn a_turn_that_is_given_up_breaks_the_instance() {
    let mut resident = resident(&Limits::default());
    let arguments = Arguments::new(act("sleep 60000"), &Limits::default()).unwrap();
    run(async {
        let turn = resident.call(
            Target::Tool("act"),
            &arguments,
            Recorder::default().context(),
        );
        let pause = tokio::time::sleep(Duration::from_millis(50));
        tokio::select! {
            _ = turn => panic!("it ended"),
            () = pause => {}
        }
    });
    assert!(resident.is_broken());
}

#[test]
fn it_is_told_that_it_ends() {
    let resident = resident(&Limits::default());
    let recorder = Recorder::default();
    let stopped = run(resident.stop(Duration::from_secs(2), recorder.context()));
    stopped.result.unwrap();
    let lines = recorder.lines();
    let said = lines
        .iter()
        .map(|(_, line)| line.as_str())
        .collect::<Vec<_>>();
    assert!(
        said.first()
            .is_some_and(|line| line.starts_with("stopping within ")),
        "{said:?}"
    );
}
