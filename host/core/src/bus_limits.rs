//! The broker's limits as `[messages]` of the operator's file sets them.

use std::time::Duration;

use portreeve_broker::{Limits, TopicSettings};
use portreeve_manifest::settings::MessagesSettings;

/// The broker's limits as the operator has set them.
pub(crate) fn limits(settings: &MessagesSettings) -> Limits {
    let mut limits = Limits::default();
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    if let Some(rate) = settings.publisher_rate {
        limits.publisher_rate = small(rate);
    }
    if let Some(bytes) = settings.publisher_bytes {
        limits.publisher_bytes = bytes.0;
    }
    if let Some(bytes) = settings.message_bytes {
        limits.message_bytes_max = bytes.as_usize();
    }
    if let Some(delay) = settings.delay {
        limits.delay_max_ms = ms(delay);
    }
    if let Some(lag) = settings.lag {
        limits.lag_max = lag;
    }
    if let Some(age) = settings.age {
        limits.age_ms = ms(age);
    }
    if let Some(attempts) = settings.attempts {
        limits.attempts_max = small(attempts);
    }
    if let Some(hops) = settings.hops {
        limits.hops_max = count(hops);
    }
    if let Some(topics) = settings.topics_max {
        limits.topics_max = count(topics);
    }
    if let Some(requests) = settings.requests {
        limits.requests_max = count(requests);
    }
    if let Some(dead) = settings.dead_letters {
        limits.dead_max = small(dead);
    }
    for (pattern, rule) in &settings.topics {
        let default = TopicSettings::default();
        let own = TopicSettings {
            ephemeral: rule.ephemeral,
            keep_ms: rule.keep.map(|keep| ms(keep.0)),
            messages_max: rule.messages.unwrap_or(default.messages_max),
            bytes_max: rule.bytes.map_or(default.bytes_max, |bytes| bytes.0),
            rate: rule.rate.map_or(default.rate, small),
            dedup_ms: rule.dedup.map_or(default.dedup_ms, |dedup| ms(dedup.0)),
            fan_out_max: rule.fan_out.map_or(default.fan_out_max, count),
        };
        limits.topics.push((pattern.clone(), own));
    }
    // The more particular one counts: one that is covered comes before what covers it.
    limits
        .topics
        .sort_by(|(a, _), (b, _)| match (a.covers(b), b.covers(a)) {
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            _ => b
                .as_str()
                .matches('.')
                .count()
                .cmp(&a.as_str().matches('.').count()),
        });
    limits
}
