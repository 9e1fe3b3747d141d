//! Advisories as OSV writes them (<https://ossf.github.io/osv-schema/>).

use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::policy::Severity;
use serde::Deserialize;

use super::record::{self, Event, Kind, Record};
use super::{ALIASES_MAX, Read, SUMMARY_CHARS_MAX};
use crate::dependencies::Ecosystem;

/// As OSV nests, and what databases add of their own.
const DEPTH_MAX: usize = 32;

/// The longest version that is kept, in characters; what is cut can't be compared.
const VERSION_CHARS_MAX: usize = 128;

#[derive(Deserialize)]
struct File {
    id: String,
    modified: String,
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    affected: Vec<Affected>,
    #[serde(default)]
    database_specific: Specific,
}

#[derive(Deserialize)]
struct Score {
    #[serde(default)]
    score: String,
}

/// What databases say in their own words, as far as it is understood.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specific {
    /// GitHub's.
    severity: Option<serde_json::Value>,
    /// RustSec's.
    informational: Option<serde_json::Value>,
    /// RustSec's.
    cvss: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Affected {
    package: Option<Package>,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    ranges: Vec<Range>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    database_specific: Specific,
}

#[derive(Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
struct RawEvent {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

/// Reads one file.
///
/// # Errors
/// Why it is none.
pub(super) fn read(text: &str) -> Result<Read, String> {
    let bounds = JsonLimits {
        bytes_max: text.len(),
        depth_max: DEPTH_MAX,
    };
    let value = json::parse(text, &bounds).map_err(|error| error.to_string())?;
    let file: File = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let id = record::identifier(&file.id).ok_or("its id is none")?;
    let mut read = Read {
        date: file.modified.chars().take(10).collect(),
        records: Vec::new(),
    };
    if file.withdrawn.is_some() {
        return Ok(read);
    }
    let text = |value: &Option<serde_json::Value>| Some(value.as_ref()?.as_str()?.to_owned());
    let scores = |scores: &[Score]| scores.iter().filter_map(|one| scored(&one.score)).max();
    let own = text(&file.database_specific.severity).and_then(|named| record::named(&named));
    let own = own.or_else(|| scores(&file.severity));
    let summary = match file.summary.trim() {
        "" => &file.details,
        summary => summary,
    };
    let summary = record::line(summary, SUMMARY_CHARS_MAX);
    let aliases = file.aliases.iter().take(ALIASES_MAX);
    let aliases: Vec<String> = aliases.filter_map(|id| record::identifier(id)).collect();
    for affected in file.affected {
        let Some(package) = affected.package else {
            continue;
        };
        let ecosystem = match package.ecosystem.as_str() {
            "crates.io" => Ecosystem::Cargo,
            "npm" => Ecosystem::Npm,
            "PyPI" => Ecosystem::Pypi,
            _ => continue,
        };
        let more = affected.database_specific;
        let severity = own
            .or_else(|| scores(&affected.severity))
            .or_else(|| scored(&text(&more.cvss)?));
        let kind = if more.informational.is_some() || file.database_specific.informational.is_some()
        {
            Kind::Information
        } else if id.starts_with("MAL-") {
            Kind::Malicious
        } else {
            Kind::Weakness
        };
        let ranges = affected
            .ranges
            .into_iter()
            .filter(|range| range.kind != "GIT");
        read.records.push((
            ecosystem,
            package.name,
            Record {
                id: id.clone(),
                aliases: aliases.clone(),
                kind,
                severity,
                summary: summary.clone(),
                ranges: ranges.map(|range| events(range.events)).collect(),
                versions: affected.versions,
            },
        ));
    }
    Ok(read)
}

fn events(raw: Vec<RawEvent>) -> Vec<Event> {
    // People are shown them.
    let plain = |version: Option<String>| Some(record::line(&version?, VERSION_CHARS_MAX));
    raw.into_iter()
        .flat_map(|event| {
            let introduced = plain(event.introduced).map(Event::Introduced);
            let fixed = plain(event.fixed).map(Event::Fixed);
            let last = plain(event.last_affected).map(Event::LastAffected);
            [introduced, fixed, last].into_iter().flatten()
        })
        .collect()
}

/// What a CVSS vector comes to.
fn scored(vector: &str) -> Option<Severity> {
    record::named(vector.parse::<cvss::Cvss>().ok()?.severity().as_str())
}
