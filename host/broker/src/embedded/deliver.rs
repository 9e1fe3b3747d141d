//! Delivering: who gets what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::settle::Act;
use super::state::{SubscriptionState, unknown};
use super::window::{Seen, Verdict, Window};
use super::{BATCH_MAX, Inner};
use crate::broker::{Delivery, Subscription};
use crate::error::BrokerError;
use crate::message::Message;

/// Messages of one read, and their bytes.
pub(super) const READ_MAX: usize = 256;
const READ_BYTES: u64 = 4 << 20;

/// Messages that were taken and that nobody has got yet.
struct Holding<'a> {
    inner: &'a Inner,
    subscription: &'a Subscription,
    taken: Vec<(String, i64, u32)>,
    /// The topic whose turn it is.
    turn: Option<String>,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() && self.turn.is_none() {
            return;
        }
        let now = self.inner.now();
        let mut core = self.inner.core();
        if let Some(state) = core.subscriptions.get_mut(self.subscription) {
            if let Some(topic) = self.turn.take() {
                state.wake(&topic);
            }
            for (topic, position, attempt) in self.taken.drain(..) {
                state.change(&topic, |window| window.give_back(position, attempt, now));
                state.wake(&topic);
            }
        }
    }
}

impl SubscriptionState {
    /// Does something with a window, where there is one, and keeps account of what is held.
    pub(super) fn change<T: Default>(
        &mut self,
        topic: &str,
        act: impl FnOnce(&mut Window) -> T,
    ) -> T {
        let Some(window) = self.windows.get_mut(topic) else {
            return T::default();
        };
        let before = window.held();
        let done = act(window);
        self.in_flight = self
            .in_flight
            .saturating_sub(before)
            .saturating_add(window.held());
        done
    }
}

impl Inner {
    pub(super) async fn ready(&self, subscription: &Subscription) -> Result<(), BrokerError> {
        loop {
            let now = self.now();
            let (notify, until) = {
                let mut core = self.core();
                let delayed = core.next_due_ms;
                let limits = &self.limits;
                let state = core
                    .subscriptions
                    .get_mut(subscription)
                    .ok_or_else(|| unknown(subscription))?;
                state.wake_due(now);
                let delayed_due = delayed.is_some_and(|due| due <= now);
                let room = state.in_flight < limits.in_flight_max;
                if room && (delayed_due || !state.ready.is_empty()) {
                    return Ok(());
                }
                let due = state.due.first().map(|(due, _)| *due);
                (state.notify.clone(), due.into_iter().chain(delayed).min())
            };
            match until.filter(|until| *until > now) {
                None => notify.notified().await,
                Some(until) => {
                    let wait = u64::try_from(until.saturating_sub(now)).unwrap_or(0);
                    let wait = Duration::from_millis(wait.clamp(1, 60_000));
                    let _ = tokio::time::timeout(wait, notify.notified()).await;
                }
            }
        }
    }

    pub(super) async fn fetch(
        &self,
        subscription: &Subscription,
        max: usize,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let now = self.now();
        if self.core().delayed_due(now) {
            self.release_delayed().await?;
        }
        let fetching = {
            let core = self.core();
            let state = core.subscriptions.get(subscription);
            state.ok_or_else(|| unknown(subscription))?.fetching.clone()
        };
        let _one = fetching.lock().await;
        let mut deliveries = Vec::new();
        let mut holding = Holding {
            inner: self,
            subscription,
            taken: Vec::new(),
            turn: None,
        };
        let mut acts = Vec::new();
        // Each topic has one turn.
        let mut turns = {
            let mut core = self.core();
            let state = core.subscriptions.get_mut(subscription);
            let state = state.ok_or_else(|| unknown(subscription))?;
            state.wake_due(now);
            state.ready.len()
        };
        while turns > 0 {
            turns -= 1;
            let next = {
                let mut core = self.core();
                let state = core.subscriptions.get_mut(subscription);
                let state = state.ok_or_else(|| unknown(subscription))?;
                let room = self.limits.in_flight_max.saturating_sub(state.in_flight);
                let wanted = max.saturating_sub(deliveries.len()).min(room);
                if wanted == 0 {
                    break;
                }
                state.next_ready().map(|topic| (topic, wanted))
            };
            let Some((topic, wanted)) = next else {
                break;
            };
            holding.turn = Some(topic.clone());
            let given = self.give(subscription, &topic, wanted, &mut holding, &mut acts);
            deliveries.extend(given.await?);
            holding.turn = None;
        }
        if !acts.is_empty() {
            // Whoever waits here is not held up by what has ended: it is tried again.
            if let Err(error) = self.act(subscription, acts).await {
                tracing::warn!(%error, "messages that have ended could not be removed yet");
            }
        }
        holding.taken.clear();
        let mut core = self.core();
        if let Some(state) = core.subscriptions.get_mut(subscription) {
            state.delivered = state.delivered.saturating_add(deliveries.len() as u64);
            if !state.ready.is_empty() {
                state.notify.notify_one();
            }
        }
        Ok(deliveries)
    }

    /// Gives messages of one topic.
    async fn give(
        &self,
        subscription: &Subscription,
        topic: &str,
        wanted: usize,
        holding: &mut Holding<'_>,
        acts: &mut Vec<Act>,
    ) -> Result<Vec<Delivery>, BrokerError> {
        self.open_window(subscription, topic).await?;
        let mut read: HashMap<i64, Arc<Message>> = HashMap::new();
        let mut given: Vec<(i64, u32)> = Vec::new();
        loop {
            let now = self.now();
            let until = now.saturating_add(self.limits.held_ms);
            let more = {
                let mut core = self.core();
                let core = &mut *core;
                let Some(state) = core.subscriptions.get_mut(subscription) else {
                    return Err(unknown(subscription));
                };
                let (attempts, left) =
                    (self.limits.attempts_max, wanted.saturating_sub(given.len()));
                let taken = state.change(topic, |window| window.take(now, left, until, attempts));
                for (position, attempt) in &taken.given {
                    holding.taken.push((topic.to_owned(), *position, *attempt));
                }
                given.extend(&taken.given);
                acts.extend(taken.expired.iter().map(|(position, attempt)| Act {
                    topic: topic.to_owned(),
                    position: *position,
                    attempt: *attempt,
                    verdict: Verdict::Done,
                    dead: None,
                    count: Some("expired"),
                }));
                acts.extend(taken.exhausted.iter().map(|(position, attempt)| Act {
                    topic: topic.to_owned(),
                    position: *position,
                    attempt: *attempt,
                    verdict: Verdict::Done,
                    dead: Some((
                        "attempts",
                        format!("it was given {attempt} times and never settled"),
                    )),
                    count: Some("dead"),
                }));
                let ended = !taken.expired.is_empty() || !taken.exhausted.is_empty();
                let head = core.topics.get(topic).map_or(0, |topic| topic.head);
                let Some(window) = state.windows.get(topic) else {
                    return Ok(Vec::new());
                };
                let left = wanted.saturating_sub(given.len());
                let unread = window.read() < head;
                if left == 0
                    || acts.len() >= BATCH_MAX
                    || (!unread && !ended)
                    || (unread && window.room() == 0)
                {
                    let ready = unread && window.room() > 0;
                    match window.next_due() {
                        Some(due) if due <= now => state.wake(topic),
                        _ if ready => state.wake(topic),
                        Some(due) => {
                            state.due.insert((due, topic.to_owned()));
                        }
                        None => {}
                    }
                    break;
                }
                unread.then(|| (window.read(), left.min(window.room()).min(READ_MAX), head))
            };
            if let Some((after, count, head)) = more {
                let messages = self.read(topic, after, count).await?;
                let mut core = self.core();
                if let Some(state) = core.subscriptions.get_mut(subscription) {
                    state.change(topic, |window| {
                        if messages.len() < count && messages.is_empty() {
                            window.skip_to(head);
                        }
                        window.offer(messages.iter().map(|message| Seen {
                            position: message.position,
                            key: message.key.as_deref().map(Arc::from),
                            expires_ms: message.expires_ms,
                        }));
                    });
                }
                read.extend(
                    messages
                        .into_iter()
                        .map(|message| (message.position, message)),
                );
            }
        }
        let missing: Vec<i64> = given
            .iter()
            .map(|(position, _)| *position)
            .filter(|position| !read.contains_key(position))
            .collect();
        if !missing.is_empty() {
            let found = self.read_at(topic, &missing).await?;
            read.extend(found.into_iter().map(|message| (message.position, message)));
        }
        let mut deliveries = Vec::with_capacity(given.len());
        for (position, attempt) in given {
            match read.get(&position) {
                Some(message) => deliveries.push(Delivery {
                    message: message.clone(),
                    attempt,
                }),
                // It gave way in an ephemeral topic, and was counted there.
                None => acts.push(Act {
                    topic: topic.to_owned(),
                    position,
                    attempt,
                    verdict: Verdict::Done,
                    dead: None,
                    count: None,
                }),
            }
        }
        Ok(deliveries)
    }

    /// Has a subscription's window of a topic in memory.
    pub(super) async fn open_window(
        &self,
        subscription: &Subscription,
        topic: &str,
    ) -> Result<(), BrokerError> {
        let cursor = {
            let core = self.core();
            let state = core.subscriptions.get(subscription);
            let state = state.ok_or_else(|| unknown(subscription))?;
            if state.windows.contains_key(topic) {
                return Ok(());
            }
            (state.cursor(topic), state.excepted.contains(topic))
        };
        let exceptions = match cursor.1 {
            true => {
                let (holder, name) = (&subscription.holder, &subscription.name);
                self.store.bus_exceptions(holder, name, topic).await?
            }
            false => Vec::new(),
        };
        let mut core = self.core();
        if let Some(state) = core.subscriptions.get_mut(subscription) {
            state.excepted.remove(topic);
            let window = Window::new(cursor.0, exceptions);
            state.windows.entry(topic.to_owned()).or_insert(window);
        }
        Ok(())
    }

    pub(super) async fn read(
        &self,
        topic: &str,
        after: i64,
        count: usize,
    ) -> Result<Vec<Arc<Message>>, BrokerError> {
        if let Some(topic) = self.core().topics.get(topic)
            && let Some(memory) = &topic.memory
        {
            let start = memory
                .log
                .partition_point(|message| message.position <= after);
            return Ok(memory.log.iter().skip(start).take(count).cloned().collect());
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let rows = self.store.bus_read(topic, after, count, READ_BYTES).await?;
        rows.into_iter()
            .map(|row| Message::from_row(row).map(Arc::new))
            .collect()
    }

    async fn read_at(
        &self,
        topic: &str,
        positions: &[i64],
    ) -> Result<Vec<Arc<Message>>, BrokerError> {
        if let Some(topic) = self.core().topics.get(topic)
            && let Some(memory) = &topic.memory
        {
            let found = positions.iter().filter_map(|position| {
                let found = memory
                    .log
                    .binary_search_by_key(position, |message| message.position);
                memory.log.get(found.ok()?).cloned()
            });
            return Ok(found.collect());
        }
        let rows = self.store.bus_at(topic, positions).await?;
        rows.into_iter()
            .map(|row| Message::from_row(row).map(Arc::new))
            .collect()
    }
}
