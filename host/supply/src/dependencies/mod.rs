//! What a component says it was made from: the list of `cargo auditable` and software bills
//! of materials, CycloneDX or SPDX, in its custom sections.
//!
//! The lists are the author's word. A package that is *recorded* was there when the component
//! was built; whether its code is in the component, nobody has checked.

mod auditable;
mod bill;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::IntakeLimits;

pub use auditable::write as write_auditable;
use bill::Bill;
pub(crate) use bill::purl;

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ecosystem {
    /// Rust's crates.
    Cargo,
    /// JavaScript's packages.
    Npm,
    /// Python's packages.
    Pypi,
    /// Any other.
    Other,
}

impl Ecosystem {
    /// Its name in package URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ecosystem::Cargo => "cargo",
            Ecosystem::Npm => "npm",
            Ecosystem::Pypi => "pypi",
            Ecosystem::Other => "generic",
        }
    }

    /// The ecosystem with this name in package URLs.
    pub fn of_purl(name: &str) -> Ecosystem {
        match name {
            "cargo" => Ecosystem::Cargo,
            "npm" => Ecosystem::Npm,
            "pypi" => Ecosystem::Pypi,
            _ => Ecosystem::Other,
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name as its ecosystem compares them.
pub fn normal_name(ecosystem: Ecosystem, name: &str) -> String {
    match ecosystem {
        // crates.io takes no two that differ in this alone.
        Ecosystem::Cargo => name.replace('_', "-"),
        // PEP 503.
        Ecosystem::Pypi => {
            let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
            let parts: Vec<String> = parts.map(str::to_lowercase).collect();
            parts.join("-")
        }
        Ecosystem::Npm | Ecosystem::Other => name.to_owned(),
    }
}

/// A package that a component was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dependency {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its name there.
    pub name: String,
    /// Its version, as that ecosystem writes it.
    pub version: String,
    /// Whether it was only needed to build: none of its code should be in the component.
    pub build_only: bool,
    /// Its licence as it declares it, which may be no SPDX expression.
    pub license: Option<String>,
}

impl Dependency {
    /// Name and version, for people.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// What is known of the packages that a component was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// The packages, sorted, each once.
    pub list: Vec<Dependency>,
    /// The sections that were read.
    pub sources: Vec<&'static str>,
    /// What could not be read, and why: the list is then not whole.
    pub problems: Vec<String>,
}

impl Dependencies {
    /// Whether there is a list, and all of it could be read.
    pub fn is_whole(&self) -> bool {
        !self.sources.is_empty() && self.problems.is_empty()
    }

    /// Reads what sections of a component hold.
    pub(crate) fn read(
        auditable: &[&[u8]],
        bills: &[&[u8]],
        limits: &IntakeLimits,
    ) -> Dependencies {
        let mut found = Dependencies::default();
        let mut all: BTreeMap<(Ecosystem, String, String), Dependency> = BTreeMap::new();
        let readings = auditable
            .iter()
            .map(|data| {
                let read = auditable::read(data, limits);
                (".dep-v0", read.map(|list| Bill { list, whole: true }))
            })
            .chain(bills.iter().map(|data| bill::read(data, limits)));
        for (source, read) in readings {
            let Bill { list, whole } = match read {
                Ok(bill) => bill,
                Err(why) => {
                    found.problems.push(format!("{source}: {why}"));
                    continue;
                }
            };
            if !whole {
                let why = "it says of itself that it doesn't list all";
                found.problems.push(format!("{source}: {why}"));
            }
            if !found.sources.contains(&source) {
                found.sources.push(source);
            }
            for dependency in list {
                let key = (
                    dependency.ecosystem,
                    dependency.name.clone(),
                    dependency.version.clone(),
                );
                if all.len() >= limits.dependencies as usize && !all.contains_key(&key) {
                    found.problems.push(too_many(limits));
                    break;
                }
                all.entry(key)
                    .and_modify(|known| {
                        known.build_only &= dependency.build_only;
                        if known.license.is_none() {
                            known.license.clone_from(&dependency.license);
                        }
                    })
                    .or_insert(dependency);
            }
        }
        found.list = all.into_values().collect();
        found.problems.dedup();
        found
    }
}

/// The longest name, version or licence of a package that is taken in, in bytes.
const TEXT_BYTES_MAX: usize = 1_000;

/// A text of a list: short, and nothing that a terminal would obey.
fn plain(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
        let start: String = text.chars().take(40).flat_map(char::escape_debug).collect();
        return Err(format!(
            "`{start}` is no name, version or licence of at most {TEXT_BYTES_MAX} bytes"
        ));
    }
    Ok(text.to_owned())
}

fn too_many(limits: &IntakeLimits) -> String {
    format!(
        "it lists more than {} packages, which is all that is read (`dependencies`)",
        limits.dependencies
    )
}
