//! What every broker must do, asked of each that there is: a case for each guarantee.
//!
//! A clustered broker is one more [`Backend`] and one more module in [`cases!`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod deliver;
mod durable;
mod look;
mod outcomes;
mod publish;
mod requests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use portreeve_broker::{
    Broker, Delivery, Embedded, Holder, Limits, Outcome, Publish, Published, Sender, Start,
    Subscription,
};
use portreeve_manifest::grant::TopicPattern;
use portreeve_state::{SqliteStore, StateStore as _, StoreConfig};
use requests::Requests;

/// When the tests begin.
const START_MS: i64 = 1_700_000_000_000;

/// A broker that can be opened again, and whose clock the test turns.
#[async_trait::async_trait]
trait Backend: Send + Sync {
    /// Opens it; what was open before has ended.
    async fn open(&self, limits: Limits) -> Arc<dyn Broker>;

    /// Has `alias` answer requests.
    fn answer_as(&self, alias: &str, patterns: Vec<TopicPattern>) -> Requests;

    /// Has somebody answer requests.
    fn answer(&self, patterns: Vec<TopicPattern>) -> Requests {
        self.answer_as("answerer", patterns)
    }

    /// Moves the clock.
    fn pass(&self, ms: i64);
}

struct Local {
    _dir: tempfile::TempDir,
    path: PathBuf,
    now: Arc<AtomicI64>,
    open: std::sync::Mutex<Option<(Arc<Embedded>, Arc<SqliteStore>)>>,
}

impl Local {
    fn new() -> Local {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Local {
            _dir: dir,
            path,
            now: Arc::new(AtomicI64::new(START_MS)),
            open: std::sync::Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl Backend for Local {
    async fn open(&self, limits: Limits) -> Arc<dyn Broker> {
        let before = self.open.lock().unwrap().take();
        if let Some((_, store)) = before {
            store.close().await;
        }
        // What is asserted here needs no disk that is waited for; `faults` does.
        let config = StoreConfig {
            sync: false,
            ..StoreConfig::default()
        };
        let store = SqliteStore::open(&self.path, &config).await.unwrap();
        let now = self.now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        let broker = Embedded::open(store.clone(), limits, clock).await.unwrap();
        let broker = Arc::new(broker);
        *self.open.lock().unwrap() = Some((broker.clone(), store));
        broker
    }

    fn answer_as(&self, alias: &str, patterns: Vec<TopicPattern>) -> Requests {
        let open = self.open.lock().unwrap();
        let (broker, _) = open.as_ref().unwrap();
        Requests::new(|responder| broker.answer(Holder::plugin(alias), patterns, responder))
    }

    fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Every case against every backend.
macro_rules! cases {
    ($($module:ident: $($case:ident),+ $(,)?;)+) => {
        mod embedded {
            $($(#[tokio::test]
            async fn $case() {
                crate::$module::$case(&crate::Local::new()).await;
            })+)+
        }
    };
}

cases! {
    publish:
        a_message_comes_as_it_was_sent,
        what_is_no_message_is_refused,
        a_dedup_id_enters_a_topic_once_in_its_window,
        a_delayed_message_enters_later_and_after_a_restart,
        what_has_outlived_its_time_is_counted,
        a_publisher_has_a_rate_of_its_own,
        a_publisher_has_a_rate_of_bytes,
        a_topic_has_a_rate_and_a_length,
        a_topic_has_a_length_in_bytes,
        a_message_has_a_size,
        topics_are_counted,
        an_empty_topic_is_forgotten,
        a_topic_goes_to_so_many_subscriptions,
        a_loop_ends_as_a_dead_letter_that_shows_its_way,
        what_nobody_hears_is_counted;
    deliver:
        each_subscription_gets_each_message,
        patterns_choose_topics,
        a_message_that_two_patterns_match_comes_once,
        a_group_shares_its_messages,
        a_key_is_kept_in_order_and_holds_back_nothing_else,
        what_is_not_settled_in_time_goes_to_another,
        a_stale_delivery_settles_nothing,
        no_more_is_given_than_may_be_held,
        topics_take_turns,
        a_new_subscription_begins_where_it_says,
        other_patterns_keep_what_was_reached,
        an_ended_subscription_gets_nothing,
        who_waits_is_woken,
        a_fetch_that_is_given_up_holds_nothing,
        the_tail_sees_what_enters;
    outcomes:
        what_is_acked_is_gone,
        a_retry_comes_after_a_pause_that_grows,
        a_retry_comes_after_the_pause_that_was_asked_for,
        the_last_try_ends_as_a_dead_letter,
        a_reject_is_a_dead_letter_at_once,
        a_dead_letter_is_delivered_once_more,
        a_dead_letter_is_dropped,
        dead_letters_are_bounded_and_age,
        who_is_too_far_behind_loses_the_oldest_to_dead_letters,
        no_other_subscription_suffers,
        what_waits_too_long_is_a_dead_letter,
        a_key_goes_on_when_one_of_it_has_ended;
    durable:
        what_was_published_is_there_after_a_restart,
        what_was_settled_stays_settled,
        retries_and_exceptions_outlive_a_restart,
        dead_letters_outlive_a_restart,
        what_is_handled_is_removed,
        what_is_kept_can_be_replayed,
        what_is_not_kept_can_not_be_replayed,
        what_is_kept_gives_way_to_what_is_new,
        an_ephemeral_topic_forgets_and_counts_what_gives_way,
        a_clock_that_jumps_loses_nothing,
        a_topic_of_every_subscription_can_be_many;
    look:
        what_lies_in_a_topic_is_looked_at,
        looking_takes_nothing,
        what_is_over_is_not_looked_at,
        a_delayed_message_hides_none_that_was_published_later;
    requests:
        a_request_is_answered,
        each_request_gets_its_own_answer,
        a_request_that_nobody_answers_says_so,
        a_request_has_a_time,
        a_request_that_is_given_up_says_so,
        who_answers_may_fail_in_its_own_words,
        requests_that_wait_are_bounded,
        who_may_not_be_asked_is_passed_over,
        a_cycle_of_requests_ends;
}

fn sender(alias: &str) -> Sender {
    Sender {
        holder: Holder::plugin(alias),
        principal: "local".to_owned(),
        path: Vec::new(),
    }
}

fn message(topic: &str, payload: &str) -> Publish {
    let topic = topic.parse().unwrap();
    Publish::new(topic, payload.as_bytes().to_vec(), sender("publisher"))
}

fn keyed(topic: &str, key: &str, payload: &str) -> Publish {
    Publish {
        key: Some(key.to_owned()),
        ..message(topic, payload)
    }
}

async fn publish(broker: &Arc<dyn Broker>, topic: &str, payload: &str) -> Published {
    broker.publish(message(topic, payload)).await.unwrap()
}

fn subscription(alias: &str) -> Subscription {
    Subscription {
        holder: Holder::plugin(alias),
        name: "main".to_owned(),
    }
}

fn patterns(texts: &[&str]) -> Vec<TopicPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A subscription of this alias.
async fn subscribe(broker: &Arc<dyn Broker>, alias: &str, topics: &[&str]) -> Subscription {
    let subscription = subscription(alias);
    let patterns = patterns(topics);
    broker
        .subscribe(&subscription, &patterns, Start::Now)
        .await
        .unwrap();
    subscription
}

async fn fetch(broker: &Arc<dyn Broker>, subscription: &Subscription) -> Vec<Delivery> {
    broker.fetch(subscription, 100).await.unwrap()
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).unwrap()
}

fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

/// Fetches and handles all that there is.
async fn handle_all(broker: &Arc<dyn Broker>, subscription: &Subscription) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let deliveries = fetch(broker, subscription).await;
        if deliveries.is_empty() {
            return all;
        }
        for delivery in deliveries {
            all.push(text(&delivery));
            broker
                .settle(subscription, &delivery, Outcome::Ack)
                .await
                .unwrap();
        }
    }
}

async fn counted(broker: &Arc<dyn Broker>, what: &str) -> u64 {
    let stats = broker.stats().await.unwrap();
    let counts = stats.counted.iter().filter(|counted| counted.what == what);
    counts.map(|counted| counted.count).sum()
}
