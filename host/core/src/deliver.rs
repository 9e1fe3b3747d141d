//! Who handles messages: for each plugin that may subscribe, a task that gives them to it, each
//! to a fresh instance or to the one that the plugin has.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_broker::{
    Answer, Answering, Broker, Delivery, Embedded, Message, Outcome, Refusal, Reply, Request,
    Responder, Retry, Start, Subscription,
};
use portreeve_manifest::grant::TopicPattern;
use portreeve_runtime::{
    CallError, Failure, Finished, GivenMessage, Handled, MessageAnswer, Usage,
};
use portreeve_state::Holder;
use portreeve_state::audit::AuditKind;
use serde_json::{Map, json};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::call::{CallRequest, Caller, Door};
use crate::consume::{Consumer, consume};
use crate::hooks_out::{self, Sending};
use crate::host::Host;
use crate::plugin::{Facts, Plugin, PluginStatus};
use crate::prompt::CallerUi;
use crate::resident::{self, ResidentState};
use crate::scope::CallScope;
use crate::waits::Waits;

/// Most messages of one plugin that are handled at a time, besides its calls; one where it has one
/// instance for all. More wait in their topics.
const AT_ONCE: usize = 4;

/// The name of a plugin's subscription: it has one, which is a group of its instances.
const NAME: &str = "main";

/// The messages of a host.
pub(crate) struct Post {
    pub(crate) broker: Arc<Embedded>,
    /// Calls that wait for an answer.
    pub(crate) waits: Waits,
    /// Plugins or grants have changed.
    pub(crate) changed: Notify,
}

/// A plugin that is served: as it was then, and what ends with this.
struct Serving {
    patterns: Vec<TopicPattern>,
    plugin: Arc<Plugin>,
    handling: Option<AbortOnDropHandle<()>>,
    answering: Option<Answering>,
}

/// The plugins that are served, by alias.
#[derive(Default)]
struct Served {
    messages: BTreeMap<String, Serving>,
    residents: BTreeMap<String, (Arc<Plugin>, AbortOnDropHandle<()>)>,
    webhooks: Sending,
}

fn subscription(alias: &str) -> Subscription {
    Subscription {
        holder: Holder::plugin(alias),
        name: NAME.to_owned(),
    }
}

/// Has messages delivered as long as the host lives.
pub(crate) async fn run(host: Weak<Host>) {
    let mut served = Served::default();
    loop {
        let post = {
            let Some(host) = host.upgrade() else {
                return;
            };
            host.keep_residents(&mut served.residents);
            host.serve(&mut served.messages).await;
            host.send_hooks(&mut served.webhooks).await;
            host.post.clone()
        };
        let _ = tokio::time::timeout(Duration::from_secs(60), post.changed.notified()).await;
    }
}

impl Host {
    /// Has the instances of resident plugins run, and those end that are no more wanted.
    fn keep_residents(
        self: &Arc<Self>,
        kept: &mut BTreeMap<String, (Arc<Plugin>, AbortOnDropHandle<()>)>,
    ) {
        for plugin in self.residents.leaving() {
            let host = self.clone();
            tokio::spawn(async move { host.end_resident(&plugin).await });
        }
        let registry = self.registry();
        kept.retain(|alias, (plugin, _)| {
            registry
                .plugin(alias)
                .is_some_and(|now| Arc::ptr_eq(now, plugin))
        });
        for plugin in registry.plugins() {
            let resident = plugin.resident().is_some() && plugin.status == PluginStatus::Ready;
            if resident && !kept.contains_key(&plugin.alias) {
                let keeping = resident::keep(Arc::downgrade(self), plugin.clone());
                let keeping = AbortOnDropHandle::new(tokio::spawn(keeping));
                kept.insert(plugin.alias.clone(), (plugin.clone(), keeping));
            }
        }
    }

    /// Starts, changes and ends the plugins' tasks as the registry and its grants want it.
    async fn serve(self: &Arc<Self>, serving: &mut BTreeMap<String, Serving>) {
        let registry = self.registry();
        let broker = &self.post.broker;
        serving.retain(|alias, _| registry.plugin(alias).is_some());
        let known = broker.stats().await.map(|stats| stats.subscriptions);
        for known in known.unwrap_or_default() {
            let alias = &*known.subscription.holder.alias;
            // What can't be read now keeps its messages; what is gone does not.
            let gone = match registry.plugin(alias) {
                None if alias.is_empty() => {
                    let settings = &self.hooks.load().settings;
                    hooks_out::is_gone(&known.subscription, settings)
                }
                None => true,
                Some(plugin) => plugin
                    .in_force()
                    .is_some_and(|now| now.effective.messages.subscribe.is_empty()),
            };
            if gone && let Err(error) = broker.unsubscribe(&known.subscription).await {
                tracing::error!(plugin = alias, %error, "a subscription could not be ended");
            }
        }
        for plugin in registry.plugins() {
            let patterns = plugin
                .in_force()
                .map(|now| now.effective.messages.subscribe.clone())
                .unwrap_or_default();
            let alias = &plugin.alias;
            if patterns.is_empty() || plugin.status != PluginStatus::Ready {
                serving.remove(alias);
                continue;
            }
            let same = serving
                .get(alias)
                .is_some_and(|now| now.patterns == patterns && Arc::ptr_eq(&now.plugin, plugin));
            if same {
                continue;
            }
            // The old one ends first: messages that it has come again.
            serving.remove(alias);
            match self.serve_plugin(plugin, &patterns).await {
                Ok(now) => {
                    serving.insert(alias.clone(), now);
                }
                Err(why) => {
                    tracing::error!(plugin = alias, why, "a plugin gets no messages");
                }
            }
        }
    }

    async fn serve_plugin(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        patterns: &[TopicPattern],
    ) -> Result<Serving, String> {
        let alias = &plugin.alias;
        let facts = plugin.facts.as_ref().ok_or("its package was not read")?;
        let template = self.template(alias, facts, None).await;
        let template = template.map_err(|error| error.failure.message)?;
        let mut serving = Serving {
            patterns: patterns.to_vec(),
            plugin: plugin.clone(),
            handling: None,
            answering: None,
        };
        if template.is_handler() {
            let subscription = subscription(alias);
            let broker = &self.post.broker;
            let subscribed = broker.subscribe(&subscription, patterns, Start::Now).await;
            subscribed.map_err(|error| error.to_string())?;
            let at_once = plugin.places().min(AT_ONCE);
            let handler = Handler(plugin.clone());
            let task = consume(Arc::downgrade(self), subscription, at_once, handler);
            serving.handling = Some(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        if template.is_responder() {
            let answerer = Arc::new(Answerer {
                host: Arc::downgrade(self),
                plugin: plugin.clone(),
                places: Semaphore::new(plugin.places()),
            });
            let holder = Holder::plugin(alias);
            let broker = &self.post.broker;
            serving.answering = Some(broker.answer(holder, patterns.to_vec(), answerer));
        }
        if serving.handling.is_none() && serving.answering.is_none() {
            return Err(
                "it is granted messages.subscribe, but exports neither portreeve:messages/handler nor portreeve:messages/responder".to_owned(),
            );
        }
        Ok(serving)
    }
}

/// Waits until a plugin with one instance for all takes messages.
async fn ready(plugin: &Plugin) {
    if let Some(facts) = &plugin.facts
        && let Some(residence) = &facts.residence
    {
        residence.ready().await;
    }
}

/// Gives messages to a plugin.
struct Handler(Arc<Plugin>);

impl Consumer for Handler {
    async fn ready(&self) {
        // What an instance broke with is no try of the messages that wait.
        ready(&self.0).await;
    }

    async fn take(&self, host: &Arc<Host>, delivery: &Delivery) -> Outcome {
        host.deliver_one(&self.0, delivery).await
    }
}

/// Has a plugin answer requests.
struct Answerer {
    host: Weak<Host>,
    plugin: Arc<Plugin>,
    /// As many at a time as its calls may run.
    places: Semaphore,
}

#[async_trait]
impl Responder for Answerer {
    async fn answer(&self, request: &Request) -> Option<Reply> {
        let _place = self.places.acquire().await.ok()?;
        let host = self.host.upgrade().filter(|_| !request.is_left())?;
        let answer = host.answer_one(&self.plugin, &request.message).await;
        Some(match answer {
            Ok(answer) => Ok(Answer {
                payload: answer.payload.into(),
                content_type: answer.content_type,
                headers: answer.headers,
            }),
            Err(error) => Err(refusal(error.failure)),
        })
    }
}

/// A failure for whoever asked.
fn refusal(failure: Failure) -> Refusal {
    Refusal {
        code: failure.code.as_str().to_owned(),
        reason: failure.reason,
        message: failure.message,
        retry_ms: failure
            .retry_after
            .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        detail: failure.detail,
    }
}

fn given(message: &Message) -> GivenMessage {
    GivenMessage {
        id: message.id.clone(),
        topic: message.topic.to_string(),
        position: u64::try_from(message.position).unwrap_or(0),
        time_ms: u64::try_from(message.time_ms).unwrap_or(0),
        payload: message.payload.to_vec(),
        content_type: message.content_type.clone(),
        headers: message.headers.clone(),
        key: message.key.clone(),
        source: message.sender.holder.alias.to_string(),
    }
}

/// What is given to a guest.
enum Work {
    Message(u32),
    Request,
}

/// What it made of it.
enum Done {
    Handled(Handled),
    Answer(MessageAnswer),
}

impl Host {
    async fn deliver_one(self: &Arc<Self>, plugin: &Arc<Plugin>, delivery: &Delivery) -> Outcome {
        let message = &delivery.message;
        // A revoke holds from the next message on; what was fetched before goes back.
        let granted = plugin.in_force().is_some_and(|now| {
            let patterns = &now.effective.messages.subscribe;
            patterns
                .iter()
                .any(|pattern| pattern.matches(&message.topic))
        });
        if !granted {
            let why = "it is not granted any more".to_owned();
            return Outcome::Retry(Retry::Backoff, why);
        }
        let retry = |after: Option<Duration>| {
            after.map_or(Retry::Backoff, |after| {
                Retry::After(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
            })
        };
        match self.give_in_order(plugin, message, delivery.attempt).await {
            Ok(Done::Handled(Handled::Ack)) => Outcome::Ack,
            Ok(Done::Handled(Handled::Retry(after))) => {
                Outcome::Retry(retry(after), "the plugin asked for it".to_owned())
            }
            Ok(Done::Handled(Handled::Reject(why))) => Outcome::Reject(why),
            Ok(Done::Answer(_)) => Outcome::Retry(Retry::Backoff, "no outcome".to_owned()),
            Err(CallError { failure, .. }) => {
                let why = format!("{} ({}): {}", failure.code, failure.reason, failure.message);
                Outcome::Retry(retry(failure.retry_after), why)
            }
        }
    }

    async fn answer_one(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        request: &Message,
    ) -> Result<MessageAnswer, CallError> {
        match self.give(plugin, request, Work::Request).await.result? {
            Done::Answer(answer) => Ok(answer),
            Done::Handled(_) => Err(CallError::internal("a request was handled as a message")),
        }
    }

    /// Gives a message to a plugin; once more where its instance had just broken, which is no
    /// try of this message.
    async fn give_in_order(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        message: &Message,
        attempt: u32,
    ) -> Result<Done, CallError> {
        loop {
            let given = self.give(plugin, message, Work::Message(attempt)).await;
            match given.result {
                Err(error) if error.failure.reason == resident::RESTARTING => {
                    let state = plugin.resident().map(|status| status.state);
                    if state == Some(ResidentState::Failed) {
                        return Err(error);
                    }
                    ready(plugin).await;
                }
                result => return result,
            }
        }
    }

    /// Gives a message to a plugin, on record as a call.
    async fn give(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        message: &Message,
        work: Work,
    ) -> Finished<Done> {
        let call_id = self.ids.next();
        let scope = CallScope::new(
            plugin.clone(),
            &call_id,
            message.sender.principal.as_str().into(),
            self.audit.clone(),
            message.path_with_it(),
        );
        let attempt = match work {
            Work::Message(attempt) => Some(attempt),
            Work::Request => None,
        };
        let finished = match &plugin.facts {
            Some(facts) => self.run_given(plugin, facts, &scope, message, work).await,
            None => Err(CallError::internal(
                "a plugin without package got a message",
            )),
        };
        let mut finished = finished.unwrap_or_else(Finished::refused);
        self.record_given(&scope, message, attempt, &finished);
        self.tell_changes(plugin, std::mem::take(&mut finished.changes));
        finished
    }

    async fn run_given(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        facts: &Facts,
        scope: &Arc<CallScope>,
        message: &Message,
        work: Work,
    ) -> Result<Finished<Done>, CallError> {
        let template = self.template(&plugin.alias, facts, None).await?.clone();
        let connection = format!("messages of {}", plugin.alias);
        let permit = self
            .admission
            .admit(&connection, &plugin.alias, &facts.limits)
            .await?;
        let request = CallRequest {
            caller: Caller {
                name: scope.caller.clone(),
                connection: connection.as_str().into(),
                door: Door::Inside,
            },
            tool: String::new(),
            arguments: Map::new(),
            progress: None,
            ui: CallerUi::default(),
            cancel: CancellationToken::new(),
        };
        let vessel = self.vessel(plugin, facts, &template).await?;
        if let Work::Request = work {
            self.post.waits.answers(&message.id, &scope.call_id);
        }
        let resident = vessel.is_resident();
        let sockets = vessel.may_use_sockets(facts, scope);
        let context = self.context(facts, scope, &request, sockets).await?;
        let (limits, given) = (facts.limits.clone(), given(message));
        let running = Box::pin(async move {
            let _permit = permit;
            match work {
                Work::Message(attempt) => {
                    let finished = vessel.handle(&given, attempt, &limits, context).await;
                    Finished {
                        usage: finished.usage,
                        changes: finished.changes,
                        result: finished.result.map(Done::Handled),
                    }
                }
                Work::Request => {
                    let finished = vessel.respond(&given, &limits, context).await;
                    Finished {
                        usage: finished.usage,
                        changes: finished.changes,
                        result: finished.result.map(Done::Answer),
                    }
                }
            }
        });
        let pace = &facts.component.pace;
        Ok(match resident {
            true => self.workshop.call_to_its_end(running, pace, sockets).await,
            false => self.workshop.run(running, sockets).await,
        })
    }

    fn record_given(
        &self,
        scope: &CallScope,
        message: &Message,
        attempt: Option<u32>,
        finished: &Finished<Done>,
    ) {
        let Usage { duration, fuel, .. } = finished.usage;
        let mut body = Map::new();
        let mut add = |name: &str, value| body.insert(name.to_owned(), value);
        add("topic", json!(message.topic.as_str()));
        add("message", json!(message.id));
        add("from", json!(&*message.sender.holder.alias));
        if let Some(attempt) = attempt {
            add("attempt", json!(attempt));
        }
        add("ms", json!(duration.as_millis() as u64));
        add("fuel", json!(fuel));
        match &finished.result {
            Ok(Done::Handled(Handled::Ack)) => add("outcome", json!("ack")),
            Ok(Done::Handled(Handled::Retry(_))) => add("outcome", json!("retry")),
            Ok(Done::Handled(Handled::Reject(_))) => add("outcome", json!("reject")),
            Ok(Done::Answer(_)) => add("outcome", json!("answer")),
            Err(error) => {
                add("error", json!(error.failure.code.as_str()));
                add("reason", json!(error.failure.reason))
            }
        };
        scope.tell_uses(&mut body);
        if let Err(error) = self.audit.note(scope.event(AuditKind::Call, body)) {
            tracing::error!(%error, "a message's call was not recorded");
        }
    }
}
