//! What is done now and then, and what operators ask for.

use std::sync::Arc;

use portreeve_state::{BusDead, BusDeadFilter, BusSweep, BusTrim};

use super::Inner;
use super::forget::FORGOTTEN;
use super::window::Seen;
use crate::broker::{
    Counted, DeadFilter, DeadLetter, Stats, Subscription, SubscriptionStats, TopicStats,
};
use crate::error::BrokerError;
use crate::message::{Message, Publish};

/// Rows of one write: publishers wait for it.
const ROWS_MAX: u32 = 1_000;

/// Delayed messages of one write; each may be as long as a message may be.
const RELEASE_MAX: u32 = 64;

/// Between two looks at how long messages have waited, each of which reads of every topic.
const AGED_EVERY_MS: i64 = 3_600_000;

impl Inner {
    /// One round of all of it.
    pub(super) async fn round(&self) -> Result<(), BrokerError> {
        let _round = self.rounds.lock().await;
        if self.core().delayed_due(self.now()) {
            self.release_delayed().await?;
        }
        let shed = std::mem::take(&mut self.core().to_shed);
        for (subscription, topic) in shed {
            self.shed(&subscription, &topic).await?;
        }
        for topic in self.to_age() {
            self.age(&topic).await?;
        }
        let (trim, kept) = {
            let mut core = self.core();
            let kept = core
                .topics
                .values()
                .filter(|topic| topic.settings.keep_ms.is_some() && topic.messages > 0);
            let kept: Vec<String> = kept.map(|topic| topic.topic.to_string()).collect();
            (std::mem::take(&mut core.to_trim), kept)
        };
        for topic in trim.into_iter().chain(kept) {
            self.trim(&topic, false).await?;
        }
        let now_ms = self.now();
        let sweep = BusSweep {
            now_ms,
            dead_before_ms: now_ms.saturating_sub(self.limits.dead_ms),
            dedup_max: self.limits.dedup_max,
        };
        self.store.bus_sweep(sweep).await?;
        self.forget(self.limits.topic_idle_ms).await?;
        Ok(())
    }

    /// Topics in which something may have waited too long: all on disk, now and then.
    fn to_age(&self) -> Vec<String> {
        let now = self.now();
        let mut core = self.core();
        if now < core.aged_ms {
            return Vec::new();
        }
        core.aged_ms = now.saturating_add(AGED_EVERY_MS.min(self.limits.age_ms));
        let topics = core.topics.values();
        let some = topics.filter(|topic| topic.messages > 0 && topic.memory.is_none());
        some.map(|topic| topic.topic.to_string()).collect()
    }

    /// Delayed messages that are due enter their topics.
    pub(super) async fn release_delayed(&self) -> Result<(), BrokerError> {
        loop {
            let now = self.now();
            let (heads, next) = self.store.bus_release(now, RELEASE_MAX).await?;
            let released = !heads.is_empty();
            let mut told = Vec::new();
            {
                let mut core = self.core();
                core.next_due_ms = next;
                for (topic, head) in heads {
                    if let Some(state) = core.topics.get_mut(&topic) {
                        told.push((topic.clone(), state.head));
                        state.head = state.head.max(head);
                    }
                    if core.entered(&topic, self.limits.lag_max) {
                        self.upkeep.notify_one();
                    }
                }
            }
            if self.tail.receiver_count() > 0 {
                for (topic, after) in told {
                    let rows = self
                        .store
                        .bus_read(&topic, after, RELEASE_MAX, u64::MAX)
                        .await?;
                    for row in rows {
                        let _ = self.tail.send(Arc::new(Message::from_row(row)?));
                    }
                }
            }
            if !released || next.is_none_or(|next| next > now) {
                return Ok(());
            }
        }
    }

    /// Removes what every subscription of a topic is past; with `force` also what is kept for
    /// replays.
    pub(super) async fn trim(&self, topic: &str, force: bool) -> Result<(), BrokerError> {
        let now = self.now();
        let trim = {
            let mut core = self.core();
            if core.trim_memory(topic) {
                return Ok(());
            }
            let Some(state) = core.topics.get(topic) else {
                return Ok(());
            };
            let up_to = core.settled_by_all(topic, state);
            if state.messages == 0 {
                return Ok(());
            }
            let keep = state.settings.keep_ms.filter(|_| !force);
            BusTrim {
                topic: topic.to_owned(),
                up_to: up_to.unwrap_or(state.head),
                before_ms: keep.map_or(i64::MAX, |keep| now.saturating_sub(keep)),
                count: up_to.is_none().then_some("unheard"),
                rows_max: ROWS_MAX,
            }
        };
        loop {
            let (messages, bytes) = self.store.bus_trim(trim.clone()).await?;
            if let Some(state) = self.core().topics.get_mut(topic) {
                state.messages = state.messages.saturating_sub(messages);
                state.bytes = state.bytes.saturating_sub(bytes);
            }
            if messages < u64::from(ROWS_MAX) || force {
                return Ok(());
            }
        }
    }

    pub(super) async fn dead_letters(
        &self,
        filter: &DeadFilter,
        max: u32,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        let filter = BusDeadFilter {
            alias: filter.alias.clone(),
            topic: filter.topic.clone(),
            after: filter.after.clone(),
        };
        let rows = self.store.bus_dead(&filter, max).await?;
        rows.into_iter().map(letter).collect()
    }

    pub(super) async fn dead_letter(&self, id: &str) -> Result<DeadLetter, BrokerError> {
        let row = self.store.bus_dead_one(id).await?;
        letter(row.ok_or_else(|| none(id))?)
    }

    pub(super) async fn retry_dead(&self, id: &str) -> Result<(), BrokerError> {
        let dead = self.dead_letter(id).await?;
        if dead.message.position == 0 {
            return self.publish_dead(dead).await;
        }
        let subscription = Subscription {
            holder: dead.holder.clone(),
            name: dead.subscription.clone(),
        };
        let topic = dead.message.topic.as_str();
        let ephemeral = {
            let core = self.core();
            if !core.subscriptions.contains_key(&subscription) {
                return Err(BrokerError::NotFound(format!(
                    "`{}` no longer has the subscription `{}` that gave it up; drop it, or publish it again",
                    subscription.holder.alias, subscription.name
                )));
            }
            let topic = core.topics.get(topic);
            topic.is_some_and(|topic| topic.memory.is_some())
        };
        if ephemeral {
            return self.publish_dead(dead).await;
        }
        let now = self.now();
        let put_back = self.store.bus_revive(id, now).await?;
        let put_back = put_back.ok_or_else(|| none(id))?;
        let mut core = self.core();
        let core = &mut *core;
        if let Some(of) = core.topics.get_mut(topic).filter(|_| put_back) {
            of.messages = of.messages.saturating_add(1);
            of.bytes = of.bytes.saturating_add(dead.size);
        }
        if let Some(state) = core.subscriptions.get_mut(&subscription) {
            match state.windows.get_mut(topic) {
                Some(window) => {
                    let seen = Seen {
                        position: dead.message.position,
                        key: dead.message.key.as_deref().map(Arc::from),
                        expires_ms: None,
                    };
                    window.revive(seen, now);
                }
                None => {
                    state.excepted.insert(topic.to_owned());
                }
            }
            state.wake(topic);
        }
        Ok(())
    }

    /// One that entered no topic, or is in none any more, enters as a new one, with its way behind
    /// it forgotten.
    async fn publish_dead(&self, dead: DeadLetter) -> Result<(), BrokerError> {
        let mut publish = Publish::new(
            dead.message.topic,
            dead.message.payload,
            dead.message.sender,
        );
        publish.content_type = dead.message.content_type;
        publish.headers = dead.message.headers;
        publish.key = dead.message.key;
        publish.sender.path.clear();
        self.publish(publish).await?;
        self.drop_dead(&dead.id).await
    }

    pub(super) async fn drop_dead(&self, id: &str) -> Result<(), BrokerError> {
        match self.store.bus_dead_drop(id).await? {
            true => Ok(()),
            false => Err(none(id)),
        }
    }

    pub(super) async fn stats(&self) -> Result<Stats, BrokerError> {
        let counts = self.store.bus_counts().await?;
        let mut counted: Vec<Counted> = counts
            .into_iter()
            .map(|row| Counted {
                holder: row.holder,
                subscription: row.subscription,
                topic: row.topic,
                what: row.what,
                count: row.count,
            })
            .collect();
        let dead = self.store.bus_dead_count().await?;
        let core = self.core();
        let mut topics = Vec::with_capacity(core.topics.len());
        for topic in core.topics.values() {
            topics.push(TopicStats::of(topic));
            let memory = topic.memory.iter();
            let sums = memory
                .flat_map(|memory| [("overflow", memory.overflow), ("unheard", memory.unheard)]);
            counted.extend(
                sums.filter(|(_, count)| *count > 0)
                    .map(|(what, count)| Counted {
                        holder: portreeve_state::Holder::host(),
                        subscription: String::new(),
                        topic: topic.topic.to_string(),
                        what: what.to_owned(),
                        count,
                    }),
            );
        }
        let (overflow, unheard) = core.forgotten;
        for (what, count) in [("overflow", overflow), ("unheard", unheard)] {
            if count > 0 {
                counted.push(Counted {
                    holder: portreeve_state::Holder::host(),
                    subscription: String::new(),
                    topic: FORGOTTEN.to_owned(),
                    what: what.to_owned(),
                    count,
                });
            }
        }
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        let mut subscriptions: Vec<SubscriptionStats> = core
            .subscriptions
            .iter()
            .map(|(subscription, state)| SubscriptionStats {
                subscription: subscription.clone(),
                patterns: state.patterns.clone(),
                lag: core
                    .topics
                    .values()
                    .filter(|topic| topic.subscribed.contains(subscription))
                    .map(|topic| state.lag(topic))
                    .sum(),
                in_flight: state.in_flight as u64,
                delivered: state.delivered,
                acked: state.acked,
                retried: state.retried,
            })
            .collect();
        subscriptions.sort_by(|a, b| a.subscription.cmp(&b.subscription));
        Ok(Stats {
            topics,
            subscriptions,
            counted,
            dead,
        })
    }
}

fn none(id: &str) -> BrokerError {
    BrokerError::NotFound(format!("there is no dead letter {id:?}"))
}

fn letter(row: BusDead) -> Result<DeadLetter, BrokerError> {
    Ok(DeadLetter {
        id: row.end.id,
        holder: row.holder,
        subscription: row.subscription,
        dead_ms: row.end.dead_ms,
        reason: row.end.reason,
        detail: row.end.detail,
        attempts: row.end.attempts,
        message: Message::from_row(row.message)?,
        size: row.size,
    })
}
