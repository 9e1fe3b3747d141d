//! `portreeve:client`: what a plugin asks of the client that called it, and tells it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use portreeve_manifest::form::Form;
use portreeve_manifest::json::{self, JsonLimits};
use serde_json::{Map, Value};
use url::Url;

use super::prompt::{QUESTIONS_MAX, Reply};
use crate::answer::Content;
use crate::bindings::portreeve::client::{inputs, log, roots, sampling, types as wire};
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Pieces of a conversation that the model is asked to go on with.
const MESSAGES_MAX: usize = 100;

/// Longest conversation, in bytes.
const CONVERSATION_BYTES_MAX: usize = 1 << 20;

/// Most tokens that a model is asked for.
const TOKENS_MAX: u32 = 100_000;

/// Longest entry of a log, in bytes.
const ENTRY_BYTES_MAX: usize = 16 << 10;

/// Deepest JSON that goes to a client.
const DEPTH_MAX: usize = 32;

/// Longest name of an input.
const NAME_BYTES_MAX: usize = 64;

/// Roots of a client that a plugin is told of.
const ROOTS_MAX: usize = 1_000;

/// What a request to a model may say besides, as `wit/client` promises.
const OPTIONS: [&str; 3] = ["temperature", "stopSequences", "modelPreferences"];

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKind {
    /// A form that somebody fills in.
    Question,
    /// Something that the client's model says.
    Message,
    /// The places that the client works in.
    Roots,
}

/// Something that a call asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What the plugin calls it, where it has a name.
    pub name: Option<String>,
    /// What it is.
    pub want: InputWant,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum InputWant {
    /// A form to fill in.
    Question(Form),
    /// Something that the model says.
    Message(SamplingRequest),
    /// The places that the client works in.
    Roots,
}

impl InputWant {
    /// Its kind.
    pub const fn kind(&self) -> InputKind {
        match self {
            InputWant::Question(_) => InputKind::Question,
            InputWant::Message(_) => InputKind::Message,
            InputWant::Roots => InputKind::Roots,
        }
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// By whom.
    pub role: Speaker,
    /// What: text, or bytes.
    pub content: Content,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingRequest {
    /// What was said so far.
    pub messages: Vec<Utterance>,
    /// What the model is told before.
    pub system: Option<String>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Members of the protocol's own that are passed on as they are.
    pub options: Map<String, Value>,
}

/// What a model says.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingReply {
    /// By whom, and what.
    pub said: Utterance,
    /// The model's name.
    pub model: String,
    /// Why it stopped.
    pub stop_reason: Option<String>,
}

/// A place that the client works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where.
    pub uri: String,
    /// What people call it.
    pub name: Option<String>,
}

/// What came of what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum InputReply {
    /// What became of the form.
    Answer(Reply),
    /// What the model says.
    Message(SamplingReply),
    /// The places.
    Roots(Vec<Root>),
}

/// How much an entry of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "documented where they are defined: wit/client")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// An entry of the client's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub data: Value,
}

/// Reaches a call's client for a plugin. Each use asks again: grants may have changed.
#[async_trait]
pub trait ClientSource: Send + Sync {
    /// Whether the client can give such a thing.
    fn can(&self, kind: InputKind) -> bool;

    /// Whether the plugin may ask for such a thing now.
    ///
    /// # Errors
    /// It is not granted.
    fn may_ask_for(&self, kind: InputKind) -> Result<(), Failure>;

    /// Asks for all of these, and waits for them, one for each and of its kind. The call's
    /// clock stands still meanwhile: whoever implements this bounds how long it takes.
    ///
    /// # Errors
    /// The client can't give it, too many wait already, or nobody answers.
    async fn gather(&self, inputs: Vec<Input>) -> Result<Vec<InputReply>, Failure>;

    /// Whether the plugin may write to the client's log now.
    ///
    /// # Errors
    /// It is not granted.
    fn may_log(&self) -> Result<(), Failure>;

    /// Writes to the client's log.
    ///
    /// # Errors
    /// There is too much.
    fn log(&self, entry: LogEntry) -> Result<(), Failure>;
}

/// Where nothing is granted, and no client is there.
#[derive(Clone, Copy, Debug)]
pub struct NoClient;

fn none<T>() -> Result<T, Failure> {
    Err(Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant",
    ))
}

#[async_trait]
impl ClientSource for NoClient {
    fn can(&self, _: InputKind) -> bool {
        false
    }

    fn may_ask_for(&self, _: InputKind) -> Result<(), Failure> {
        none()
    }

    async fn gather(&self, _: Vec<Input>) -> Result<Vec<InputReply>, Failure> {
        none()
    }

    fn may_log(&self) -> Result<(), Failure> {
        none()
    }

    fn log(&self, _: LogEntry) -> Result<(), Failure> {
        none()
    }
}

fn invalid(reason: &str, message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, reason, message)
}

fn parse(text: &str, bytes_max: usize) -> Result<Value, String> {
    let limits = JsonLimits {
        bytes_max,
        depth_max: DEPTH_MAX,
    };
    json::parse(text, &limits).map_err(|error| error.to_string())
}

/// A piece of a conversation: what a client's model can be shown.
fn said(said: wire::Said) -> Result<Utterance, Failure> {
    let content = match said.content {
        wit::Content::Text(text) => Content::Text(text),
        wit::Content::Blob(blob)
            if blob.mime_type.starts_with("image/") || blob.mime_type.starts_with("audio/") =>
        {
            Content::Blob {
                data: blob.data,
                mime_type: blob.mime_type,
            }
        }
        wit::Content::Blob(blob) => {
            let shown: String = blob.mime_type.chars().take(100).collect();
            return Err(invalid(
                "content",
                format!("a model is shown text, images and audio, and not {shown:?}"),
            ));
        }
        wit::Content::Link(_) | wit::Content::Structured(_) => {
            return Err(invalid(
                "content",
                "a model is shown text, images and audio; put links and objects into a text",
            ));
        }
    };
    let role = match said.role {
        wire::Role::User => Speaker::User,
        wire::Role::Assistant => Speaker::Assistant,
    };
    Ok(Utterance { role, content })
}

fn bytes(content: &Content) -> usize {
    match content {
        Content::Text(text) => text.len(),
        Content::Blob { data, mime_type } => data.len().saturating_add(mime_type.len()),
        Content::Link { uri, name, .. } => uri.len().saturating_add(name.len()),
    }
}

fn request(request: wire::Request) -> Result<SamplingRequest, Failure> {
    let count = request.messages.len();
    if !(1..=MESSAGES_MAX).contains(&count) {
        return Err(invalid(
            "messages",
            format!("{count} messages are sent, but it may be 1 to {MESSAGES_MAX}"),
        ));
    }
    if !(1..=TOKENS_MAX).contains(&request.max_tokens) {
        return Err(invalid(
            "max-tokens",
            format!(
                "{} tokens are asked for, but it may be 1 to {TOKENS_MAX}",
                request.max_tokens
            ),
        ));
    }
    let messages: Vec<Utterance> = request
        .messages
        .into_iter()
        .map(said)
        .collect::<Result<_, _>>()?;
    let system = request.system.as_ref().map_or(0, String::len);
    let all = messages
        .iter()
        .map(|said| bytes(&said.content))
        .fold(system, usize::saturating_add);
    if all > CONVERSATION_BYTES_MAX {
        return Err(invalid(
            "messages",
            format!("the conversation has {all} bytes, but it may be {CONVERSATION_BYTES_MAX}"),
        ));
    }
    Ok(SamplingRequest {
        messages,
        system: request.system,
        max_tokens: request.max_tokens,
        options: options(&request.options)?,
    })
}

fn options(text: &str) -> Result<Map<String, Value>, Failure> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    let wrong = |why: String| invalid("options", format!("the options {why}"));
    let Value::Object(options) =
        parse(text, ENTRY_BYTES_MAX).map_err(|why| wrong(format!("are no JSON: {why}")))?
    else {
        return Err(wrong("are no JSON object".to_owned()));
    };
    for (name, value) in &options {
        let fits = match name.as_str() {
            "temperature" => value.is_number(),
            "stopSequences" => value
                .as_array()
                .is_some_and(|each| each.iter().all(Value::is_string)),
            "modelPreferences" => value.is_object(),
            _ => {
                let shown: String = name.chars().take(100).collect();
                return Err(wrong(format!(
                    "have the member {shown:?}; there are {}",
                    OPTIONS.join(", ")
                )));
            }
        };
        if !fits {
            return Err(wrong(format!("have a `{name}` of another type")));
        }
    }
    Ok(options)
}

/// Names are as those that clients send back.
fn name(name: String) -> Result<String, Failure> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits {
        return Ok(name);
    }
    Err(invalid(
        "name",
        format!("an input's name has 1 to {NAME_BYTES_MAX} of [A-Za-z0-9_.-]"),
    ))
}

fn want(want: inputs::Want) -> Result<InputWant, Failure> {
    Ok(match want {
        inputs::Want::Question(form) => {
            let form = Form::read(&form.message, &form.schema);
            InputWant::Question(form.map_err(|error| invalid("form", error.to_string()))?)
        }
        inputs::Want::Message(asked) => InputWant::Message(request(asked)?),
        inputs::Want::Roots => InputWant::Roots,
    })
}

fn kind(want: &inputs::Want) -> InputKind {
    match want {
        inputs::Want::Question(_) => InputKind::Question,
        inputs::Want::Message(_) => InputKind::Message,
        inputs::Want::Roots => InputKind::Roots,
    }
}

fn lost() -> Failure {
    Failure::new(ErrorCode::Internal, "no-answer", "the answer was lost")
}

impl From<Reply> for wire::Answer {
    fn from(reply: Reply) -> wire::Answer {
        match reply {
            Reply::Accepted(answer) => wire::Answer::Accepted(Value::Object(answer).to_string()),
            Reply::Declined => wire::Answer::Declined,
            Reply::Dismissed => wire::Answer::Dismissed,
        }
    }
}

impl TryFrom<SamplingReply> for wire::Reply {
    type Error = Failure;

    fn try_from(reply: SamplingReply) -> Result<wire::Reply, Failure> {
        let content = match reply.said.content {
            Content::Text(text) => wit::Content::Text(text),
            Content::Blob { data, mime_type } => wit::Content::Blob(wit::Blob { data, mime_type }),
            Content::Link { .. } => return Err(lost()),
        };
        Ok(wire::Reply {
            role: match reply.said.role {
                Speaker::User => wire::Role::User,
                Speaker::Assistant => wire::Role::Assistant,
            },
            content,
            model: reply.model,
            stop_reason: reply.stop_reason,
        })
    }
}

/// The places that are written as URLs of files; what else a client says is no place.
fn places(roots: Vec<Root>) -> Vec<wire::Root> {
    let files = roots.into_iter().filter(|root| {
        let url = Url::parse(&root.uri);
        url.is_ok_and(|url| url.scheme() == "file")
    });
    let wire = files.map(|root| wire::Root {
        uri: root.uri,
        name: root.name,
    });
    wire.take(ROOTS_MAX).collect()
}

impl Guest {
    async fn gathered(&mut self, inputs: Vec<Input>) -> Result<Vec<InputReply>, Failure> {
        let source = self.context.client.clone();
        let kinds: Vec<InputKind> = inputs.iter().map(|input| input.want.kind()).collect();
        let clock = self.clock.clone();
        let standstill = clock.stop();
        let given = source.gather(inputs).await?;
        drop(standstill);
        let fits = |(kind, given): (&InputKind, &InputReply)| {
            matches!(
                (kind, given),
                (InputKind::Question, InputReply::Answer(_))
                    | (InputKind::Message, InputReply::Message(_))
                    | (InputKind::Roots, InputReply::Roots(_))
            )
        };
        if kinds.len() != given.len() || !kinds.iter().zip(&given).all(fits) {
            return Err(lost());
        }
        self.fits_a_host_call(&given)?;
        Ok(given)
    }

    /// What a client says is no longer than what a host call may carry.
    fn fits_a_host_call(&self, given: &[InputReply]) -> Result<(), Failure> {
        let said = given.iter().map(|given| match given {
            InputReply::Message(reply) => bytes(&reply.said.content),
            InputReply::Roots(roots) => roots
                .iter()
                .map(|root| root.uri.len() + root.name.as_ref().map_or(0, String::len))
                .fold(0, usize::saturating_add),
            // Held against its form.
            InputReply::Answer(_) => 0,
        });
        let (said, allowed) = (said.fold(0, usize::saturating_add), self.copy_max);
        if said <= allowed {
            return Ok(());
        }
        Err(Failure::new(
            ErrorCode::QuotaExceeded,
            "limit-host-call",
            format!(
                "the client answered with {said} bytes, more than the {allowed} that the setting `host-call` in the plugin's `limits` allows"
            ),
        ))
    }

    async fn one(&mut self, want: InputWant) -> Result<InputReply, Failure> {
        let input = Input { name: None, want };
        self.gathered(vec![input]).await?.pop().ok_or_else(lost)
    }
}

impl wire::Host for Guest {}

impl sampling::Host for Guest {
    async fn create_message(&mut self, asked: wire::Request) -> Result<wire::Reply, wit::Failure> {
        self.context.client.may_ask_for(InputKind::Message)?;
        match self.one(InputWant::Message(request(asked)?)).await? {
            InputReply::Message(reply) => Ok(reply.try_into()?),
            _ => Err(lost().into()),
        }
    }
}

impl roots::Host for Guest {
    async fn list_roots(&mut self) -> Result<Vec<wire::Root>, wit::Failure> {
        self.context.client.may_ask_for(InputKind::Roots)?;
        match self.one(InputWant::Roots).await? {
            InputReply::Roots(roots) => Ok(places(roots)),
            _ => Err(lost().into()),
        }
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, data: String) -> Result<(), wit::Failure> {
        let source = self.context.client.clone();
        source.may_log()?;
        let data = parse(&data, ENTRY_BYTES_MAX)
            .map_err(|why| invalid("data", format!("the entry is refused: {why}")))?;
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Notice => LogLevel::Notice,
            log::Level::Warning => LogLevel::Warning,
            log::Level::Error => LogLevel::Error,
            log::Level::Critical => LogLevel::Critical,
            log::Level::Alert => LogLevel::Alert,
            log::Level::Emergency => LogLevel::Emergency,
        };
        Ok(source.log(LogEntry { level, data })?)
    }
}

impl inputs::Host for Guest {
    async fn can(&mut self, kind: inputs::Kind) -> bool {
        self.context.client.can(match kind {
            inputs::Kind::Question => InputKind::Question,
            inputs::Kind::Message => InputKind::Message,
            inputs::Kind::Roots => InputKind::Roots,
        })
    }

    async fn gather(
        &mut self,
        asked: Vec<inputs::Input>,
    ) -> Result<Vec<inputs::Given>, wit::Failure> {
        for input in &asked {
            self.context.client.may_ask_for(kind(&input.want))?;
        }
        let count = asked.len();
        if !(1..=QUESTIONS_MAX).contains(&count) {
            let why =
                format!("{count} things are asked for at once, but it may be 1 to {QUESTIONS_MAX}");
            return Err(invalid("inputs", why).into());
        }
        let mut names = BTreeSet::new();
        let mut inputs = Vec::with_capacity(count);
        for input in asked {
            let name = name(input.name)?;
            if !names.insert(name.clone()) {
                let why = format!("two inputs have the name `{name}`");
                return Err(invalid("name", why).into());
            }
            inputs.push(Input {
                name: Some(name),
                want: want(input.want)?,
            });
        }
        let given = self.gathered(inputs).await?.into_iter();
        let given = given.map(|given| {
            Ok::<_, Failure>(match given {
                InputReply::Answer(reply) => inputs::Given::Answer(reply.into()),
                InputReply::Message(reply) => inputs::Given::Message(reply.try_into()?),
                InputReply::Roots(roots) => inputs::Given::Roots(places(roots)),
            })
        });
        Ok(given.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn text(text: &str) -> wire::Said {
        wire::Said {
            role: wire::Role::User,
            content: wit::Content::Text(text.to_owned()),
        }
    }

    fn check(asked: wire::Request, expected: Expect) {
        expected.assert_eq(&match request(asked) {
            Ok(_) => "sent".to_owned(),
            Err(failure) => format!("{}: {}", failure.reason, failure.message),
        });
    }

    fn asked() -> wire::Request {
        wire::Request {
            messages: vec![text("hi")],
            system: None,
            max_tokens: 100,
            options: String::new(),
        }
    }

    #[test]
    fn what_a_model_can_not_be_asked_is_refused() {
        check(asked(), expect!["sent"]);
        let messages = Vec::new();
        check(
            wire::Request {
                messages,
                ..asked()
            },
            expect!["messages: 0 messages are sent, but it may be 1 to 100"],
        );
        let max_tokens = 0;
        check(
            wire::Request {
                max_tokens,
                ..asked()
            },
            expect!["max-tokens: 0 tokens are asked for, but it may be 1 to 100000"],
        );
        let system = Some("x".repeat(CONVERSATION_BYTES_MAX));
        check(
            wire::Request { system, ..asked() },
            expect!["messages: the conversation has 1048578 bytes, but it may be 1048576"],
        );
        let blob = |mime_type: &str| wire::Request {
            messages: vec![wire::Said {
                role: wire::Role::User,
                content: wit::Content::Blob(wit::Blob {
                    data: vec![1],
                    mime_type: mime_type.to_owned(),
                }),
            }],
            ..asked()
        };
        check(blob("image/png"), expect!["sent"]);
        check(
            blob("application/pdf"),
            expect![[
                r#"content: a model is shown text, images and audio, and not "application/pdf""#
            ]],
        );
        let structured = wire::Request {
            messages: vec![wire::Said {
                role: wire::Role::User,
                content: wit::Content::Structured("{}".to_owned()),
            }],
            ..asked()
        };
        check(
            structured,
            expect![
                "content: a model is shown text, images and audio; put links and objects into a text"
            ],
        );
    }

    #[test]
    fn options_are_those_that_the_protocol_has() {
        for (options, expected) in [
            ("", "sent"),
            ("{}", "sent"),
            (
                r#"{"temperature": 0.5, "stopSequences": ["a"], "modelPreferences": {}}"#,
                "sent",
            ),
            (
                r#"{"includeContext": "allServers"}"#,
                "options: the options have the member \"includeContext\"; there are temperature, stopSequences, modelPreferences",
            ),
            (
                r#"{"stopSequences": [1]}"#,
                "options: the options have a `stopSequences` of another type",
            ),
            ("[]", "options: the options are no JSON object"),
        ] {
            let options = options.to_owned();
            let result = request(wire::Request { options, ..asked() });
            let shown = match result {
                Ok(_) => "sent".to_owned(),
                Err(failure) => format!("{}: {}", failure.reason, failure.message),
            };
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn names_of_inputs_can_be_sent_back() {
        for (text, fits) in [
            ("user_name", true),
            ("a.b-1", true),
            ("", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(name(text.to_owned()).is_ok(), fits, "{text}");
        }
        assert!(name("x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(name("x".repeat(NAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn places_are_files() {
        let root = |uri: &str| Root {
            uri: uri.to_owned(),
            name: None,
        };
        let listed = places(vec![
            root("file:///work"),
            root("https://example.com/"),
            root("work"),
        ]);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].uri, "file:///work");
        assert_eq!(places(vec![root("file:///a"); 2_000]).len(), ROOTS_MAX);
    }
}
