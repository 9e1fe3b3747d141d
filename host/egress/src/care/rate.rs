//! How many requests may go to an origin.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference as _};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::error::{GateError, GateErrorKind};
use portreeve_manifest::settings::OriginRate;

type Limiter = RateLimiter<
    NotKeyed,
    InMemoryState,
    SinceStart,
    governor::middleware::NoOpMiddleware<Duration>,
>;

/// A bucket (GCRA) that holds as many requests as the rate counts, and fills evenly: so many
/// can go at once after a while of silence.
#[derive(Debug)]
pub(super) struct RateLimit {
    rate: OriginRate,
    /// None where nothing may pass.
    limiter: Option<Limiter>,
    clock: SinceStart,
    refused: AtomicU64,
}

/// Time since a start, by tokio's clock.
#[derive(Clone, Copy, Debug)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl RateLimit {
    pub(super) fn new(rate: OriginRate) -> RateLimit {
        let clock = SinceStart(Instant::now());
        let limiter = NonZeroU32::new(rate.count).and_then(|count| {
            let each = rate.per / count.get();
            let quota = Quota::with_period(each.max(Duration::from_nanos(1)))?;
            Some(RateLimiter::direct_with_clock(
                quota.allow_burst(count),
                clock,
            ))
        });
        RateLimit {
            rate,
            limiter,
            clock,
            refused: AtomicU64::new(0),
        }
    }

    /// Takes the room of one request.
    pub(super) fn take(&self) -> Result<(), GateError> {
        let wait = match self.limiter.as_ref().map(RateLimiter::check) {
            Some(Ok(())) => return Ok(()),
            Some(Err(until)) => {
                let earliest = until.earliest_possible();
                earliest.duration_since(self.clock.now()).into()
            }
            None => self.rate.per,
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(GateError::new(
            GateErrorKind::RateLimited { retry_after: wait },
            format!(
                "the operator allows {} requests in {:?} to this origin; try again in {:.1} s, or ask for a higher `rate` in [network.origins]",
                self.rate.count,
                self.rate.per,
                wait.as_secs_f64()
            ),
        ))
    }

    /// How many found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(limit: &RateLimit) -> Option<Duration> {
        match limit.take().err()?.kind() {
            GateErrorKind::RateLimited { retry_after } => Some(*retry_after),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_fills() {
        let limit = RateLimit::new(OriginRate {
            count: 3,
            per: Duration::from_secs(30),
        });
        for _ in 0..3 {
            assert_eq!(wait(&limit), None);
        }
        assert_eq!(wait(&limit), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(wait(&limit), Some(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(wait(&limit), None);
        assert!(wait(&limit).is_some());
        tokio::time::advance(Duration::from_secs(3600)).await;
        let passed = (0..10).filter(|_| wait(&limit).is_none()).count();
        assert_eq!(passed, 3);
        assert_eq!(limit.refused(), 3 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn odd_rates_hold_too() {
        let none = RateLimit::new(OriginRate {
            count: 0,
            per: Duration::from_secs(1),
        });
        assert_eq!(wait(&none), Some(Duration::from_secs(1)));
        let many = RateLimit::new(OriginRate {
            count: u32::MAX,
            per: Duration::from_nanos(1),
        });
        assert_eq!(wait(&many), None);
    }
}
