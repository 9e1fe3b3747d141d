//! What the broker keeps: topics, their messages, subscriptions, dead letters, counts.
//!
//! The broker decides; this writes down what it decided, all of one decision or nothing.

use async_trait::async_trait;

use crate::error::StateError;
use crate::rows::Holder;

/// A topic and what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusTopic {
    /// Its name.
    pub topic: String,
    /// The last position that was given: 1, 2, 3 …
    pub head: i64,
    /// Messages that lie in it, delayed ones included.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// Its topic.
    pub topic: String,
    /// Its place there; 0 for one that has none yet.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// When it was published, in milliseconds since 1970, UTC.
    pub time_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// What keeps it in order with others.
    pub key: Option<String>,
    /// What else is said of it, as JSON.
    pub envelope: String,
    /// What it says.
    pub payload: Vec<u8>,
}

impl BusMessage {
    /// Bytes that it counts for.
    pub fn size(&self) -> u64 {
        let key = self.key.as_ref().map_or(0, String::len);
        let text = self.topic.len().saturating_add(self.id.len());
        let more = self.envelope.len().saturating_add(self.payload.len());
        text.saturating_add(key).saturating_add(more) as u64
    }
}

/// A message to be put into its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusAppend {
    /// The message.
    pub message: BusMessage,
    /// When it enters the topic, where that is later.
    pub due_ms: Option<i64>,
    /// What must not enter the topic twice, and until when.
    pub dedup: Option<(String, i64)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusAppended {
    /// It is in its topic, at this position.
    At(i64),
    /// It will be.
    Delayed,
    /// One with its dedup id has entered before: that one's id.
    Duplicate(String),
}

/// A subscription: whose it is, what it is called, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusSubscription {
    /// Whose it is.
    pub holder: Holder,
    /// Its name, of which the holder has one.
    pub name: String,
    /// Patterns of topics, as JSON.
    pub patterns: String,
}

/// Up to where a subscription has settled a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusCursor {
    /// Whose the subscription is.
    pub holder: Holder,
    /// The subscription.
    pub subscription: String,
    /// The topic.
    pub topic: String,
    /// The position.
    pub position: i64,
}

/// A message up to the cursor that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusException {
    /// Its position.
    pub position: i64,
    /// How often it was tried.
    pub attempt: u32,
    /// When it may be tried again.
    pub due_ms: i64,
    /// Its key: read with it, from the message.
    pub key: Option<String>,
    /// When the message ends: read with it.
    pub expires_ms: Option<i64>,
}

/// Why and when a message was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEnd {
    /// The dead letter's id.
    pub id: String,
    /// When.
    pub dead_ms: i64,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusDead {
    /// Whose subscription gave it up; the publisher for one that entered no topic.
    pub holder: Holder,
    /// The subscription; empty for one that entered no topic.
    pub subscription: String,
    /// Why and when.
    pub end: BusEnd,
    /// The message; its payload is empty in lists.
    pub message: BusMessage,
    /// Bytes that the message counts for.
    pub size: u64,
}

/// What a subscription has settled of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusSettle {
    /// The topic.
    pub topic: String,
    /// Its cursor from now on.
    pub cursor: i64,
    /// Exceptions that are new or have changed.
    pub put: Vec<BusException>,
    /// Positions that are exceptions no longer.
    pub remove: Vec<i64>,
    /// Positions that are given up.
    pub dead: Vec<(i64, BusEnd)>,
    /// What is to be counted.
    pub counts: Vec<(&'static str, u64)>,
}

/// A count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusCount {
    /// Whose subscription; empty where it is the topic's.
    pub holder: Holder,
    /// The subscription; empty where it is the topic's.
    pub subscription: String,
    /// The topic.
    pub topic: String,
    /// What was counted.
    pub what: String,
    /// How many there were.
    pub count: u64,
}

/// What of a topic may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusTrim {
    /// The topic.
    pub topic: String,
    /// Up to this position.
    pub up_to: i64,
    /// What was published before this time.
    pub before_ms: i64,
    /// What they are counted as; nothing where every subscription has settled them.
    pub count: Option<&'static str>,
    /// Most rows of one write.
    pub rows_max: u32,
}

/// What bounds the stores that age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusSweep {
    /// The time.
    pub now_ms: i64,
    /// Dead letters from before this go.
    pub dead_before_ms: i64,
    /// Dedup ids of one topic that are kept.
    pub dedup_max: u32,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusDeadFilter {
    /// Those of this subscription's plugin.
    pub alias: Option<String>,
    /// Those of this topic.
    pub topic: Option<String>,
    /// Those after this id.
    pub after: Option<String>,
}

/// All that is needed to go on.
#[derive(Clone, Debug, Default)]
pub struct BusImage {
    /// Topics.
    pub topics: Vec<BusTopic>,
    /// Subscriptions.
    pub subscriptions: Vec<BusSubscription>,
    /// Cursors of subscriptions.
    pub cursors: Vec<BusCursor>,
    /// The newest time that is written anywhere in it.
    pub newest_ms: i64,
    /// When the next delayed message is due.
    pub next_due_ms: Option<i64>,
}

/// A store of messages. Writes happen in the order in which they are asked for.
#[async_trait]
pub trait BusStore: Send + Sync + std::fmt::Debug {
    /// All that is needed to go on.
    async fn bus_image(&self) -> Result<BusImage, StateError>;

    /// The exceptions of a subscription in a topic.
    async fn bus_exceptions(
        &self,
        holder: &Holder,
        subscription: &str,
        topic: &str,
    ) -> Result<Vec<BusException>, StateError>;

    /// The topics in which a subscription has exceptions.
    async fn bus_excepted(&self, holder: &Holder, name: &str) -> Result<Vec<String>, StateError>;

    /// Puts messages into their topics: all or none, in this order.
    async fn bus_append(
        &self,
        appends: Vec<BusAppend>,
        now_ms: i64,
    ) -> Result<Vec<BusAppended>, StateError>;

    /// Puts delayed messages that are due into their topics, in the order of their times; topics
    /// with their heads, and when the next is due.
    async fn bus_release(
        &self,
        now_ms: i64,
        rows_max: u32,
    ) -> Result<(Vec<(String, i64)>, Option<i64>), StateError>;

    /// Messages of a topic after a position, at most so many and little more than these bytes;
    /// one at least, where there is one.
    async fn bus_read(
        &self,
        topic: &str,
        after: i64,
        rows_max: u32,
        bytes_max: u64,
    ) -> Result<Vec<BusMessage>, StateError>;

    /// The newest messages of a topic that have not ended, the newest first, at most so many and
    /// little more than these bytes; one at least, where there is one.
    async fn bus_latest(
        &self,
        topic: &str,
        now_ms: i64,
        rows_max: u32,
        bytes_max: u64,
    ) -> Result<Vec<BusMessage>, StateError>;

    /// Messages of a topic by position; those that are gone are left out.
    async fn bus_at(&self, topic: &str, positions: &[i64]) -> Result<Vec<BusMessage>, StateError>;

    /// The last position before the first message that was published at a time or later; the
    /// last of all where none was, 0 where there is none. One that was delayed lies behind others
    /// that were published after it.
    async fn bus_before(&self, topic: &str, time_ms: i64) -> Result<i64, StateError>;

    /// Makes a subscription, or gives it other patterns; with its cursors, all or none.
    async fn bus_subscribe(
        &self,
        subscription: BusSubscription,
        cursors: Vec<(String, i64)>,
    ) -> Result<(), StateError>;

    /// Removes a subscription with its cursors and exceptions; its dead letters stay.
    async fn bus_unsubscribe(&self, holder: &Holder, name: &str) -> Result<bool, StateError>;

    /// Writes down what a subscription has settled. Dead letters beyond `dead_max` go, the oldest
    /// first, and are counted.
    async fn bus_settle(
        &self,
        holder: &Holder,
        name: &str,
        settles: Vec<BusSettle>,
        dead_max: u32,
    ) -> Result<(), StateError>;

    /// Moves a subscription's cursor of a topic and forgets its exceptions there.
    async fn bus_seek(
        &self,
        holder: &Holder,
        name: &str,
        topic: &str,
        position: i64,
    ) -> Result<(), StateError>;

    /// Writes down a dead letter that entered no topic.
    async fn bus_bury(&self, dead: BusDead, dead_max: u32) -> Result<(), StateError>;

    /// Removes what may go of a topic; how many messages and bytes there were.
    async fn bus_trim(&self, trim: BusTrim) -> Result<(u64, u64), StateError>;

    /// Forgets those of these topics in which nothing lies: no message, dedup id, exception or
    /// dead letter. Their cursors go, and their counts are added to those of `under`. Which ones
    /// are gone.
    async fn bus_forget(
        &self,
        topics: Vec<String>,
        under: &'static str,
    ) -> Result<Vec<String>, StateError>;

    /// Removes what has become too old or too much; how many rows there were.
    async fn bus_sweep(&self, sweep: BusSweep) -> Result<u64, StateError>;

    /// Dead letters without their payloads, by id.
    async fn bus_dead(
        &self,
        filter: &BusDeadFilter,
        rows_max: u32,
    ) -> Result<Vec<BusDead>, StateError>;

    /// A dead letter.
    async fn bus_dead_one(&self, id: &str) -> Result<Option<BusDead>, StateError>;

    /// Puts a dead letter back into the log as an exception of its subscription that is due at
    /// once; none where there is none, else whether the log no longer had it.
    async fn bus_revive(&self, id: &str, now_ms: i64) -> Result<Option<bool>, StateError>;

    /// Removes a dead letter; whether it was there.
    async fn bus_dead_drop(&self, id: &str) -> Result<bool, StateError>;

    /// The counts.
    async fn bus_counts(&self) -> Result<Vec<BusCount>, StateError>;

    /// How many dead letters there are.
    async fn bus_dead_count(&self) -> Result<u64, StateError>;
}
