//! Asking a plugin for its tools: without grants, within bounds, and never trusting the
//! answer.

use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_runtime::Origin;

use crate::support::{Guest, guest};

/// Tight enough that a plugin that never answers ends quickly.
fn limits() -> Limits {
    Limits {
        timeout: Duration::from_secs(60),
        fuel: 500_000_000,
        ..Limits::default()
    }
}

/// Why the plugin's list was not taken.
fn refused(guest: &Guest) -> String {
    let error = guest.list(&limits()).unwrap_err();
    format!(
        "{} {} {}",
        error.origin as u8, error.failure.reason, error.failure.message
    )
}

#[test]
fn a_good_list() {
    let tools = guest(portreeve_test_artifacts::SPIN)
        .list(&limits())
        .unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(
        names,
        ["spin", "spin_clock", "spin_context", "read_clock", "work"]
    );
    assert!(tools.iter().all(|tool| tool.description.is_some()));
    assert!(
        guest(portreeve_test_artifacts::TOOLS_NONE)
            .list(&limits())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn lists_that_can_not_be_used() {
    for program in [
        portreeve_test_artifacts::TOOLS_NOT_JSON,
        portreeve_test_artifacts::TOOLS_NAMELESS,
        portreeve_test_artifacts::TOOLS_MISNAMED,
        portreeve_test_artifacts::TOOLS_WITHOUT_SCHEMA,
        portreeve_test_artifacts::TOOLS_BAD_SCHEMA,
        portreeve_test_artifacts::TOOLS_DUPLICATE,
        portreeve_test_artifacts::TOOLS_MANY,
        portreeve_test_artifacts::TOOLS_HUGE,
    ] {
        let error = guest(program).list(&limits()).unwrap_err();
        assert_eq!(error.origin, Origin::Plugin, "{program}");
        assert_eq!(error.failure.reason, "invalid-tools", "{program}: {error}");
        assert!(error.failure.message.len() < 2_000, "{program}");
    }
}

#[test]
fn lists_that_never_come() {
    for (program, part) in [
        (portreeve_test_artifacts::TOOLS_SPINNING, "limit-fuel"),
        (portreeve_test_artifacts::TOOLS_TRAPPING, "plugin-trapped"),
        (portreeve_test_artifacts::TOOLS_FAILING, ""),
    ] {
        let told = refused(&guest(program));
        assert!(told.contains(part), "{program}: {told}");
    }
}

#[test]
fn a_bare_component_is_no_provider() {
    let bare = guest(portreeve_test_artifacts::BARE_VALUES);
    assert!(!bare.template.is_provider());
    assert!(refused(&bare).contains("no-provider"));
}

/// The component that was compiled against `portreeve:*@0.1.0` when it was new: every
/// later host must run it.
#[test]
fn the_golden_component_runs() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/tool-plugin-0.1.0.wasm"
    );
    let golden = guest(path);
    let tools = golden.list(&limits()).unwrap();
    assert!(!tools.is_empty());
}
