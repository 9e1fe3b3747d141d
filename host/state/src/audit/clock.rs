//! What time it is, and whether that can be.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the wall clock may go from what passed since the last look before it counts as
/// set: more than corrections over the network make at once.
const JUMP_MS: i64 = 1_000;

/// A source of time.
pub trait AuditClock: Send + Sync + std::fmt::Debug {
    /// The wall clock, in milliseconds since 1970, UTC. It may be set at any time.
    fn wall_ms(&self) -> i64;

    /// What passed since some moment, which stays the same. It never goes back.
    fn passed(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl AuditClock for SystemClock {
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => ms(since),
            Err(before) => ms(before.duration()).saturating_neg(),
        }
    }

    fn passed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration in whole milliseconds.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A time as people and programs read it: `2026-11-21T10:00:00.123Z`.
pub fn time_text(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{time_ms} ms"),
    }
}

/// Compares each look at the wall clock with the one before.
#[derive(Debug)]
pub(super) struct Watch {
    last: Option<(i64, Duration)>,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// What it would have shown, in milliseconds since 1970.
    pub(super) expected_ms: i64,
    /// What it shows.
    pub(super) found_ms: i64,
}

impl Watch {
    /// Starts after a record of an earlier run, if there is one: since then any time may have
    /// passed, but none back.
    pub(super) fn new() -> Watch {
        Watch { last: None }
    }

    /// Takes a look; whether the clock was set since the last.
    pub(super) fn look(&mut self, wall_ms: i64, passed: Duration) -> Option<Jump> {
        let before = self.last.replace((wall_ms, passed));
        let (last_ms, last_passed) = before?;
        let expected_ms = last_ms.saturating_add(ms(passed.saturating_sub(last_passed)));
        (wall_ms.saturating_sub(expected_ms).saturating_abs() >= JUMP_MS).then_some(Jump {
            expected_ms,
            found_ms: wall_ms,
        })
    }
}

/// Whether the clock shows a time before that of a record of an earlier run.
pub(super) fn went_back(last_ms: i64, wall_ms: i64) -> Option<Jump> {
    (last_ms.saturating_sub(wall_ms) >= JUMP_MS).then_some(Jump {
        expected_ms: last_ms,
        found_ms: wall_ms,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A clock that shows what it is told.
    #[derive(Debug, Default)]
    pub(in crate::audit) struct SetClock(pub(in crate::audit) Mutex<(i64, Duration)>);

    impl SetClock {
        pub(in crate::audit) fn pass(&self, wall_ms: i64, passed_ms: u64) {
            let mut time = self.0.lock().unwrap();
            time.0 += wall_ms;
            time.1 += Duration::from_millis(passed_ms);
        }
    }

    impl AuditClock for SetClock {
        fn wall_ms(&self) -> i64 {
            self.0.lock().unwrap().0
        }
        fn passed(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    #[test]
    fn jumps_are_told_from_the_passing_of_time() {
        for (wall_ms, passed_ms, jumps) in [
            (0, 0, false),
            (500, 500, false),
            (3_600_000, 3_600_000, false),
            // Corrections.
            (-3, 10, false),
            (999, 0, false),
            (-1_000, 0, true),
            (1_000, 0, true),
            (0, 5_000, true),
            (-3_600_000, 1_000, true),
        ] {
            let mut watch = Watch::new();
            assert_eq!(watch.look(1_000_000, Duration::from_secs(7)), None);
            let passed = Duration::from_millis(7_000 + passed_ms);
            let jump = watch.look(1_000_000 + wall_ms, passed);
            assert_eq!(jump.is_some(), jumps, "{wall_ms} {passed_ms}");
            // Each is told once.
            assert_eq!(watch.look(1_000_000 + wall_ms, passed), None);
        }
        assert_eq!(went_back(5_000, 4_500), None);
        assert!(went_back(5_000, 4_000).is_some());
        assert_eq!(went_back(5_000, 500_000), None);
    }
}
