//! Messages that are sent to others: each webhook has a subscription, so that what is not taken
//! is tried again after growing pauses, also by the next host, and ends as a dead letter.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use portreeve_broker::{
    Broker as _, BrokerError, Delivery, Outcome, Retry, Start, Subscription, to_event,
};
use portreeve_egress::{EgressError, Webhook};
use portreeve_manifest::id::Name;
use portreeve_manifest::settings::OutgoingWebhook;
use portreeve_state::audit::{AuditKind, wall_clock};
use serde_json::Map;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::{holder, signature};
use crate::host::Host;

/// Requests of one webhook that are under way at a time.
const AT_ONCE: usize = 4;

/// Before something that failed on the host's side is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose the subscriptions are, before their names.
const DIRECTION: &str = "webhooks-out";

/// What is being sent.
#[derive(Default)]
pub(crate) struct Senders(BTreeMap<Name, Sending>);

struct Sending {
    settings: Arc<OutgoingWebhook>,
    _task: AbortOnDropHandle<()>,
}

fn subscription(name: &Name) -> Subscription {
    Subscription {
        holder: holder(DIRECTION, name),
        name: "main".to_owned(),
    }
}

impl Senders {
    /// Starts, changes and ends them as the settings want it. `known` are the subscriptions that
    /// there are.
    pub(crate) async fn follow(&mut self, host: &Arc<Host>, known: &[Subscription]) {
        let webhooks = host.webhooks.load_full();
        let broker = &host.post.broker;
        let wanted = &webhooks.outgoing;
        self.0.retain(|name, sending| {
            wanted
                .get(name)
                .is_some_and(|settings| **settings == *sending.settings)
        });
        let prefix = format!("@{DIRECTION}/");
        for known in known {
            let Some(name) = known.holder.alias.strip_prefix(&prefix) else {
                continue;
            };
            if !wanted.contains_key(name)
                && let Err(error) = broker.unsubscribe(known).await
            {
                tracing::error!(webhook = name, %error, "a subscription could not be ended");
            }
        }
        for (name, settings) in wanted {
            if self.0.contains_key(name) {
                continue;
            }
            match start(host, name, settings).await {
                Ok(task) => {
                    let sending = Sending {
                        settings: settings.clone(),
                        _task: task,
                    };
                    self.0.insert(name.clone(), sending);
                }
                Err(why) => {
                    tracing::error!(webhook = name.as_str(), why, "nothing is sent to a webhook");
                }
            }
        }
    }
}

async fn start(
    host: &Arc<Host>,
    name: &Name,
    settings: &Arc<OutgoingWebhook>,
) -> Result<AbortOnDropHandle<()>, String> {
    let webhook = Webhook::new(&settings.url).map_err(|error| error.to_string())?;
    let subscription = subscription(name);
    let broker = &host.post.broker;
    let subscribed = broker.subscribe(&subscription, &settings.topics, Start::Now);
    subscribed.await.map_err(|error| error.to_string())?;
    let sender = Arc::new(OneSender {
        host: Arc::downgrade(host),
        name: name.clone(),
        settings: settings.clone(),
        webhook,
        subscription,
    });
    Ok(AbortOnDropHandle::new(tokio::spawn(sender.run())))
}

/// Sends to one webhook.
struct OneSender {
    host: Weak<Host>,
    name: Name,
    settings: Arc<OutgoingWebhook>,
    webhook: Webhook,
    subscription: Subscription,
}

impl OneSender {
    /// Sends what comes, a few at a time.
    async fn run(self: Arc<Self>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = tokio::task::JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let Some(broker) = self.host.upgrade().map(|host| host.post.broker.clone()) else {
                return;
            };
            let next = async {
                broker.ready(&self.subscription).await?;
                broker.fetch(&self.subscription, 1).await
            };
            match next.await {
                Ok(deliveries) => {
                    let Some(delivery) = deliveries.into_iter().next() else {
                        continue;
                    };
                    let sender = self.clone();
                    running.spawn(async move {
                        let _place = place;
                        sender.one(&delivery).await;
                    });
                }
                Err(BrokerError::NotFound(_) | BrokerError::Closed) => return,
                Err(error) => {
                    let webhook = self.name.as_str();
                    tracing::warn!(webhook, %error, "messages can't be sent now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn one(&self, delivery: &Delivery) {
        let Some(host) = self.host.upgrade() else {
            return;
        };
        let sent = self.send(&host, delivery).await;
        let message = &delivery.message;
        let mut record = Map::new();
        record.insert("way".to_owned(), "out".into());
        record.insert("topic".to_owned(), message.topic.as_str().into());
        record.insert("message".to_owned(), message.id.as_str().into());
        record.insert("attempt".to_owned(), delivery.attempt.into());
        let outcome = match sent {
            Ok(()) => Outcome::Ack,
            Err(EgressError::Never(why)) => Outcome::Reject(why),
            Err(error) => Outcome::Retry(Retry::Backoff, error.to_string()),
        };
        if let Outcome::Reject(why) | Outcome::Retry(_, why) = &outcome {
            record.insert("failed".to_owned(), why.as_str().into());
        }
        host.note_webhook(AuditKind::Webhook, &self.name, record);
        let settled = host
            .post
            .broker
            .settle(&self.subscription, delivery, outcome);
        match settled.await {
            Ok(()) | Err(BrokerError::Stale | BrokerError::Closed) => {}
            Err(error) => {
                let (webhook, topic) = (self.name.as_str(), message.topic.as_str());
                tracing::warn!(webhook, topic, %error, "what became of a message was not written");
            }
        }
    }

    async fn send(&self, host: &Host, delivery: &Delivery) -> Result<(), EgressError> {
        let message = &delivery.message;
        // The whole event is in the body, so that all of it is signed.
        let body = Bytes::from(to_event(message).to_string());
        let secrets = super::secrets(&host.vault, &self.settings.secrets).await;
        let secrets = secrets.map_err(EgressError::Setup)?;
        let seconds = wall_clock().div_euclid(1_000);
        let signature = signature::sign(&secrets, &message.id, seconds, &body);
        let fields = [
            ("webhook-id", message.id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature.map_err(EgressError::Setup)?),
        ];
        let mut headers = HeaderMap::new();
        let kind = "application/cloudevents+json; charset=utf-8";
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        for (name, value) in fields {
            let value = HeaderValue::from_str(&value)
                .map_err(|error| EgressError::Never(format!("`{name}`: {error}")))?;
            headers.insert(name, value);
        }
        self.webhook.send_with(headers, body).await
    }
}
