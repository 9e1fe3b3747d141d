//! What one advisory says of one package, in the form in which it is kept and compared.

use std::cmp::Ordering;
use std::str::FromStr as _;

use portreeve_manifest::policy::Severity;
use serde::{Deserialize, Serialize};

use crate::dependencies::Ecosystem;

/// What an advisory is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing that could be used by an attacker: nobody maintains it, or something else that
    /// is good to know.
    Information,
    /// A weakness.
    Weakness,
    /// The package itself means harm.
    Malicious,
}

/// What one advisory says of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    /// `RUSTSEC-2021-0078`, `GHSA-…`, `MAL-…`.
    pub(super) id: String,
    /// Other names of the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<String>,
    pub(super) kind: Kind,
    /// None where it doesn't say.
    pub(super) severity: Option<Severity>,
    /// A line.
    pub(super) summary: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ranges: Vec<Vec<Event>>,
    /// Versions that are affected whatever the ranges say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) versions: Vec<String>,
}

/// What happens to a package at a version, as OSV has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// Affected from here on; `0` is before all versions.
    Introduced(String),
    /// Mended from here on.
    Fixed(String),
    /// Mended after this.
    LastAffected(String),
}

impl Record {
    /// Whether a version is affected; none where that can't be told.
    pub(super) fn covers(&self, ecosystem: Ecosystem, version: &str) -> Option<bool> {
        if self.versions.iter().any(|one| one == version) {
            return Some(true);
        }
        // Without a range its list of versions is all that it knows.
        if self.ranges.is_empty() && self.versions.is_empty() {
            return None;
        }
        let version = Version::read(ecosystem, version)?;
        let listed = |one: &String| Version::read(ecosystem, one).is_some_and(|one| one == version);
        if self.versions.iter().any(listed) {
            return Some(true);
        }
        let mut sure = true;
        for range in &self.ranges {
            match affected(range, ecosystem, &version) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => sure = false,
            }
        }
        sure.then_some(false)
    }

    /// The versions in which it is mended, for those who look for one.
    pub(super) fn fixed(&self) -> Vec<&str> {
        let events = self.ranges.iter().flatten();
        let mut fixed: Vec<&str> = events
            .filter_map(|event| match event {
                Event::Fixed(version) => Some(version.as_str()),
                _ => None,
            })
            .collect();
        fixed.dedup();
        fixed
    }
}

/// OSV's own way to evaluate a range
/// (<https://ossf.github.io/osv-schema/#evaluation>): its events in order, up to the version.
fn affected(range: &[Event], ecosystem: Ecosystem, version: &Version) -> Option<bool> {
    let mut events = Vec::with_capacity(range.len());
    for event in range {
        let (Event::Introduced(at) | Event::Fixed(at) | Event::LastAffected(at)) = event;
        let at = match (event, at.as_str()) {
            (Event::Introduced(_), "0") => None,
            (_, at) => Some(Version::read(ecosystem, at)?),
        };
        events.push((at, event));
    }
    // Stable: what is introduced and mended at once is as it was written.
    events.sort_by(|a, b| a.0.cmp(&b.0));
    let mut affected = false;
    for (at, event) in &events {
        let reached = at.as_ref().is_none_or(|at| version >= at);
        match event {
            Event::Introduced(_) if reached => affected = true,
            Event::Fixed(_) if reached => affected = false,
            Event::LastAffected(_) if at.as_ref().is_some_and(|at| version > at) => {
                affected = false;
            }
            _ => {}
        }
    }
    Some(affected)
}

/// A version, as its ecosystem compares them.
#[derive(Clone, Debug)]
enum Version {
    /// Of Rust and JavaScript.
    Semver(semver::Version),
    /// Of Python.
    Pep440(pep440_rs::Version),
}

impl Version {
    fn read(ecosystem: Ecosystem, text: &str) -> Option<Version> {
        match ecosystem {
            Ecosystem::Cargo | Ecosystem::Npm => semantic(text).map(Version::Semver),
            Ecosystem::Pypi => pep440_rs::Version::from_str(text).ok().map(Version::Pep440),
            Ecosystem::Other => None,
        }
    }
}

/// A version of semver, `v` and missing numbers forgiven.
fn semantic(text: &str) -> Option<semver::Version> {
    let text = text.trim_start_matches(['v', '=']);
    if let Ok(version) = semver::Version::parse(text) {
        return Some(version);
    }
    let mut numbers = text.split('.').map(|number| number.parse::<u64>());
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    let version = semver::Version::new(next()?, next()?, next()?);
    numbers.next().is_none().then_some(version)
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        match (self, other) {
            // How it was built doesn't make a version older or newer.
            (Version::Semver(a), Version::Semver(b)) => a.cmp_precedence(b),
            (Version::Pep440(a), Version::Pep440(b)) => a.cmp(b),
            // Both are of one ecosystem.
            (Version::Semver(_), Version::Pep440(_)) => Ordering::Less,
            (Version::Pep440(_), Version::Semver(_)) => Ordering::Greater,
        }
    }
}

/// How bad somebody says it is, by name.
pub(super) fn named(severity: &str) -> Option<Severity> {
    match severity.to_ascii_lowercase().as_str() {
        "none" | "low" => Some(Severity::Low),
        "medium" | "moderate" => Some(Severity::Medium),
        "high" | "important" => Some(Severity::High),
        "critical" => Some(Severity::Critical),
        _ => None,
    }
}

/// A text of an advisory: a line that no terminal obeys, of `chars_max` characters.
pub(super) fn line(text: &str, chars_max: usize) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty());
    let plain = first.unwrap_or_default().trim().chars();
    let mut plain = plain.map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = plain.by_ref().take(chars_max).collect();
    if plain.next().is_some() {
        line.push('…');
    }
    line
}

/// A name of an advisory, if it is one.
pub(super) fn identifier(text: &str) -> Option<String> {
    text.parse::<portreeve_manifest::policy::AdvisoryId>()
        .ok()
        .map(|id| id.to_string())
}
