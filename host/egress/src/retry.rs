//! Trying again, with pauses that grow.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::EgressError;

/// The pauses between tries of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// The first, and the longest.
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// How many there are: one less than tries.
    pub(crate) count: usize,
}

impl Default for Pauses {
    /// Six tries within about a minute: an outage that is longer is better told by the next
    /// message than by the last.
    fn default() -> Pauses {
        Pauses {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            count: 5,
        }
    }
}

impl Pauses {
    /// The pauses one after the other: they grow two times each, and by up to as much again at
    /// random.
    pub(crate) fn begin(self) -> impl Iterator<Item = Duration> + Send {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.count)
            .with_jitter()
            .build()
    }
}

/// Does something until it is done, can't be, or was tried often enough.
pub(crate) async fn retry<F>(pauses: Pauses, mut work: impl FnMut() -> F) -> Result<(), EgressError>
where
    F: Future<Output = Result<(), EgressError>>,
{
    let mut pauses = pauses.begin();
    loop {
        let error = match work().await {
            Err(error) if error.is_worth_another_try() => error,
            ended => return ended,
        };
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
    }
}
