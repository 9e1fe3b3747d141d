//! `[policy.advisories]`: which known weaknesses of the packages that plugins were made from
//! matter.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Date, Severity};
use crate::duration::HumanDuration;
use crate::grant::Reason;
use crate::id::Alias;
use crate::text::{quoted, written_as_string};

/// The age from which on a database is old, where nothing else is written: RustSec and OSV have
/// something new every few days.
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Which known weaknesses of the packages that plugins were made from matter.
///
/// ```toml
/// [policy.advisories]
/// deny = "high"
/// ignore = [{ id = "RUSTSEC-2023-0071", reason = "no RSA key is used", until = "2027-03-31" }]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdvisoryPolicy {
    /// The severity from which on an advisory refuses a plugin that comes in; nothing is refused
    /// by default. What means harm is critical; what doesn't say how bad it is counts as high.
    pub deny: Option<Severity>,
    /// The age from which on the database is old, which is told; 30 days by default.
    pub stale_after: Option<HumanDuration>,
    /// Advisories that are passed over.
    pub ignore: Vec<IgnoredAdvisory>,
}

impl AdvisoryPolicy {
    /// The age from which on the database is old, in days.
    pub fn stale_after_days(&self) -> i64 {
        let after = self
            .stale_after
            .map_or(STALE_AFTER_DEFAULT, |after| after.0);
        i64::try_from(after.as_secs() / (24 * 3_600)).unwrap_or(i64::MAX)
    }
}

/// An advisory that is passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IgnoredAdvisory {
    /// One of its names.
    pub id: AdvisoryId,
    /// The only plugin for which it is; all by default.
    pub plugin: Option<Alias>,
    /// Why, for those who read it later.
    pub reason: Reason,
    /// The last day on which it is.
    pub until: Option<Date>,
}

/// The name of an advisory: `RUSTSEC-2021-0078`, `GHSA-f3pg-qwvg-p99c`, `CVE-2021-32715`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisoryId(String);

/// The longest name, in bytes. Those that people give out have some 20.
const ID_BYTES_MAX: usize = 100;

impl AdvisoryId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdvisoryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if text.len() > ID_BYTES_MAX || !text.contains('-') || !text.chars().all(part) {
            return Err(format!(
                "{} is no name of an advisory; write one such as \"RUSTSEC-2021-0078\" or \"GHSA-f3pg-qwvg-p99c\"",
                quoted(text)
            ));
        }
        Ok(AdvisoryId(text.to_owned()))
    }
}

impl fmt::Display for AdvisoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(AdvisoryId, {
    "type": "string",
    "description": "The name of an advisory.",
    "pattern": "^[A-Za-z0-9._:]*-[A-Za-z0-9._:-]*$",
    "maxLength": ID_BYTES_MAX,
});
