//! What the plugin asks of the client that called it, and tells it. Asking its model needs the
//! grant `client.sampling`, seeing where it works `client.roots`, writing to its log
//! `client.log`.
//!
//! ```toml
//! [requests.client]
//! sampling = "summarise long threads"
//! roots = "find the repository you work in"
//! log = "tell you what it skipped"
//! ```
//!
//! ```
//! use portreeve_sdk::{Error, client};
//!
//! fn summary(thread: &str) -> Result<String, Error> {
//!     client::log(client::Level::Info, &"summarising")?;
//!     let reply = client::Sampling::new(200)
//!         .system("Answer in one sentence.")
//!         .user(thread)
//!         .send()?;
//!     Ok(reply.text)
//! }
//! # assert!(summary("…").is_err());
//! ```
//!
//! Not every client can do everything: [`can`] says it beforehand, and a call for which it
//! can't fails with `unsupported`. People at the client see what its model is asked, may change
//! it and may refuse; the call's time stands still meanwhile.
//!
//! Several things are asked for at once with [`Inputs`], each under a name:
//!
//! ```
//! use portreeve_sdk::client::{Inputs, Sampling};
//! use portreeve_sdk::{Error, ui};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Who {
//!     name: String,
//! }
//!
//! fn greet() -> Result<String, Error> {
//!     let mut given = Inputs::new()
//!         .question::<Who>("who", "What is your name?")
//!         .sampling("greeting", Sampling::new(50).user("Write a greeting"))
//!         .gather()?;
//!     let greeting = given.reply("greeting")?.text;
//!     Ok(match given.answer::<Who>("who")? {
//!         ui::Answer::Accepted(who) => format!("{greeting}, {}!", who.name),
//!         _ => greeting,
//!     })
//! }
//! # assert!(greet().is_err());
//! ```

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bindings::tools::portreeve::client::{
    inputs as wire_inputs, log as wire_log, types as wire,
};
use crate::bindings::tools::portreeve::types::types as wire_types;
use crate::host::{inputs, log as host_log, roots as host_roots, sampling};
use crate::ui::{self, Answer};
use crate::{Code, Error};

/// A kind of thing that a client may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A form that somebody at the client fills in. Without it, questions wait in the host's
    /// inbox.
    Question,
    /// The client's model.
    Sampling,
    /// The places that the client works in.
    Roots,
}

/// Whether the client of this call can give such a thing.
pub fn can(kind: Kind) -> bool {
    inputs::can(match kind {
        Kind::Question => wire_inputs::Kind::Question,
        Kind::Sampling => wire_inputs::Kind::Message,
        Kind::Roots => wire_inputs::Kind::Roots,
    })
}

/// Something to ask the client's model.
#[derive(Clone, Debug)]
#[must_use = "a model is asked when the request is sent"]
pub struct Sampling {
    messages: Vec<wire::Said>,
    system: Option<String>,
    max_tokens: u32,
    options: Map<String, Value>,
}

impl Sampling {
    /// A request whose answer has so many tokens at most: 1 to 100,000.
    pub fn new(max_tokens: u32) -> Sampling {
        Sampling {
            messages: Vec::new(),
            system: None,
            max_tokens,
            options: Map::new(),
        }
    }

    fn said(mut self, role: wire::Role, content: wire_types::Content) -> Sampling {
        self.messages.push(wire::Said { role, content });
        self
    }

    /// What the person says.
    pub fn user(self, text: impl Into<String>) -> Sampling {
        self.said(wire::Role::User, wire_types::Content::Text(text.into()))
    }

    /// What the model has said.
    pub fn assistant(self, text: impl Into<String>) -> Sampling {
        let text = wire_types::Content::Text(text.into());
        self.said(wire::Role::Assistant, text)
    }

    /// An image or a sound that the person shows, with its media type.
    pub fn media(self, data: Vec<u8>, mime_type: impl Into<String>) -> Sampling {
        let mime_type = mime_type.into();
        let blob = wire_types::Blob { data, mime_type };
        self.said(wire::Role::User, wire_types::Content::Blob(blob))
    }

    /// What the model is told before; the client may change it.
    pub fn system(mut self, text: impl Into<String>) -> Sampling {
        self.system = Some(text.into());
        self
    }

    /// How freely it answers, from 0 to 1.
    pub fn temperature(mut self, temperature: f64) -> Sampling {
        self.options
            .insert("temperature".to_owned(), temperature.into());
        self
    }

    /// Where it stops, before it says any of these.
    pub fn stop_before(mut self, words: &[&str]) -> Sampling {
        self.options
            .insert("stopSequences".to_owned(), words.into());
        self
    }

    fn into_wire(self) -> wire::Request {
        wire::Request {
            messages: self.messages,
            system: self.system,
            max_tokens: self.max_tokens,
            options: match self.options.is_empty() {
                true => String::new(),
                false => Value::Object(self.options).to_string(),
            },
        }
    }

    /// Asks the model, and waits for what it says.
    ///
    /// # Errors
    /// `permission-denied` where it is not granted, and in a native build; `unsupported` where
    /// the client has no model; `invalid-argument` where nothing is said or too much;
    /// `rate-limited`, `quota-exceeded`, `timeout` and `unavailable` where it can't be asked
    /// now, or nobody lets it answer.
    pub fn send(self) -> Result<Reply, Error> {
        let reply = sampling::create_message(&self.into_wire()).map_err(Error::from_failure)?;
        Ok(Reply::from_wire(reply))
    }
}

/// What a model says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its text; empty where it made an image or a sound.
    pub text: String,
    /// What it made, with its media type.
    pub media: Option<(Vec<u8>, String)>,
    /// Its name.
    pub model: String,
    /// Why it stopped: `endTurn`, `stopSequence`, `maxTokens`, or another word.
    pub stop_reason: Option<String>,
}

impl Reply {
    fn from_wire(reply: wire::Reply) -> Reply {
        let (text, media) = match reply.content {
            wire_types::Content::Text(text) => (text, None),
            wire_types::Content::Blob(blob) => (String::new(), Some((blob.data, blob.mime_type))),
            wire_types::Content::Link(link) => (link.uri, None),
            wire_types::Content::Structured(text) => (text, None),
        };
        Reply {
            text,
            media,
            model: reply.model,
            stop_reason: reply.stop_reason,
        }
    }
}

/// A place that the client works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where: a `file://` URL.
    pub uri: String,
    /// What people call it.
    pub name: Option<String>,
}

fn root(root: wire::Root) -> Root {
    Root {
        uri: root.uri,
        name: root.name,
    }
}

/// The places that the client works in. They are names only: reading what is there needs a
/// grant of its own.
///
/// # Errors
/// `permission-denied` where it is not granted, and in a native build; `unsupported` where the
/// client tells of none.
pub fn roots() -> Result<Vec<Root>, Error> {
    let roots = host_roots::list_roots().map_err(Error::from_failure)?;
    Ok(roots.into_iter().map(root).collect())
}

/// How much an entry of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a mistake.
    Debug,
    /// Good to know.
    Info,
    /// Normal, but worth a look.
    Notice,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// A part is broken.
    Critical,
    /// Somebody must act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

/// Writes to the client's log: a text, or anything that is JSON, 16 KiB at most.
///
/// # Errors
/// `permission-denied` where it is not granted, and in a native build; `invalid-argument` where
/// it is too long; `rate-limited` where there is too much.
pub fn log(level: Level, data: &impl Serialize) -> Result<(), Error> {
    let level = match level {
        Level::Debug => wire_log::Level::Debug,
        Level::Info => wire_log::Level::Info,
        Level::Notice => wire_log::Level::Notice,
        Level::Warning => wire_log::Level::Warning,
        Level::Error => wire_log::Level::Error,
        Level::Critical => wire_log::Level::Critical,
        Level::Alert => wire_log::Level::Alert,
        Level::Emergency => wire_log::Level::Emergency,
    };
    let data = serde_json::to_string(data)
        .map_err(|error| Error::new(Code::InvalidArgument, format!("no JSON: {error}")))?;
    host_log::write(level, &data).map_err(Error::from_failure)
}

/// Several things to ask for at once, each under a name of its own in the whole call: 1 to 64
/// of `[A-Za-z0-9_.-]`. Some clients send answers along with their call, under these names.
#[derive(Clone, Debug, Default)]
#[must_use = "things are asked for when they are gathered"]
pub struct Inputs(Vec<wire_inputs::Input>);

impl Inputs {
    /// Nothing yet.
    pub fn new() -> Inputs {
        Inputs::default()
    }

    fn input(mut self, name: &str, want: wire_inputs::Want) -> Inputs {
        let name = name.to_owned();
        self.0.push(wire_inputs::Input { name, want });
        self
    }

    /// A `T` to fill in. Needs the grant `ui.ask`.
    pub fn question<T: JsonSchema>(self, name: &str, message: &str) -> Inputs {
        let form = wire::Form {
            message: message.to_owned(),
            schema: ui::form::<T>().to_string(),
        };
        self.input(name, wire_inputs::Want::Question(form))
    }

    /// Something to ask the model. Needs the grant `client.sampling`.
    pub fn sampling(self, name: &str, request: Sampling) -> Inputs {
        self.input(name, wire_inputs::Want::Message(request.into_wire()))
    }

    /// The places that the client works in. Needs the grant `client.roots`.
    pub fn roots(self, name: &str) -> Inputs {
        self.input(name, wire_inputs::Want::Roots)
    }

    /// Asks for all of it, 1 to 8 things, and waits.
    ///
    /// # Errors
    /// Those of [`ui::ask`], [`Sampling::send`] and [`roots`], where these are asked for.
    pub fn gather(self) -> Result<Given, Error> {
        let given = inputs::gather(&self.0).map_err(Error::from_failure)?;
        let names = self.0.into_iter().map(|input| input.name);
        Ok(Given(names.zip(given).collect()))
    }
}

/// What came of several things, by their names. Each is taken once.
#[derive(Clone, Debug)]
pub struct Given(BTreeMap<String, wire_inputs::Given>);

impl Given {
    fn take(&mut self, name: &str) -> Result<wire_inputs::Given, Error> {
        self.0
            .remove(name)
            .ok_or_else(|| Error::internal(format!("nothing is there under `{name}`")))
    }

    fn other(name: &str) -> Error {
        Error::internal(format!("what is there under `{name}` is something else"))
    }

    /// What was filled in.
    ///
    /// # Errors
    /// Nothing was asked under this name, it was no question, or it does not fit `T`.
    pub fn answer<T: DeserializeOwned>(&mut self, name: &str) -> Result<Answer<T>, Error> {
        match self.take(name)? {
            wire_inputs::Given::Answer(wire::Answer::Accepted(text)) => {
                let answer = serde_json::from_str(&text);
                answer.map(Answer::Accepted).map_err(ui::unfit)
            }
            wire_inputs::Given::Answer(wire::Answer::Declined) => Ok(Answer::Declined),
            wire_inputs::Given::Answer(wire::Answer::Dismissed) => Ok(Answer::Dismissed),
            _ => Err(Given::other(name)),
        }
    }

    /// What the model says.
    ///
    /// # Errors
    /// Nothing was asked under this name, or not the model.
    pub fn reply(&mut self, name: &str) -> Result<Reply, Error> {
        match self.take(name)? {
            wire_inputs::Given::Message(reply) => Ok(Reply::from_wire(reply)),
            _ => Err(Given::other(name)),
        }
    }

    /// The places.
    ///
    /// # Errors
    /// Nothing was asked under this name, or something else.
    pub fn roots(&mut self, name: &str) -> Result<Vec<Root>, Error> {
        match self.take(name)? {
            wire_inputs::Given::Roots(roots) => Ok(roots.into_iter().map(root).collect()),
            _ => Err(Given::other(name)),
        }
    }
}
