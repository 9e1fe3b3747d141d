//! The record of a call.

use std::sync::Arc;

use portreeve_runtime::{CallError, Outcome, Usage};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::usage::CallUse;
use serde_json::{Map, Value};

use crate::call::CallRequest;
use crate::host::Host;
use crate::plugin::Plugin;
use crate::scope::CallScope;

/// Longest name of a tool that is recorded: callers may ask for anything.
const TOOL_CHARS_MAX: usize = 128;

/// The end of a call, or of a question for something else than a tool.
pub(crate) struct Ended<'a> {
    pub(crate) call_id: &'a str,
    pub(crate) caller: &'a Arc<str>,
    /// Whose it was; none where there is no such tool.
    pub(crate) plugin: Option<&'a Plugin>,
    /// The plugin's own name of the tool, or a method, which has a slash.
    pub(crate) tool: &'a str,
    /// What was asked for by the method.
    pub(crate) item: Option<&'a str>,
    pub(crate) scope: Option<&'a CallScope>,
    pub(crate) error: Option<&'a CallError>,
    /// Whether the tool reports an error of its own.
    pub(crate) is_error: bool,
    pub(crate) usage: &'a Usage,
}

impl Host {
    /// Records that a call ended, and a limit that ended it.
    pub(crate) fn record_call(
        &self,
        call_id: &str,
        request: &CallRequest,
        scope: Option<&CallScope>,
        result: &Result<Outcome, CallError>,
        usage: &Usage,
    ) {
        let known = self.registry().tool(&request.tool).cloned();
        let unknown: String;
        let tool = match &known {
            Some(tool) => &tool.tool().name,
            None => {
                unknown = request.tool.chars().take(TOOL_CHARS_MAX).collect();
                &unknown
            }
        };
        self.record_ended(&Ended {
            call_id,
            caller: &request.caller.name,
            plugin: known.as_ref().map(|tool| &*tool.plugin),
            tool,
            item: None,
            scope,
            error: result.as_ref().err(),
            is_error: result.as_ref().is_ok_and(|outcome| outcome.is_error),
            usage,
        });
    }

    /// Records an end, and a limit that was its reason.
    pub(crate) fn record_ended(&self, ended: &Ended<'_>) {
        let (scope, usage) = (ended.scope, ended.usage);
        let mut body = Map::new();
        let mut add = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        add("tool", ended.tool.into());
        if let Some(item) = ended.item {
            add("item", item.into());
        }
        let ms = usage.duration.as_secs_f64() * 1e3;
        add("ms", ((ms * 1e3).round() / 1e3).into());
        add("fuel", usage.fuel.into());
        if ended.is_error {
            add("is-error", true.into());
        }
        if let Some(error) = ended.error {
            add("error", error.failure.code.as_str().into());
            add("reason", error.failure.reason.as_str().into());
        }
        if let Some(scope) = scope {
            scope.tell_uses(&mut body);
        }
        if let Some(plugin) = ended.plugin {
            let used = CallUse {
                now_ms: wall_clock(),
                error: ended.error.map(|error| error.failure.code.as_str()),
                refusals: scope.map_or(0, CallScope::refused),
                duration: usage.duration,
                fuel: usage.fuel,
                memory_peak: usage.memory_peak,
                bytes_in: usage.bytes_in,
                bytes_out: usage.bytes_out,
            };
            self.usage.record(&plugin.alias, ended.tool, &used);
        }
        let event = |kind, body| AuditEvent {
            kind,
            holder: match ended.plugin {
                Some(plugin) => Holder::plugin(&plugin.alias),
                None => Holder::host(),
            },
            caller: ended.caller.clone(),
            call: ended.call_id.to_owned(),
            body,
        };
        if let Some(limit) = ended.error.and_then(|error| error.limit.as_ref()) {
            let mut body = Map::new();
            body.insert("setting".to_owned(), limit.setting.as_ref().into());
            body.insert("allowed".to_owned(), limit.allowed.as_str().into());
            self.note(event(AuditKind::Limit, body));
        }
        self.note(event(AuditKind::Call, body));
    }

    fn note(&self, event: AuditEvent) {
        // The log counts what it loses; new calls are refused meanwhile.
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "a call was not recorded");
        }
    }
}
