//! What a plugin answered, held against its limits.

use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::wit_type::WitType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasmtime::component::Val;

use crate::bindings::exports::portreeve::tools::provider;
use crate::bindings::portreeve::types::types as wit;
use crate::error::{CallError, Failure, LimitHit};
use crate::exports::plugin_json;
use crate::values;

/// Most pieces of content in one answer.
const PIECES_MAX: usize = 1_000;

/// Longest message and reason of a plugin's failure that are passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 4_000;
const REASON_CHARS_MAX: usize = 64;

/// A tool's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The pieces for people and models, in order.
    pub content: Vec<Content>,
    /// The object for programs.
    pub structured: Option<Map<String, Value>>,
    /// Whether the tool reports an error of its own.
    pub is_error: bool,
    /// Open pairs for the caller.
    pub meta: Vec<(String, String)>,
}

impl Outcome {
    /// Bytes of all that it holds, without what JSON would add.
    pub(crate) fn bytes(&self) -> u64 {
        let content: usize = self.content.iter().map(Content::bytes).sum();
        let structured = self
            .structured
            .iter()
            .flat_map(Map::values)
            .map(value_bytes);
        structured.fold(content as u64, u64::saturating_add)
    }
}

/// As deep as an answer may be, which is bounded where it is read.
fn value_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(value_bytes).fold(0, u64::saturating_add),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| value_bytes(value).saturating_add(key.len() as u64))
            .fold(0, u64::saturating_add),
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Text.
    Text(String),
    /// Bytes with their media type.
    Blob {
        /// The bytes.
        #[serde(with = "base64_text")]
        data: Vec<u8>,
        /// The media type.
        mime_type: String,
    },
    /// A pointer.
    Link {
        /// Where it is.
        uri: String,
        /// What to call it.
        name: String,
        /// The media type, where it is known.
        mime_type: Option<String>,
    },
}

/// Bytes in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

impl Content {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Content::Text(text) => text.len(),
            Content::Blob { data, mime_type } => data.len().saturating_add(mime_type.len()),
            Content::Link {
                uri,
                name,
                mime_type,
            } => [
                uri.len(),
                name.len(),
                mime_type.as_ref().map_or(0, String::len),
            ]
            .into_iter()
            .fold(0, usize::saturating_add),
        }
    }
}

/// A provider's answer.
pub(crate) fn outcome(answer: provider::Outcome, limits: &Limits) -> Result<Outcome, CallError> {
    if answer.content.len() > PIECES_MAX || answer.meta.len() > PIECES_MAX {
        return Err(CallError::broken(
            "invalid-answer",
            format!("the plugin answered with more than {PIECES_MAX} pieces"),
        ));
    }
    let mut outcome = Outcome {
        is_error: answer.is_error,
        meta: answer.meta,
        ..Outcome::default()
    };
    let mut bytes = outcome
        .meta
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()))
        .fold(0, usize::saturating_add);
    for piece in answer.content {
        let piece = match piece {
            wit::Content::Text(text) => Content::Text(text),
            wit::Content::Blob(blob) => Content::Blob {
                data: blob.data,
                mime_type: blob.mime_type,
            },
            wit::Content::Link(link) => Content::Link {
                uri: link.uri,
                name: link.name,
                mime_type: link.mime_type,
            },
            wit::Content::Structured(text) => {
                bytes = bytes.saturating_add(text.len());
                within_result(bytes, limits)?;
                let Value::Object(object) = plugin_json(&text, limits)? else {
                    return Err(CallError::broken(
                        "invalid-answer",
                        "the plugin's structured answer is not a JSON object",
                    ));
                };
                if outcome.structured.replace(object).is_some() {
                    return Err(CallError::broken(
                        "invalid-answer",
                        "the plugin gave more than one structured answer",
                    ));
                }
                continue;
            }
        };
        bytes = bytes.saturating_add(piece.bytes());
        within_result(bytes, limits)?;
        outcome.content.push(piece);
    }
    Ok(outcome)
}

/// A bare function's answer: `ok` or the plain value is the answer, `err` an error of the
/// tool. An object is the structured answer itself; anything else becomes its `result`.
pub(crate) fn bare(
    ty: Option<&WitType>,
    value: Option<&Val>,
    limits: &Limits,
) -> Result<Outcome, CallError> {
    let (ty, value, is_error) = match (ty, value) {
        (Some(WitType::Result { ok, .. }), Some(Val::Result(Ok(value)))) => {
            (ok.as_deref(), value.as_deref(), false)
        }
        (Some(WitType::Result { err, .. }), Some(Val::Result(Err(value)))) => {
            (err.as_deref(), value.as_deref(), true)
        }
        (ty, value) => (ty, value, false),
    };
    let value = values::payload(ty, value).map_err(CallError::internal)?;
    let text = match &value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    within_result(text.len(), limits)?;
    // An error is not what the output schema describes.
    let structured = (!is_error).then(|| match value {
        Value::Object(object) if matches!(ty, Some(WitType::Record(_))) => object,
        value => Map::from_iter([("result".to_owned(), value)]),
    });
    Ok(Outcome {
        content: vec![Content::Text(text)],
        structured: structured.filter(|_| ty.is_some()),
        is_error,
        meta: Vec::new(),
    })
}

/// A plugin's failure, cut to a size that can be passed on.
pub(crate) fn failure(failure: wit::Failure) -> Failure {
    Failure {
        code: failure.code.into(),
        reason: cut(&failure.reason, REASON_CHARS_MAX),
        message: cut(&failure.message, MESSAGE_CHARS_MAX),
        retry_after: failure.retry_after_ms.map(Duration::from_millis),
        // A detail that is no JSON is left out: the failure itself matters more.
        detail: failure
            .detail
            .and_then(|text| plugin_json(&text, &Limits::default()).ok()),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

pub(crate) fn within_result(bytes: usize, limits: &Limits) -> Result<(), CallError> {
    if bytes <= limits.result.as_usize() {
        return Ok(());
    }
    Err(CallError::limit(LimitHit {
        setting: "result".into(),
        allowed: format!("{} of result", limits.result),
        used: "it answers with more".to_owned(),
    }))
}
