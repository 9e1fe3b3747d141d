//! What the tools of JavaScript and Python have put beside a plugin: what packages say of their
//! licences, and where their texts lie.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use portreeve_supply::dependencies::{Dependency, Ecosystem, normal_name};

use super::locks::Locked;
use crate::commands::papers::read_text;

/// The longest file of metadata that is read, in bytes. Those of Python hold a README.
const METADATA_BYTES_MAX: u64 = 1 << 20;

/// Directories of one environment that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// The longest licence that is taken from metadata, in bytes: some put the text there.
const LICENCE_BYTES_MAX: usize = 200;

/// A package where it was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// What it declares.
    pub(super) license: Option<String>,
    /// Directories in which its licence texts lie.
    pub(super) texts: Vec<PathBuf>,
}

/// What is installed beside a plugin.
pub(super) struct Beside {
    dir: PathBuf,
    /// By name, as Python compares them, and version.
    python: BTreeMap<(String, String), Installed>,
}

impl Beside {
    /// Looks what there is in a plugin's directory.
    pub(super) fn of(dir: &Path) -> Beside {
        let mut python = BTreeMap::new();
        for packages in environments(dir) {
            for (key, installed) in distributions(&packages) {
                python.entry(key).or_insert(installed);
            }
        }
        Beside {
            dir: dir.to_owned(),
            python,
        }
    }

    /// Where a package is installed; none where it isn't.
    pub(super) fn find(&self, locked: &Locked) -> Option<Installed> {
        let Dependency {
            ecosystem,
            name,
            version,
            ..
        } = &locked.dependency;
        match ecosystem {
            Ecosystem::Npm => {
                let place = Path::new(locked.place.as_deref()?);
                // What a lock file says is no way out of the directory.
                let within = |part: Component<'_>| matches!(part, Component::Normal(_));
                let place = self.dir.join(place);
                let inside = Path::new(locked.place.as_deref()?).components().all(within);
                (inside && place.is_dir()).then(|| Installed {
                    license: package_json(&place),
                    texts: vec![place],
                })
            }
            Ecosystem::Pypi => {
                let key = (normal_name(*ecosystem, name), version.clone());
                self.python.get(&key).cloned()
            }
            Ecosystem::Cargo | Ecosystem::Other => None,
        }
    }
}

/// What `package.json` declares.
fn package_json(dir: &Path) -> Option<String> {
    let text = read_text(&dir.join("package.json"), METADATA_BYTES_MAX).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    let license = package.get("license")?;
    // Of old packages: `{"type": "MIT"}`.
    let license = license.as_str().or_else(|| license.get("type")?.as_str())?;
    short(license)
}

/// The `site-packages` of the virtual environments in a directory, and one without any.
fn environments(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.join("site-packages")];
    for name in [".venv", "venv"] {
        let versions = std::fs::read_dir(dir.join(name).join("lib"));
        let versions = versions.into_iter().flatten().filter_map(Result::ok);
        found.extend(versions.map(|version| version.path().join("site-packages")));
    }
    found.retain(|packages| packages.is_dir());
    found.sort();
    found
}

/// What is installed in a `site-packages`.
fn distributions(packages: &Path) -> Vec<((String, String), Installed)> {
    let entries = std::fs::read_dir(packages).into_iter().flatten();
    let dirs = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_info = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "dist-info");
    let dirs = dirs.filter(is_info).take(ENTRIES_MAX);
    dirs.filter_map(|dir| {
        let text = read_text(&dir.join("METADATA"), METADATA_BYTES_MAX).ok()?;
        let metadata = Metadata::read(&text);
        let name = normal_name(Ecosystem::Pypi, metadata.name?);
        let installed = Installed {
            license: metadata.license,
            // PEP 639 has a directory of their own for them.
            texts: vec![dir.join("licenses"), dir],
        };
        Some(((name, metadata.version?.to_owned()), installed))
    })
    .collect()
}

/// What matters of a distribution's metadata.
#[derive(Debug, Default)]
struct Metadata<'a> {
    name: Option<&'a str>,
    version: Option<&'a str>,
    license: Option<String>,
}

impl Metadata<'_> {
    /// Reads the headers, up to the first empty line.
    fn read(text: &str) -> Metadata<'_> {
        let mut metadata = Metadata::default();
        let (mut loose, mut classified) = (None, None);
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            let Some((header, value)) = line.split_once(": ") else {
                continue;
            };
            let value = value.trim();
            match header {
                "Name" => metadata.name = Some(value),
                "Version" => metadata.version = Some(value),
                "License-Expression" => metadata.license = short(value),
                "License" => loose = short(value),
                "Classifier" if value.starts_with("License ::") => {
                    classified = value.rsplit(" :: ").next().and_then(short);
                }
                _ => {}
            }
        }
        metadata.license = metadata.license.or(loose).or(classified);
        metadata
    }
}

fn short(licence: &str) -> Option<String> {
    let licence = licence.trim();
    let plain = !licence.is_empty()
        && licence.len() <= LICENCE_BYTES_MAX
        && !licence.contains(char::is_control)
        && licence != "UNKNOWN";
    plain.then(|| licence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_python() {
        for (text, expected) in [
            (
                "Name: A\nLicense-Expression: MIT\nLicense: text\n\nLicense: body",
                Some("MIT"),
            ),
            (
                "License: BSD-3-Clause\nClassifier: License :: OSI Approved :: X\n",
                Some("BSD-3-Clause"),
            ),
            (
                "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n",
                Some("MIT License"),
            ),
            ("Name: A\n\nLicense: MIT\n", None),
        ] {
            assert_eq!(Metadata::read(text).license.as_deref(), expected, "{text}");
        }
        let long = format!("License: {}\n", "x".repeat(1_000));
        assert_eq!(Metadata::read(&long).license, None);
    }
}
