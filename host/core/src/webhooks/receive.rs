//! What others send: believed, held against its schema, published, and only then acknowledged.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use portreeve_broker::{Broker as _, BrokerError, Publish, Sender};
use portreeve_manifest::id::Name;
use portreeve_manifest::schema_cost;
use portreeve_manifest::settings::WebhookSignature;
use portreeve_state::audit::{AuditKind, wall_clock};
use serde_json::{Map, Value};

use super::signature::{Claim, Doubt};
use super::{Incoming, Schema, holder};
use crate::host::Host;

/// Between two records of requests that are not believed: whoever sends them can't fill the log.
const DOUBTS_MS: i64 = 60_000;

/// What was sent is a message now, on disk as its topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTaken {
    /// The message's id.
    pub id: String,
    /// The same thing had come before, and is no second message.
    pub duplicate: bool,
}

/// Why something that was sent is not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookRefusal {
    /// There is no such webhook.
    #[error("there is no webhook of this name")]
    Unknown,
    /// Its sender did not prove who it is. What was missing is in the host's log.
    #[error("the request is not signed as this webhook's sender signs")]
    Unsigned,
    /// It is not what its schema says.
    #[error("the body is not what this webhook takes: {0}")]
    Body(String),
    /// More than may ever be.
    #[error("{0}")]
    TooLarge(String),
    /// Too much for now.
    #[error("too much for now; send it again later")]
    Busy {
        /// When, in milliseconds.
        retry_ms: u64,
    },
    /// The host can't take it now. Why is in its log.
    #[error("this host can't take it now; send it again later")]
    Unavailable,
}

/// Requests that were not believed since the last record of them.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<(i64, u64)>);

impl Doubts {
    /// Counts one more; how many there were, if that is to be recorded now.
    fn count(&self, now_ms: i64) -> Option<u64> {
        let mut doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_ms, count) = &mut *doubts;
        *count = count.saturating_add(1);
        // Also when the clock was put back.
        if *last_ms != 0 && (0..DOUBTS_MS).contains(&now_ms.saturating_sub(*last_ms)) {
            return None;
        }
        *last_ms = now_ms;
        Some(std::mem::take(count))
    }
}

impl Host {
    /// Takes what somebody sent to a webhook: once this returns, it is a message.
    ///
    /// # Errors
    /// It is not believed, not of its schema, too much, or can't be kept now.
    pub async fn receive_webhook(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<WebhookTaken, WebhookRefusal> {
        let webhooks = self.webhooks.load_full();
        let (name, webhook) = webhooks
            .incoming
            .get_key_value(name)
            .ok_or(WebhookRefusal::Unknown)?;
        if let Err(error) = self.audit.healthy() {
            return Err(unavailable(name, &error.to_string()));
        }
        let settings = &webhook.settings;
        let doubt = |doubt: Doubt| self.doubt(name, webhook, &doubt);
        let claim = Claim::read(
            settings.signature,
            headers,
            wall_clock(),
            settings.tolerance,
        );
        let claim = claim.map_err(doubt)?;
        let secrets = super::secrets(&self.vault, &settings.secrets).await;
        let secrets = secrets.map_err(|why| unavailable(name, &why))?;
        let dedup_id = claim.verify(&secrets, &body).map_err(doubt)?;
        if let Some(schema) = &webhook.schema {
            schema.check(&body).map_err(WebhookRefusal::Body)?;
        }
        let sender = Sender {
            holder: holder("webhooks", name),
            principal: format!("webhook:{name}"),
            path: Vec::new(),
        };
        let mut publish = Publish::new(settings.topic.clone(), body, sender);
        publish.dedup_id = Some(dedup_id);
        if let Some(kind) = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()) {
            publish.content_type = kind.to_owned();
        }
        // What kind of event it is GitHub says here alone. It is not signed.
        let event = headers.get("x-github-event");
        if settings.signature == WebhookSignature::Github
            && let Some(event) = event.and_then(|event| event.to_str().ok())
        {
            let header = ("githubevent".to_owned(), event.to_owned());
            publish.headers.push(header);
        }
        let published = self.post.broker.publish(publish).await;
        let published = published.map_err(|error| match error {
            BrokerError::Limited { retry_ms, .. } => WebhookRefusal::Busy { retry_ms },
            error @ (BrokerError::Quota { .. } | BrokerError::Invalid(_)) => {
                WebhookRefusal::TooLarge(error.to_string())
            }
            error => unavailable(name, &error.to_string()),
        })?;
        let mut record = Map::new();
        record.insert("way".to_owned(), "in".into());
        record.insert("topic".to_owned(), settings.topic.as_str().into());
        record.insert("message".to_owned(), published.id.as_str().into());
        if published.duplicate {
            record.insert("duplicate".to_owned(), true.into());
        }
        self.note_webhook(AuditKind::Webhook, name, record);
        Ok(WebhookTaken {
            id: published.id,
            duplicate: published.duplicate,
        })
    }

    fn doubt(&self, name: &Name, webhook: &Incoming, doubt: &Doubt) -> WebhookRefusal {
        if let Some(count) = webhook.doubts.count(wall_clock()) {
            tracing::warn!(webhook = name.as_str(), why = %doubt, count, "requests to a webhook are not believed");
            let mut record = Map::new();
            record.insert("why".to_owned(), doubt.to_string().into());
            record.insert("requests".to_owned(), count.into());
            self.note_webhook(AuditKind::LoginFailed, name, record);
        }
        WebhookRefusal::Unsigned
    }
}

fn unavailable(name: &Name, why: &str) -> WebhookRefusal {
    tracing::error!(webhook = name.as_str(), why, "a webhook can't be taken");
    WebhookRefusal::Unavailable
}

impl Schema {
    fn check(&self, body: &[u8]) -> Result<(), String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("it is no JSON: {error}"))?;
        if schema_cost::depth(&value) > self.depth_max {
            let max = self.depth_max;
            return Err(format!("it is nested deeper than {max} levels"));
        }
        self.validator.validate(&value).map_err(|error| {
            // Without the value, which is the sender's own.
            let place = error.instance_path().to_string();
            let place = if place.is_empty() {
                "the whole"
            } else {
                &place
            };
            format!("{place} does not fit the schema")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_are_recorded_once_a_minute() {
        let doubts = Doubts::default();
        let now = 1_000_000;
        assert_eq!(doubts.count(now), Some(1));
        assert_eq!(doubts.count(now + 1), None);
        assert_eq!(doubts.count(now + DOUBTS_MS - 1), None);
        assert_eq!(doubts.count(now + DOUBTS_MS), Some(3));
        assert_eq!(doubts.count(now), Some(1));
    }
}
