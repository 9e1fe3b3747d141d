//! Messages between plugins.
//!
//! ```toml
//! [requests.messages]
//! publish = ["issues.opened"]
//! subscribe = ["builds.*"]
//! reason = "link builds to issues"
//! ```
//!
//! A topic is written as names parted by dots; where topics are requested or granted, `*` stands
//! for one name and `>` for the rest. What is published is on disk when [`Outgoing::publish`]
//! returns, and comes to each subscriber at least once.
//!
//! ```
//! use portreeve_sdk::{Error, messages};
//!
//! fn opened(number: u64) -> Result<(), Error> {
//!     messages::to("issues.opened")
//!         .key(&number.to_string())
//!         .dedup_id(&format!("issue-{number}"))
//!         .publish_json(&number)?;
//!     Ok(())
//! }
//! # assert!(opened(1).is_err());
//! ```
//!
//! A plugin that subscribes names a function that handles what comes, and one that answers
//! requests a function that does that:
//!
//! ```
//! use portreeve_sdk::messages::{Answer, Handled, Message};
//! use portreeve_sdk::{Error, plugin, tool};
//!
//! /// Says hello.
//! #[tool]
//! fn hello() -> &'static str {
//!     "hello"
//! }
//!
//! fn on_message(message: Message) -> Result<Handled, Error> {
//!     match message.topic.as_str() {
//!         "builds.failed" => Ok(Handled::Ack),
//!         other => Ok(Handled::Reject(format!("nothing is to be done for {other}"))),
//!     }
//! }
//!
//! fn answer(request: Message) -> Result<Answer, Error> {
//!     Ok(Answer::text(format!("you said {}", request.text()?)))
//! }
//!
//! plugin!(hello, handle = on_message, respond = answer);
//! ```
//!
//! A message may come more than once: whoever must not do something twice remembers
//! [`Message::id`]. One that a handler fails with comes again after a pause that doubles with each
//! try, and after the last try becomes a dead letter that the operator sees.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::bindings::handler::exports::portreeve::messages::handler as wire;
use crate::host::bus;

const JSON: &str = "application/json";

/// A message that is about to be sent; see [`to`].
#[must_use = "nothing is sent before `publish` or `request`"]
#[derive(Debug)]
pub struct Outgoing<'a> {
    topic: &'a str,
    options: bus::Options,
}

/// A message to a topic.
pub fn to(topic: &str) -> Outgoing<'_> {
    Outgoing {
        topic,
        options: bus::Options::new(),
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Outgoing<'_> {
    /// What the payload is: a media type.
    pub fn content_type(self, content_type: &str) -> Self {
        self.options.set_content_type(content_type);
        self
    }

    /// Adds a header. Names are 1 to 20 of a-z and 0-9.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.options.set_header(name, value);
        self
    }

    /// Messages of one key are handled one after the other, in order.
    pub fn key(self, key: &str) -> Self {
        self.options.set_key(key);
        self
    }

    /// A message of the same id enters the topic once within its window.
    pub fn dedup_id(self, id: &str) -> Self {
        self.options.set_dedup_id(id);
        self
    }

    /// Has it enter the topic later, in whole milliseconds.
    pub fn delay(self, delay: Duration) -> Self {
        self.options.set_delay_ms(ms(delay));
        self
    }

    /// Has it end unhandled after a time, in whole milliseconds.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.options.set_ttl_ms(ms(ttl));
        self
    }

    /// How long [`Outgoing::request`] waits, in whole milliseconds; 10 seconds unless it is set.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.options.set_timeout_ms(ms(timeout));
        self
    }

    /// Publishes it.
    ///
    /// # Errors
    /// `permission-denied` where the topic is not granted, or is so no more, and in a native
    /// build; `invalid-argument` where the topic or an option is none; `rate-limited` where this
    /// plugin or the topic has too much for now; `quota-exceeded` where it is larger than it may
    /// be; `unavailable` where the host can't write.
    pub fn publish(self, payload: impl AsRef<[u8]>) -> Result<Published, Error> {
        let published = bus::publish(self.topic, payload.as_ref(), Some(&self.options));
        let published = published.map_err(Error::from_failure)?;
        Ok(Published {
            id: published.id,
            duplicate: published.duplicate,
            dead: published.dead,
        })
    }

    /// Publishes a value as JSON.
    ///
    /// # Errors
    /// Those of [`Outgoing::publish`]; `internal` where the value can't be JSON.
    pub fn publish_json(self, value: &impl Serialize) -> Result<Published, Error> {
        self.content_type(JSON).publish(serde_json::to_vec(value)?)
    }

    /// Asks the plugin that answers on the topic, and waits.
    ///
    /// # Errors
    /// Those of [`Outgoing::publish`]; `unavailable` where nobody answers, `timeout` where no
    /// answer comes in time; otherwise the error of the plugin that answers.
    pub fn request(self, payload: impl AsRef<[u8]>) -> Result<Answer, Error> {
        let answer = bus::request(self.topic, payload.as_ref(), Some(&self.options));
        let answer = answer.map_err(Error::from_failure)?;
        Ok(Answer {
            payload: answer.payload,
            content_type: answer.content_type,
            headers: answer.headers,
        })
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id; of one that had entered before with the same dedup id, that one's.
    pub id: String,
    /// Whether one with the same dedup id had entered before, so that this one did not.
    pub duplicate: bool,
    /// Whether it had come through too many plugins, and became a dead letter.
    pub dead: bool,
}

/// A message, or a request, that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id. The same message may come more than once.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// Its place in the topic: 1, 2, 3 ...; 0 for a request.
    pub position: u64,
    /// Which try this is: 1, 2, 3 ...
    pub attempt: u32,
    /// When it was published.
    pub time: SystemTime,
    /// What it says.
    pub payload: Vec<u8>,
    /// What that is: a media type.
    pub content_type: String,
    /// More about it.
    pub headers: Vec<(String, String)>,
    /// Its key.
    pub key: Option<String>,
    /// The operator's name for the plugin that sent it; empty for the host.
    pub source: String,
}

impl Message {
    /// The payload, from JSON.
    ///
    /// # Errors
    /// `invalid-argument` where it is not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            Error::invalid_argument(format_args!("the message is not what it must be: {error}"))
        })
    }

    /// The payload, as text.
    ///
    /// # Errors
    /// `invalid-argument` where it is none.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.payload).map_err(|error| {
            Error::invalid_argument(format_args!("the message is no text: {error}"))
        })
    }

    fn from_wire(message: wire::Message, attempt: u32) -> Message {
        let time = Duration::from_millis(message.time_ms);
        Message {
            id: message.id,
            topic: message.topic,
            position: message.position,
            attempt,
            time: SystemTime::UNIX_EPOCH
                .checked_add(time)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            payload: message.payload,
            content_type: message.content_type,
            headers: message.headers,
            key: message.key,
            source: message.source,
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is handled.
    Ack,
    /// It is to come again: after this time, or after a pause that doubles with each try.
    Retry(Option<Duration>),
    /// It never will be handled, for this reason: it becomes a dead letter.
    Reject(String),
}

impl From<()> for Handled {
    fn from((): ()) -> Handled {
        Handled::Ack
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub payload: Vec<u8>,
    /// What that is: a media type.
    pub content_type: String,
    /// More about it.
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// A text.
    pub fn text(text: impl Into<String>) -> Answer {
        Answer {
            payload: text.into().into_bytes(),
            content_type: "text/plain".to_owned(),
            headers: Vec::new(),
        }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// `internal` where it can't be JSON.
    pub fn json(value: &impl Serialize) -> Result<Answer, Error> {
        Ok(Answer {
            payload: serde_json::to_vec(value)?,
            content_type: JSON.to_owned(),
            headers: Vec::new(),
        })
    }
}

pub(crate) fn handle(
    message: wire::Message,
    attempt: u32,
    hook: impl FnOnce(Message) -> Result<Handled, Error>,
) -> Result<wire::Outcome, Error> {
    Ok(match hook(Message::from_wire(message, attempt))? {
        Handled::Ack => wire::Outcome::Ack,
        Handled::Retry(after) => wire::Outcome::Retry(after.map(ms)),
        Handled::Reject(why) => wire::Outcome::Reject(why),
    })
}

pub(crate) fn respond(
    request: wire::Message,
    hook: impl FnOnce(Message) -> Result<Answer, Error>,
) -> Result<crate::bindings::tools::portreeve::messages::bus::Answer, Error> {
    let answer = hook(Message::from_wire(request, 1))?;
    Ok(crate::bindings::tools::portreeve::messages::bus::Answer {
        payload: answer.payload,
        content_type: answer.content_type,
        headers: answer.headers,
    })
}
