//! A million messages that nobody handles: they are on disk, and cost memory for nothing but
//! their count.

use std::sync::Arc;

use portreeve_broker::{
    Broker, Embedded, Holder, Limits, Outcome, Publish, Sender, Start, TopicSettings, system_clock,
};
use portreeve_state::{BusAppend, BusStore as _, SqliteStore, StateStore as _, StoreConfig};

use crate::child::{limits, subscription};

const MESSAGES: usize = 1_000_000;

/// Messages of one write: as many as one statement takes.
const AT_ONCE: usize = 1_000;

/// Most memory that a broker may take with so many: a tenth of what they have on disk.
const MEMORY_MAX: u64 = 32 << 20;

/// Bytes of this process's memory.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1_024
}

fn message() -> Publish {
    let sender = Sender {
        holder: Holder::plugin("publisher"),
        principal: "local".to_owned(),
        path: Vec::new(),
    };
    Publish::new("work.t".parse().unwrap(), vec![7; 40], sender)
}

#[tokio::test]
async fn a_million_messages_wait_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        size_max: 4 << 30,
        sync: false,
    };
    let store = SqliteStore::open(&dir.path().join("state.db"), &config)
        .await
        .unwrap();
    let limits = Limits {
        lag_max: 2 * MESSAGES as u64,
        topic: TopicSettings {
            messages_max: 2 * MESSAGES as u64,
            bytes_max: 1 << 40,
            rate: 1_000_000,
            ..TopicSettings::default()
        },
        ..limits()
    };
    let own = subscription();
    let first = Embedded::open(store.clone(), limits.clone(), system_clock());
    let first = first.await.unwrap();
    let patterns = ["work.>".parse().unwrap()];
    first.subscribe(&own, &patterns, Start::Now).await.unwrap();
    first.publish(message()).await.unwrap();
    drop(first);
    // The rest enters as the broker's own does, a thousand at a time.
    let row = store.bus_read("work.t", 0, 1, u64::MAX).await.unwrap();
    let mut number = 0;
    while number < MESSAGES {
        let batch = (number..number + AT_ONCE).map(|number| {
            let mut message = row[0].clone();
            message.id = format!("{number:032}");
            BusAppend {
                message,
                due_ms: None,
                dedup: None,
            }
        });
        let time_ms = row[0].time_ms;
        store.bus_append(batch.collect(), time_ms).await.unwrap();
        number += AT_ONCE;
    }

    let before = memory();
    let broker = Embedded::open(store.clone(), limits, system_clock());
    let broker: Arc<dyn Broker> = Arc::new(broker.await.unwrap());
    for _ in 0..1_000 {
        broker.publish(message()).await.unwrap();
    }
    // Those that are handled are the oldest, in turn.
    let mut position = 0;
    for _ in 0..100 {
        let given = broker.fetch(&own, 16).await.unwrap();
        assert_eq!(given.len(), 16);
        for delivery in given {
            position += 1;
            assert_eq!(delivery.message.position, position);
            broker.settle(&own, &delivery, Outcome::Ack).await.unwrap();
        }
    }
    broker.maintain().await.unwrap();
    let stats = broker.stats().await.unwrap();
    let waiting = MESSAGES as u64 + 1 + 1_000 - 1_600;
    assert_eq!(stats.subscriptions[0].lag, waiting);
    assert_eq!(stats.topics[0].messages, waiting);
    let more = memory().saturating_sub(before);
    assert!(more < MEMORY_MAX, "{more} bytes more");
    store.close().await;
}
