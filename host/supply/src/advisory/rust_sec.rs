//! Advisories as RustSec writes them: Markdown after TOML.

use portreeve_manifest::policy::Severity;
use rustsec::Advisory;
use rustsec::advisory::Severity as Cvss;
use rustsec::osv::ranges_for_advisory;

use super::record::{self, Event, Kind, Record};
use super::{ALIASES_MAX, Read, SUMMARY_CHARS_MAX};
use crate::dependencies::Ecosystem;

/// How every file begins.
const START: &str = "```toml";

/// The longest TOML, in bytes, and most ranges in it: comparing ranges takes the square of
/// their number. The largest there is has 3 KiB and 20 ranges.
const TOML_BYTES_MAX: usize = 32 << 10;
const RANGES_MAX: usize = 256;

/// Reads one file.
///
/// # Errors
/// Why it is none.
pub(super) fn read(text: &str) -> Result<Read, String> {
    let front = text.strip_prefix(START).and_then(|rest| {
        let (front, _) = rest.split_once("\n```")?;
        Some(front)
    });
    let front = front.ok_or("it has no TOML at its beginning")?;
    let ranges = front
        .bytes()
        .filter(|byte| b"<>=^~*".contains(byte))
        .count();
    if front.len() > TOML_BYTES_MAX || ranges > RANGES_MAX * 2 {
        return Err(format!(
            "its TOML has more than {TOML_BYTES_MAX} bytes or {RANGES_MAX} ranges"
        ));
    }
    let advisory: Advisory = text
        .parse()
        .map_err(|error: rustsec::Error| error.to_string())?;
    let id = record::identifier(advisory.id().as_str()).ok_or("its id is none")?;
    let mut read = Read {
        date: advisory.date().as_str().to_owned(),
        records: Vec::new(),
    };
    if advisory.withdrawn() {
        return Ok(read);
    }
    let metadata = &advisory.metadata;
    let aliases = metadata.aliases.iter().take(ALIASES_MAX);
    let ranges = ranges_for_advisory(&advisory.versions).into_iter();
    let ranges = ranges.map(|range| {
        let from = range.introduced.map_or("0".to_owned(), |v| v.to_string());
        let fixed = range.fixed.map(|version| Event::Fixed(version.to_string()));
        std::iter::once(Event::Introduced(from))
            .chain(fixed)
            .collect()
    });
    let record = Record {
        id,
        aliases: aliases
            .filter_map(|id| record::identifier(id.as_str()))
            .collect(),
        kind: match &metadata.informational {
            Some(_) => Kind::Information,
            None => Kind::Weakness,
        },
        severity: advisory.severity().map(severity),
        summary: record::line(advisory.title(), SUMMARY_CHARS_MAX),
        ranges: ranges.collect(),
        versions: Vec::new(),
    };
    let package = metadata.package.to_string();
    read.records.push((Ecosystem::Cargo, package, record));
    Ok(read)
}

fn severity(severity: Cvss) -> Severity {
    match severity {
        Cvss::None | Cvss::Low => Severity::Low,
        Cvss::Medium => Severity::Medium,
        Cvss::High => Severity::High,
        Cvss::Critical => Severity::Critical,
    }
}
