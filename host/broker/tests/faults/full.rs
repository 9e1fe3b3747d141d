//! A state that is full: publishing is refused and says why; reading, settling and removing go on,
//! and make room.

use std::sync::Arc;

use portreeve_broker::{
    Broker, BrokerError, DeadFilter, Embedded, Holder, Outcome, Publish, Sender, Start,
    system_clock,
};
use portreeve_state::{SqliteStore, StateError, StateStore as _, StoreConfig};

use crate::child::{limits, subscription};

fn message(bytes: usize) -> Publish {
    let sender = Sender {
        holder: Holder::plugin("publisher"),
        principal: "local".to_owned(),
        path: Vec::new(),
    };
    Publish::new("work.t".parse().unwrap(), vec![7; bytes], sender)
}

#[tokio::test]
async fn a_full_disk_refuses_publishers_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        size_max: 4 << 20,
        ..StoreConfig::default()
    };
    let store = SqliteStore::open(&dir.path().join("state.db"), &config)
        .await
        .unwrap();
    let broker = Embedded::open(store.clone(), limits(), system_clock())
        .await
        .unwrap();
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let own = subscription();
    let patterns = ["work.>".parse().unwrap()];
    broker.subscribe(&own, &patterns, Start::Now).await.unwrap();
    let mut published = 0;
    let full = loop {
        match broker.publish(message(20_000)).await {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(full, BrokerError::State(StateError::Full(_))),
        "{full:?}"
    );
    assert!(
        full.to_string().contains("raise `size` under [state]"),
        "{full}"
    );
    assert!(published > 50);
    let mut handled = 0;
    loop {
        let deliveries = broker.fetch(&own, 16).await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        for delivery in deliveries {
            handled += 1;
            let outcome = match handled % 20 {
                0 => Outcome::Reject("bad".to_owned()),
                _ => Outcome::Ack,
            };
            broker.settle(&own, &delivery, outcome).await.unwrap();
        }
    }
    assert_eq!(handled, published);
    for letter in broker
        .dead_letters(&DeadFilter::default(), 100)
        .await
        .unwrap()
    {
        broker.drop_dead(&letter.id).await.unwrap();
    }
    broker.maintain().await.unwrap();
    for _ in 0..published / 2 {
        broker.publish(message(20_000)).await.unwrap();
    }
    store.close().await;
}
