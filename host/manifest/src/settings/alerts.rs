//! What the operator wants to be told of: `[alerts]` in `portreeve.toml`.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outlet::{OutletSettings, check_command};
use crate::duration::HumanDuration;
use crate::id::Alias;
use crate::limits::LimitError;
use crate::size::ByteSize;
use crate::text::quoted;

/// Most rules: each is held against each plugin with every look.
const RULES_MAX: usize = 64;

/// The shortest and the longest window. Looks are ten seconds apart; a longer window is a
/// matter of reports, not of alarms.
const OVER_MIN: Duration = Duration::from_secs(60);
const OVER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The window of a rule that names none.
const OVER_DEFAULT: Duration = Duration::from_secs(300);

/// The calls without which a rate or a percentile says nothing, where a rule names none.
const MIN_CALLS_DEFAULT: u64 = 20;

/// Numbers up to here are exact.
const ABOVE_MAX: f64 = 9_007_199_254_740_992.0;

/// What the operator wants to be told of, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSettings {
    /// Where alerts go besides the log and the audit log.
    pub outlet: OutletSettings,
    /// What raises them.
    pub rules: Vec<AlertRule>,
}

/// A threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Whose use is looked at.
    pub scope: AlertScope,
    /// What of it.
    pub metric: AlertMetric,
    /// The alert is raised when it is above this, in the metric's unit.
    pub above: f64,
    /// The window that is looked at, up to now.
    pub over: Duration,
    /// Nothing is said of a window with fewer calls.
    pub min_calls: u64,
}

/// Whose use a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertScope {
    /// All plugins together.
    Project,
    /// Each plugin by itself.
    Each,
    /// One plugin.
    Plugin(Alias),
}

impl fmt::Display for AlertScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlertScope::Project => f.pad("all plugins together"),
            AlertScope::Each => f.pad("each plugin"),
            AlertScope::Plugin(alias) => f.pad(alias.as_str()),
        }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertMetric {
    /// Failed calls as a part of all, from 0 to 1.
    ErrorRate,
    /// Calls.
    Calls,
    /// The 99th percentile of how long calls take, such as "2s".
    LatencyP99,
    /// Fuel.
    Fuel,
    /// Uses of capabilities that were refused.
    Refusals,
    /// Bytes that a plugin stores, such as "5 MiB"; the window doesn't matter.
    Storage,
}

impl AlertMetric {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlertMetric::ErrorRate => "error-rate",
            AlertMetric::Calls => "calls",
            AlertMetric::LatencyP99 => "latency-p99",
            AlertMetric::Fuel => "fuel",
            AlertMetric::Refusals => "refusals",
            AlertMetric::Storage => "storage",
        }
    }

    /// A value in this metric's unit, as people write it.
    pub fn show(self, value: f64) -> String {
        match self {
            AlertMetric::ErrorRate => format!("{:.1} %", value * 100.0),
            AlertMetric::LatencyP99 => {
                HumanDuration(Duration::from_millis(whole(value))).to_string()
            }
            AlertMetric::Storage => ByteSize(whole(value)).to_string(),
            AlertMetric::Calls | AlertMetric::Fuel | AlertMetric::Refusals => {
                whole(value).to_string()
            }
        }
    }

    /// How a threshold is written.
    fn wanted(self) -> &'static str {
        match self {
            AlertMetric::ErrorRate => "a number from 0 to 1, such as 0.2",
            AlertMetric::LatencyP99 => "a duration, such as \"2s\"",
            AlertMetric::Storage => "a size, such as \"5 MiB\"",
            AlertMetric::Calls | AlertMetric::Fuel | AlertMetric::Refusals => {
                "a whole number, such as 1000"
            }
        }
    }

    /// A threshold as it was written, in this metric's unit.
    fn threshold(self, written: &RawAbove) -> Option<f64> {
        match (self, written) {
            (AlertMetric::ErrorRate, RawAbove::Number(number)) => {
                (0.0..=1.0).contains(number).then_some(*number)
            }
            (
                AlertMetric::Calls | AlertMetric::Fuel | AlertMetric::Refusals,
                RawAbove::Number(number),
            ) => ((0.0..=ABOVE_MAX).contains(number) && number.fract() == 0.0).then_some(*number),
            (AlertMetric::LatencyP99, RawAbove::Text(text)) => {
                let duration = text.parse::<HumanDuration>().ok()?;
                Some(duration.0.as_secs_f64() * 1_000.0)
            }
            (AlertMetric::Storage, RawAbove::Text(text)) => {
                let ByteSize(bytes) = text.parse().ok()?;
                #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53 bytes")]
                Some(bytes as f64)
            }
            _ => None,
        }
    }
}

/// The whole number nearest to a value; none is negative.
fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float is bounded by the type"
    )]
    let whole = value.round() as u64;
    whole
}

impl fmt::Display for AlertMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `[alerts]`: what you want to be told of.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawAlerts {
    /// An address that gets each alert as JSON in a POST: https, or http on this machine.
    webhook: Option<String>,
    /// A program, with its arguments, that gets each alert as a line of JSON on its standard
    /// input.
    command: Vec<String>,
    /// What raises alerts.
    rules: Vec<RawRule>,
}

/// A threshold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRule {
    /// A plugin by its alias, or "*" for each plugin by itself; all plugins together where
    /// it is not there.
    plugin: Option<String>,
    /// What is looked at.
    metric: AlertMetric,
    /// The alert is raised when it is above this: a part of 1 for `error-rate`, a duration
    /// for `latency-p99`, a size for `storage`, else a number.
    above: RawAbove,
    /// The window up to now; 5 minutes by default.
    over: Option<HumanDuration>,
    /// Nothing is said of a window with fewer calls; 20 by default for `error-rate` and
    /// `latency-p99`, else 0.
    min_calls: Option<u64>,
}

/// A threshold as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum RawAbove {
    /// A part or a count.
    Number(f64),
    /// With a unit.
    Text(String),
}

impl fmt::Display for RawAbove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawAbove::Number(number) => number.fmt(f),
            RawAbove::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

/// What is wrong with a setting, and the table below `alerts` that it is in.
pub(crate) type Wrong = (Vec<String>, LimitError);

impl AlertSettings {
    /// The settings as they were written; what is wrong goes to `errors`.
    pub(crate) fn read(raw: &RawAlerts, errors: &mut Vec<Wrong>) -> AlertSettings {
        let mut wrong = Vec::new();
        let webhook = super::outlet::check_webhook(raw.webhook.as_deref(), &mut wrong);
        check_command(&raw.command, &mut wrong);
        if raw.rules.len() > RULES_MAX {
            wrong.push(LimitError {
                setting: "rules",
                value: format!("a list of {}", raw.rules.len()),
                allowed: format!("at most {RULES_MAX}"),
            });
        }
        errors.extend(wrong.into_iter().map(|error| (Vec::new(), error)));
        let rules = raw.rules.iter().take(RULES_MAX).enumerate();
        let rules = rules.filter_map(|(index, raw)| {
            let mut wrong = Vec::new();
            let rule = AlertRule::read(raw, &mut wrong);
            let table = vec!["rules".to_owned(), index.to_string()];
            errors.extend(wrong.into_iter().map(|error| (table.clone(), error)));
            rule
        });
        AlertSettings {
            rules: rules.collect(),
            outlet: OutletSettings {
                webhook,
                command: raw.command.clone(),
            },
        }
    }
}

impl AlertRule {
    fn read(raw: &RawRule, wrong: &mut Vec<LimitError>) -> Option<AlertRule> {
        let metric = raw.metric;
        let scope = match raw.plugin.as_deref() {
            None => Some(AlertScope::Project),
            Some("*") => Some(AlertScope::Each),
            Some(alias) => alias.parse().ok().map(AlertScope::Plugin),
        };
        if scope.is_none() {
            wrong.push(LimitError {
                setting: "plugin",
                value: quoted(raw.plugin.as_deref().unwrap_or_default()),
                allowed: "an alias, or \"*\" for each plugin".to_owned(),
            });
        }
        if metric == AlertMetric::Storage && scope == Some(AlertScope::Project) {
            wrong.push(LimitError {
                setting: "metric",
                value: quoted(metric.as_str()),
                allowed: "in a rule about a plugin: add plugin = \"*\" or an alias".to_owned(),
            });
        }
        let above = metric.threshold(&raw.above);
        if above.is_none() {
            wrong.push(LimitError {
                setting: "above",
                value: raw.above.to_string(),
                allowed: format!("{} for {metric}", metric.wanted()),
            });
        }
        let over = raw.over.map_or(OVER_DEFAULT, |over| over.0);
        if !(OVER_MIN..=OVER_MAX).contains(&over) {
            wrong.push(LimitError {
                setting: "over",
                value: HumanDuration(over).to_string(),
                allowed: format!(
                    "between {} and {}",
                    HumanDuration(OVER_MIN),
                    HumanDuration(OVER_MAX)
                ),
            });
        }
        let min_calls = raw.min_calls.unwrap_or(match metric {
            AlertMetric::ErrorRate | AlertMetric::LatencyP99 => MIN_CALLS_DEFAULT,
            _ => 0,
        });
        Some(AlertRule {
            scope: scope?,
            metric,
            above: above?,
            over,
            min_calls,
        })
    }
}
