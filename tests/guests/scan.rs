//! What a scan says of components that mean no harm: the first-party plugins and all test
//! programs. None of it is worth more than a look, but for programs that were made to be odd.

use portreeve_manifest::policy::Severity;
use portreeve_supply::scan::{self, Examined};
use portreeve_supply::{IntakeLimits, Package};

use crate::plugins::build;

/// Programs whose oddities are real, and what is to be found of them.
const ODD: [(&str, &str); 3] = [
    ("huge_memory", "memory-declared"),
    ("huge_table", "table-declared"),
    ("unknown_import", "import-foreign"),
];

/// The first-party plugins: a test of the workspace holds that these are all.
const PLUGINS: [&str; 9] = [
    "data",
    "datetime",
    "digest-writer",
    "feed-watcher",
    "fetch",
    "file-searcher",
    "github",
    "markdown",
    "notes-keeper",
];

/// None for what can't be read: some programs are no components that a host takes in.
fn examine(bytes: &[u8], name: &str) -> Option<Examined> {
    let package = Package::read(bytes, name, &IntakeLimits::default()).ok()?;
    Some(scan::scan(bytes, &package))
}

/// The rules above `low` that find something, and what they find.
fn alarms(examined: &Examined) -> (String, Vec<String>) {
    let list = examined.findings.list.iter();
    let alarms: Vec<_> = list
        .filter(|finding| finding.rule.severity > Severity::Low)
        .collect();
    let mut rules: Vec<_> = alarms.iter().map(|finding| finding.rule.id).collect();
    rules.sort_unstable();
    rules.dedup();
    let told = alarms
        .iter()
        .map(|f| format!("{}: {}: {}", f.rule.id, f.place, f.what));
    (rules.join(" "), told.collect())
}

#[test]
fn no_plugin_of_ours_raises_an_alarm() {
    let dirs = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins")).unwrap();
    let mut names: Vec<String> = dirs
        .map(|dir| dir.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, PLUGINS);
    for name in PLUGINS {
        let examined = examine(&std::fs::read(build(name)).unwrap(), name).unwrap();
        assert_eq!(alarms(&examined), (String::new(), Vec::new()), "{name}");
    }
}

#[test]
fn no_test_program_raises_an_alarm_that_it_was_not_made_for() {
    let mut examined_of = 0;
    let mut wrong = Vec::new();
    for (name, path) in portreeve_test_artifacts::ALL {
        let Some(examined) = examine(&std::fs::read(path).unwrap(), name) else {
            continue;
        };
        examined_of += 1;
        let (found, told) = alarms(&examined);
        let expected = ODD
            .iter()
            .find(|(odd, _)| odd == name)
            .map_or("", |(_, rules)| rules);
        if found != expected {
            wrong.push(format!(
                "{name}: {expected:?} was expected, and {found:?} found: {}",
                told.join("; ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examined_of > 40, "{examined_of}");
}
