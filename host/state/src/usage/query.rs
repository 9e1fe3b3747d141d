//! Usage of a window, summed up from rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::error::StateError;
use crate::rows::{Holder, KvUsed, UsageRow, UsageSpan};
use crate::store::{ROWS_MAX, StateStore};

/// Pairs of a plugin and a tool in one answer; the rest is summed up with its plugin's.
const TOOLS_MAX: usize = 2_000;

/// The use of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// The window as the rows have it, which may be longer than what was asked for:
    /// milliseconds since 1970, UTC.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// The length of the rows that it was summed up from, in milliseconds.
    pub resolution: i64,
    /// The plugins, by alias.
    pub plugins: Vec<PluginUse>,
}

/// What a plugin used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginUse {
    /// Its alias.
    pub alias: String,
    /// Keys that it stores now.
    pub storage_keys: u64,
    /// Bytes of keys and values that it stores now.
    pub storage_bytes: u64,
    /// All its tools together.
    pub all: ToolUse,
    /// Its tools, by name.
    pub tools: Vec<ToolUse>,
}

/// What the calls of a tool used. Percentiles are up to 6.25 % above what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ToolUse {
    /// Its name as the plugin has it; empty for all together.
    pub tool: String,
    /// Calls.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that failed, by code.
    pub errors: BTreeMap<String, u64>,
    /// Uses of capabilities that were refused.
    pub refusals: u64,
    /// Half of the calls took so many microseconds at most.
    pub p50_us: u64,
    /// 95 % of the calls.
    pub p95_us: u64,
    /// 99 % of the calls.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// All together.
    pub sum_us: u64,
    /// Fuel, in the runtime's units.
    pub fuel: u64,
    /// Most bytes of memory of one call.
    pub memory_peak: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
}

impl ToolUse {
    fn new(tool: &str, tally: &Tally) -> ToolUse {
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let latency = &tally.latency;
        ToolUse {
            tool: tool.to_owned(),
            calls: tally.calls,
            failed: tally.failed(),
            errors: tally
                .errors()
                .map(|(code, count)| (code.to_owned(), count))
                .collect(),
            refusals: tally.refusals,
            p50_us: micros(latency.quantile(0.5)),
            p95_us: micros(latency.quantile(0.95)),
            p99_us: micros(latency.quantile(0.99)),
            max_us: micros(latency.max()),
            sum_us: micros(latency.sum()),
            fuel: tally.fuel,
            memory_peak: tally.memory_peak,
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
        }
    }
}

/// Sums up the window from `from_ms` to `to_ms` from the finest rows that reach back to its
/// start; `now_ms` says which do. Plugins of `aliases` are there even where they did nothing.
///
/// # Errors
/// When the state can't be read. Damaged rows are left out, and told in the log.
pub async fn usage(
    store: &dyn StateStore,
    (from_ms, to_ms): (i64, i64),
    now_ms: i64,
    aliases: &[&str],
) -> Result<Usage, StateError> {
    let age_ms = u128::try_from(now_ms.saturating_sub(from_ms)).unwrap_or(0);
    let span = UsageSpan::ALL
        .into_iter()
        .find(|span| age_ms <= span.kept().as_millis())
        .unwrap_or(UsageSpan::Day);
    let mut plugins: BTreeMap<String, BTreeMap<String, Tally>> = aliases
        .iter()
        .map(|alias| ((*alias).to_owned(), BTreeMap::new()))
        .collect();
    let mut tools = 0;
    let from = span.start(from_ms);
    let mut next = from;
    while next < to_ms {
        let mut rows = store.usage(span, next, to_ms).await?;
        next = after(&mut rows, span, to_ms);
        for row in rows.iter().filter(|row| row.holder.tenant.is_empty()) {
            let tally = match Tally::from_bytes(&row.data) {
                Ok(tally) => tally,
                Err(error) => {
                    tracing::error!(plugin = &*row.holder.alias, tool = row.tool, error);
                    continue;
                }
            };
            let plugin = plugins.entry(row.holder.alias.to_string()).or_default();
            let known = plugin.contains_key(&row.tool);
            let tool = if known || tools < TOOLS_MAX {
                tools += usize::from(!known);
                &row.tool
            } else {
                super::OTHER
            };
            plugin.entry(tool.to_owned()).or_default().add(&tally);
        }
    }
    let mut usage = Usage {
        from,
        to: to_ms,
        resolution: span.ms(),
        plugins: Vec::with_capacity(plugins.len()),
    };
    for (alias, tools) in plugins {
        let KvUsed { keys, bytes } = store.kv_used(&Holder::plugin(&alias)).await?;
        let mut all = Tally::default();
        tools.values().for_each(|tally| all.add(tally));
        usage.plugins.push(PluginUse {
            storage_keys: keys,
            storage_bytes: bytes,
            all: ToolUse::new("", &all),
            tools: tools
                .iter()
                .map(|(tool, tally)| ToolUse::new(tool, tally))
                .collect(),
            alias,
        });
    }
    Ok(usage)
}

/// Where to read on. A read that was cut off has the last start only in part: it is left out
/// and read again, unless it is the only one.
fn after(rows: &mut Vec<UsageRow>, span: UsageSpan, to_ms: i64) -> i64 {
    if rows.len() < ROWS_MAX as usize {
        return to_ms;
    }
    let first = rows.first().map_or(to_ms, |row| row.start_ms);
    let last = rows.last().map_or(to_ms, |row| row.start_ms);
    if first == last {
        return last.saturating_add(span.ms());
    }
    rows.retain(|row| row.start_ms < last);
    last
}
