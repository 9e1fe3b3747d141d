//! Publishing: what may enter, and the task that has it written.

use std::sync::{Arc, Weak};

use portreeve_state::{BusAppend, BusAppended, BusDead, BusEnd};
use tokio::sync::{mpsc, oneshot};

use super::{BATCH_MAX, Inner};
use crate::broker::Published;
use crate::error::BrokerError;
use crate::message::{Message, Publish};

/// Bytes of one write, or one message more.
const BATCH_BYTES: u64 = 2 << 20;

/// Turns of other tasks in which nobody else publishes, before what there is is written.
const GATHERING_TURNS: u32 = 3;

/// After which a publisher that was refused for a full topic may try again.
const FULL_RETRY_MS: u64 = 1_000;

/// A message that is to be written, and who waits for it.
pub(super) struct Job {
    append: BusAppend,
    message: Message,
    done: oneshot::Sender<Result<BusAppended, BrokerError>>,
}

impl Inner {
    pub(super) async fn publish(&self, publish: Publish) -> Result<Published, BrokerError> {
        publish.check()?;
        let limits = &self.limits;
        let now = self.now();
        let quota = |what: &str, used: u64, allowed: u64, setting| BrokerError::Quota {
            what: what.to_owned(),
            used,
            allowed,
            setting,
        };
        let most = limits.message_bytes_max as u64;
        if publish.bytes() as u64 > most {
            let used = publish.bytes() as u64;
            return Err(quota(
                "bytes of a message",
                used,
                most,
                "[messages] message-bytes",
            ));
        }
        let delay = i64::try_from(publish.delay_ms).unwrap_or(i64::MAX);
        if delay > limits.delay_max_ms {
            let most = u64::try_from(limits.delay_max_ms).unwrap_or(0);
            return Err(quota(
                "milliseconds of delay",
                publish.delay_ms,
                most,
                "[messages] delay",
            ));
        }
        let mut message = Message::new(&publish, self.ids.next(now)?, now);
        if message.sender.path.len() >= limits.hops_max {
            self.admit_publisher(&message, now)?;
            return self.bury_looping(message, now).await;
        }
        let bytes = message.to_row().size();
        if self.core().is_full_for(&message.topic, limits.topics_max) {
            // What is empty gives way to what is not.
            while self.forget(0).await? {}
        }
        let gate = self.gate.read().await;
        if self.admit(&message, bytes, now)? {
            // What is settled already makes room, before anybody is refused.
            self.trim(message.topic.as_str(), true).await?;
            if self.admit(&message, bytes, now)? {
                let core = self.core();
                let topic = core.topics.get(message.topic.as_str());
                let used = topic.map_or((0, 0, 0, 0), |topic| {
                    let settings = &topic.settings;
                    (
                        topic.messages,
                        settings.messages_max,
                        topic.bytes,
                        settings.bytes_max,
                    )
                });
                let full = used.0 >= used.1;
                return Err(BrokerError::Limited {
                    what: format!(
                        "{} in the topic `{}`",
                        if full { "messages" } else { "bytes" },
                        message.topic
                    ),
                    used: if full { used.0 } else { used.2 },
                    allowed: if full { used.1 } else { used.3 },
                    setting: if full {
                        "[messages.topics.\"TOPIC\"] messages"
                    } else {
                        "[messages.topics.\"TOPIC\"] bytes"
                    },
                    retry_ms: FULL_RETRY_MS,
                });
            }
        }
        let id = message.id.clone();
        if let Some(entered) = self.enter_memory(&mut message, &publish)? {
            return Ok(entered);
        }
        let dedup_ms = {
            let core = self.core();
            let topic = core.topics.get(message.topic.as_str());
            topic.map_or(0, |topic| topic.settings.dedup_ms)
        };
        let (done, waiting) = oneshot::channel();
        let append = BusAppend {
            message: message.to_row(),
            due_ms: (delay > 0).then(|| now.saturating_add(delay)),
            dedup: publish
                .dedup_id
                .map(|id| (id, now.saturating_add(dedup_ms))),
        };
        let topic = message.topic.clone();
        let job = Job {
            append,
            message,
            done,
        };
        if self.publishing.try_send(job).is_err() {
            self.release(topic.as_str(), bytes);
            return Err(BrokerError::Limited {
                what: "messages that wait for the disk".to_owned(),
                used: super::PUBLISHING_MAX as u64,
                allowed: super::PUBLISHING_MAX as u64,
                setting: "[messages] publisher-rate of those that publish less",
                retry_ms: 100,
            });
        }
        drop(gate);
        match waiting.await.unwrap_or(Err(BrokerError::Closed))? {
            BusAppended::Duplicate(first) => Ok(Published {
                id: first,
                duplicate: true,
                dead: false,
            }),
            BusAppended::At(_) | BusAppended::Delayed => Ok(Published {
                id,
                duplicate: false,
                dead: false,
            }),
        }
    }

    pub(super) fn admit_publisher(&self, message: &Message, now: i64) -> Result<(), BrokerError> {
        let mut core = self.core();
        let bytes = message.payload.len() as u64;
        core.publisher_may(&message.sender.holder, bytes, &self.limits, now)?;
        core.publisher_takes(&message.sender.holder, bytes);
        Ok(())
    }

    /// Reserves room for a message; whether the topic has none, which nothing is reserved for.
    fn admit(&self, message: &Message, bytes: u64, now: i64) -> Result<bool, BrokerError> {
        let limits = &self.limits;
        let mut core = self.core();
        if core.is_full_for(&message.topic, limits.topics_max) {
            return Err(BrokerError::Quota {
                what: "topics".to_owned(),
                used: core.topics.len() as u64,
                allowed: limits.topics_max as u64,
                setting: "[messages] topics-max",
            });
        }
        core.publisher_may(&message.sender.holder, bytes, limits, now)?;
        let topic = core.topic(&message.topic, limits, now);
        let rate = topic.settings.rate;
        topic
            .rate
            .wait(1, now)
            .map_err(|retry_ms| BrokerError::Limited {
                what: format!("messages that may enter `{}` in a second", message.topic),
                used: u64::from(rate),
                allowed: u64::from(rate),
                setting: "[messages.topics.\"TOPIC\"] rate",
                retry_ms,
            })?;
        if topic.subscribed.len() > topic.settings.fan_out_max {
            return Err(BrokerError::Quota {
                what: format!("subscriptions to `{}`", message.topic),
                used: topic.subscribed.len() as u64,
                allowed: topic.settings.fan_out_max as u64,
                setting: "[messages.topics.\"TOPIC\"] fan-out",
            });
        }
        if topic.memory.is_none() {
            let messages = topic.messages.saturating_add(topic.pending.0);
            let all = topic
                .bytes
                .saturating_add(topic.pending.1)
                .saturating_add(bytes);
            if messages >= topic.settings.messages_max || all > topic.settings.bytes_max {
                return Ok(true);
            }
            topic.pending.0 = topic.pending.0.saturating_add(1);
            topic.pending.1 = topic.pending.1.saturating_add(bytes);
        }
        topic.rate.take(1);
        topic.used_ms = now;
        core.publisher_takes(&message.sender.holder, bytes);
        Ok(false)
    }

    /// What was reserved is no longer being written.
    fn release(&self, topic: &str, bytes: u64) {
        if let Some(topic) = self.core().topics.get_mut(topic) {
            topic.pending.0 = topic.pending.0.saturating_sub(1);
            topic.pending.1 = topic.pending.1.saturating_sub(bytes);
        }
    }

    /// Puts a message into a topic that is in memory alone; none where the topic is on disk.
    fn enter_memory(
        &self,
        message: &mut Message,
        publish: &Publish,
    ) -> Result<Option<Published>, BrokerError> {
        let mut core = self.core();
        let Some(topic) = core.topics.get_mut(message.topic.as_str()) else {
            return Ok(None);
        };
        if topic.memory.is_none() {
            return Ok(None);
        }
        if publish.delay_ms > 0 || publish.dedup_id.is_some() {
            return Err(BrokerError::Invalid(format!(
                "`{}` is ephemeral: its messages have neither a delay nor a dedup id",
                message.topic
            )));
        }
        topic.head = topic.head.saturating_add(1);
        topic.published = topic.published.saturating_add(1);
        message.position = topic.head;
        let message = Arc::new(message.clone());
        let heard = !topic.subscribed.is_empty();
        if let Some(memory) = &mut topic.memory {
            if heard {
                topic.messages = topic.messages.saturating_add(1);
                topic.bytes = topic.bytes.saturating_add(message.payload.len() as u64);
                memory.log.push_back(message.clone());
                while topic.messages > topic.settings.messages_max
                    || topic.bytes > topic.settings.bytes_max
                {
                    let Some(oldest) = memory.log.pop_front() else {
                        break;
                    };
                    topic.messages = topic.messages.saturating_sub(1);
                    topic.bytes = topic.bytes.saturating_sub(oldest.payload.len() as u64);
                    memory.overflow = memory.overflow.saturating_add(1);
                }
            } else {
                memory.unheard = memory.unheard.saturating_add(1);
            }
        }
        core.entered(message.topic.as_str(), u64::MAX);
        drop(core);
        let id = message.id.clone();
        let _ = self.tail.send(message);
        Ok(Some(Published {
            id,
            duplicate: false,
            dead: false,
        }))
    }

    /// Makes a dead letter of a message or a request that has come through too many plugins.
    pub(super) async fn bury_looping(
        &self,
        message: Message,
        now: i64,
    ) -> Result<Published, BrokerError> {
        let path = message.path_with_it().join(" -> ");
        let row = message.to_row();
        let dead = BusDead {
            holder: message.sender.holder.clone(),
            subscription: String::new(),
            end: BusEnd {
                id: self.ids.next(now)?,
                dead_ms: now,
                reason: "hops".to_owned(),
                detail: format!(
                    "it has come through {} plugins, and at most {} are allowed ([messages] hops): {path}",
                    message.sender.path.len(),
                    self.limits.hops_max
                ),
                attempts: 0,
            },
            size: row.size(),
            message: row,
        };
        self.store.bus_bury(dead, self.limits.dead_max).await?;
        Ok(Published {
            id: message.id,
            duplicate: false,
            dead: true,
        })
    }
}

/// Has what waits written, all at once, and tells those who wait when it is on disk.
pub(super) async fn run(inner: Weak<Inner>, mut jobs: mpsc::Receiver<Job>) {
    let mut next: Option<Job> = None;
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0_u64;
        match next.take() {
            Some(job) => batch.push(job),
            None => match jobs.recv().await {
                Some(job) => batch.push(job),
                None => return,
            },
        }
        let mut idle = 0;
        while batch.len() < BATCH_MAX {
            let Ok(job) = jobs.try_recv() else {
                if idle == GATHERING_TURNS {
                    break;
                }
                // Those who were told of the last write come back about now: one write for all
                // of them costs as much as one for the first.
                tokio::task::yield_now().await;
                idle = idle.saturating_add(1);
                continue;
            };
            idle = 0;
            bytes = bytes.saturating_add(job.append.message.size());
            if bytes > BATCH_BYTES {
                next = Some(job);
                break;
            }
            batch.push(job);
        }
        let Some(inner) = inner.upgrade() else {
            return;
        };
        inner.write(batch).await;
    }
}

impl Inner {
    async fn write(&self, batch: Vec<Job>) {
        let appends: Vec<BusAppend> = batch.iter().map(|job| job.append.clone()).collect();
        let appended = self.store.bus_append(appends, self.now()).await;
        for job in &batch {
            self.release(job.message.topic.as_str(), job.append.message.size());
        }
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => {
                for job in batch {
                    let _ = job.done.send(Err(error.clone().into()));
                }
                return;
            }
        };
        let mut told = Vec::new();
        {
            let mut core = self.core();
            let mut topics = std::collections::BTreeSet::new();
            for (job, appended) in batch.iter().zip(&appended) {
                let Some(topic) = core.topics.get_mut(job.message.topic.as_str()) else {
                    continue;
                };
                if matches!(appended, BusAppended::Duplicate(_)) {
                    continue;
                }
                topic.messages = topic.messages.saturating_add(1);
                topic.bytes = topic.bytes.saturating_add(job.append.message.size());
                match appended {
                    BusAppended::At(position) => {
                        topic.head = topic.head.max(*position);
                        topic.published = topic.published.saturating_add(1);
                        topics.insert(job.message.topic.to_string());
                        if self.tail.receiver_count() > 0 {
                            let mut message = job.message.clone();
                            message.position = *position;
                            told.push(Arc::new(message));
                        }
                    }
                    BusAppended::Delayed => {
                        let due = job.append.due_ms;
                        let next = core.next_due_ms.into_iter().chain(due).min();
                        if core.next_due_ms != next {
                            core.next_due_ms = next;
                            for state in core.subscriptions.values_mut() {
                                state.notify.notify_one();
                            }
                        }
                    }
                    BusAppended::Duplicate(_) => {}
                }
            }
            let mut behind = false;
            for topic in topics {
                behind |= core.entered(&topic, self.limits.lag_max);
            }
            if behind {
                self.upkeep.notify_one();
            }
        }
        for message in told {
            let _ = self.tail.send(message);
        }
        for (job, appended) in batch.into_iter().zip(appended) {
            let _ = job.done.send(Ok(appended));
        }
    }
}
