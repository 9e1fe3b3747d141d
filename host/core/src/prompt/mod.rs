//! What plugins tell people and ask of them: where it goes, how much of it there may be, and
//! the calls that wait for it.

mod asking;
mod client;
mod inbox;
mod turns;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use portreeve_runtime::{InputKind, InputReply, InputWant, LogEntry, Notice};
use portreeve_state::StateStore;
use portreeve_state::audit::AuditLog;

pub(crate) use asking::CallPrompt;
pub use client::CLIENT_CAPABILITY;
pub(crate) use client::for_want_of_a_capability;
pub(crate) use inbox::Inbox;
pub use inbox::{InboxAct, InboxDone, InboxItem, InboxWhat};
pub(crate) use turns::Turns;
pub use turns::{Answer, Answers, Pending, Returning, Turn};
pub(crate) use turns::{Ended, Questions, Running};

/// Something that a call asks of its caller's client.
#[derive(Clone, Debug)]
pub struct Question {
    /// The plugin that asks.
    pub plugin: String,
    /// What the plugin calls it, where it has a name: one in the whole call.
    pub name: Option<String>,
    /// What it asks for. The message of a form says by itself who asks.
    pub want: InputWant,
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Asks the caller's own client, and the people at it.
#[async_trait]
pub trait Asker: Send + Sync {
    /// Asks all of these, for no longer than `time`; one answer for each and of its kind,
    /// which is checked by whoever asked. Dropping the future takes the questions back.
    ///
    /// # Errors
    /// The client can't ask, or is gone.
    async fn ask(
        &self,
        questions: &[Question],
        time: Duration,
    ) -> Result<Vec<InputReply>, NoAnswer>;
}

/// Hears what plugins tell the caller's client. Called while the call waits: it must not block.
pub trait ClientListener: Send + Sync {
    /// One notice of a plugin.
    fn notice(&self, plugin: &str, notice: &Notice);

    /// One entry for the client's log.
    fn log(&self, plugin: &str, entry: LogEntry);
}

/// What a client says that it can give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCan {
    /// It shows forms.
    pub questions: bool,
    /// It has a model that may be asked.
    pub messages: bool,
    /// It tells where it works.
    pub roots: bool,
}

impl ClientCan {
    /// Whether it can give such a thing.
    pub const fn give(self, kind: InputKind) -> bool {
        match kind {
            InputKind::Question => self.questions,
            InputKind::Message => self.messages,
            InputKind::Roots => self.roots,
        }
    }
}

/// The caller's client and the people at it, as far as there is a way to them.
#[derive(Clone, Default)]
pub struct CallerUi {
    /// Asks it; without it questions wait in the inbox. Sensitive ones do in any case.
    pub asker: Option<Arc<dyn Asker>>,
    /// What it can be asked for.
    pub can: ClientCan,
    /// Tells it; notices are in the inbox besides.
    pub listener: Option<Arc<dyn ClientListener>>,
}

impl CallerUi {
    /// Whether the client can be asked for such a thing.
    pub(crate) fn can(&self, kind: InputKind) -> bool {
        self.asker.is_some() && self.can.give(kind)
    }
}

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Notices,
    Questions,
    Samplings,
    LogEntries,
}

/// What the prompts of all calls share.
pub(crate) struct Prompts {
    pub(crate) inbox: Arc<Inbox>,
    rates: Mutex<BTreeMap<(String, Counted), (u32, DefaultDirectRateLimiter)>>,
    parked: Mutex<Parked>,
}

/// Calls that wait for people.
#[derive(Default)]
struct Parked {
    allowed: u32,
    all: u32,
    plugins: BTreeMap<String, u32>,
}

/// The place of a call that waits for people; dropping it gives it back.
pub(crate) struct ParkedCall {
    prompts: Arc<Prompts>,
    plugin: String,
}

/// Who has too many of them.
enum Crowd {
    Plugin,
    Host,
}

impl Prompts {
    /// To be called within a tokio runtime.
    pub(crate) fn new(store: Arc<dyn StateStore>, audit: Arc<AuditLog>) -> Arc<Prompts> {
        Arc::new(Prompts {
            inbox: Inbox::new(store, audit),
            rates: Mutex::default(),
            parked: Mutex::default(),
        })
    }

    /// Takes another limit on. Calls that wait already stay.
    pub(crate) fn resize(&self, parked_calls: u32) {
        self.parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .allowed = parked_calls;
    }

    /// Counts some more; after how long to try again where it is too many.
    fn count(&self, plugin: &str, what: Counted, some: u32, allowed: u32) -> Result<(), Duration> {
        const MINUTE: Duration = Duration::from_secs(60);
        let Some(quota) = NonZeroU32::new(allowed).map(Quota::per_minute) else {
            return Err(MINUTE);
        };
        let Some(some) = NonZeroU32::new(some) else {
            return Ok(());
        };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, rate) = rates
            .entry((plugin.to_owned(), what))
            .or_insert_with(|| (allowed, RateLimiter::direct(quota)));
        if *set != allowed {
            (*set, *rate) = (allowed, RateLimiter::direct(quota));
        }
        match rate.check_n(some) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(wait)) => {
                let now = governor::clock::Clock::now(&governor::clock::DefaultClock::default());
                Err(wait.wait_time_from(now))
            }
            Err(_) => Err(MINUTE),
        }
    }

    fn park(self: &Arc<Self>, plugin: &str, allowed: u32) -> Result<ParkedCall, (Crowd, u32)> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.all >= parked.allowed {
            return Err((Crowd::Host, parked.allowed));
        }
        let here = parked.plugins.entry(plugin.to_owned()).or_insert(0);
        if *here >= allowed {
            return Err((Crowd::Plugin, allowed));
        }
        *here = here.saturating_add(1);
        parked.all = parked.all.saturating_add(1);
        Ok(ParkedCall {
            prompts: self.clone(),
            plugin: plugin.to_owned(),
        })
    }
}

impl Drop for ParkedCall {
    fn drop(&mut self) {
        let parked = self.prompts.parked.lock();
        let mut parked = parked.unwrap_or_else(PoisonError::into_inner);
        parked.all = parked.all.saturating_sub(1);
        if let Some(here) = parked.plugins.get_mut(&self.plugin) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                parked.plugins.remove(&self.plugin);
            }
        }
    }
}
