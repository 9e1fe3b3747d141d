//! The floors: who may use whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::{files, read, root};

/// Each floor with the floors below it that it may use. Siblings never use each other.
const FLOORS: [(&str, &[&str]); 7] = [
    ("manifest", &[]),
    ("state", &["manifest"]),
    ("supply", &["manifest"]),
    ("runtime", &["manifest"]),
    ("core", &["manifest", "state", "supply", "runtime"]),
    ("gateway", &["manifest", "core"]),
    (
        "cli",
        &["manifest", "state", "supply", "runtime", "core", "gateway"],
    ),
];

/// Crates that only these floors may use: what they are there to wrap.
const KEPT: [(&str, &[&str]); 5] = [
    ("sqlx", &["state"]),
    ("wasmtime", &["runtime"]),
    ("wasmtime-wasi", &["runtime"]),
    ("wasmtime-wasi-http", &["runtime"]),
    ("rmcp", &["gateway"]),
];

fn dependencies(floor: &str) -> BTreeSet<String> {
    let manifest: toml::Table = toml::from_str(&read(&format!("host/{floor}/Cargo.toml"))).unwrap();
    manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn a_floor_uses_only_lower_ones() {
    for (floor, below) in FLOORS {
        for dependency in dependencies(floor) {
            let Some(used) = dependency.strip_prefix("portreeve-") else {
                continue;
            };
            assert!(
                below.contains(&used),
                "host/{floor} uses host/{used}, which is not below it"
            );
        }
    }
}

#[test]
fn every_crate_of_the_host_is_a_floor() {
    let known: BTreeSet<_> = FLOORS
        .iter()
        .map(|(floor, _)| (*floor).to_owned())
        .collect();
    let found: BTreeSet<_> = std::fs::read_dir(root().join("host"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(known, found);
}

#[test]
fn wrapped_libraries_stay_wrapped() {
    for (library, floors) in KEPT {
        for (floor, _) in FLOORS {
            let uses = dependencies(floor).contains(library);
            assert!(
                !uses || floors.contains(&floor),
                "host/{floor} uses {library}"
            );
        }
    }
}

/// `manifest` does no I/O.
#[test]
fn the_manifest_floor_does_no_io() {
    for path in files("host/manifest/src", &[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for forbidden in [
            "std::fs",
            "TcpStream",
            "UdpSocket",
            "std::process",
            "std::env",
            "tokio",
        ] {
            assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
        }
    }
}

/// `unsafe` stands where wasmtime requires it, and nowhere else.
#[test]
fn unsafe_code_is_in_one_place() {
    let mut found = BTreeMap::new();
    for path in files("host", &[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let count = text.matches("unsafe {").count();
        if count > 0 {
            found.insert(
                path.strip_prefix(root().join("host"))
                    .unwrap()
                    .display()
                    .to_string(),
                count,
            );
        }
    }
    assert_eq!(
        found,
        BTreeMap::from([("runtime/src/cache.rs".to_owned(), 2)])
    );
}

#[test]
fn versions_stand_once_and_lints_hold_everywhere() {
    for path in files(".", &["Cargo.toml"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let shown = path.display();
        if manifest.contains_key("workspace") {
            continue;
        }
        for group in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, entry) in manifest
                .get(group)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
            {
                let inherited = entry.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherited, "{shown}: {name} has a version of its own");
            }
        }
        let lints = manifest.get("lints").expect("lints");
        let inherited = lints.get("workspace").is_some();
        // Guest test programs panic and print on purpose.
        assert!(
            inherited || text.contains("Not the workspace's lints:"),
            "{shown}: no lints"
        );
    }
}
