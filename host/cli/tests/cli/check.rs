//! An author's requests against what their component imports.

use portreeve_test_artifacts as programs;
use serde_json::Value;

use crate::support::{CALCULATOR, Sandbox};

const PROGRESS: &str = "[requests.ui]\nprogress = \"show how far it has come\"\n";
const FILES: &str = "[[requests.directories]]\npath = \"/notes\"\nreason = \"keep notes\"\n";

/// What `check` finds of a component and requests: the levels and sentences.
fn findings(component: &[u8], requests: &str) -> Vec<String> {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plugin.toml",
        format!(
            "schema = 1\n[plugin]\nid = \"p\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n{requests}"
        ),
    );
    sandbox.write("dist/p-1.0.0.wasm", component);
    let checked = sandbox.run(&["check", "--json"]).exits(0).json();
    let findings = checked["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .iter()
        .map(|found| format!("{}: {}", text(&found["level"]), text(&found["message"])))
        .filter(|found| !found.contains("p-1.0.0.wasm") && !found.contains("toml de"))
        .filter(|found| !found.contains("Cargo.toml"))
        .collect()
}

fn of_program(path: &str, requests: &str) -> Vec<String> {
    findings(&std::fs::read(path).unwrap(), requests)
}

const NAMES: &str = "unknown: which hosts, paths and names it uses: imports don't show them";

#[test]
fn what_rust_imports_tells() {
    assert_eq!(
        of_program(programs::PROGRESS, PROGRESS),
        [
            "fine: it requests `ui.progress`, and imports portreeve:ui/progress@0.1.0",
            NAMES
        ]
    );
    let [unneeded, names] = &of_program(programs::ECHO, PROGRESS)[..] else {
        panic!("two findings");
    };
    assert!(
        unneeded.starts_with("warning: it requests `ui.progress`, but imports nothing"),
        "{unneeded}"
    );
    assert_eq!(names, NAMES);
    let unrequested = of_program(programs::NETWORK, "");
    assert!(unrequested[0].starts_with("warning: it imports wasi:sockets/"));
    assert!(unrequested[0].contains("does not request `sockets`"));
}

/// Standard libraries import files, clocks and standard output whatever they are used for.
#[test]
fn ordinary_imports_raise_no_alarm() {
    for program in [
        programs::ECHO,
        programs::FILESYSTEM,
        programs::CLOCKS_RANDOM,
        programs::CONTEXT,
        programs::OUTPUT,
    ] {
        assert_eq!(of_program(program, ""), [""; 0], "{program}");
    }
    let files = of_program(programs::FILESYSTEM, FILES);
    assert!(files[0].starts_with("fine: it requests `directories`"));
}

#[test]
fn javascript_tells_nothing_by_importing() {
    let made = CALCULATOR
        .replace(
            "(component",
            r#"(component (import "portreeve:ui/progress@0.1.0" (instance))"#,
        )
        .replace(
            "(core module $m",
            r#"(core module $m (@producers (language "JavaScript" ""))"#,
        );
    let made = wat::parse_str(made).unwrap();
    for (requests, expected) in [
        (
            PROGRESS,
            "unknown: whether it uses `ui.progress`, which it requests and imports: it is made of JavaScript, which may import more than it uses",
        ),
        (
            "",
            "unknown: whether it uses `ui.progress`, which it imports without a request (that use would be refused): it is made of JavaScript, which may import more than it uses",
        ),
    ] {
        assert_eq!(findings(&made, requests), [expected, NAMES]);
    }
    // What it doesn't import it can't use, whatever it is made of.
    let files = findings(&made, FILES);
    assert!(files[0].starts_with("warning: it requests `directories`"));
}
