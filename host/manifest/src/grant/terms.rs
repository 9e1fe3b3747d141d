//! The words of which requests and grants are made: reasons, references to secrets,
//! patterns of tools, paths, schedules.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;
use crate::id::{Alias, Name};
use crate::text::{quoted, written_as_string};

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TermError(String);

impl TermError {
    pub(super) fn new(why: String) -> TermError {
        TermError(why)
    }
}

/// Why a plugin wants something, in a sentence that its operator reads before granting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;

impl Reason {
    /// The sentence.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        if text.trim().is_empty() {
            Err(TermError(
                "the reason is empty; say why in a sentence".into(),
            ))
        } else if text.len() > REASON_BYTES_MAX {
            Err(TermError(format!(
                "the reason has {} bytes, but at most {REASON_BYTES_MAX} are allowed",
                text.len()
            )))
        } else if text.chars().any(char::is_control) {
            Err(TermError(
                "the reason has control characters or line breaks".into(),
            ))
        } else {
            Ok(Reason(text.to_owned()))
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(Reason, {
    "type": "string",
    "description": "Why, in a sentence for the operator.",
    "minLength": 1,
    "maxLength": REASON_BYTES_MAX,
});

/// Where the operator keeps a secret: `"vault:NAME"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The secret's name in the host's vault.
    pub vault: Name,
}

impl FromStr for SecretRef {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let name = text.strip_prefix("vault:").ok_or_else(|| {
            // The text may be a secret itself: it is not repeated.
            TermError(
                "this is no reference to a secret; write \"vault:NAME\", never the secret itself"
                    .into(),
            )
        })?;
        let vault = Name::new(name).map_err(|error| TermError(error.to_string()))?;
        Ok(SecretRef { vault })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vault:{}", self.vault)
    }
}

written_as_string!(SecretRef, {
    "type": "string",
    "description": "A secret in the host's vault: \"vault:NAME\".",
    "pattern": "^vault:[a-z0-9]+(-[a-z0-9]+)*$",
});

/// Tools of other plugins: `"PLUGIN/TOOL"`, where `*` stands for all tools of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolPattern {
    /// The plugin, by the operator's alias.
    pub plugin: Alias,
    /// The tool; none means all.
    pub tool: Option<String>,
}

impl FromStr for ToolPattern {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let refuse = || {
            TermError(format!(
                "{} names no tool; write \"PLUGIN/TOOL\", or \"PLUGIN/*\" for all tools of the plugin",
                quoted(text)
            ))
        };
        let (plugin, tool) = text.split_once('/').ok_or_else(refuse)?;
        let plugin = Alias::new(plugin).map_err(|_| refuse())?;
        let tool = match tool {
            "*" => None,
            tool if crate::tool::is_tool_name(tool) => Some(tool.to_owned()),
            _ => return Err(refuse()),
        };
        Ok(ToolPattern { plugin, tool })
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.tool.as_deref().unwrap_or("*"))
    }
}

written_as_string!(ToolPattern, {
    "type": "string",
    "description": "Tools of another plugin: \"PLUGIN/TOOL\" or \"PLUGIN/*\".",
    "pattern": r"^[a-z0-9]+(-[a-z0-9]+)*/(\*|[A-Za-z0-9_.-]{1,64})$",
});

/// Where a plugin sees a directory: an absolute path such as `"/data"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestPath(String);

/// The longest path, in bytes: Linux's own bound.
const PATH_BYTES_MAX: usize = 4_096;

impl GuestPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestPath {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let fits = text.len() <= PATH_BYTES_MAX
            && !text.chars().any(char::is_control)
            && text
                .strip_prefix('/')
                .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if !fits {
            return Err(TermError(format!(
                "{} is no path of a plugin; write an absolute one such as \"/data\", without `.`, `..` and empty parts",
                quoted(text)
            )));
        }
        Ok(GuestPath(text.to_owned()))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(GuestPath, {
    "type": "string",
    "description": "An absolute path as the plugin sees it, such as \"/data\".",
    "pattern": "^(/[^/]+)+$",
    "maxLength": PATH_BYTES_MAX,
});

/// A directory of this machine, relative to the project's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath(String);

impl HostPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostPath {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(TermError(format!("{} is no path", quoted(text))));
        }
        Ok(HostPath(text.to_owned()))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(HostPath, {
    "type": "string",
    "description": "A path on this machine, relative to the project's directory.",
    "minLength": 1,
    "maxLength": PATH_BYTES_MAX,
});

/// Times at which something runs, in Unix's five fields, UTC: `"0 3 * * *"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    text: String,
    times: Box<croner::Cron>,
}

impl Cron {
    /// The times, to be asked for the next one.
    pub fn times(&self) -> &croner::Cron {
        &self.times
    }
}

impl FromStr for Cron {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        const CRON_BYTES_MAX: usize = 256;
        let refuse = |why: &str| {
            TermError(format!(
                "{} is no cron expression: {why}; write minute, hour, day, month and weekday, as in \"0 3 * * *\"",
                quoted(text)
            ))
        };
        if text.len() > CRON_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        if text.split_ascii_whitespace().count() != 5 {
            return Err(refuse("it has not five fields"));
        }
        let times = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .year(croner::parser::Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| refuse(&error.to_string()))?;
        Ok(Cron {
            text: text.to_owned(),
            times: Box::new(times),
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

written_as_string!(Cron, {
    "type": "string",
    "description": "Minute, hour, day, month and weekday, in UTC: \"0 3 * * *\".",
    "pattern": r"^\s*(\S+\s+){4}\S+\s*$",
    "maxLength": 256,
});

/// When something runs: at the times of a cron expression, or again and again.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// At these times: `cron = "0 3 * * *"`.
    Cron(Cron),
    /// With this much time between two starts: `every = "15m"`.
    Every(HumanDuration),
}

/// The shortest interval of a schedule.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// A schedule as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSchedule {
    /// Minute, hour, day, month and weekday, in UTC. Either this or `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<Cron>,
    /// The time between two starts. Either this or `cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<HumanDuration>,
    /// Why; in requests only.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// A schedule that a plugin asks for.
///
/// ```toml
/// [requests.schedules]
/// nightly = { cron = "0 3 * * *", reason = "write the daily report" }
/// poll = { every = "15m", reason = "look for new issues" }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawSchedule", into = "RawSchedule")]
pub struct ScheduleRequest {
    /// When.
    pub when: When,
    /// Why.
    pub reason: Reason,
}

/// A schedule that an operator grants: the requested one or a rarer one.
///
/// ```toml
/// grants.schedules = { nightly = { cron = "0 4 * * *" }, poll = { every = "1h" } }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawSchedule", into = "RawSchedule")]
pub struct ScheduleGrant {
    /// When.
    pub when: When,
}

fn when(raw: &RawSchedule) -> Result<When, TermError> {
    match (&raw.cron, raw.every) {
        (Some(cron), None) => Ok(When::Cron(cron.clone())),
        (None, Some(every)) if every.0 < EVERY_MIN => {
            Err(TermError("a schedule runs at most once a second".into()))
        }
        (None, Some(every)) => Ok(When::Every(every)),
        _ => Err(TermError(
            "a schedule has either `cron = \"0 3 * * *\"` or `every = \"15m\"`".into(),
        )),
    }
}

impl TryFrom<RawSchedule> for ScheduleRequest {
    type Error = TermError;

    fn try_from(raw: RawSchedule) -> Result<Self, TermError> {
        let when = when(&raw)?;
        let reason = raw
            .reason
            .ok_or_else(|| TermError("the key `reason` is missing".into()))?;
        Ok(ScheduleRequest { when, reason })
    }
}

impl TryFrom<RawSchedule> for ScheduleGrant {
    type Error = TermError;

    fn try_from(raw: RawSchedule) -> Result<Self, TermError> {
        if raw.reason.is_some() {
            return Err(TermError("a grant has no `reason`; write a comment".into()));
        }
        Ok(ScheduleGrant { when: when(&raw)? })
    }
}

fn raw(when: When, reason: Option<Reason>) -> RawSchedule {
    let (cron, every) = match when {
        When::Cron(cron) => (Some(cron), None),
        When::Every(every) => (None, Some(every)),
    };
    RawSchedule {
        cron,
        every,
        reason,
    }
}

impl From<ScheduleRequest> for RawSchedule {
    fn from(request: ScheduleRequest) -> Self {
        raw(request.when, Some(request.reason))
    }
}

impl From<ScheduleGrant> for RawSchedule {
    fn from(grant: ScheduleGrant) -> Self {
        raw(grant.when, None)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Cron(cron) => write!(f, "cron {cron}"),
            When::Every(every) => write!(f, "every {every}"),
        }
    }
}
