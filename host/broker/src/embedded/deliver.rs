//! Delivering: who gets what, and the task that has written what became of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::{BusDead, BusEnd, BusSettle, BusSubscription};
use tokio::sync::{mpsc, oneshot};

use super::state::SubscriptionState;
use super::window::{Change, ENTRIES_MAX, Seen, Verdict, Window};
use super::{BATCH_MAX, Inner};
use crate::broker::{Delivery, From, Outcome, Retry, Start, Subscription};
use crate::error::BrokerError;
use crate::message::Message;

/// Messages of one read, and their bytes.
const READ_MAX: usize = 256;
const READ_BYTES: u64 = 4 << 20;

/// Longest sentence of a dead letter, in bytes.
const DETAIL_BYTES_MAX: usize = 500;

/// After which what could not be written down is tried again.
const AGAIN_MS: i64 = 1_000;

/// What is to be written of one message.
pub(super) struct Act {
    pub(super) topic: String,
    pub(super) position: i64,
    pub(super) attempt: u32,
    pub(super) verdict: Verdict,
    /// Why it is given up: one word and a sentence.
    pub(super) dead: Option<(&'static str, String)>,
    pub(super) count: Option<&'static str>,
}

/// That, and who waits for it.
pub(super) struct Job {
    subscription: Subscription,
    acts: Vec<Act>,
    done: oneshot::Sender<Result<(), BrokerError>>,
}

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
    fn change<T: Default>(&mut self, topic: &str, act: impl FnOnce(&mut Window) -> T) -> T {
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

fn unknown(subscription: &Subscription) -> BrokerError {
    BrokerError::NotFound(format!(
        "`{}` has no subscription `{}`",
        subscription.holder.alias, subscription.name
    ))
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
    async fn open_window(
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

    async fn read(
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

    pub(super) async fn settle(
        &self,
        subscription: &Subscription,
        delivery: &Delivery,
        outcome: Outcome,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let limits = &self.limits;
        let attempt = delivery.attempt;
        let (verdict, dead) = match outcome {
            Outcome::Ack => (Verdict::Done, None),
            Outcome::Reject(why) => (Verdict::Done, Some(("rejected", why))),
            Outcome::Retry(_, why) if attempt >= limits.attempts_max => {
                let why = format!("tried {attempt} times, the last time: {why}");
                (Verdict::Done, Some(("attempts", why)))
            }
            Outcome::Retry(retry, _) => {
                let pause = match retry {
                    Retry::Backoff => limits.backoff(attempt),
                    Retry::After(pause) => pause.clamp(0, limits.delay_max_ms),
                };
                (Verdict::Again(now.saturating_add(pause)), None)
            }
        };
        let acked = verdict == Verdict::Done && dead.is_none();
        let count = dead.as_ref().map(|_| "dead");
        let act = Act {
            topic: delivery.message.topic.to_string(),
            position: delivery.message.position,
            attempt,
            verdict,
            dead,
            count,
        };
        self.act(subscription, vec![act]).await?;
        let mut core = self.core();
        if let Some(state) = core.subscriptions.get_mut(subscription) {
            state.acked = state.acked.saturating_add(u64::from(acked));
            let again = matches!(verdict, Verdict::Again(_));
            state.retried = state.retried.saturating_add(u64::from(again));
        }
        Ok(())
    }

    /// Has this written, and waits until it is.
    pub(super) async fn act(
        &self,
        subscription: &Subscription,
        acts: Vec<Act>,
    ) -> Result<(), BrokerError> {
        let (done, waiting) = oneshot::channel();
        let job = Job {
            subscription: subscription.clone(),
            acts,
            done,
        };
        self.settling
            .send(job)
            .await
            .map_err(|_| BrokerError::Closed)?;
        waiting.await.unwrap_or(Err(BrokerError::Closed))
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
        let lag_max = self.limits.lag_max;
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
                let over = state.lag(of).saturating_sub(lag_max);
                let over = usize::try_from(over).unwrap_or(usize::MAX).min(READ_MAX);
                let Some(window) = state.windows.get(topic).filter(|_| over > 0) else {
                    return Ok(());
                };
                let wanted = over
                    .min(ENTRIES_MAX)
                    .saturating_sub(window.len().saturating_sub(window.held()));
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
                state.change(topic, |window| window.take_oldest(over, until))
            };
            if oldest.is_empty() {
                return Ok(());
            }
            let acts = oldest.into_iter().map(|(position, attempt)| Act {
                topic: topic.to_owned(),
                position,
                attempt,
                verdict: Verdict::Done,
                dead: Some((
                    "lag",
                    format!(
                        "more than {lag_max} messages waited for the subscription ([messages] lag)"
                    ),
                )),
                count: Some("dead"),
            });
            self.act(subscription, acts.collect()).await?;
        }
    }
}

/// Has what waits written, all of a subscription at once, and tells those who wait when it is on
/// disk.
pub(super) async fn run(inner: Weak<Inner>, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let mut by_subscription: BTreeMap<Subscription, Vec<Job>> = BTreeMap::new();
        for job in batch.drain(..) {
            by_subscription
                .entry(job.subscription.clone())
                .or_default()
                .push(job);
        }
        let mut writes = tokio::task::JoinSet::new();
        for (subscription, jobs) in by_subscription {
            let inner = inner.clone();
            writes.spawn(async move { inner.write_settled(&subscription, jobs).await });
        }
        while writes.join_next().await.is_some() {}
    }
}

/// What is settled of one topic.
#[derive(Default)]
struct Settled {
    verdicts: BTreeMap<i64, Verdict>,
    row: BusSettle,
    change: Change,
    memory: bool,
    buried: Vec<BusDead>,
}

impl Inner {
    async fn write_settled(&self, subscription: &Subscription, jobs: Vec<Job>) {
        let now = self.now();
        let mut answers = Vec::with_capacity(jobs.len());
        let mut topics: BTreeMap<String, Settled> = BTreeMap::new();
        {
            let core = self.core();
            let state = core.subscriptions.get(subscription);
            for job in jobs {
                let mut fine = Ok(());
                for act in job.acts {
                    let window = state.and_then(|state| state.windows.get(&act.topic));
                    let settled = topics.entry(act.topic.clone()).or_default();
                    let held = window.is_some_and(|window| window.holds(act.position, act.attempt));
                    if !held || settled.verdicts.contains_key(&act.position) {
                        fine = Err(BrokerError::Stale);
                        continue;
                    }
                    let memory = core
                        .topics
                        .get(&act.topic)
                        .and_then(|topic| topic.memory.as_ref());
                    settled.memory = memory.is_some();
                    if let Some((reason, detail)) = act.dead {
                        let end = BusEnd {
                            id: match self.ids.next(now) {
                                Ok(id) => id,
                                Err(error) => {
                                    fine = Err(error);
                                    continue;
                                }
                            },
                            dead_ms: now,
                            reason: reason.to_owned(),
                            detail: cut(detail),
                            attempts: act.attempt,
                        };
                        match memory {
                            None => settled.row.dead.push((act.position, end)),
                            Some(memory) => {
                                let log = &memory.log;
                                let found = log.binary_search_by_key(&act.position, |m| m.position);
                                let message = found.ok().and_then(|found| log.get(found));
                                settled.buried.extend(message.map(|message| {
                                    let row = message.to_row();
                                    BusDead {
                                        holder: subscription.holder.clone(),
                                        subscription: subscription.name.clone(),
                                        end,
                                        size: row.size(),
                                        message: row,
                                    }
                                }));
                            }
                        }
                    }
                    settled.verdicts.insert(act.position, act.verdict);
                    if let Some(what) = act.count {
                        match settled
                            .row
                            .counts
                            .iter_mut()
                            .find(|(known, _)| *known == what)
                        {
                            Some((_, count)) => *count = count.saturating_add(1),
                            None => settled.row.counts.push((what, 1)),
                        }
                    }
                }
                answers.push((job.done, fine));
            }
            topics.retain(|_, settled| !settled.verdicts.is_empty());
            for (topic, settled) in &mut topics {
                let Some(window) = state.and_then(|state| state.windows.get(topic)) else {
                    continue;
                };
                settled.change = window.change(&settled.verdicts, now);
                settled.row.topic.clone_from(topic);
                settled.row.cursor = settled.change.cursor;
                settled.row.put.clone_from(&settled.change.put);
                settled.row.remove.clone_from(&settled.change.remove);
            }
        }
        let written = self.write_rows(subscription, &mut topics).await;
        self.apply_settled(subscription, &topics, written.is_ok());
        for (done, fine) in answers {
            let answer = match &written {
                Ok(()) => fine,
                Err(error) => Err(error.clone()),
            };
            let _ = done.send(answer);
        }
    }

    async fn write_rows(
        &self,
        subscription: &Subscription,
        topics: &mut BTreeMap<String, Settled>,
    ) -> Result<(), BrokerError> {
        let dead_max = self.limits.dead_max;
        for settled in topics.values_mut() {
            for dead in settled.buried.drain(..) {
                self.store.bus_bury(dead, dead_max).await?;
            }
        }
        let rows = topics.values_mut().filter(|settled| !settled.memory);
        let rows: Vec<BusSettle> = rows
            .map(|settled| std::mem::take(&mut settled.row))
            .collect();
        if !rows.is_empty() {
            let (holder, name) = (&subscription.holder, &subscription.name);
            self.store.bus_settle(holder, name, rows, dead_max).await?;
        }
        Ok(())
    }

    fn apply_settled(
        &self,
        subscription: &Subscription,
        topics: &BTreeMap<String, Settled>,
        written: bool,
    ) {
        let again_ms = self.now().saturating_add(AGAIN_MS);
        let mut core = self.core();
        let core = &mut *core;
        let Some(state) = core.subscriptions.get_mut(subscription) else {
            return;
        };
        let mut trim = false;
        for (topic, settled) in topics {
            state.change(topic, |window| match written {
                true => window.written(&settled.change, &settled.verdicts),
                false => window.not_written(&settled.verdicts, again_ms),
            });
            let Some(of) = core.topics.get(topic) else {
                continue;
            };
            let Some(window) = state.windows.get(topic) else {
                continue;
            };
            if window.len() == 0 && window.read() == of.head {
                let cursor = window.cursor();
                state.windows.remove(topic);
                state.cursors.insert(topic.clone(), cursor);
            } else {
                // What a settled message held back may be given now.
                state.wake(topic);
            }
            // So many that removing them is worth a write.
            trim |= of.messages >= 256 || of.memory.is_some();
            core.to_trim.insert(topic.clone());
        }
        state.notify.notify_one();
        if trim {
            self.upkeep.notify_one();
        }
    }
}

/// A sentence of bounded length.
fn cut(mut text: String) -> String {
    while text.len() > DETAIL_BYTES_MAX {
        text.pop();
    }
    text.retain(|letter| !letter.is_control());
    text
}
