//! What commands do with messages: publish, look on, see and settle dead letters.

use std::sync::Arc;

use portreeve_broker::{
    Broker, BrokerError, DeadFilter, DeadLetter, From, Holder, Publish, Sender, Stats,
    Subscription, from_event, to_event,
};
use portreeve_manifest::grant::Topic;
use portreeve_state::audit::{AuditEvent, AuditKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::call::{Caller, ProgressListener};
use crate::host::{Host, HostError};
use crate::tail::BusTail;

/// Dead letters of one page.
const PAGE: u32 = 200;

/// Something with messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusAct {
    /// Publishes an event of CloudEvents 1.0, of the host's own.
    Publish {
        /// The event.
        event: Value,
        /// How much later it enters its topic, in milliseconds.
        delay_ms: u64,
        /// When it ends, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Tells of messages as they enter topics, each as a report whose text is an event, until it
    /// is given up.
    Tail(BusTail),
    /// How it stands.
    Stats,
    /// Has a subscriber's messages of a topic delivered again from there on, or skips those
    /// before.
    Replay {
        /// The plugin, or `webhook:NAME`.
        subscriber: String,
        /// The topic.
        topic: Topic,
        /// From where on.
        from: ReplayFrom,
    },
    /// Dead letters.
    DeadList {
        /// Those of this plugin.
        alias: Option<String>,
        /// Those of this topic.
        topic: Option<String>,
        /// Those after this id.
        after: Option<String>,
    },
    /// A dead letter with what it says.
    DeadShow {
        /// Its id.
        id: String,
    },
    /// Has a dead letter delivered once more.
    DeadRetry {
        /// Its id.
        id: String,
    },
    /// Removes a dead letter.
    DeadDrop {
        /// Its id.
        id: String,
    },
}

/// From where messages are delivered again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayFrom {
    /// From this position on: 1, 2, 3 ...
    Position(i64),
    /// From what was published at this time, in milliseconds since 1970, UTC.
    Time(i64),
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusDone {
    /// It is published.
    Published {
        /// Its id.
        id: String,
        /// One with its dedup id had entered before.
        duplicate: bool,
    },
    /// It was looked on; messages that came too fast.
    Tailed {
        /// How many.
        missed: u64,
    },
    /// How it stands.
    Stats(BusStats),
    /// Dead letters.
    Dead(Vec<Value>),
    /// It is done.
    Done,
}

/// How messages stand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BusStats {
    /// Topics.
    pub topics: Vec<Value>,
    /// Subscriptions.
    pub subscriptions: Vec<Value>,
    /// What ended without being handled.
    pub counted: Vec<Value>,
    /// Dead letters.
    pub dead: u64,
}

impl std::convert::From<Stats> for BusStats {
    fn from(stats: Stats) -> BusStats {
        let topics = stats.topics.iter().map(|topic| {
            json!({
                "topic": topic.topic.as_str(), "ephemeral": topic.ephemeral, "head": topic.head,
                "messages": topic.messages, "bytes": topic.bytes, "published": topic.published,
            })
        });
        let subscriptions = stats.subscriptions.iter().map(|one| {
            json!({
                "plugin": subscriber(&one.subscription), "patterns": one.patterns,
                "lag": one.lag, "in-flight": one.in_flight, "delivered": one.delivered,
                "acked": one.acked, "retried": one.retried,
            })
        });
        let counted = stats.counted.iter().map(|one| {
            json!({
                "plugin": &*one.holder.alias, "topic": one.topic, "what": one.what,
                "count": one.count,
            })
        });
        BusStats {
            topics: topics.collect(),
            subscriptions: subscriptions.collect(),
            counted: counted.collect(),
            dead: stats.dead,
        }
    }
}

/// Whose a subscription is: a plugin's, or the host's own under its name.
fn subscriber(subscription: &Subscription) -> &str {
    match &*subscription.holder.alias {
        "" => &subscription.name,
        alias => alias,
    }
}

fn dead(letter: &DeadLetter, whole: bool) -> Value {
    let mut event = to_event(&letter.message);
    if !whole && let Some(event) = event.as_object_mut() {
        event.remove("data");
        event.remove("data_base64");
    }
    json!({
        "id": letter.id, "plugin": &*letter.holder.alias, "time": letter.dead_ms,
        "reason": letter.reason, "detail": letter.detail, "attempts": letter.attempts,
        "bytes": letter.size, "event": event,
    })
}

pub(crate) fn asked(error: BrokerError) -> HostError {
    match error {
        BrokerError::State(error) => HostError::State(error),
        other => HostError::Asked(other.to_string()),
    }
}

impl Host {
    /// How messages stand.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn bus_stats(&self) -> Result<BusStats, HostError> {
        Ok(self.post.broker.stats().await.map_err(asked)?.into())
    }

    /// Does something with messages. What changes something is on record first.
    ///
    /// # Errors
    /// What the broker refuses; the state can't be used; it can't be recorded.
    pub(crate) async fn bus(
        &self,
        act: BusAct,
        who: &Caller,
        progress: Option<Arc<dyn ProgressListener>>,
        cancel: CancellationToken,
    ) -> Result<BusDone, HostError> {
        let broker = &self.post.broker;
        match act {
            BusAct::Publish {
                event,
                delay_ms,
                ttl_ms,
            } => {
                let sender = Sender {
                    holder: Holder::host(),
                    principal: who.name.to_string(),
                    path: Vec::new(),
                };
                let publish = from_event(&event, sender)
                    .map_err(|error| HostError::Asked(error.to_string()))?;
                let publish = Publish {
                    delay_ms,
                    ttl_ms,
                    ..publish
                };
                let about = json!({ "topic": publish.topic.as_str() });
                let record = act_event(AuditKind::BusPublish, who, about);
                let publishing = async { broker.publish(publish).await.map_err(asked) };
                let (_, published) = self.on_record(record, publishing).await?;
                Ok(BusDone::Published {
                    id: published.id,
                    duplicate: published.duplicate,
                })
            }
            BusAct::Tail(tail) => self.tail(tail, progress, cancel).await,
            BusAct::Replay {
                subscriber: named,
                topic,
                from,
            } => {
                let stats = broker.stats().await.map_err(asked)?;
                let known = stats.subscriptions.into_iter();
                let mut known = known.map(|known| known.subscription);
                let subscription = known
                    .find(|known| subscriber(known) == named)
                    .ok_or_else(|| {
                        HostError::Asked(format!(
                            "`{named}` has no subscription; `portreeve bus stats` lists those there are"
                        ))
                    })?;
                let about = json!({ "subscriber": named, "topic": topic.as_str(), "from": from });
                let record = act_event(AuditKind::BusReplay, who, about);
                let from = match from {
                    ReplayFrom::Position(position) => From::Position(position),
                    ReplayFrom::Time(time_ms) => From::Time(time_ms),
                };
                let replaying = async {
                    let replayed = broker.replay(&subscription, &topic, from).await;
                    replayed.map_err(asked)
                };
                self.on_record(record, replaying).await?;
                Ok(BusDone::Done)
            }
            BusAct::Stats => Ok(BusDone::Stats(self.bus_stats().await?)),
            BusAct::DeadList {
                alias,
                topic,
                after,
            } => {
                let filter = DeadFilter {
                    alias,
                    topic,
                    after,
                };
                let letters = broker.dead_letters(&filter, PAGE).await.map_err(asked)?;
                let letters = letters.iter().map(|letter| dead(letter, false));
                Ok(BusDone::Dead(letters.collect()))
            }
            BusAct::DeadShow { id } => {
                let letter = broker.dead_letter(&id).await.map_err(asked)?;
                Ok(BusDone::Dead(vec![dead(&letter, true)]))
            }
            BusAct::DeadRetry { id } => {
                let record = act_event(AuditKind::BusDeadRetry, who, json!({ "id": id }));
                let retrying = async { broker.retry_dead(&id).await.map_err(asked) };
                self.on_record(record, retrying).await?;
                Ok(BusDone::Done)
            }
            BusAct::DeadDrop { id } => {
                let record = act_event(AuditKind::BusDeadDrop, who, json!({ "id": id }));
                let dropping = async { broker.drop_dead(&id).await.map_err(asked) };
                self.on_record(record, dropping).await?;
                Ok(BusDone::Done)
            }
        }
    }
}

fn act_event(kind: AuditKind, who: &Caller, body: Value) -> AuditEvent {
    let body: Map<String, Value> = match body {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    AuditEvent {
        caller: who.name.clone(),
        ..AuditEvent::host(kind, body)
    }
}
