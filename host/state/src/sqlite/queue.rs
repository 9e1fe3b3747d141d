//! What waits to be written: a lane for each holder, from which batches are taken in turns,
//! and places of the audit log's own.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use super::writes::{Done, Write};
use crate::error::StateError;
use crate::rows::Holder;

/// Writes of one holder that wait. More are refused: its plugin is faster than the disk.
const LANE_WRITES_MAX: usize = 256;

/// Bytes of one holder's writes that wait.
const LANE_BYTES_MAX: usize = 16 << 20;

/// Holders that have writes waiting.
const LANES_MAX: usize = 1_024;

/// Writes of one holder in one batch, where the disk is slow enough that more of them don't
/// show: see [`Pace`].
const LANE_SHARE_MAX: usize = 16;

/// Bytes of one holder in one batch; one write may be larger.
const LANE_SHARE_BYTES: usize = 64 << 10;

/// Writes of holders in one batch.
const BATCH_MAX: usize = 64;

/// Places of the audit log in each batch, on top of those.
const AUDIT_PLACES: usize = 16;

/// Writes of the audit log that wait; each carries a group of records.
const AUDIT_WRITES_MAX: usize = 64;

/// A write and who waits for it.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) done: oneshot::Sender<Result<Done, StateError>>,
}

struct Lane {
    holder: Holder,
    jobs: VecDeque<Job>,
    bytes: usize,
}

impl Lane {
    /// How many of its writes its turn has: one at least.
    fn share(&self, share_max: usize) -> usize {
        let mut bytes = 0_usize;
        let within = self.jobs.iter().take(share_max).take_while(|job| {
            bytes = bytes.saturating_add(job.write.bytes());
            bytes <= LANE_SHARE_BYTES
        });
        within.count().max(1)
    }
}

#[derive(Default)]
pub(super) struct Queue {
    audit: VecDeque<Job>,
    /// Those with writes waiting, in the order of their turns.
    lanes: VecDeque<Lane>,
    closing: bool,
}

impl Queue {
    /// Has a write wait. Refused when too many do.
    pub(super) fn push(&mut self, holder: &Holder, job: Job) -> Result<(), StateError> {
        if self.closing {
            return Err(StateError::Closed);
        }
        if job.write.is_audit() {
            if self.audit.len() >= AUDIT_WRITES_MAX {
                return Err(StateError::Busy);
            }
            self.audit.push_back(job);
            return Ok(());
        }
        let bytes = job.write.bytes();
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.holder == *holder) {
            let over = lane.bytes.saturating_add(bytes) > LANE_BYTES_MAX;
            if lane.jobs.len() >= LANE_WRITES_MAX || over {
                return Err(StateError::Busy);
            }
            lane.bytes = lane.bytes.saturating_add(bytes);
            lane.jobs.push_back(job);
            return Ok(());
        }
        if self.lanes.len() >= LANES_MAX {
            return Err(StateError::Busy);
        }
        self.lanes.push_back(Lane {
            holder: holder.clone(),
            jobs: VecDeque::from([job]),
            bytes,
        });
        Ok(())
    }

    /// The next batch: the audit log's, then some of each holder's, whose turn then is over.
    pub(super) fn batch(&mut self, share_max: usize) -> Vec<Job> {
        let audit = self.audit.len().min(AUDIT_PLACES);
        let mut batch: Vec<Job> = self.audit.drain(..audit).collect();
        let mut places = BATCH_MAX;
        for _ in 0..self.lanes.len() {
            if places == 0 {
                break;
            }
            let Some(mut lane) = self.lanes.pop_front() else {
                break;
            };
            let share = lane.share(share_max).min(places);
            places = places.saturating_sub(share);
            for job in lane.jobs.drain(..share) {
                lane.bytes = lane.bytes.saturating_sub(job.write.bytes());
                batch.push(job);
            }
            if !lane.jobs.is_empty() {
                self.lanes.push_back(lane);
            }
        }
        batch
    }

    /// All that waits.
    pub(super) fn all(&mut self) -> Vec<Job> {
        let lanes = self.lanes.drain(..).flat_map(|lane| lane.jobs);
        self.audit.drain(..).chain(lanes).collect()
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes no more, and tells those that wait.
    pub(super) fn end(&mut self) {
        self.closing = true;
        self.audit.clear();
        self.lanes.clear();
    }
}

/// How long things took lately.
#[derive(Default)]
pub(super) struct Pace {
    /// One write.
    write: Duration,
    /// What comes after the batch's writes: the disk.
    commit: Duration,
}

impl Pace {
    /// Writes of one holder in one batch: as many as take no more than half of what the disk
    /// takes anyway, so that whoever comes next hardly waits for them.
    pub(super) fn share(&self) -> usize {
        let write = self.write.as_nanos().max(1);
        let share = self.commit.as_nanos() / 2 / write;
        usize::try_from(share).map_or(LANE_SHARE_MAX, |share| share.clamp(1, LANE_SHARE_MAX))
    }

    pub(super) fn took(&mut self, writes: usize, writing: Duration, commit: Duration) {
        let smooth = |before: Duration, now: Duration| (before * 7 + now) / 8;
        let writes = u32::try_from(writes.max(1)).unwrap_or(u32::MAX);
        self.write = smooth(self.write, writing / writes);
        self.commit = smooth(self.commit, commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{KvChange, KvExpected, KvQuota, KvWrite};
    use crate::sqlite::kv::Changes;

    const LANE_SHARE: usize = 4;

    fn change(alias: &str, change: KvChange) -> Write {
        Write::Kv(Changes {
            holder: Holder::plugin(alias),
            writes: vec![KvWrite {
                bucket: String::new(),
                key: String::new(),
                change,
            }],
            quota: KvQuota::NONE,
            now_ms: 0,
        })
    }

    fn put(queue: &mut Queue, alias: &str) -> Result<(), StateError> {
        let (done, _) = oneshot::channel();
        let write = change(alias, KvChange::Remove(KvExpected::Anything));
        queue.push(&Holder::plugin(alias), Job { write, done })
    }

    fn aliases(batch: &[Job]) -> Vec<String> {
        batch
            .iter()
            .map(|job| match &job.write {
                Write::Kv(changes) => changes.holder.alias.to_string(),
                _ => "audit".to_owned(),
            })
            .collect()
    }

    fn audit(queue: &mut Queue) -> Result<(), StateError> {
        let (done, _) = oneshot::channel();
        let write = Write::AuditAppend(Vec::new());
        queue.push(&Holder::host(), Job { write, done })
    }

    #[test]
    fn a_storm_takes_its_share_of_each_batch_and_no_more() {
        let mut queue = Queue::default();
        for _ in 0..LANE_WRITES_MAX {
            put(&mut queue, "storm").unwrap();
        }
        assert!(matches!(put(&mut queue, "storm"), Err(StateError::Busy)));
        put(&mut queue, "neighbour").unwrap();
        audit(&mut queue).unwrap();
        let first = aliases(&queue.batch(LANE_SHARE));
        assert_eq!(first.len(), LANE_SHARE + 2);
        assert_eq!(first[0], "audit");
        assert_eq!(first.last().unwrap(), "neighbour");
    }

    #[test]
    fn a_turn_is_one_of_bytes_too() {
        let mut queue = Queue::default();
        let sizes = [30 << 10, 30 << 10, 30 << 10, 200 << 10, 1, 1, 1, 1, 1];
        for bytes in sizes {
            let (done, _) = oneshot::channel();
            let put = KvChange::Put {
                value: vec![0; bytes],
                expires_ms: None,
                expected: KvExpected::Anything,
            };
            let write = change("large", put);
            queue
                .push(&Holder::plugin("large"), Job { write, done })
                .unwrap();
        }
        let turns: Vec<usize> = (0..5).map(|_| queue.batch(LANE_SHARE).len()).collect();
        assert_eq!(turns, [2, 1, 1, 4, 1]);
        assert!(queue.lanes.is_empty());
    }

    /// However much of a storm waits, a neighbour's write is in the next batch.
    #[test]
    fn a_neighbour_waits_for_no_more_than_the_batch_that_is_being_written() {
        let mut queue = Queue::default();
        for turn in 0..50 {
            while put(&mut queue, "storm").is_ok() {}
            put(&mut queue, "neighbour").unwrap();
            let batch = aliases(&queue.batch(LANE_SHARE));
            assert!(batch.contains(&"neighbour".to_owned()), "turn {turn}");
            assert!(batch.len() <= LANE_SHARE + 1, "turn {turn}");
        }
    }

    #[test]
    fn a_turn_is_long_where_the_disk_is_slow() {
        let pace = |write: u64, commit| {
            let mut pace = Pace::default();
            for _ in 0..100 {
                pace.took(10, Duration::from_micros(write * 10), commit);
            }
            pace.share()
        };
        assert_eq!(Pace::default().share(), 1);
        assert_eq!(pace(50, Duration::from_micros(60)), 1);
        assert_eq!(pace(50, Duration::from_micros(510)), 5);
        assert_eq!(pace(50, Duration::from_millis(8)), LANE_SHARE_MAX);
        assert_eq!(pace(0, Duration::from_millis(8)), LANE_SHARE_MAX);
    }

    #[test]
    fn every_holder_has_its_turn_when_there_are_more_than_a_batch() {
        let mut queue = Queue::default();
        for number in 0..BATCH_MAX {
            for _ in 0..LANE_SHARE * 2 {
                put(&mut queue, &format!("p{number}")).unwrap();
            }
        }
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..LANE_SHARE {
            for alias in aliases(&queue.batch(LANE_SHARE)) {
                *seen.entry(alias).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), BATCH_MAX);
        assert!(seen.values().all(|count| *count == LANE_SHARE));
    }

    #[test]
    fn the_audit_log_has_places_of_its_own_and_a_bound() {
        let mut queue = Queue::default();
        for number in 0..BATCH_MAX {
            put(&mut queue, &format!("p{number}")).unwrap();
        }
        for _ in 0..AUDIT_WRITES_MAX {
            audit(&mut queue).unwrap();
        }
        assert!(matches!(audit(&mut queue), Err(StateError::Busy)));
        let batch = aliases(&queue.batch(LANE_SHARE));
        assert_eq!(batch.len(), BATCH_MAX + AUDIT_PLACES);
    }
}
