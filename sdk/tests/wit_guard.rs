//! Guards the contract in `wit/`.
//!
//! Plugins are compiled against a version of a package, and the component model compares types
//! by exact shape: a text that changes under the same version breaks plugins without a word.
//! So `wit/versions.lock` holds the digest of every version's text, and a text that differs
//! from its digest needs a new version.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it should be"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wit_parser::{Docs, Resolve, Type, TypeDef, TypeDefKind, TypeOwner};

/// The packages, each before those that use it.
const PACKAGES: [&str; 14] = [
    "types",
    "tools",
    "host",
    "lifecycle",
    "messages",
    "ui",
    "prompt",
    "secrets",
    "network",
    "storage",
    "directories",
    "client",
    "content",
    "plugin",
];

/// Set to write the lock anew.
const UPDATE: &str = "UPDATE_WIT_LOCK";

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// One resolve with all packages, as every generator of bindings sees them.
fn resolve() -> Resolve {
    let mut resolve = Resolve::default();
    for package in PACKAGES {
        if let Err(error) = resolve.push_dir(wit().join(package)) {
            panic!("wit/{package}: {error:#}");
        }
    }
    resolve
}

/// The digest of a package's text: of each file its name, its length and its bytes, by name.
fn digest(directory: &Path) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        // A checkout may have turned line ends around; that is no change.
        let text = fs::read_to_string(&file).unwrap().replace("\r\n", "\n");
        let name = file.file_name().unwrap().to_str().unwrap();
        hash.update(format!("{name}\n{}\n", text.len()));
        hash.update(text);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Every version that there ever was: `(package, version)` → digest.
type Lock = BTreeMap<(String, String), String>;

fn parse_lock(text: &str) -> Lock {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(
            |line| match line.split(' ').collect::<Vec<_>>().as_slice() {
                [package, version, digest] => (
                    ((*package).to_owned(), (*version).to_owned()),
                    (*digest).to_owned(),
                ),
                _ => panic!("wit/versions.lock: `{line}` is not `package version sha-256`"),
            },
        )
        .collect()
}

fn render_lock(lock: &Lock) -> String {
    let mut text = format!(
        "# The text of every version of every package: package, version, sha-256.\n\
         # Kept by sdk/tests/wit_guard.rs; a line is never changed, only added:\n\
         # {UPDATE}=1 cargo test -p portreeve-sdk --test wit_guard\n"
    );
    for ((package, version), digest) in lock {
        text.push_str(&format!("{package} {version} {digest}\n"));
    }
    text
}

/// What is wrong with `current` under `lock`, if anything.
fn compare(lock: &Lock, current: &Lock) -> Vec<String> {
    current
        .iter()
        .filter_map(|((package, version), digest)| {
            match lock.get(&(package.clone(), version.clone())) {
                Some(locked) if locked == digest => None,
                Some(_) => Some(format!(
                    "the text of {package} has changed but its version is still {version}: raise \
                     the version in its `package` line, and in every `use`, `import` and \
                     `export` of it, then record it: {UPDATE}=1 cargo test -p portreeve-sdk \
                     --test wit_guard"
                )),
                None => Some(format!(
                    "{package} {version} is not in wit/versions.lock; record it: {UPDATE}=1 cargo \
                     test -p portreeve-sdk --test wit_guard"
                )),
            }
        })
        .collect()
}

fn current() -> Lock {
    let resolve = resolve();
    let mut current = Lock::new();
    for package in PACKAGES {
        let name = format!("portreeve:{package}");
        let versions: Vec<String> = resolve
            .package_names
            .keys()
            .filter(|key| format!("{}:{}", key.namespace, key.name) == name)
            .map(|key| {
                key.version
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            })
            .collect();
        let [version] = versions.as_slice() else {
            panic!("wit/{package} holds {name} once, not as {versions:?}");
        };
        current.insert((name, version.clone()), digest(&wit().join(package)));
    }
    current
}

#[test]
fn a_changed_text_has_a_new_version() {
    let path = wit().join("versions.lock");
    let mut lock = parse_lock(&fs::read_to_string(&path).unwrap_or_default());
    let current = current();
    if std::env::var_os(UPDATE).is_some() {
        for (key, digest) in &current {
            lock.entry(key.clone()).or_insert_with(|| digest.clone());
        }
        fs::write(&path, render_lock(&lock)).unwrap();
    }
    let wrong = compare(&lock, &current);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_guard_tells_a_change_from_a_new_version() {
    let lock = parse_lock("# comment\nportreeve:a 0.1.0 11\nportreeve:a 0.2.0 22\n");
    assert_eq!(parse_lock(&render_lock(&lock)), lock);
    let now = |version: &str, digest: &str| {
        let current = parse_lock(&format!("portreeve:a {version} {digest}"));
        compare(&lock, &current).join("\n")
    };
    assert_eq!(now("0.1.0", "11"), "");
    assert_eq!(now("0.2.0", "22"), "");
    assert!(now("0.2.0", "11").contains("raise the version"));
    assert!(now("0.3.0", "11").contains("is not in wit/versions.lock"));
}

#[test]
fn every_directory_is_a_known_package() {
    let mut found: Vec<String> = fs::read_dir(wit())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known = PACKAGES.map(String::from);
    known.sort();
    assert_eq!(found, known);
}

/// Until the contract is frozen a version is `0.N.0`: bindings of one `0.N` never match those
/// of another, which is what a changed text needs.
#[test]
fn versions_are_of_the_time_before_the_freeze() {
    for (package, version) in current().keys() {
        let parts: Vec<&str> = version.split('.').collect();
        let fine = matches!(
            parts.as_slice(),
            ["0", minor, "0"] if minor.parse::<u32>().is_ok_and(|minor| minor > 0)
        );
        assert!(
            fine,
            "{package} has the version {version}, which is not 0.N.0"
        );
    }
}

#[test]
fn every_item_has_a_doc_comment() {
    let resolve = resolve();
    let mut bare = Vec::new();
    let mut check = |what: String, docs: &Docs| {
        if docs
            .contents
            .as_deref()
            .is_none_or(|text| text.trim().is_empty())
        {
            bare.push(what);
        }
    };
    for (_, package) in &resolve.packages {
        check(package.name.to_string(), &package.docs);
    }
    for (_, world) in &resolve.worlds {
        check(format!("world {}", world.name), &world.docs);
    }
    for (id, interface) in &resolve.interfaces {
        let path = interface.name.clone().unwrap_or_default();
        check(format!("interface {path}"), &interface.docs);
        for function in interface.functions.values() {
            check(format!("{path}.{}", function.name), &function.docs);
        }
        for type_id in interface.types.values() {
            let ty = &resolve.types[*type_id];
            if !is_use(&resolve, ty, TypeOwner::Interface(id)) {
                let name = format!("{path}.{}", ty.name.as_deref().unwrap_or_default());
                check(name.clone(), &ty.docs);
                for (member, docs) in members(ty) {
                    check(format!("{name}.{member}"), docs);
                }
            }
        }
    }
    assert!(
        bare.is_empty(),
        "without a doc comment: {}",
        bare.join(", ")
    );
}

/// Whether a type is there by `use`: its docs are where it comes from.
fn is_use(resolve: &Resolve, ty: &TypeDef, owner: TypeOwner) -> bool {
    matches!(ty.kind, TypeDefKind::Type(Type::Id(of)) if resolve.types[of].owner != owner)
}

fn members(ty: &TypeDef) -> Vec<(&str, &Docs)> {
    match &ty.kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| (field.name.as_str(), &field.docs))
            .collect(),
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .map(|case| (case.name.as_str(), &case.docs))
            .collect(),
        TypeDefKind::Enum(names) => names
            .cases
            .iter()
            .map(|case| (case.name.as_str(), &case.docs))
            .collect(),
        TypeDefKind::Flags(flags) => flags
            .flags
            .iter()
            .map(|flag| (flag.name.as_str(), &flag.docs))
            .collect(),
        _ => Vec::new(),
    }
}
