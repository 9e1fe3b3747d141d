//! What a tool returns when it succeeds.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bindings::tools::exports::portreeve::tools::provider as wire;
use crate::bindings::tools::portreeve::types::types as wire_types;
use crate::{Error, schema};

/// A value that a tool can return.
///
/// | Type | What the caller gets |
/// |---|---|
/// | `String`, `&'static str` | text |
/// | `()` | nothing |
/// | [`Json<T>`] | a JSON object, with the schema of `T` as the tool's output schema |
/// | [`Content`], `Vec<Content>` | text, bytes, links |
/// | [`Outcome`] | everything, under full control |
/// | `Result<T, E>` | one of these, or an error; `E` is [`Error`] or converts into it |
#[diagnostic::on_unimplemented(
    message = "a tool can't return `{Self}`",
    label = "not an answer",
    note = "return `String`, `Json<T>` (`T: Serialize + JsonSchema`), `Content`, `Outcome`, or a \
            `Result` of one of them"
)]
pub trait Answer {
    /// Turns the value into pieces of content.
    ///
    /// # Errors
    /// The error that the tool returned, or that the value has no JSON form.
    fn into_outcome(self) -> Result<Outcome, Error>;

    /// The JSON Schema of the structured content, where there is some.
    fn output_schema() -> Option<Map<String, Value>> {
        None
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text for a person or a model.
    Text(String),
    /// Bytes: images and audio are shown as such, others are embedded.
    Blob {
        /// The bytes.
        data: Vec<u8>,
        /// The media type, such as `image/png`.
        mime_type: String,
    },
    /// A pointer to something that the caller can fetch.
    Link {
        /// Where it is.
        uri: String,
        /// What to call it.
        name: String,
        /// The media type, where it is known.
        mime_type: Option<String>,
    },
    /// A JSON object for a program; at most one in an answer.
    Structured(Map<String, Value>),
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes with their media type.
    pub fn blob(data: impl Into<Vec<u8>>, mime_type: impl Into<String>) -> Self {
        Self::Blob {
            data: data.into(),
            mime_type: mime_type.into(),
        }
    }

    /// A pointer with a name.
    pub fn link(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Link {
            uri: uri.into(),
            name: name.into(),
            mime_type: None,
        }
    }

    fn into_wire(self) -> wire_types::Content {
        match self {
            Self::Text(text) => wire_types::Content::Text(text),
            Self::Blob { data, mime_type } => {
                wire_types::Content::Blob(wire_types::Blob { data, mime_type })
            }
            Self::Link {
                uri,
                name,
                mime_type,
            } => wire_types::Content::Link(wire_types::Link {
                uri,
                name,
                mime_type,
            }),
            Self::Structured(object) => {
                wire_types::Content::Structured(Value::Object(object).to_string())
            }
        }
    }
}

/// The whole answer of a tool.
///
/// ```
/// use portreeve_sdk::{Content, Outcome};
///
/// let outcome = Outcome::new()
///     .with(Content::text("The chart of last week:"))
///     .with(Content::blob([0x89, b'P', b'N', b'G'], "image/png"))
///     .meta("acme.rows", "7");
/// assert_eq!(outcome.content.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The pieces, in order.
    pub content: Vec<Content>,
    /// Whether the pieces report an error; an [`Error`], which carries a code, is better.
    pub is_error: bool,
    /// Open pairs that go to the caller with the answer. Names are dotted, lower case.
    pub meta: Vec<(String, String)>,
}

impl Outcome {
    /// An answer without content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece.
    #[must_use]
    pub fn with(mut self, content: Content) -> Self {
        self.content.push(content);
        self
    }

    /// Appends a pair of name and value.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.push((name.into(), value.into()));
        self
    }

    /// The form of the contract.
    ///
    /// # Errors
    /// Where there is more than one structured piece.
    pub(crate) fn into_wire(self) -> Result<wire::Outcome, Error> {
        let structured = |content: &&Content| matches!(content, Content::Structured(_));
        if self.content.iter().filter(structured).count() > 1 {
            return Err(Error::internal(
                "the tool answered with more than one structured piece; an answer has at most one",
            ));
        }
        Ok(wire::Outcome {
            content: self.content.into_iter().map(Content::into_wire).collect(),
            is_error: self.is_error,
            meta: self.meta,
        })
    }
}

impl From<Content> for Outcome {
    fn from(content: Content) -> Self {
        Self::new().with(content)
    }
}

/// A structured answer: an object for a program, with `T`'s schema as the tool's output schema.
///
/// `T` is a struct with named fields (or a map): what MCP calls structured content is an
/// object. A list goes into a field, whose name then tells the model what it holds.
///
/// ```
/// use portreeve_sdk::{Answer, Json};
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct Found {
///     /// Ids of the issues, newest first.
///     ids: Vec<u64>,
/// }
///
/// let outcome = Json(Found { ids: vec![7, 4] }).into_outcome()?;
/// assert_eq!(outcome.content.len(), 1);
/// # Ok::<(), portreeve_sdk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Json<T>(pub T);

impl<T: Serialize + JsonSchema> Answer for Json<T> {
    fn into_outcome(self) -> Result<Outcome, Error> {
        match serde_json::to_value(self.0) {
            Ok(Value::Object(object)) => Ok(Content::Structured(object).into()),
            Ok(_) => Err(schema::not_an_object::<T>()),
            Err(error) => Err(Error::internal(format_args!(
                "the answer has no JSON form: {error}"
            ))),
        }
    }

    fn output_schema() -> Option<Map<String, Value>> {
        Some(schema::output::<T>())
    }
}

impl Answer for String {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(Content::Text(self).into())
    }
}

impl Answer for &'static str {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(Content::text(self).into())
    }
}

impl Answer for () {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(Outcome::new())
    }
}

impl Answer for Content {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(self.into())
    }
}

impl Answer for Vec<Content> {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(Outcome {
            content: self,
            ..Outcome::default()
        })
    }
}

impl Answer for Outcome {
    fn into_outcome(self) -> Result<Outcome, Error> {
        Ok(self)
    }
}

impl<T: Answer, E: Into<Error>> Answer for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, Error> {
        self.map_err(Into::into)?.into_outcome()
    }

    fn output_schema() -> Option<Map<String, Value>> {
        T::output_schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer() {
        let one = |content: Content| Ok(Outcome::from(content));
        assert_eq!("a".into_outcome(), one(Content::text("a")));
        assert_eq!(String::from("a").into_outcome(), one(Content::text("a")));
        assert_eq!(().into_outcome(), Ok(Outcome::new()));
        assert_eq!(Ok::<_, Error>("a").into_outcome(), one(Content::text("a")));
        assert_eq!(
            Err::<String, _>("x".parse::<u8>().unwrap_err()).into_outcome(),
            Err(Error::internal("invalid digit found in string"))
        );
        let pieces = vec![
            Content::text("a"),
            Content::link("https://example.com/", "b"),
        ];
        assert_eq!(
            pieces.clone().into_outcome().map(|outcome| outcome.content),
            Ok(pieces)
        );
    }

    #[test]
    fn a_structured_answer_must_be_an_object() {
        assert!(Json(vec![1, 2]).into_outcome().is_err());
        assert!(
            Json(None::<std::collections::BTreeMap<String, u8>>)
                .into_outcome()
                .is_err()
        );
        let map = std::collections::BTreeMap::from([("a".to_owned(), 1)]);
        let outcome = Json(map).into_outcome().unwrap().into_wire().unwrap();
        assert!(matches!(
            outcome.content.as_slice(),
            [wire_types::Content::Structured(json)] if json == r#"{"a":1}"#
        ));
    }

    #[test]
    fn at_most_one_structured_piece() {
        let outcome = Outcome::new()
            .with(Content::Structured(Map::new()))
            .with(Content::text("and"))
            .with(Content::Structured(Map::new()));
        assert_eq!(
            outcome.into_wire().unwrap_err().code(),
            crate::Code::Internal
        );
    }
}
