//! Webhooks that come in: a request that is signed as the operator has said becomes a message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portreeve_broker::{Broker as _, BrokerError, Publish, Sender};
use portreeve_manifest::grant::SecretRef;
use portreeve_manifest::id::Name;
use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::settings::{HookIn, HookSignature, WebhookSettings};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::hook_signature::{Signed, verify};
use crate::host::Host;
use crate::registry::Schema;

/// Deepest nesting of a body that is held against a schema.
const DEPTH_MAX: usize = 64;

/// Refusals of one webhook are on record once in this time, with their count: whoever knows no
/// key fills no log.
const REFUSED_EVERY_MS: i64 = 60_000;

/// Longest name of an event that is taken from a header.
const EVENT_BYTES_MAX: usize = 100;

/// A request to a webhook.
pub struct HookRequest<'a> {
    /// Which one.
    pub name: &'a str,
    /// The value of a header, by its name in small letters; none where there is none or it is no
    /// text.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// What it says.
    pub body: Bytes,
}

/// What became of it. It is on disk, unless its topic is ephemeral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTaken {
    /// The message's id.
    pub id: String,
    /// It had come before.
    pub duplicate: bool,
    /// The secret that it was signed with, by its name in the vault.
    pub secret: Option<Name>,
}

/// Why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// There is no such webhook.
    #[error("there is no such webhook")]
    Unknown,
    /// It is not signed as it must be.
    #[error("{0}")]
    Unsigned(&'static str),
    /// It is no JSON, or does not fit the schema.
    #[error("{0}")]
    Unfit(String),
    /// It is larger than it may be.
    #[error("{0}")]
    Large(String),
    /// There are too many for now; it may come again after so many milliseconds.
    #[error("{told}")]
    Busy {
        /// A sentence.
        told: String,
        /// After so many milliseconds.
        retry_ms: u64,
    },
    /// This host can't take it now; its log says why.
    #[error("this host can't take it now; its log says why")]
    Unavailable,
}

/// The webhooks that come in.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) settings: WebhookSettings,
    ready: BTreeMap<Name, Ready>,
}

struct Ready {
    schema: Option<Schema>,
    refused: AtomicU64,
    refused_told_ms: AtomicI64,
}

impl Hooks {
    pub(crate) fn new(settings: &WebhookSettings) -> Hooks {
        let ready = settings.inward.iter().filter_map(|(name, hook)| {
            let schema = match hook.schema.as_ref().map(Schema::new).transpose() {
                Ok(schema) => schema,
                Err(why) => {
                    tracing::error!(%name, why, "a webhook's schema can't be used; it takes nothing");
                    return None;
                }
            };
            let ready = Ready {
                schema,
                refused: AtomicU64::new(0),
                refused_told_ms: AtomicI64::new(0),
            };
            Some((name.clone(), ready))
        });
        Hooks {
            ready: ready.collect(),
            settings: settings.clone(),
        }
    }
}

impl Host {
    /// Most bytes of the body of a webhook; none where there is no such one.
    pub fn hook_body_max(&self, name: &str) -> Option<u64> {
        let hooks = self.hooks.load();
        let (_, hook) = hooks
            .settings
            .inward
            .iter()
            .find(|(known, _)| known.as_str() == name)?;
        Some(hook.body.0)
    }

    /// Takes what came to a webhook: when this returns, it is published.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn hook(&self, request: HookRequest<'_>) -> Result<HookTaken, HookError> {
        let hooks = self.hooks.load_full();
        let found = hooks
            .settings
            .inward
            .iter()
            .find(|(name, _)| name.as_str() == request.name);
        let (name, hook) = found.ok_or(HookError::Unknown)?;
        let ready = hooks.ready.get(name).ok_or(HookError::Unavailable)?;
        // What can't be recorded is not done.
        self.audit.healthy().map_err(|_| HookError::Unavailable)?;
        let taken = self.take_hook(name, hook, ready, &request).await;
        match &taken {
            Ok(taken) => {
                let mut body = Map::new();
                body.insert("topic".to_owned(), hook.topic.as_str().into());
                body.insert("message".to_owned(), taken.id.as_str().into());
                body.insert("duplicate".to_owned(), taken.duplicate.into());
                if let Some(secret) = &taken.secret {
                    body.insert("secret".to_owned(), secret.as_str().into());
                }
                self.note_hook(name, body);
            }
            Err(error) => self.note_refused_hook(name, ready, error),
        }
        taken
    }

    async fn take_hook(
        &self,
        name: &Name,
        hook: &HookIn,
        ready: &Ready,
        request: &HookRequest<'_>,
    ) -> Result<HookTaken, HookError> {
        let (secrets, missing) = self.hook_secrets(name, &hook.secrets).await;
        let settings = self.post.broker.limits().of(&hook.topic);
        // What is older could be known no more as something that came before.
        let window = hook.window.min(Duration::from_millis(
            u64::try_from(settings.dedup_ms).unwrap_or(0),
        ));
        let signed = Signed {
            header: request.header,
            body: &request.body,
        };
        let now_s = wall_clock().div_euclid(1_000);
        let keys: Vec<&str> = secrets.iter().map(|(_, key)| key.as_str()).collect();
        let verified = verify(hook.signature, &keys, &signed, now_s, window);
        let verified = verified.map_err(|why| match missing {
            // It may be signed with the one that can't be used: it is to come again.
            true => HookError::Unavailable,
            false => HookError::Unsigned(why),
        })?;
        let (id, secret) = (verified.id, secrets.get(verified.key));
        let header = |name: &str| (request.header)(name);
        if let Some(schema) = &ready.schema {
            fits(schema, &request.body)?;
        }
        let sender = Sender {
            holder: Holder::host(),
            principal: format!("webhook:{name}"),
            path: Vec::new(),
        };
        let mut publish = Publish::new(hook.topic.clone(), request.body.clone(), sender);
        if let Some(content_type) = header("content-type") {
            publish.content_type = content_type;
        }
        publish.headers = vec![("webhook".to_owned(), name.to_string())];
        // It is not signed, and says of what kind the event is: whoever handles it may use it to
        // choose, and not to trust.
        if hook.signature == HookSignature::Github
            && let Some(event) = header("x-github-event")
            && event.len() <= EVENT_BYTES_MAX
        {
            publish.headers.push(("githubevent".to_owned(), event));
        }
        if !settings.ephemeral {
            publish.dedup_id = Some(format!("{name}:{id}"));
        }
        let published = self.post.broker.publish(publish).await;
        let published = published.map_err(|error| refused(name, &error))?;
        Ok(HookTaken {
            id: published.id,
            duplicate: published.duplicate,
            secret: secret.map(|(name, _)| (*name).clone()),
        })
    }

    /// The keys of a webhook that can be used, and whether any can't.
    pub(crate) async fn hook_secrets<'a>(
        &self,
        name: &Name,
        secrets: &'a [SecretRef],
    ) -> (Vec<(&'a Name, Zeroizing<String>)>, bool) {
        let mut usable = Vec::new();
        for secret in secrets.iter().map(|secret| &secret.vault) {
            match self.vault.get(secret.as_str()).await {
                Ok(value) => usable.push((secret, value.to_text())),
                Err(error) => {
                    tracing::error!(%name, %secret, %error, "a webhook's secret can't be used; `portreeve secrets set` puts one into the vault");
                }
            }
        }
        let missing = usable.len() < secrets.len();
        (usable, missing)
    }

    fn note_hook(&self, name: &Name, mut body: Map<String, Value>) {
        body.insert("webhook".to_owned(), name.as_str().into());
        let event = AuditEvent {
            caller: format!("webhook:{name}").into(),
            ..AuditEvent::host(AuditKind::Webhook, body)
        };
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "a webhook was not recorded");
        }
    }

    fn note_refused_hook(&self, name: &Name, ready: &Ready, error: &HookError) {
        tracing::info!(%name, %error, "a request to a webhook was refused");
        ready.refused.fetch_add(1, Ordering::Relaxed);
        let now = wall_clock();
        let told = ready.refused_told_ms.load(Ordering::Relaxed);
        let first = now.saturating_sub(told) >= REFUSED_EVERY_MS
            && ready
                .refused_told_ms
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if first {
            let mut body = Map::new();
            body.insert("refused".to_owned(), error.to_string().into());
            let count = ready.refused.swap(0, Ordering::Relaxed);
            body.insert("count".to_owned(), count.into());
            self.note_hook(name, body);
        }
    }
}

fn fits(schema: &Schema, body: &[u8]) -> Result<(), HookError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| HookError::Unfit("the body is no text in UTF-8".to_owned()))?;
    let limits = JsonLimits {
        bytes_max: body.len(),
        depth_max: DEPTH_MAX,
    };
    let value = json::parse(text, &limits)
        .map_err(|error| HookError::Unfit(format!("the body is no JSON: {error}")))?;
    schema
        .check(&value, "the body")
        .map_err(|why| HookError::Unfit(format!("the body does not fit the schema: {why}")))
}

fn refused(name: &Name, error: &BrokerError) -> HookError {
    match error {
        BrokerError::Limited { retry_ms, .. } => HookError::Busy {
            told: error.to_string(),
            retry_ms: *retry_ms,
        },
        BrokerError::Quota { .. } => HookError::Large(error.to_string()),
        BrokerError::Invalid(why) => HookError::Unfit(why.clone()),
        other => {
            tracing::error!(%name, error = %other, "what came to a webhook can't be published");
            HookError::Unavailable
        }
    }
}
