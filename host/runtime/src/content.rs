//! Resources, prompts and completion: what a component is asked for, and what it answers,
//! held against its limits.

mod exports;

use portreeve_manifest::content::{
    self, Document, PROMPTS_MAX, Prompt, Resource, ResourceTemplate, TEMPLATES_MAX,
};
use portreeve_manifest::limits::Limits;
use serde_json::{Map, Value};

use crate::answer::{Content, within_result};
use crate::bindings::exports::portreeve::content::{completion, prompts, resources};
use crate::error::{CallError, ErrorCode};

pub(crate) use exports::ContentExports;

/// Resources that are asked for at once.
const PAGE_MAX: u32 = 500;

/// The longest `next` of a page, in bytes.
const NEXT_BYTES_MAX: usize = 1_024;

/// Parts of one resource, and messages of one prompt.
const PIECES_MAX: usize = 1_000;

/// Values of one completion, as the protocol allows.
const VALUES_MAX: usize = 100;

/// The longest value of a completion, in bytes; a longer one is left out.
const VALUE_BYTES_MAX: usize = 1_024;

/// What a component is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Some of its resources, from where a page ended.
    Resources(Option<String>),
    /// Its templates.
    Templates,
    /// What the resource at its own address says.
    Read(String),
    /// Its prompts.
    Prompts,
    /// A prompt, filled in.
    Prompt(String, Map<String, Value>),
    /// Values for an argument.
    Completions(Completing),
}

/// What is completed.
#[derive(Clone, Debug, PartialEq)]
pub struct Completing {
    /// What the argument belongs to.
    pub subject: Subject,
    /// Its name.
    pub argument: String,
    /// How it begins.
    pub value: String,
    /// The arguments that are filled in already.
    pub known: Map<String, Value>,
}

/// What an argument belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The prompt with the plugin's own name.
    Prompt(String),
    /// The template with the plugin's own address.
    Template(String),
}

/// What a component answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Resources, and where the rest begins.
    Resources(Vec<Resource>, Option<String>),
    /// Templates.
    Templates(Vec<ResourceTemplate>),
    /// The parts of a resource.
    Read(Vec<Part>),
    /// Prompts.
    Prompts(Vec<Prompt>),
    /// A prompt, filled in.
    Prompt(Filled),
    /// Values for an argument.
    Completions(Completions),
}

/// A part of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The plugin's own address of it.
    pub uri: String,
    /// The media type.
    pub mime_type: Option<String>,
    /// What it says.
    pub body: Body,
    /// Open pairs for the caller.
    pub meta: Vec<(String, String)>,
}

/// What is in a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A prompt, filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// What it is for.
    pub description: Option<String>,
    /// What is said.
    pub messages: Vec<Message>,
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Whether the model says it, rather than the person.
    pub by_model: bool,
    /// What is said.
    pub said: Said,
}

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// As a tool would.
    Content(Content),
    /// A resource of the plugin.
    Embedded(Part),
}

/// Values for an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// The values, the best first.
    pub values: Vec<String>,
    /// How many there are.
    pub total: Option<u32>,
    /// Whether there are more.
    pub more: bool,
}

impl Given {
    /// Bytes of all that it holds, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        let part = |part: &Part| match &part.body {
            Body::Text(text) => text.len() as u64,
            Body::Bytes(bytes) => bytes.len() as u64,
        };
        match self {
            Given::Read(parts) => parts.iter().map(part).fold(0, u64::saturating_add),
            Given::Prompt(filled) => {
                let said = filled.messages.iter().map(|message| match &message.said {
                    Said::Content(content) => content.bytes() as u64,
                    Said::Embedded(embedded) => part(embedded),
                });
                said.fold(0, u64::saturating_add)
            }
            Given::Resources(..)
            | Given::Templates(_)
            | Given::Prompts(_)
            | Given::Completions(_) => 0,
        }
    }
}

/// What a list of the plugin must be.
fn list<T: Document>(documents: &[String], max: usize) -> Result<Vec<T>, CallError> {
    T::parse_list(documents, max).map_err(|error| {
        CallError::broken(
            "invalid-list",
            format!("the plugin's list is not usable: {error}"),
        )
    })
}

fn broken(why: impl Into<String>) -> CallError {
    CallError::broken("invalid-answer", why)
}

pub(crate) fn page(page: resources::Page) -> Result<Given, CallError> {
    let items = list(&page.items, PAGE_MAX as usize)?;
    if page
        .next
        .as_ref()
        .is_some_and(|next| next.is_empty() || next.len() > NEXT_BYTES_MAX)
    {
        return Err(broken(format!(
            "the plugin's `next` has not between 1 and {NEXT_BYTES_MAX} bytes"
        )));
    }
    Ok(Given::Resources(items, page.next))
}

pub(crate) fn templates(documents: &[String]) -> Result<Given, CallError> {
    list(documents, TEMPLATES_MAX).map(Given::Templates)
}

pub(crate) fn prompts(documents: &[String]) -> Result<Given, CallError> {
    list(documents, PROMPTS_MAX).map(Given::Prompts)
}

pub(crate) fn read(parts: Vec<resources::Part>, limits: &Limits) -> Result<Given, CallError> {
    if parts.len() > PIECES_MAX {
        return Err(broken(format!(
            "the plugin answered with more than {PIECES_MAX} parts"
        )));
    }
    let mut bytes = 0;
    let parts = parts
        .into_iter()
        .map(|given| part(given, &mut bytes, limits));
    parts.collect::<Result<_, _>>().map(Given::Read)
}

fn part(part: resources::Part, bytes: &mut usize, limits: &Limits) -> Result<Part, CallError> {
    content::check_uri(&part.uri)
        .and_then(|()| content::check_mime_type(part.mime_type.as_deref()))
        .map_err(|why| broken(format!("a part of the plugin's answer is refused: {why}")))?;
    if part.meta.len() > PIECES_MAX {
        return Err(broken(format!("a part has more than {PIECES_MAX} pairs")));
    }
    let pairs = part.meta.iter();
    let pairs = pairs.map(|(name, value)| name.len().saturating_add(value.len()));
    let body = match part.body {
        resources::Body::Text(text) => Body::Text(text),
        resources::Body::Bytes(bytes) => Body::Bytes(bytes),
    };
    let size = match &body {
        Body::Text(text) => text.len(),
        Body::Bytes(bytes) => bytes.len(),
    };
    *bytes = pairs.fold(bytes.saturating_add(size), usize::saturating_add);
    within_result(*bytes, limits)?;
    Ok(Part {
        uri: part.uri,
        mime_type: part.mime_type,
        body,
        meta: part.meta,
    })
}

pub(crate) fn filled(filled: prompts::Filled, limits: &Limits) -> Result<Given, CallError> {
    if filled.messages.len() > PIECES_MAX {
        return Err(broken(format!(
            "the plugin answered with more than {PIECES_MAX} messages"
        )));
    }
    let mut bytes = filled.description.as_ref().map_or(0, String::len);
    within_result(bytes, limits)?;
    let mut messages = Vec::with_capacity(filled.messages.len());
    for message in filled.messages {
        let said = match message.content {
            prompts::Said::Text(text) => Said::Content(Content::Text(text)),
            prompts::Said::Blob(blob) => Said::Content(Content::Blob {
                data: blob.data,
                mime_type: blob.mime_type,
            }),
            prompts::Said::Link(link) => Said::Content(Content::Link {
                uri: link.uri,
                name: link.name,
                mime_type: link.mime_type,
            }),
            prompts::Said::Embedded(given) => Said::Embedded(part(given, &mut bytes, limits)?),
        };
        if let Said::Content(content) = &said {
            bytes = bytes.saturating_add(content.bytes());
            within_result(bytes, limits)?;
        }
        messages.push(Message {
            by_model: message.role == prompts::Role::Assistant,
            said,
        });
    }
    Ok(Given::Prompt(Filled {
        description: filled.description,
        messages,
    }))
}

pub(crate) fn completions(given: completion::Completions) -> Given {
    let dropped = given.values.len() > VALUES_MAX;
    let fits =
        |value: &String| value.len() <= VALUE_BYTES_MAX && !value.chars().any(char::is_control);
    let values = given.values.into_iter().filter(fits);
    Given::Completions(Completions {
        values: values.take(VALUES_MAX).collect(),
        total: given.total,
        more: given.more || dropped,
    })
}

/// The subject in the contract's form.
pub(crate) fn subject(subject: &Subject) -> completion::Subject {
    match subject {
        Subject::Prompt(name) => completion::Subject::Prompt(name.clone()),
        Subject::Template(uri) => completion::Subject::Template(uri.clone()),
    }
}

/// What a component is told that it doesn't offer.
pub(crate) fn not_exported(interface: &str) -> CallError {
    CallError::host(
        ErrorCode::Unsupported,
        "not-exported",
        format!("the component does not export portreeve:content/{interface}"),
    )
}
