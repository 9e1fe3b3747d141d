//! What a plugin is made from: crates as cargo resolved them, or the packages that lock files
//! of Python and JavaScript name.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;
use auditable_serde::{DependencyKind as Kind, Package as Listed, Source, VersionInfo};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use portreeve_supply::DependencyText;
use portreeve_supply::dependencies::{Dependency, Ecosystem};
use serde::Deserialize;

use crate::cargo::Crate;
use crate::commands::papers::{licence_texts, read_text};

/// The longest lock file that is read, in bytes.
const LOCK_BYTES_MAX: u64 = 16 << 20;

/// What a plugin is made from.
#[derive(Debug, Default)]
pub(crate) struct Materials {
    /// Its crates, as `cargo auditable` lists them.
    pub(crate) crates: Option<VersionInfo>,
    /// All packages, sorted.
    pub(crate) dependencies: Vec<Dependency>,
    /// Their licence texts, each once.
    pub(crate) texts: Vec<DependencyText>,
}

impl Materials {
    /// The crates of a component that cargo built.
    pub(crate) fn of_crate(built: &Crate) -> anyhow::Result<Materials> {
        let (metadata, root) = built.resolved()?;
        of_metadata(&metadata, &root)
    }

    /// The packages that the lock files in `dir` name; nothing where there are none.
    pub(crate) fn of_lock_files(dir: &Path) -> anyhow::Result<Materials> {
        let mut materials = Materials::default();
        for (name, read) in LOCK_FILES {
            let path = dir.join(name);
            if path.is_file() {
                let text = read_text(&path, LOCK_BYTES_MAX)?;
                let list =
                    read(&text).with_context(|| format!("{} can't be read", path.display()))?;
                materials.dependencies.extend(list);
                // The first is the most precise.
                if *name != "package-lock.json" {
                    break;
                }
            }
        }
        materials.dependencies.sort();
        materials.dependencies.dedup();
        let modules = dir.join("node_modules");
        let mut texts = Texts::default();
        for dependency in &materials.dependencies {
            let place = modules.join(&dependency.name);
            let safe = !dependency.name.split('/').any(|part| part == "..");
            if dependency.ecosystem == Ecosystem::Npm && safe && place.is_dir() {
                texts.add(&place, &dependency.label());
            }
        }
        materials.texts = texts.take();
        Ok(materials)
    }
}

/// Licence texts, each with the packages that carry it.
#[derive(Default)]
struct Texts(BTreeMap<(String, String), Vec<String>>);

impl Texts {
    /// Takes the texts in a package's directory. What can't be read there is not ours to
    /// mend, and is left out.
    fn add(&mut self, dir: &Path, label: &str) {
        for (name, text) in licence_texts(dir).unwrap_or_default() {
            self.0
                .entry((name, text))
                .or_default()
                .push(label.to_owned());
        }
    }

    fn take(self) -> Vec<DependencyText> {
        let texts = self
            .0
            .into_iter()
            .map(|((name, text), packages)| DependencyText {
                name,
                text,
                packages,
            });
        texts.collect()
    }
}

fn of_metadata(metadata: &Metadata, root: &PackageId) -> anyhow::Result<Materials> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo resolved nothing")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: HashMap<&PackageId, &Package> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package))
        .collect();
    let is_macro = |id: &PackageId| {
        let kinds = packages
            .get(id)
            .into_iter()
            .flat_map(|package| &package.targets);
        kinds
            .flat_map(|target| &target.kind)
            .any(|kind| kind.to_string() == "proc-macro")
    };
    // What is reached without a build dependency or a macro on the way is in the component.
    let mut kinds: BTreeMap<&PackageId, Kind> = BTreeMap::from([(root, Kind::Runtime)]);
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        let here = kinds.get(id).copied().unwrap_or(Kind::Build);
        for dependency in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
            let kinds_there = &dependency.dep_kinds;
            let normal = kinds_there
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            let build = kinds_there
                .iter()
                .any(|kind| kind.kind == DependencyKind::Build);
            if !normal && !build {
                continue;
            }
            let linked = normal && here == Kind::Runtime && !is_macro(&dependency.pkg);
            let kind = if linked { Kind::Runtime } else { Kind::Build };
            let known = kinds.get(&dependency.pkg).copied();
            if known.is_none_or(|known| known < kind) {
                kinds.insert(&dependency.pkg, kind);
                waiting.push(&dependency.pkg);
            }
        }
    }
    let mut found: Vec<(&Package, Kind)> = kinds
        .iter()
        .filter_map(|(id, kind)| Some((*packages.get(id)?, *kind)))
        .collect();
    found.sort_by(|a, b| {
        (&a.0.name, &a.0.version, &a.0.id).cmp(&(&b.0.name, &b.0.version, &b.0.id))
    });
    let places: HashMap<&PackageId, usize> = found
        .iter()
        .enumerate()
        .map(|(at, (package, _))| (&package.id, at))
        .collect();
    let listed = found.iter().map(|(package, kind)| {
        let dependencies = nodes
            .get(&package.id)
            .into_iter()
            .flat_map(|node| &node.deps);
        let mut dependencies: Vec<usize> = dependencies
            .filter(|dependency| {
                let mut kinds = dependency.dep_kinds.iter();
                kinds.any(|kind| kind.kind != DependencyKind::Development)
            })
            .filter_map(|dependency| places.get(&dependency.pkg).copied())
            .collect();
        dependencies.sort_unstable();
        dependencies.dedup();
        Listed {
            name: package.name.to_string(),
            version: package.version.clone(),
            source: source(package),
            kind: *kind,
            dependencies,
            root: package.id == *root,
        }
    });
    let crates = VersionInfo {
        packages: listed.collect(),
        format: 1,
    };
    let mut texts = Texts::default();
    let mut dependencies = Vec::new();
    for (package, kind) in found.iter().filter(|(package, _)| package.id != *root) {
        let dependency = Dependency {
            ecosystem: Ecosystem::Cargo,
            name: package.name.to_string(),
            version: package.version.to_string(),
            build_only: *kind == Kind::Build,
            license: package.license.clone(),
        };
        if *kind == Kind::Runtime
            && let Some(dir) = package.manifest_path.parent()
        {
            texts.add(dir.as_std_path(), &dependency.label());
        }
        dependencies.push(dependency);
    }
    Ok(Materials {
        crates: Some(crates),
        dependencies,
        texts: texts.take(),
    })
}

fn source(package: &Package) -> Source {
    match &package.source {
        None => Source::Local,
        Some(source) if source.is_crates_io() => Source::CratesIo,
        Some(source) if source.repr.starts_with("git+") => Source::Git,
        Some(_) => Source::Registry,
    }
}

type ReadLock = fn(&str) -> anyhow::Result<Vec<Dependency>>;

/// Lock files, the most precise of a language first.
const LOCK_FILES: &[(&str, ReadLock)] = &[
    ("package-lock.json", npm_lock),
    ("uv.lock", python_lock),
    ("poetry.lock", python_lock),
    ("requirements.txt", requirements),
];

/// `package-lock.json` of npm 7 and later.
fn npm_lock(text: &str) -> anyhow::Result<Vec<Dependency>> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        packages: BTreeMap<String, Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        version: Option<String>,
        license: Option<serde_json::Value>,
        #[serde(default)]
        dev: bool,
        #[serde(default)]
        link: bool,
    }
    let lock: Lock = serde_json::from_str(text)?;
    let packages = lock.packages.into_iter().filter(|(_, entry)| !entry.link);
    let packages = packages.filter_map(|(place, entry)| {
        let (_, name) = place.rsplit_once("node_modules/")?;
        Some(Dependency {
            ecosystem: Ecosystem::Npm,
            name: name.to_owned(),
            version: entry.version?,
            build_only: entry.dev,
            license: entry
                .license
                .and_then(|licence| Some(licence.as_str()?.to_owned())),
        })
    });
    Ok(packages.collect())
}

/// `uv.lock` and `poetry.lock`. They name no licences.
fn python_lock(text: &str) -> anyhow::Result<Vec<Dependency>> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        version: Option<String>,
        source: Option<toml::Table>,
    }
    let lock: Lock = toml::from_str(text)?;
    let own = |entry: &Entry| {
        let source = entry.source.as_ref();
        source
            .is_some_and(|source| source.contains_key("virtual") || source.contains_key("editable"))
    };
    let packages = lock.package.into_iter().filter(|entry| !own(entry));
    let packages = packages.filter_map(|entry| {
        Some(Dependency {
            ecosystem: Ecosystem::Pypi,
            name: entry.name,
            version: entry.version?,
            build_only: false,
            license: None,
        })
    });
    Ok(packages.collect())
}

/// The pinned lines of a `requirements.txt`; others name no version.
fn requirements(text: &str) -> anyhow::Result<Vec<Dependency>> {
    let packages = text.lines().filter_map(|line| {
        let line = line.split(['#', ';', '\\']).next()?;
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        let version = version.split_whitespace().next()?.trim_start_matches('=');
        Some(Dependency {
            ecosystem: Ecosystem::Pypi,
            name: name.to_owned(),
            version: version.to_owned(),
            build_only: false,
            license: None,
        })
    });
    Ok(packages.filter(|found| !found.name.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(list: &[Dependency]) -> Vec<String> {
        let label = |found: &Dependency| {
            let licence = found.license.as_deref().unwrap_or("-");
            format!(
                "{} {} {licence} {}",
                found.ecosystem,
                found.label(),
                found.build_only
            )
        };
        list.iter().map(label).collect()
    }

    #[test]
    fn lock_files() {
        let npm = r#"{"packages": {"": {"name": "me", "version": "1.0.0"},
            "node_modules/left-pad": {"version": "1.3.0", "license": "WTFPL"},
            "node_modules/a/node_modules/@b/c": {"version": "2.0.0", "dev": true},
            "node_modules/linked": {"link": true}}}"#;
        assert_eq!(
            labels(&npm_lock(npm).unwrap()),
            ["npm @b/c 2.0.0 - true", "npm left-pad 1.3.0 WTFPL false"]
        );
        let uv = "version = 1\n[[package]]\nname = 'me'\nversion = '0.1'\nsource = { virtual = '.' }\n\
                  [[package]]\nname = 'idna'\nversion = '3.7'\nsource = { registry = 'x' }\n";
        assert_eq!(labels(&python_lock(uv).unwrap()), ["pypi idna 3.7 - false"]);
        let pinned = "# pinned\nidna==3.7 --hash=sha256:x\nuvicorn[standard]==0.30.1 ; python_version > '3'\nloose>=1\n";
        assert_eq!(
            labels(&requirements(pinned).unwrap()),
            ["pypi idna 3.7 - false", "pypi uvicorn 0.30.1 - false"]
        );
        assert!(npm_lock("{").is_err() && python_lock("[").is_err());
    }

    #[test]
    fn lock_files_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let none = Materials::of_lock_files(dir.path()).unwrap();
        assert!(none.dependencies.is_empty());
        let lock = r#"{"packages": {"node_modules/left-pad": {"version": "1.3.0"}}}"#;
        std::fs::write(dir.path().join("package-lock.json"), lock).unwrap();
        let module = dir.path().join("node_modules/left-pad");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("LICENSE"), "do what you want").unwrap();
        let found = Materials::of_lock_files(dir.path()).unwrap();
        assert_eq!(found.dependencies.len(), 1);
        assert_eq!(found.texts[0].packages, ["left-pad 1.3.0"]);
    }
}
