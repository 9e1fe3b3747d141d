//! How much may come in a second: a bucket that fills as time passes.

/// A bucket. It holds what comes in one second.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// In thousandths.
    level: u64,
    at_ms: i64,
}

impl Bucket {
    pub(super) fn new(per_second: u64, now_ms: i64) -> Bucket {
        Bucket {
            per_second,
            level: per_second.saturating_mul(1_000),
            at_ms: now_ms,
        }
    }

    fn fill(&mut self, now_ms: i64) {
        let passed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        self.at_ms = self.at_ms.max(now_ms);
        let more = passed.saturating_mul(self.per_second);
        self.level = self
            .level
            .saturating_add(more)
            .min(self.per_second.saturating_mul(1_000));
    }

    /// When so much can be taken: at once, or in how many milliseconds. More than the bucket holds
    /// can be taken when it is full.
    pub(super) fn wait(&mut self, amount: u64, now_ms: i64) -> Result<(), u64> {
        self.fill(now_ms);
        let wanted = amount.min(self.per_second).saturating_mul(1_000);
        let missing = wanted.saturating_sub(self.level);
        match missing {
            0 => Ok(()),
            _ => Err(missing.div_ceil(self.per_second.max(1))),
        }
    }

    /// Takes it, after `wait` has said that it can be.
    pub(super) fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(amount.saturating_mul(1_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_has_come() {
        let mut bucket = Bucket::new(10, 0);
        for _ in 0..10 {
            bucket.wait(1, 0).unwrap();
            bucket.take(1);
        }
        assert_eq!(bucket.wait(1, 0), Err(100));
        assert_eq!(bucket.wait(1, 99), Err(1));
        assert_eq!(bucket.wait(1, 100), Ok(()));
        // A clock that goes back gives nothing, and takes nothing.
        assert_eq!(bucket.wait(2, 0), Err(100));
        assert_eq!(bucket.wait(50, 1_000), Ok(()));
    }
}
