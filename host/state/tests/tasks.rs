//! Calls that their callers come back for, as the state keeps them.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

use std::path::Path;
use std::sync::Arc;

use portreeve_state::tasks::{TaskRow, TaskState, TaskStore};
use portreeve_state::{Holder, SqliteStore, StoreConfig};

async fn open(dir: &Path) -> Arc<SqliteStore> {
    let path = dir.join("state.db");
    SqliteStore::open(&path, &StoreConfig::default())
        .await
        .unwrap()
}

fn row(id: &str, created_ms: i64) -> TaskRow {
    TaskRow {
        holder: Holder::plugin("a"),
        id: id.to_owned(),
        owner: "ada".to_owned(),
        tool: "a__b".to_owned(),
        state: TaskState::Running,
        created_ms,
        updated_ms: created_ms,
        expires_ms: created_ms + 100,
        body: String::new(),
    }
}

#[tokio::test]
async fn tasks_are_their_owners_and_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(store.task_put(row("one", 1), 10).await.unwrap());
    assert_eq!(
        store.task("one", "ada", 2).await.unwrap(),
        Some(row("one", 1))
    );
    assert_eq!(store.task("one", "bob", 2).await.unwrap(), None);
    assert_eq!(store.task("one", "ada", 101).await.unwrap(), None);
    assert!(store.task_end("one", 5, "{}".to_owned()).await.unwrap());
    assert!(!store.task_end("one", 6, "[]".to_owned()).await.unwrap());
    let ended = store.task("one", "ada", 2).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.updated_ms, &*ended.body),
        (TaskState::Ended, 5, "{}")
    );
}

#[tokio::test]
async fn what_runs_is_interrupted_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.task_put(row("runs", 1), 10).await.unwrap();
    store.task_put(row("ended", 2), 10).await.unwrap();
    store.task_end("ended", 3, "{}".to_owned()).await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(store.tasks_interrupt(7).await.unwrap(), 1);
    let runs = store.task("runs", "ada", 0).await.unwrap().unwrap();
    assert_eq!((runs.state, runs.updated_ms), (TaskState::Interrupted, 7));
    let ended = store.task("ended", "ada", 0).await.unwrap().unwrap();
    assert_eq!(ended.state, TaskState::Ended);
    assert!(!store.task_end("runs", 8, "{}".to_owned()).await.unwrap());
}

#[tokio::test]
async fn tasks_are_bounded_by_count_and_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for (id, created) in [("one", 1), ("two", 2), ("three", 3)] {
        assert!(store.task_put(row(id, created), 3).await.unwrap());
    }
    // What runs stays, and leaves no room.
    assert!(!store.task_put(row("four", 4), 3).await.unwrap());
    store.task_end("one", 5, "{}".to_owned()).await.unwrap();
    store.task_end("two", 5, "{}".to_owned()).await.unwrap();
    assert!(store.task_put(row("four", 4), 3).await.unwrap());
    assert_eq!(store.task("one", "ada", 0).await.unwrap(), None);
    assert!(store.task("two", "ada", 0).await.unwrap().is_some());
    // Those that have ended go with their time, those that run do not.
    assert_eq!(store.tasks_sweep(1_000).await.unwrap(), 1);
    assert_eq!(store.task("two", "ada", 0).await.unwrap(), None);
    assert!(store.task("three", "ada", 0).await.unwrap().is_some());
}
