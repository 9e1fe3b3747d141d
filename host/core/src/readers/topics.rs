//! Messages in topics, as clients look at them, and what they hear of new ones.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portreeve_broker::{Broker, BrokerError, Look, Message, Tail, TopicStats, to_event};
use portreeve_manifest::content::{
    Named, Resource, ResourceTemplate, TOPIC_TEMPLATE, named, topic_uri,
};
use portreeve_manifest::grant::Topic;
use portreeve_manifest::scope::Scopes;
use portreeve_runtime::{CallError, ErrorCode};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::call::Caller;
use crate::content::{ContentChange, no_resource};
use crate::host::Host;

/// Messages of a topic that are shown: the newest.
const MESSAGES_MAX: u32 = 100;

/// Bytes of their events together, and of the messages that are read for them.
const BYTES_MAX: usize = 1 << 20;

/// The media type of an array of events (CloudEvents 1.0, JSON batch format).
pub(super) const EVENTS: &str = "application/cloudevents-batch+json";

/// How long what is published is gathered before clients hear of it: so often at most is any of
/// them told of one topic.
const GATHERED: Duration = Duration::from_millis(500);

/// What was published within a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsChanged {
    /// Topics that something entered; none where there was too much to tell.
    topics: Option<BTreeSet<Topic>>,
    /// Those of them that are new.
    new: BTreeSet<Topic>,
}

impl TopicsChanged {
    /// Whether something may have entered the topic that clients see at this address.
    pub fn concerns(&self, uri: &str) -> bool {
        let Some(Named::Topic(topic)) = named(uri) else {
            return false;
        };
        let topic = topic.parse::<Topic>();
        topic.is_ok_and(|topic| self.topics.as_ref().is_none_or(|all| all.contains(&topic)))
    }

    fn add(&mut self, entered: Result<&Message, ()>) {
        match entered {
            Ok(message) => {
                if message.position == 1 {
                    self.new.insert(message.topic.clone());
                }
                if let Some(topics) = &mut self.topics
                    && !topics.contains(&message.topic)
                {
                    topics.insert(message.topic.clone());
                }
            }
            Err(()) => self.topics = None,
        }
    }
}

/// Watches topics while anybody may read one.
#[derive(Default)]
pub(crate) struct TopicWatch(Mutex<Option<AbortHandle>>);

impl TopicWatch {
    /// Begins to watch, or ends it.
    pub(crate) fn set(
        &self,
        wanted: bool,
        tail: impl FnOnce() -> Tail,
        changes: &broadcast::Sender<ContentChange>,
    ) {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted == watch.is_some() {
            return;
        }
        match watch.take() {
            Some(running) => running.abort(),
            None => *watch = Some(tokio::spawn(tell(tail(), changes.clone())).abort_handle()),
        }
    }
}

/// Tells listeners what was published, at most every so often, until the broker ends. However
/// much it is, one entry of theirs says it.
async fn tell(mut tail: Tail, changes: broadcast::Sender<ContentChange>) {
    loop {
        let mut changed = TopicsChanged {
            topics: Some(BTreeSet::new()),
            ..TopicsChanged::default()
        };
        let mut next = Ok(tail.recv().await);
        let end = Instant::now() + GATHERED;
        while let Ok(entered) = next {
            match entered {
                Ok(message) => changed.add(Ok(&message)),
                Err(RecvError::Lagged(_)) => changed.add(Err(())),
                Err(RecvError::Closed) => return,
            }
            next = timeout_at(end, tail.recv()).await;
        }
        // Nobody who listens is no error.
        let _ = changes.send(ContentChange::Topics(changed.into()));
    }
}

impl Host {
    /// Whether a caller is to hear that there are other topics than before.
    pub fn may_hear_of_new(&self, caller: &Caller, changed: &TopicsChanged) -> bool {
        let scopes = self.scopes(caller);
        match changed.topics {
            Some(_) => changed.new.iter().any(|topic| scopes.topic(topic)),
            None => scopes.topics(),
        }
    }

    /// The topics that these scopes let somebody read, by name.
    pub(super) async fn topics_of(&self, scopes: &Scopes) -> Result<Vec<TopicStats>, CallError> {
        if !scopes.topics() {
            return Ok(Vec::new());
        }
        let mut topics = self.post.broker.topics().await.map_err(broken)?;
        topics.retain(|stats| scopes.topic(&stats.topic));
        Ok(topics)
    }

    /// The topics that the caller may read, by address; at most so many.
    pub(super) async fn topics_after(
        &self,
        caller: &Caller,
        after: &str,
        max: usize,
    ) -> Result<Vec<Resource>, CallError> {
        let topics = self.topics_of(&self.scopes(caller)).await?;
        let shown = topics.iter().map(resource);
        let shown = shown.filter(|resource| resource.uri.as_str() > after);
        Ok(shown.take(max).collect())
    }

    /// The newest messages that lie in a topic, as events of CloudEvents 1.0, the newest last.
    /// Nothing is consumed by that.
    pub(super) async fn events(&self, topic: &Topic) -> Result<String, CallError> {
        let looked = self
            .post
            .broker
            .look(topic, Look::Latest, MESSAGES_MAX, BYTES_MAX as u64);
        let messages = looked.await.map_err(|error| match error {
            BrokerError::NotFound(_) => no_resource(),
            other => broken(other),
        })?;
        let mut events: Vec<String> = Vec::new();
        let mut bytes = 0_usize;
        for message in messages.iter().rev() {
            let mut event = to_event(message);
            let mut text = event.to_string();
            if text.len() > BYTES_MAX {
                text = without_data(&mut event, message);
            }
            bytes = bytes.saturating_add(text.len());
            if bytes > BYTES_MAX {
                break;
            }
            events.push(text);
        }
        events.reverse();
        Ok(format!("[{}]", events.join(",")))
    }
}

/// An event that is too large by itself, with how many bytes it would say.
fn without_data(event: &mut Value, message: &Message) -> String {
    if let Some(event) = event.as_object_mut() {
        event.remove("data");
        event.remove("data_base64");
        event.insert("leftout".to_owned(), json!(message.payload.len()));
    }
    event.to_string()
}

fn resource(stats: &TopicStats) -> Resource {
    let topic = &stats.topic;
    let kept = match stats.ephemeral {
        true => ", which are in memory alone",
        false => "",
    };
    Resource {
        uri: topic_uri(topic),
        name: topic.to_string(),
        title: Some(format!("Messages in {topic}")),
        description: Some(format!(
            "The newest messages that lie in the topic `{topic}`{kept}, as events of CloudEvents 1.0; reading takes none away"
        )),
        mime_type: Some(EVENTS.to_owned()),
        size: None,
        annotations: None,
        icons: Vec::new(),
    }
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate {
        uri_template: TOPIC_TEMPLATE.to_owned(),
        name: "topic".to_owned(),
        title: Some("Messages in a topic".to_owned()),
        description: Some(
            "The newest messages that lie in a topic, as events of CloudEvents 1.0; reading takes none away".to_owned(),
        ),
        mime_type: Some(EVENTS.to_owned()),
        annotations: None,
        icons: Vec::new(),
    }
}

fn broken(error: BrokerError) -> CallError {
    CallError {
        log: Some(error.to_string()),
        ..CallError::host(
            ErrorCode::Unavailable,
            "not-ready",
            "the messages can't be read now; this host's log has the reason under this call's id",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_broker::{Holder, Publish, Sender};

    fn message(topic: &str, position: i64) -> std::sync::Arc<Message> {
        let sender = Sender {
            holder: Holder::host(),
            principal: "local".to_owned(),
            path: Vec::new(),
        };
        let publish = Publish::new(topic.parse().unwrap(), "x", sender);
        std::sync::Arc::new(Message {
            id: position.to_string(),
            topic: publish.topic,
            position,
            time_ms: 0,
            expires_ms: None,
            payload: publish.payload,
            content_type: publish.content_type,
            headers: Vec::new(),
            key: None,
            sender: publish.sender,
        })
    }

    async fn heard(
        changes: &mut broadcast::Receiver<ContentChange>,
    ) -> std::sync::Arc<TopicsChanged> {
        match changes.recv().await.unwrap() {
            ContentChange::Topics(changed) => changed,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_messages_is_one_thing_to_tell() {
        let (published, _) = broadcast::channel(64);
        let (changes, mut heard_of) = broadcast::channel(4);
        let watch = TopicWatch::default();
        watch.set(true, || published.subscribe(), &changes);
        for position in 1..=50 {
            published.send(message("a.b", position)).unwrap();
        }
        published.send(message("c", 7)).unwrap();
        let changed = heard(&mut heard_of).await;
        assert!(changed.concerns("portreeve://topics/a.b"));
        assert!(changed.concerns("portreeve://topics/c"));
        assert!(!changed.concerns("portreeve://topics/d"));
        assert!(!changed.concerns("portreeve://plugins/c/papers"));
        let new: Vec<&str> = changed.new.iter().map(Topic::as_str).collect();
        assert_eq!(new, ["a.b"]);
        // More than can be gathered: all may have changed.
        for position in 51..=1_000 {
            published.send(message("a.b", position)).unwrap();
        }
        let changed = heard(&mut heard_of).await;
        assert!(changed.concerns("portreeve://topics/d"));
        assert!(heard_of.try_recv().is_err());
        watch.set(false, || published.subscribe(), &changes);
        tokio::task::yield_now().await;
        assert_eq!(published.receiver_count(), 0);
    }
}
