//! Leaving an origin alone that fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{GateError, GateErrorKind};
use portreeve_manifest::settings::OriginBreaker;

/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(60);

/// The window is counted in so many parts, so that it takes little room whatever happens.
const SLOTS: usize = 12;

/// When to try again while somebody else is trying.
const TRIAL_WAIT: Duration = Duration::from_secs(1);

/// A circuit breaker. Closed it lets everything pass; after enough failures within a minute it
/// opens, and lets nothing pass for its pause; then it lets one request try, and closes if
/// that is well.
#[derive(Debug)]
pub(super) struct Breaker {
    care: OriginBreaker,
    circuit: Mutex<Circuit>,
}

#[derive(Debug)]
struct Circuit {
    phase: Phase,
    since: Timestamp,
    failures: Failures,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    Trial,
}

/// How a breaker is, for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BreakerStatus {
    /// Whether requests pass.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
}

/// Whether requests pass a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// They pass.
    Closed,
    /// They don't.
    Open,
    /// One may try.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new(care: OriginBreaker) -> Breaker {
        Breaker {
            care,
            circuit: Mutex::new(Circuit {
                phase: Phase::Closed,
                since: Timestamp::now(),
                failures: Failures::new(),
            }),
        }
    }

    /// Lets a request pass, or not.
    pub(super) fn admit(&self) -> Result<Admission<'_>, GateError> {
        let mut circuit = self.circuit();
        let now = Instant::now();
        let wait = match circuit.phase {
            Phase::Closed => {
                return Ok(Admission {
                    breaker: self,
                    trial: false,
                });
            }
            Phase::Open { until } if until <= now => {
                circuit.enter(Phase::Trial);
                return Ok(Admission {
                    breaker: self,
                    trial: true,
                });
            }
            Phase::Open { until } => until.duration_since(now),
            Phase::Trial => TRIAL_WAIT,
        };
        Err(GateError::new(
            GateErrorKind::CircuitOpen { retry_after: wait },
            format!(
                "this origin failed {} times within {} s and is left alone; try again in {:.1} s",
                self.care.failures,
                WINDOW.as_secs(),
                wait.as_secs_f64()
            ),
        ))
    }

    /// Whether it would let nothing pass now.
    pub(super) fn is_open(&self) -> bool {
        match self.circuit().phase {
            Phase::Closed => false,
            Phase::Open { until } => until > Instant::now(),
            Phase::Trial => true,
        }
    }

    pub(super) fn status(&self) -> BreakerStatus {
        let circuit = self.circuit();
        let state = match circuit.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if until > Instant::now() => BreakerState::Open,
            Phase::Open { .. } | Phase::Trial => BreakerState::HalfOpen,
        };
        BreakerStatus {
            state,
            since: circuit.since,
        }
    }

    fn open(&self) -> Phase {
        Phase::Open {
            // A pause of centuries is as good as one of a year.
            until: Instant::now() + self.care.pause.min(Duration::from_secs(365 * 24 * 3600)),
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Timestamp::now();
    }
}

/// A request that passed. Dropped without a word, it says nothing of the origin.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    breaker: &'a Breaker,
    trial: bool,
}

impl Admission<'_> {
    pub(super) fn succeeded(mut self) {
        if std::mem::take(&mut self.trial) {
            let mut circuit = self.breaker.circuit();
            circuit.failures = Failures::new();
            circuit.enter(Phase::Closed);
        }
    }

    pub(super) fn failed(mut self) {
        let trial = std::mem::take(&mut self.trial);
        let mut circuit = self.breaker.circuit();
        match circuit.phase {
            Phase::Trial if trial => circuit.enter(self.breaker.open()),
            Phase::Closed => {
                if circuit.failures.add(Instant::now()) >= self.breaker.care.failures {
                    circuit.enter(self.breaker.open());
                }
            }
            // It had passed before the breaker opened.
            Phase::Open { .. } | Phase::Trial => {}
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.trial {
            // The next one may try.
            self.breaker.circuit().phase = Phase::Open {
                until: Instant::now(),
            };
        }
    }
}

/// Failures of the last [`WINDOW`], to a [`SLOTS`]th of it.
#[derive(Debug)]
struct Failures {
    start: Instant,
    /// How many, and in which of all the parts since the start.
    slots: [(u64, u32); SLOTS],
}

impl Failures {
    fn new() -> Failures {
        Failures {
            start: Instant::now(),
            slots: [(0, 0); SLOTS],
        }
    }

    /// Adds one; how many there are.
    fn add(&mut self, now: Instant) -> u32 {
        let each = WINDOW.as_nanos() / SLOTS as u128;
        let part = now.duration_since(self.start).as_nanos() / each;
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        let count = SLOTS as u64;
        if let Some(slot) = self.slots.get_mut((part % count) as usize) {
            if slot.0 != part {
                *slot = (part, 0);
            }
            slot.1 = slot.1.saturating_add(1);
        }
        self.slots
            .iter()
            .filter(|(slot, _)| part - slot.min(&part) < count)
            .fold(0, |sum: u32, (_, failures)| sum.saturating_add(*failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn breaker(failures: u32, pause: u64) -> Breaker {
        Breaker::new(OriginBreaker {
            failures,
            pause: Duration::from_secs(pause),
        })
    }

    fn wait(breaker: &Breaker) -> Duration {
        match breaker.admit().unwrap_err().kind() {
            GateErrorKind::CircuitOpen { retry_after } => *retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_pauses_tries_and_closes() {
        let breaker = breaker(3, 10);
        for _ in 0..3 {
            assert_eq!(breaker.status().state, BreakerState::Closed);
            breaker.admit().unwrap().failed();
        }
        assert_eq!(breaker.status().state, BreakerState::Open);
        assert!(breaker.is_open());
        assert_eq!(wait(&breaker), Duration::from_secs(10));
        advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        // One may try, and only one.
        let trial = breaker.admit().unwrap();
        assert_eq!(wait(&breaker), TRIAL_WAIT);
        trial.failed();
        assert_eq!(wait(&breaker), Duration::from_secs(10));
        advance(Duration::from_secs(10)).await;
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.status().state, BreakerState::Closed);
        // What was before doesn't count any more.
        breaker.admit().unwrap().failed();
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_comes_to_nothing_is_no_trial() {
        let breaker = breaker(1, 10);
        breaker.admit().unwrap().failed();
        advance(Duration::from_secs(10)).await;
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.status().state, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn late_results_say_nothing_of_a_trial() {
        let breaker = breaker(1, 10);
        let slow_success = breaker.admit().unwrap();
        let slow_failure = breaker.admit().unwrap();
        breaker.admit().unwrap().failed();
        advance(Duration::from_secs(10)).await;
        let trial = breaker.admit().unwrap();
        slow_success.succeeded();
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        slow_failure.failed();
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        trial.succeeded();
        assert_eq!(breaker.status().state, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten() {
        let breaker = breaker(2, 10);
        for _ in 0..100 {
            breaker.admit().unwrap().failed();
            advance(WINDOW).await;
        }
        assert_eq!(breaker.status().state, BreakerState::Closed);
        breaker.admit().unwrap().failed();
        advance(WINDOW - WINDOW / SLOTS as u32).await;
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.status().state, BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_successful_request_alone_does_not_hide_failures() {
        let breaker = breaker(2, 10);
        breaker.admit().unwrap().failed();
        breaker.admit().unwrap().succeeded();
        breaker.admit().unwrap().failed();
        assert!(breaker.is_open());
    }
}
