//! Settling: what became of what was delivered, and the task that has it written.

use std::collections::BTreeMap;
use std::sync::Weak;

use portreeve_state::{BusDead, BusEnd, BusSettle};
use tokio::sync::{mpsc, oneshot};

use super::state::Core;
use super::window::{Change, Verdict};
use super::{BATCH_MAX, Inner};
use crate::broker::{Delivery, Outcome, Retry, Subscription};
use crate::error::BrokerError;

/// Longest sentence of a dead letter, in bytes.
const DETAIL_BYTES_MAX: usize = 500;

/// After which what could not be written down is tried again.
const AGAIN_MS: i64 = 1_000;

/// Settled messages of a topic whose removal is worth a write of its own.
const TRIMMED_AT: u64 = 256;

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

impl Inner {
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
        match self.settle_in_memory(subscription, &act, now) {
            Some(settled) => settled?,
            None => self.act(subscription, vec![act]).await?,
        }
        let mut core = self.core();
        if let Some(state) = core.subscriptions.get_mut(subscription) {
            state.acked = state.acked.saturating_add(u64::from(acked));
            let again = matches!(verdict, Verdict::Again(_));
            state.retried = state.retried.saturating_add(u64::from(again));
        }
        Ok(())
    }

    /// Settles at once what is in memory alone, where nothing of it is to be written.
    fn settle_in_memory(
        &self,
        subscription: &Subscription,
        act: &Act,
        now: i64,
    ) -> Option<Result<(), BrokerError>> {
        let mut core = self.core();
        let memory = core.topics.get(&act.topic)?.memory.is_some();
        if !memory || act.dead.is_some() {
            return None;
        }
        let state = core.subscriptions.get(subscription);
        let window = state.and_then(|state| state.windows.get(&act.topic));
        let held = window.filter(|window| window.holds(act.position, act.attempt));
        let Some(window) = held else {
            return Some(Err(BrokerError::Stale));
        };
        let mut settled = Settled {
            verdicts: BTreeMap::from([(act.position, act.verdict)]),
            memory,
            ..Settled::default()
        };
        settled.change = window.change(&settled.verdicts, now);
        core.settled(subscription, &act.topic, &settled, None);
        Some(Ok(()))
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
        let again_ms = (!written).then_some(again_ms);
        let mut core = self.core();
        let mut trim = false;
        for (topic, settled) in topics {
            trim |= core.settled(subscription, topic, settled, again_ms);
        }
        if trim {
            self.upkeep.notify_one();
        }
    }
}

impl Core {
    /// What was settled of a topic holds, or is tried again at a time where it could not be
    /// written. Whether there is so much to remove that it is worth a write.
    fn settled(
        &mut self,
        subscription: &Subscription,
        topic: &str,
        settled: &Settled,
        again_ms: Option<i64>,
    ) -> bool {
        let Some(state) = self.subscriptions.get_mut(subscription) else {
            return false;
        };
        state.change(topic, |window| match again_ms {
            None => window.written(&settled.change, &settled.verdicts),
            Some(again_ms) => window.not_written(&settled.verdicts, again_ms),
        });
        state.notify.notify_one();
        let (Some(of), Some(window)) = (self.topics.get(topic), state.windows.get(topic)) else {
            return false;
        };
        if window.len() == 0 && window.read() == of.head {
            let cursor = window.cursor();
            state.windows.remove(topic);
            state.cursors.insert(topic.to_owned(), cursor);
        } else {
            // What a settled message held back may be given now.
            state.wake(topic);
        }
        if settled.memory {
            self.trim_memory(topic);
            return false;
        }
        let many = of.messages >= TRIMMED_AT;
        self.to_trim.insert(topic.to_owned());
        many
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
