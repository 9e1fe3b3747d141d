//! Each limit stops a guest that goes over it, says so, and leaves one that stays within it
//! alone. The limits table of the README names these tests.

use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::ErrorCode;
use serde_json::json;

use crate::support::{Recorder, guest, guest_with, limit_of, none, run, text};

fn limits() -> Limits {
    Limits::default()
}

#[test]
fn fuel_ends_a_loop() {
    let spin = guest(portreeve_test_artifacts::SPIN);
    let tight = Limits {
        fuel: 50_000_000,
        ..limits()
    };
    let finished = spin.call_within("spin", none(), &tight);
    assert_eq!(limit_of(&finished).setting, "fuel");
    assert_eq!(finished.usage.fuel, 50_000_000);
    assert!(
        spin.call_within("work", json!({"rounds": 1000}), &tight)
            .result
            .is_ok()
    );
}

#[test]
fn fuel_is_used_up_by_host_calls_too() {
    let spin = guest(portreeve_test_artifacts::SPIN);
    for tool in ["spin_clock", "spin_context"] {
        let finished = spin.call_within(
            tool,
            none(),
            &Limits {
                fuel: 50_000_000,
                ..limits()
            },
        );
        assert_eq!(limit_of(&finished).setting, "fuel", "{tool}");
        // Without the charge it would be millions.
        assert!(
            finished.usage.host_calls <= 50_000,
            "{tool}: {:?}",
            finished.usage
        );
    }
}

#[test]
fn host_calls_are_counted() {
    let spin = guest(portreeve_test_artifacts::SPIN);
    let few = Limits {
        host_calls: 1_000,
        ..limits()
    };
    let finished = spin.call_within("spin_clock", none(), &few);
    assert_eq!(limit_of(&finished).setting, "host-calls");
    assert_eq!(finished.usage.host_calls, 1_001);
    assert!(
        spin.call_within("read_clock", json!({"times": 100}), &few)
            .result
            .is_ok()
    );
}

/// Ends each of these calls in time, though it would go on for ever.
#[test]
fn timeout_ends_loops_sleepers_and_blocked_io() {
    let short = Limits {
        timeout: Duration::from_millis(200),
        fuel: u64::MAX >> 11,
        host_calls: u64::MAX >> 11,
        ..limits()
    };
    for (program, tool, arguments) in [
        (portreeve_test_artifacts::SPIN, "spin", none()),
        (portreeve_test_artifacts::SPIN, "spin_clock", none()),
        (
            portreeve_test_artifacts::SLEEP,
            "sleep",
            json!({"ms": 3_600_000}),
        ),
        (portreeve_test_artifacts::BLOCKED_IO, "poll_forever", none()),
        (
            portreeve_test_artifacts::BLOCKED_IO,
            "poll_list_forever",
            none(),
        ),
        (portreeve_test_artifacts::OUTPUT, "flood_forever", none()),
        (portreeve_test_artifacts::LIFECYCLE_SPINS, "call_me", none()),
    ] {
        let guest = guest(program);
        let finished = guest.call_within(tool, arguments, &short);
        assert_eq!(limit_of(&finished).setting, "timeout", "{program} {tool}");
        let error = finished.result.unwrap_err();
        assert_eq!(error.failure.code, ErrorCode::Timeout, "{tool}");
    }
    let sleep = guest(portreeve_test_artifacts::SLEEP);
    assert!(sleep.call("sleep", json!({"ms": 1})).result.is_ok());
}

#[test]
fn memory_is_bounded_over_all_memories() {
    let memory = guest(portreeve_test_artifacts::MEMORY);
    let small = Limits {
        memory: ByteSize::mib(8),
        ..limits()
    };
    for (tool, arguments) in [
        ("hog", none()),
        ("touch", json!({"mib": 9})),
        ("grow", json!({"pages": 200})),
    ] {
        let finished = memory.call_within(tool, arguments, &small);
        assert_eq!(limit_of(&finished).setting, "memory", "{tool}");
        assert!(finished.usage.memory_peak <= 8 << 20, "{tool}");
    }
    let finished = memory.call_within("touch", json!({"mib": 4}), &small);
    assert!(finished.result.is_ok());
    assert!(finished.usage.memory_peak >= 4 << 20);

    // The default is a bound too.
    let finished = memory.call("hog", none());
    assert_eq!(limit_of(&finished).allowed, "64 MiB of memory");

    // Several memories, none of them too large by itself.
    let memories = guest(portreeve_test_artifacts::MEMORIES);
    let four = Limits {
        memory: ByteSize::mib(4),
        ..limits()
    };
    let grow = |tool, pages: u32| memories.call_within(tool, json!({"pages": pages}), &four);
    assert!(grow("grow-a", 16).result.is_ok());
    assert_eq!(limit_of(&grow("grow-c", 64)).setting, "memory");
}

#[test]
fn memory_declared_at_the_start_is_bounded() {
    let huge = guest(portreeve_test_artifacts::HUGE_MEMORY);
    assert_eq!(limit_of(&huge.call("pages", none())).setting, "memory");
}

#[test]
fn table_elements_are_bounded() {
    let grow = guest(portreeve_test_artifacts::TABLE_GROW);
    let few = Limits {
        table_elements: 100,
        ..limits()
    };
    let finished = grow.call_within("grow", json!({"elements": 1_000}), &few);
    assert_eq!(limit_of(&finished).setting, "table-elements");
    assert!(
        grow.call_within("grow", json!({"elements": 10}), &few)
            .result
            .is_ok()
    );
}

#[test]
fn instances_memories_and_tables_are_counted() {
    let memories = guest(portreeve_test_artifacts::MEMORIES);
    let one = Limits {
        memories: 1,
        ..limits()
    };
    let finished = memories.call_within("grow-a", json!({"pages": 0}), &one);
    assert_eq!(limit_of(&finished).setting, "memories");

    let finished = memories.call_within(
        "grow-a",
        json!({"pages": 0}),
        &Limits {
            instances: 1,
            ..limits()
        },
    );
    assert_eq!(limit_of(&finished).setting, "instances");

    let table = guest(portreeve_test_artifacts::TABLE_GROW);
    let none_at_all = Limits {
        tables: 0,
        ..limits()
    };
    let finished = table.call_within("grow", json!({"elements": 0}), &none_at_all);
    assert_eq!(limit_of(&finished).setting, "tables");
}

#[test]
fn stack_is_bounded() {
    let recurse = guest(portreeve_test_artifacts::RECURSE);
    assert_eq!(
        limit_of(&recurse.call("native_stack", none())).setting,
        "stack"
    );
    // The guest's own stack lies in its memory; running over it is the guest's fault.
    let error = recurse.call("shadow_stack", none()).result.unwrap_err();
    assert_eq!(error.failure.reason, "plugin-trapped");
    assert_eq!(
        text(&recurse.call("depth", json!({"depth": 100})).result.unwrap()),
        "back"
    );
}

#[test]
fn stack_can_be_set_for_one_plugin() {
    let deep = json!({"depth": 4_000});
    let fits = |stack| {
        let limits = Limits { stack, ..limits() };
        let recurse = guest_with(portreeve_test_artifacts::RECURSE, &limits).unwrap();
        recurse.call_within("depth", deep.clone(), &limits).result
    };
    let small = fits(ByteSize::kib(64)).unwrap_err();
    assert_eq!(small.limit.map(|hit| hit.setting), Some("stack".into()));
    assert!(fits(ByteSize::mib(4)).is_ok());
}

#[test]
fn handles_are_bounded() {
    let handles = guest(portreeve_test_artifacts::HANDLES);
    for tool in ["pollables_forever", "streams_forever"] {
        assert_eq!(
            limit_of(&handles.call(tool, none())).setting,
            "handles",
            "{tool}"
        );
    }
    let few = Limits {
        handles: 50,
        ..limits()
    };
    let opened = handles.call_within("pollables", json!({"count": 100}), &few);
    assert_eq!(limit_of(&opened).setting, "handles");
    assert!(
        handles
            .call_within("open_and_close", json!({"count": 100}), &few)
            .result
            .is_ok()
    );
}

#[test]
fn arguments_are_bounded() {
    let echo = guest(portreeve_test_artifacts::ECHO);
    let small = Limits {
        arguments: ByteSize::kib(1),
        ..limits()
    };
    let long = json!({"text": "x".repeat(2_000)});
    let finished = echo.call_within("echo", long.clone(), &small);
    assert_eq!(limit_of(&finished).setting, "arguments");
    assert_eq!(finished.usage.fuel, 0, "no guest ran");
    assert!(echo.call("echo", long).result.is_ok());
}

#[test]
fn results_are_bounded() {
    let results = guest(portreeve_test_artifacts::RESULTS);
    let small = Limits {
        result: ByteSize::kib(10),
        ..limits()
    };
    for tool in [
        "big_text",
        "big_multibyte_text",
        "big_blob",
        "big_structured",
    ] {
        let finished = results.call_within(tool, json!({"bytes": 20_000}), &small);
        assert_eq!(limit_of(&finished).setting, "result", "{tool}");
        let finished = results.call_within(tool, json!({"bytes": 2_000}), &small);
        assert!(finished.result.is_ok(), "{tool}: {:?}", finished.result);
    }
    // A result larger than what one host call may carry is no host call.
    let wide = Limits {
        host_call: ByteSize::kib(64),
        ..limits()
    };
    let finished = results.call_within("big_text", json!({"bytes": 1_000_000}), &wide);
    assert!(finished.result.is_ok(), "{:?}", finished.result);
    // Many small pieces are as bad as a large one.
    let pieces = results
        .call("many_pieces", json!({"count": 5_000}))
        .result
        .unwrap_err();
    assert_eq!(pieces.failure.reason, "invalid-answer");
}

#[test]
fn what_one_host_call_carries_is_bounded() {
    let calls = guest(portreeve_test_artifacts::HOST_CALLS);
    let small = Limits {
        host_call: ByteSize::kib(64),
        ..limits()
    };
    for (tool, arguments) in [
        ("config_key", json!({"bytes": 100_000})),
        ("progress_message", json!({"bytes": 100_000})),
    ] {
        let finished = calls.call_within(tool, arguments, &small);
        assert_eq!(limit_of(&finished).setting, "host-call", "{tool}");
    }
    assert!(
        calls
            .call_within("config_key", json!({"bytes": 1_000}), &small)
            .result
            .is_ok()
    );
}

#[test]
fn output_is_bounded_and_the_rest_dropped() {
    let output = guest(portreeve_test_artifacts::OUTPUT);
    let small = Limits {
        output: ByteSize::kib(1),
        ..limits()
    };
    for tool in ["flood_stdout", "flood_stderr"] {
        let (finished, recorder) = output.recorded(tool, json!({"bytes": 50_000}), &small);
        assert_eq!(text(&finished.result.unwrap()), "printed", "{tool}");
        let lines = recorder.lines();
        let kept: usize = lines
            .iter()
            .map(|(_, line)| line.matches('x').count())
            .sum();
        assert!((1_000..=1_030).contains(&kept), "{tool}: {kept}");
        let note = &lines.last().unwrap().1;
        assert!(
            note.contains("bytes dropped") && note.contains("1 KiB") && note.contains("`output`"),
            "{note}"
        );
        assert!(finished.usage.output_bytes >= 50_000);
    }
}

/// wassette never answered a call whose output had a multi-byte character at the byte where
/// it was cut.
#[test]
fn a_multibyte_character_where_output_is_cut() {
    let output = guest(portreeve_test_artifacts::OUTPUT);
    for shift in 0..4 {
        let small = Limits {
            output: ByteSize(200),
            ..limits()
        };
        let (finished, recorder) = output.recorded(
            "multibyte",
            json!({"bytes": 10_000, "shift": shift}),
            &small,
        );
        assert_eq!(text(&finished.result.unwrap()), "printed");
        assert!(recorder.lines().len() >= 2);
    }
}

#[test]
fn random_bytes_are_bounded() {
    let calls = guest(portreeve_test_artifacts::HOST_CALLS);
    let finished = calls.call("random", json!({"bytes": 100_000_000}));
    assert!(finished.result.is_err(), "{:?}", finished.result);
    assert!(calls.call("random", json!({"bytes": 100})).result.is_ok());
}

#[test]
fn a_cancelled_call_stops_at_once_and_gives_its_instance_back() {
    let spin = guest(portreeve_test_artifacts::SPIN);
    let sleep = guest(portreeve_test_artifacts::SLEEP);
    let endless = Limits {
        timeout: Duration::from_secs(3_600),
        fuel: u64::MAX >> 11,
        ..limits()
    };
    // More rounds than there are instances: a leaked one would be missed.
    for _ in 0..crate::support::INSTANCES * 2 {
        for (guest, tool, arguments) in [
            (&spin, "spin", none()),
            (&sleep, "sleep", json!({"ms": 3_600_000})),
        ] {
            let recorder = Recorder::default();
            let cancel = recorder.cancel.clone();
            let finished = run(async {
                let call = guest.calling(tool, arguments, &endless, &recorder);
                let after = async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    cancel.cancel();
                };
                tokio::join!(call, after).0
            });
            let error = finished.result.unwrap_err();
            assert_eq!(error.failure.code, ErrorCode::Cancelled, "{tool}");
        }
    }
}

#[test]
fn a_dropped_call_stops() {
    let spin = guest(portreeve_test_artifacts::SPIN);
    let endless = Limits {
        timeout: Duration::from_secs(3_600),
        fuel: u64::MAX >> 11,
        ..limits()
    };
    for _ in 0..crate::support::INSTANCES * 2 {
        let recorder = Recorder::default();
        run(async {
            let call = spin.calling("spin", none(), &endless, &recorder);
            assert!(
                tokio::time::timeout(Duration::from_millis(5), call)
                    .await
                    .is_err()
            );
        });
    }
    // Every instance is back.
    assert!(spin.call("work", json!({"rounds": 10})).result.is_ok());
}
