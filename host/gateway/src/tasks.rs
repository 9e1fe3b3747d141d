//! Tasks as the protocol's extension has them.

use portreeve_core::{Task, TaskProgress};
use rmcp::model::{
    CreateTaskResult, DetailedTask, ErrorCode, ErrorData, GetTaskResult, JsonObject,
    TASKS_EXTENSION_ID, Task as WireTask, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};

use crate::convert;
use crate::people;

/// How often clients shall ask for a task, in milliseconds.
pub(crate) const POLL_MS: u64 = 1_000;

/// Why a task has failed whose host ended before its call did.
pub(crate) const INTERRUPTED: &str = "host restarted: it ended before the call did, which may have done some of its work; call the tool again if that does no harm";

/// A moment, as both versions write it.
pub(crate) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .to_string()
}

fn wire(task: &Task, status: TaskStatus) -> WireTask {
    let age = task.expires_ms.saturating_sub(task.created_ms);
    let (created, updated) = (time(task.created_ms), time(task.updated_ms));
    let mut wire = WireTask::new(task.id.clone(), status, created, updated)
        .with_ttl_ms(u64::try_from(age).unwrap_or(0))
        .with_poll_interval_ms(POLL_MS);
    wire.status_message.clone_from(&task.message);
    wire
}

/// The result that hands out a task.
pub(crate) fn created(task: &Task) -> CreateTaskResult {
    CreateTaskResult::new(wire(task, TaskStatus::Working))
}

/// The error for a client that does not come back for tasks, where a tool's calls are no less.
pub(crate) fn required() -> ErrorData {
    ErrorData::new(
        ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
        "this tool's plugin wants its calls to be tasks, and this client doesn't say that it comes back for those",
        Some(json!({"requiredCapabilities": {"extensions": {TASKS_EXTENSION_ID: {}}}})),
    )
}

fn object(value: impl serde::Serialize) -> Result<JsonObject, ErrorData> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(ErrorData::internal_error("a task can't be shown", None)),
    }
}

/// How far a task is.
pub(crate) fn got(task: Task) -> Result<GetTaskResult, ErrorData> {
    let mut shown = wire(&task, TaskStatus::Working);
    let payload = match task.progress {
        TaskProgress::Working => TaskPayload::Working,
        TaskProgress::Cancelled => TaskPayload::Cancelled,
        TaskProgress::Asks(questions) => TaskPayload::InputRequired {
            input_requests: people::requests(&questions)?,
        },
        TaskProgress::Ended(response) => match convert::missing_capability(&response) {
            Some(missing) => TaskPayload::Failed {
                error: object(missing)?,
            },
            None => match convert::answer(*response) {
                Ok(result) => TaskPayload::Completed {
                    result: object(result)?,
                },
                Err(error) => TaskPayload::Failed {
                    error: object(error)?,
                },
            },
        },
        TaskProgress::Interrupted => {
            shown.status_message = Some(INTERRUPTED.to_owned());
            TaskPayload::Failed {
                error: object(ErrorData::new(ErrorCode::INTERNAL_ERROR, INTERRUPTED, None))?,
            }
        }
    };
    Ok(GetTaskResult::new(DetailedTask::new(shown, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use portreeve_core::{CallError, CallResponse, Content, Outcome, Usage};

    fn check(progress: TaskProgress, expected: Expect) {
        let task = Task {
            id: "t".to_owned(),
            progress,
            message: None,
            created_ms: 0,
            updated_ms: 1_500,
            expires_ms: 60_000,
        };
        let shown = serde_json::to_value(got(task).unwrap()).unwrap();
        expected.assert_eq(&shown.to_string());
    }

    fn ended(result: Result<Outcome, CallError>) -> TaskProgress {
        TaskProgress::Ended(Box::new(CallResponse {
            call_id: "c-1".to_owned(),
            result,
            usage: Usage::default(),
        }))
    }

    #[test]
    fn tasks_have_the_extensions_form() {
        check(
            TaskProgress::Working,
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollIntervalMs":1000,"resultType":"complete","status":"working","taskId":"t","ttlMs":60000}"#
            ]],
        );
        let outcome = Outcome {
            content: vec![Content::Text("done".to_owned())],
            ..Outcome::default()
        };
        check(
            ended(Ok(outcome)),
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollIntervalMs":1000,"result":{"_meta":{"portreeve/call-id":"c-1"},"content":[{"text":"done","type":"text"}],"isError":false,"resultType":"complete"},"resultType":"complete","status":"completed","taskId":"t","ttlMs":60000}"#
            ]],
        );
        check(
            ended(Err(CallError::internal("secret"))),
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","error":{"code":-32603,"data":{"callId":"c-1","code":"internal","origin":"internal","reason":"host-error"},"message":"something broke inside the host; its log has the details under this call's id"},"lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollIntervalMs":1000,"resultType":"complete","status":"failed","taskId":"t","ttlMs":60000}"#
            ]],
        );
        check(
            TaskProgress::Cancelled,
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollIntervalMs":1000,"resultType":"complete","status":"cancelled","taskId":"t","ttlMs":60000}"#
            ]],
        );
        check(
            TaskProgress::Interrupted,
            expect![[
                r#"{"createdAt":"1970-01-01T00:00:00Z","error":{"code":-32603,"message":"host restarted: it ended before the call did, which may have done some of its work; call the tool again if that does no harm"},"lastUpdatedAt":"1970-01-01T00:00:01.5Z","pollIntervalMs":1000,"resultType":"complete","status":"failed","statusMessage":"host restarted: it ended before the call did, which may have done some of its work; call the tool again if that does no harm","taskId":"t","ttlMs":60000}"#
            ]],
        );
    }
}
