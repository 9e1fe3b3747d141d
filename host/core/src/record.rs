//! The record of a call.

use portreeve_runtime::{CallError, Outcome, Usage};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::usage::CallUse;
use serde_json::{Map, Value};

use crate::call::CallRequest;
use crate::host::Host;
use crate::scope::CallScope;

/// Longest name of a tool that is recorded: callers may ask for anything.
const TOOL_CHARS_MAX: usize = 128;

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
        let mut body = Map::new();
        let mut add = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        let known = self.registry().tool(&request.tool).cloned();
        let tool = match &known {
            Some(tool) => tool.tool().name.clone(),
            None => request.tool.chars().take(TOOL_CHARS_MAX).collect(),
        };
        add("tool", tool.into());
        let ms = usage.duration.as_secs_f64() * 1e3;
        add("ms", ((ms * 1e3).round() / 1e3).into());
        add("fuel", usage.fuel.into());
        let mut limit = None;
        match result {
            Ok(outcome) if outcome.is_error => add("is-error", true.into()),
            Ok(_) => {}
            Err(error) => {
                add("error", error.failure.code.as_str().into());
                add("reason", error.failure.reason.as_str().into());
                limit = error.limit.as_ref();
            }
        }
        if let Some(scope) = scope {
            scope.tell_uses(&mut body);
        }
        if let Some(tool) = &known {
            let used = CallUse {
                now_ms: wall_clock(),
                error: result
                    .as_ref()
                    .err()
                    .map(|error| error.failure.code.as_str()),
                refusals: scope.map_or(0, CallScope::refused),
                duration: usage.duration,
                fuel: usage.fuel,
                memory_peak: usage.memory_peak,
                bytes_in: usage.bytes_in,
                bytes_out: usage.bytes_out,
            };
            self.usage
                .record(&tool.plugin.alias, &tool.tool().name, &used);
        }
        let event = |kind, body| AuditEvent {
            kind,
            holder: match &known {
                Some(tool) => Holder::plugin(&tool.plugin.alias),
                None => Holder::host(),
            },
            caller: request.caller.name.clone(),
            call: call_id.to_owned(),
            body,
        };
        if let Some(limit) = limit {
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
