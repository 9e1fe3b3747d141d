//! Puts the write-ahead log into the database beside the writer, so that nobody who writes
//! waits for it.
//!
//! It can only do so up to where the log ended when it began; the writer itself does the rest
//! when the log has become long, which then is little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Pages after which the log is put into the database.
const PAGES: usize = 512;

/// Pages of the log from which on the writer does it itself: 16 MiB.
pub(super) const LOG_PAGES_MAX: usize = 4_096;

/// The task that does it.
pub(super) struct Checkpointer {
    wake: Arc<Wake>,
    task: JoinHandle<()>,
    pages: usize,
}

#[derive(Default)]
struct Wake {
    more: Notify,
    ending: AtomicBool,
}

impl Checkpointer {
    /// Starts it on the runtime of the writer's thread, with a connection of its own.
    pub(super) fn start(mut connection: SqliteConnection) -> Checkpointer {
        let wake = Arc::new(Wake::default());
        let waken = wake.clone();
        let task = tokio::spawn(async move {
            loop {
                waken.more.notified().await;
                if waken.ending.load(Ordering::Acquire) {
                    break;
                }
                // It waits for nobody. What it can't do now is done the next time; and a disk
                // that fails tells the writer.
                let done = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
                    .execute(&mut connection)
                    .await;
                if let Err(error) = done {
                    tracing::debug!(%error, "the log wasn't put into the database");
                }
            }
            let _ = connection.close().await;
        });
        Checkpointer {
            wake,
            task,
            pages: 0,
        }
    }

    /// So many pages were written.
    pub(super) fn wrote(&mut self, pages: usize) {
        self.pages = self.pages.saturating_add(pages);
        if self.pages >= PAGES {
            self.pages = 0;
            self.wake.more.notify_one();
        }
    }

    /// Ends it when it has done what it does: the writer, which then is the last to close,
    /// does the rest.
    pub(super) async fn close(self) {
        self.wake.ending.store(true, Ordering::Release);
        self.wake.more.notify_one();
        let _ = self.task.await;
    }
}
