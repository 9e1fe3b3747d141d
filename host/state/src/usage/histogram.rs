//! How long calls took: a histogram of fixed size.

use std::time::Duration;

/// Buckets of each power of two, and the bits that tell them apart.
const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;

/// Bits of the longest time that is told from longer ones: 2^36 µs are 19 hours.
const VALUE_BITS: u32 = 36;

/// Buckets: one for each µs below 32, then sixteen for each power of two.
pub(super) const BUCKETS: usize = ((VALUE_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// A percentile is never below the time that it stands for, and above it by this part at
/// most (or one microsecond).
pub const LATENCY_ERROR: f64 = 1.0 / 16.0;

/// How long calls took. Takes two KiB, however many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct Latency {
    counts: Box<[u32]>,
    max_us: u64,
    sum_us: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            counts: vec![0; BUCKETS].into(),
            max_us: 0,
            sum_us: 0,
        }
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency")
            .field("buckets", &self.buckets().collect::<Vec<_>>())
            .field("max_us", &self.max_us)
            .field("sum_us", &self.sum_us)
            .finish()
    }
}

/// The bucket of a time in µs.
fn bucket(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS) - 1);
    // All of the value below 16, else its first five bits.
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let bucket = u64::from(shift) * SUB + (us >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The longest time of a bucket, in µs.
fn longest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / SUB).saturating_sub(1);
    let first = bucket - shift * SUB;
    ((first + 1) << shift) - 1
}

impl Latency {
    /// Adds one call.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count = count.saturating_add(1);
        }
        self.max_us = self.max_us.max(us);
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds all that another one has.
    pub fn add(&mut self, other: &Latency) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.max_us = self.max_us.max(other.max_us);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.max_us = 0;
        self.sum_us = 0;
    }

    /// Calls.
    pub fn count(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The time within which this part of all calls ended, such as 0.99; see
    /// [`LATENCY_ERROR`]. Nothing where there was no call.
    pub fn quantile(&self, part: f64) -> Duration {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are far below 2^53, and a cast of a float is bounded"
        )]
        let rank = ((count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Duration::from_micros(longest(bucket).min(self.max_us));
            }
        }
        Duration::ZERO
    }

    /// The longest of all, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// All together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The buckets that are not empty, with their counts.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let counts = self.counts.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// From its parts; none where a bucket is not one.
    pub(super) fn from_parts(
        buckets: impl IntoIterator<Item = (usize, u32)>,
        max_us: u64,
        sum_us: u64,
    ) -> Option<Latency> {
        let mut latency = Latency {
            max_us,
            sum_us,
            ..Latency::default()
        };
        for (bucket, count) in buckets {
            *latency.counts.get_mut(bucket)? = count;
        }
        Some(latency)
    }

    pub(super) fn micros(&self) -> (u64, u64) {
        (self.max_us, self.sum_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other() {
        let mut next = 0;
        for bucket_index in 0..BUCKETS {
            assert_eq!(bucket(next), bucket_index, "{next}");
            assert_eq!(bucket(longest(bucket_index)), bucket_index);
            next = longest(bucket_index) + 1;
        }
        assert_eq!(next, 1 << VALUE_BITS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_recorded_is_no_time() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.99), Duration::ZERO);
        latency.record(Duration::from_secs(u64::MAX));
        assert_eq!(latency.count(), 1);
        latency.clear();
        assert_eq!(latency, Latency::default());
    }

    proptest! {
        #[test]
        fn percentiles_are_within_the_stated_error(
            mut micros in proptest::collection::vec(prop_oneof![0..40_u64, 0..5_000_000_u64, 0..60_000_000_000_u64], 1..300),
            part in 0.0..1.0_f64,
        ) {
            let mut latency = Latency::default();
            for us in &micros {
                latency.record(Duration::from_micros(*us));
            }
            micros.sort_unstable();
            let rank = ((micros.len() as f64 * part).ceil() as usize).max(1);
            let exact = micros[rank - 1] as f64;
            let said = latency.quantile(part).as_micros() as f64;
            prop_assert!(said >= exact, "{said} < {exact}");
            prop_assert!(said <= exact * (1.0 + LATENCY_ERROR) + 1.0, "{said} > {exact}");
            prop_assert_eq!(latency.quantile(1.0), latency.max());
        }
    }
}
