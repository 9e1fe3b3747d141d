//! What becomes of a message.

use std::sync::Arc;

use portreeve_broker::{
    Broker, BrokerError, DeadFilter, Delivery, Limits, Outcome, Retry, Subscription,
};

use crate::{Backend, counted, fetch, handle_all, publish, subscribe, texts};

fn retry() -> Outcome {
    Outcome::Retry(Retry::Backoff, "not now".to_owned())
}

pub(crate) async fn what_is_acked_is_gone(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for text in ["1", "2", "3"] {
        publish(&broker, "t", text).await;
    }
    let given = fetch(&broker, &a).await;
    broker.settle(&a, &given[1], Outcome::Ack).await.unwrap();
    backend.pass(Limits::default().held_ms);
    assert_eq!(texts(&fetch(&broker, &a).await), ["1", "3"]);
    let stats = broker.stats().await.unwrap();
    assert_eq!(
        (stats.subscriptions[0].lag, stats.subscriptions[0].acked),
        (2, 1)
    );
}

pub(crate) async fn a_retry_comes_after_a_pause_that_grows(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    for (attempt, pause) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        let given = fetch(&broker, &a).await;
        assert_eq!(given[0].attempt, attempt);
        broker.settle(&a, &given[0], retry()).await.unwrap();
        backend.pass(pause - 1);
        assert!(fetch(&broker, &a).await.is_empty(), "{attempt}");
        backend.pass(1);
    }
    assert_eq!(fetch(&broker, &a).await[0].attempt, 4);
    assert_eq!(
        Limits::default().backoff(1_000),
        Limits::default().backoff_max_ms
    );
}

pub(crate) async fn a_retry_comes_after_the_pause_that_was_asked_for(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    let given = fetch(&broker, &a).await;
    let outcome = Outcome::Retry(Retry::After(7), "soon".to_owned());
    broker.settle(&a, &given[0], outcome).await.unwrap();
    backend.pass(6);
    assert!(fetch(&broker, &a).await.is_empty());
    backend.pass(1);
    assert_eq!(fetch(&broker, &a).await.len(), 1);
}

pub(crate) async fn the_last_try_ends_as_a_dead_letter(backend: &dyn Backend) {
    let limits = Limits {
        attempts_max: 3,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    for _ in 0..3 {
        let given = fetch(&broker, &a).await;
        broker.settle(&a, &given[0], retry()).await.unwrap();
        backend.pass(10_000);
    }
    assert!(fetch(&broker, &a).await.is_empty());
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    assert_eq!((dead[0].reason.as_str(), dead[0].attempts), ("attempts", 3));
    assert!(dead[0].detail.contains("not now"), "{}", dead[0].detail);
    assert_eq!(counted(&broker, "dead").await, 1);
}

pub(crate) async fn a_reject_is_a_dead_letter_at_once(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for text in ["1", "2"] {
        publish(&broker, "t", text).await;
    }
    for delivery in fetch(&broker, &a).await {
        let outcome = Outcome::Reject(format!("bad {}", delivery.message.position));
        broker.settle(&a, &delivery, outcome).await.unwrap();
    }
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    assert_eq!(dead.len(), 2);
    assert_eq!(
        (dead[0].reason.as_str(), dead[0].detail.as_str()),
        ("rejected", "bad 1")
    );
    assert_eq!(
        (&dead[0].holder, dead[0].subscription.as_str()),
        (&a.holder, "main")
    );
    assert!(dead[0].message.payload.is_empty() && dead[0].size > 0);
    let whole = broker.dead_letter(&dead[0].id).await.unwrap();
    assert_eq!(&whole.message.payload[..], b"1");
    assert_eq!(whole.message.sender.principal, "local");
    // Pages and filters.
    let page = DeadFilter {
        after: Some(dead[0].id.clone()),
        ..DeadFilter::default()
    };
    assert_eq!(broker.dead_letters(&page, 10).await.unwrap(), dead[1..]);
    for (alias, topic, count) in [("a", "t", 2), ("b", "t", 0), ("a", "u", 0)] {
        let filter = DeadFilter {
            alias: Some(alias.to_owned()),
            topic: Some(topic.to_owned()),
            after: None,
        };
        assert_eq!(broker.dead_letters(&filter, 10).await.unwrap().len(), count);
    }
}

pub(crate) async fn a_dead_letter_is_delivered_once_more(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let b = subscribe(&broker, "b", &["t"]).await;
    publish(&broker, "t", "1").await;
    let given = fetch(&broker, &a).await;
    broker
        .settle(&a, &given[0], Outcome::Reject("no".to_owned()))
        .await
        .unwrap();
    assert_eq!(handle_all(&broker, &b).await, ["1"]);
    // The log has forgotten it.
    broker.maintain().await.unwrap();
    assert_eq!(broker.stats().await.unwrap().topics[0].messages, 0);
    for restart in [false, true] {
        let id = broker
            .dead_letters(&DeadFilter::default(), 1)
            .await
            .unwrap()[0]
            .id
            .clone();
        broker.retry_dead(&id).await.unwrap();
        assert_eq!(broker.stats().await.unwrap().dead, 0);
        let broker = match restart {
            true => backend.open(Limits::default()).await,
            false => broker.clone(),
        };
        assert!(fetch(&broker, &b).await.is_empty());
        broker.maintain().await.unwrap();
        let given = fetch(&broker, &a).await;
        assert_eq!((texts(&given), given[0].attempt), (vec!["1".to_owned()], 1));
        let outcome = match restart {
            true => Outcome::Ack,
            false => Outcome::Reject("no".to_owned()),
        };
        broker.settle(&a, &given[0], outcome).await.unwrap();
        broker.maintain().await.unwrap();
        assert_eq!(broker.stats().await.unwrap().topics[0].messages, 0);
    }
}

pub(crate) async fn a_dead_letter_is_dropped(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    let given = fetch(&broker, &a).await;
    broker
        .settle(&a, &given[0], Outcome::Reject("no".to_owned()))
        .await
        .unwrap();
    let id = broker
        .dead_letters(&DeadFilter::default(), 1)
        .await
        .unwrap()[0]
        .id
        .clone();
    broker.drop_dead(&id).await.unwrap();
    for error in [
        broker.drop_dead(&id).await.unwrap_err(),
        broker.retry_dead(&id).await.unwrap_err(),
        broker.dead_letter(&id).await.unwrap_err(),
    ] {
        assert!(matches!(error, BrokerError::NotFound(_)), "{error:?}");
    }
}

pub(crate) async fn dead_letters_are_bounded_and_age(backend: &dyn Backend) {
    let limits = Limits {
        dead_max: 3,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for number in 0..5 {
        publish(&broker, "t", &format!("{number}")).await;
        let given = fetch(&broker, &a).await;
        broker
            .settle(&a, &given[0], Outcome::Reject("no".to_owned()))
            .await
            .unwrap();
        backend.pass(1);
    }
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    let left: Vec<i64> = dead.iter().map(|dead| dead.message.position).collect();
    assert_eq!(left, [3, 4, 5]);
    assert_eq!(counted(&broker, "dead-dropped").await, 2);
    backend.pass(Limits::default().dead_ms);
    broker.maintain().await.unwrap();
    assert_eq!(broker.stats().await.unwrap().dead, 0);
    assert_eq!(counted(&broker, "dead-dropped").await, 5);
}

pub(crate) async fn who_is_too_far_behind_loses_the_oldest_to_dead_letters(backend: &dyn Backend) {
    let limits = Limits {
        lag_max: 10,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let b = subscribe(&broker, "b", &["t"]).await;
    for number in 0..14 {
        publish(&broker, "t", &format!("{number:02}")).await;
        if number == 5 {
            handle_all(&broker, &b).await;
        }
    }
    broker.maintain().await.unwrap();
    let dead = broker
        .dead_letters(&DeadFilter::default(), 100)
        .await
        .unwrap();
    let of: Vec<_> = dead
        .iter()
        .map(|dead| (&*dead.holder.alias, dead.message.position))
        .collect();
    assert_eq!(of, [("a", 1), ("a", 2), ("a", 3), ("a", 4)]);
    assert!(dead.iter().all(|dead| dead.reason == "lag"));
    assert_eq!(counted(&broker, "dead").await, 4);
    let expected: Vec<String> = (4..14).map(|number| format!("{number:02}")).collect();
    assert_eq!(handle_all(&broker, &a).await, expected);
    assert_eq!(handle_all(&broker, &b).await.len(), 8);
}

pub(crate) async fn no_other_subscription_suffers(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let bad = subscribe(&broker, "bad", &["t"]).await;
    let good = subscribe(&broker, "good", &["t"]).await;
    for number in 0..20 {
        publish(&broker, "t", &format!("{number}")).await;
        for delivery in fetch(&broker, &bad).await {
            broker.settle(&bad, &delivery, retry()).await.unwrap();
        }
        assert_eq!(handle_all(&broker, &good).await, [format!("{number}")]);
    }
}

/// What no consumer ever takes lies no longer than it may, and is not lost.
pub(crate) async fn what_waits_too_long_is_a_dead_letter(backend: &dyn Backend) {
    let limits = Limits {
        age_ms: 10_000,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let b = subscribe(&broker, "b", &["t"]).await;
    publish(&broker, "t", "1").await;
    publish(&broker, "t", "2").await;
    publish(&broker, "t", "3").await;
    // One of them waits to be tried again.
    let given = fetch(&broker, &a).await;
    let later = Outcome::Retry(Retry::After(60_000), "later".to_owned());
    broker.settle(&a, &given[1], later).await.unwrap();
    broker.settle(&a, &given[2], Outcome::Ack).await.unwrap();
    backend.pass(5_000);
    let delayed = portreeve_broker::Publish {
        delay_ms: 1_000,
        ..crate::message("t", "delayed")
    };
    broker.publish(delayed).await.unwrap();
    publish(&broker, "t", "4").await;
    assert_eq!(handle_all(&broker, &b).await, ["1", "2", "3", "4"]);
    backend.pass(5_001);
    broker.maintain().await.unwrap();
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    let of: Vec<_> = dead
        .iter()
        .map(|dead| (&*dead.holder.alias, dead.message.position, &*dead.reason))
        .collect();
    // The first is with its consumer.
    assert_eq!(of, [("a", 2, "age")]);
    assert!(
        dead[0].detail.contains("[messages] age"),
        "{}",
        dead[0].detail
    );
    assert_eq!(counted(&broker, "dead").await, 1);
    broker.settle(&a, &given[0], Outcome::Ack).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["4", "delayed"]);
    assert_eq!(handle_all(&broker, &b).await, ["delayed"]);
    // And of one that nobody was there for, over a restart.
    publish(&broker, "t", "5").await;
    let limits = Limits {
        age_ms: 10_000,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    backend.pass(10_001);
    broker.maintain().await.unwrap();
    assert!(fetch(&broker, &a).await.is_empty());
    assert_eq!(broker.stats().await.unwrap().dead, 3);
}

/// What a consumer gets that waits for it.
async fn next(broker: &Arc<dyn Broker>, subscription: &Subscription) -> Vec<Delivery> {
    loop {
        broker.ready(subscription).await.unwrap();
        let given = fetch(broker, subscription).await;
        if !given.is_empty() {
            return given;
        }
    }
}

/// What has ended in whatever way holds its key back no longer.
pub(crate) async fn a_key_goes_on_when_one_of_it_has_ended(backend: &dyn Backend) {
    let limits = Limits {
        attempts_max: 1,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for text in ["rejected", "tried", "expired", "dead", "last"] {
        let mut message = crate::keyed("t", "k", text);
        message.ttl_ms = (text == "expired").then_some(1_000);
        broker.publish(message).await.unwrap();
    }
    for outcome in [Outcome::Reject("no".to_owned()), retry()] {
        let given = fetch(&broker, &a).await;
        assert_eq!(given.len(), 1);
        broker.settle(&a, &given[0], outcome).await.unwrap();
    }
    backend.pass(1_000);
    // One that is never settled is given up at last.
    assert_eq!(texts(&next(&broker, &a).await), ["dead"]);
    backend.pass(Limits::default().held_ms);
    assert_eq!(texts(&next(&broker, &a).await), ["last"]);
    assert_eq!(broker.stats().await.unwrap().dead, 3);
    assert_eq!(counted(&broker, "expired").await, 1);
}
