//! The rows of usage that are being added to, between memory and the state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::tally::Tally;
use super::{OTHER, PAIRS_MAX};
use crate::error::StateError;
use crate::rows::{Holder, UsageRow, UsageSpan};
use crate::store::StateStore;

/// A plugin's alias and a tool.
pub(super) type Pair = (Arc<str>, Arc<str>);

/// Rows of one span's start. Pairs come and go, so that there may be more than are counted
/// at a time.
const GROUP_ROWS_MAX: usize = 2 * PAIRS_MAX;

/// Starts of each span that are held at a time. Usually one; more while the state can't be
/// written: eight minutes of minutes, and hours and days for long.
pub(super) const GROUPS_MAX: usize = 8;

/// Rows that are written at once: other writers get their turn between.
const ROWS_AT_ONCE: usize = 256;

/// How far the wall clock and time as it passes may differ between two looks.
const JUMP_MS: i64 = 60_000;

/// Pause between two looks for rows that are too old, and how long the clock must have been
/// steady before the first: one that is wrong for a moment would otherwise empty the table.
const PRUNE_PAUSE: Duration = Duration::from_secs(3_600);

/// How long ago usage may last have been written for the clock to be believed at the start.
const REST_MS_MAX: i64 = 30 * 86_400_000;

/// Rows by span and start.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    groups: BTreeMap<(UsageSpan, i64), Group>,
    /// Counts the looks.
    turn: u64,
    /// Calls that are missing from some rows, since the state could not be written for long.
    lost: u64,
    age: Age,
}

/// The rows of one start.
#[derive(Debug, Default)]
struct Group {
    /// Whether what the state has of them is in.
    loaded: bool,
    /// The last turn in which something was added.
    touched: u64,
    rows: HashMap<Pair, Row>,
}

#[derive(Debug, Default)]
struct Row {
    tally: Tally,
    /// Whether the state has another one.
    dirty: bool,
}

/// What tells whether rows may be pruned by their age.
#[derive(Debug, Default)]
struct Age {
    /// The wall clock and time as it passes at the last look.
    last: Option<(i64, Instant)>,
    /// When to prune next.
    due: Option<Instant>,
}

impl Group {
    fn is_dirty(&self) -> bool {
        self.rows.values().any(|row| row.dirty)
    }

    fn row(&mut self, pair: &Pair) -> &mut Row {
        let full = self.rows.len() >= GROUP_ROWS_MAX && !self.rows.contains_key(pair);
        let pair = if full {
            (OTHER.into(), OTHER.into())
        } else {
            pair.clone()
        };
        self.rows.entry(pair).or_default()
    }
}

impl Ledger {
    /// Begins to take what was counted since the last turn.
    pub(super) fn begin(&mut self) {
        self.turn += 1;
    }

    /// Adds what a tool used in a minute.
    pub(super) fn add(&mut self, pair: &Pair, minute_ms: i64, tally: &Tally) {
        for span in UsageSpan::ALL {
            let turn = self.turn;
            let Some(group) = self.group(span, span.start(minute_ms)) else {
                continue;
            };
            group.touched = turn;
            let row = group.row(pair);
            row.tally.add(tally);
            row.dirty = true;
        }
    }

    /// The rows of a start. Where too many are held, one that waits in vain gives way; where
    /// all are in use, which takes a clock that jumps about, another start has to do.
    fn group(&mut self, span: UsageSpan, start_ms: i64) -> Option<&mut Group> {
        let of_span = (span, i64::MIN)..=(span, i64::MAX);
        let key = (span, start_ms);
        let held = self.groups.range(of_span.clone()).count();
        if held >= GROUPS_MAX && !self.groups.contains_key(&key) {
            let oldest = self
                .groups
                .range(of_span.clone())
                .min_by_key(|(_, group)| (group.is_dirty(), group.touched))
                .map(|(key, group)| (*key, group.touched));
            match oldest {
                Some((oldest, touched)) if touched < self.turn => {
                    if let Some(group) = self.groups.remove(&oldest) {
                        let lost = group.rows.values().filter(|row| row.dirty);
                        self.lost += lost.map(|row| row.tally.calls).sum::<u64>();
                    }
                }
                _ => return self.groups.range_mut(of_span).next_back().map(|(_, g)| g),
            }
        }
        Some(self.groups.entry(key).or_default())
    }

    /// Writes what the state doesn't have. What could not be written is tried again with the
    /// next turn.
    pub(super) async fn write(&mut self, store: &dyn StateStore) -> Result<(), StateError> {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            tracing::warn!(
                calls = lost,
                "the usage of some calls could not be written for too long, and is missing from minutes, hours or days"
            );
        }
        for ((span, start_ms), group) in &mut self.groups {
            if !group.loaded && group.is_dirty() {
                load(store, *span, *start_ms, group).await?;
            }
            group.write(store, *span, *start_ms).await?;
        }
        // What is added to again is read again.
        let turn = self.turn;
        self.groups
            .retain(|_, group| group.touched == turn || group.is_dirty());
        Ok(())
    }

    /// Removes rows that are older than they may be, or of a future that a clock was in.
    pub(super) async fn prune(
        &mut self,
        store: &dyn StateStore,
        now_ms: i64,
    ) -> Result<(), StateError> {
        let now = Instant::now();
        if self.age.last.is_none() {
            let known = store
                .usage(
                    UsageSpan::Day,
                    now_ms.saturating_sub(REST_MS_MAX),
                    now_ms.saturating_add(1),
                )
                .await?;
            let wait = if known.is_empty() {
                PRUNE_PAUSE
            } else {
                Duration::ZERO
            };
            self.age.due = Some(now + wait);
        }
        if !self.age.look(now_ms, now) {
            return Ok(());
        }
        for span in UsageSpan::ALL {
            let kept = i64::try_from(span.kept().as_millis()).unwrap_or(i64::MAX);
            let from = span.start(now_ms.saturating_sub(kept));
            let to = now_ms.saturating_add(span.ms());
            store.usage_prune(span, from, to).await?;
        }
        self.age.due = Some(now + PRUNE_PAUSE);
        Ok(())
    }

    /// Starts that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.groups.len()
    }
}

impl Age {
    /// Whether it is time to prune.
    fn look(&mut self, now_ms: i64, now: Instant) -> bool {
        if let Some((last_ms, last)) = self.last.replace((now_ms, now)) {
            let passed = i64::try_from((now - last).as_millis()).unwrap_or(i64::MAX);
            let jump = now_ms.saturating_sub(last_ms).saturating_sub(passed);
            if jump.saturating_abs() > JUMP_MS {
                self.due = Some(now + PRUNE_PAUSE);
            }
        }
        self.due.is_some_and(|due| now >= due)
    }
}

/// Adds what the state has: of an earlier run, or of before the clock was set back.
async fn load(
    store: &dyn StateStore,
    span: UsageSpan,
    start_ms: i64,
    group: &mut Group,
) -> Result<(), StateError> {
    let end_ms = start_ms.saturating_add(1);
    for row in store.usage(span, start_ms, end_ms).await? {
        if !row.holder.tenant.is_empty() {
            continue;
        }
        match Tally::from_bytes(&row.data) {
            Ok(base) => {
                let pair = (row.holder.alias, row.tool.into());
                group.row(&pair).tally.add(&base);
            }
            Err(error) => {
                tracing::error!(plugin = &*row.holder.alias, tool = row.tool, error);
            }
        }
    }
    group.loaded = true;
    Ok(())
}

impl Group {
    async fn write(
        &mut self,
        store: &dyn StateStore,
        span: UsageSpan,
        start_ms: i64,
    ) -> Result<(), StateError> {
        loop {
            let dirty = self.rows.iter_mut().filter(|(_, row)| row.dirty);
            let (rows, mut written): (Vec<_>, Vec<_>) = dirty
                .take(ROWS_AT_ONCE)
                .map(|((alias, tool), row)| {
                    let data = row.tally.to_bytes();
                    let row_of_state = UsageRow {
                        holder: Holder::plugin(alias),
                        tool: tool.to_string(),
                        span,
                        start_ms,
                        data,
                    };
                    (row_of_state, &mut row.dirty)
                })
                .unzip();
            if rows.is_empty() {
                return Ok(());
            }
            store.usage_put(rows).await?;
            written.iter_mut().for_each(|dirty| **dirty = false);
        }
    }
}
