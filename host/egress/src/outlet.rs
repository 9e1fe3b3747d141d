//! Values in, messages out: to a webhook, to a program, or to both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portreeve_manifest::settings::OutletSettings;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::retry::{Pauses, retry};
use crate::{Command, EgressError, Webhook};

/// Messages that wait; one more is lost, and counted.
const QUEUE_MAX: usize = 256;

/// Longest message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How long the messages that wait at the end may take.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// Takes values and sends each, as JSON, to a webhook, a program, or both: one at a time to
/// each, in order. What is sent nowhere is in the log.
pub struct Outlet {
    /// Empty once it is closed.
    ways: Mutex<Vec<mpsc::Sender<Bytes>>>,
    counts: Arc<Counts>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    name: &'static str,
    /// Ends what is under way.
    _until_dropped: DropGuard,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outlet({})", self.name)
    }
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    full: AtomicU64,
}

/// What became of messages, counted for each way that they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OutletCounts {
    /// Those that were taken at the other end.
    pub sent: u64,
    /// Those that were given up.
    pub failed: u64,
    /// Those that there was no room for.
    pub full: u64,
}

/// One way that messages go.
enum Way {
    Webhook(Webhook),
    Command(Command),
}

impl Way {
    async fn send(&self, message: &Bytes) -> Result<(), EgressError> {
        match self {
            Way::Webhook(webhook) => webhook.send(message.clone()).await,
            Way::Command(command) => command.send(message).await,
        }
    }
}

impl Outlet {
    /// An outlet as the operator has set it; `name` is what its messages are, for the log.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the webhook can't be set up; see [`Webhook::new`].
    pub fn open(name: &'static str, settings: &OutletSettings) -> Result<Outlet, EgressError> {
        Outlet::with_pauses(name, settings, Pauses::default())
    }

    fn with_pauses(
        name: &'static str,
        settings: &OutletSettings,
        pauses: Pauses,
    ) -> Result<Outlet, EgressError> {
        let webhook = settings.webhook.as_ref().map(Webhook::new).transpose()?;
        let command = Command::new(&settings.command);
        let ways = webhook.map(Way::Webhook).into_iter();
        let ways = ways.chain(command.map(Way::Command));
        let counts = Arc::new(Counts::default());
        let end = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let ways = ways
            .map(|way| {
                let (sender, receiver) = mpsc::channel(QUEUE_MAX);
                let work = run(name, way, pauses, receiver, counts.clone());
                let end = end.clone();
                tasks.spawn(async move {
                    end.run_until_cancelled(work).await;
                });
                sender
            })
            .collect::<Vec<_>>();
        Ok(Outlet {
            ways: Mutex::new(ways),
            counts,
            tasks: tokio::sync::Mutex::new(tasks),
            name,
            _until_dropped: end.drop_guard(),
        })
    }

    /// Sends a value. It never waits: what there is no room for is lost, and counted.
    pub fn send(&self, value: &impl Serialize) {
        let message = match serde_json::to_vec(value) {
            Ok(message) if message.len() <= MESSAGE_BYTES_MAX => Bytes::from(message),
            Ok(message) => {
                let bytes = message.len();
                tracing::error!(bytes, "{}: a message is too long to be sent", self.name);
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                tracing::error!(%error, "{}: a message has no form", self.name);
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        for way in self.ways().iter() {
            if way.try_send(message.clone()).is_err()
                && self.counts.full.fetch_add(1, Ordering::Relaxed) == 0
            {
                tracing::error!("{}: more messages wait than may; some are lost", self.name);
            }
        }
    }

    /// What became of its messages.
    pub fn counts(&self) -> OutletCounts {
        OutletCounts {
            sent: self.counts.sent.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
            full: self.counts.full.load(Ordering::Relaxed),
        }
    }

    /// Sends what waits, for a process that is about to end: for five seconds at most.
    pub async fn close(&self) {
        self.ways().clear();
        let mut tasks = self.tasks.lock().await;
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIME_MAX, all).await.is_err() {
            tracing::warn!("{}: some messages were not sent in time", self.name);
        }
    }

    fn ways(&self) -> MutexGuard<'_, Vec<mpsc::Sender<Bytes>>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what comes, until nothing more can.
async fn run(
    name: &'static str,
    way: Way,
    pauses: Pauses,
    mut messages: mpsc::Receiver<Bytes>,
    counts: Arc<Counts>,
) {
    while let Some(message) = messages.recv().await {
        match retry(pauses, || way.send(&message)).await {
            Ok(()) => {
                counts.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "{name}: a message was given up");
            }
        }
    }
}

#[cfg(test)]
mod tests;
