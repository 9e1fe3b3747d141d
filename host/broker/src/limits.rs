//! What bounds the broker. Times are milliseconds, sizes bytes.

use std::sync::Arc;

use portreeve_manifest::grant::{Topic, TopicPattern};

/// Milliseconds since 1970, UTC. It may jump; the broker's own time never goes back.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The system's clock as it was at the start, and from then on the time that passes: a clock that
/// is set while the host runs moves no message.
pub fn system_clock() -> Clock {
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    let start = std::time::Instant::now();
    Arc::new(move || {
        let passed = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
        wall.saturating_add(passed)
    })
}

/// What holds for some topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Nothing of it is on disk: a message that is not handled when the host ends is gone, and
    /// the oldest give way when there are too many, counted.
    pub ephemeral: bool,
    /// How long messages are kept after they were handled, for replays; none where they go.
    pub keep_ms: Option<i64>,
    /// Most messages that may lie in it.
    pub messages_max: u64,
    /// Most bytes that may lie in it.
    pub bytes_max: u64,
    /// Messages that may enter in a second.
    pub rate: u32,
    /// How long a dedup id is remembered.
    pub dedup_ms: i64,
    /// Subscriptions that a message may go to.
    pub fan_out_max: usize,
}

impl Default for TopicSettings {
    fn default() -> TopicSettings {
        TopicSettings {
            ephemeral: false,
            keep_ms: None,
            messages_max: 100_000,
            bytes_max: 256 << 20,
            rate: 5_000,
            dedup_ms: 10 * 60_000,
            fan_out_max: 64,
        }
    }
}

/// What bounds the broker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Settings of topics; the first pattern that matches counts, then the default.
    pub topics: Vec<(TopicPattern, TopicSettings)>,
    /// Of all other topics.
    pub topic: TopicSettings,
    /// Topics that there may be.
    pub topics_max: usize,
    /// After which an empty topic that nobody uses is forgotten, or at once where there are too
    /// many.
    pub topic_idle_ms: i64,
    /// Bytes of a message: payload, headers and key.
    pub message_bytes_max: usize,
    /// Messages that one plugin may publish in a second.
    pub publisher_rate: u32,
    /// Bytes that one plugin may publish in a second.
    pub publisher_bytes: u64,
    /// Messages of one topic that a subscription may be behind; the oldest beyond become dead
    /// letters.
    pub lag_max: u64,
    /// How long a message may wait, from when it was published; then it becomes a dead letter.
    pub age_ms: i64,
    /// Messages of one subscription that may be with consumers at a time.
    pub in_flight_max: usize,
    /// How long a consumer may have a message before it is given to another.
    pub held_ms: i64,
    /// How often a message is tried.
    pub attempts_max: u32,
    /// The first pause between two tries; it doubles with each.
    pub backoff_ms: i64,
    /// The longest pause.
    pub backoff_max_ms: i64,
    /// Plugins through which a message may have come.
    pub hops_max: usize,
    /// The longest delay.
    pub delay_max_ms: i64,
    /// Dead letters of a subscription; the oldest give way.
    pub dead_max: u32,
    /// How long a dead letter is kept.
    pub dead_ms: i64,
    /// Dedup ids of a topic that are remembered; the oldest give way.
    pub dedup_max: u32,
    /// The longest time to wait for an answer.
    pub request_ms_max: i64,
    /// Requests that one responder has not answered yet.
    pub requests_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        const DAY_MS: i64 = 86_400_000;
        Limits {
            topics: Vec::new(),
            topic: TopicSettings::default(),
            topics_max: 10_000,
            topic_idle_ms: 3_600_000,
            message_bytes_max: 256 << 10,
            publisher_rate: 1_000,
            publisher_bytes: 8 << 20,
            lag_max: 50_000,
            age_ms: 90 * DAY_MS,
            in_flight_max: 256,
            held_ms: 5 * 60_000,
            attempts_max: 8,
            backoff_ms: 1_000,
            backoff_max_ms: 5 * 60_000,
            hops_max: 16,
            delay_max_ms: 30 * DAY_MS,
            dead_max: 1_000,
            dead_ms: 30 * DAY_MS,
            dedup_max: 100_000,
            request_ms_max: 60_000,
            requests_max: 256,
        }
    }
}

impl Limits {
    /// The settings of a topic.
    pub fn of(&self, topic: &Topic) -> &TopicSettings {
        let own = self
            .topics
            .iter()
            .find(|(pattern, _)| pattern.matches(topic));
        own.map_or(&self.topic, |(_, settings)| settings)
    }

    /// The pause before the try after this one.
    pub fn backoff(&self, attempt: u32) -> i64 {
        let doubled = 1_i64
            .checked_shl(attempt.saturating_sub(1).min(40))
            .unwrap_or(i64::MAX);
        self.backoff_ms
            .saturating_mul(doubled)
            .min(self.backoff_max_ms)
    }
}
