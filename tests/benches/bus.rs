//! What the broker costs over the writes that it has made: 64 publishers against bare inserts of
//! the same rows in the same batches, and a publish with a million messages queued against one
//! with none. All of it waits for the disk, so this is time on the clock.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod figures;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use figures::{median, report};
use portreeve_broker::{
    Broker, Embedded, Holder, Limits, Publish, Sender, Start, Subscription, TopicSettings,
    system_clock,
};
use portreeve_state::{
    BusAppend, BusMessage, BusStore as _, SqliteStore, StateStore as _, StoreConfig,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Sqlite, SqliteConnection};

/// Publishers at a time, and messages of one turn.
const PUBLISHERS: usize = 64;
const TURN: usize = 64 * 32;
const PAIRS: usize = 15;

/// Messages that are queued, and how many enter at once.
const QUEUED: usize = 1_000_000;
const AT_ONCE: usize = 1_000;

/// Publishes of one turn, one after the other.
const ONE_BY_ONE: usize = 50;

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            publishers().await;
            queued().await;
        });
}

fn limits() -> Limits {
    Limits {
        publisher_rate: 10_000_000,
        publisher_bytes: 1 << 40,
        lag_max: 1 << 40,
        topic: TopicSettings {
            messages_max: 1 << 40,
            bytes_max: 1 << 50,
            rate: 10_000_000,
            ..TopicSettings::default()
        },
        ..Limits::default()
    }
}

async fn store(path: &Path, sync: bool) -> Arc<SqliteStore> {
    let config = StoreConfig {
        size_max: 8 << 30,
        sync,
    };
    SqliteStore::open(path, &config).await.expect("a state")
}

async fn broker(store: &Arc<SqliteStore>) -> Arc<Embedded> {
    let broker = Embedded::open(store.clone(), limits(), system_clock());
    let broker = broker.await.expect("a broker");
    let subscription = Subscription {
        holder: Holder::plugin("handler"),
        name: "main".to_owned(),
    };
    let patterns = ["work.>".parse().expect("a pattern")];
    let subscribed = broker.subscribe(&subscription, &patterns, Start::Now);
    subscribed.await.expect("a subscription");
    Arc::new(broker)
}

fn message() -> Publish {
    let sender = Sender {
        holder: Holder::plugin("publisher"),
        principal: "local".to_owned(),
        path: Vec::new(),
    };
    Publish::new("work.t".parse().expect("a topic"), vec![7; 200], sender)
}

/// A row as the broker writes it.
async fn row(broker: &Embedded, store: &SqliteStore) -> BusMessage {
    broker.publish(message()).await.expect("it is published");
    let rows = store.bus_read("work.t", 0, 1, u64::MAX).await;
    rows.expect("a row").remove(0)
}

fn batch(row: &BusMessage, topic: &str, from: usize, count: usize) -> Vec<BusAppend> {
    let numbers = from..from + count;
    let appends = numbers.map(|number| BusAppend {
        message: BusMessage {
            id: format!("{number:032}"),
            topic: topic.to_owned(),
            ..row.clone()
        },
        due_ms: None,
        dedup: None,
    });
    appends.collect()
}

/// Rows written by nothing but SQLite, into the same tables and as safely: a transaction for each
/// batch, with one statement for its rows and one for their topic.
struct Raw {
    connection: SqliteConnection,
    project: String,
    position: i64,
}

impl Raw {
    async fn open(path: &Path) -> Raw {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .connect()
            .await
            .expect("a connection");
        let project = sqlx::query_scalar("SELECT project FROM projects");
        let project = project.fetch_one(&mut connection).await.expect("a project");
        Raw {
            connection,
            project,
            position: 0,
        }
    }

    async fn insert(&mut self, batch: &[BusAppend]) {
        let mut transaction = self.connection.begin().await.expect("a transaction");
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO bus_log (project, alias, tenant, topic, position, id, time_ms,
                 expires_ms, key, size, envelope, payload) ",
        );
        insert.push_values(batch, |mut row, BusAppend { message, .. }| {
            self.position += 1;
            row.push_bind(&self.project)
                .push_bind("")
                .push_bind("")
                .push_bind(&message.topic)
                .push_bind(self.position)
                .push_bind(&message.id)
                .push_bind(message.time_ms)
                .push_bind(message.expires_ms)
                .push_bind(&message.key)
                .push_bind(message.size() as i64)
                .push_bind(&message.envelope)
                .push_bind(&message.payload);
        });
        let inserted = insert.build().execute(&mut *transaction).await;
        inserted.expect("they are written");
        sqlx::query(
            "INSERT INTO bus_topics (project, alias, tenant, topic, head, messages, bytes)
             VALUES ($1, '', '', $2, $3, $3, 0)
             ON CONFLICT (project, alias, tenant, topic) DO UPDATE SET head = excluded.head",
        )
        .bind(&self.project)
        .bind(&batch[0].message.topic)
        .bind(self.position)
        .execute(&mut *transaction)
        .await
        .expect("it is written");
        transaction.commit().await.expect("it is on disk");
    }
}

async fn publishers() {
    // Not where temporary files are: that may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let raw_path = dir.path().join("raw.db");
    store(&raw_path, true).await.close().await;
    let mut raw = Raw::open(&raw_path).await;
    let store = store(&dir.path().join("state.db"), true).await;
    let broker = broker(&store).await;
    let row = row(&broker, &store).await;
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let batches: Vec<_> = (0..TURN)
            .step_by(PUBLISHERS)
            .map(|number| batch(&row, "work.t", pair * TURN + number, PUBLISHERS))
            .collect();
        let begun = Instant::now();
        for batch in &batches {
            raw.insert(batch).await;
        }
        let bare = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let tasks: Vec<_> = (0..PUBLISHERS)
            .map(|_| {
                let broker = broker.clone();
                tokio::spawn(async move {
                    for _ in 0..TURN / PUBLISHERS {
                        broker.publish(message()).await.expect("it is published");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a publisher");
        }
        ratios.push(begun.elapsed().as_secs_f64() / bare);
    }
    store.close().await;
    report(
        "64 publishers with a subscription / bare inserts of the same rows in the same batches",
        median(ratios),
        2.0,
        "x",
    );
}

async fn queued() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (empty, full) = (dir.path().join("empty.db"), dir.path().join("full.db"));
    let filled = store(&full, false).await;
    let filling = broker(&filled).await;
    let row = row(&filling, &filled).await;
    for number in (0..QUEUED).step_by(AT_ONCE) {
        let appends = batch(&row, "work.t", number, AT_ONCE);
        let appended = filled.bus_append(appends, row.time_ms).await;
        appended.expect("they are written");
    }
    drop(filling);
    filled.close().await;
    let (empty, full) = (store(&empty, true).await, store(&full, true).await);
    let brokers = [broker(&empty).await, broker(&full).await];
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let mut times = [0.0; 2];
        for (broker, time) in brokers.iter().zip(&mut times) {
            let begun = Instant::now();
            for _ in 0..ONE_BY_ONE {
                broker.publish(message()).await.expect("it is published");
            }
            *time = begun.elapsed().as_secs_f64();
        }
        ratios.push(times[1] / times[0]);
    }
    empty.close().await;
    full.close().await;
    report(
        "a publish with 1,000,000 messages queued / with none",
        median(ratios),
        1.5,
        "x",
    );
}
