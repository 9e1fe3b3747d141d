//! Counting, as part of every call.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use portreeve_manifest::settings::AlertRule;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::alerts::{Alert, AlertSink, Alerts};
use super::ledger::{Ledger, Pair};
use super::tally::Tally;
use super::{CallUse, NAME_BYTES_MAX, OTHER, PAIRS_MAX, PLUGIN_PAIRS_MAX};
use crate::error::StateError;
use crate::rows::{Holder, UsageSpan};
use crate::store::StateStore;

/// Pause between two writes: what a crash loses.
const FLUSH_PAUSE: Duration = Duration::from_secs(10);

/// Writes without a call after which a tool gives its place to others: an hour.
const IDLE_MAX: u32 = 360;

/// The last moment that is counted as itself: the year 9999.
const NOW_MS_MAX: i64 = 253_402_300_799_999;

/// The wall clock: milliseconds since 1970, UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How usage is counted.
#[derive(Clone)]
pub struct UsageConfig {
    /// The wall clock.
    pub clock: Clock,
    /// What raises alerts.
    pub rules: Vec<AlertRule>,
    /// Who hears of them.
    pub sink: Option<Arc<dyn AlertSink>>,
}

impl Default for UsageConfig {
    fn default() -> UsageConfig {
        UsageConfig {
            clock: Arc::new(crate::audit::wall_clock),
            rules: Vec::new(),
            sink: None,
        }
    }
}

/// Counts what calls use, for the process that owns the project.
pub struct UsageMeter {
    shared: Arc<Shared>,
    _until_dropped: DropGuard,
}

impl std::fmt::Debug for UsageMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UsageMeter")
    }
}

struct Shared {
    store: Arc<dyn StateStore>,
    clock: Clock,
    sink: Option<Arc<dyn AlertSink>>,
    counts: RwLock<Counts>,
    alerts: Mutex<Alerts>,
    ledger: tokio::sync::Mutex<Ledger>,
    end: CancellationToken,
}

/// What was counted since the last write, by plugin and tool.
#[derive(Default)]
struct Counts {
    plugins: HashMap<Arc<str>, HashMap<Arc<str>, Mutex<Live>>>,
    /// Pairs of them.
    pairs: usize,
}

/// What a tool used since the last write: within ten seconds there are two minutes at most.
/// Where a clock jumps about, what doesn't fit is counted with the second.
#[derive(Default)]
struct Live {
    first: Slot,
    second: Slot,
    /// Writes without a call in a row.
    idle: u32,
}

#[derive(Default)]
struct Slot {
    minute_ms: i64,
    tally: Tally,
}

impl Live {
    fn record(&mut self, used: &CallUse) {
        let minute_ms = UsageSpan::Minute.start(used.now_ms.clamp(0, NOW_MS_MAX));
        let slot = if self.first.tally.calls == 0 || self.first.minute_ms == minute_ms {
            &mut self.first
        } else {
            &mut self.second
        };
        if slot.tally.calls == 0 {
            slot.minute_ms = minute_ms;
        }
        slot.tally.record(used);
    }
}

impl Counts {
    /// Counts a call where there is a place for it.
    fn record(&self, alias: &str, tool: &str, used: &CallUse) -> bool {
        let full = self.pairs >= PAIRS_MAX;
        let live = match self.plugins.get(alias) {
            Some(tools) => tools.get(tool).or_else(|| {
                let full = full || tools.len() >= PLUGIN_PAIRS_MAX;
                full.then(|| tools.get(OTHER)).flatten()
            }),
            None if full => self.plugins.get(OTHER).and_then(|tools| tools.get(OTHER)),
            None => None,
        };
        live.is_some_and(|live| {
            lock(live).record(used);
            true
        })
    }

    /// Makes a place for a tool, or for those that there is no room for: one of each plugin
    /// and one of all.
    fn make_place(&mut self, alias: &str, tool: &str) {
        let full = self.pairs >= PAIRS_MAX;
        let (alias, tool) = match self.plugins.get(alias) {
            Some(tools) if full || tools.len() >= PLUGIN_PAIRS_MAX => (alias, OTHER),
            None if full => (OTHER, OTHER),
            _ => (alias, tool),
        };
        let tools = self.plugins.entry(alias.into()).or_default();
        if !tools.contains_key(tool) {
            tools.insert(tool.into(), Mutex::default());
            self.pairs += 1;
        }
    }

    /// Takes places back that nobody used for long.
    fn forget_idle(&mut self) {
        self.plugins.retain(|_, tools| {
            tools.retain(|_, live| lock(live).idle <= IDLE_MAX);
            !tools.is_empty()
        });
        self.pairs = self.plugins.values().map(HashMap::len).sum();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UsageMeter {
    /// Begins to count, and to write what was counted every ten seconds.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn open(
        store: Arc<dyn StateStore>,
        config: UsageConfig,
    ) -> Result<Arc<UsageMeter>, StateError> {
        // What can't be read now could not be added to later.
        let now_ms = (config.clock)();
        store.usage(UsageSpan::Day, now_ms, now_ms).await?;
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            store,
            clock: config.clock,
            sink: config.sink,
            counts: RwLock::default(),
            alerts: Mutex::new(Alerts::new(config.rules)),
            ledger: tokio::sync::Mutex::default(),
            end: end.clone(),
        });
        tokio::spawn(shared.clone().run());
        Ok(Arc::new(UsageMeter {
            shared,
            _until_dropped: end.drop_guard(),
        }))
    }

    /// Counts a call. Cheap, and never waits for the state. `tool` is the tool as the plugin
    /// calls it: one that there is, since each takes room.
    pub fn record(&self, alias: &str, tool: &str, used: &CallUse) {
        let name = |name: &'static str, given| if too_long(given) { name } else { given };
        let (alias, tool) = (name(OTHER, alias), name(OTHER, tool));
        let counts = &self.shared.counts;
        let known = {
            let counts = counts.read().unwrap_or_else(PoisonError::into_inner);
            counts.record(alias, tool, used)
        };
        if !known {
            let mut counts = counts.write().unwrap_or_else(PoisonError::into_inner);
            counts.make_place(alias, tool);
            counts.record(alias, tool, used);
        }
    }

    /// Writes what was counted, and holds it against the rules of alerts.
    ///
    /// # Errors
    /// When the state can't be written. What was counted is kept, and written with the next
    /// flush.
    pub async fn flush(&self) -> Result<(), StateError> {
        self.shared.flush().await
    }

    /// Takes other rules. Alerts of those that stay as they are stand on.
    pub fn set_rules(&self, rules: Vec<AlertRule>) {
        lock(&self.shared.alerts).set_rules(rules);
    }

    /// The alerts that stand.
    pub fn standing(&self) -> Vec<Alert> {
        lock(&self.shared.alerts).standing()
    }

    /// Writes what was counted, and writes no more by itself.
    pub async fn close(&self) {
        self.shared.end.cancel();
        if let Err(error) = self.flush().await {
            tracing::error!(%error, "the last usage was not written");
        }
    }
}

fn too_long(name: &str) -> bool {
    name.len() > NAME_BYTES_MAX
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.end.cancelled() => return,
                () = tokio::time::sleep(FLUSH_PAUSE) => {}
            }
            let result = self.flush().await;
            match &result {
                Err(error) if !failing => {
                    tracing::error!(%error, "usage is not written; it is kept for later");
                }
                Ok(()) if failing => tracing::info!("usage is written again"),
                _ => {}
            }
            failing = result.is_err();
        }
    }

    /// Up to the first wait everything that was counted is in the ledger: nothing is lost
    /// where this is dropped.
    async fn flush(&self) -> Result<(), StateError> {
        let mut ledger = self.ledger.lock().await;
        let fresh = self.collect(&mut ledger);
        let now_ms = (self.clock)();
        lock(&self.alerts).add(Instant::now(), &fresh);
        self.alert(now_ms, fresh.keys()).await;
        ledger.write(&*self.store).await?;
        ledger.prune(&*self.store, now_ms).await
    }

    /// Moves what was counted to the ledger; by plugin, it is the answer.
    fn collect(&self, ledger: &mut Ledger) -> BTreeMap<Arc<str>, Tally> {
        ledger.begin();
        let mut fresh = BTreeMap::<Arc<str>, Tally>::new();
        let mut idle = false;
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        for (alias, tools) in &counts.plugins {
            for (tool, live) in tools {
                let pair: Pair = (alias.clone(), tool.clone());
                let mut live = lock(live);
                let live = &mut *live;
                let used = live.first.tally.calls > 0;
                live.idle = if used { 0 } else { live.idle.saturating_add(1) };
                idle |= live.idle > IDLE_MAX;
                for slot in [&mut live.first, &mut live.second] {
                    if slot.tally.calls > 0 {
                        ledger.add(&pair, slot.minute_ms, &slot.tally);
                        fresh.entry(alias.clone()).or_default().add(&slot.tally);
                        slot.tally.clear();
                    }
                }
            }
        }
        drop(counts);
        if idle {
            let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
            counts.forget_idle();
        }
        fresh
    }

    /// Raises and ends alerts.
    async fn alert(&self, now_ms: i64, called: impl Iterator<Item = &Arc<str>>) {
        let mut stored = HashMap::new();
        if lock(&self.alerts).look_at_storage() {
            // Only a plugin that was called can have stored something.
            for alias in called {
                match self.store.kv_used(&Holder::plugin(alias)).await {
                    Ok(used) => {
                        stored.insert(alias.clone(), used.bytes);
                    }
                    Err(error) => tracing::warn!(%error, "what {alias} stores is not known"),
                }
            }
        }
        let alerts = lock(&self.alerts).look(Instant::now(), now_ms, &stored);
        for alert in &alerts {
            tracing::warn!(
                plugin = alert.plugin.as_deref(),
                metric = alert.metric.as_str(),
                "{}",
                alert.message
            );
            if let Some(sink) = &self.sink {
                sink.alert(alert);
            }
        }
    }
}
