//! Subscriptions: made, ended, moved, and kept from falling too far behind.

use std::sync::Arc;

use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::BusSubscription;

use super::Inner;
use super::deliver::READ_MAX;
use super::settle::Act;
use super::state::{SubscriptionState, unknown};
use super::window::{ENTRIES_MAX, Seen, Verdict};
use crate::broker::{From, Start, Subscription};
use crate::error::BrokerError;

/// Why messages that nobody has handled are given up.
#[derive(Clone, Copy)]
enum Beyond {
    /// There are too many.
    Lag,
    /// Those up to this position have waited for too long.
    Age(i64),
}

impl Inner {
    pub(super) async fn subscribe(
        &self,
        subscription: &Subscription,
        patterns: &[TopicPattern],
        start: Start,
    ) -> Result<(), BrokerError> {
        let _round = self.rounds.lock().await;
        let cursors = {
            let core = self.core();
            let before = core.subscriptions.get(subscription);
            if before.is_some_and(|state| state.patterns == patterns) {
                return Ok(());
            }
            let new = |topic: &Topic| {
                patterns.iter().any(|pattern| pattern.matches(topic))
                    && before.is_none_or(|state| !state.matches(topic))
            };
            let topics = core.topics.values().filter(|topic| new(&topic.topic));
            let cursor = |head| match start {
                Start::Now => head,
                Start::Oldest => 0,
            };
            topics
                .map(|topic| {
                    (
                        topic.topic.to_string(),
                        cursor(topic.head),
                        topic.memory.is_some(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let row = BusSubscription {
            holder: subscription.holder.clone(),
            name: subscription.name.clone(),
            patterns: serde_json::to_string(patterns).unwrap_or_default(),
        };
        let on_disk = cursors.iter().filter(|(_, _, memory)| !memory);
        let on_disk = on_disk.map(|(topic, position, _)| (topic.clone(), *position));
        self.store.bus_subscribe(row, on_disk.collect()).await?;
        let mut core = self.core();
        let core = &mut *core;
        let state = core
            .subscriptions
            .entry(subscription.clone())
            .or_insert_with(|| SubscriptionState::new(Vec::new()));
        state.patterns = patterns.to_vec();
        for (topic, position, _) in cursors {
            state.windows.remove(&topic);
            state.cursors.insert(topic, position);
        }
        for topic in core.topics.values_mut() {
            let name = topic.topic.as_str();
            let matches = state.matches(&topic.topic);
            let known = topic.subscribed.contains(subscription);
            if matches && !known {
                topic.subscribed.push(subscription.clone());
                if topic.head > state.cursor(name) {
                    state.wake(name);
                }
            } else if known && !matches {
                topic.subscribed.retain(|other| other != subscription);
                state.ready.remove(name);
            }
        }
        Ok(())
    }

    pub(super) async fn unsubscribe(
        &self,
        subscription: &Subscription,
    ) -> Result<bool, BrokerError> {
        let (holder, name) = (&subscription.holder, &subscription.name);
        let was = self.store.bus_unsubscribe(holder, name).await?;
        let mut core = self.core();
        core.subscriptions.remove(subscription);
        let core = &mut *core;
        for topic in core.topics.values_mut() {
            if topic.subscribed.contains(subscription) {
                topic.subscribed.retain(|other| other != subscription);
                core.to_trim.insert(topic.topic.to_string());
            }
        }
        self.upkeep.notify_one();
        Ok(was)
    }

    pub(super) async fn replay(
        &self,
        subscription: &Subscription,
        topic: &Topic,
        from: From,
    ) -> Result<(), BrokerError> {
        let name = topic.as_str();
        let (head, kept, ephemeral) = {
            let core = self.core();
            let state = core
                .topics
                .get(name)
                .filter(|topic| topic.subscribed.contains(subscription));
            let state = state.ok_or_else(|| {
                BrokerError::NotFound(format!("the subscription has no topic `{topic}`"))
            })?;
            (
                state.head,
                state.settings.keep_ms.is_some(),
                state.memory.is_some(),
            )
        };
        if ephemeral {
            return Err(BrokerError::Invalid(format!(
                "`{topic}` is ephemeral: nothing of it is kept"
            )));
        }
        let position = match from {
            From::Position(position) => position.saturating_sub(1),
            From::Time(time_ms) => self.store.bus_before(name, time_ms).await?,
        };
        let position = position.clamp(0, head);
        let fetching = {
            let core = self.core();
            let state = core.subscriptions.get(subscription);
            let state = state.ok_or_else(|| unknown(subscription))?;
            if position < state.cursor(name) && !kept {
                return Err(BrokerError::Invalid(format!(
                    "what was handled of `{topic}` is not kept; set `keep` under [messages.topics.\"{topic}\"]"
                )));
            }
            state.fetching.clone()
        };
        let _one = fetching.lock().await;
        let (holder, own) = (&subscription.holder, &subscription.name);
        self.store.bus_seek(holder, own, name, position).await?;
        let mut core = self.core();
        if let Some(state) = core.subscriptions.get_mut(subscription) {
            let held = state.windows.remove(name).map_or(0, |window| window.held());
            state.in_flight = state.in_flight.saturating_sub(held);
            state.excepted.remove(name);
            state.cursors.insert(name.to_owned(), position);
            state.wake(name);
        }
        Ok(())
    }

    /// Gives the oldest messages of a subscription that is too far behind up.
    pub(super) async fn shed(
        &self,
        subscription: &Subscription,
        topic: &str,
    ) -> Result<(), BrokerError> {
        self.give_up(subscription, topic, Beyond::Lag).await
    }

    /// Gives up what has waited in a topic for longer than anything may.
    pub(super) async fn age(&self, topic: &str) -> Result<(), BrokerError> {
        let before_ms = self.now().saturating_sub(self.limits.age_ms);
        let last = self.store.bus_before(topic, before_ms).await?;
        let behind: Vec<Subscription> = {
            let core = self.core();
            let subscribed = core.topics.get(topic).map(|topic| topic.subscribed.iter());
            let behind = subscribed.into_iter().flatten().filter(|subscription| {
                let state = core.subscriptions.get(subscription);
                state.is_some_and(|state| {
                    state.settled(topic) < last || state.excepted.contains(topic)
                })
            });
            behind.cloned().collect()
        };
        for subscription in behind {
            self.give_up(&subscription, topic, Beyond::Age(last))
                .await?;
        }
        Ok(())
    }

    async fn give_up(
        &self,
        subscription: &Subscription,
        topic: &str,
        beyond: Beyond,
    ) -> Result<(), BrokerError> {
        let lag_max = self.limits.lag_max;
        let (reason, detail) = match beyond {
            Beyond::Lag => {
                let told = format!(
                    "more than {lag_max} messages waited for the subscription ([messages] lag)"
                );
                ("lag", told)
            }
            Beyond::Age(_) => {
                let hours = self.limits.age_ms / 3_600_000;
                let told = format!("it waited for more than {hours} hours ([messages] age)");
                ("age", told)
            }
        };
        let fetching = match self.core().subscriptions.get(subscription) {
            Some(state) => state.fetching.clone(),
            None => return Ok(()),
        };
        let _one = fetching.lock().await;
        self.open_window(subscription, topic).await?;
        loop {
            let now = self.now();
            let (after, over) = {
                let core = self.core();
                let (Some(state), Some(of)) =
                    (core.subscriptions.get(subscription), core.topics.get(topic))
                else {
                    return Ok(());
                };
                let Some(window) = state.windows.get(topic) else {
                    return Ok(());
                };
                let (over, wanted) = match beyond {
                    Beyond::Lag => {
                        let over = state.lag(of).saturating_sub(lag_max);
                        let over = usize::try_from(over).unwrap_or(usize::MAX).min(READ_MAX);
                        let waiting = window.len().saturating_sub(window.held());
                        (over, over.min(ENTRIES_MAX).saturating_sub(waiting))
                    }
                    Beyond::Age(last) if window.read() < last => {
                        (READ_MAX, READ_MAX.min(window.room()))
                    }
                    Beyond::Age(_) => (READ_MAX, 0),
                };
                if over == 0 {
                    return Ok(());
                }
                ((wanted > 0).then(|| (window.read(), wanted)), over)
            };
            if let Some((after, count)) = after {
                let messages = self.read(topic, after, count).await?;
                let mut core = self.core();
                if let Some(state) = core.subscriptions.get_mut(subscription) {
                    state.change(topic, |window| {
                        window.offer(messages.iter().map(|message| Seen {
                            position: message.position,
                            key: message.key.as_deref().map(Arc::from),
                            expires_ms: message.expires_ms,
                        }));
                    });
                }
            }
            let oldest = {
                let mut core = self.core();
                let Some(state) = core.subscriptions.get_mut(subscription) else {
                    return Ok(());
                };
                let until = now.saturating_add(self.limits.held_ms);
                let up_to = match beyond {
                    Beyond::Lag => i64::MAX,
                    Beyond::Age(last) => last,
                };
                state.change(topic, |window| window.take_oldest(over, up_to, until))
            };
            if oldest.is_empty() {
                return Ok(());
            }
            let acts = oldest.into_iter().map(|(position, attempt)| Act {
                topic: topic.to_owned(),
                position,
                attempt,
                verdict: Verdict::Done,
                dead: Some((reason, detail.clone())),
                count: Some("dead"),
            });
            self.act(subscription, acts.collect()).await?;
        }
    }
}
