//! What the operator demands of a plugin's papers: `[policy]` in `portreeve.toml`.

mod advisories;
mod signatures;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::grant::Reason;
use crate::id::{Alias, Name, NameError};
use crate::licence::Licensee;
use crate::text::{quoted, written_as_string};

pub use advisories::{AdvisoryId, AdvisoryPolicy, IgnoredAdvisory, STALE_AFTER_DEFAULT};
pub use signatures::{
    IdentityPattern, Issuer, RequireSignature, SIGNERS_MAX, SignaturePolicy, SignerError,
    SigningIdentity, SigningKey,
};

/// The operator's policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Policy {
    /// Which licences may come in.
    pub licenses: Option<LicensePolicy>,
    /// What must be signed, and by whom.
    pub signatures: Option<SignaturePolicy>,
    /// Which known weaknesses of the packages that plugins were made from matter.
    pub advisories: Option<AdvisoryPolicy>,
    /// What a scan may find.
    pub scan: Option<ScanPolicy>,
}

impl Policy {
    /// What must be signed, and by whom; the defaults where the file says nothing.
    pub fn signatures(&self) -> SignaturePolicy {
        self.signatures.clone().unwrap_or_default()
    }
}

/// Which licences may come in.
///
/// ```toml
/// [policy.licenses]
/// allow = ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "MPL-2.0"]
/// exceptions = [{ plugin = "charting", allow = ["LGPL-3.0-only"], reason = "approved 2026-10" }]
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LicensePolicy {
    /// The licences of which a plugin's expression must be satisfiable.
    pub allow: Vec<Licensee>,
    /// Licences that never count, even where the expression of an allowed one names them.
    #[serde(default)]
    pub deny: Vec<Licensee>,
    /// Which licences go together in one component: a table of OSADL's form, relative to the
    /// project, in place of the one that Portreeve carries.
    pub compatibility: Option<String>,
    /// More licences for single plugins.
    #[serde(default)]
    pub exceptions: Vec<LicenseException>,
}

/// More licences for one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LicenseException {
    /// The plugin.
    pub plugin: Alias,
    /// The licences that it and what it was made from may have too, denied ones included.
    #[serde(default)]
    pub allow: Vec<Licensee>,
    /// Whether it may come in without a licence, or with one that is no SPDX expression.
    #[serde(default)]
    pub unlicensed: bool,
    /// Why, for those who read it later.
    pub reason: Reason,
}

/// What a scan may find.
///
/// ```toml
/// [policy.scan]
/// deny = "high"
/// min-score = 60
/// exceptions = [{ plugin = "charting", rules = ["private-key"], reason = "the key of its own demo" }]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ScanPolicy {
    /// The severity from which on a finding refuses the plugin, if it is a fact: what is only
    /// likely never does.
    pub deny: Option<Severity>,
    /// The least score, 0 to 100, that a plugin needs without what is only likely.
    #[serde(deserialize_with = "points")]
    #[schemars(range(max = 100))]
    pub min_score: Option<u8>,
    /// Findings that don't count for single plugins.
    pub exceptions: Vec<ScanException>,
}

/// Findings that don't count for one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScanException {
    /// The plugin.
    pub plugin: Alias,
    /// The rules whose findings don't count.
    pub rules: Vec<Name>,
    /// Why, for those who read it later.
    pub reason: Reason,
}

/// A number of points of 100.
fn points<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let points = Option::<u8>::deserialize(deserializer)?;
    match points {
        Some(points) if points > 100 => Err(serde::de::Error::custom(format_args!(
            "{points} is more than the best score: `min-score` is 0 to 100"
        ))),
        points => Ok(points),
    }
}

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Of little concern.
    Low,
    /// To be mended in time.
    Medium,
    /// To be mended soon.
    High,
    /// To be mended now.
    Critical,
}

impl Severity {
    /// Its name, as files have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name of plugins in which `*` stands for any characters: `acme-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPattern(String);

impl PluginPattern {
    /// Whether a name is one of those meant.
    pub fn matches(&self, name: &str) -> bool {
        signatures::wildcard(&self.0, name, |_| true)
    }
}

impl FromStr for PluginPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // With a letter in place of each star it must be a name.
        Alias::new(text.replace('*', "x"))?;
        Ok(PluginPattern(text.to_owned()))
    }
}

impl fmt::Display for PluginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(PluginPattern, {
    "type": "string",
    "description": "A plugin's name in which `*` stands for any characters.",
    "pattern": "^[a-z0-9*]+(-[a-z0-9*]+)*$",
    "maxLength": crate::id::NAME_BYTES_MAX,
});

/// A day, written as `2027-12-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(toml::value::Date);

impl Date {
    /// Year, month and day, the latter two from 1.
    pub fn ymd(self) -> (u16, u8, u8) {
        (self.0.year, self.0.month, self.0.day)
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<toml::value::Datetime>() {
            Ok(toml::value::Datetime {
                date: Some(date),
                time: None,
                offset: None,
            }) => Ok(Date(date)),
            _ => Err(format!(
                "{} is no date; write one such as \"2027-12-31\"",
                quoted(text)
            )),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_string!(Date, {
    "type": "string",
    "format": "date",
});
