//! Who gets what, and in which order.

use std::time::Duration;

use portreeve_broker::{BrokerError, Limits, Outcome, Retry, Start};

use crate::{
    Backend, fetch, handle_all, keyed, message, patterns, publish, subscribe, subscription, texts,
};

pub(crate) async fn each_subscription_gets_each_message(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    let b = subscribe(&broker, "b", &["t"]).await;
    for text in ["1", "2", "3"] {
        publish(&broker, "t", text).await;
    }
    assert_eq!(handle_all(&broker, &a).await, ["1", "2", "3"]);
    assert_eq!(handle_all(&broker, &b).await, ["1", "2", "3"]);
    assert!(handle_all(&broker, &a).await.is_empty());
}

pub(crate) async fn patterns_choose_topics(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let one = subscribe(&broker, "one", &["builds.*"]).await;
    let rest = subscribe(&broker, "rest", &["builds.>"]).await;
    for topic in ["builds", "builds.a", "builds.a.b", "other.a"] {
        publish(&broker, topic, topic).await;
    }
    assert_eq!(handle_all(&broker, &one).await, ["builds.a"]);
    assert_eq!(handle_all(&broker, &rest).await, ["builds.a", "builds.a.b"]);
}

pub(crate) async fn a_message_that_two_patterns_match_comes_once(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t.*", "*.a", ">"]).await;
    publish(&broker, "t.a", "1").await;
    assert_eq!(handle_all(&broker, &a).await, ["1"]);
}

pub(crate) async fn a_group_shares_its_messages(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let group = subscribe(&broker, "a", &["t"]).await;
    for number in 0..40 {
        publish(&broker, "t", &format!("{number:02}")).await;
    }
    let consumers = (0..8).map(|_| async {
        let mut all = Vec::new();
        loop {
            let some = broker.fetch(&group, 3).await.unwrap();
            if some.is_empty() {
                return all;
            }
            for delivery in &some {
                broker.settle(&group, delivery, Outcome::Ack).await.unwrap();
            }
            all.extend(texts(&some));
        }
    });
    let mut all = futures::future::join_all(consumers).await.concat();
    all.sort();
    let expected: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    assert_eq!(all, expected);
}

pub(crate) async fn a_key_is_kept_in_order_and_holds_back_nothing_else(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for (key, text) in [("x", "x1"), ("x", "x2"), ("y", "y1"), ("x", "x3")] {
        broker.publish(keyed("t", key, text)).await.unwrap();
    }
    publish(&broker, "t", "none").await;
    let first = fetch(&broker, &a).await;
    assert_eq!(texts(&first), ["x1", "y1", "none"]);
    assert!(fetch(&broker, &a).await.is_empty());
    for delivery in &first[1..] {
        broker.settle(&a, delivery, Outcome::Ack).await.unwrap();
    }
    // It waits, and its key with it.
    let retry = Outcome::Retry(Retry::After(1_000), "later".to_owned());
    broker.settle(&a, &first[0], retry).await.unwrap();
    broker.publish(keyed("t", "y", "y2")).await.unwrap();
    assert_eq!(handle_all(&broker, &a).await, ["y2"]);
    // Over a restart, too.
    let broker = backend.open(Limits::default()).await;
    assert!(fetch(&broker, &a).await.is_empty());
    backend.pass(1_000);
    assert_eq!(handle_all(&broker, &a).await, ["x1", "x2", "x3"]);
}

pub(crate) async fn what_is_not_settled_in_time_goes_to_another(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    for attempt in 1..=8 {
        let given = fetch(&broker, &a).await;
        assert_eq!(given.len(), 1, "{attempt}");
        assert_eq!(given[0].attempt, attempt);
        assert!(fetch(&broker, &a).await.is_empty());
        backend.pass(Limits::default().held_ms);
    }
    // One that is never settled is given up at last.
    assert!(fetch(&broker, &a).await.is_empty());
    assert_eq!(broker.stats().await.unwrap().dead, 1);
}

pub(crate) async fn a_stale_delivery_settles_nothing(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    let old = fetch(&broker, &a).await.remove(0);
    backend.pass(Limits::default().held_ms);
    let new = fetch(&broker, &a).await.remove(0);
    for outcome in [Outcome::Ack, Outcome::Reject("no".to_owned())] {
        let error = broker.settle(&a, &old, outcome).await.unwrap_err();
        assert!(matches!(error, BrokerError::Stale), "{error:?}");
    }
    broker.settle(&a, &new, Outcome::Ack).await.unwrap();
    let error = broker.settle(&a, &new, Outcome::Ack).await.unwrap_err();
    assert!(matches!(error, BrokerError::Stale), "{error:?}");
    assert_eq!(broker.stats().await.unwrap().dead, 0);
}

pub(crate) async fn no_more_is_given_than_may_be_held(backend: &dyn Backend) {
    let limits = Limits {
        in_flight_max: 5,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let a = subscribe(&broker, "a", &[">"]).await;
    for number in 0..10 {
        publish(&broker, &format!("t{}", number % 3), "1").await;
    }
    let held = fetch(&broker, &a).await;
    assert_eq!(held.len(), 5);
    assert!(fetch(&broker, &a).await.is_empty());
    broker.settle(&a, &held[0], Outcome::Ack).await.unwrap();
    assert_eq!(fetch(&broker, &a).await.len(), 1);
    assert_eq!(broker.stats().await.unwrap().subscriptions[0].in_flight, 5);
}

pub(crate) async fn topics_take_turns(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &[">"]).await;
    for number in 0..50 {
        publish(&broker, "loud", &format!("{number}")).await;
    }
    publish(&broker, "quiet", "quiet").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(texts(&broker.fetch(&a, 5).await.unwrap()));
    }
    assert!(seen.contains(&"quiet".to_owned()), "{seen:?}");
}

pub(crate) async fn a_new_subscription_begins_where_it_says(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let keeper = subscribe(&broker, "keeper", &["t"]).await;
    publish(&broker, "t", "old").await;
    let all = patterns(&["t"]);
    broker
        .subscribe(&subscription("now"), &all, Start::Now)
        .await
        .unwrap();
    broker
        .subscribe(&subscription("all"), &all, Start::Oldest)
        .await
        .unwrap();
    publish(&broker, "t", "new").await;
    assert_eq!(handle_all(&broker, &subscription("now")).await, ["new"]);
    assert_eq!(
        handle_all(&broker, &subscription("all")).await,
        ["old", "new"]
    );
    assert_eq!(handle_all(&broker, &keeper).await, ["old", "new"]);
}

pub(crate) async fn other_patterns_keep_what_was_reached(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    subscribe(&broker, "keeper", &[">"]).await;
    publish(&broker, "t", "t1").await;
    publish(&broker, "u", "u1").await;
    subscribe(&broker, "a", &["t", "u"]).await;
    publish(&broker, "u", "u2").await;
    let mut got = handle_all(&broker, &a).await;
    got.sort();
    assert_eq!(got, ["t1", "u2"]);
    subscribe(&broker, "a", &["u"]).await;
    publish(&broker, "t", "t2").await;
    assert!(handle_all(&broker, &a).await.is_empty());
}

pub(crate) async fn an_ended_subscription_gets_nothing(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    publish(&broker, "t", "1").await;
    assert!(broker.unsubscribe(&a).await.unwrap());
    assert!(!broker.unsubscribe(&a).await.unwrap());
    let error = broker.fetch(&a, 1).await.unwrap_err();
    assert!(matches!(error, BrokerError::NotFound(_)), "{error:?}");
    // It begins anew.
    subscribe(&broker, "a", &["t"]).await;
    assert!(handle_all(&broker, &a).await.is_empty());
}

pub(crate) async fn who_waits_is_woken(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for text in ["1", "2"] {
        let waiting = async {
            loop {
                broker.ready(&a).await.unwrap();
                let all = handle_all(&broker, &a).await;
                if !all.is_empty() {
                    return all;
                }
            }
        };
        let publishing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            publish(&broker, "t", text).await;
        };
        let (got, ()) = futures::future::join(waiting, publishing).await;
        assert_eq!(got, [text]);
    }
}

pub(crate) async fn a_fetch_that_is_given_up_holds_nothing(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let a = subscribe(&broker, "a", &["t"]).await;
    for number in 0..20 {
        publish(&broker, "t", &format!("{number}")).await;
    }
    for _ in 0..50 {
        // Dropped at each of its first awaits.
        let fetching = broker.fetch(&a, 1);
        let _ = tokio::time::timeout(Duration::from_micros(1), fetching).await;
    }
    let held = broker.stats().await.unwrap().subscriptions[0].in_flight;
    let left = handle_all(&broker, &a).await.len();
    assert_eq!(usize::try_from(held).unwrap() + left, 20);
}

pub(crate) async fn the_tail_sees_what_enters(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let mut tail = broker.tail();
    publish(&broker, "t", "1").await;
    let later = portreeve_broker::Publish {
        delay_ms: 1_000,
        ..message("t", "2")
    };
    broker.publish(later).await.unwrap();
    backend.pass(1_000);
    broker.maintain().await.unwrap();
    for (position, text) in [(1, "1"), (2, "2")] {
        let message = tail.recv().await.unwrap();
        assert_eq!(
            (message.position, &message.payload[..]),
            (position, text.as_bytes())
        );
    }
}
