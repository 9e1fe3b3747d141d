//! What may enter a topic.

use std::sync::Arc;

use portreeve_broker::{Broker, BrokerError, DeadFilter, Limits, Outcome, TopicSettings};

use crate::{Backend, counted, fetch, handle_all, message, publish, sender, subscribe, texts};

pub(crate) async fn a_message_comes_as_it_was_sent(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let subscribed = subscribe(&broker, "a", &["t"]).await;
    let mut sent = message("t", "{}");
    sent.content_type = "application/json".to_owned();
    sent.headers = vec![("lang".to_owned(), "en".to_owned())];
    sent.key = Some("k".to_owned());
    sent.ttl_ms = Some(1_000);
    sent.sender.principal = "alice".to_owned();
    sent.sender.path = vec!["x:y".to_owned()];
    let published = broker.publish(sent.clone()).await.unwrap();
    let [delivery] = &fetch(&broker, &subscribed).await[..] else {
        panic!("no message");
    };
    let got = &delivery.message;
    assert_eq!((delivery.attempt, got.position), (1, 1));
    assert_eq!(got.id, published.id);
    assert_eq!(got.payload, sent.payload);
    assert_eq!(got.content_type, sent.content_type);
    assert_eq!(got.headers, sent.headers);
    assert_eq!(got.key, sent.key);
    assert_eq!(got.sender, sent.sender);
    assert_eq!(got.time_ms, crate::START_MS);
    assert_eq!(got.expires_ms, Some(crate::START_MS + 1_000));
}

pub(crate) async fn what_is_no_message_is_refused(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    type Spoil = fn(&mut portreeve_broker::Publish);
    let spoilt: [Spoil; 7] = [
        |message| message.headers = vec![("A".to_owned(), String::new())],
        |message| message.headers = vec![("source".to_owned(), String::new())],
        |message| message.headers = vec![("a".to_owned(), "b\nc".to_owned())],
        |message| message.headers = vec![("a".to_owned(), "b".to_owned()); 33],
        |message| message.key = Some(String::new()),
        |message| message.dedup_id = Some("d".repeat(257)),
        |message| message.content_type = "text".to_owned(),
    ];
    for (number, spoil) in spoilt.iter().enumerate() {
        let mut message = message("t", "1");
        spoil(&mut message);
        let error = broker.publish(message).await.unwrap_err();
        assert!(
            matches!(error, BrokerError::Invalid(_)),
            "{number}: {error:?}"
        );
    }
    assert_eq!(broker.stats().await.unwrap().topics, []);
}

pub(crate) async fn a_dedup_id_enters_a_topic_once_in_its_window(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let subscribed = subscribe(&broker, "a", &[">"]).await;
    let with = |topic: &str, id: &str| portreeve_broker::Publish {
        dedup_id: Some(id.to_owned()),
        ..message(topic, id)
    };
    let first = broker.publish(with("t", "1")).await.unwrap();
    let again = broker.publish(with("t", "1")).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id.clone(), true));
    assert!(!broker.publish(with("t", "2")).await.unwrap().duplicate);
    // Another topic is another matter.
    assert!(!broker.publish(with("u", "1")).await.unwrap().duplicate);
    // At the same time, too.
    let both = futures::future::join_all((0..20).map(|_| broker.publish(with("t", "3")))).await;
    let entered = both
        .into_iter()
        .filter(|one| !one.as_ref().unwrap().duplicate);
    assert_eq!(entered.count(), 1);
    // Also after a restart.
    let broker = backend.open(Limits::default()).await;
    assert!(broker.publish(with("t", "1")).await.unwrap().duplicate);
    backend.pass(TopicSettings::default().dedup_ms);
    assert!(!broker.publish(with("t", "1")).await.unwrap().duplicate);
    assert_eq!(handle_all(&broker, &subscribed).await.len(), 5);
    // What is over is forgotten.
    backend.pass(TopicSettings::default().dedup_ms);
    broker.maintain().await.unwrap();
    assert_eq!(counted(&broker, "dedup-forgotten").await, 0);
    let few = Limits {
        dedup_max: 3,
        ..Limits::default()
    };
    let broker = backend.open(few).await;
    for number in 0..5 {
        broker
            .publish(with("t", &format!("n{number}")))
            .await
            .unwrap();
    }
    broker.maintain().await.unwrap();
    assert_eq!(counted(&broker, "dedup-forgotten").await, 2);
    assert!(broker.publish(with("t", "n4")).await.unwrap().duplicate);
}

pub(crate) async fn a_delayed_message_enters_later_and_after_a_restart(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let subscribed = subscribe(&broker, "a", &["t"]).await;
    for (delay_ms, text) in [(2_000, "c"), (1_000, "a"), (1_000, "b")] {
        let message = portreeve_broker::Publish {
            delay_ms,
            ..message("t", text)
        };
        broker.publish(message).await.unwrap();
    }
    assert!(fetch(&broker, &subscribed).await.is_empty());
    let broker = backend.open(Limits::default()).await;
    backend.pass(999);
    assert!(fetch(&broker, &subscribed).await.is_empty());
    backend.pass(1);
    assert_eq!(handle_all(&broker, &subscribed).await, ["a", "b"]);
    backend.pass(1_000);
    assert_eq!(handle_all(&broker, &subscribed).await, ["c"]);
    let too_long = portreeve_broker::Publish {
        delay_ms: 31 * 86_400_000,
        ..message("t", "1")
    };
    let error = broker.publish(too_long).await.unwrap_err();
    assert!(matches!(error, BrokerError::Quota { .. }), "{error:?}");
}

pub(crate) async fn what_has_outlived_its_time_is_counted(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let subscribed = subscribe(&broker, "a", &["t"]).await;
    for ttl_ms in [Some(1_000), None] {
        let message = portreeve_broker::Publish {
            ttl_ms,
            ..message("t", &format!("{ttl_ms:?}"))
        };
        broker.publish(message).await.unwrap();
    }
    backend.pass(1_000);
    assert_eq!(handle_all(&broker, &subscribed).await, ["None"]);
    assert_eq!(counted(&broker, "expired").await, 1);
    assert_eq!(broker.stats().await.unwrap().dead, 0);
}

pub(crate) async fn a_publisher_has_a_rate_of_its_own(backend: &dyn Backend) {
    let limits = Limits {
        publisher_rate: 10,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    subscribe(&broker, "a", &["t"]).await;
    for _ in 0..10 {
        publish(&broker, "t", "1").await;
    }
    let error = broker.publish(message("t", "1")).await.unwrap_err();
    let BrokerError::Limited { retry_ms, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(retry_ms, 100);
    assert!(error.to_string().contains("publisher-rate"), "{error}");
    // Nobody else suffers.
    let mut other = message("t", "1");
    other.sender = sender("other");
    broker.publish(other).await.unwrap();
    backend.pass(100);
    publish(&broker, "t", "1").await;
}

pub(crate) async fn a_topic_has_a_rate_and_a_length(backend: &dyn Backend) {
    let settings = TopicSettings {
        rate: 10,
        messages_max: 12,
        ..TopicSettings::default()
    };
    let limits = Limits {
        topics: vec![("t".parse().unwrap(), settings)],
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let subscribed = subscribe(&broker, "a", &[">"]).await;
    for number in 0..10 {
        let mut message = message("t", "1");
        message.sender = sender(&format!("p{number}"));
        broker.publish(message).await.unwrap();
    }
    let error = broker.publish(message("t", "1")).await.unwrap_err();
    assert!(error.to_string().contains("in a second"), "{error}");
    publish(&broker, "other", "1").await;
    backend.pass(1_000);
    publish(&broker, "t", "1").await;
    publish(&broker, "t", "1").await;
    let error = broker.publish(message("t", "1")).await.unwrap_err();
    let BrokerError::Limited { used, allowed, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((used, allowed), (12, 12));
    handle_all(&broker, &subscribed).await;
    publish(&broker, "t", "1").await;
}

pub(crate) async fn a_publisher_has_a_rate_of_bytes(backend: &dyn Backend) {
    let limits = Limits {
        publisher_bytes: 10_000,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let text = "x".repeat(4_000);
    publish(&broker, "t", &text).await;
    publish(&broker, "t", &text).await;
    let error = broker.publish(message("t", &text)).await.unwrap_err();
    let BrokerError::Limited { retry_ms, .. } = error else {
        panic!("{error:?}");
    };
    assert!((1..1_000).contains(&retry_ms), "{retry_ms}");
    assert!(error.to_string().contains("publisher-bytes"), "{error}");
    let mut other = message("t", &text);
    other.sender = sender("other");
    broker.publish(other).await.unwrap();
    backend.pass(i64::try_from(retry_ms).unwrap());
    publish(&broker, "t", &text).await;
}

pub(crate) async fn a_topic_has_a_length_in_bytes(backend: &dyn Backend) {
    let settings = TopicSettings {
        bytes_max: 10_000,
        ..TopicSettings::default()
    };
    let limits = Limits {
        topics: vec![("t".parse().unwrap(), settings)],
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let subscribed = subscribe(&broker, "a", &["t"]).await;
    let text = "x".repeat(4_000);
    publish(&broker, "t", &text).await;
    publish(&broker, "t", &text).await;
    let error = broker.publish(message("t", &text)).await.unwrap_err();
    let BrokerError::Limited {
        allowed, retry_ms, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(allowed, 10_000);
    assert!(retry_ms > 0);
    assert!(error.to_string().contains("bytes in the topic"), "{error}");
    assert_eq!(handle_all(&broker, &subscribed).await.len(), 2);
    publish(&broker, "t", &text).await;
}

pub(crate) async fn a_message_has_a_size(backend: &dyn Backend) {
    let limits = Limits {
        message_bytes_max: 100,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    publish(&broker, "t", &"x".repeat(100)).await;
    let error = broker
        .publish(message("t", &"x".repeat(101)))
        .await
        .unwrap_err();
    let BrokerError::Quota { used, allowed, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((used, allowed), (101, 100));
}

pub(crate) async fn topics_are_counted(backend: &dyn Backend) {
    let limits = Limits {
        topics_max: 3,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    for topic in ["a", "b", "c", "a"] {
        publish(&broker, topic, "1").await;
    }
    let error = broker.publish(message("d", "1")).await.unwrap_err();
    assert!(
        error.to_string().contains("[messages] topics-max"),
        "{error}"
    );
}

/// A topic that is empty gives way: at once where there are too many, otherwise after a while.
pub(crate) async fn an_empty_topic_is_forgotten(backend: &dyn Backend) {
    let limits = Limits {
        topics_max: 3,
        ..Limits::default()
    };
    let broker = backend.open(limits.clone()).await;
    let names = |stats: &portreeve_broker::Stats| -> Vec<String> {
        let topics = stats.topics.iter();
        topics.map(|topic| topic.topic.to_string()).collect()
    };
    let a = subscribe(&broker, "a", &[">"]).await;
    for topic in ["a", "b", "c"] {
        publish(&broker, topic, "1").await;
    }
    assert_eq!(handle_all(&broker, &a).await.len(), 3);
    publish(&broker, "b", "2").await;
    broker.maintain().await.unwrap();
    assert_eq!(names(&broker.stats().await.unwrap()), ["a", "b", "c"]);
    // One that has something does not give way, nor does its number begin anew.
    publish(&broker, "d", "1").await;
    assert_eq!(names(&broker.stats().await.unwrap()), ["b", "d"]);
    let given = fetch(&broker, &a).await;
    // Topics take turns.
    let mut places: Vec<_> = given
        .iter()
        .map(|one| (one.message.topic.as_str(), one.message.position))
        .collect();
    places.sort_unstable();
    assert_eq!(places, [("b", 2), ("d", 1)]);
    for delivery in &given {
        broker.settle(&a, delivery, Outcome::Ack).await.unwrap();
    }
    // With a dead letter of it a topic stays, so that its positions mean one thing.
    publish(&broker, "b", "bad").await;
    let given = fetch(&broker, &a).await;
    let outcome = Outcome::Reject("no".to_owned());
    broker.settle(&a, &given[0], outcome).await.unwrap();
    backend.pass(limits.topic_idle_ms + 1);
    broker.maintain().await.unwrap();
    broker.maintain().await.unwrap();
    assert_eq!(names(&broker.stats().await.unwrap()), ["b"]);
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    broker.retry_dead(&dead[0].id).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["bad"]);
    backend.pass(limits.topic_idle_ms + 1);
    broker.maintain().await.unwrap();
    broker.maintain().await.unwrap();
    let stats = broker.stats().await.unwrap();
    assert_eq!(stats.topics, []);
    // What was counted stays counted.
    let counted: Vec<_> = stats
        .counted
        .iter()
        .map(|one| (&*one.topic, &*one.what, one.count))
        .collect();
    assert_eq!(counted, [("(forgotten)", "dead", 1)]);
    // It begins anew, also after a restart.
    publish(&broker, "b", "3").await;
    let broker = backend.open(limits).await;
    let given = fetch(&broker, &a).await;
    assert_eq!(texts(&given), ["3"]);
    assert_eq!(given[0].message.position, 1);
}

pub(crate) async fn a_topic_goes_to_so_many_subscriptions(backend: &dyn Backend) {
    let settings = TopicSettings {
        fan_out_max: 2,
        ..TopicSettings::default()
    };
    let limits = Limits {
        topic: settings,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    for alias in ["a", "b"] {
        subscribe(&broker, alias, &["t"]).await;
        publish(&broker, "t", "1").await;
    }
    subscribe(&broker, "c", &["*"]).await;
    let error = broker.publish(message("t", "1")).await.unwrap_err();
    assert!(error.to_string().contains("fan-out"), "{error}");
    publish(&broker, "other", "1").await;
}

pub(crate) async fn a_loop_ends_as_a_dead_letter_that_shows_its_way(backend: &dyn Backend) {
    let limits = Limits {
        hops_max: 3,
        ..Limits::default()
    };
    let broker: Arc<dyn Broker> = backend.open(limits).await;
    let subscribed = subscribe(&broker, "publisher", &["t"]).await;
    publish(&broker, "t", "1").await;
    let mut handled = 0;
    loop {
        let deliveries = fetch(&broker, &subscribed).await;
        let Some(delivery) = deliveries.first() else {
            break;
        };
        handled += 1;
        let mut next = message("t", "1");
        next.sender.path = delivery.message.path_with_it();
        let published = broker.publish(next).await.unwrap();
        assert_eq!(published.dead, handled == 3);
        let ack = portreeve_broker::Outcome::Ack;
        broker.settle(&subscribed, delivery, ack).await.unwrap();
    }
    assert_eq!(handled, 3);
    let [dead] = &broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap()[..]
    else {
        panic!("no dead letter");
    };
    assert_eq!(dead.reason, "hops");
    let way = "publisher:t -> publisher:t -> publisher:t -> publisher:t";
    assert!(dead.detail.contains(way), "{}", dead.detail);
    // It may be let go on, with its way forgotten.
    broker.retry_dead(&dead.id).await.unwrap();
    assert_eq!(texts(&fetch(&broker, &subscribed).await), ["1"]);
    assert_eq!(broker.stats().await.unwrap().dead, 0);
}

pub(crate) async fn what_nobody_hears_is_counted(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    publish(&broker, "t", "1").await;
    publish(&broker, "t", "2").await;
    broker.maintain().await.unwrap();
    assert_eq!(counted(&broker, "unheard").await, 2);
    assert_eq!(broker.stats().await.unwrap().topics[0].messages, 0);
}
