//! Tasks as the protocol had them in 2025-11-25: the client says that a call shall be one, and
//! asks for its result by a method of its own. The library has the newer form only; these are
//! JSON of our own making, over the same tasks.

use std::time::Duration;

use portreeve_core::{Answer, Answers, Host, Task, TaskProgress};
use rmcp::RoleServer;
use rmcp::model::{ClientRequest, ErrorCode, ErrorData, ProtocolVersion, TaskStatus};
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::convert;
use crate::people::Elicitor;
use crate::tasks::{self, POLL_MS};

/// The part of a message's `_meta` that names the task that it belongs to.
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Tasks on one page of a list: what came of each of them is read for that, one by one.
const PAGE: usize = 20;

/// How long the end of a cancelled task is waited for.
const CANCELLED_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a question waits at most; its plugin's own limit comes long before that.
const ASK_TIME_MAX: Duration = Duration::from_secs(86_400);

/// Whether these methods and parameters ask for what this version has alone.
pub(crate) fn is_asked(method: &str, params: &Map<String, Value>) -> bool {
    match method {
        "tools/call" => params.contains_key("task"),
        "tasks/get" | "tasks/list" | "tasks/result" | "tasks/cancel" => true,
        _ => false,
    }
}

/// Whether a request does nothing but wait, so that nothing is lost where it ends before that
/// for which it waits.
pub(crate) fn only_waits(request: &ClientRequest) -> bool {
    matches!(request, ClientRequest::CustomRequest(custom) if custom.method == "tasks/result")
}

/// Whether the client of a request greeted with this version.
pub(crate) fn speaks(context: &RequestContext<RoleServer>) -> bool {
    let greeted = context.peer.peer_info();
    greeted.is_some_and(|greeted| greeted.protocol_version == ProtocolVersion::V_2025_11_25)
}

/// What a server of this version says of its tasks.
pub(crate) fn capability() -> Value {
    json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}})
}

/// How far a task is, in the words of this version: a tool's own error is a failure.
pub(crate) fn status(task: &Task) -> TaskStatus {
    match &task.progress {
        TaskProgress::Working => TaskStatus::Working,
        TaskProgress::Asks(_) => TaskStatus::InputRequired,
        TaskProgress::Cancelled => TaskStatus::Cancelled,
        TaskProgress::Interrupted => TaskStatus::Failed,
        TaskProgress::Ended(response) => match &response.result {
            Ok(outcome) if !outcome.is_error => TaskStatus::Completed,
            _ => TaskStatus::Failed,
        },
    }
}

/// A task as this version has it.
pub(crate) fn shown(task: &Task) -> Map<String, Value> {
    let mut shown = Map::new();
    let age = task.expires_ms.saturating_sub(task.created_ms);
    shown.insert("taskId".to_owned(), task.id.clone().into());
    shown.insert("status".to_owned(), json!(status(task)));
    let message = match &task.progress {
        TaskProgress::Interrupted => Some(tasks::INTERRUPTED.to_owned()),
        _ => task.message.clone(),
    };
    if let Some(message) = message {
        shown.insert("statusMessage".to_owned(), message.into());
    }
    let times = [
        ("createdAt", task.created_ms),
        ("lastUpdatedAt", task.updated_ms),
    ];
    for (name, ms) in times {
        shown.insert(name.to_owned(), tasks::time(ms).into());
    }
    shown.insert("ttl".to_owned(), age.into());
    shown.insert("pollInterval".to_owned(), POLL_MS.into());
    shown
}

/// The result that hands out a task.
pub(crate) fn created(task: &Task) -> Value {
    json!({"task": shown(task)})
}

fn refused(error: portreeve_core::CallError) -> ErrorData {
    ErrorData::invalid_params(error.failure.message, None)
}

/// The member of the parameters that names the task.
fn id_in(params: &Map<String, Value>) -> Result<&str, ErrorData> {
    let id = params.get("taskId").and_then(Value::as_str);
    id.ok_or_else(|| ErrorData::invalid_params("`taskId` must be there, and a string", None))
}

/// How far a task is.
pub(crate) async fn get(
    host: &Host,
    owner: &str,
    params: &Map<String, Value>,
) -> Result<Value, ErrorData> {
    let task = host.task(id_in(params)?, owner).await.map_err(refused)?;
    Ok(shown(&task).into())
}

/// A page of the caller's tasks.
pub(crate) async fn list(
    host: &Host,
    owner: &str,
    params: &Map<String, Value>,
) -> Result<Value, ErrorData> {
    let ids = host.task_ids(owner).await.map_err(refused)?;
    let begun = match params.get("cursor") {
        None | Some(Value::Null) => 0,
        Some(Value::String(after)) => ids.partition_point(|id| id <= after),
        Some(_) => return Err(ErrorData::invalid_params("`cursor` must be a string", None)),
    };
    let rest = ids.get(begun..).unwrap_or_default();
    let page = rest.get(..PAGE).unwrap_or(rest);
    let mut listed = Vec::with_capacity(page.len());
    for id in page {
        // One may have gone meanwhile.
        if let Ok(task) = host.task(id, owner).await {
            listed.push(Value::from(shown(&task)));
        }
    }
    let mut result = json!({"tasks": listed});
    if let (true, Some(last), Some(result)) =
        (page.len() < rest.len(), page.last(), result.as_object_mut())
    {
        result.insert("nextCursor".to_owned(), last.clone().into());
    }
    Ok(result)
}

/// Cancels a task, and shows what came of that.
pub(crate) async fn cancel(
    host: &Host,
    owner: &str,
    params: &Map<String, Value>,
) -> Result<Value, ErrorData> {
    let id = id_in(params)?;
    let task = host.task(id, owner).await.map_err(refused)?;
    if status(&task).is_terminal() {
        let why = "the task has ended, and can't be cancelled any more";
        return Err(ErrorData::invalid_params(why, None));
    }
    let follow = host.follow_task(id, owner);
    host.cancel_task(id, owner).await.map_err(refused)?;
    if let Some(mut changes) = follow {
        // It ends with its task.
        let ended = async { while changes.changed().await.is_ok() {} };
        if timeout(CANCELLED_TIME_MAX, ended).await.is_err() {
            tracing::debug!(task = id, "a cancelled task takes its time to end");
        }
    }
    let task = host.task(id, owner).await.map_err(refused)?;
    Ok(shown(&task).into())
}

/// What came of a task's call, once it has ended. Until then its client is asked what the call
/// asks.
pub(crate) async fn result(
    host: &Host,
    owner: &str,
    params: &Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> Result<Value, ErrorData> {
    let id = id_in(params)?;
    let client = Elicitor::of_task(context.peer.clone(), id);
    loop {
        let follow = host.follow_task(id, owner);
        let task = host.task(id, owner).await.map_err(refused)?;
        let changed = async {
            match follow {
                Some(mut changes) => {
                    let _ = changes.changed().await;
                }
                // It ended between the two.
                None => tokio::task::yield_now().await,
            }
        };
        let asks = match task.progress {
            TaskProgress::Ended(response) => return ended(*response, id),
            TaskProgress::Cancelled => {
                let why = "the task was cancelled";
                return Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, why, None));
            }
            TaskProgress::Interrupted => {
                let why = tasks::INTERRUPTED;
                return Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, why, None));
            }
            TaskProgress::Working => None,
            TaskProgress::Asks(questions) => Some(questions),
        };
        let answered = async {
            let Some(questions) = asks else {
                return std::future::pending().await;
            };
            let mut answers = Answers::new();
            for (name, question) in questions {
                let given = client.one(&question, ASK_TIME_MAX).await;
                let given = given.map_err(|why| {
                    let why = format!("the client could not ask: {why}");
                    ErrorData::new(ErrorCode::INTERNAL_ERROR, why, None)
                })?;
                let answer: Answer = Box::new(move |_| Ok(given));
                answers.insert(name, answer);
            }
            host.answer_task(id, owner, answers).await.map_err(refused)
        };
        tokio::select! {
            biased;
            () = context.ct.cancelled() => {
                return Err(ErrorData::invalid_request("the request was cancelled", None));
            }
            answered = answered => answered?,
            () = changed => {}
        }
    }
}

/// A result as JSON.
pub(crate) fn json(result: &impl serde::Serialize) -> Result<Value, ErrorData> {
    serde_json::to_value(result).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn ended(response: portreeve_core::CallResponse, id: &str) -> Result<Value, ErrorData> {
    let mut result = convert::answer(response)?;
    let related = json!({"taskId": id});
    let meta = result.meta.get_or_insert_default();
    meta.insert(RELATED.to_owned(), related);
    let mut result = json(&result)?;
    if let Some(result) = result.as_object_mut() {
        // Of the newer version alone.
        result.remove("resultType");
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use portreeve_core::{CallError, CallResponse, Outcome, Usage};

    fn ended(result: Result<Outcome, CallError>) -> TaskProgress {
        TaskProgress::Ended(Box::new(CallResponse {
            call_id: "c-1".to_owned(),
            result,
            usage: Usage::default(),
        }))
    }

    fn task(progress: TaskProgress) -> Task {
        Task {
            id: "t".to_owned(),
            progress,
            message: Some("1 of 2".to_owned()),
            created_ms: 0,
            updated_ms: 1_500,
            expires_ms: 60_000,
        }
    }

    fn check(progress: TaskProgress, expected: Expect) {
        expected.assert_eq(&Value::from(shown(&task(progress))).to_string());
    }

    #[test]
    fn tasks_have_the_form_of_their_version() {
        check(
            TaskProgress::Working,
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollInterval":1000,"status":"working","statusMessage":"1 of 2","taskId":"t","ttl":60000}"#
            ]],
        );
        check(
            TaskProgress::Interrupted,
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollInterval":1000,"status":"failed","statusMessage":"host restarted: it ended before the call did, which may have done some of its work; call the tool again if that does no harm","taskId":"t","ttl":60000}"#
            ]],
        );
        for (progress, expected) in [
            (TaskProgress::Asks(Default::default()), "input_required"),
            (TaskProgress::Cancelled, "cancelled"),
            (ended(Ok(Outcome::default())), "completed"),
            (
                ended(Ok(Outcome {
                    is_error: true,
                    ..Outcome::default()
                })),
                "failed",
            ),
            (ended(Err(CallError::internal("x"))), "failed"),
        ] {
            assert_eq!(shown(&task(progress))["status"], expected);
        }
    }
}
