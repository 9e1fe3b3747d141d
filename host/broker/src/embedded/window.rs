//! What a subscription has of one topic: a cursor, up to which all is settled but the
//! exceptions, and what was read beyond. No I/O, no payloads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_state::BusException;

/// Messages that are looked at beyond the cursor, and exceptions before it: what a blocked key
/// can make the host hold. Each takes some 100 bytes and its key.
pub(super) const ENTRIES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// May be given from this time on.
    Waits(i64),
    /// Was given, and is until this time.
    Held(i64),
}

#[derive(Clone, Debug)]
struct Entry {
    key: Option<Arc<str>>,
    expires_ms: Option<i64>,
    /// Tries, the one that runs included.
    attempt: u32,
    state: State,
    /// Whether it is written down as an exception.
    excepted: bool,
}

/// A message as far as the window needs it.
pub(super) struct Seen {
    pub(super) position: i64,
    pub(super) key: Option<Arc<str>>,
    pub(super) expires_ms: Option<i64>,
}

/// What is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Positions and which try it is.
    pub(super) given: Vec<(i64, u32)>,
    /// Those that have ended.
    pub(super) expired: Vec<(i64, u32)>,
    /// Those that were given too often, and never settled.
    pub(super) exhausted: Vec<(i64, u32)>,
}

/// What is to become of a message that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is settled.
    Done,
    /// It waits until this time.
    Again(i64),
}

/// What is to be written down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) cursor: i64,
    pub(super) put: Vec<BusException>,
    pub(super) remove: Vec<i64>,
}

#[derive(Debug)]
pub(super) struct Window {
    cursor: i64,
    /// The last position that was read of the log.
    read: i64,
    entries: BTreeMap<i64, Entry>,
    /// Positions of each key; only the first may be given.
    keys: HashMap<Arc<str>, BTreeSet<i64>>,
    /// Those that may be given, or taken back, and when: none that its key holds back.
    due: BTreeSet<(i64, i64)>,
    held: usize,
}

impl Window {
    pub(super) fn new(cursor: i64, exceptions: Vec<BusException>) -> Window {
        let mut window = Window {
            cursor,
            read: cursor,
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            due: BTreeSet::new(),
            held: 0,
        };
        for exception in exceptions {
            window.add(
                exception.position,
                Entry {
                    key: exception.key.map(Arc::from),
                    expires_ms: exception.expires_ms,
                    attempt: exception.attempt,
                    state: State::Waits(exception.due_ms),
                    excepted: true,
                },
            );
        }
        window
    }

    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    pub(super) fn read(&self) -> i64 {
        self.read
    }

    /// Up to where nothing is left, exceptions included.
    pub(super) fn settled(&self) -> i64 {
        let first = self.entries.keys().next();
        first.map_or(self.cursor, |first| {
            self.cursor.min(first.saturating_sub(1))
        })
    }

    /// Messages that are not settled, as far as they were read.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How many more may be read.
    pub(super) fn room(&self) -> usize {
        ENTRIES_MAX.saturating_sub(self.entries.len())
    }

    /// When something may be given or taken back.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Messages that were read, in order, after those before.
    pub(super) fn offer(&mut self, seen: impl Iterator<Item = Seen>) {
        for message in seen {
            if message.position <= self.read {
                continue;
            }
            self.read = message.position;
            let entry = Entry {
                key: message.key,
                expires_ms: message.expires_ms,
                attempt: 0,
                state: State::Waits(i64::MIN),
                excepted: false,
            };
            self.add(message.position, entry);
        }
    }

    /// All up to this position was read, and what was not offered is not there.
    pub(super) fn skip_to(&mut self, position: i64) {
        self.read = self.read.max(position);
    }

    /// A dead letter comes back as an exception.
    pub(super) fn revive(&mut self, seen: Seen, now_ms: i64) {
        if self.entries.contains_key(&seen.position) {
            return;
        }
        let entry = Entry {
            key: seen.key,
            expires_ms: None,
            attempt: 0,
            state: State::Waits(now_ms),
            excepted: true,
        };
        self.add(seen.position, entry);
    }

    fn add(&mut self, position: i64, entry: Entry) {
        let until = match entry.state {
            State::Waits(due) => due,
            State::Held(until) => {
                self.held = self.held.saturating_add(1);
                until
            }
        };
        let mut first = true;
        if let Some(key) = &entry.key {
            let all = self.keys.entry(key.clone()).or_default();
            // An earlier one that comes back holds back the one that was first.
            let before = all.first().copied();
            all.insert(position);
            first = all.first() == Some(&position);
            if first
                && let Some(before) = before
                && let Some(State::Waits(due)) = self.entries.get(&before).map(|e| e.state)
            {
                self.due.remove(&(due, before));
            }
        }
        if first || matches!(entry.state, State::Held(_)) {
            self.due.insert((until, position));
        }
        self.entries.insert(position, entry);
    }

    fn take_out(&mut self, position: i64) -> Option<Entry> {
        let entry = self.entries.remove(&position)?;
        match entry.state {
            State::Waits(due) => self.due.remove(&(due, position)),
            State::Held(until) => {
                self.held = self.held.saturating_sub(1);
                self.due.remove(&(until, position))
            }
        };
        if let Some(key) = &entry.key
            && let Some(all) = self.keys.get_mut(key)
        {
            all.remove(&position);
            match all.first().copied() {
                None => {
                    self.keys.remove(key);
                }
                Some(next) => {
                    if let Some(State::Waits(due)) = self.entries.get(&next).map(|e| e.state) {
                        self.due.insert((due, next));
                    }
                }
            }
        }
        Some(entry)
    }

    /// Gives at most so many of those that may be given; each is held until a time.
    pub(super) fn take(
        &mut self,
        now_ms: i64,
        max: usize,
        until_ms: i64,
        attempts_max: u32,
    ) -> Taken {
        let mut taken = Taken::default();
        let mut looked = 0;
        while taken.given.len() < max && looked < max.saturating_mul(2).max(64) {
            looked += 1;
            let Some(&(due, position)) = self.due.first() else {
                break;
            };
            if due > now_ms {
                break;
            }
            let Some(entry) = self.entries.get_mut(&position) else {
                self.due.remove(&(due, position));
                continue;
            };
            if let State::Waits(_) = entry.state {
                self.held = self.held.saturating_add(1);
            }
            let exhausted = entry.attempt >= attempts_max;
            let expired = entry.expires_ms.is_some_and(|end| end <= now_ms);
            if !expired && !exhausted {
                entry.attempt = entry.attempt.saturating_add(1);
            }
            entry.state = State::Held(until_ms);
            let token = (position, entry.attempt);
            self.due.remove(&(due, position));
            self.due.insert((until_ms, position));
            if expired {
                taken.expired.push(token);
            } else if exhausted {
                taken.exhausted.push(token);
            } else {
                taken.given.push(token);
            }
        }
        taken
    }

    /// Takes the oldest up to a position that nobody holds, to be given up.
    pub(super) fn take_oldest(&mut self, max: usize, up_to: i64, until_ms: i64) -> Vec<(i64, u32)> {
        let waiting = self
            .entries
            .range(..=up_to)
            .filter_map(|(position, entry)| match entry.state {
                State::Waits(_) => Some((*position, entry.attempt)),
                State::Held(_) => None,
            });
        let oldest: Vec<(i64, u32)> = waiting.take(max).collect();
        for (position, _) in &oldest {
            if let Some(mut entry) = self.take_out(*position) {
                entry.state = State::Held(until_ms);
                self.add(*position, entry);
            }
        }
        oldest
    }

    /// Whether this try still holds the message.
    pub(super) fn holds(&self, position: i64, attempt: u32) -> bool {
        self.entries
            .get(&position)
            .is_some_and(|entry| entry.attempt == attempt && matches!(entry.state, State::Held(_)))
    }

    /// What is to be written down for these verdicts, all on messages that are held.
    ///
    /// The cursor moves to the last of them, and on over what was settled before; what lies before
    /// it unsettled becomes an exception.
    pub(super) fn change(&self, verdicts: &BTreeMap<i64, Verdict>, now_ms: i64) -> Change {
        let last = verdicts.keys().next_back().copied().unwrap_or(0);
        let mut cursor = self.cursor.max(last);
        let after = self.entries.range(cursor.saturating_add(1)..).next();
        let end = after.map_or(self.read, |(next, _)| next.saturating_sub(1));
        cursor = cursor.max(end);
        let mut change = Change {
            cursor,
            ..Change::default()
        };
        for (position, entry) in self.entries.range(..=cursor) {
            let due_ms = match (verdicts.get(position), entry.state) {
                (Some(Verdict::Done), _) => {
                    if entry.excepted {
                        change.remove.push(*position);
                    }
                    continue;
                }
                (Some(Verdict::Again(due)), _) => *due,
                (None, _) if entry.excepted => continue,
                (None, State::Waits(due)) => due.max(0),
                (None, State::Held(_)) => now_ms,
            };
            change.put.push(BusException {
                position: *position,
                attempt: entry.attempt,
                due_ms,
                key: None,
                expires_ms: None,
            });
        }
        change
    }

    /// The change is written down: the verdicts hold.
    pub(super) fn written(&mut self, change: &Change, verdicts: &BTreeMap<i64, Verdict>) {
        // What was settled meanwhile may have moved it further.
        self.cursor = self.cursor.max(change.cursor);
        for exception in &change.put {
            if let Some(entry) = self.entries.get_mut(&exception.position) {
                entry.excepted = true;
            }
        }
        for (position, verdict) in verdicts {
            let entry = self.take_out(*position);
            if let (Verdict::Again(due), Some(mut entry)) = (verdict, entry) {
                entry.state = State::Waits(*due);
                self.add(*position, entry);
            }
        }
    }

    /// The change could not be written down: what was to be settled waits again.
    pub(super) fn not_written(&mut self, verdicts: &BTreeMap<i64, Verdict>, due_ms: i64) {
        for position in verdicts.keys() {
            if let Some(mut entry) = self.take_out(*position) {
                entry.state = State::Waits(due_ms);
                self.add(*position, entry);
            }
        }
    }

    /// What was given and not settled waits again; its try does not count.
    pub(super) fn give_back(&mut self, position: i64, attempt: u32, due_ms: i64) {
        if !self.holds(position, attempt) {
            return;
        }
        if let Some(mut entry) = self.take_out(position) {
            entry.state = State::Waits(due_ms);
            entry.attempt = entry.attempt.saturating_sub(1);
            self.add(position, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(position: i64, key: Option<&str>) -> Seen {
        Seen {
            position,
            key: key.map(Arc::from),
            expires_ms: None,
        }
    }

    fn given(window: &mut Window, now: i64, max: usize) -> Vec<(i64, u32)> {
        window.take(now, max, now + 100, 5).given
    }

    fn settle(window: &mut Window, verdicts: &[(i64, Verdict)], now: i64) -> Change {
        let verdicts = verdicts.iter().copied().collect();
        let change = window.change(&verdicts, now);
        window.written(&change, &verdicts);
        change
    }

    #[test]
    fn a_cursor_moves_over_what_is_settled_and_leaves_exceptions() {
        let mut window = Window::new(0, Vec::new());
        window.offer((1..=4).map(|position| seen(position, None)));
        assert_eq!(given(&mut window, 0, 9), [(1, 1), (2, 1), (3, 1), (4, 1)]);
        let change = settle(&mut window, &[(2, Verdict::Done)], 7);
        assert_eq!(change.cursor, 2);
        assert_eq!(change.put.len(), 1);
        assert_eq!((change.put[0].position, change.put[0].due_ms), (1, 7));
        let change = settle(&mut window, &[(1, Verdict::Done), (4, Verdict::Done)], 7);
        assert_eq!((change.cursor, change.remove.as_slice()), (4, &[1][..]));
        assert_eq!(change.put.len(), 1);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_key_is_held_back_by_its_own_first_alone() {
        let mut window = Window::new(0, Vec::new());
        let keys = [Some("a"), Some("a"), Some("b"), None];
        window.offer((1..).zip(keys).map(|(position, key)| seen(position, key)));
        assert_eq!(given(&mut window, 0, 9), [(1, 1), (3, 1), (4, 1)]);
        settle(&mut window, &[(1, Verdict::Again(50))], 0);
        assert_eq!(given(&mut window, 10, 9), []);
        assert_eq!(given(&mut window, 50, 9), [(1, 2)]);
        settle(&mut window, &[(1, Verdict::Done)], 50);
        assert_eq!(given(&mut window, 50, 9), [(2, 1)]);
    }

    #[test]
    fn what_is_not_settled_in_time_is_given_again_and_at_last_given_up() {
        let mut window = Window::new(0, Vec::new());
        window.offer([seen(1, None)].into_iter());
        for attempt in 1..=5 {
            assert_eq!(
                given(&mut window, i64::from(attempt) * 200, 1),
                [(1, attempt)]
            );
        }
        assert!(!window.holds(1, 4));
        assert_eq!(window.take(2_000, 1, 2_100, 5).exhausted, [(1, 5)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish(u8),
        Take(usize),
        Settle(usize, bool),
        Fail(usize),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..4).prop_map(Step::Publish),
            (1_usize..4).prop_map(Step::Take),
            (0_usize..8, any::<bool>()).prop_map(|(which, done)| Step::Settle(which, done)),
            (0_usize..8).prop_map(Step::Fail),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// However it is used, and whenever the host ends: what is written down is enough to give
        /// all that is not settled, nothing that is, and each key in its order.
        #[test]
        fn nothing_is_lost_and_order_is_kept(steps in proptest::collection::vec(step(), 0..60)) {
            let mut log: Vec<Option<Arc<str>>> = Vec::new();
            let mut done: BTreeSet<i64> = BTreeSet::new();
            let mut disk: BTreeMap<i64, BusException> = BTreeMap::new();
            let mut window = Window::new(0, Vec::new());
            let mut held: Vec<(i64, u32)> = Vec::new();
            let mut now = 0;
            let key_of = |log: &Vec<Option<Arc<str>>>, position: i64| log[usize::try_from(position - 1).unwrap()].clone();
            let check_order = |log: &Vec<Option<Arc<str>>>, done: &BTreeSet<i64>, position: i64| {
                let key = key_of(log, position);
                key.is_none() || (1..position).all(|before| key_of(log, before) != key || done.contains(&before))
            };
            let mut steps = steps;
            steps.push(Step::Restart);
            steps.extend((0..400).flat_map(|_| [Step::Take(3), Step::Settle(0, true)]));
            for step in steps {
                now += 1;
                match step {
                    Step::Publish(key) => {
                        log.push((key > 0).then(|| Arc::from(format!("k{key}"))));
                    }
                    Step::Take(max) => {
                        let from = window.read();
                        let more: Vec<Seen> = (from + 1..=i64::try_from(log.len()).unwrap())
                            .take(max)
                            .map(|position| Seen { position, key: key_of(&log, position), expires_ms: None })
                            .collect();
                        window.offer(more.into_iter());
                        for (position, attempt) in window.take(now, max, now + 1_000_000, u32::MAX).given {
                            prop_assert!(!done.contains(&position), "{position} is settled");
                            prop_assert!(check_order(&log, &done, position), "{position} is out of order");
                            held.push((position, attempt));
                        }
                    }
                    Step::Settle(which, ok) if !held.is_empty() => {
                        let (position, attempt) = held.remove(which % held.len());
                        prop_assert!(window.holds(position, attempt));
                        let verdict = if ok { Verdict::Done } else { Verdict::Again(now + 3) };
                        let change = settle(&mut window, &[(position, verdict)], now);
                        for exception in &change.put {
                            disk.insert(exception.position, exception.clone());
                        }
                        for position in &change.remove {
                            prop_assert!(disk.remove(position).is_some());
                        }
                        if ok {
                            done.insert(position);
                        }
                    }
                    Step::Fail(which) if !held.is_empty() => {
                        let (position, _) = held.remove(which % held.len());
                        let verdicts = BTreeMap::from([(position, Verdict::Done)]);
                        let _ = window.change(&verdicts, now);
                        window.not_written(&verdicts, now + 2);
                    }
                    Step::Settle(..) | Step::Fail(_) => {}
                    Step::Restart => {
                        let exceptions = disk.values().cloned().map(|mut exception| {
                            exception.key = key_of(&log, exception.position).map(|key| key.to_string());
                            exception
                        });
                        window = Window::new(window.cursor(), exceptions.collect());
                        held.clear();
                    }
                }
            }
            let all: BTreeSet<i64> = (1..=i64::try_from(log.len()).unwrap()).collect();
            prop_assert_eq!(done, all);
            prop_assert!(disk.is_empty());
            prop_assert_eq!(window.len(), 0);
        }
    }
}
