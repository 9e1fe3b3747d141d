//! What outlives a restart, what is kept, and what goes.

use portreeve_broker::{BrokerError, DeadFilter, From, Limits, Outcome, Retry, TopicSettings};

use crate::{Backend, counted, fetch, handle_all, message, publish, subscribe, texts};

fn kept(settings: TopicSettings) -> Limits {
    Limits {
        topics: vec![("t".parse().unwrap(), settings)],
        ..Limits::default()
    }
}

pub(crate) async fn what_was_published_is_there_after_a_restart(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t.>"]).await;
    for number in 0..30 {
        publish(
            &broker,
            &format!("t.{}", number % 3),
            &format!("{number:02}"),
        )
        .await;
    }
    let held = fetch(&broker, &a).await;
    assert_eq!(held.len(), 30);
    let broker = backend.open(Limits::default()).await;
    // What was not settled comes again.
    let mut got = handle_all(&broker, &a).await;
    got.sort();
    let expected: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
    assert_eq!(got, expected);
    // Positions go on.
    publish(&broker, "t.0", "more").await;
    assert_eq!(fetch(&broker, &a).await[0].message.position, 11);
}

pub(crate) async fn what_was_settled_stays_settled(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for number in 0..10 {
        publish(&broker, "t", &format!("{number}")).await;
    }
    for delivery in fetch(&broker, &a).await {
        if delivery.message.position % 2 == 0 {
            broker.settle(&a, &delivery, Outcome::Ack).await.unwrap();
        }
    }
    let broker = backend.open(Limits::default()).await;
    assert_eq!(handle_all(&broker, &a).await, ["0", "2", "4", "6", "8"]);
}

pub(crate) async fn retries_and_exceptions_outlive_a_restart(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    publish(&broker, "t", "2").await;
    let given = fetch(&broker, &a).await;
    let outcome = Outcome::Retry(Retry::After(1_000), "later".to_owned());
    broker.settle(&a, &given[0], outcome).await.unwrap();
    broker.settle(&a, &given[1], Outcome::Ack).await.unwrap();
    broker.maintain().await.unwrap();
    let broker = backend.open(Limits::default()).await;
    assert!(fetch(&broker, &a).await.is_empty());
    assert_eq!(broker.stats().await.unwrap().subscriptions[0].lag, 1);
    backend.pass(1_000);
    let given = fetch(&broker, &a).await;
    assert_eq!((texts(&given), given[0].attempt), (vec!["1".to_owned()], 2));
}

pub(crate) async fn dead_letters_outlive_a_restart(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    let given = fetch(&broker, &a).await;
    broker
        .settle(&a, &given[0], Outcome::Reject("no".to_owned()))
        .await
        .unwrap();
    let broker = backend.open(Limits::default()).await;
    assert_eq!(
        broker
            .dead_letters(&DeadFilter::default(), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(counted(&broker, "dead").await, 1);
}

pub(crate) async fn what_is_handled_is_removed(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let b = subscribe(&broker, "b", &["t"]).await;
    for number in 0..10 {
        publish(&broker, "t", &format!("{number}")).await;
    }
    let lying = || async {
        broker.maintain().await.unwrap();
        let topic = broker.stats().await.unwrap().topics.remove(0);
        assert_eq!(topic.messages == 0, topic.bytes == 0);
        topic.messages
    };
    handle_all(&broker, &a).await;
    assert_eq!(lying().await, 10);
    let given = fetch(&broker, &b).await;
    for delivery in &given[1..] {
        broker.settle(&b, delivery, Outcome::Ack).await.unwrap();
    }
    // The one that is left is an exception.
    assert_eq!(lying().await, 1);
    broker.settle(&b, &given[0], Outcome::Ack).await.unwrap();
    assert_eq!(lying().await, 0);
}

pub(crate) async fn what_is_kept_can_be_replayed(backend: &dyn Backend) {
    let limits = kept(TopicSettings {
        keep_ms: Some(10_000),
        ..TopicSettings::default()
    });
    let broker = backend.open(limits.clone()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let topic = "t".parse().unwrap();
    for number in 1..=5 {
        publish(&broker, "t", &format!("{number}")).await;
        backend.pass(1_000);
    }
    handle_all(&broker, &a).await;
    broker.maintain().await.unwrap();
    broker.replay(&a, &topic, From::Position(4)).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["4", "5"]);
    broker
        .replay(&a, &topic, From::Time(crate::START_MS + 1_000))
        .await
        .unwrap();
    // Over a restart.
    let broker = backend.open(limits).await;
    assert_eq!(handle_all(&broker, &a).await, ["2", "3", "4", "5"]);
    // What is too old is gone.
    backend.pass(7_500);
    broker.maintain().await.unwrap();
    broker.replay(&a, &topic, From::Position(1)).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["4", "5"]);
    // Skipping is one of it.
    publish(&broker, "t", "6").await;
    publish(&broker, "t", "7").await;
    broker.replay(&a, &topic, From::Position(7)).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["7"]);
}

pub(crate) async fn what_is_not_kept_can_not_be_replayed(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    handle_all(&broker, &a).await;
    let topic = "t".parse().unwrap();
    let error = broker
        .replay(&a, &topic, From::Position(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("set `keep`"), "{error}");
    let other = "u".parse().unwrap();
    let error = broker
        .replay(&a, &other, From::Position(1))
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::NotFound(_)), "{error:?}");
}

pub(crate) async fn what_is_kept_gives_way_to_what_is_new(backend: &dyn Backend) {
    let limits = kept(TopicSettings {
        keep_ms: Some(1_000_000),
        messages_max: 5,
        ..TopicSettings::default()
    });
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for number in 0..20 {
        publish(&broker, "t", &format!("{number}")).await;
        assert_eq!(handle_all(&broker, &a).await, [format!("{number}")]);
    }
    assert!(broker.stats().await.unwrap().topics[0].messages <= 5);
}

pub(crate) async fn an_ephemeral_topic_forgets_and_counts_what_gives_way(backend: &dyn Backend) {
    let limits = kept(TopicSettings {
        ephemeral: true,
        messages_max: 3,
        ..TopicSettings::default()
    });
    let broker = backend.open(limits.clone()).await;
    publish(&broker, "t", "unheard").await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for number in 0..5 {
        publish(&broker, "t", &format!("{number}")).await;
    }
    assert_eq!(handle_all(&broker, &a).await, ["2", "3", "4"]);
    assert_eq!(counted(&broker, "overflow").await, 2);
    assert_eq!(counted(&broker, "unheard").await, 1);
    // A retry and a dead letter work there, too.
    publish(&broker, "t", "5").await;
    let given = fetch(&broker, &a).await;
    let outcome = Outcome::Retry(Retry::After(10), "later".to_owned());
    broker.settle(&a, &given[0], outcome).await.unwrap();
    broker.maintain().await.unwrap();
    backend.pass(10);
    let given = fetch(&broker, &a).await;
    assert_eq!((texts(&given), given[0].attempt), (vec!["5".to_owned()], 2));
    broker
        .settle(&a, &given[0], Outcome::Reject("no".to_owned()))
        .await
        .unwrap();
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    assert_eq!(dead.len(), 1);
    broker.retry_dead(&dead[0].id).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["5"]);
    for unfit in [
        portreeve_broker::Publish {
            delay_ms: 1,
            ..message("t", "1")
        },
        portreeve_broker::Publish {
            dedup_id: Some("1".to_owned()),
            ..message("t", "1")
        },
    ] {
        let error = broker.publish(unfit).await.unwrap_err();
        assert!(error.to_string().contains("ephemeral"), "{error}");
    }
    publish(&broker, "t", "lost").await;
    let broker = backend.open(limits).await;
    assert!(handle_all(&broker, &a).await.is_empty());
    publish(&broker, "t", "new").await;
    assert_eq!(handle_all(&broker, &a).await, ["new"]);
}

pub(crate) async fn a_clock_that_jumps_loses_nothing(backend: &dyn Backend) {
    // What waits too long is another matter.
    let limits = Limits {
        age_ms: i64::MAX,
        ..Limits::default()
    };
    let broker = backend.open(limits.clone()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    const YEAR_MS: i64 = 365 * 86_400_000;
    publish(&broker, "t", "1").await;
    let given = fetch(&broker, &a).await;
    let outcome = Outcome::Retry(Retry::After(1_000), "later".to_owned());
    broker.settle(&a, &given[0], outcome).await.unwrap();
    // Back: what waits for its time waits no longer than it was to.
    backend.pass(-YEAR_MS);
    publish(&broker, "t", "2").await;
    assert_eq!(handle_all(&broker, &a).await, ["2"]);
    backend.pass(YEAR_MS + 1_000);
    assert_eq!(handle_all(&broker, &a).await, ["1"]);
    // Forward, and back over a restart: time goes on from where it was.
    backend.pass(YEAR_MS);
    publish(&broker, "t", "3").await;
    backend.pass(-2 * YEAR_MS);
    let broker = backend.open(limits).await;
    publish(&broker, "t", "4").await;
    let given = fetch(&broker, &a).await;
    assert_eq!(texts(&given), ["3", "4"]);
    assert!(given[1].message.time_ms >= given[0].message.time_ms);
}

pub(crate) async fn a_topic_of_every_subscription_can_be_many(backend: &dyn Backend) {
    let limits = Limits {
        publisher_rate: 100_000,
        ..Limits::default()
    };
    let broker = backend.open(limits.clone()).await;
    let a = subscribe(&broker, "a", &["many.>"]).await;
    let sent = (0..10_000).map(|number| {
        let broker = &broker;
        async move { publish(broker, &format!("many.t{number}"), "1").await }
    });
    let mut sent: Vec<_> = sent.collect();
    while !sent.is_empty() {
        let some: Vec<_> = sent.drain(..sent.len().min(500)).collect();
        futures::future::join_all(some).await;
    }
    let broker = backend.open(limits).await;
    assert_eq!(broker.stats().await.unwrap().topics.len(), 10_000);
    assert_eq!(broker.stats().await.unwrap().subscriptions[0].lag, 10_000);
    let mut got = 0;
    loop {
        let given = fetch(&broker, &a).await;
        if given.is_empty() {
            break;
        }
        got += given.len();
        let acks = given
            .iter()
            .map(|delivery| broker.settle(&a, delivery, Outcome::Ack));
        for done in futures::future::join_all(acks).await {
            done.unwrap();
        }
    }
    assert_eq!(got, 10_000);
}
