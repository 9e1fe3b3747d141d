//! The state in SQLite: one file, a write-ahead log that is synced with each batch, one
//! writer, and readers beside it.
//!
//! - **What is acknowledged is on disk.** The writer answers when the batch's transaction is
//!   committed with `synchronous=FULL`; killed at any write, it loses nothing of that. What
//!   failed may be there once nevertheless, where the disk failed after it had taken it.
//! - **Nobody waits for another's storm.** A holder's turn in a batch takes no more than half
//!   of what the disk takes anyway; the audit log has places of its own; the log is put into
//!   the file beside the writer.
//! - **A failure is that write's.** One that can't be written fails alone, and later ones are
//!   tried anew: room that was made is used without a restart.
//! - **The last tenth is the audit log's.** Plugins' values are refused before they reach it.
//! - **Nothing of a newer version, and nothing behind a link, is touched.**
//! - Two that write at once, which the project's lock rules out, take turns; nothing is lost.

mod bus;
mod checkpoint;
mod generations;
mod inbox;
mod kv;
mod queue;
mod reads;
mod schema;
mod tasks;
mod writer;
mod writes;

use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::error::StateError;
use crate::rows::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, InboxRow, KvDone, KvEntry, KvInfo,
    KvQuota, KvUsed, KvWrite, SecretRow, UsageRow, UsageSpan,
};
use crate::store::{ROWS_MAX, StateStore};
use writer::Writer;
use writes::{Done, Write};

/// Readers at a time. They wait for nobody, so few are enough.
const READERS: u32 = 4;

/// Bytes of the file that are mapped rather than read, by a process that only reads: a long
/// audit log is verified a third faster. A disk that fails under it ends that process, which
/// an owner must not risk.
const MAPPED_BYTES_MAX: u64 = 1 << 30;

/// How long a connection waits for another process that has the file: only ever for the
/// moment of a checkpoint, since there is one writer.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// How a state is kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes that the database may have. The write-ahead log comes on top: some megabytes,
    /// more while a reader holds it back.
    pub size_max: u64,
    /// Whether a write is on the disk before it is acknowledged. Without, a crash of the
    /// machine loses what was acknowledged: there for tests that must see the difference.
    #[doc(hidden)]
    pub sync: bool,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            size_max: 1 << 30,
            sync: true,
        }
    }
}

/// The state of a project in one SQLite database.
pub struct SqliteStore {
    path: PathBuf,
    project: Arc<str>,
    readers: SqlitePool,
    /// None where the state is only read.
    writer: Option<Writer>,
    /// What the path leads through, where SQLite can't take the real one.
    _dir: Option<std::fs::File>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the state for the process that owns the project; makes it where there is none.
    ///
    /// # Errors
    /// When it was made by a newer version (nothing of it is then touched), is damaged, or
    /// can't be written.
    pub async fn open(path: &Path, config: &StoreConfig) -> Result<Arc<SqliteStore>, StateError> {
        let (sayable, dir) = sayable(path)?;
        let path = sayable.as_path();
        schema::refuse_newer(path).await?;
        make_private(path).map_err(|error| StateError::unwritable(path, &error))?;
        let (writer, project) = Writer::start(path.to_owned(), config.clone()).await?;
        Ok(Arc::new(SqliteStore {
            path: path.to_owned(),
            project,
            readers: readers(reading(path))
                .await
                .map_err(|error| failure(path, &error))?,
            writer: Some(writer),
            _dir: dir,
        }))
    }

    /// Opens the state for reading, beside the process that owns the project or without one.
    ///
    /// # Errors
    /// When there is none, or it was made by another version, or can't be read.
    pub async fn read(path: &Path) -> Result<Arc<SqliteStore>, StateError> {
        if std::fs::symlink_metadata(path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            return Err(StateError::None(path.to_owned()));
        }
        let (sayable, dir) = sayable(path)?;
        let path = sayable.as_path();
        schema::refuse_newer(path).await?;
        let log = schema::wal_path(path);
        let nothing_pending = std::fs::metadata(log).map_or(0, |log| log.len()) == 0;
        let failed = |error| failure(path, &error);
        let reading = reading(path).pragma("mmap_size", MAPPED_BYTES_MAX.to_string());
        let readers = match readers(reading.clone()).await {
            // Beside a log, SQLite wants to make files where it may not. Without one there
            // is nothing but the file itself.
            Err(error) if nothing_pending && matches!(code(&error), Some(READONLY | CANTOPEN)) => {
                readers(reading.immutable(true)).await.map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        let project: Option<String> = sqlx::query_scalar("SELECT project FROM projects")
            .fetch_optional(&readers)
            .await
            .map_err(|error| failure(path, &error))?;
        let project = project
            .ok_or_else(|| StateError::Damaged(format!("{} names no project", path.display())))?;
        fit_id(&project, path)?;
        Ok(Arc::new(SqliteStore {
            path: path.to_owned(),
            project: project.into(),
            readers,
            writer: None,
            _dir: dir,
        }))
    }

    async fn write(&self, holder: &Holder, write: Write) -> Result<Done, StateError> {
        match &self.writer {
            Some(writer) => writer.write(holder, write).await,
            None => Err(StateError::ReadOnly {
                path: self.path.clone(),
                why: "it was opened for reading".to_owned(),
                action: "ask the process that owns the project",
            }),
        }
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> StateError + '_ {
        |error| failure(&self.path, &error)
    }
}

/// SQLite's own waiting doesn't cover the moment in which a file becomes one with a log, or
/// in which the last that had it open puts the log into it. Tries again until that is over.
async fn patiently<T, F: Future<Output = Result<T, sqlx::Error>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, sqlx::Error> {
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + BUSY_TIME_MAX;
    loop {
        match attempt().await {
            Err(error) if code(&error) == Some(BUSY) && Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// The low byte of SQLite's result codes: <https://www.sqlite.org/rescode.html>.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

const BUSY: u32 = 5;
const READONLY: u32 = 8;
const CANTOPEN: u32 = 14;

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIME_MAX)
        .pragma("trusted_schema", "OFF")
        .thread_name(|_| "portreeve-state-reader".to_owned())
}

async fn readers(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let open = || async {
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .connect_with(options.clone())
            .await?;
        // A file that is no database shows with the first look at it.
        sqlx::query("SELECT count(*) FROM projects")
            .fetch_one(&pool)
            .await?;
        Ok(pool)
    };
    patiently(open).await
}

/// A path that SQLite can take: it wants UTF-8. Any other is reached through its directory,
/// which must stay open for that.
fn sayable(path: &Path) -> Result<(PathBuf, Option<std::fs::File>), StateError> {
    if path.to_str().is_some() {
        return Ok((path.to_owned(), None));
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((path.to_owned(), None));
    };
    let dir = std::fs::File::open(dir).map_err(|error| StateError::unreadable(path, &error))?;
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
    Ok((Path::new(&through).join(name), Some(dir)))
}

/// Refuses an id that this program has not made: it names files of the user's own, and a state
/// from elsewhere must not choose which.
fn fit_id(project: &str, path: &Path) -> Result<(), StateError> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if project.len() == 32 && project.bytes().all(hex) {
        return Ok(());
    }
    Err(StateError::Damaged(format!(
        "{} has an id of its project that is none; put it aside, or a copy from before in its place",
        path.display()
    )))
}

/// Makes the file for this user only, also one that was there, and refuses a link in its
/// place. The files beside it get its permissions.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(NOFOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// A state from elsewhere could bring a link along that leads out of it.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// What the database says, in our words.
fn failure(path: &Path, error: &sqlx::Error) -> StateError {
    const LOCKED: u32 = 6;
    const IOERR: u32 = 10;
    const CORRUPT: u32 = 11;
    const FULL: u32 = 13;
    const NOTADB: u32 = 26;
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StateError::Closed,
            other => StateError::Database(other.to_string()),
        };
    };
    let why = database.message().to_owned();
    match code(error) {
        Some(BUSY | LOCKED) => StateError::ReadOnly {
            path: path.to_owned(),
            why,
            action: "end what else has it open, such as a tool for databases",
        },
        Some(FULL) => StateError::Full(why),
        Some(READONLY) => StateError::ReadOnly {
            path: path.to_owned(),
            why,
            action: "make it and its directory writable for you",
        },
        Some(CANTOPEN | IOERR) => StateError::ReadOnly {
            path: path.to_owned(),
            why,
            action: "look whether the disk is full or fails, and at the permissions of its directory",
        },
        Some(CORRUPT | NOTADB) => StateError::Damaged(format!(
            "{}: {why}; put it aside, or a copy from before in its place",
            path.display()
        )),
        _ => StateError::Database(why),
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    fn project(&self) -> &str {
        &self.project
    }

    async fn kv_entry(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvEntry>, StateError> {
        kv::entry(&self.readers, &self.project, holder, (bucket, key), now_ms)
            .await
            .map_err(self.failed())
    }

    async fn kv_info(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvInfo>, StateError> {
        kv::info(&self.readers, &self.project, holder, (bucket, key), now_ms)
            .await
            .map_err(self.failed())
    }

    async fn kv_list(
        &self,
        holder: &Holder,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        rows_max: u32,
        now_ms: i64,
    ) -> Result<Vec<KvInfo>, StateError> {
        let listing = kv::Listing {
            bucket,
            prefix,
            after,
            rows_max: rows_max.min(ROWS_MAX),
        };
        kv::list(&self.readers, &self.project, holder, &listing, now_ms)
            .await
            .map_err(self.failed())
    }

    async fn kv_bucket_after(
        &self,
        holder: &Holder,
        bucket: &str,
    ) -> Result<Option<String>, StateError> {
        kv::bucket_after(&self.readers, &self.project, holder, bucket)
            .await
            .map_err(self.failed())
    }

    async fn kv_write(
        &self,
        holder: &Holder,
        writes: Vec<KvWrite>,
        quota: KvQuota,
        now_ms: i64,
    ) -> Result<Vec<KvDone>, StateError> {
        let write = Write::Kv(kv::Changes {
            holder: holder.clone(),
            writes,
            quota,
            now_ms,
        });
        self.write(holder, write).await.map(|done| match done {
            Done::Kv(done) => done,
            _ => Vec::new(),
        })
    }

    async fn kv_clear(&self, holder: &Holder, rows_max: u32) -> Result<u64, StateError> {
        let write = Write::KvClear(holder.clone(), rows_max.min(ROWS_MAX));
        self.write(holder, write).await.map(count)
    }

    async fn kv_sweep(&self, now_ms: i64, rows_max: u32) -> Result<u64, StateError> {
        let rows_max = rows_max.min(ROWS_MAX);
        self.write(&Holder::host(), Write::KvSweep { now_ms, rows_max })
            .await
            .map(count)
    }

    async fn kv_used(&self, holder: &Holder) -> Result<KvUsed, StateError> {
        kv::used(&self.readers, &self.project, holder)
            .await
            .map_err(self.failed())
    }

    async fn inbox_put(&self, row: InboxRow, rows_max: u32) -> Result<(), StateError> {
        let holder = row.holder.clone();
        let write = Write::InboxPut(row, rows_max);
        self.write(&holder, write).await.map(|_| ())
    }

    async fn inbox(&self, now_ms: i64, rows_max: u32) -> Result<Vec<InboxRow>, StateError> {
        inbox::rows(&self.readers, &self.project, now_ms, rows_max.min(ROWS_MAX))
            .await
            .map_err(self.failed())
    }

    async fn inbox_remove(&self, holder: &Holder, id: &str) -> Result<bool, StateError> {
        let write = Write::InboxRemove(holder.clone(), id.to_owned());
        self.write(holder, write).await.map(was)
    }

    async fn inbox_sweep(&self, now_ms: i64) -> Result<u64, StateError> {
        let write = Write::InboxSweep(now_ms);
        self.write(&Holder::host(), write).await.map(count)
    }

    async fn audit_append(&self, groups: Vec<AuditGroup>) -> Result<(), StateError> {
        let write = Write::AuditAppend(groups);
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn audit_groups(&self, seq: i64, rows_max: u32) -> Result<Vec<AuditGroup>, StateError> {
        let rows_max = rows_max.min(ROWS_MAX);
        reads::audit_groups(&self.readers, &self.project, seq, rows_max)
            .await
            .map_err(self.failed())
    }

    async fn audit_last(&self) -> Result<Option<AuditRow>, StateError> {
        reads::audit_last(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn audit_prune(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        let write = Write::AuditPrune(checkpoint);
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>, StateError> {
        reads::audit_checkpoint(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn audit_bytes(&self) -> Result<u64, StateError> {
        reads::audit_bytes(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn secrets_put(&self, rows: Vec<SecretRow>) -> Result<(), StateError> {
        let write = Write::SecretsPut(rows);
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn secret(&self, holder: &Holder, name: &str) -> Result<Option<SecretRow>, StateError> {
        reads::secret(&self.readers, &self.project, holder, name)
            .await
            .map_err(self.failed())
    }

    async fn secrets(&self) -> Result<Vec<SecretRow>, StateError> {
        reads::secrets(&self.readers, &self.project, ROWS_MAX)
            .await
            .map_err(self.failed())
    }

    async fn secret_used(
        &self,
        holder: &Holder,
        name: &str,
        time_ms: i64,
    ) -> Result<(), StateError> {
        let write = Write::SecretUsed {
            holder: holder.clone(),
            name: name.to_owned(),
            time_ms,
        };
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn secret_remove(&self, holder: &Holder, name: &str) -> Result<bool, StateError> {
        let write = Write::SecretRemove {
            holder: holder.clone(),
            name: name.to_owned(),
        };
        self.write(&Holder::host(), write).await.map(was)
    }

    async fn history_append(&self, row: HistoryRow) -> Result<(), StateError> {
        let write = Write::HistoryAppend(row);
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn history(&self, holder: &Holder, rows_max: u32) -> Result<Vec<HistoryRow>, StateError> {
        let rows_max = rows_max.min(ROWS_MAX);
        reads::history(&self.readers, &self.project, holder, rows_max)
            .await
            .map_err(self.failed())
    }

    async fn history_latest(&self) -> Result<Vec<HistoryRow>, StateError> {
        reads::history_latest(&self.readers, &self.project, ROWS_MAX)
            .await
            .map_err(self.failed())
    }

    async fn usage_put(&self, rows: Vec<UsageRow>) -> Result<(), StateError> {
        let write = Write::UsagePut(rows);
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn usage(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<UsageRow>, StateError> {
        reads::usage(&self.readers, &self.project, span, from_ms, to_ms, ROWS_MAX)
            .await
            .map_err(self.failed())
    }

    async fn usage_prune(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<u64, StateError> {
        let write = Write::UsagePrune(span, from_ms, to_ms);
        self.write(&Holder::host(), write).await.map(count)
    }

    async fn bytes(&self) -> Result<u64, StateError> {
        reads::bytes(&self.readers).await.map_err(self.failed())
    }

    async fn close(&self) {
        // The last one that closes puts the write-ahead log into the file: not a reader.
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }
}

fn was(done: Done) -> bool {
    matches!(done, Done::Was(true))
}

fn count(done: Done) -> u64 {
    match done {
        Done::Count(count) => count,
        _ => 0,
    }
}
