//! How much a call, and its plugin in a day, may send and receive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portreeve_manifest::size::ByteSize;
use tokio::sync::Notify;

use crate::error::{GateError, GateErrorKind};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Requests, each retry counted, and connections of sockets.
    pub requests: u64,
    /// Bytes sent: heads, bodies, trailers.
    pub sent: u64,
    /// Bytes received, likewise.
    pub received: u64,
}

/// What one plugin may use, all its calls together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Exchanges and sockets at a time. Connections that are kept for later are not counted:
    /// they have a bound of their own.
    pub connections: u64,
    /// Requests in a day.
    pub requests_a_day: u64,
    /// Bytes in a day, both ways.
    pub traffic_a_day: u64,
}

/// What a plugin has used in a day: what is kept when the host ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// The day: whole days since 1970, in UTC.
    pub day: u64,
    /// Requests.
    pub requests: u64,
    /// Bytes, both ways.
    pub bytes: u64,
}

impl DayUse {
    /// Nothing used yet, today.
    pub fn today() -> DayUse {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        DayUse {
            day: since.map_or(0, |since| since.as_secs() / SECONDS_A_DAY),
            ..DayUse::default()
        }
    }

    fn begin(&mut self, today: DayUse) {
        if self.day != today.day {
            *self = today;
        }
    }
}

#[derive(Debug)]
struct Day {
    limits: PluginLimits,
    used: DayUse,
}

/// What one plugin uses: shared by all its calls.
#[derive(Debug)]
pub struct PluginBudget {
    day: Mutex<Day>,
    connections: AtomicU64,
    freed: Notify,
}

impl PluginBudget {
    /// A budget of a plugin; `used` is what it had used when the host ended, which counts if
    /// that was today.
    pub fn new(limits: PluginLimits, used: DayUse) -> Arc<PluginBudget> {
        Arc::new(PluginBudget {
            day: Mutex::new(Day { limits, used }),
            connections: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }

    /// Other limits, for calls that run as well: what was used stays used.
    pub fn set_limits(&self, limits: PluginLimits) {
        self.lock().limits = limits;
        self.freed.notify_waiters();
    }

    /// What it has used today.
    pub fn day(&self) -> DayUse {
        let mut day = self.lock();
        day.used.begin(DayUse::today());
        day.used
    }

    /// Exchanges and sockets at this moment.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Day> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A day begins with its first request: what goes on over midnight belongs to the day
    /// before until then.
    fn request(&self) -> Result<(), GateError> {
        let today = DayUse::today();
        let Day { limits, used } = &mut *self.lock();
        used.begin(today);
        used.requests = used.requests.saturating_add(1);
        within("requests-a-day", limits.requests_a_day, used.requests)
    }

    fn traffic(&self, bytes: u64) -> Result<(), GateError> {
        let Day { limits, used } = &mut *self.lock();
        used.bytes = used.bytes.saturating_add(bytes);
        within("traffic-a-day", limits.traffic_a_day, used.bytes)
    }

    /// Takes a place if one is free, else says how many there are and how many are taken.
    fn try_connection(self: &Arc<Self>) -> Result<Connection, (u64, u64)> {
        let places = self.lock().limits.connections;
        let more = |taken| (taken < places).then_some(taken + 1);
        self.connections
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map(|_| Connection(self.clone()))
            .map_err(|taken| (places, taken))
    }
}

/// A place among the connections of a plugin; it is given back when this is dropped.
#[derive(Debug)]
pub struct Connection(Arc<PluginBudget>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

/// What one call uses, and its plugin with it.
#[derive(Debug)]
pub struct Budget {
    limits: CallLimits,
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    plugin: Arc<PluginBudget>,
}

impl Budget {
    /// The budget of a new call.
    pub fn new(limits: CallLimits, plugin: Arc<PluginBudget>) -> Budget {
        Budget {
            limits,
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            plugin,
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When the call or its plugin has no more of them.
    pub fn request(&self) -> Result<(), GateError> {
        within("requests", self.limits.requests, add(&self.requests, 1))?;
        self.plugin.request()
    }

    /// Counts bytes that are about to be sent.
    ///
    /// # Errors
    /// When the call or its plugin may send no more.
    pub fn sent(&self, bytes: u64) -> Result<(), GateError> {
        within("sent", self.limits.sent, add(&self.sent, bytes))?;
        self.plugin.traffic(bytes)
    }

    /// Counts bytes that were received.
    ///
    /// # Errors
    /// When the call or its plugin may receive no more.
    pub fn received(&self, bytes: u64) -> Result<(), GateError> {
        within("received", self.limits.received, add(&self.received, bytes))?;
        self.plugin.traffic(bytes)
    }

    /// What the call has used: requests, bytes sent, bytes received.
    pub fn used(&self) -> (u64, u64, u64) {
        let [requests, sent, received] =
            [&self.requests, &self.sent, &self.received].map(|n| n.load(Ordering::Relaxed));
        (requests, sent, received)
    }

    /// Takes a place among the connections of the plugin, and waits for one if none is free.
    ///
    /// # Errors
    /// When none came free in time.
    pub async fn connection(&self, patience: Duration) -> Result<Connection, GateError> {
        if let Ok(taken) = self.plugin.try_connection() {
            return Ok(taken);
        }
        let free = async {
            loop {
                let mut freed = std::pin::pin!(self.plugin.freed.notified());
                // From here on, so that none that comes free is missed.
                freed.as_mut().enable();
                if let Ok(taken) = self.plugin.try_connection() {
                    return taken;
                }
                freed.await;
            }
        };
        match tokio::time::timeout(patience, free).await {
            Ok(taken) => Ok(taken),
            Err(_) => self.try_connection(),
        }
    }

    /// Takes a place among the connections of the plugin.
    ///
    /// # Errors
    /// When none is free.
    pub fn try_connection(&self) -> Result<Connection, GateError> {
        self.plugin
            .try_connection()
            .map_err(|(places, taken)| over("connections", places, taken.saturating_add(1)))
    }
}

fn add(count: &AtomicU64, more: u64) -> u64 {
    let sum = |before: u64| Some(before.saturating_add(more));
    let before = count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
        .unwrap_or_else(|before| before);
    before.saturating_add(more)
}

fn within(setting: &'static str, allowed: u64, used: u64) -> Result<(), GateError> {
    if used <= allowed {
        return Ok(());
    }
    Err(over(setting, allowed, used))
}

#[cold]
fn over(setting: &'static str, allowed: u64, used: u64) -> GateError {
    let what = match setting {
        "requests" => format!("this call may send {allowed} requests, and this is number {used}"),
        "sent" => format!(
            "this call may send {}, and would have sent {used} B",
            ByteSize(allowed)
        ),
        "received" => format!(
            "this call may receive {}, and was sent {used} B",
            ByteSize(allowed)
        ),
        "connections" => {
            format!("the plugin may have {allowed} connections at a time, and all are in use")
        }
        "requests-a-day" => {
            format!("the plugin may send {allowed} requests a day, and this is number {used}")
        }
        _ => format!(
            "the plugin may send and receive {} a day, and that is used up",
            ByteSize(allowed)
        ),
    };
    GateError::new(
        GateErrorKind::Budget {
            setting,
            allowed,
            used,
        },
        format!(
            "{what}; raise `{setting}` among the plugin's limits in portreeve.toml if that is too little"
        ),
    )
}
