//! What the documents say is so.

use std::collections::BTreeSet;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::settings::ServeLimits;

use crate::{files, read, root};

/// The fenced blocks of a language in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .map(str::to_owned)
        .collect()
}

/// Every limit is a row of the README's table, with its default, and the test that the row
/// names exists.
#[test]
fn the_limits_table_is_true() {
    let readme = read("README.md");
    let tests: String = files("tests", &[".rs"])
        .iter()
        .chain(&files("host", &[".rs"]))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let of_plugins = Limits::fields().into_iter().map(|field| ("", field));
    let of_clients = ServeLimits::fields()
        .into_iter()
        .map(|field| ("serve.", field));
    for (table, field) in of_plugins.chain(of_clients) {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{table}{}` |", field.setting)))
            .unwrap_or_else(|| panic!("no row for `{table}{}`", field.setting));
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[1], field.default, "{row}");
        for test in cells[3]
            .split(',')
            .map(|name| name.trim().trim_matches('`'))
        {
            assert!(
                tests.contains(&format!("fn {test}(")),
                "{}: no test {test}",
                field.setting
            );
        }
    }
}

/// Every row of the tables of threats names tests that exist.
#[test]
fn no_threat_is_untested() {
    let readme = read("host/README.md");
    let tests: String = files("tests", &[".rs"])
        .iter()
        .chain(&files("host", &[".rs"]))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let sections = readme
        .split("\n## ")
        .filter(|section| section.starts_with("Threats"));
    let rows: Vec<_> = sections
        .flat_map(|section| section.lines().filter(|line| line.starts_with('|')).skip(2))
        .collect();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        for name in cells[3].split(',') {
            let name = name.trim().trim_matches('`');
            assert!(
                tests.contains(&format!("fn {name}(")),
                "no test {name}: {row}"
            );
        }
    }
}

/// Each case of the broker's conformance suite holds something that is promised, and each promise
/// names its cases.
#[test]
fn every_promise_of_messages_has_its_cases() {
    let suite = read("host/broker/tests/conformance/main.rs");
    let (_, cases) = suite.split_once("\ncases! {").unwrap();
    let (cases, _) = cases.split_once("\n}").unwrap();
    let cases: BTreeSet<&str> = cases
        .lines()
        .filter_map(|line| line.trim().strip_suffix([',', ';']))
        .collect();
    assert!(cases.len() > 50, "{cases:?}");
    let readme = read("host/README.md");
    let (_, promises) = readme.split_once("## Messages: what is promised").unwrap();
    let (promises, _) = promises.split_once("\n## ").unwrap();
    for case in &cases {
        assert!(
            promises.contains(&format!("`{case}`")),
            "no promise: {case}"
        );
    }
    for row in promises
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let named = row.split('`').skip(1).step_by(2);
        assert!(named.clone().any(|name| cases.contains(name)), "{row}");
    }
}

/// The README's two commands are what CI runs.
#[test]
fn ci_runs_the_commands_of_the_readme() {
    let readme = read("README.md");
    let ci = read(".ci/run");
    let commands = blocks(&readme, "sh");
    for command in &commands[..2] {
        assert!(ci.contains(command.trim()), "CI does not run `{command}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(".", &[".md"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let linked = path.parent().unwrap().join(target);
            assert!(linked.exists(), "{}: {target}", path.display());
        }
    }
}

/// The examples of manifests in the documents are read by the host.
#[test]
fn manifests_in_the_documents_are_valid() {
    for document in ["README.md", "host/README.md", "sdk/README.md"] {
        for block in blocks(&read(document), "toml") {
            let mistakes = if block.contains("[plugin]") {
                portreeve_manifest::plugin::PluginManifest::parse(document, &block).err()
            } else if block.contains("[plugins.") {
                portreeve_manifest::project::ProjectManifest::parse(document, &block).err()
            } else {
                continue;
            };
            assert!(mistakes.is_none(), "{}", mistakes.unwrap());
        }
    }
}

/// Nothing unfinished, and nothing of one machine.
#[test]
fn no_loose_ends() {
    // Spelled in pieces, so that this file is none.
    let loose = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("/ho", "me/"),
        concat!("#[ig", "nore"),
    ];
    for path in files(".", &[".rs", ".md", ".toml", ".wit", ".wat"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in loose {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn the_top_level_holds_what_the_design_says() {
    let known = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "fuzz",
        "host",
        "plugins",
        "rust-toolchain.toml",
        "sdk",
        "target",
        "tests",
        "wit",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name.starts_with('.') || known.contains(&name.as_str()),
            "{name}"
        );
    }
}
