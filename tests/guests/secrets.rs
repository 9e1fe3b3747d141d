//! Secrets: nothing without a grant, no value without its own.

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{ErrorCode, Origin};
use serde_json::{Value, json};

use crate::support::{Guest, Recorder, guest, run};

fn call(guest: &Guest, tool: &str, arguments: Value, recorder: &Recorder) -> Value {
    let limits = Limits {
        handles: 20,
        ..Limits::default()
    };
    let finished = run(guest.calling(tool, arguments, &limits, recorder));
    Value::Object(finished.result.unwrap().structured.unwrap())
}

#[test]
fn a_secret_is_used_without_being_seen() {
    let secrets = guest(portreeve_test_artifacts::SECRETS);
    let recorder = Recorder::with_secret("token", "CANARY");
    let answer = call(&secrets, "look", json!({"name": "token"}), &recorder);
    assert_eq!(
        answer,
        json!({"name": "token", "kind": "bearer", "expires": 5_000, "placeholder": "<token>"})
    );
    assert!(recorder.revealed().is_empty());
}

#[test]
fn a_secret_is_shown_where_that_is_granted_and_as_long_as_it_is() {
    let secrets = guest(portreeve_test_artifacts::SECRETS);
    let recorder = Recorder::with_secret("token", "CANARY");
    let answer = call(
        &secrets,
        "read",
        json!({"name": "token", "times": 5}),
        &recorder,
    );
    // Each use asks anew: the handle outlives the grant and gives nothing.
    assert_eq!(
        answer,
        json!({"read": 3, "value": "CANARY", "failure": "not granted"})
    );
    assert_eq!(recorder.revealed(), ["token"; 3]);
}

#[test]
fn what_is_not_granted_is_refused() {
    let secrets = guest(portreeve_test_artifacts::SECRETS);
    let recorder = Recorder::with_secret("token", "CANARY");
    for arguments in [json!({"name": "other"}), json!({"name": ""})] {
        let limits = Limits::default();
        let finished = run(secrets.calling("look", arguments, &limits, &recorder));
        let error = finished.result.unwrap_err();
        assert_eq!(error.origin, Origin::Plugin);
        assert_eq!(error.failure.code, ErrorCode::PermissionDenied);
    }
    let long = run(secrets.calling(
        "long_name",
        json!({"bytes": 100_000}),
        &Limits::default(),
        &recorder,
    ));
    assert_eq!(
        long.result.unwrap_err().failure.code,
        ErrorCode::InvalidArgument
    );
}

#[test]
fn handles_to_secrets_are_bounded() {
    let secrets = guest(portreeve_test_artifacts::SECRETS);
    let recorder = Recorder::with_secret("token", "CANARY");
    let limits = Limits {
        handles: 20,
        ..Limits::default()
    };
    let finished = run(secrets.calling("hoard", json!({"name": "token"}), &limits, &recorder));
    // Either bound ends it: the table's, which the guest is told, or the component's own.
    match finished.result {
        Ok(outcome) => {
            let answer = outcome.structured.unwrap();
            assert!(answer["handles"].as_u64().unwrap() <= 20, "{answer:?}");
        }
        Err(error) => assert_eq!(error.limit.unwrap().setting, "handles"),
    }
}
