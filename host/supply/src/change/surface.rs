//! How imports and exports differ, by name and version.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::{Class, Finding, Findings, quoted};
use crate::Surface;

/// An interface and the track of its versions, on which each can stand for the one before:
/// `wasi:io/streams` and `0.2`.
type Interface = (String, String);

/// Compares the names of two surfaces. What is no longer exported breaks whoever uses it;
/// what is imported anew or no more is between the plugin and this host, which links
/// everything it knows and grants by requests.
pub(super) fn compare(before: &Surface, now: &Surface) -> Vec<Finding> {
    let mut findings = Findings::default();
    for (kind, before, now, new, gone) in [
        (
            "export",
            &before.exports,
            &now.exports,
            Class::Minor,
            Class::Major,
        ),
        (
            "import",
            &before.imports,
            &now.imports,
            Class::Minor,
            Class::Patch,
        ),
    ] {
        let (before, now) = (interfaces(before), interfaces(now));
        let all: BTreeSet<&Interface> = before.keys().chain(now.keys()).collect();
        for interface in all {
            let (class, how, versions) = match (before.get(interface), now.get(interface)) {
                (None, Some(versions)) => (new, "is new", versions),
                (Some(versions), None) => (gone, "is gone", versions),
                (Some(before), Some(now)) if before != now => {
                    (Class::Patch, "has another version of the same track", now)
                }
                _ => continue,
            };
            let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
            findings.push(Finding {
                class,
                what: format!("{kind} {}", quoted(&versions.join(", "))),
                how: how.to_owned(),
            });
        }
    }
    findings.0
}

/// The interfaces with the full names under which they occur.
fn interfaces(names: &[String]) -> BTreeMap<Interface, BTreeSet<String>> {
    let mut interfaces: BTreeMap<Interface, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let track = match Version::parse(version) {
            Ok(version) if !version.pre.is_empty() => version.to_string(),
            Ok(version) if version.major > 0 => version.major.to_string(),
            Ok(version) if version.minor > 0 => format!("0.{}", version.minor),
            _ => version.to_owned(),
        };
        let versions = interfaces.entry((interface.to_owned(), track)).or_default();
        versions.insert(name.clone());
    }
    interfaces
}
