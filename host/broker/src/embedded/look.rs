//! Looking at what lies in topics: nothing is taken, and nobody's place in them changes.

use std::sync::Arc;

use portreeve_manifest::grant::Topic;
use portreeve_state::BusMessage;

use super::Inner;
use super::state::TopicState;
use crate::broker::{From, Look, TopicStats};
use crate::error::BrokerError;
use crate::message::Message;

impl TopicStats {
    pub(super) fn of(topic: &TopicState) -> TopicStats {
        TopicStats {
            topic: topic.topic.clone(),
            ephemeral: topic.memory.is_some(),
            head: topic.head,
            messages: topic.messages,
            bytes: topic.bytes,
            published: topic.published,
        }
    }
}

impl Inner {
    pub(super) fn topics(&self) -> Vec<TopicStats> {
        let mut topics: Vec<TopicStats> = self.core().topics.values().map(TopicStats::of).collect();
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        topics
    }

    pub(super) async fn look(
        &self,
        topic: &Topic,
        at: Look,
        max: u32,
        bytes_max: u64,
    ) -> Result<Vec<Arc<Message>>, BrokerError> {
        let now = self.now();
        let lasts = |expires_ms: Option<i64>| expires_ms.is_none_or(|end| end > now);
        {
            let core = self.core();
            let state = core.topics.get(topic.as_str());
            let state = state.ok_or_else(|| {
                BrokerError::NotFound(format!("there is no topic `{topic}`; topics come with their first message, and go some time after their last"))
            })?;
            if let Some(memory) = &state.memory {
                let log = memory.log.iter().filter(|one| lasts(one.expires_ms));
                return Ok(some_of(log, at, max, bytes_max));
            }
        }
        let name = topic.as_str();
        let mut after = match at {
            Look::Latest => {
                let latest = self.store.bus_latest(name, now, max, bytes_max);
                let mut rows = latest.await?;
                rows.reverse();
                return taken(rows, lasts);
            }
            Look::From(From::Position(position)) => position.saturating_sub(1),
            Look::From(From::Time(time_ms)) => self.store.bus_before(name, time_ms).await?,
        };
        loop {
            let rows = self.store.bus_read(name, after, max, bytes_max).await?;
            let Some(last) = rows.last() else {
                return Ok(Vec::new());
            };
            after = last.position;
            let messages = taken(rows, lasts)?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }
}

fn taken(
    rows: Vec<BusMessage>,
    lasts: impl Fn(Option<i64>) -> bool,
) -> Result<Vec<Arc<Message>>, BrokerError> {
    let rows = rows.into_iter().filter(|row| lasts(row.expires_ms));
    rows.map(|row| Ok(Arc::new(Message::from_row(row)?)))
        .collect()
}

/// The same of what is in memory.
fn some_of<'a>(
    log: impl DoubleEndedIterator<Item = &'a Arc<Message>>,
    at: Look,
    max: u32,
    bytes_max: u64,
) -> Vec<Arc<Message>> {
    let mut bytes = 0_u64;
    let within = |one: &&Arc<Message>| {
        let before = bytes;
        bytes = bytes.saturating_add(one.payload.len() as u64);
        before < bytes_max
    };
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    match at {
        Look::Latest => {
            let latest = log.rev().take(max).take_while(within);
            let mut latest: Vec<_> = latest.cloned().collect();
            latest.reverse();
            latest
        }
        Look::From(from) => {
            let before = |one: &&Arc<Message>| match from {
                From::Position(position) => one.position < position,
                From::Time(time_ms) => one.time_ms < time_ms,
            };
            let rest = log.skip_while(before);
            rest.take(max).take_while(within).cloned().collect()
        }
    }
}
