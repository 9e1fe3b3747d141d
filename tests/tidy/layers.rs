//! The floors: who may use whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{files, read, root};

/// Each floor with the floors below it that it may use. Siblings never use each other.
const FLOORS: [(&str, &[&str]); 9] = [
    ("manifest", &[]),
    ("state", &["manifest"]),
    ("egress", &["manifest", "state"]),
    ("supply", &["manifest", "egress"]),
    ("runtime", &["manifest"]),
    ("broker", &["manifest", "state"]),
    (
        "core",
        &["manifest", "state", "egress", "supply", "runtime", "broker"],
    ),
    ("gateway", &["manifest", "core"]),
    (
        "cli",
        &[
            "manifest", "state", "egress", "supply", "runtime", "broker", "core", "gateway",
        ],
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

/// The code of a file on one line, without its comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .collect()
}

/// Whether code names `portreeve_manifest::edit` or brings in something that may hide it.
fn edits_manifests(code: &str) -> bool {
    let mut grouped = code
        .split("portreeve_manifest::{")
        .skip(1)
        .filter_map(|rest| rest.split_once(';'))
        .flat_map(|(group, _)| group.split(|c: char| !c.is_alphanumeric() && c != '_'));
    ["::edit", "::*", " as "]
        .iter()
        .any(|hidden| code.contains(&format!("portreeve_manifest{hidden}")))
        || grouped.any(|name| name == "edit")
}

/// Grants are made by an operator: only the host's core edits the file that holds them, when
/// a command asks it to. What speaks to clients and what runs plugins can't ask.
#[test]
fn only_commands_widen_grants() {
    /// In core: what is asked for, how it arrives, and what does it.
    const IN_CORE: [&str; 4] = ["admin.rs", "control.rs", "generations.rs", "host.rs"];
    for (floor, _) in FLOORS {
        for path in files(&format!("host/{floor}/src"), &[".rs"]) {
            let code = code(&path);
            let shown = path.display();
            let name = path.file_name().unwrap().to_str().unwrap();
            let may = match floor {
                "manifest" | "cli" => true,
                "core" => IN_CORE.contains(&name),
                _ => false,
            };
            assert!(
                may || !edits_manifests(&code),
                "{shown} uses portreeve_manifest::edit"
            );
            // `Host` is in the gateway's hands: it only calls.
            let speaks = matches!(floor, "gateway" | "runtime");
            for way in [
                "core::control",
                "ControlRequest",
                ".control(",
                ".edit(",
                "write_manifest(",
                "write_lock(",
            ] {
                assert!(!speaks || !code.contains(way), "{shown} reaches `{way}`");
            }
        }
    }
    assert!(edits_manifests(&code(
        &root().join("host/core/src/admin.rs")
    )));
    for code in [
        "use portreeve_manifest::{id::Alias, edit::{Edit}, grant};",
        "use portreeve_manifest as papers;",
        "portreeve_manifest::edit::add_plugin()",
    ] {
        assert!(edits_manifests(code), "{code}");
    }
    assert!(!edits_manifests(
        "use portreeve_manifest::{id, grant}; fn edit() {}"
    ));
}

/// `portreeve check` knows every interface of ours: which capability it belongs to, or that
/// it needs none.
#[test]
fn every_import_of_the_worlds_is_known_to_check() {
    use portreeve_supply::evidence::{FREE, capabilities};
    let imports: BTreeSet<String> = files("wit", &[".wit"])
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .filter_map(|line| line.trim().strip_prefix("import portreeve:"))
                .filter_map(|import| import.split_once('@'))
                .map(|(name, _)| format!("portreeve:{name}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(imports.contains("portreeve:ui/progress"), "{imports:?}");
    for import in &imports {
        assert_eq!(
            FREE.contains(&import.as_str()),
            capabilities(import).is_empty(),
            "{import}: say in host/supply/src/evidence.rs which capability it belongs to"
        );
    }
    for free in FREE {
        // What others only take their types from is in no world by itself.
        let types = free.ends_with("/types");
        assert!(types || imports.contains(*free), "{free} is in no world");
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
