//! From one line of a client to one message of the protocol.
//!
//! What two readers could take for two things is refused before the protocol's machinery
//! sees it, and every refusal says what is wrong, under the request's id where that can be
//! read.
#![allow(deprecated, reason = "clients of the older era are told by its log")]

use bytes::Bytes;
use portreeve_manifest::json::{self, JsonLimits};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CancelTaskRequest, CancelledNotification,
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ClientResult, CompleteRequest,
    CustomRequest, DiscoverRequest, EmptyResult, ErrorCode, ErrorData, GetMeta, GetPromptRequest,
    GetTaskRequest, InitializeRequest, InitializedNotification, JsonRpcMessage, ListPromptsRequest,
    ListResourceTemplatesRequest, ListResourcesRequest, ListToolsRequest, PaginatedRequestParams,
    PingRequest, ProtocolVersion, ReadResourceRequest, RequestId, RequestMetaObject,
    SetLevelRequest, SubscriptionsListenRequest, UpdateTaskRequest,
};
use serde_json::{Map, Value};

use crate::older_tasks;

/// Deepest nesting of a message. Arguments lie two levels within it.
const DEPTH_MAX: usize = 100;

/// Longest token for progress, in bytes: each report comes with it.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Longest part of a client's own words in a refusal, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// Longest part of what was expected instead, in characters: names of the protocol's.
const EXPECTED_CHARS_MAX: usize = 300;

/// Methods that the newer protocol has no more.
pub(crate) const OLDER_METHODS: [&str; 5] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

/// The method that only the newer protocol has, and that its machinery would refuse without
/// a sentence.
const NEWER_METHOD: &str = "subscriptions/listen";

/// Too much is asked for at once.
pub(crate) const BUSY: ErrorCode = ErrorCode(-32010);

/// Why a message is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) id: Option<RequestId>,
    pub(crate) error: ErrorData,
}

impl Refusal {
    pub(crate) fn invalid(id: Option<RequestId>, why: impl Into<String>) -> Refusal {
        Refusal {
            id,
            error: ErrorData::invalid_request(why.into(), None),
        }
    }

    pub(crate) fn too_long(bytes_max: usize) -> Refusal {
        let why = format!(
            "the message is longer than {bytes_max} bytes and was dropped; send less at once"
        );
        Refusal::invalid(None, why)
    }

    fn unreadable(id: Option<RequestId>, why: impl Into<String>) -> Refusal {
        Refusal {
            id,
            error: ErrorData::parse_error(why.into(), None),
        }
    }
}

/// Reads one line. Nothing comes of one that this server has no use for.
pub(crate) fn read(line: &[u8]) -> Result<Option<ClientJsonRpcMessage>, Refusal> {
    read_deep(line, DEPTH_MAX)
}

/// The id and the method of a request that has one of these methods, so that it can be refused
/// whatever else it holds.
pub(crate) fn id_of<'a>(line: &[u8], methods: &[&'a str]) -> Option<(RequestId, &'a str)> {
    #[derive(serde::Deserialize)]
    struct Named<'a> {
        id: RequestId,
        #[serde(borrow)]
        method: std::borrow::Cow<'a, str>,
    }
    let message: Named<'_> = serde_json::from_slice(line).ok()?;
    let method = methods.iter().find(|method| **method == message.method)?;
    Some((message.id, method))
}

/// That a method is not one of those that a client may use.
pub(crate) fn no_method(method: &str) -> ErrorData {
    let why = if OLDER_METHODS.contains(&method) {
        format!(
            "there is no `{method}` in this version of the protocol; `server/discover` says what there is"
        )
    } else if method == NEWER_METHOD {
        format!("there is no `{method}` in this version of the protocol; it came with 2026-07-28")
    } else {
        format!("this server has no method {method:?}")
    };
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None)
}

/// The body of a request without the mark of its encoding, which not every reader passes over.
///
/// # Errors
/// When nothing is in it.
pub(crate) fn body(bytes: Bytes) -> Result<Bytes, Refusal> {
    let bytes = match bytes.strip_prefix("\u{feff}".as_bytes()) {
        Some(rest) => bytes.slice_ref(rest),
        None => bytes,
    };
    if bytes.trim_ascii().is_empty() {
        let why = "the body is empty; send one message as JSON";
        return Err(Refusal::unreadable(None, why));
    }
    Ok(bytes)
}

/// As [`read`], with another depth.
pub(crate) fn read_deep(
    line: &[u8],
    depth_max: usize,
) -> Result<Option<ClientJsonRpcMessage>, Refusal> {
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to().saturating_add(1);
        Refusal::unreadable(
            None,
            format!("byte {at} of the message is not UTF-8; messages are JSON in UTF-8"),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let limits = JsonLimits {
        // The length of a line is bounded where it is read.
        bytes_max: usize::MAX,
        depth_max,
    };
    let value = json::parse(text, &limits)
        .map_err(|error| Refusal::unreadable(id_in(text), error.to_string()))?;
    match value {
        Value::Object(message) => object(message),
        Value::Array(_) => Err(Refusal::invalid(
            None,
            "batches are not served; send each message by itself",
        )),
        _ => Err(Refusal::invalid(None, "a message is a JSON object")),
    }
}

/// The id of a request that is not strict JSON, so that its sender need not wait for ever.
fn id_in(text: &str) -> Option<RequestId> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: RequestId,
        #[serde(rename = "method")]
        _method: serde::de::IgnoredAny,
    }
    serde_json::from_str(text)
        .ok()
        .map(|message: Identified| message.id)
}

fn object(mut message: Map<String, Value>) -> Result<Option<ClientJsonRpcMessage>, Refusal> {
    let id = message.remove("id");
    let known_id = id.as_ref().and_then(request_id);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(Refusal::invalid(known_id, "`jsonrpc` must be \"2.0\""));
    }
    let answers = message.contains_key("result") || message.contains_key("error");
    let method = match message.remove("method") {
        Some(Value::String(method)) if !answers => method,
        None if answers => return Ok(answer(message, known_id)),
        Some(Value::String(_)) => {
            return Err(Refusal::invalid(
                known_id,
                "a message with a `method` has no `result` and no `error`",
            ));
        }
        Some(_) => return Err(Refusal::invalid(known_id, "`method` must be a string")),
        None => return Err(Refusal::invalid(known_id, "there is no `method`")),
    };
    let params = match message.remove("params") {
        Some(Value::Object(params)) => Some(params),
        None | Some(Value::Null) => None,
        Some(_) => return Err(Refusal::invalid(known_id, "`params` must be an object")),
    };
    match (id, known_id) {
        (None, _) => Ok(notification(&method, params).map(JsonRpcMessage::notification)),
        (Some(_), None) => Err(Refusal::invalid(
            None,
            "`id` must be a string or a whole number",
        )),
        (Some(_), Some(id)) => match request(&method, params) {
            Ok(request) => Ok(Some(JsonRpcMessage::request(request, id))),
            Err(why) => Err(Refusal {
                id: Some(id),
                error: ErrorData::invalid_params(format!("{method}: {why}"), None),
            }),
        },
    }
}

/// An answer to something that this server asked: a form that somebody filled in, what a model
/// says, where the client works; or why that was not possible. Answers that can't be read are passed over: there is nobody to tell.
fn answer(mut message: Map<String, Value>, id: Option<RequestId>) -> Option<ClientJsonRpcMessage> {
    let id = id?;
    match (message.remove("result"), message.remove("error")) {
        (Some(result @ Value::Object(_)), None) => {
            Some(JsonRpcMessage::response(result_of(result), id))
        }
        (None, Some(error)) => {
            let error = serde_json::from_value(error)
                .unwrap_or_else(|_| ErrorData::internal_error("an error that can't be read", None));
            Some(JsonRpcMessage::error(error, Some(id)))
        }
        _ => None,
    }
}

/// What was answered, by the member that only one kind of answer has. Whoever asked hears that
/// one is of no kind.
fn result_of(result: Value) -> ClientResult {
    let read = if result.get("action").is_some() {
        serde_json::from_value(result).map(ClientResult::ElicitResult)
    } else if result.get("model").is_some() {
        serde_json::from_value(result)
            .map(|result| ClientResult::CreateMessageResult(Box::new(result)))
    } else if result.get("roots").is_some() {
        serde_json::from_value(result).map(ClientResult::ListRootsResult)
    } else {
        Ok(ClientResult::EmptyResult(EmptyResult {}))
    };
    read.unwrap_or(ClientResult::EmptyResult(EmptyResult {}))
}

fn request_id(id: &Value) -> Option<RequestId> {
    serde::Deserialize::deserialize(id).ok()
}

#[expect(deprecated, reason = "clients of the older era subscribe so")]
/// Reads a request of a method that the server has; others are kept by name.
fn request(method: &str, params: Option<Map<String, Value>>) -> Result<ClientRequest, String> {
    let mut params = params.unwrap_or_default();
    let meta = match params.remove("_meta") {
        None => None,
        Some(Value::Object(meta)) => Some(RequestMetaObject::from(meta)),
        Some(_) => return Err("`_meta` must be an object".to_owned()),
    };
    let token = meta.as_ref().and_then(|meta| meta.get("progressToken"));
    let bytes = token.and_then(Value::as_str).map_or(0, str::len);
    if bytes > TOKEN_BYTES_MAX {
        return Err(format!(
            "`progressToken` has {bytes} bytes, but at most {TOKEN_BYTES_MAX} are allowed; send a shorter one"
        ));
    }
    let version = meta.as_ref().and_then(RequestMetaObject::protocol_version);
    let newer = version.is_some();
    // The machinery refuses these without a sentence, or not at all.
    let is_of_another_era = match version {
        Some(version) if version >= ProtocolVersion::V_2026_07_28 => {
            OLDER_METHODS.contains(&method)
        }
        _ => !newer && method == NEWER_METHOD,
    };
    let mut request = match method {
        method if is_of_another_era => CustomRequest::new(method, None).into(),
        method if !newer && older_tasks::is_asked(method, &params) => {
            CustomRequest::new(method, Some(Value::Object(params))).into()
        }
        "tools/call" => CallToolRequest::new(call_params(params)?).into(),
        "tools/list" => {
            let params: PaginatedRequestParams = typed(params)?;
            ListToolsRequest::with_param(params).into()
        }
        "resources/list" => {
            let params: PaginatedRequestParams = typed(params)?;
            ListResourcesRequest::with_param(params).into()
        }
        "resources/templates/list" => {
            let params: PaginatedRequestParams = typed(params)?;
            ListResourceTemplatesRequest::with_param(params).into()
        }
        "resources/read" => ReadResourceRequest::new(typed(params)?).into(),
        "resources/subscribe" => rmcp::model::SubscribeRequest::new(typed(params)?).into(),
        "resources/unsubscribe" => rmcp::model::UnsubscribeRequest::new(typed(params)?).into(),
        "prompts/list" => {
            let params: PaginatedRequestParams = typed(params)?;
            ListPromptsRequest::with_param(params).into()
        }
        "prompts/get" => GetPromptRequest::new(typed(params)?).into(),
        "tasks/get" => GetTaskRequest::new(typed(params)?).into(),
        "tasks/update" => UpdateTaskRequest::new(typed(params)?).into(),
        "tasks/cancel" => CancelTaskRequest::new(typed(params)?).into(),
        "completion/complete" => CompleteRequest::new(typed(params)?).into(),
        "ping" => ClientRequest::from(PingRequest::default()),
        "initialize" => InitializeRequest::new(typed(params)?).into(),
        "logging/setLevel" => SetLevelRequest::new(typed(params)?).into(),
        "server/discover" => DiscoverRequest::new(typed(params)?).into(),
        NEWER_METHOD if !params.get("notifications").is_none_or(Value::is_object) => {
            return Err("`notifications` must be an object".to_owned());
        }
        NEWER_METHOD => SubscriptionsListenRequest::new(typed(params)?).into(),
        _ => CustomRequest::new(quoted(method), None).into(),
    };
    if let Some(meta) = meta {
        *request.get_meta_mut() = meta;
    }
    Ok(request)
}

fn typed<T: serde::de::DeserializeOwned>(params: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(params)).map_err(|error| shortened(&error.to_string()))
}

/// The parameters of a call. They are by far the most frequent and the largest, and are
/// taken apart without being copied. Many clients write `null` for what is not there.
pub(crate) fn call_params(mut params: Map<String, Value>) -> Result<CallToolRequestParams, String> {
    let Some(Value::String(name)) = params.remove("name") else {
        return Err("`name` must be there, and a string".to_owned());
    };
    let mut call = CallToolRequestParams::new(name);
    match params.remove("requestState") {
        None | Some(Value::Null) => {}
        Some(Value::String(state)) => call.request_state = Some(state),
        Some(_) => return Err("`requestState` must be a string".to_owned()),
    }
    match params.remove("inputResponses") {
        None | Some(Value::Null) => {}
        Some(Value::Object(responses)) => {
            call.input_responses = Some(responses.into_iter().collect());
        }
        Some(_) => return Err("`inputResponses` must be an object".to_owned()),
    }
    match params.remove("arguments") {
        None | Some(Value::Null) => Ok(call),
        Some(Value::Object(arguments)) => Ok(call.with_arguments(arguments)),
        Some(_) => Err("`arguments` must be an object".to_owned()),
    }
}

fn notification(method: &str, params: Option<Map<String, Value>>) -> Option<ClientNotification> {
    match method {
        "notifications/cancelled" => match typed(params.unwrap_or_default()) {
            Ok(params) => Some(CancelledNotification::new(params).into()),
            Err(why) => {
                tracing::debug!(why, "a cancellation can't be read");
                None
            }
        },
        "notifications/initialized" => Some(InitializedNotification::default().into()),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// Why something can't be read: the client's own words, cut, and what was expected, which
/// stands behind them.
pub(crate) fn shortened(why: &str) -> String {
    let (said, expected) = match why.rfind(", expected ") {
        Some(at) => why.split_at(at),
        None => (why, ""),
    };
    let mut short = quoted(said);
    if short.len() < said.len() {
        short.push('…');
    }
    short.extend(expected.chars().take(EXPECTED_CHARS_MAX));
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(line: impl AsRef<[u8]>, expected: Expect) {
        let shown = match read(line.as_ref()) {
            Ok(Some(message)) => serde_json::to_string(&message).unwrap(),
            Ok(None) => "nothing".to_owned(),
            Err(refusal) => {
                let id = refusal.id.map(|id| format!("{id:?} ")).unwrap_or_default();
                format!("{id}{}: {}", refusal.error.code.0, refusal.error.message)
            }
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn messages_are_read() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__b","arguments":{"x":[1,{"y":null}]},"_meta":{"progressToken":"t"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"},"arguments":{"x":[1,{"y":null}]},"name":"a__b"}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"n"}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"n"}}"#]],
        );
        // As 2025-11-25 has tasks, which the library does not know.
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","task":{"ttl":1},"_meta":{"progressToken":"t"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"},"name":"n","task":{"ttl":1}}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"t"}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"t"}}"#
            ]],
        );
        // A newer client means nothing by that.
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","task":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"name":"n"}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"c"}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"c"}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{},"clientInfo":{"name":"c","version":"1"},"protocolVersion":"2025-11-25"}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"a":1}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"a":1}}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"notifications":{"toolsListChanged":true}}}"#
            ]],
        );
        // Methods of the other era are kept by name alone.
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":null}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"x":1}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            expect![[r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#]],
        );
    }

    #[test]
    fn what_is_of_no_use_is_passed_over() {
        check("", expect!["nothing"]);
        check(" \t\r", expect!["nothing"]);
        check("\u{feff}", expect!["nothing"]);
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/other","params":{}}"#,
            expect!["nothing"],
        );
        check(r#"{"jsonrpc":"2.0","result":{}}"#, expect!["nothing"]);
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":"x"}"#,
            expect!["nothing"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            expect!["nothing"],
        );
    }

    #[test]
    fn answers_to_what_was_asked_are_read() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"a":1}}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"a":1}}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"role":"assistant","model":"m","content":{"type":"text","text":"hi"}}}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"result":{"model":"m","role":"assistant","content":{"type":"text","text":"hi"}}}"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///a"}]}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///a"}]}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"roots":7}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"something":"else"}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":"odd"}"#,
            expect![[
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"an error that can't be read"}}"#
            ]],
        );
    }

    #[test]
    fn line_ends_and_marks_of_other_systems_are_accepted() {
        check(
            "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r",
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#]],
        );
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        check(
            b"{\"a\": \"\xff\"}",
            expect!["-32700: byte 8 of the message is not UTF-8; messages are JSON in UTF-8"],
        );
        check(
            "{",
            expect![
                "-32700: line 1, column 1: the text ends in the middle of a value; send all of it"
            ],
        );
        check(
            "tools/list",
            expect!["-32700: line 1, column 2: this is not JSON: expected ident"],
        );
        check(
            "[]",
            expect!["-32600: batches are not served; send each message by itself"],
        );
        check("1", expect!["-32600: a message is a JSON object"]);
        check(
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            expect!["-32600: batches are not served; send each message by itself"],
        );
        check(
            r#"{"id":1,"method":"ping"}"#,
            expect![[r#"Number(1) -32600: `jsonrpc` must be "2.0""#]],
        );
        check(
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            expect![[r#"Number(1) -32600: `jsonrpc` must be "2.0""#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1}"#,
            expect!["Number(1) -32600: there is no `method`"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            expect!["Number(1) -32600: `method` must be a string"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            expect!["Number(1) -32600: a message with a `method` has no `result` and no `error`"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            expect!["-32600: `id` must be a string or a whole number"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            expect!["-32600: `id` must be a string or a whole number"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            expect!["Number(1) -32600: `params` must be an object"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}"#,
            expect!["Number(1) -32602: ping: `_meta` must be an object"],
        );
        let token = "t".repeat(TOKEN_BYTES_MAX + 1);
        check(
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"n","_meta":{{"progressToken":"{token}"}}}}}}"#
            ),
            expect![
                "Number(1) -32602: tools/call: `progressToken` has 1025 bytes, but at most 1024 are allowed; send a shorter one"
            ],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
            expect!["Number(1) -32602: tools/call: `name` must be there, and a string"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}"#,
            expect!["Number(1) -32602: tools/call: `name` must be there, and a string"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":"{}"}}"#,
            expect!["Number(1) -32602: tools/call: `arguments` must be an object"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
            expect!["Number(1) -32602: initialize: missing field `protocolVersion`"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":1}}"#,
            expect!["Number(1) -32602: tools/list: invalid type: integer `1`, expected a string"],
        );
    }

    #[test]
    fn null_stands_for_what_is_not_there() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":null,"requestState":null,"inputResponses":null}}"#,
            expect![[r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":null}}"#,
            expect!["Number(1) -32602: tools/call: `name` must be there, and a string"],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":[],"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            expect!["Number(1) -32602: subscriptions/listen: `notifications` must be an object"],
        );
    }

    #[test]
    fn what_was_expected_is_told_whole() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"loud"}}"#,
            expect![
                "Number(1) -32602: logging/setLevel: unknown variant `loud`, expected one of `debug`, `info`, `notice`, `warning`, `error`, `critical`, `alert`, `emergency`"
            ],
        );
        let long = "x".repeat(10_000);
        check(
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{{"level":"{long}"}}}}"#
            ),
            expect![
                "Number(1) -32602: logging/setLevel: unknown variant `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…, expected one of `debug`, `info`, `notice`, `warning`, `error`, `critical`, `alert`, `emergency`"
            ],
        );
    }

    #[test]
    fn strictness_names_the_request() {
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","arguments":{"path":"x","path":"y"}}}"#,
            expect![[
                r#"Number(7) -32700: line 1, column 97: the key "path" stands twice in one object; keep one of them"#
            ]],
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#,
            expect![[
                r#"-32700: line 1, column 28: the key "id" stands twice in one object; keep one of them"#
            ]],
        );
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"a","arguments":{{"x":{}{}}}}}}}"#,
            "[".repeat(100),
            "]".repeat(100),
        );
        check(
            deep,
            expect![
                "Number(7) -32700: line 1, column 182: more than 100 arrays and objects lie within each other; send flatter JSON"
            ],
        );
        let deeper = format!(r#"{{"id":7,"method":{}"#, "[".repeat(100_000));
        check(
            deeper,
            expect![
                "-32700: line 1, column 117: more than 100 arrays and objects lie within each other; send flatter JSON"
            ],
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(&line);
        }

        #[test]
        fn no_json_panics(
            method in "tools/call|tools/list|initialize|notifications/cancelled|subscriptions/listen|[a-z/]{0,8}",
            id in "1|\"a\"|null|1\\.5|\\{\\}|18446744073709551615",
            params in "\\{\\}|\\[\\]|null|\\{\"name\":1\\}|\\{\"_meta\":\\[\\]\\}|\\{\"cursor\":null\\}|\\{\"requestId\":\\{\\}\\}",
        ) {
            let _ = read(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).as_bytes());
            let _ = read(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).as_bytes());
        }
    }
}
