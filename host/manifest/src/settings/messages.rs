//! What bounds messages between plugins: `[messages]` in `portreeve.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::duration::HumanDuration;
use crate::grant::TopicPattern;
use crate::limits::{LimitError, in_range};
use crate::size::ByteSize;

const DAY_MS: u64 = 86_400_000;

/// What is set about messages; what is not set has the broker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagesSettings {
    /// Messages that one plugin may publish in a second.
    pub publisher_rate: Option<u64>,
    /// Bytes that one plugin may publish in a second.
    pub publisher_bytes: Option<ByteSize>,
    /// Bytes of one message.
    pub message_bytes: Option<ByteSize>,
    /// The longest delay.
    pub delay: Option<Duration>,
    /// Messages that a subscription may be behind.
    pub lag: Option<u64>,
    /// How long a message may wait.
    pub age: Option<Duration>,
    /// How often a message is tried.
    pub attempts: Option<u64>,
    /// Plugins through which a message may have come.
    pub hops: Option<u64>,
    /// Topics that there may be.
    pub topics_max: Option<u64>,
    /// Requests that wait for one plugin.
    pub requests: Option<u64>,
    /// Dead letters of one subscription.
    pub dead_letters: Option<u64>,
    /// Settings of some topics, by pattern; the more particular pattern counts.
    pub topics: BTreeMap<TopicPattern, TopicRule>,
}

/// What is set about some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TopicRule {
    /// Keep nothing of it on disk.
    pub ephemeral: bool,
    /// How long messages are kept after they were handled, for replays.
    pub keep: Option<HumanDuration>,
    /// Messages that may lie in it; 100,000 by default.
    pub messages: Option<u64>,
    /// Bytes that may lie in it; 256 MiB by default.
    pub bytes: Option<ByteSize>,
    /// Messages that may enter in a second; 5,000 by default.
    pub rate: Option<u64>,
    /// How long a dedup id is remembered; 10 minutes by default.
    pub dedup: Option<HumanDuration>,
    /// Subscriptions that a message may go to; 64 by default.
    pub fan_out: Option<u64>,
}

/// `[messages]`: messages between plugins.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawMessages {
    /// Messages that one plugin may publish in a second; 1,000 by default.
    publisher_rate: Option<u64>,
    /// Bytes that one plugin may publish in a second; 8 MiB by default.
    publisher_bytes: Option<ByteSize>,
    /// Bytes of one message; 256 KiB by default.
    message_bytes: Option<ByteSize>,
    /// The longest delay of a message; 30 days by default.
    delay: Option<HumanDuration>,
    /// Messages of one topic that a subscription may be behind, before its oldest become dead
    /// letters; 50,000 by default.
    lag: Option<u64>,
    /// How long a message may wait, from when it was published, before it becomes a dead letter; 90
    /// days by default.
    age: Option<HumanDuration>,
    /// How often a message is tried before it becomes a dead letter; 8 by default.
    attempts: Option<u64>,
    /// Plugins through which a message may have come; 16 by default.
    hops: Option<u64>,
    /// Topics that there may be; 10,000 by default.
    topics_max: Option<u64>,
    /// Requests that wait for one plugin; 256 by default.
    requests: Option<u64>,
    /// Dead letters of one subscription that are kept; 1,000 by default.
    dead_letters: Option<u64>,
    /// Some topics, by pattern: `[messages.topics."builds.>"]`.
    topics: BTreeMap<TopicPattern, TopicRule>,
}

impl MessagesSettings {
    /// The settings as they were written; what is wrong goes to `errors`, with its table below
    /// `[messages]`.
    pub(crate) fn read(
        raw: &RawMessages,
        errors: &mut Vec<(Vec<String>, LimitError)>,
    ) -> MessagesSettings {
        let mut wrong = Vec::new();
        let count = |name, value: Option<u64>, most: u64, wrong: &mut Vec<_>| {
            if let Some(value) = value {
                in_range(name, value, 1..=most, wrong);
            }
        };
        count("publisher-rate", raw.publisher_rate, 1_000_000, &mut wrong);
        count("lag", raw.lag, 10_000_000, &mut wrong);
        count("attempts", raw.attempts, 1_000, &mut wrong);
        count("hops", raw.hops, 1_000, &mut wrong);
        count("topics-max", raw.topics_max, 100_000, &mut wrong);
        count("requests", raw.requests, 10_000, &mut wrong);
        count("dead-letters", raw.dead_letters, 1_000_000, &mut wrong);
        if let Some(bytes) = raw.publisher_bytes {
            in_range("publisher-bytes", bytes, 1_024..=(1 << 40), &mut wrong);
        }
        if let Some(bytes) = raw.message_bytes {
            in_range("message-bytes", bytes, 1_024..=(16 << 20), &mut wrong);
        }
        if let Some(delay) = raw.delay {
            in_range("delay", delay, 1..=(400 * DAY_MS), &mut wrong);
        }
        if let Some(age) = raw.age {
            in_range("age", age, 60_000..=(4_000 * DAY_MS), &mut wrong);
        }
        errors.extend(wrong.drain(..).map(|error| (Vec::new(), error)));
        for (pattern, rule) in &raw.topics {
            count("messages", rule.messages, 10_000_000, &mut wrong);
            count("rate", rule.rate, 1_000_000, &mut wrong);
            count("fan-out", rule.fan_out, 10_000, &mut wrong);
            if let Some(bytes) = rule.bytes {
                in_range("bytes", bytes, 1_024..=(1 << 40), &mut wrong);
            }
            if let Some(keep) = rule.keep {
                in_range("keep", keep, 1_000..=(4_000 * DAY_MS), &mut wrong);
            }
            if let Some(dedup) = rule.dedup {
                in_range("dedup", dedup, 1_000..=(30 * DAY_MS), &mut wrong);
            }
            let table = vec!["topics".to_owned(), pattern.to_string()];
            errors.extend(wrong.drain(..).map(|error| (table.clone(), error)));
        }
        MessagesSettings {
            publisher_rate: raw.publisher_rate,
            publisher_bytes: raw.publisher_bytes,
            message_bytes: raw.message_bytes,
            delay: raw.delay.map(|delay| delay.0),
            lag: raw.lag,
            age: raw.age.map(|age| age.0),
            attempts: raw.attempts,
            hops: raw.hops,
            topics_max: raw.topics_max,
            requests: raw.requests,
            dead_letters: raw.dead_letters,
            topics: raw.topics.clone(),
        }
    }
}
