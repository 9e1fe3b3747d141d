//! Where a plugin's calls begin: on their caller's thread, unless they keep it for long.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Most CPU time that a call may take of its caller's thread: ten times what a guest computes
/// for before it gives way. The rest is for making the instance and for what is copied.
const TURN_MAX: Duration = Duration::from_millis(1);

/// One turn of so many is measured, at random: that costs a tenth of a short call.
const MEASURED_ONE_OF: u64 = 16;

/// After one that took more, so many are measured one and all. One alone tells nothing: it may
/// have been cold, or the machine busy elsewhere.
const SUSPECTED_TURNS: u64 = 16;

/// How long the calls of a plugin begin elsewhere after a second one that took more: little at
/// first, and twice as long after each that follows. Should each turn take a tick of the clock
/// and a large copy on top of it, some 20 ms, then all of them together have some 400 ms of the
/// thread before the first pause, and one turn after each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// After so long without one that took more, the next is the first again.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Whether the calls of a component may begin on their caller's thread.
pub(crate) struct Pace {
    since: Instant,
    /// Milliseconds from then until they may again; 0 if they may.
    not_before: AtomicU64,
    /// The last pause, in milliseconds.
    pause: AtomicU64,
    turns: AtomicU64,
    /// Turns that are still to be measured because of one that took more.
    suspected: AtomicU64,
    /// Which turns are measured is not for a guest to know.
    dice: RandomState,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace {
            since: Instant::now(),
            not_before: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            suspected: AtomicU64::new(0),
            dice: RandomState::new(),
        }
    }

    /// Whether a call may begin on its caller's thread.
    pub(crate) fn is_quick(&self) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        not_before == 0 || self.since.elapsed() >= Duration::from_millis(not_before)
    }

    /// Takes a call's turn on its caller's thread, and notes if it took long.
    pub(crate) fn turn<T>(&self, turn: impl FnOnce() -> T) -> T {
        let number = self.turns.fetch_add(1, Ordering::Relaxed);
        let suspected = self.suspected.load(Ordering::Relaxed);
        let chosen = || self.dice.hash_one(number).is_multiple_of(MEASURED_ONE_OF);
        if suspected == 0 && !chosen() {
            return turn();
        }
        let begun = thread_cpu();
        let done = turn();
        let long = thread_cpu().saturating_sub(begun) > TURN_MAX;
        if long && suspected > 0 {
            self.pause(self.since.elapsed());
        }
        let suspected = match long {
            true => SUSPECTED_TURNS,
            false => suspected.saturating_sub(1),
        };
        self.suspected.store(suspected, Ordering::Relaxed);
        done
    }

    /// Has the calls begin elsewhere from now on, for a while.
    fn pause(&self, now: Duration) {
        let last = Duration::from_millis(self.not_before.load(Ordering::Relaxed));
        let pause = Duration::from_millis(self.pause.load(Ordering::Relaxed));
        let pause = match pause.is_zero() || now.saturating_sub(last) > FORGIVEN {
            true => PAUSE_MIN,
            false => pause.saturating_mul(2).min(PAUSE_MAX),
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.pause.store(ms(pause), Ordering::Relaxed);
        let until = now.saturating_add(pause);
        self.not_before.store(ms(until), Ordering::Relaxed);
    }
}

/// CPU time of this thread: time in which others had the core is nobody's fault.
fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute() {
        let begun = thread_cpu();
        while thread_cpu() - begun <= TURN_MAX {}
    }

    #[test]
    fn long_turns_are_found_and_end_for_a_while() {
        let pace = Pace::new();
        // Waiting is nobody's fault.
        for _ in 0..100 {
            pace.turn(|| std::thread::sleep(TURN_MAX));
        }
        assert!(pace.is_quick());
        // One that is not measured has a chance of 15 in 16.
        let found = (0..10_000).any(|_| {
            pace.turn(compute);
            !pace.is_quick()
        });
        assert!(found);
        // The pause is over, and one turn tells that it was too short.
        pace.not_before.store(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert!(pace.is_quick());
        pace.turn(compute);
        assert!(!pace.is_quick());
    }

    #[test]
    fn one_long_turn_among_short_ones_is_an_accident() {
        let pace = Pace::new();
        for _ in 0..20 {
            while pace.suspected.load(Ordering::Relaxed) == 0 {
                pace.turn(compute);
            }
            for _ in 0..SUSPECTED_TURNS {
                pace.turn(|| ());
            }
        }
        assert!(pace.is_quick());
    }

    #[test]
    fn pauses_grow_and_are_forgiven() {
        let pace = Pace::new();
        let mut now = Duration::from_secs(5);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pace.pause(now);
            let until = Duration::from_millis(pace.not_before.load(Ordering::Relaxed));
            pauses.push((until - now).as_secs());
            now = until + Duration::from_secs(1);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now += FORGIVEN;
        pace.pause(now);
        let until = Duration::from_millis(pace.not_before.load(Ordering::Relaxed));
        assert_eq!(until - now, PAUSE_MIN);
    }
}
