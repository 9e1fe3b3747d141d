//! The place of one plugin's resident instance: how it does, whose turn it is, and when it is
//! started again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{CallError, ErrorCode, Failure, Finished, Resident};
use portreeve_state::audit::wall_clock;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::grants::GrantCell;
use crate::plugin::Plugin;

/// The first pause before an instance is started again; it doubles with each time that it
/// breaks within [`WINDOW`].
const BACKOFF: Duration = Duration::from_millis(200);

/// The longest pause.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// In which restarts are counted.
const WINDOW: Duration = Duration::from_secs(600);

/// The reason of an error that is none of the call's: the instance broke in another one.
pub(crate) const RESTARTING: &str = "restarting";

/// How a resident instance does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResidentStatus {
    /// What it does.
    pub state: ResidentState,
    /// Since when: milliseconds since 1970, UTC.
    pub since: i64,
    /// How often it broke since the plugin was taken up.
    pub broke: u64,
    /// Why it broke last.
    pub error: Option<String>,
    /// When it is started again: milliseconds since 1970, UTC.
    pub next: Option<i64>,
}

/// What a resident instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResidentState {
    /// It was not needed yet.
    Asleep,
    /// It runs.
    Runs,
    /// It broke, and is started again in a moment.
    Restarts,
    /// It broke too often, and stays down.
    Failed,
    /// Its plugin was changed or the host ends.
    Ended,
}

impl ResidentState {
    /// What is said of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResidentState::Asleep => "asleep",
            ResidentState::Runs => "runs",
            ResidentState::Restarts => "restarts",
            ResidentState::Failed => "FAILED",
            ResidentState::Ended => "ended",
        }
    }
}

/// The place of one plugin's resident instance. It outlives reloads that change nothing of it.
pub(crate) struct Residence {
    alias: String,
    restarts_max: u32,
    /// Whoever holds it has the instance's turn.
    pub(super) life: Arc<tokio::sync::Mutex<Life>>,
    pub(super) status: watch::Sender<ResidentStatus>,
    /// What the instance may do when it is told that it ends, once another plugin or other
    /// settings take its place.
    pub(super) parting: OnceLock<Arc<GrantCell>>,
    /// When it may be started again.
    not_before: Mutex<Option<Instant>>,
}

/// The instance of a plugin, where it runs.
pub(super) struct Life {
    pub(super) instance: Option<(Resident, OwnedSemaphorePermit)>,
    /// When it was started again, within the window.
    restarts: VecDeque<Instant>,
    /// The plugin as it was before, whose instance is to end before there is another.
    pub(super) former: Option<Arc<Plugin>>,
}

impl std::fmt::Debug for Residence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residence")
            .field("alias", &self.alias)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

impl Residence {
    pub(crate) fn new(alias: &str, limits: &Limits, former: Option<Arc<Plugin>>) -> Arc<Residence> {
        Arc::new(Residence {
            alias: alias.to_owned(),
            restarts_max: limits.restarts,
            life: Arc::new(tokio::sync::Mutex::new(Life {
                instance: None,
                restarts: VecDeque::new(),
                // One that never ran has nothing to end.
                former: former.filter(|former| {
                    let status = former.resident();
                    status.is_some_and(|status| status.state != ResidentState::Asleep)
                }),
            })),
            status: watch::Sender::new(ResidentStatus {
                state: ResidentState::Asleep,
                since: wall_clock(),
                broke: 0,
                error: None,
                next: None,
            }),
            parting: OnceLock::new(),
            not_before: Mutex::default(),
        })
    }

    pub(crate) fn status(&self) -> ResidentStatus {
        self.status.borrow().clone()
    }

    pub(super) fn state(&self) -> ResidentState {
        self.status.borrow().state
    }

    /// Whether it may be kept when the project is read again: one that was given up is tried
    /// anew.
    pub(crate) fn may_stay(&self) -> bool {
        !matches!(self.state(), ResidentState::Failed | ResidentState::Ended)
    }

    /// Waits until it takes messages: one that is about to be started again does not yet, and
    /// one that was given up never does.
    pub(crate) async fn ready(&self) {
        let mut changes = self.status.subscribe();
        let ready =
            |now: &ResidentStatus| matches!(now.state, ResidentState::Asleep | ResidentState::Runs);
        if changes.wait_for(ready).await.is_err() {
            std::future::pending().await
        }
    }

    pub(super) fn not_before(&self) -> Option<Instant> {
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is(&self, state: ResidentState) {
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.status.send_modify(|status| {
            status.state = state;
            status.since = wall_clock();
            status.next = None;
        });
    }

    /// Why it takes nothing now.
    pub(super) fn unavailable(&self) -> Option<CallError> {
        let alias = &self.alias;
        let status = self.status.borrow();
        let why = status.error.as_deref().unwrap_or("it broke");
        match status.state {
            ResidentState::Asleep | ResidentState::Runs => None,
            ResidentState::Restarts => {
                let left = self.not_before()?.saturating_duration_since(Instant::now());
                // Whoever comes now starts it: nobody is told to come again in no time.
                if left < Duration::from_millis(1) {
                    return None;
                }
                let told = format!(
                    "the instance of `{alias}` broke, and is started again in {} ms; it broke because: {why}",
                    left.as_millis()
                );
                Some(unavailable(RESTARTING, told, Some(left)))
            }
            ResidentState::Failed => {
                let told = format!(
                    "the instance of `{alias}` broke more than {} times within {} and is not started any more; at last: {why}. Its operator sees what it wrote with `portreeve logs --plugin {alias}`; it is tried again when portreeve.toml or its component changes, and with the next `portreeve serve`; `restarts` in its `limits` allows more",
                    self.restarts_max,
                    HumanDuration(WINDOW)
                );
                Some(unavailable("instance-failed", told, None))
            }
            ResidentState::Ended => Some(unavailable(
                "plugin-changed",
                format!("`{alias}` was changed or ended while this waited for it; try again"),
                Some(BACKOFF),
            )),
        }
    }

    /// Notes that the instance broke, and when it is started again.
    pub(super) fn broke(&self, life: &mut Life, why: &str) {
        life.instance = None;
        let now = Instant::now();
        life.restarts
            .retain(|at| now.saturating_duration_since(*at) < WINDOW);
        let count = u32::try_from(life.restarts.len()).unwrap_or(u32::MAX);
        let again = (count < self.restarts_max).then(|| {
            life.restarts.push_back(now);
            BACKOFF
                .saturating_mul(1_u32.checked_shl(count).unwrap_or(u32::MAX))
                .min(BACKOFF_MAX)
        });
        let plugin = &self.alias;
        match again {
            Some(pause) => {
                tracing::warn!(
                    plugin,
                    why,
                    ?pause,
                    "a resident instance broke; it is started again"
                );
            }
            None => tracing::error!(
                plugin,
                why,
                "a resident instance broke too often; it stays down"
            ),
        }
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = again.map(|pause| now + pause);
        self.status.send_modify(|status| {
            status.broke = status.broke.saturating_add(1);
            status.since = wall_clock();
            status.error = Some(why.to_owned());
            status.state = match again {
                Some(_) => ResidentState::Restarts,
                None => ResidentState::Failed,
            };
            status.next = again.map(|pause| {
                let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                status.since.saturating_add(pause)
            });
        });
    }
}

fn unavailable(reason: &str, told: String, retry_after: Option<Duration>) -> CallError {
    CallError {
        failure: Failure {
            retry_after,
            ..Failure::new(ErrorCode::Unavailable, reason, told)
        },
        ..CallError::host(ErrorCode::Unavailable, reason, "")
    }
}

/// The turn of one call or message with a resident instance.
pub(crate) struct Turn {
    residence: Arc<Residence>,
    life: OwnedMutexGuard<Life>,
    why: Option<String>,
}

impl Turn {
    pub(super) fn new(residence: Arc<Residence>, life: OwnedMutexGuard<Life>) -> Turn {
        Turn {
            residence,
            life,
            why: None,
        }
    }

    pub(super) fn instance(&mut self) -> Result<&mut Resident, CallError> {
        let instance = self.life.instance.as_mut();
        instance
            .map(|(instance, _)| instance)
            .ok_or_else(|| CallError::internal("a turn was given without an instance"))
    }

    pub(super) fn end<T>(&mut self, finished: Finished<T>) -> Finished<T> {
        if let Err(error) = &finished.result {
            self.why = Some(error.failure.message.clone());
        }
        finished
    }
}

impl Drop for Turn {
    /// Also where the turn was given up in the middle.
    fn drop(&mut self) {
        let broken = self.life.instance.as_ref();
        if broken.is_some_and(|(instance, _)| instance.is_broken()) {
            let why = self.why.take();
            let why = why.as_deref().unwrap_or("its turn was given up");
            self.residence.broke(&mut self.life, why);
        }
    }
}
