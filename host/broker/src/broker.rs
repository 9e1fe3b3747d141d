//! What a broker promises.

use std::sync::Arc;

use async_trait::async_trait;
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::Holder;
use tokio::sync::broadcast;

use crate::error::BrokerError;
use crate::message::{Answer, Message, Publish};

/// Whose a subscription is, and what it is called there. All that fetch from one are a consumer
/// group: each message goes to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription {
    /// Whose it is.
    pub holder: Holder,
    /// Its name.
    pub name: String,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Now,
    /// With all that still lies there.
    Oldest,
}

/// From where messages are delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From this position on.
    Position(i64),
    /// From what was published at this time, in milliseconds since 1970, UTC.
    Time(i64),
}

/// What of a topic is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The newest messages.
    Latest,
    /// The first ones from there on.
    From(From),
}

/// What became of a message that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The message's id; of one that entered before with the same dedup id, that one's.
    pub id: String,
    /// One with the same dedup id had entered before, so that this one did not.
    pub duplicate: bool,
    /// It had come through too many plugins, and is a dead letter.
    pub dead: bool,
}

/// A message for a consumer, which is to settle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// Which try this is: 1, 2, 3 …
    pub attempt: u32,
}

/// When a message is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After a pause that doubles with each try.
    Backoff,
    /// After so many milliseconds.
    After(i64),
}

/// What a consumer says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is handled.
    Ack,
    /// It is to be tried again, for this reason; after the last try it is a dead letter.
    Retry(Retry, String),
    /// It never will be handled, for this reason: it becomes a dead letter.
    Reject(String),
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id, which is not the message's.
    pub id: String,
    /// Whose subscription gave it up; the publisher's for one that entered no topic.
    pub holder: Holder,
    /// The subscription; empty for one that entered no topic.
    pub subscription: String,
    /// When.
    pub dead_ms: i64,
    /// Why, in one word: `rejected`, `attempts`, `lag`, `age`, `hops`.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The message; in lists without its payload.
    pub message: Message,
    /// Bytes that it takes.
    pub size: u64,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Those of this plugin.
    pub alias: Option<String>,
    /// Those of this topic.
    pub topic: Option<String>,
    /// Those after this id, for the next page.
    pub after: Option<String>,
}

/// A topic, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStats {
    /// The topic.
    pub topic: Topic,
    /// Whether nothing of it is on disk.
    pub ephemeral: bool,
    /// The last position.
    pub head: i64,
    /// Messages that lie in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that entered since the host started.
    pub published: u64,
}

/// A subscription, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionStats {
    /// The subscription.
    pub subscription: Subscription,
    /// Its patterns.
    pub patterns: Vec<TopicPattern>,
    /// Messages that wait for it, those with consumers included.
    pub lag: u64,
    /// Messages that are with consumers.
    pub in_flight: u64,
    /// Deliveries since the host started.
    pub delivered: u64,
    /// Messages that were handled since then.
    pub acked: u64,
    /// Tries that are to be repeated, since then.
    pub retried: u64,
}

/// What ended without being handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose subscription; empty where it is the topic's.
    pub holder: Holder,
    /// The subscription; empty where it is the topic's.
    pub subscription: String,
    /// The topic; `(forgotten)` for all those that are no more.
    pub topic: String,
    /// `expired`, `dead` (became a dead letter), `dead-dropped` (a dead letter gave way), `overflow`
    /// (gave way in an ephemeral topic), `unheard` (no subscription), `dedup-forgotten`.
    pub what: String,
    /// How many.
    pub count: u64,
}

/// The broker, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Topics.
    pub topics: Vec<TopicStats>,
    /// Subscriptions.
    pub subscriptions: Vec<SubscriptionStats>,
    /// What ended without being handled.
    pub counted: Vec<Counted>,
    /// Dead letters that there are.
    pub dead: u64,
}

/// Messages as they enter topics. Who reads too slowly misses some, and is told how many.
pub type Tail = broadcast::Receiver<Arc<Message>>;

/// Whether somebody who answers may be asked: whose it is, and the request's id. Called under the
/// broker's lock, and not to wait for anything.
pub type Whom<'a> = &'a (dyn Fn(&Holder, &str) -> bool + Send + Sync);

/// Anybody may be asked.
pub const ANYBODY: Whom<'static> = &|_, _| true;

/// A broker.
///
/// - A message is on disk before `publish` returns, unless its topic is ephemeral.
/// - It is delivered to each subscription that matches at least once, until it is settled; what is
///   settled is on disk before `settle` returns.
/// - Messages of one key are delivered in the order of their positions, one at a time; one that is
///   not settled holds back its key's, and nothing else. Those without a key have no order.
/// - Publishers are refused by their own quota or the topic's alone. A subscription that is too far
///   behind loses its oldest messages to dead letters, and so do those that have waited too long.
/// - What ends unhandled is a dead letter or counted.
/// - A topic that is empty and that nobody uses is forgotten after a while, and begins anew.
#[async_trait]
pub trait Broker: Send + Sync + std::fmt::Debug {
    /// Publishes a message.
    async fn publish(&self, publish: Publish) -> Result<Published, BrokerError>;

    /// Makes a subscription, or gives it other patterns; topics that it had before stay where
    /// they are.
    async fn subscribe(
        &self,
        subscription: &Subscription,
        patterns: &[TopicPattern],
        start: Start,
    ) -> Result<(), BrokerError>;

    /// Ends a subscription; whether it was there.
    async fn unsubscribe(&self, subscription: &Subscription) -> Result<bool, BrokerError>;

    /// Gives messages that wait, at most so many, without waiting for any.
    async fn fetch(
        &self,
        subscription: &Subscription,
        max: usize,
    ) -> Result<Vec<Delivery>, BrokerError>;

    /// Waits until `fetch` may give something: it may, and then gives nothing.
    async fn ready(&self, subscription: &Subscription) -> Result<(), BrokerError>;

    /// Settles a delivery.
    async fn settle(
        &self,
        subscription: &Subscription,
        delivery: &Delivery,
        outcome: Outcome,
    ) -> Result<(), BrokerError>;

    /// Has a subscription's messages of a topic delivered again, or skips some. Only topics whose
    /// operator keeps messages can be gone back in.
    async fn replay(
        &self,
        subscription: &Subscription,
        topic: &Topic,
        from: From,
    ) -> Result<(), BrokerError>;

    /// Asks whoever answers on a topic and waits: of several the first that `whom` lets be asked
    /// and that has room. Nothing of it is on disk: a request ends with the one who asks. A
    /// failure of whoever answers is this one's.
    async fn request(
        &self,
        publish: Publish,
        timeout_ms: u64,
        whom: Whom<'_>,
    ) -> Result<Answer, BrokerError>;

    /// Messages as they enter topics.
    fn tail(&self) -> Tail;

    /// Topics, by name.
    async fn topics(&self) -> Result<Vec<TopicStats>, BrokerError>;

    /// Messages that lie in a topic, by position: at most so many, with little more than so many
    /// bytes, and one at least where there is one. Nothing changes by it: a message is with its
    /// consumers or waits for them as before, and goes when they have handled it. What has ended
    /// is left out.
    async fn look(
        &self,
        topic: &Topic,
        at: Look,
        max: u32,
        bytes_max: u64,
    ) -> Result<Vec<Arc<Message>>, BrokerError>;

    /// Dead letters by id, the oldest first, at most so many.
    async fn dead_letters(
        &self,
        filter: &DeadFilter,
        max: u32,
    ) -> Result<Vec<DeadLetter>, BrokerError>;

    /// One with its payload.
    async fn dead_letter(&self, id: &str) -> Result<DeadLetter, BrokerError>;

    /// Delivers a dead letter once more, as if it were new, to the subscription that gave it up.
    async fn retry_dead(&self, id: &str) -> Result<(), BrokerError>;

    /// Removes a dead letter.
    async fn drop_dead(&self, id: &str) -> Result<(), BrokerError>;

    /// How it stands.
    async fn stats(&self) -> Result<Stats, BrokerError>;

    /// Does what is done now and then: removes what is settled or too old.
    async fn maintain(&self) -> Result<(), BrokerError>;
}
