//! The broker in one process, on the project's state.
//!
//! All that is decided is decided in memory, under one lock that is never held while something is
//! waited for; what was decided is written by two tasks, one for what is published and one for
//! what is settled, each of which writes all that waits at once and answers when it is on disk.
//! Nobody who gives up waiting leaves anything half done.

mod deliver;
mod forget;
mod look;
mod publish;
mod rates;
mod request;
mod settle;
mod state;
mod subscribe;
mod upkeep;
mod window;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::{BusStore, Holder};
use tokio::sync::{Notify, broadcast, mpsc};

use crate::broker::{
    Broker, DeadFilter, DeadLetter, Delivery, From, Look, Outcome, Published, Start, Stats,
    Subscription, Tail, TopicStats, Whom,
};
use crate::error::BrokerError;
use crate::limits::{Clock, Limits};
use crate::message::{Answer, Message, Publish};
use state::Core;

pub use request::{Answering, Request, Responder};

/// Publishers that wait for the disk.
const PUBLISHING_MAX: usize = 4_096;

/// Messages that one write takes. Their bytes are bounded, too: see `publish`.
const BATCH_MAX: usize = 512;

/// Consumers that wait for the disk.
const SETTLING_MAX: usize = 4_096;

/// Messages that a reader of the tail may be behind.
const TAIL_MAX: usize = 1_024;

/// Between two rounds of upkeep where nothing asks for one.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// A broker in this process.
#[derive(Debug)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn BusStore>,
    limits: Limits,
    clock: Clock,
    /// The latest time that was told: it never goes back.
    latest_ms: AtomicI64,
    core: Mutex<Core>,
    publishing: mpsc::Sender<publish::Job>,
    settling: mpsc::Sender<settle::Job>,
    upkeep: Notify,
    tail: broadcast::Sender<Arc<Message>>,
    ids: state::Ids,
    /// Open to all that enter topics; closed while topics are forgotten.
    gate: tokio::sync::RwLock<()>,
    /// One round of upkeep at a time.
    rounds: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        let now = (self.clock)();
        self.latest_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

impl Embedded {
    /// Opens the broker on a state, in a tokio runtime, whose tasks do its writing.
    ///
    /// # Errors
    /// When the state can't be read, or what is in it is damaged.
    pub async fn open(
        store: Arc<dyn BusStore>,
        limits: Limits,
        clock: Clock,
    ) -> Result<Embedded, BrokerError> {
        let image = store.bus_image().await?;
        let newest_ms = image.newest_ms;
        let now_ms = (clock)().max(newest_ms);
        let mut core = Core::new(image, &limits, now_ms)?;
        for (subscription, state) in &mut core.subscriptions {
            let (holder, name) = (&subscription.holder, &subscription.name);
            for topic in store.bus_excepted(holder, name).await? {
                state.ready.insert(topic.clone());
                state.excepted.insert(topic);
            }
        }
        let (publishing, jobs) = mpsc::channel(PUBLISHING_MAX);
        let (settling, settled) = mpsc::channel(SETTLING_MAX);
        let inner = Arc::new(Inner {
            store,
            limits,
            clock,
            latest_ms: AtomicI64::new(now_ms),
            core: Mutex::new(core),
            publishing,
            settling,
            upkeep: Notify::new(),
            tail: broadcast::channel(TAIL_MAX).0,
            ids: state::Ids::default(),
            gate: tokio::sync::RwLock::default(),
            rounds: tokio::sync::Mutex::default(),
        });
        tokio::spawn(publish::run(Arc::downgrade(&inner), jobs));
        tokio::spawn(settle::run(Arc::downgrade(&inner), settled));
        tokio::spawn(upkeep(Arc::downgrade(&inner)));
        Ok(Embedded { inner })
    }

    /// What bounds it.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Has `holder` answer requests on these topics, until what is returned is dropped.
    pub fn answer(
        &self,
        holder: Holder,
        patterns: Vec<TopicPattern>,
        responder: Arc<dyn Responder>,
    ) -> Answering {
        let requests_max = self.inner.limits.requests_max;
        let mut core = self.inner.core();
        core.responders
            .add(holder, patterns, responder, requests_max)
    }
}

async fn upkeep(inner: Weak<Inner>) {
    loop {
        let waited = {
            let Some(inner) = inner.upgrade() else {
                return;
            };
            tokio::time::timeout(Duration::from_secs(1), inner.upkeep.notified()).await
        };
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let now = inner.now();
        let due = {
            let mut core = inner.core();
            let due = waited.is_ok() || now >= core.upkeep_ms || core.delayed_due(now);
            if due {
                let every = i64::try_from(UPKEEP_EVERY.as_millis()).unwrap_or(i64::MAX);
                core.upkeep_ms = now.saturating_add(every);
            }
            due
        };
        if due && let Err(error) = inner.round().await {
            tracing::warn!(%error, "the messages' upkeep failed; it is tried again");
        }
    }
}

#[async_trait]
impl Broker for Embedded {
    async fn publish(&self, publish: Publish) -> Result<Published, BrokerError> {
        self.inner.publish(publish).await
    }

    async fn subscribe(
        &self,
        subscription: &Subscription,
        patterns: &[TopicPattern],
        start: Start,
    ) -> Result<(), BrokerError> {
        self.inner.subscribe(subscription, patterns, start).await
    }

    async fn unsubscribe(&self, subscription: &Subscription) -> Result<bool, BrokerError> {
        self.inner.unsubscribe(subscription).await
    }

    async fn fetch(
        &self,
        subscription: &Subscription,
        max: usize,
    ) -> Result<Vec<Delivery>, BrokerError> {
        self.inner.fetch(subscription, max).await
    }

    async fn ready(&self, subscription: &Subscription) -> Result<(), BrokerError> {
        self.inner.ready(subscription).await
    }

    async fn settle(
        &self,
        subscription: &Subscription,
        delivery: &Delivery,
        outcome: Outcome,
    ) -> Result<(), BrokerError> {
        self.inner.settle(subscription, delivery, outcome).await
    }

    async fn replay(
        &self,
        subscription: &Subscription,
        topic: &Topic,
        from: From,
    ) -> Result<(), BrokerError> {
        self.inner.replay(subscription, topic, from).await
    }

    async fn request(
        &self,
        publish: Publish,
        timeout_ms: u64,
        whom: Whom<'_>,
    ) -> Result<Answer, BrokerError> {
        self.inner.request(publish, timeout_ms, whom).await
    }

    fn tail(&self) -> Tail {
        self.inner.tail.subscribe()
    }

    async fn topics(&self) -> Result<Vec<TopicStats>, BrokerError> {
        Ok(self.inner.topics())
    }

    async fn look(
        &self,
        topic: &Topic,
        at: Look,
        max: u32,
        bytes_max: u64,
    ) -> Result<Vec<Arc<Message>>, BrokerError> {
        self.inner.look(topic, at, max, bytes_max).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadFilter,
        max: u32,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        self.inner.dead_letters(filter, max).await
    }

    async fn dead_letter(&self, id: &str) -> Result<DeadLetter, BrokerError> {
        self.inner.dead_letter(id).await
    }

    async fn retry_dead(&self, id: &str) -> Result<(), BrokerError> {
        self.inner.retry_dead(id).await
    }

    async fn drop_dead(&self, id: &str) -> Result<(), BrokerError> {
        self.inner.drop_dead(id).await
    }

    async fn stats(&self) -> Result<Stats, BrokerError> {
        self.inner.stats().await
    }

    async fn maintain(&self) -> Result<(), BrokerError> {
        self.inner.round().await
    }
}
