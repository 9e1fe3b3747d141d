//! The clock of one call: it runs out, unless it stands still.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a call may still run. It stands still while the call waits for people.
#[derive(Debug)]
pub(crate) struct Clock {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    hand: Hand,
    /// How long it stood still, all told.
    stood: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Hand {
    Runs { until: Instant },
    Stands { since: Instant, left: Duration },
}

/// A clock that stands still until this is dropped.
pub(crate) struct Standstill<'a>(&'a Clock);

impl Clock {
    /// One that begins to run now.
    pub(crate) fn new(time: Duration) -> Clock {
        let until = Instant::now() + time;
        Clock {
            state: watch::Sender::new(State {
                hand: Hand::Runs { until },
                stood: Duration::ZERO,
            }),
        }
    }

    /// What is left.
    pub(crate) fn left(&self) -> Duration {
        match self.state.borrow().hand {
            Hand::Runs { until } => until.saturating_duration_since(Instant::now()),
            Hand::Stands { left, .. } => left,
        }
    }

    /// How long it has run since `started`.
    pub(crate) fn ran(&self, started: Instant) -> Duration {
        let state = *self.state.borrow();
        let stands = match state.hand {
            Hand::Runs { .. } => Duration::ZERO,
            Hand::Stands { since, .. } => since.elapsed(),
        };
        started
            .elapsed()
            .saturating_sub(state.stood)
            .saturating_sub(stands)
    }

    /// Has it stand still.
    pub(crate) fn stop(&self) -> Standstill<'_> {
        self.state.send_modify(|state| {
            let now = Instant::now();
            if let Hand::Runs { until } = state.hand {
                let left = until.saturating_duration_since(now);
                state.hand = Hand::Stands { since: now, left };
            }
        });
        Standstill(self)
    }

    /// Ready when it has run out.
    pub(crate) async fn over(&self) {
        let mut changes = self.state.subscribe();
        loop {
            let hand = changes.borrow_and_update().hand;
            let changed = async {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            match hand {
                Hand::Stands { .. } => changed.await,
                Hand::Runs { until } => tokio::select! {
                    () = sleep_until(until) => return,
                    () = changed => {}
                },
            }
        }
    }
}

impl Drop for Standstill<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            if let Hand::Stands { since, left } = state.hand {
                let now = Instant::now();
                state.stood = state
                    .stood
                    .saturating_add(now.saturating_duration_since(since));
                state.hand = Hand::Runs { until: now + left };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const PAUSE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn it_stands_still_and_runs_on() {
        let (started, clock) = (Instant::now(), Clock::new(Duration::from_secs(3_600)));
        let standstill = clock.stop();
        let (left, ran) = (clock.left(), clock.ran(started));
        tokio::time::sleep(PAUSE).await;
        assert_eq!(clock.left(), left);
        drop(standstill);
        tokio::time::sleep(PAUSE).await;
        assert!(clock.left() < left);
        assert!(clock.ran(started) >= ran + PAUSE);
        assert!(clock.ran(started) + PAUSE <= started.elapsed());
    }

    #[tokio::test]
    async fn it_is_never_over_while_it_stands_still() {
        let clock = Arc::new(Clock::new(Duration::from_millis(1)));
        let standstill = clock.stop();
        let watched = clock.clone();
        let over = tokio::spawn(async move { watched.over().await });
        tokio::time::sleep(PAUSE).await;
        assert!(!over.is_finished());
        drop(standstill);
        over.await.unwrap();
        assert_eq!(clock.left(), Duration::ZERO);
    }
}
