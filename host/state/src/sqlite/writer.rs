//! The one writer: takes what is asked for in batches, in turns between holders, and answers
//! when the batch is on disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Notify, oneshot, watch};

use super::checkpoint::{Checkpointer, LOG_PAGES_MAX};
use super::queue::{Job, Pace, Queue};
use super::writes::{self, Done, Write};
use super::{BUSY, BUSY_TIME_MAX, StoreConfig, code, failure, fit_id, patiently, schema};
use crate::error::StateError;
use crate::rows::Holder;

/// Bytes of a page. The size limit is one of pages.
const PAGE_BYTES: u32 = 4_096;

/// Size to which the write-ahead log is cut back once it was larger.
const LOG_BYTES_KEPT: i64 = 16 << 20;

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
        self.shared.queue().close();
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
        self.0.queue().end();
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
        fit_id(&project, &path)?;
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
                (queue.batch(self.pace.share()), queue.is_closing())
            };
            if !batch.is_empty() {
                self.commit(batch, shared).await;
            } else if closing {
                return;
            } else {
                shared.more.notified().await;
            }
        }
    }

    /// Writes a batch. Nothing is answered before it is on disk.
    async fn commit(&mut self, mut batch: Vec<Job>, shared: &Shared) {
        let writes: Vec<&Write> = batch.iter().map(|job| &job.write).collect();
        let error = match self.transaction(&writes).await {
            Ok(done) => {
                for (job, done) in batch.into_iter().zip(done) {
                    // Who gave up waiting is not told.
                    let _ = job.done.send(done);
                }
                return;
            }
            Err(error) => error,
        };
        // Whatever else waits has waited for the lock, too, and would do so again in turn.
        let locked = code(&error) == Some(BUSY);
        if locked {
            batch.extend(shared.queue().all());
        }
        let error = failure(&self.path, &error);
        let unwritable = matches!(error, StateError::ReadOnly { .. } | StateError::Closed);
        let alone = batch.len() == 1;
        for job in batch {
            // One of them failed all. Alone, the others succeed.
            let done = if locked || unwritable || alone {
                Err(error.clone())
            } else {
                match self.transaction(&[&job.write]).await {
                    Ok(mut done) => done.pop().unwrap_or(Ok(Done::Nothing)),
                    Err(error) => Err(failure(&self.path, &error)),
                }
            };
            let _ = job.done.send(done);
        }
    }

    /// All of these writes or none; each with its own result where it was refused.
    ///
    /// The statements around them are written out: after some failures SQLite has rolled back
    /// already, and sqlx's own transaction, which can't do it again, would stay open for good.
    async fn transaction(
        &mut self,
        batch: &[&Write],
    ) -> Result<Vec<Result<Done, StateError>>, sqlx::Error> {
        let done = self.attempt(batch).await;
        if done.is_err() && execute(&mut self.connection, "ROLLBACK").await.is_err() {
            // Nothing was left to roll back, or the connection is in a state of its own:
            // a new one is in none.
            if let Ok(connection) = connect(&self.path, &self.config).await {
                let old = std::mem::replace(&mut self.connection, connection);
                let _ = old.close().await;
            }
        }
        done
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
    /// Of each further change of the same write: its leaves.
    const FURTHER: usize = 2;
    let own = write.bytes().div_ceil(PAGE_BYTES as usize);
    let further = match write {
        Write::Kv(changes) => changes.adding().saturating_sub(1),
        Write::Bus(change) => change.adding().saturating_sub(1),
        _ => 0,
    };
    own.saturating_add(AROUND)
        .saturating_add(FURTHER.saturating_mul(further))
}

/// Pages that a write may take of what plugins have; 0 for a write that isn't theirs.
fn plugin_pages(write: &Write) -> i64 {
    match write {
        Write::Kv(changes) if changes.adding() > 0 => {
            i64::try_from(pages(write)).unwrap_or(i64::MAX)
        }
        Write::InboxPut(..) => i64::try_from(pages(write)).unwrap_or(i64::MAX),
        Write::Bus(change) if change.adding() > 0 => {
            i64::try_from(pages(write)).unwrap_or(i64::MAX)
        }
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
