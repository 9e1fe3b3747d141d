//! The client of a call, and the people at it: how they are asked, in both eras of the protocol.
//!
//! A client that greeted is asked over its connection while its call runs. One of the newer era
//! gets the questions as the call's result, and calls again with the answers. Nothing here
//! knows what the connection is made of.
#![allow(
    deprecated,
    reason = "sampling and roots are served while clients have them"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use portreeve_core::{
    Answer, Answers, Asker, ClientCan, Form, InputReply, InputWant, NoAnswer, Question, Reply, Root,
};
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientCapabilities, ClientResult,
    CreateMessageRequest, CreateMessageResult, ElicitRequest, ElicitRequestParams, ElicitResult,
    ElicitationAction, ErrorData, GetMeta, InputRequest, InputRequests, InputResponses,
    ListRootsRequest, ListRootsResult, RequestId, ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{older_tasks, sampling};

/// What a client says that it can give.
pub(crate) fn can(capabilities: &ClientCapabilities) -> ClientCan {
    ClientCan {
        // A client that names no mode has the one that there was first.
        questions: capabilities
            .elicitation
            .as_ref()
            .is_some_and(|modes| modes.form.is_some() || modes.url.is_none()),
        messages: capabilities.sampling.is_some(),
        roots: capabilities.roots.is_some(),
    }
}

fn form(form: &Form) -> Result<ElicitRequest, String> {
    let schema = serde_json::from_value(form.schema()).map_err(|error| error.to_string())?;
    Ok(ElicitRequest::new(
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: form.message.clone(),
            requested_schema: schema,
        },
    ))
}

/// What is asked, as the protocol has it.
fn request(question: &Question) -> Result<InputRequest, String> {
    Ok(match &question.want {
        InputWant::Question(asked) => InputRequest::Elicitation(form(asked)?),
        InputWant::Message(asked) => InputRequest::CreateMessage(CreateMessageRequest::new(
            sampling::params(asked, &question.plugin)?,
        )),
        InputWant::Roots => InputRequest::ListRoots(ListRootsRequest::default()),
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

fn roots(result: ListRootsResult) -> InputReply {
    let roots = result.roots.into_iter().map(|root| Root {
        uri: root.uri,
        name: root.name,
    });
    InputReply::Roots(roots.collect())
}

/// Asks a client of the older era.
pub(crate) struct Elicitor {
    client: Peer<RoleServer>,
    /// The task whose call asks.
    task: Option<String>,
}

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
    pub(crate) fn new(client: Peer<RoleServer>) -> Elicitor {
        Elicitor { client, task: None }
    }

    /// One that asks what a task asks.
    pub(crate) fn of_task(client: Peer<RoleServer>, id: &str) -> Elicitor {
        let task = Some(id.to_owned());
        Elicitor { client, task }
    }

    pub(crate) async fn one(
        &self,
        question: &Question,
        time: Duration,
    ) -> Result<InputReply, NoAnswer> {
        let mut request = match request(question).map_err(NoAnswer)? {
            InputRequest::Elicitation(request) => ServerRequest::from(request),
            InputRequest::CreateMessage(request) => request.into(),
            InputRequest::ListRoots(request) => request.into(),
            _ => return Err(NoAnswer("it can't be asked that".to_owned())),
        };
        if let Some(id) = &self.task {
            let related = serde_json::json!({"taskId": id});
            request
                .get_meta_mut()
                .insert(older_tasks::RELATED.to_owned(), related);
        }
        // Whoever asks counts the time, and gives up sooner.
        let mut options = PeerRequestOptions::no_options();
        options.timeout = Some(time.saturating_add(Duration::from_secs(60)));
        let sent = self.client.send_request_with_option(request, options);
        let sent = sent.await.map_err(|error| NoAnswer(error.to_string()))?;
        let mut open = Sent {
            client: self.client.clone(),
            id: Some(sent.id.clone()),
        };
        let answered = sent.await_response().await;
        open.id = None;
        let answered = answered.map_err(|error| NoAnswer(error.to_string()))?;
        match (&question.want, answered) {
            (InputWant::Question(_), ClientResult::ElicitResult(result)) => {
                Ok(InputReply::Answer(reply(result)))
            }
            (InputWant::Message(_), ClientResult::CreateMessageResult(result)) => {
                sampling::reply(*result)
                    .map(InputReply::Message)
                    .map_err(NoAnswer)
            }
            (InputWant::Roots, ClientResult::ListRootsResult(result)) => Ok(roots(result)),
            _ => Err(NoAnswer("it answered with something else".to_owned())),
        }
    }
}

#[async_trait]
impl Asker for Elicitor {
    async fn ask(
        &self,
        questions: &[Question],
        time: Duration,
    ) -> Result<Vec<InputReply>, NoAnswer> {
        // One after the other: clients show one thing at a time, and the first one that can't be
        // shown ends them all.
        let mut given = Vec::with_capacity(questions.len());
        for question in questions {
            given.push(self.one(question, time).await?);
        }
        Ok(given)
    }
}

/// Questions as the newer era has them.
pub(crate) fn requests(questions: &BTreeMap<String, Question>) -> Result<InputRequests, ErrorData> {
    let each = questions.iter().map(|(name, question)| {
        let request = request(question).map_err(|why| ErrorData::internal_error(why, None))?;
        Ok((name.clone(), request))
    });
    each.collect()
}

/// Answers as the newer era has them, to be read once it is known what they answer.
pub(crate) fn answers(responses: InputResponses) -> Answers {
    let each = responses.into_iter().map(|(name, response)| {
        let read: Answer = Box::new(move |question| match &question.want {
            InputWant::Question(_) => typed(response, "an elicitation")
                .map(reply)
                .map(InputReply::Answer),
            InputWant::Message(_) => {
                let result: CreateMessageResult = typed(response, "sampling")?;
                sampling::reply(result).map(InputReply::Message)
            }
            InputWant::Roots => typed(response, "a list of roots").map(roots),
        });
        (name, read)
    });
    each.collect()
}

fn typed<T: DeserializeOwned>(response: Value, what: &str) -> Result<T, String> {
    serde_json::from_value(response).map_err(|error| format!("it is no result of {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn question(want: InputWant) -> Question {
        Question {
            plugin: "notes".to_owned(),
            name: None,
            want,
        }
    }

    #[test]
    fn answers_are_read_as_what_they_answer() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let form = || InputWant::Question(Form::read("How many?", &schema.to_string()).unwrap());
        let sampling = || {
            InputWant::Message(portreeve_core::SamplingRequest {
                messages: Vec::new(),
                system: None,
                max_tokens: 1,
                options: serde_json::Map::new(),
            })
        };
        for (want, response, expected) in [
            (form(), json!({"action": "decline"}), "Ok(Answer(declined))"),
            (
                form(),
                json!({"action": "accept", "content": {"a": 1}}),
                "Ok(Answer(accepted))",
            ),
            (form(), json!({"action": "perhaps"}), "Err"),
            (form(), json!(12345), "Err"),
            (form(), json!(null), "Err"),
            (
                InputWant::Roots,
                json!({"roots": [{"uri": "file:///a"}]}),
                r#"Ok(Roots([Root { uri: "file:///a", name: None }]))"#,
            ),
            (InputWant::Roots, json!({"action": "accept"}), "Err"),
            (
                sampling(),
                json!({"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"}),
                r#"Ok(Message(SamplingReply { said: Utterance { role: Assistant, content: Text("hi") }, model: "m", stop_reason: None }))"#,
            ),
            (sampling(), json!({"role": "assistant"}), "Err"),
        ] {
            let responses = InputResponses::from([("x".to_owned(), response.clone())]);
            let read = answers(responses).remove("x").unwrap();
            let shown = match read(&question(want)) {
                Ok(given) => format!("Ok({given:?})"),
                Err(_) => "Err".to_owned(),
            };
            assert_eq!(shown, expected, "{response}");
        }
    }

    #[test]
    fn what_clients_can_give() {
        let none = ClientCan::default();
        let questions = ClientCan {
            questions: true,
            ..none
        };
        for (capabilities, expected) in [
            (json!({}), none),
            (json!({"elicitation": {}}), questions),
            (json!({"elicitation": {"form": {}}}), questions),
            (json!({"elicitation": {"form": {}, "url": {}}}), questions),
            (json!({"elicitation": {"url": {}}}), none),
            (
                json!({"sampling": {}, "roots": {"listChanged": true}}),
                ClientCan {
                    messages: true,
                    roots: true,
                    ..none
                },
            ),
        ] {
            let read: ClientCapabilities = serde_json::from_value(capabilities.clone()).unwrap();
            assert_eq!(can(&read), expected, "{capabilities}");
        }
    }
}
