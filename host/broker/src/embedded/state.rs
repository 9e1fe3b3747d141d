//! What is decided with: topics, subscriptions, and what each has of the other.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::{BusImage, Holder, StateError};
use tokio::sync::Notify;

use super::rates::Bucket;
use super::request::Responders;
use super::window::Window;
use crate::broker::Subscription;
use crate::error::BrokerError;
use crate::limits::{Limits, TopicSettings};
use crate::message::Message;

/// Publishers whose rates are known; one more begins anew.
const PUBLISHERS_MAX: usize = 10_000;

/// Ids that sort by when they were made: milliseconds, a counter, and what nobody can guess.
#[derive(Default)]
pub(super) struct Ids(AtomicU64);

impl Ids {
    pub(super) fn next(&self, now_ms: i64) -> Result<String, BrokerError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| {
            BrokerError::State(StateError::Database(format!("no randomness: {error}")))
        })?;
        let count = self.0.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff;
        let random = random
            .iter()
            .fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
        Ok(format!("{now_ms:012x}{count:08x}{random:012x}"))
    }
}

/// The log of an ephemeral topic.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) log: VecDeque<Arc<Message>>,
    /// Messages that gave way or that nobody heard, since the host started.
    pub(super) overflow: u64,
    pub(super) unheard: u64,
}

#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) topic: Topic,
    pub(super) settings: Arc<TopicSettings>,
    pub(super) head: i64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When something last entered it, or was about to.
    pub(super) used_ms: i64,
    /// Messages and bytes that are being written.
    pub(super) pending: (u64, u64),
    pub(super) published: u64,
    pub(super) subscribed: Vec<Subscription>,
    pub(super) rate: Bucket,
    /// Only where nothing is on disk.
    pub(super) memory: Option<Memory>,
}

#[derive(Debug)]
pub(super) struct SubscriptionState {
    pub(super) patterns: Vec<TopicPattern>,
    /// Of topics without a window.
    pub(super) cursors: HashMap<String, i64>,
    pub(super) windows: HashMap<String, Window>,
    /// Topics without a window that have exceptions on disk.
    pub(super) excepted: HashSet<String>,
    /// Topics that may have something to give.
    pub(super) ready: BTreeSet<String>,
    /// Topics that will, and when.
    pub(super) due: BTreeSet<(i64, String)>,
    /// The topic whose turn was last.
    pub(super) turn: String,
    pub(super) notify: Arc<Notify>,
    /// One consumer at a time looks for messages.
    pub(super) fetching: Arc<tokio::sync::Mutex<()>>,
    pub(super) in_flight: usize,
    pub(super) delivered: u64,
    pub(super) acked: u64,
    pub(super) retried: u64,
}

impl SubscriptionState {
    pub(super) fn new(patterns: Vec<TopicPattern>) -> SubscriptionState {
        SubscriptionState {
            patterns,
            cursors: HashMap::new(),
            windows: HashMap::new(),
            excepted: HashSet::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            turn: String::new(),
            notify: Arc::new(Notify::new()),
            fetching: Arc::default(),
            in_flight: 0,
            delivered: 0,
            acked: 0,
            retried: 0,
        }
    }

    pub(super) fn matches(&self, topic: &Topic) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    pub(super) fn cursor(&self, topic: &str) -> i64 {
        match self.windows.get(topic) {
            Some(window) => window.cursor(),
            None => self.cursors.get(topic).copied().unwrap_or(0),
        }
    }

    /// Up to where all is settled, without exceptions.
    pub(super) fn settled(&self, topic: &str) -> i64 {
        match self.windows.get(topic) {
            Some(window) => window.settled(),
            None => self.cursors.get(topic).copied().unwrap_or(0),
        }
    }

    /// Messages of a topic that wait for it.
    pub(super) fn lag(&self, topic: &TopicState) -> u64 {
        let (read, unsettled) = match self.windows.get(topic.topic.as_str()) {
            Some(window) => (window.read(), window.len()),
            None => (self.cursor(topic.topic.as_str()), 0),
        };
        let unread = u64::try_from(topic.head.saturating_sub(read)).unwrap_or(0);
        unread.saturating_add(unsettled as u64)
    }

    /// A topic may have something to give.
    pub(super) fn wake(&mut self, topic: &str) {
        if !self.ready.contains(topic) {
            self.ready.insert(topic.to_owned());
        }
        self.notify.notify_one();
    }

    /// Topics whose time has come.
    pub(super) fn wake_due(&mut self, now_ms: i64) {
        while let Some((due, _)) = self.due.first()
            && *due <= now_ms
            && let Some((_, topic)) = self.due.pop_first()
        {
            self.ready.insert(topic);
        }
    }

    /// The next topic in turn that may have something to give.
    pub(super) fn next_ready(&mut self) -> Option<String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self
            .ready
            .range::<String, _>((Excluded(&self.turn), Unbounded))
            .next();
        let topic = after.or_else(|| self.ready.first())?.clone();
        self.ready.remove(&topic);
        self.turn.clone_from(&topic);
        Some(topic)
    }
}

#[derive(Debug)]
struct Publisher {
    messages: Bucket,
    bytes: Bucket,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) topics: HashMap<String, TopicState>,
    pub(super) subscriptions: HashMap<Subscription, SubscriptionState>,
    publishers: HashMap<Holder, Publisher>,
    /// What gave way and what nobody heard in ephemeral topics that are forgotten.
    pub(super) forgotten: (u64, u64),
    pub(super) responders: Responders,
    /// When the next delayed message is due.
    pub(super) next_due_ms: Option<i64>,
    /// Topics of which something may go.
    pub(super) to_trim: BTreeSet<String>,
    /// Subscriptions that are too far behind in a topic.
    pub(super) to_shed: BTreeSet<(Subscription, String)>,
    /// When the next round of upkeep is due.
    pub(super) upkeep_ms: i64,
    /// When it is next looked how long messages have waited.
    pub(super) aged_ms: i64,
}

impl Core {
    pub(super) fn new(image: BusImage, limits: &Limits, now_ms: i64) -> Result<Core, BrokerError> {
        let damaged = |what: &str, text: &str| {
            let text = format!("the messages' {what} {text:?} is none");
            BrokerError::State(StateError::Damaged(text))
        };
        let mut core = Core {
            topics: HashMap::new(),
            subscriptions: HashMap::new(),
            publishers: HashMap::new(),
            forgotten: (0, 0),
            responders: Responders::default(),
            next_due_ms: image.next_due_ms,
            to_trim: BTreeSet::new(),
            to_shed: BTreeSet::new(),
            upkeep_ms: now_ms,
            aged_ms: now_ms,
        };
        for row in image.subscriptions {
            let patterns = serde_json::from_str::<Vec<TopicPattern>>(&row.patterns)
                .map_err(|_| damaged("subscription", &row.name))?;
            let subscription = Subscription {
                holder: row.holder,
                name: row.name,
            };
            core.subscriptions
                .insert(subscription, SubscriptionState::new(patterns));
        }
        for row in image.cursors {
            let subscription = Subscription {
                holder: row.holder,
                name: row.subscription,
            };
            if let Some(state) = core.subscriptions.get_mut(&subscription) {
                state.cursors.insert(row.topic, row.position);
            }
        }
        for row in image.topics {
            let topic: Topic = row
                .topic
                .parse()
                .map_err(|_| damaged("topic", &row.topic))?;
            let state = core.topic(&topic, limits, now_ms);
            if state.memory.is_none() {
                state.head = row.head;
                state.messages = row.messages;
                state.bytes = row.bytes;
            }
            let head = state.head;
            for subscription in state.subscribed.clone() {
                if let Some(state) = core.subscriptions.get_mut(&subscription)
                    && state.cursor(&row.topic) < head
                {
                    state.ready.insert(row.topic.clone());
                }
            }
            core.to_trim.insert(row.topic);
        }
        Ok(core)
    }

    /// Up to where all subscriptions of a topic have settled what is in it; none where nobody
    /// subscribes.
    pub(super) fn settled_by_all(&self, topic: &str, state: &TopicState) -> Option<i64> {
        let cursors = state.subscribed.iter().filter_map(|subscription| {
            let subscribed = self.subscriptions.get(subscription)?;
            Some(match state.memory {
                // What is in memory has no exceptions but those of the window.
                Some(_) => subscribed.settled(topic),
                None => subscribed.cursor(topic),
            })
        });
        cursors.min()
    }

    /// Removes what every subscription of an ephemeral topic has settled; whether it is one.
    pub(super) fn trim_memory(&mut self, topic: &str) -> bool {
        let Some(state) = self.topics.get(topic) else {
            return false;
        };
        let up_to = self.settled_by_all(topic, state);
        let Some(state) = self.topics.get_mut(topic) else {
            return false;
        };
        let Some(memory) = &mut state.memory else {
            return false;
        };
        let up_to = up_to.unwrap_or(state.head);
        while let Some(oldest) = memory.log.front()
            && oldest.position <= up_to
        {
            state.messages = state.messages.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(oldest.payload.len() as u64);
            memory.log.pop_front();
        }
        true
    }

    /// A topic, which is made where it isn't there.
    pub(super) fn topic(&mut self, topic: &Topic, limits: &Limits, now_ms: i64) -> &mut TopicState {
        let subscriptions = &self.subscriptions;
        self.topics.entry(topic.to_string()).or_insert_with(|| {
            let settings = limits.of(topic);
            let matching = subscriptions
                .iter()
                .filter(|(_, state)| state.matches(topic));
            TopicState {
                topic: topic.clone(),
                settings: Arc::new(settings.clone()),
                head: 0,
                messages: 0,
                bytes: 0,
                used_ms: now_ms,
                pending: (0, 0),
                published: 0,
                subscribed: matching
                    .map(|(subscription, _)| subscription.clone())
                    .collect(),
                rate: Bucket::new(u64::from(settings.rate), now_ms),
                memory: settings.ephemeral.then(Memory::default),
            }
        })
    }

    /// Whether there are as many topics as there may be, and this is none of them.
    pub(super) fn is_full_for(&self, topic: &Topic, topics_max: usize) -> bool {
        self.topics.len() >= topics_max && !self.topics.contains_key(topic.as_str())
    }

    pub(super) fn delayed_due(&self, now_ms: i64) -> bool {
        self.next_due_ms.is_some_and(|due| due <= now_ms)
    }

    /// Whether a publisher may send so much now; how long it has to wait otherwise.
    pub(super) fn publisher_may(
        &mut self,
        holder: &Holder,
        bytes: u64,
        limits: &Limits,
        now_ms: i64,
    ) -> Result<(), BrokerError> {
        if self.publishers.len() >= PUBLISHERS_MAX && !self.publishers.contains_key(holder) {
            self.publishers.clear();
        }
        let publisher = self
            .publishers
            .entry(holder.clone())
            .or_insert_with(|| Publisher {
                messages: Bucket::new(u64::from(limits.publisher_rate), now_ms),
                bytes: Bucket::new(limits.publisher_bytes, now_ms),
            });
        let limited = |what: &'static str, allowed, setting| {
            move |retry_ms| BrokerError::Limited {
                what: format!("{what} that {} may publish in a second", shown(holder)),
                used: allowed,
                allowed,
                setting,
                retry_ms,
            }
        };
        let (rate, most) = (u64::from(limits.publisher_rate), limits.publisher_bytes);
        let messages = publisher.messages.wait(1, now_ms);
        messages.map_err(limited("messages", rate, "[messages] publisher-rate"))?;
        let room = publisher.bytes.wait(bytes, now_ms);
        room.map_err(limited("bytes", most, "[messages] publisher-bytes"))?;
        Ok(())
    }

    /// Takes it, after `publisher_may` has said that it may.
    pub(super) fn publisher_takes(&mut self, holder: &Holder, bytes: u64) {
        if let Some(publisher) = self.publishers.get_mut(holder) {
            publisher.messages.take(1);
            publisher.bytes.take(bytes);
        }
    }

    /// Something has entered a topic: its subscriptions are told, those that are now too far
    /// behind are noted. Whether there are any of these.
    pub(super) fn entered(&mut self, topic: &str, lag_max: u64) -> bool {
        let Some(state) = self.topics.get(topic) else {
            return false;
        };
        let mut behind = false;
        for subscription in &state.subscribed {
            if let Some(subscribed) = self.subscriptions.get_mut(subscription) {
                subscribed.wake(topic);
                if state.memory.is_none() && subscribed.lag(state) > lag_max {
                    self.to_shed
                        .insert((subscription.clone(), topic.to_owned()));
                    behind = true;
                }
            }
        }
        if state.subscribed.is_empty() {
            self.to_trim.insert(topic.to_owned());
        }
        behind
    }
}

pub(super) fn shown(holder: &Holder) -> String {
    match &*holder.alias {
        "" => "the host".to_owned(),
        alias => format!("`{alias}`"),
    }
}

pub(super) fn unknown(subscription: &Subscription) -> BrokerError {
    BrokerError::NotFound(format!(
        "`{}` has no subscription `{}`",
        subscription.holder.alias, subscription.name
    ))
}
