//! `portreeve:messages`: what a guest publishes and asks, and how it is given a message.

use std::time::Duration;

use async_trait::async_trait;
use wasmtime::component::Resource;

use crate::bindings::exports::portreeve::messages::handler;
use crate::bindings::portreeve::messages::{bus, message};
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Bytes of options that one handle may hold; the broker's own bounds are smaller for each.
const OPTIONS_BYTES_MAX: usize = 64 << 10;

/// How long a request waits for its answer where the plugin doesn't say, in milliseconds.
const ANSWER_MS: u64 = 10_000;

/// What is left of a call when no answer came: it may still do without.
const REACTION: Duration = Duration::from_millis(100);

/// A message that a guest sends. Nothing of it has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentMessage {
    /// Where to.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// What may be said besides.
    pub options: MessageOptions,
}

/// What may be said of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageOptions {
    /// A media type.
    pub content_type: Option<String>,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// What keeps it in order with others.
    pub key: Option<String>,
    /// What enters the topic once.
    pub dedup_id: Option<String>,
    /// How much later it enters.
    pub delay_ms: u64,
    /// When it ends.
    pub ttl_ms: Option<u64>,
    /// How long an answer may take.
    pub timeout_ms: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedMessage {
    /// Its id.
    pub id: String,
    /// Whether it had entered before.
    pub duplicate: bool,
    /// Whether it became a dead letter.
    pub dead: bool,
}

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageAnswer {
    /// What it says.
    pub payload: Vec<u8>,
    /// A media type.
    pub content_type: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// A message that a guest is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenMessage {
    /// Its id.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// Its place in the topic.
    pub position: u64,
    /// When it was published.
    pub time_ms: u64,
    /// What it says.
    pub payload: Vec<u8>,
    /// A media type.
    pub content_type: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// What keeps it in order with others.
    pub key: Option<String>,
    /// The plugin that sent it.
    pub source: String,
}

/// What a guest says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is handled.
    Ack,
    /// It is to come again, after a time of the guest's choice.
    Retry(Option<Duration>),
    /// It never will be.
    Reject(String),
}

/// Takes what guests send. Each use asks again: grants may have changed.
#[async_trait]
pub trait MessageBus: Send + Sync {
    /// Publishes a message.
    ///
    /// # Errors
    /// It is not granted, is none, is too much, or can't be written.
    async fn publish(&self, message: SentMessage) -> Result<PublishedMessage, Failure>;

    /// Asks, and waits for the answer for so long.
    ///
    /// # Errors
    /// As [`MessageBus::publish`]; nobody answers, or not in time; or the failure of who did.
    async fn request(
        &self,
        message: SentMessage,
        timeout: Duration,
    ) -> Result<MessageAnswer, Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoMessages;

fn none() -> Failure {
    Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant",
    )
}

#[async_trait]
impl MessageBus for NoMessages {
    async fn publish(&self, _: SentMessage) -> Result<PublishedMessage, Failure> {
        Err(none())
    }

    async fn request(&self, _: SentMessage, _: Duration) -> Result<MessageAnswer, Failure> {
        Err(none())
    }
}

/// A handle of a guest.
#[derive(Default)]
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub struct OptionsHandle {
    options: MessageOptions,
    bytes: usize,
    /// More was set than may be; said when it is used, since setters can't.
    over: bool,
}

impl OptionsHandle {
    fn set(&mut self, bytes: usize, set: impl FnOnce(&mut MessageOptions)) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > OPTIONS_BYTES_MAX {
            self.over = true;
        } else {
            set(&mut self.options);
        }
    }
}

impl Guest {
    fn options(
        &mut self,
        handle: &Resource<OptionsHandle>,
        bytes: usize,
        set: impl FnOnce(&mut MessageOptions),
    ) -> wasmtime::Result<()> {
        // A handle that is none was made up: the guest is stopped.
        self.table().get_mut(handle)?.set(bytes, set);
        Ok(())
    }

    fn sent(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        options: Option<Resource<OptionsHandle>>,
    ) -> Result<SentMessage, wit::Failure> {
        let mut message = SentMessage {
            topic,
            payload,
            options: MessageOptions::default(),
        };
        if let Some(handle) = options {
            let refuse = |told: String| {
                wit::Failure::from(Failure::new(ErrorCode::InvalidArgument, "options", told))
            };
            let held = self.table().get(&handle);
            let held = held.map_err(|error| refuse(error.to_string()))?;
            if held.over {
                return Err(refuse(format!(
                    "the options of a message have at most {OPTIONS_BYTES_MAX} bytes"
                )));
            }
            message.options = held.options.clone();
        }
        Ok(message)
    }
}

impl bus::Host for Guest {
    async fn publish(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        options: Option<Resource<OptionsHandle>>,
    ) -> wasmtime::Result<Result<bus::Published, wit::Failure>> {
        let message = match self.sent(topic, payload, options) {
            Ok(message) => message,
            Err(failure) => return Ok(Err(failure)),
        };
        let published = self.context.messages.clone().publish(message).await;
        Ok(published
            .map_err(wit::Failure::from)
            .map(|published| bus::Published {
                id: published.id,
                duplicate: published.duplicate,
                dead: published.dead,
            }))
    }

    async fn request(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        options: Option<Resource<OptionsHandle>>,
    ) -> wasmtime::Result<Result<bus::Answer, wit::Failure>> {
        let message = match self.sent(topic, payload, options) {
            Ok(message) => message,
            Err(failure) => return Ok(Err(failure)),
        };
        let asked = message.options.timeout_ms.unwrap_or(ANSWER_MS);
        let left = self.clock.left().saturating_sub(REACTION);
        let timeout = Duration::from_millis(asked).min(left);
        let messages = self.context.messages.clone();
        let cancel = self.context.cancel.clone();
        let answer = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                Err(Failure::new(ErrorCode::Cancelled, "cancelled", "the call was cancelled"))
            }
            answer = messages.request(message, timeout) => answer,
        };
        Ok(answer
            .map_err(wit::Failure::from)
            .map(|answer| bus::Answer {
                payload: answer.payload,
                content_type: answer.content_type,
                headers: answer.headers,
            }))
    }
}

impl bus::HostOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<OptionsHandle>> {
        Ok(self.table().push(OptionsHandle::default())?)
    }

    async fn set_content_type(
        &mut self,
        handle: Resource<OptionsHandle>,
        content_type: String,
    ) -> wasmtime::Result<()> {
        self.options(&handle, content_type.len(), |options| {
            options.content_type = Some(content_type);
        })
    }

    async fn set_header(
        &mut self,
        handle: Resource<OptionsHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<()> {
        // What a pair takes besides its bytes counts, too.
        let bytes = name.len().saturating_add(value.len()).saturating_add(64);
        self.options(&handle, bytes, |options| {
            options.headers.push((name, value))
        })
    }

    async fn set_key(
        &mut self,
        handle: Resource<OptionsHandle>,
        key: String,
    ) -> wasmtime::Result<()> {
        self.options(&handle, key.len(), |options| options.key = Some(key))
    }

    async fn set_dedup_id(
        &mut self,
        handle: Resource<OptionsHandle>,
        id: String,
    ) -> wasmtime::Result<()> {
        self.options(&handle, id.len(), |options| options.dedup_id = Some(id))
    }

    async fn set_delay_ms(
        &mut self,
        handle: Resource<OptionsHandle>,
        delay_ms: u64,
    ) -> wasmtime::Result<()> {
        self.options(&handle, 0, |options| options.delay_ms = delay_ms)
    }

    async fn set_ttl_ms(
        &mut self,
        handle: Resource<OptionsHandle>,
        ttl_ms: u64,
    ) -> wasmtime::Result<()> {
        self.options(&handle, 0, |options| options.ttl_ms = Some(ttl_ms))
    }

    async fn set_timeout_ms(
        &mut self,
        handle: Resource<OptionsHandle>,
        timeout_ms: u64,
    ) -> wasmtime::Result<()> {
        self.options(&handle, 0, |options| options.timeout_ms = Some(timeout_ms))
    }

    async fn drop(&mut self, handle: Resource<OptionsHandle>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl message::Host for Guest {}

impl From<&GivenMessage> for message::Message {
    fn from(given: &GivenMessage) -> message::Message {
        message::Message {
            id: given.id.clone(),
            topic: given.topic.clone(),
            position: given.position,
            time_ms: given.time_ms,
            payload: given.payload.clone(),
            content_type: given.content_type.clone(),
            headers: given.headers.clone(),
            key: given.key.clone(),
            source: given.source.clone(),
        }
    }
}

impl From<handler::Outcome> for Handled {
    fn from(outcome: handler::Outcome) -> Handled {
        match outcome {
            handler::Outcome::Ack => Handled::Ack,
            handler::Outcome::Retry(after) => Handled::Retry(after.map(Duration::from_millis)),
            handler::Outcome::Reject(why) => Handled::Reject(why),
        }
    }
}

impl From<bus::Answer> for MessageAnswer {
    fn from(answer: bus::Answer) -> MessageAnswer {
        MessageAnswer {
            payload: answer.payload,
            content_type: answer.content_type,
            headers: answer.headers,
        }
    }
}
