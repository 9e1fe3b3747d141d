//! `portreeve bus tail`: messages as they enter topics, and before them those that are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portreeve_broker::{Broker, BrokerError, From, Look, Message, to_event};
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_runtime::ProgressReport;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::call::ProgressListener;
use crate::host::{Host, HostError};
use crate::messages::{BusDone, ReplayFrom, asked};

/// Messages that are read at a time, and their bytes.
const PAGE: (u32, u64) = (256, 1 << 20);

/// Between two looks whether somebody who reads slowly has room again.
const PAUSE: Duration = Duration::from_millis(2);

/// What is to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BusTail {
    /// Messages in these topics.
    pub pattern: TopicPattern,
    /// Ends after so many.
    pub count: Option<u64>,
    /// Those first that lie there from then on: topic by topic, each in its order. None: only
    /// what enters from now on.
    #[serde(default)]
    pub from: Option<ReplayFrom>,
}

/// One who looks on.
struct Looking {
    tail: BusTail,
    to: Option<Arc<dyn ProgressListener>>,
    cancel: CancellationToken,
    told: u64,
    /// Up to where each topic was told from what lies in it: a position and the time of the
    /// message there. A topic that was forgotten begins anew with later times.
    reached: HashMap<Topic, (i64, i64)>,
}

impl Looking {
    fn is_over(&self) -> bool {
        let enough = self.tail.count.is_some_and(|count| self.told >= count);
        enough || self.cancel.is_cancelled()
    }

    /// Tells of a message, once there is room for it.
    async fn tell(&mut self, message: &Message) {
        let Some(to) = &self.to else {
            return;
        };
        while !to.has_room() {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        to.progress(ProgressReport {
            done: 0.0,
            total: None,
            message: Some(to_event(message).to_string()),
        });
        self.told = self.told.saturating_add(1);
    }

    /// Notes up to where a topic was told.
    fn reach(&mut self, topic: &Topic, position: i64, time_ms: i64) {
        let reached = self.reached.entry(topic.clone()).or_default();
        *reached = (reached.0.max(position), reached.1.max(time_ms));
    }

    /// The last position that was told of a topic; 0 before any was.
    fn position(&self, topic: &Topic) -> i64 {
        let reached = self.reached.get(topic);
        reached.map_or(0, |(position, _)| *position)
    }

    /// Where to begin in a topic.
    fn from(&self, topic: &Topic, from: ReplayFrom) -> From {
        match (self.reached.get(topic), from) {
            (Some((position, _)), _) => From::Position(position.saturating_add(1)),
            (None, ReplayFrom::Position(position)) => From::Position(position),
            (None, ReplayFrom::Time(time_ms)) => From::Time(time_ms),
        }
    }

    /// Whether a message that enters is one to tell of.
    fn wants(&self, message: &Message) -> bool {
        let early =
            matches!(self.tail.from, Some(ReplayFrom::Position(first)) if message.position < first);
        let reached = self.reached.get(&message.topic);
        let told = reached.is_some_and(|(position, time_ms)| {
            message.position <= *position && message.time_ms <= *time_ms
        });
        !early && !told && self.tail.pattern.matches(&message.topic)
    }
}

impl Host {
    /// Tells of messages until it is given up.
    pub(crate) async fn tail(
        &self,
        tail: BusTail,
        to: Option<Arc<dyn ProgressListener>>,
        cancel: CancellationToken,
    ) -> Result<BusDone, HostError> {
        // From before what lies there is read: nothing falls in between.
        let mut entering = self.post.broker.tail();
        let from = tail.from;
        let mut looking = Looking {
            tail,
            to,
            cancel,
            told: 0,
            reached: HashMap::new(),
        };
        if let Some(from) = from {
            // What was handled and gone before is nothing that was missed.
            self.tell_kept(&mut looking, from).await?;
        }
        let mut missed = 0_u64;
        while !looking.is_over() {
            let message = tokio::select! {
                () = looking.cancel.cancelled() => break,
                message = entering.recv() => message,
            };
            match (message, from) {
                (Ok(message), _) if looking.wants(&message) => {
                    looking.tell(&message).await;
                    if from.is_some() {
                        looking.reach(&message.topic, message.position, message.time_ms);
                    }
                }
                (Ok(_), _) => {}
                (Err(RecvError::Lagged(_)), Some(from)) => {
                    let gone = self.tell_kept(&mut looking, from).await?;
                    missed = missed.saturating_add(gone);
                }
                (Err(RecvError::Lagged(some)), None) => missed = missed.saturating_add(some),
                (Err(RecvError::Closed), _) => break,
            }
        }
        Ok(BusDone::Tailed { missed })
    }

    /// Tells of what lies in topics and was not told yet; how many messages since then were gone
    /// already.
    async fn tell_kept(&self, looking: &mut Looking, from: ReplayFrom) -> Result<u64, HostError> {
        let broker = &self.post.broker;
        let (rows, bytes) = PAGE;
        let mut gone = 0_u64;
        for stats in broker.topics().await.map_err(asked)? {
            let topic = &stats.topic;
            if !looking.tail.pattern.matches(topic) {
                continue;
            }
            let before = looking.position(topic);
            let told = looking.told;
            loop {
                let at = Look::From(looking.from(topic, from));
                let messages = match broker.look(topic, at, rows, bytes).await {
                    Ok(messages) => messages,
                    // It was forgotten meanwhile.
                    Err(BrokerError::NotFound(_)) => break,
                    Err(error) => return Err(asked(error)),
                };
                if messages.is_empty() {
                    break;
                }
                for message in &messages {
                    if looking.is_over() {
                        return Ok(gone);
                    }
                    looking.tell(message).await;
                    looking.reach(topic, message.position, message.time_ms);
                }
            }
            looking.reach(topic, stats.head, 0);
            let entered = looking.position(topic).saturating_sub(before);
            let entered = u64::try_from(entered).unwrap_or(0);
            gone = gone.saturating_add(entered.saturating_sub(looking.told.saturating_sub(told)));
        }
        Ok(gone)
    }
}
