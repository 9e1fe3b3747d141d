//! What the cases share: what is written, and what must be there afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_state::{
    AuditGroup, AuditRow, Holder, ROWS_MAX, SqliteStore, StateStore, StoreConfig,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) fn value(number: u32) -> Vec<u8> {
    let bytes = 1_500 + usize::try_from(number % 7).unwrap() * 500;
    number
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(bytes)
        .collect()
}

/// A record as long as a call's.
pub(crate) fn audit(seq: i64) -> AuditRow {
    AuditRow {
        seq,
        record: format!("{{\"n\":{seq},\"text\":\"{}\"}}", "x".repeat(180)),
        mac: format!("{seq:064x}"),
    }
}

pub(crate) fn group(rows: impl IntoIterator<Item = AuditRow>) -> Vec<AuditGroup> {
    let rows: Vec<_> = rows.into_iter().collect();
    vec![AuditGroup::of(&rows).unwrap()]
}

/// A directory with the path of a state in it.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    (dir, path)
}

pub(crate) async fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(path, &StoreConfig::default())
        .await
        .unwrap()
}

/// A connection beside the store, for what only the database knows.
pub(crate) async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

/// Asserts that everything is there that these lines of a child say is on disk, and that the
/// state is whole: no hole in the audit log, sums that are right, a sound database.
pub(crate) async fn check(path: &Path, lines: &[String]) {
    let store = open(path).await;
    let mut last = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["put", alias, number] => {
                let holder = Holder::plugin(alias);
                let found = store.kv_get(&holder, "b", number).await.unwrap();
                let wanted = value(number.parse().unwrap());
                assert_eq!(
                    found,
                    Some(wanted),
                    "{line} was said and is lost: {lines:#?}"
                );
            }
            ["audit", seq] => last = seq.parse().unwrap(),
            ["opened", project] => assert_eq!(store.project(), project),
            _ => {}
        }
    }
    let rows = store.audit_after(0, ROWS_MAX).await.unwrap();
    assert!(rows.len() >= last, "{lines:#?}");
    for (row, seq) in rows.iter().zip(1..) {
        assert_eq!(*row, audit(seq));
    }
    store.close().await;

    let mut database = connect(path).await;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    let sums: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT alias, count(*), sum(length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB))
             + length(value)) FROM kv GROUP BY alias ORDER BY alias",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let kept: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT alias, keys, bytes FROM kv_used WHERE keys > 0 ORDER BY alias")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert_eq!(sums, kept, "what is used is counted wrong");
    database.close().await.unwrap();
}

/// The same for tests that run without a runtime.
pub(crate) fn check_now(path: &Path, lines: &[String]) {
    runtime().block_on(check(path, lines));
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Every file of a directory and what is in it.
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}
