//! The schema: which version a database has, and how it comes to the one that is known.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sqlx::SqlSafeStr;
use sqlx::SqliteConnection;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::error::StateError;
use crate::sqlite::{NOFOLLOW, failure};

/// The newest version that is known: the number of the last migration.
pub(super) const VERSION: i64 = 6;

/// Number, name and text. Numbers may leave gaps.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "state", include_str!("migrations/0001_state.sql")),
    (2, "tasks", include_str!("migrations/0002_tasks.sql")),
    (3, "inbox", include_str!("migrations/0003_inbox.sql")),
    (4, "broker", include_str!("migrations/0004_broker.sql")),
    (
        6,
        "generations",
        include_str!("migrations/0006_generations.sql"),
    ),
];

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(number, name, text)| {
        let (name, text) = (name.into(), text.into_sql_str());
        Migration::new(number, name, MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.to_vec())
}

/// Brings the database to the version that is known.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StateError> {
    migrator().run(&mut *connection).await.map_err(|error| {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                failure(path, &error)
            }
            MigrateError::VersionMismatch(version) => StateError::Damaged(format!(
                "{} has a version {version} of its schema that is not this program's",
                path.display()
            )),
            other => StateError::Database(other.to_string()),
        }
    })?;
    // In the file's header, where it can be read without opening the database.
    let version = format!("PRAGMA user_version = {VERSION}");
    sqlx::query(sqlx::AssertSqlSafe(version))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure(path, &error))
}

/// Refuses a database that a newer version has made, before anything of it is opened for
/// writing.
pub(super) async fn refuse_newer(path: &Path) -> Result<(), StateError> {
    let mut found = i64::from(header_version(path)?);
    // A migration that is still in the write-ahead log does not show in the header.
    let log = wal_path(path);
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(|error| failure(path, &error))?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&pool)
            .await
            .map_err(|error| failure(path, &error))?;
        found = found.max(version);
        pool.close().await;
    }
    if found > VERSION {
        return Err(StateError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// `user_version` in the header of a database file; 0 where there is no file yet. See
/// <https://www.sqlite.org/fileformat.html#the_database_header>.
fn header_version(path: &Path) -> Result<u32, StateError> {
    const OFFSET: usize = 60;
    let mut header = Vec::new();
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(NOFOLLOW);
    match options.open(path) {
        Ok(file) => {
            file.take(100)
                .read_to_end(&mut header)
                .map_err(|error| StateError::unreadable(path, &error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(StateError::unreadable(path, &error)),
    }
    if header.is_empty() {
        return Ok(0);
    }
    let version = header
        .get(OFFSET..)
        .and_then(|rest| rest.first_chunk::<4>())
        .filter(|_| header.starts_with(b"SQLite format 3\0"));
    match version {
        Some(version) => Ok(u32::from_be_bytes(*version)),
        None => Err(StateError::Damaged(format!(
            "{} is no database; put it aside, and the next start makes a new one",
            path.display()
        ))),
    }
}

/// The write-ahead log of a database.
pub(super) fn wal_path(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
