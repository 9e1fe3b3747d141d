//! Looking at what lies in topics.

use std::sync::Arc;

use portreeve_broker::{Broker, BrokerError, From, Limits, Look, Publish, TopicSettings};

use crate::{Backend, fetch, message, publish, subscribe};

const ALL: u64 = u64::MAX;

/// `fleeting` is ephemeral.
fn limits() -> Limits {
    let fleeting = TopicSettings {
        ephemeral: true,
        ..TopicSettings::default()
    };
    Limits {
        topics: vec![("fleeting".parse().unwrap(), fleeting)],
        ..Limits::default()
    }
}

async fn look(
    broker: &Arc<dyn Broker>,
    topic: &str,
    at: Look,
    max: u32,
    bytes: u64,
) -> Vec<String> {
    let seen = broker.look(&topic.parse().unwrap(), at, max, bytes).await;
    let payloads = seen.unwrap().into_iter().map(|one| one.payload.to_vec());
    payloads
        .map(|payload| String::from_utf8(payload).unwrap())
        .collect()
}

/// A topic with five messages, one each second, that somebody has yet to handle.
async fn filled(backend: &dyn Backend, topic: &str) -> Arc<dyn Broker> {
    let broker = backend.open(limits()).await;
    subscribe(&broker, "reader", &[">"]).await;
    for text in ["one", "two", "three", "four", "five"] {
        publish(&broker, topic, text).await;
        backend.pass(1_000);
    }
    broker
}

pub(crate) async fn what_lies_in_a_topic_is_looked_at(backend: &dyn Backend) {
    for topic in ["a.kept", "fleeting"] {
        let broker = filled(backend, topic).await;
        let all = ["one", "two", "three", "four", "five"];
        assert_eq!(look(&broker, topic, Look::Latest, 9, ALL).await, all);
        assert_eq!(look(&broker, topic, Look::Latest, 2, ALL).await, all[3..]);
        // Little more than so many bytes, and one at least.
        assert_eq!(look(&broker, topic, Look::Latest, 9, 1).await, all[4..]);
        let from = |position| Look::From(From::Position(position));
        assert_eq!(look(&broker, topic, from(0), 9, ALL).await, all);
        assert_eq!(look(&broker, topic, from(3), 2, ALL).await, all[2..4]);
        assert_eq!(look(&broker, topic, from(2), 9, 1).await, all[1..2]);
        assert_eq!(look(&broker, topic, from(6), 9, ALL).await, [""; 0]);
        let stats = broker.topics().await.unwrap();
        let stats = stats.iter().find(|stats| stats.topic.as_str() == topic);
        assert_eq!(
            stats.map(|stats| (stats.head, stats.messages)),
            Some((5, 5))
        );
        let first = broker.look(&topic.parse().unwrap(), from(1), 1, ALL).await;
        let began = first.unwrap()[0].time_ms;
        for (after_ms, left) in [(-1, 0), (0, 0), (1, 1), (2_000, 2), (4_000, 4), (4_001, 5)] {
            let from = Look::From(From::Time(began + after_ms));
            let seen = look(&broker, topic, from, 9, ALL).await;
            assert_eq!(seen, all[left..], "{topic} {after_ms}");
        }
    }
}

pub(crate) async fn looking_takes_nothing(backend: &dyn Backend) {
    let broker = filled(backend, "a.kept").await;
    for _ in 0..3 {
        assert_eq!(look(&broker, "a.kept", Look::Latest, 9, ALL).await.len(), 5);
    }
    let reader = crate::subscription("reader");
    let given = fetch(&broker, &reader).await;
    assert_eq!(given.len(), 5);
    assert!(given.iter().all(|delivery| delivery.attempt == 1));
    // What is with a consumer still lies there.
    assert_eq!(look(&broker, "a.kept", Look::Latest, 9, ALL).await.len(), 5);
}

pub(crate) async fn what_is_over_is_not_looked_at(backend: &dyn Backend) {
    for topic in ["a.kept", "fleeting"] {
        let broker = filled(backend, topic).await;
        let short = Publish {
            ttl_ms: Some(500),
            ..message(topic, "short")
        };
        broker.publish(short).await.unwrap();
        assert_eq!(look(&broker, topic, Look::Latest, 1, ALL).await, ["short"]);
        backend.pass(501);
        let from = Look::From(From::Position(6));
        assert_eq!(look(&broker, topic, from, 9, ALL).await, [""; 0]);
        assert_eq!(look(&broker, topic, Look::Latest, 1, ALL).await, ["five"]);
    }
    let broker = backend.open(limits()).await;
    let none = broker
        .look(&"none".parse().unwrap(), Look::Latest, 9, ALL)
        .await;
    assert!(matches!(none, Err(BrokerError::NotFound(_))), "{none:?}");
}

pub(crate) async fn a_delayed_message_hides_none_that_was_published_later(backend: &dyn Backend) {
    let broker = backend.open(limits()).await;
    subscribe(&broker, "reader", &[">"]).await;
    let delayed = Publish {
        delay_ms: 5_000,
        ..message("a.kept", "delayed")
    };
    broker.publish(delayed).await.unwrap();
    backend.pass(1_000);
    publish(&broker, "a.kept", "early").await;
    let early = broker
        .look(&"a.kept".parse().unwrap(), Look::Latest, 1, ALL)
        .await;
    let time_ms = early.unwrap()[0].time_ms;
    backend.pass(5_000);
    broker.maintain().await.unwrap();
    let from = Look::From(From::Time(time_ms));
    assert_eq!(
        look(&broker, "a.kept", from, 9, ALL).await,
        ["early", "delayed"]
    );
}
