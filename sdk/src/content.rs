//! Resources and prompts: what a plugin offers besides tools.
//!
//! A type that implements [`Resources`] or [`Prompts`] is named in `plugin!`:
//!
//! ```
//! use portreeve_sdk::content::{Page, Part, Resource, Resources};
//! use portreeve_sdk::{Error, plugin};
//!
//! struct Notes;
//!
//! impl Resources for Notes {
//!     fn list(_cursor: Option<&str>, _limit: u32) -> Result<Page, Error> {
//!         Ok(Page::all([Resource::new("note://7", "7").mime_type("text/plain")]))
//!     }
//!
//!     fn read(uri: &str) -> Result<Vec<Part>, Error> {
//!         match uri {
//!             "note://7" => Ok(vec![Part::text(uri, "milk")]),
//!             _ => Err(Error::not_found("there is no such note")),
//!         }
//!     }
//! }
//!
//! plugin!(resources = Notes);
//! ```
//!
//! Addresses are the plugin's own; callers see them under the plugin's name, and the host
//! translates both ways.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::bindings::content::exports::portreeve::content::{completion, prompts, resources};
use crate::error::Failure;
use crate::host::changes as host;
use crate::{Content, Error};

/// The media type of panels.
const PANEL: &str = "text/html;profile=mcp-app";

/// A resource in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The plugin's own address of it: 1 to 1,024 bytes of ASCII with a scheme.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is, for models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Hints, as in MCP: `{"audience": ["user"], "priority": 0.5}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Value>,
    /// Pictures, as in MCP; their `src` is a `data:image/…` address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Value>,
}

impl Resource {
    /// One with this address and name.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// A panel: HTML that clients show (MCP Apps). Its address begins with `ui://`. Clients see
    /// it where `ui.panels` is requested and granted.
    pub fn panel(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(uri, name).mime_type(PANEL)
    }

    /// With a name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// With what it is, for models.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// With a media type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// A kind of addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The addresses, as a template (RFC 6570): `note://{id}`.
    pub uri_template: String,
    /// Its name.
    pub name: String,
    /// What there is, for models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl Template {
    /// One with this template and name.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri_template: uri_template.into(),
            name: name.into(),
            ..Self::default()
        }
    }
}

/// Some of the resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The resources, in an order that stays.
    pub items: Vec<Resource>,
    /// Where the rest begins; none where this is all.
    pub next: Option<String>,
}

impl Page {
    /// All that there are.
    pub fn all(items: impl IntoIterator<Item = Resource>) -> Self {
        Self {
            items: items.into_iter().collect(),
            next: None,
        }
    }
}

/// A part of what was read: most resources have one.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its address.
    pub uri: String,
    /// The media type.
    pub mime_type: Option<String>,
    /// What it says.
    pub body: Body,
}

/// What is in a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Part {
    /// Plain text.
    pub fn text(uri: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some("text/plain".to_owned()),
            body: Body::Text(text.into()),
        }
    }

    /// A panel: a whole document of HTML that clients show in a frame of its own, without network.
    /// Its scripts speak MCP Apps (`ui/initialize`, `tools/call`, …) with the window around it, and
    /// find the names of their plugin's tools in `portreeve.tools`.
    pub fn panel(uri: impl Into<String>, html: impl Into<String>) -> Self {
        Self::text(uri, html).mime_type(PANEL)
    }

    /// Bytes with their media type.
    pub fn bytes(
        uri: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        mime_type: impl Into<String>,
    ) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            body: Body::Bytes(bytes.into()),
        }
    }

    /// With another media type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    fn into_wire(self) -> resources::Part {
        resources::Part {
            uri: self.uri,
            mime_type: self.mime_type,
            body: match self.body {
                Body::Text(text) => resources::Body::Text(text),
                Body::Bytes(bytes) => resources::Body::Bytes(bytes),
            },
            meta: Vec::new(),
        }
    }
}

/// Offers resources.
pub trait Resources {
    /// Some of them, from where `cursor` says: the `next` of an earlier page.
    ///
    /// # Errors
    /// Whatever keeps it from listing them.
    fn list(cursor: Option<&str>, limit: u32) -> Result<Page, Error>;

    /// The kinds of addresses. It is called without grants and kept.
    fn templates() -> Vec<Template> {
        Vec::new()
    }

    /// Reads one.
    ///
    /// # Errors
    /// `not-found` where there is none.
    fn read(uri: &str) -> Result<Vec<Part>, Error>;

    /// Values for an argument of a template, which begin as `value` does.
    fn complete(template: &str, argument: &str, value: &str) -> Vec<String> {
        let _ = (template, argument, value);
        Vec::new()
    }
}

/// A prompt in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Its name: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is filled in.
    pub arguments: Vec<Argument>,
}

/// An argument of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: String,
    /// Whether it must be there.
    pub required: bool,
}

impl Prompt {
    /// One with this name, and what it is for.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: Some(description.into()),
            ..Self::default()
        }
    }

    /// With an argument that must be there.
    #[must_use]
    pub fn required(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.arguments.push(Argument {
            name: name.into(),
            description: description.into(),
            required: true,
        });
        self
    }

    /// With an argument that may be left out.
    #[must_use]
    pub fn optional(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.arguments.push(Argument {
            name: name.into(),
            description: description.into(),
            required: false,
        });
        self
    }
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The person says it.
    User(Content),
    /// The model says it.
    Assistant(Content),
    /// The person shows a resource of the plugin.
    Shown(Part),
}

/// Offers prompts.
pub trait Prompts {
    /// The prompts. It is called without grants and kept.
    fn list() -> Vec<Prompt>;

    /// Fills one in. The host has checked the arguments against the prompt.
    ///
    /// # Errors
    /// `not-found` where there is none of that name.
    fn get(name: &str, arguments: &Map<String, Value>) -> Result<Vec<Message>, Error>;

    /// Values for an argument, which begin as `value` does.
    fn complete(prompt: &str, argument: &str, value: &str) -> Vec<String> {
        let _ = (prompt, argument, value);
        Vec::new()
    }
}

/// Tells the host that a resource has another content. Those who subscribed to it are told once
/// the call has ended well.
///
/// # Errors
/// `invalid-argument` where the address is none, `quota-exceeded` after a hundred.
pub fn updated(uri: &str) -> Result<(), Error> {
    host::updated(uri).map_err(Error::from_failure)
}

/// Tells the host that there are other resources than before.
pub fn list_changed() {
    host::list_changed();
}

/// What `plugin!` names where a plugin offers only one of the two.
#[doc(hidden)]
pub enum Nothing {}

impl Resources for Nothing {
    fn list(_: Option<&str>, _: u32) -> Result<Page, Error> {
        Ok(Page::default())
    }

    fn read(_: &str) -> Result<Vec<Part>, Error> {
        Err(Error::not_found("this plugin has no resources"))
    }
}

impl Prompts for Nothing {
    fn list() -> Vec<Prompt> {
        Vec::new()
    }

    fn get(_: &str, _: &Map<String, Value>) -> Result<Vec<Message>, Error> {
        Err(Error::not_found("this plugin has no prompts"))
    }
}

/// What `plugin!` implements for a plugin with resources or prompts.
#[doc(hidden)]
pub trait ContentPlugin {
    /// Its resources.
    type Resources: Resources;
    /// Its prompts.
    type Prompts: Prompts;
}

fn documents<T: Serialize>(list: &[T]) -> Result<Vec<String>, Failure> {
    let documents = list.iter().map(serde_json::to_string);
    let documents: Result<_, _> = documents.collect();
    documents.map_err(|error| Error::from(error).into_failure())
}

impl<P: ContentPlugin> resources::Guest for P {
    fn list_resources(cursor: Option<String>, limit: u32) -> Result<resources::Page, Failure> {
        let page = P::Resources::list(cursor.as_deref(), limit).map_err(Error::into_failure)?;
        Ok(resources::Page {
            items: documents(&page.items)?,
            next: page.next,
        })
    }

    fn list_templates() -> Result<Vec<String>, Failure> {
        documents(&P::Resources::templates())
    }

    fn read_resource(uri: String) -> Result<Vec<resources::Part>, Failure> {
        let parts = P::Resources::read(&uri).map_err(Error::into_failure)?;
        Ok(parts.into_iter().map(Part::into_wire).collect())
    }
}

impl<P: ContentPlugin> prompts::Guest for P {
    fn list_prompts() -> Result<Vec<String>, Failure> {
        documents(&P::Prompts::list())
    }

    fn get_prompt(name: String, arguments: String) -> Result<prompts::Filled, Failure> {
        let arguments =
            serde_json::from_str(&arguments).map_err(|error| Error::from(error).into_failure())?;
        let messages = P::Prompts::get(&name, &arguments).map_err(Error::into_failure)?;
        let list = P::Prompts::list();
        let prompt = list.into_iter().find(|prompt| prompt.name == name);
        let messages = messages.into_iter().map(Message::into_wire);
        Ok(prompts::Filled {
            description: prompt.and_then(|prompt| prompt.description),
            messages: messages
                .collect::<Result<_, _>>()
                .map_err(Error::into_failure)?,
        })
    }
}

impl<P: ContentPlugin> completion::Guest for P {
    fn complete(
        of: completion::Subject,
        argument: String,
        value: String,
        _known: String,
    ) -> Result<completion::Completions, Failure> {
        let values = match of {
            completion::Subject::Prompt(prompt) => P::Prompts::complete(&prompt, &argument, &value),
            completion::Subject::Template(uri) => P::Resources::complete(&uri, &argument, &value),
        };
        Ok(completion::Completions {
            values,
            total: None,
            more: false,
        })
    }
}

impl Message {
    fn into_wire(self) -> Result<prompts::Message, Error> {
        let (role, content) = match self {
            Self::User(content) => (prompts::Role::User, content),
            Self::Assistant(content) => (prompts::Role::Assistant, content),
            Self::Shown(part) => {
                return Ok(prompts::Message {
                    role: prompts::Role::User,
                    content: prompts::Said::Embedded(part.into_wire()),
                });
            }
        };
        let content = match content {
            Content::Text(text) => prompts::Said::Text(text),
            Content::Blob { data, mime_type } => {
                prompts::Said::Blob(prompts::Blob { data, mime_type })
            }
            Content::Link {
                uri,
                name,
                mime_type,
            } => prompts::Said::Link(prompts::Link {
                uri,
                name,
                mime_type,
            }),
            Content::Structured(_) => {
                return Err(Error::internal("a prompt says nothing structured"));
            }
        };
        Ok(prompts::Message { role, content })
    }
}
