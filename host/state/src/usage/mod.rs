//! Usage: what the calls of each tool took, by minute, hour and day.
//!
//! [`UsageMeter`] counts in memory and writes to the state every ten seconds and at its end.
//! A crash loses what was counted since: at most ten seconds. Usage is no audit; what must
//! not be lost is on record there.
//!
//! [`usage`] reads it, in the process that counts and in any other.

mod alerts;
mod histogram;
mod ledger;
mod meter;
mod query;
mod tally;

use std::time::Duration;

use crate::rows::UsageSpan;

pub use alerts::{Alert, AlertSink, AlertState};
pub use histogram::{LATENCY_ERROR, Latency};
pub use meter::{Clock, UsageConfig, UsageMeter};
pub use query::{PluginUse, ToolUse, Usage, usage};
pub use tally::{ROW_BYTES_MAX, Tally};

/// Pairs of a plugin and a tool that are counted at a time, and of one plugin: a project has
/// tens of plugins with tens of tools, of which few are in use. Each takes some 3 KiB of
/// memory and a row of each span that it is called in.
pub const PAIRS_MAX: usize = 500;
/// See [`PAIRS_MAX`]: one plugin leaves room for others.
pub const PLUGIN_PAIRS_MAX: usize = 100;

/// What stands for the tools (and plugins) that there was no room for. No plugin's alias has
/// parentheses.
pub const OTHER: &str = "(other)";

/// Longest name of a tool that is kept, in bytes; a longer one is among the others.
pub const NAME_BYTES_MAX: usize = 128;

impl UsageSpan {
    /// Every span, the shortest first.
    pub const ALL: [UsageSpan; 3] = [UsageSpan::Minute, UsageSpan::Hour, UsageSpan::Day];

    /// How long rows of this span are kept: minutes to see what happens now, hours for two
    /// weeks (this one beside the last), days for a year and a month.
    pub const fn kept(self) -> Duration {
        match self {
            UsageSpan::Minute => Duration::from_secs(3 * 3_600),
            UsageSpan::Hour => Duration::from_secs(14 * 86_400),
            UsageSpan::Day => Duration::from_secs(400 * 86_400),
        }
    }

    /// The start of the span that a moment lies in: milliseconds since 1970, UTC.
    pub const fn start(self, ms: i64) -> i64 {
        ms.saturating_sub(ms.rem_euclid(self.ms()))
    }
}

/// What one call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallUse {
    /// When it ended: milliseconds since 1970, UTC.
    pub now_ms: i64,
    /// The code of its failure, of a closed set; none for a call that was answered.
    pub error: Option<&'static str>,
    /// Uses of capabilities that were refused to it.
    pub refusals: u64,
    /// Wall-clock time.
    pub duration: Duration,
    /// Fuel, in the runtime's units.
    pub fuel: u64,
    /// Most bytes of memory at once.
    pub memory_peak: u64,
    /// Bytes of its arguments.
    pub bytes_in: u64,
    /// Bytes of its answer.
    pub bytes_out: u64,
}
