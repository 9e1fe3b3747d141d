//! What a plugin is made from: crates as cargo resolved them, or the packages that lock files
//! of Python and JavaScript name.

mod installed;
mod locks;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;
use auditable_serde::{DependencyKind as Kind, Package as Listed, Source, VersionInfo};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use portreeve_supply::DependencyText;
use portreeve_supply::dependencies::{Dependency, Ecosystem};

use crate::cargo::Crate;
use crate::commands::papers::{licence_texts, read_text};
use installed::Beside;
use locks::LOCK_FILES;

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
    /// What is named without a version: the list is not whole then.
    pub(crate) open: Vec<String>,
}

impl Materials {
    /// The crates of a component that cargo built.
    pub(crate) fn of_crate(built: &Crate) -> anyhow::Result<Materials> {
        let (metadata, root) = built.resolved()?;
        of_metadata(&metadata, &root)
    }

    /// The packages that the lock files in `dir` name; nothing where there are none. What is
    /// installed beside them says their licences and has their texts.
    pub(crate) fn of_lock_files(dir: &Path) -> anyhow::Result<Materials> {
        let mut materials = Materials::default();
        let mut locked = Vec::new();
        for files in LOCK_FILES {
            for (name, read) in files {
                let path = dir.join(name);
                if path.is_file() {
                    let text = read_text(&path, LOCK_BYTES_MAX)?;
                    let lock =
                        read(&text).with_context(|| format!("{} can't be read", path.display()))?;
                    locked.extend(lock.packages);
                    let open = lock.open.into_iter();
                    materials
                        .open
                        .extend(open.map(|what| format!("{name}: {what}")));
                    break;
                }
            }
        }
        locked.sort();
        locked.dedup();
        let beside = Beside::of(dir);
        let mut texts = Texts::default();
        for mut found in locked {
            if let Some(installed) = beside.find(&found) {
                let dependency = &mut found.dependency;
                dependency.license = dependency.license.take().or(installed.license);
                if !dependency.build_only {
                    let label = dependency.label();
                    installed
                        .texts
                        .iter()
                        .for_each(|dir| texts.add(dir, &label));
                }
            }
            materials.dependencies.push(found.dependency);
        }
        materials.dependencies.sort();
        materials.dependencies.dedup();
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
            let packages = self.0.entry((name, text)).or_default();
            if packages.last().is_none_or(|last| last != label) {
                packages.push(label.to_owned());
            }
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
        open: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
        // A lock file leads nowhere else.
        let lock = r#"{"packages": {"../../etc/node_modules/x": {"version": "1.0.0"}}}"#;
        std::fs::write(dir.path().join("package-lock.json"), lock).unwrap();
        assert!(
            Materials::of_lock_files(dir.path())
                .unwrap()
                .texts
                .is_empty()
        );
    }

    /// Both languages, what lies within what, and what pip has installed.
    #[test]
    fn what_is_installed_says_licences_and_has_texts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "package-lock.json",
            r#"{"packages": {"node_modules/a": {"version": "1.0.0"},
                "node_modules/a/node_modules/b": {"version": "2.0.0", "license": "MIT"},
                "node_modules/d": {"version": "3.0.0", "dev": true}}}"#,
        );
        write(
            "node_modules/a/package.json",
            r#"{"license": {"type": "ISC"}}"#,
        );
        write("node_modules/a/LICENSE", "of a");
        write("node_modules/a/node_modules/b/LICENSE.md", "of b");
        write("node_modules/d/LICENSE", "of d");
        write("requirements.txt", "Foo_Bar==1.0\nloose>=2\n");
        let info = ".venv/lib/python3.12/site-packages/foo_bar-1.0.dist-info";
        write(
            &format!("{info}/METADATA"),
            "Metadata-Version: 2.4\nName: foo.bar\nVersion: 1.0\nLicense-Expression: BSD-2-Clause\n\nREADME\n",
        );
        write(&format!("{info}/licenses/LICENSE.txt"), "of foo");
        let found = Materials::of_lock_files(dir.path()).unwrap();
        let said: Vec<_> = found
            .dependencies
            .iter()
            .map(|d| format!("{} {}", d.label(), d.license.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            said,
            [
                "a 1.0.0 ISC",
                "b 2.0.0 MIT",
                "d 3.0.0 -",
                "Foo_Bar 1.0 BSD-2-Clause"
            ]
        );
        let texts: Vec<_> = found
            .texts
            .iter()
            .map(|t| (&*t.text, &*t.packages[0]))
            .collect();
        assert_eq!(
            texts,
            [
                ("of a", "a 1.0.0"),
                ("of b", "b 2.0.0"),
                ("of foo", "Foo_Bar 1.0")
            ]
            .map(|pair| pair)
        );
        assert_eq!(found.open, ["requirements.txt: loose>=2"]);
    }
}
