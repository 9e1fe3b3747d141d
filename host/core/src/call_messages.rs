//! What one call publishes and asks: each use under the grants of that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_broker::{Broker, BrokerError, Publish, Sender};
use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::Topic;
use portreeve_runtime::{
    ErrorCode, Failure, MessageAnswer, MessageBus, PublishedMessage, SentMessage,
};
use portreeve_state::Holder;
use serde_json::json;

use crate::deliver::Post;
use crate::scope::CallScope;

/// What a call may send.
pub(crate) struct CallMessages {
    scope: Arc<CallScope>,
    post: Arc<Post>,
    /// Whether the log has been told that messages can't be written.
    told: AtomicBool,
}

impl CallMessages {
    pub(crate) fn new(scope: Arc<CallScope>, post: Arc<Post>) -> CallMessages {
        CallMessages {
            scope,
            post,
            told: AtomicBool::new(false),
        }
    }

    /// A message, where its topic is granted for this.
    fn permitted(&self, message: SentMessage, feature: Feature) -> Result<Publish, Failure> {
        let topic: Topic = message
            .topic
            .parse()
            .map_err(|error| invalid(format!("{error}")))?;
        let granted = self.scope.granted();
        let messages = &granted.effective.messages;
        let may = match feature {
            Feature::MessagesRequest => messages.may_request(&topic),
            _ => messages.may_publish(&topic),
        };
        if !may {
            return Err(self.scope.refuse(feature, topic.as_str()));
        }
        let sender = Sender {
            holder: Holder::plugin(&self.scope.plugin.alias),
            principal: self.scope.caller.to_string(),
            path: self.scope.path.clone(),
        };
        let options = message.options;
        let mut publish = Publish::new(topic, message.payload, sender);
        if let Some(content_type) = options.content_type {
            publish.content_type = content_type;
        }
        publish.headers = options.headers;
        publish.key = options.key;
        publish.dedup_id = options.dedup_id;
        publish.delay_ms = options.delay_ms;
        publish.ttl_ms = options.ttl_ms;
        Ok(publish)
    }

    fn failed(&self, error: &BrokerError) -> Failure {
        if let BrokerError::State(error) = error
            && !self.told.swap(true, Ordering::Relaxed)
        {
            let (plugin, call) = (&self.scope.plugin.alias, &self.scope.call_id);
            tracing::warn!(plugin, call, %error, "a message can't be written");
        }
        failure(error)
    }

    /// The refusal of a request whose answer could not come; `way` is who would wait for whom.
    fn circle(&self, topic: &Topic, way: &str) -> Failure {
        let item = format!("{topic} ({way})");
        self.scope.count_refusal(Feature::MessagesRequest, &item);
        let told = format!(
            "an answer on `{topic}` could only come after this call has ended; who would wait for whom: {way}. Publish a message instead of asking, or ask again when they are done; a plugin with `instances = \"per-call\"` answers while it asks, as often as `concurrent-calls` in its `limits` allows"
        );
        Failure::new(ErrorCode::Unavailable, "circle", told)
    }
}

fn invalid(told: String) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, "message", told)
}

/// What a plugin is told of something that the broker refused.
pub(crate) fn failure(error: &BrokerError) -> Failure {
    let told = error.to_string();
    match error {
        BrokerError::Limited {
            retry_ms, setting, ..
        } => Failure {
            retry_after: Some(Duration::from_millis(*retry_ms)),
            detail: Some(json!({ "setting": setting })),
            ..Failure::new(ErrorCode::RateLimited, "messages", told)
        },
        BrokerError::Quota { setting, .. } => Failure {
            detail: Some(json!({ "setting": setting })),
            ..Failure::new(ErrorCode::QuotaExceeded, "messages", told)
        },
        BrokerError::Invalid(_) => invalid(told),
        BrokerError::NotFound(_) => Failure::new(ErrorCode::NotFound, "messages", told),
        BrokerError::Timeout(_) => Failure::new(ErrorCode::Timeout, "no-answer", told),
        BrokerError::NobodyAnswers(_) => Failure::new(ErrorCode::Unavailable, "nobody", told),
        BrokerError::Refused(refusal) => Failure {
            code: ErrorCode::parse(&refusal.code).unwrap_or(ErrorCode::Internal),
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            retry_after: refusal.retry_ms.map(Duration::from_millis),
            detail: refusal.detail.clone(),
        },
        BrokerError::GivenUp => Failure::new(ErrorCode::Unavailable, "given-up", told),
        _ => Failure::new(
            ErrorCode::Unavailable,
            "state",
            "this host can't write messages now; its log says why",
        ),
    }
}

#[async_trait]
impl MessageBus for CallMessages {
    async fn publish(&self, message: SentMessage) -> Result<PublishedMessage, Failure> {
        let publish = self.permitted(message, Feature::MessagesPublish)?;
        let topic = publish.topic.clone();
        let published = self.post.broker.publish(publish).await;
        let published = published.map_err(|error| self.failed(&error))?;
        self.scope.publishes(topic.as_str());
        Ok(PublishedMessage {
            id: published.id,
            duplicate: published.duplicate,
            dead: published.dead,
        })
    }

    async fn request(
        &self,
        message: SentMessage,
        timeout: Duration,
    ) -> Result<MessageAnswer, Failure> {
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let publish = self.permitted(message, Feature::MessagesRequest)?;
        let topic = publish.topic.clone();
        let asking = self.post.waits.asking(&self.scope);
        let whom = |who: &Holder, request: &str| asking.may(&who.alias, request);
        let answer = self.post.broker.request(publish, timeout, &whom).await;
        let answer = answer.map_err(|error| match error {
            BrokerError::NobodyMayAnswer(_) => self.circle(&topic, &asking.way()),
            error => self.failed(&error),
        })?;
        self.scope.publishes(topic.as_str());
        Ok(MessageAnswer {
            payload: answer.payload.to_vec(),
            content_type: answer.content_type,
            headers: answer.headers,
        })
    }
}
