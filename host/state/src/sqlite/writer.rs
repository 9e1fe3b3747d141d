//! The one writer: takes what is asked for in batches, in turns between holders, and answers
//! when the batch is on disk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Notify, oneshot, watch};

use super::checkpoint::{Checkpointer, LOG_PAGES_MAX};
use super::writes::{self, Done, Write};
use super::{BUSY_TIME_MAX, StoreConfig, failure, patiently, schema};
use crate::error::StateError;
use crate::rows::Holder;

/// Bytes of a page. The size limit is one of pages.
const PAGE_BYTES: u32 = 4_096;

/// Size to which the write-ahead log is cut back once it was larger.
const LOG_BYTES_KEPT: i64 = 16 << 20;

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
struct Job {
    write: Write,
    done: oneshot::Sender<Result<Done, StateError>>,
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
struct Queue {
    audit: VecDeque<Job>,
    /// Those with writes waiting, in the order of their turns.
    lanes: VecDeque<Lane>,
    closing: bool,
}

impl Queue {
    fn push(&mut self, holder: &Holder, job: Job) -> Result<(), StateError> {
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
    fn batch(&mut self, share_max: usize) -> Vec<Job> {
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
}

/// A way to the writer's thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread, which opens the database and makes it what it must be. Gives the
    /// project's id as well.
    pub(super) async fn start(
        path: PathBuf,
        config: StoreConfig,
    ) -> Result<(Writer, Arc<str>), StateError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            more: Notify::new(),
        });
        let (end, ended) = watch::channel(false);
        let (opened, opening) = oneshot::channel();
        let no_thread = |error: std::io::Error| StateError::Database(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(no_thread)?;
        let queue = shared.clone();
        std::thread::Builder::new()
            .name("portreeve-state".to_owned())
            .spawn(move || {
                let _end = End(queue.clone());
                runtime.block_on(async {
                    match Thread::open(path, config).await {
                        Ok(mut thread) => {
                            let _ = opened.send(Ok(thread.project.clone()));
                            thread.run(&queue).await;
                            thread.checkpointer.close().await;
                            let _ = thread.connection.close().await;
                        }
                        Err(error) => {
                            let _ = opened.send(Err(error));
                        }
                    }
                });
                let _ = end.send(true);
            })
            .map_err(no_thread)?;
        let project = opening.await.unwrap_or(Err(StateError::Closed))?;
        Ok((Writer { shared, ended }, project))
    }

    /// Has something written, and waits until it is on disk.
    pub(super) async fn write(&self, holder: &Holder, write: Write) -> Result<Done, StateError> {
        let (done, waiting) = oneshot::channel();
        self.shared.queue().push(holder, Job { write, done })?;
        self.shared.more.notify_one();
        waiting.await.unwrap_or(Err(StateError::Closed))
    }

    /// Has what was asked for written, and ends the thread.
    pub(super) async fn close(&self) {
        self.end();
        let mut ended = self.ended.clone();
        // The thread is gone where this fails.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    fn end(&self) {
        self.shared.queue().closing = true;
        self.shared.more.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closing = true;
        queue.audit.clear();
        queue.lanes.clear();
    }
}

/// How long things took lately.
#[derive(Default)]
struct Pace {
    /// One write.
    write: Duration,
    /// What comes after the batch's writes: the disk.
    commit: Duration,
}

impl Pace {
    /// Writes of one holder in one batch: as many as take no more than half of what the disk
    /// takes anyway, so that whoever comes next hardly waits for them.
    fn share(&self) -> usize {
        let write = self.write.as_nanos().max(1);
        let share = self.commit.as_nanos() / 2 / write;
        usize::try_from(share).map_or(LANE_SHARE_MAX, |share| share.clamp(1, LANE_SHARE_MAX))
    }

    fn took(&mut self, writes: usize, writing: Duration, commit: Duration) {
        let smooth = |before: Duration, now: Duration| (before * 7 + now) / 8;
        let writes = u32::try_from(writes.max(1)).unwrap_or(u32::MAX);
        self.write = smooth(self.write, writing / writes);
        self.commit = smooth(self.commit, commit);
    }
}

struct Thread {
    connection: SqliteConnection,
    checkpointer: Checkpointer,
    pace: Pace,
    config: StoreConfig,
    path: PathBuf,
    project: Arc<str>,
}

impl Thread {
    async fn open(path: PathBuf, config: StoreConfig) -> Result<Thread, StateError> {
        let failed = |error: sqlx::Error| failure(&path, &error);
        let mut connection = patiently(|| connect(&path, &config))
            .await
            .map_err(failed)?;
        // Two that make the same database at once take turns.
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        schema::migrate(&mut transaction, &path).await?;
        let project = project_id(&mut transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let beside = patiently(|| connect(&path, &config))
            .await
            .map_err(failed)?;
        Ok(Thread {
            connection,
            checkpointer: Checkpointer::start(beside),
            pace: Pace::default(),
            config,
            path,
            project,
        })
    }

    async fn run(&mut self, shared: &Shared) {
        loop {
            let (batch, closing) = {
                let mut queue = shared.queue();
                (queue.batch(self.pace.share()), queue.closing)
            };
            if !batch.is_empty() {
                self.commit(batch).await;
            } else if closing {
                return;
            } else {
                shared.more.notified().await;
            }
        }
    }

    /// Writes a batch. Nothing is answered before it is on disk.
    async fn commit(&mut self, batch: Vec<Job>) {
        let writes: Vec<&Write> = batch.iter().map(|job| &job.write).collect();
        match self.transaction(&writes).await {
            Ok(done) => {
                for (job, done) in batch.into_iter().zip(done) {
                    // Who gave up waiting is not told.
                    let _ = job.done.send(done);
                }
            }
            // One of them failed all. Alone, the others succeed, unless nothing can be written:
            // then each would wait for that again.
            Err(error)
                if batch.len() > 1
                    && !matches!(error, StateError::ReadOnly { .. } | StateError::Closed) =>
            {
                for job in batch {
                    let done = self.transaction(&[&job.write]).await;
                    let done = done.and_then(|mut done| done.pop().unwrap_or(Ok(Done::Nothing)));
                    let _ = job.done.send(done);
                }
            }
            Err(error) => {
                for job in batch {
                    let _ = job.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// All of these writes or none; each with its own result where it was refused.
    ///
    /// The statements around them are written out: after some failures SQLite has rolled back
    /// already, and sqlx's own transaction, which can't do it again, would stay open for good.
    async fn transaction(
        &mut self,
        batch: &[&Write],
    ) -> Result<Vec<Result<Done, StateError>>, StateError> {
        let done = self.attempt(batch).await;
        if done.is_err() && execute(&mut self.connection, "ROLLBACK").await.is_err() {
            // Nothing was left to roll back, or the connection is in a state of its own:
            // a new one is in none.
            if let Ok(connection) = connect(&self.path, &self.config).await {
                let old = std::mem::replace(&mut self.connection, connection);
                let _ = old.close().await;
            }
        }
        done.map_err(|error| failure(&self.path, &error))
    }

    async fn attempt(
        &mut self,
        batch: &[&Write],
    ) -> Result<Vec<Result<Done, StateError>>, sqlx::Error> {
        let connection = &mut self.connection;
        execute(connection, "BEGIN IMMEDIATE").await?;
        let wanted = batch.iter().map(|write| plugin_pages(write)).sum();
        let mut room = writes::room(connection, pages_max(&self.config), wanted).await?;
        let mut done = Vec::with_capacity(batch.len());
        let begun = Instant::now();
        for write in batch {
            let pages = plugin_pages(write);
            done.push(if pages > room {
                Err(StateError::Full(
                    "nine tenths of it are used; the rest is kept for the audit log".to_owned(),
                ))
            } else {
                room = room.saturating_sub(pages);
                write.apply(connection, &self.project).await?
            });
        }
        let written = Instant::now();
        execute(connection, "COMMIT").await?;
        self.pace
            .took(batch.len(), written - begun, written.elapsed());
        let pages = batch.iter().map(|write| pages(write));
        self.checkpointer.wrote(pages.sum());
        Ok(done)
    }
}

/// Pages that a write may change: those of its own, and of the trees that it is in, which
/// are the values' and their sums'.
fn pages(write: &Write) -> usize {
    const AROUND: usize = 4;
    let own = write.bytes().div_ceil(PAGE_BYTES as usize);
    own.saturating_add(AROUND)
}

/// Pages that a write may take of what plugins have; 0 for a write that isn't theirs.
fn plugin_pages(write: &Write) -> i64 {
    match write {
        Write::KvPut { .. } => i64::try_from(pages(write)).unwrap_or(i64::MAX),
        _ => 0,
    }
}

fn pages_max(config: &StoreConfig) -> i64 {
    i64::try_from(config.size_max / u64::from(PAGE_BYTES)).unwrap_or(i64::MAX)
}

async fn connect(path: &Path, config: &StoreConfig) -> Result<SqliteConnection, sqlx::Error> {
    let synchronous = if config.sync {
        SqliteSynchronous::Full
    } else {
        SqliteSynchronous::Off
    };
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIME_MAX)
        .pragma("max_page_count", pages_max(config).to_string())
        .pragma("journal_size_limit", LOG_BYTES_KEPT.to_string())
        .pragma("wal_autocheckpoint", LOG_PAGES_MAX.to_string())
        .pragma("trusted_schema", "OFF")
        .thread_name(|_| "portreeve-state-writer".to_owned())
        .connect()
        .await
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(|_| ())
}

/// The project's id: chosen once, at random.
async fn project_id(connection: &mut SqliteConnection) -> Result<Arc<str>, sqlx::Error> {
    let known: Option<String> = sqlx::query_scalar("SELECT project FROM projects")
        .fetch_optional(&mut *connection)
        .await?;
    let id = match known {
        Some(id) => id,
        None => {
            sqlx::query_scalar(
                "INSERT INTO projects (project, created_ms)
                 VALUES (lower(hex(randomblob(16))), CAST(unixepoch('subsec') * 1000 AS INTEGER))
                 RETURNING project",
            )
            .fetch_one(connection)
            .await?
        }
    };
    Ok(id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE_SHARE: usize = 4;

    fn put(queue: &mut Queue, alias: &str) -> Result<(), StateError> {
        let (done, _) = oneshot::channel();
        let write = Write::KvDelete {
            holder: Holder::plugin(alias),
            bucket: String::new(),
            key: String::new(),
        };
        queue.push(&Holder::plugin(alias), Job { write, done })
    }

    fn aliases(batch: &[Job]) -> Vec<String> {
        batch
            .iter()
            .map(|job| match &job.write {
                Write::KvDelete { holder, .. } => holder.alias.to_string(),
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
            let holder = Holder::plugin("large");
            let write = Write::KvPut {
                holder: holder.clone(),
                bucket: String::new(),
                key: String::new(),
                value: vec![0; bytes],
                bytes_max: 0,
            };
            queue.push(&holder, Job { write, done }).unwrap();
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
        let pace = |write, commit| {
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
