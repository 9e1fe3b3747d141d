//! Known weaknesses of the packages that components were made from: a database of advisories
//! on this machine, held against their lists.
//!
//! Nothing is fetched by itself: the operator gives RustSec's repository, OSV's files or an
//! archive of them, and what is needed of each advisory is kept in one file
//! ([`AdvisoryStore`]). The database's date is always shown. An advisory that can't be read is
//! counted, and a version that can't be compared is told as such, so that nobody takes less
//! for nothing.

mod collect;
mod osv;
mod record;
mod report;
mod rust_sec;
mod store;

use serde::Serialize;

use portreeve_manifest::policy::Severity;

use crate::dependencies::{Dependency, Ecosystem};
use record::Record;

pub use collect::{AdvisoryLimits, Collector};
pub use record::Kind;
pub use report::{Judged, Report, Standing, examine};
pub use store::{AdvisoryStore, Database, DatabaseInfo, Staged};

/// The longest summary that is kept, in characters.
const SUMMARY_CHARS_MAX: usize = 200;

/// Other names of an advisory that are kept.
const ALIASES_MAX: usize = 32;

/// Why advisories can't be taken in or used.
#[derive(Debug, thiserror::Error)]
pub enum AdvisoryError {
    /// What was given can't be read.
    #[error("{what}: {why}")]
    Source {
        /// What was given.
        what: String,
        /// Why not.
        why: String,
    },
    /// What was given has no advisories.
    #[error(
        "no advisory in {0}: give a copy of RustSec's repository, a directory of OSV's JSON files, or one of OSV's archives (all.zip)"
    )]
    Nothing(String),
    /// The database can't be written or read.
    #[error("the database of advisories {path}: {error}")]
    File {
        /// Its file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database is not as it was written.
    #[error(
        "the database of advisories {path} can't be used: {why}; `portreeve advisories update SOURCE` makes a new one"
    )]
    Damaged {
        /// Its file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl AdvisoryError {
    fn source(path: &std::path::Path, why: &str) -> AdvisoryError {
        AdvisoryError::Source {
            what: path.display().to_string(),
            why: why.to_owned(),
        }
    }
}

/// What was read of one file: its date, and what it says of each package.
struct Read {
    /// `2024-07-11`.
    date: String,
    records: Vec<(Ecosystem, String, Record)>,
}

/// An advisory that a package falls under, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hit {
    /// Its name: `RUSTSEC-2021-0078`, `GHSA-…`.
    pub id: String,
    /// Other names of the same.
    pub aliases: Vec<String>,
    /// The package.
    pub package: Dependency,
    /// What it is about.
    pub kind: Kind,
    /// How bad it is, as those say it who say the worst; none where nobody does.
    pub severity: Option<Severity>,
    /// What is wrong, in a line.
    pub summary: String,
    /// The versions in which it is mended.
    pub fixed: Vec<String>,
    /// Whether the version is affected; otherwise it can't be compared.
    pub certain: bool,
}

impl Hit {
    fn new(record: Record, package: &Dependency, certain: bool) -> Hit {
        Hit {
            fixed: record.fixed().into_iter().map(str::to_owned).collect(),
            id: record.id,
            aliases: record.aliases,
            package: package.clone(),
            kind: record.kind,
            severity: record.severity,
            summary: record.summary,
            certain,
        }
    }

    /// How bad it counts as: what means harm is critical, what doesn't say is high.
    pub fn weight(&self) -> Severity {
        match (self.kind, self.severity) {
            (Kind::Information, _) => Severity::Info,
            (Kind::Malicious, _) => Severity::Critical,
            (Kind::Weakness, severity) => severity.unwrap_or(Severity::High),
        }
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id)
            .chain(&self.aliases)
            .map(String::as_str)
    }

    /// Whether both are the same weakness, as one of them says.
    fn is(&self, other: &Hit) -> bool {
        self.names().any(|name| other.names().any(|o| o == name))
    }

    /// Takes up what another database says of the same: the worse counts.
    fn merge(&mut self, other: Hit) {
        let own = |id: &str| !id.starts_with("GHSA-") && !id.starts_with("CVE-");
        let mut aliases = std::mem::take(&mut self.aliases);
        aliases.extend(other.aliases);
        if own(&other.id) && !own(&self.id) {
            aliases.push(std::mem::replace(&mut self.id, other.id));
            self.summary = other.summary;
        } else {
            aliases.push(other.id);
        }
        aliases.retain(|alias| *alias != self.id);
        aliases.sort();
        aliases.dedup();
        self.aliases = aliases;
        self.kind = self.kind.max(other.kind);
        self.severity = self.severity.max(other.severity);
        self.certain |= other.certain;
        for fixed in other.fixed {
            if !self.fixed.contains(&fixed) {
                self.fixed.push(fixed);
            }
        }
    }
}

/// Each weakness once, whoever tells of it. Names may form chains, and circles.
fn merged(found: Vec<Hit>) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    for mut hit in found {
        // One hit may join several that knew nothing of each other.
        while let Some(place) = hits.iter().position(|known| known.is(&hit)) {
            let mut known = hits.swap_remove(place);
            known.merge(hit);
            hit = known;
        }
        hits.push(hit);
    }
    hits.sort_by(|a, b| a.id.cmp(&b.id));
    hits
}

#[cfg(test)]
mod tests;
