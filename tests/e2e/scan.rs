//! Scans through the binary: what is shown, what is refused with which words, what an exception
//! does, and what is on record.

use std::path::PathBuf;
use std::process::Output;

use portreeve_supply::{PackParts, pack};
use portreeve_test_artifacts as programs;
use serde_json::Value;

use crate::support::Project;

/// A plugin with a private key among its files.
fn plugin_with_a_key(project: &Project) -> PathBuf {
    let dashes = "-".repeat(5);
    let body = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\nkq3yXc1PZs8rN0vLwQhTg7uEoA5bJdRi2fGpC9mKzVxYtSn4HaMlUeBj6OIwFqDr";
    let key =
        format!("{dashes}BEGIN PRIVATE KEY{dashes}\n{body}\n{dashes}END PRIVATE KEY{dashes}\n");
    let mut component = std::fs::read(programs::BARE_DOCUMENTED).unwrap();
    // A custom section: its id, its size, the size of its name.
    let (name, data) = (b"assets", key.as_bytes());
    let size = 1 + name.len() + data.len();
    assert!((128..16_384).contains(&size));
    component.extend([
        0,
        (size & 0x7f) as u8 | 0x80,
        (size >> 7) as u8,
        name.len() as u8,
    ]);
    component.extend(name);
    component.extend(data);
    let parts = PackParts {
        manifest_toml: "schema = 1\n[plugin]\nid = \"keyed\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n",
        ..PackParts::default()
    };
    let path = project.path().join("keyed.wasm");
    std::fs::write(&path, pack(&component, &parts).unwrap()).unwrap();
    path
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let output = project.run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

const POLICY: &str = "[policy.scan]\ndeny = \"high\"\n";

#[test]
fn what_the_policy_does_not_allow_is_refused_and_excepted_with_a_reason() {
    let project = Project::with(POLICY);
    plugin_with_a_key(&project);
    let file = project.path().join("keyed.wasm");
    let add = ["add", file.to_str().unwrap()];
    let refused = project.run(&add);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    for part in [
        "scan: private-key (high): section assets, ",
        "a private key in PEM",
        "`portreeve scan keyed` shows all that was found",
        "exceptions = [{ plugin = \"keyed\", rules = [\"private-key\"], reason = \"...\" }]",
    ] {
        assert!(said(&refused).contains(part), "{part}: {}", said(&refused));
    }
    assert!(
        !std::fs::read_to_string(project.manifest())
            .unwrap()
            .contains("[plugins")
    );
    let text = said(&project.run(&["audit", "tail", "--json"]));
    assert!(
        text.contains("\"refusal\"") && text.contains("scan: private-key"),
        "{text}"
    );

    project.write(&format!(
        "{POLICY}exceptions = [{{ plugin = \"keyed\", rules = [\"private-key\"], reason = \"the key of its own demo\" }}]\n"
    ));
    let added = project.run(&add);
    assert!(added.status.success(), "{}", said(&added));
    assert!(
        said(&added).contains("[high, excepted] private-key"),
        "{}",
        said(&added)
    );
    let shown = project.run(&["scan", "keyed"]);
    assert!(shown.status.success(), "{}", said(&shown));
    assert!(
        said(&shown).contains("excepted: the key of its own demo"),
        "{}",
        said(&shown)
    );
    let tail = said(&project.run(&["audit", "tail", "--json"]));
    assert!(tail.contains("\"excepted\":[{"), "{tail}");

    // Without the exception it is not run any more, and says why.
    let manifest = std::fs::read_to_string(project.manifest()).unwrap();
    let lines = manifest
        .lines()
        .filter(|line| !line.starts_with("exceptions") && !line.starts_with("schema"));
    project.write(&lines.collect::<Vec<_>>().join("\n"));
    let listed = project.run(&["list"]);
    assert!(
        said(&listed).contains("scan: private-key (high)"),
        "{}",
        said(&listed)
    );
    let shown = project.run(&["scan"]);
    assert_eq!(shown.status.code(), Some(3), "{}", said(&shown));
}

#[test]
fn what_is_found_is_shown_with_its_place_and_the_arithmetic() {
    let project = Project::with("");
    let file = plugin_with_a_key(&project);
    let file = file.to_str().unwrap();
    let shown = said(&project.run(&["scan", file]));
    for part in ["[high] private-key: section assets, ", "= 0\n", "score "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let report = json(&project, &["scan", file, "--json"])["plugins"][0]["report"].clone();
    let finding = &report["list"][0];
    assert_eq!(finding["rule"], "private-key");
    let (offset, length) = (
        finding["where"]["offset"].as_u64().unwrap(),
        finding["where"]["length"].as_u64().unwrap(),
    );
    let bytes = std::fs::read(file).unwrap();
    let found = &bytes[offset as usize..(offset + length) as usize];
    assert!(found.starts_with(b"-----BEGIN"), "{found:?}");
    // The score, redone from what is printed.
    let (mut left, mut coverage) = (0, 0);
    for aspect in report["score"]["aspects"].as_array().unwrap() {
        if aspect["unknown"].is_null() {
            let taken = aspect["taken"]
                .as_array()
                .unwrap()
                .iter()
                .map(|taken| taken["points"].as_u64().unwrap());
            let of = aspect["of"].as_u64().unwrap();
            left += of.saturating_sub(taken.sum());
            coverage += of;
        }
    }
    assert_eq!(report["score"]["score"], 100 * left / coverage);
    let inspected = json(&project, &["inspect", file, "--json"]);
    assert_eq!(inspected["scan"], report);
    let rules = json(&project, &["scan", "--rules", "--json"]);
    assert!(rules["rules"].as_array().unwrap().len() > 40);
}

#[test]
fn exceptions_name_rules_that_there_are() {
    let project = Project::with(
        "[policy.scan]\nexceptions = [{ plugin = \"p\", rules = [\"no-such\"], reason = \"r\" }]\n",
    );
    let file = plugin_with_a_key(&project);
    let refused = project.run(&["add", file.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("`no-such`"), "{}", said(&refused));
}
