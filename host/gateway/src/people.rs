//! The people at a client: how they are asked and told, in both eras of the protocol.
//!
//! A client that greeted is asked over its connection while its call runs. One of the newer era
//! gets the questions as the call's result, and calls again with the answers. Nothing here
//! knows what the connection is made of.
#![allow(deprecated, reason = "clients of the older era are told by its log")]

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use portreeve_core::{Asker, NoAnswer, Notice, NoticeLevel, NoticeListener, Question, Reply};
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientCapabilities, ClientResult,
    ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, InputRequest,
    InputRequests, InputResponses, LoggingLevel, LoggingMessageNotification,
    LoggingMessageNotificationParam, RequestId,
};
use rmcp::service::{Peer, PeerRequestOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Notices that wait for a client that reads slowly; more are in the inbox only.
const WAITING_MAX: usize = 16;

/// Whether a client shows forms.
pub(crate) fn shows_forms(capabilities: &ClientCapabilities) -> bool {
    // A client that names no mode has the one that there was first.
    capabilities
        .elicitation
        .as_ref()
        .is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

fn params(question: &Question) -> Result<ElicitRequestParams, NoAnswer> {
    let broken = |error: serde_json::Error| NoAnswer(error.to_string());
    Ok(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: question.form.message.clone(),
        requested_schema: serde_json::from_value(question.form.schema()).map_err(broken)?,
    })
}

fn reply(result: ElicitResult) -> Reply {
    match (result.action, result.content) {
        (ElicitationAction::Accept, Some(Value::Object(answer))) => Reply::Accepted(answer),
        // What was agreed to without filling anything in; whether that fits is checked later.
        (ElicitationAction::Accept, _) => Reply::Accepted(serde_json::Map::new()),
        (ElicitationAction::Decline, _) => Reply::Declined,
        _ => Reply::Dismissed,
    }
}

/// Asks a client of the older era.
pub(crate) struct Elicitor(pub(crate) Peer<RoleServer>);

/// A question that the client has; dropping it takes it back.
struct Sent {
    client: Peer<RoleServer>,
    id: Option<RequestId>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else {
            return;
        };
        let (client, Ok(handle)) = (self.client.clone(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        handle.spawn(async move {
            let params = CancelledNotificationParam::new(
                Some(id),
                Some("nobody waits for the answer any more".to_owned()),
            );
            let _ = client
                .send_notification(CancelledNotification::new(params).into())
                .await;
        });
    }
}

impl Elicitor {
    async fn one(&self, question: &Question, time: Duration) -> Result<Reply, NoAnswer> {
        let request = ElicitRequest::new(params(question)?);
        // Whoever asks counts the time, and gives up sooner.
        let mut options = PeerRequestOptions::no_options();
        options.timeout = Some(time.saturating_add(Duration::from_secs(60)));
        let sent = self.0.send_request_with_option(request.into(), options);
        let sent = sent.await.map_err(|error| NoAnswer(error.to_string()))?;
        let mut open = Sent {
            client: self.0.clone(),
            id: Some(sent.id.clone()),
        };
        let answered = sent.await_response().await;
        open.id = None;
        match answered {
            Ok(ClientResult::ElicitResult(result)) => Ok(reply(result)),
            Ok(_) => Err(NoAnswer("it answered with something else".to_owned())),
            Err(error) => Err(NoAnswer(error.to_string())),
        }
    }
}

#[async_trait]
impl Asker for Elicitor {
    async fn ask(&self, questions: &[Question], time: Duration) -> Result<Vec<Reply>, NoAnswer> {
        // One after the other: clients show one form at a time, and the first one that can't be
        // shown ends them all.
        let mut replies = Vec::with_capacity(questions.len());
        for question in questions {
            replies.push(self.one(question, time).await?);
        }
        Ok(replies)
    }
}

/// The name of the question at a place in the newer era.
fn name(place: usize) -> String {
    format!("question-{}", place.saturating_add(1))
}

/// Questions as the newer era has them.
pub(crate) fn requests(questions: &[Question]) -> Result<InputRequests, ErrorData> {
    let each = questions.iter().enumerate().map(|(place, question)| {
        let params =
            params(question).map_err(|NoAnswer(why)| ErrorData::internal_error(why, None))?;
        Ok((
            name(place),
            InputRequest::Elicitation(ElicitRequest::new(params)),
        ))
    });
    each.collect()
}

/// Answers as the newer era has them, in the order of the questions.
pub(crate) fn replies(responses: InputResponses) -> Result<Vec<Reply>, ErrorData> {
    let wrong = |why: String| ErrorData::invalid_params(why, None);
    let mut responses: BTreeMap<String, Value> = responses;
    let count = responses.len();
    (0..count)
        .map(|place| {
            let name = name(place);
            let response = responses.remove(&name).ok_or_else(|| {
                wrong(format!(
                    "`inputResponses` has no `{name}`; answer each request under its name"
                ))
            })?;
            serde_json::from_value(response)
                .map(reply)
                .map_err(|error| {
                    wrong(format!(
                        "`inputResponses.{name}` is no result of an elicitation: {error}"
                    ))
                })
        })
        .collect()
}

/// Takes notices without ever waiting.
pub(crate) struct Notifier(Sender<(String, Notice)>);

impl NoticeListener for Notifier {
    fn notice(&self, plugin: &str, notice: &Notice) {
        // Full: the client is behind. The inbox has it.
        let _ = self.0.try_send((plugin.to_owned(), notice.clone()));
    }
}

/// Where notices go in, and where they come out.
pub(crate) fn notices() -> (Notifier, Receiver<(String, Notice)>) {
    let (sender, receiver) = channel(WAITING_MAX);
    (Notifier(sender), receiver)
}

fn level(level: NoticeLevel) -> LoggingLevel {
    match level {
        NoticeLevel::Info => LoggingLevel::Info,
        NoticeLevel::Warning => LoggingLevel::Warning,
        NoticeLevel::Error => LoggingLevel::Error,
    }
}

/// How much a level of the protocol's matters.
pub(crate) const fn weight(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
        // One that a later version of the protocol adds.
        #[allow(unreachable_patterns, reason = "the list may grow")]
        _ => 7,
    }
}

/// Runs `call` and passes its notices on meanwhile, those that matter as much as `least`. When
/// this returns, all of them are written: none comes after the answer.
pub(crate) async fn passed_on<T>(
    call: impl Future<Output = T>,
    mut notices: Receiver<(String, Notice)>,
    client: &Peer<RoleServer>,
    least: u8,
) -> T {
    tokio::pin!(call);
    let answer = loop {
        tokio::select! {
            biased;
            Some(notice) = notices.recv() => tell(client, least, notice).await,
            answer = &mut call => break answer,
        }
    };
    while let Ok(notice) = notices.try_recv() {
        tell(client, least, notice).await;
    }
    answer
}

async fn tell(client: &Peer<RoleServer>, least: u8, (plugin, notice): (String, Notice)) {
    let level = level(notice.level);
    if weight(level) < least {
        return;
    }
    let mut data = json!({"title": notice.title});
    if let Value::Object(members) = &mut data {
        if !notice.body.is_empty() {
            members.insert("body".to_owned(), notice.body.into());
        }
        if let Some(link) = notice.link {
            members.insert("link".to_owned(), link.into());
        }
    }
    let mut params = LoggingMessageNotificationParam::new(level, data);
    params.logger = Some(plugin);
    let _ = client
        .send_notification(LoggingMessageNotification::new(params).into())
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_by_name() {
        let responses = |value: Value| serde_json::from_value::<InputResponses>(value).unwrap();
        let got = replies(responses(json!({
            "question-2": {"action": "decline"},
            "question-1": {"action": "accept", "content": {"a": 1}},
            "question-3": {"action": "cancel"},
        })));
        let names: Vec<_> = got.unwrap().iter().map(Reply::as_str).collect();
        assert_eq!(names, ["accepted", "declined", "dismissed"]);
        for wrong in [
            json!({"question-2": {"action": "decline"}}),
            json!({"other": {"action": "decline"}}),
            json!({"question-1": {"action": "perhaps"}}),
            json!({"question-1": null}),
        ] {
            assert!(replies(responses(wrong.clone())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_shows_forms() {
        for (capabilities, shows) in [
            (json!({}), false),
            (json!({"elicitation": {}}), true),
            (json!({"elicitation": {"form": {}}}), true),
            (json!({"elicitation": {"form": {}, "url": {}}}), true),
            (json!({"elicitation": {"url": {}}}), false),
        ] {
            let read: ClientCapabilities = serde_json::from_value(capabilities.clone()).unwrap();
            assert_eq!(shows_forms(&read), shows, "{capabilities}");
        }
    }
}
