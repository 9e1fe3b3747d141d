//! Webhooks that go out: messages of some topics are sent to somebody outside, each as an event of
//! CloudEvents, signed as Standard Webhooks has it. Tries, pauses and dead letters are those of
//! every subscription.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use portreeve_broker::{Broker as _, Delivery, Outcome, Retry, Start, Subscription, to_event};
use portreeve_egress::Webhook;
use portreeve_manifest::id::Name;
use portreeve_manifest::settings::{HookOut, WebhookSettings};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use serde_json::Map;
use tokio_util::task::AbortOnDropHandle;

use crate::consume::{Consumer, consume};
use crate::hook_signature::sign;
use crate::host::Host;

/// Requests of one webhook that are under way at a time.
const AT_ONCE: usize = 4;

/// What names of its subscriptions begin with.
const PREFIX: &str = "webhook:";

/// The webhooks that are sent, by name.
pub(crate) type Sending = BTreeMap<Name, (HookOut, AbortOnDropHandle<()>)>;

/// The subscription of a webhook that goes out.
fn subscription(name: &Name) -> Subscription {
    Subscription {
        holder: Holder::host(),
        name: format!("{PREFIX}{name}"),
    }
}

/// Whether a subscription is that of a webhook that is no more.
pub(crate) fn is_gone(subscription: &Subscription, settings: &WebhookSettings) -> bool {
    let name = subscription.name.strip_prefix(PREFIX);
    name.is_some_and(|name| {
        let mut known = settings.outward.keys();
        !known.any(|known| known.as_str() == name)
    })
}

impl Host {
    /// Starts, changes and ends what is sent as the settings want it.
    pub(crate) async fn send_hooks(self: &Arc<Self>, sending: &mut Sending) {
        let hooks = self.hooks.load_full();
        let wanted = &hooks.settings.outward;
        sending.retain(|name, (hook, _)| wanted.get(name) == Some(hook));
        for (name, hook) in wanted {
            if sending.contains_key(name) {
                continue;
            }
            let subscription = subscription(name);
            let broker = &self.post.broker;
            let subscribed = broker.subscribe(&subscription, &hook.topics, Start::Now);
            if let Err(error) = subscribed.await {
                tracing::error!(%name, %error, "a webhook gets no messages");
                continue;
            }
            let webhook = match Webhook::new(&hook.url) {
                Ok(webhook) => webhook,
                Err(error) => {
                    tracing::error!(%name, %error, "a webhook can't be set up");
                    continue;
                }
            };
            let outgoing = Outgoing {
                name: name.clone(),
                hook: hook.clone(),
                webhook,
            };
            let task = consume(Arc::downgrade(self), subscription, AT_ONCE, outgoing);
            let task = AbortOnDropHandle::new(tokio::spawn(task));
            sending.insert(name.clone(), (hook.clone(), task));
        }
    }
}

struct Outgoing {
    name: Name,
    hook: HookOut,
    webhook: Webhook,
}

impl Consumer for Outgoing {
    async fn ready(&self) {}

    async fn take(&self, host: &Arc<Host>, delivery: &Delivery) -> Outcome {
        match self.post(host, delivery).await {
            Ok(()) => Outcome::Ack,
            Err(why) => Outcome::Retry(Retry::Backoff, why),
        }
    }
}

impl Outgoing {
    async fn post(&self, host: &Host, delivery: &Delivery) -> Result<(), String> {
        let message = &delivery.message;
        let body = Bytes::from(to_event(message).to_string());
        let (secrets, missing) = host.hook_secrets(&self.name, &self.hook.secrets).await;
        if missing {
            return Err(
                "a secret of it can't be used; the host's log says which and why".to_owned(),
            );
        }
        let now_s = wall_clock().div_euclid(1_000);
        let mut signatures = Vec::new();
        for (secret, key) in &secrets {
            // On record before it is used.
            let mut record = Map::new();
            record.insert("secret".to_owned(), secret.as_str().into());
            record.insert("webhook".to_owned(), self.name.as_str().into());
            record.insert("message".to_owned(), message.id.as_str().into());
            let event = AuditEvent {
                caller: message.sender.principal.as_str().into(),
                ..AuditEvent::host(AuditKind::SecretUse, record)
            };
            let recorded = host.audit.commit(event).await;
            recorded.map_err(|error| format!("it can't be recorded: {error}"))?;
            let signature = sign(key, &message.id, now_s, &body).ok_or_else(|| {
                format!(
                    "its secret `{secret}` is no key: Standard Webhooks has \"whsec_\" and base64"
                )
            })?;
            signatures.push(signature);
        }
        let headers = [
            ("webhook-id", message.id.clone()),
            ("webhook-timestamp", now_s.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        let sent = self
            .webhook
            .send_with("application/cloudevents+json", &headers, body)
            .await;
        sent.map_err(|error| error.to_string())
    }
}
