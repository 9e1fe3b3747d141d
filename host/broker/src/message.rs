//! Messages: as they are published, as they are delivered, as they are kept.

use bytes::Bytes;
use portreeve_manifest::grant::Topic;
use portreeve_state::{BusMessage, Holder};
use serde::{Deserialize, Serialize};

use crate::error::BrokerError;

/// Most headers of a message.
const HEADERS_MAX: usize = 32;

/// Longest header, name and value, in bytes.
const HEADER_BYTES_MAX: usize = 1_024;

/// Longest key and dedup id, in bytes: they are part of an index.
const KEY_BYTES_MAX: usize = 256;

/// Names that the envelope itself has.
pub(crate) const RESERVED: [&str; 14] = [
    "specversion",
    "id",
    "source",
    "type",
    "datacontenttype",
    "dataschema",
    "subject",
    "time",
    "data",
    "database64",
    "partitionkey",
    "sequence",
    "principal",
    "path",
];

/// Who sends a message, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The plugin; the host where there is none.
    pub holder: Holder,
    /// On whose behalf.
    pub principal: String,
    /// Plugins and topics that led here, `ALIAS:TOPIC` each, the oldest first; empty for a message
    /// that was not sent while another was handled.
    pub path: Vec<String>,
}

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// What it says.
    pub payload: Bytes,
    /// What kind of thing that is: a media type.
    pub content_type: String,
    /// More about it. Names are 1 to 20 of a-z and 0-9, as CloudEvents has them.
    pub headers: Vec<(String, String)>,
    /// Messages of one key are handled one after the other, in order.
    pub key: Option<String>,
    /// A message of the same id enters the topic once within the topic's window.
    pub dedup_id: Option<String>,
    /// Enters the topic so much later.
    pub delay_ms: u64,
    /// Ends unhandled after so long, from when it is published.
    pub ttl_ms: Option<u64>,
    /// Who sends it.
    pub sender: Sender,
}

impl Publish {
    /// A message that says this, and nothing else about it.
    pub fn new(topic: Topic, payload: impl Into<Bytes>, sender: Sender) -> Publish {
        Publish {
            topic,
            payload: payload.into(),
            content_type: "application/octet-stream".to_owned(),
            headers: Vec::new(),
            key: None,
            dedup_id: None,
            delay_ms: 0,
            ttl_ms: None,
            sender,
        }
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len().saturating_add(value.len()));
        let key = self.key.as_ref().map_or(0, String::len);
        headers.fold(
            self.payload.len().saturating_add(key),
            usize::saturating_add,
        )
    }

    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let invalid = |why: String| Err(BrokerError::Invalid(why));
        if self.headers.len() > HEADERS_MAX {
            return invalid(format!("a message has at most {HEADERS_MAX} headers"));
        }
        for (name, value) in &self.headers {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let named = (1..=20).contains(&name.len()) && name.bytes().all(fits);
            if !named || RESERVED.contains(&name.as_str()) {
                return invalid(format!(
                    "`{}` is no name of a header: 1 to 20 of a-z and 0-9, and none of the envelope's own",
                    name.escape_debug()
                ));
            }
            if name.len().saturating_add(value.len()) > HEADER_BYTES_MAX
                || value.chars().any(char::is_control)
            {
                return invalid(format!(
                    "the header `{name}` is too long (at most {HEADER_BYTES_MAX} bytes) or has control characters"
                ));
            }
        }
        for (what, text) in [("key", &self.key), ("dedup id", &self.dedup_id)] {
            if text
                .as_ref()
                .is_some_and(|text| text.is_empty() || text.len() > KEY_BYTES_MAX)
            {
                return invalid(format!("a {what} has 1 to {KEY_BYTES_MAX} bytes"));
            }
        }
        let media = &self.content_type;
        if media.len() > 128
            || !media.contains('/')
            || !media.bytes().all(|b| (b' '..=b'~').contains(&b))
        {
            return invalid(
                "the content type is no media type such as `application/json`".to_owned(),
            );
        }
        Ok(())
    }
}

/// A message as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its topic.
    pub topic: Topic,
    /// Its place in the topic: 1, 2, 3 …; 0 for a request.
    pub position: i64,
    /// When it was published.
    pub time_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// What it says.
    pub payload: Bytes,
    /// What kind of thing that is.
    pub content_type: String,
    /// More about it.
    pub headers: Vec<(String, String)>,
    /// Its key.
    pub key: Option<String>,
    /// Who sent it.
    pub sender: Sender,
}

/// What is kept of a message beside what the tables have columns for.
#[derive(Serialize, Deserialize)]
struct Envelope {
    content_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    alias: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
    principal: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    path: Vec<String>,
}

impl Message {
    /// Plugins through which it has come, itself included: what one that is published while it is
    /// handled carries on.
    pub fn path_with_it(&self) -> Vec<String> {
        let mut path = self.sender.path.clone();
        path.push(format!("{}:{}", self.sender.holder.alias, self.topic));
        path
    }

    pub(crate) fn new(publish: &Publish, id: String, time_ms: i64) -> Message {
        let ends = |ttl: u64| time_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX));
        Message {
            id,
            topic: publish.topic.clone(),
            position: 0,
            time_ms,
            expires_ms: publish.ttl_ms.map(ends),
            payload: publish.payload.clone(),
            content_type: publish.content_type.clone(),
            headers: publish.headers.clone(),
            key: publish.key.clone(),
            sender: publish.sender.clone(),
        }
    }

    pub(crate) fn to_row(&self) -> BusMessage {
        let envelope = Envelope {
            content_type: self.content_type.clone(),
            headers: self.headers.clone(),
            alias: self.sender.holder.alias.to_string(),
            tenant: self.sender.holder.tenant.to_string(),
            principal: self.sender.principal.clone(),
            path: self.sender.path.clone(),
        };
        BusMessage {
            topic: self.topic.to_string(),
            position: self.position,
            id: self.id.clone(),
            time_ms: self.time_ms,
            expires_ms: self.expires_ms,
            key: self.key.clone(),
            // Texts alone can't fail to be written.
            envelope: serde_json::to_string(&envelope).unwrap_or_default(),
            payload: self.payload.to_vec(),
        }
    }

    pub(crate) fn from_row(row: BusMessage) -> Result<Message, BrokerError> {
        let damaged = |why: String| {
            let text = format!("the message {} of `{}`: {why}", row.id, row.topic);
            BrokerError::State(portreeve_state::StateError::Damaged(text))
        };
        let envelope: Envelope =
            serde_json::from_str(&row.envelope).map_err(|error| damaged(error.to_string()))?;
        let topic = row
            .topic
            .parse()
            .map_err(|_| damaged("its topic is none".to_owned()))?;
        Ok(Message {
            id: row.id,
            topic,
            position: row.position,
            time_ms: row.time_ms,
            expires_ms: row.expires_ms,
            payload: row.payload.into(),
            content_type: envelope.content_type,
            headers: envelope.headers,
            key: row.key,
            sender: Sender {
                holder: Holder {
                    alias: envelope.alias.into(),
                    tenant: envelope.tenant.into(),
                },
                principal: envelope.principal,
                path: envelope.path,
            },
        })
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub payload: Bytes,
    /// What kind of thing that is.
    pub content_type: String,
    /// More about it.
    pub headers: Vec<(String, String)>,
}

/// Why a request has no answer, in the words of whoever had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure it is.
    pub code: String,
    /// A finer reason.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
    /// When it may be tried again, in milliseconds.
    pub retry_ms: Option<u64>,
    /// More about it.
    pub detail: Option<serde_json::Value>,
}

/// What comes of a request.
pub type Reply = Result<Answer, Refusal>;
