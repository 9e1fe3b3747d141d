//! From the errors of wasmtime to what is told to a caller: which limit it was, or how the
//! plugin broke.

use portreeve_manifest::limits::Limits;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use crate::capability::network::http::REQUEST_HEADER_BYTES_MAX;
use crate::error::{CallError, ErrorCode, LimitHit};
use crate::guest::{Guest, out_of_fuel};

/// Why a guest stopped; nothing can be called in its instance any more.
pub(crate) fn explain(
    error: wasmtime::Error,
    store: &mut Store<Guest>,
    limits: &Limits,
) -> CallError {
    store.data_mut().stopped = true;
    let guest = store.data();
    if let Some(hit) = &guest.limiter.hit {
        return CallError::limit(if hit.setting == "fuel" {
            out_of_fuel(Some(limits.fuel))
        } else {
            hit.clone()
        });
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return CallError::broken(
            "plugin-exited",
            format!(
                "the plugin ended itself with exit code {} instead of answering",
                exit.0
            ),
        );
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return CallError::limit(handles(limits));
    }
    if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) =
        error.downcast_ref::<FieldMapError>()
    {
        return CallError::broken(
            "plugin-headers",
            format!(
                "the plugin put more than {} KiB of headers on one request, which is more than \
                 servers accept",
                REQUEST_HEADER_BYTES_MAX / 1024
            ),
        );
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return CallError::host(
            ErrorCode::Unavailable,
            "no-free-instance",
            "all instances of this host are in use; try again",
        );
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trapped(*trap, limits);
    }
    // These have no type of their own in wasmtime 48; a test holds each sentence.
    let message = format!("{error:#}");
    let said = |words: &str| message.contains(words);
    if said("fuel allocated for hostcalls has been exhausted") {
        return CallError::limit(if guest.returned {
            LimitHit {
                setting: "result".into(),
                allowed: format!("{} of result", limits.result),
                used: "it answers with more".to_owned(),
            }
        } else {
            LimitHit {
                setting: "host-call".into(),
                allowed: format!("{} in one call into the host", limits.host_call),
                used: "it hands over more".to_owned(),
            }
        });
    }
    if said("store handle limit exceeded") {
        return CallError::limit(handles(limits));
    }
    for (kind, setting, max) in [
        ("instance", "instances", limits.instances),
        ("memory", "memories", limits.memories),
        ("table", "tables", limits.tables),
    ] {
        if said(&format!("resource limit exceeded: {kind} count too high")) {
            return CallError::limit(LimitHit {
                setting: setting.into(),
                allowed: format!("{max} {setting}"),
                used: "it has more".to_owned(),
            });
        }
    }
    CallError {
        log: Some(message),
        ..CallError::broken(
            "plugin-failed",
            "the plugin broke the rules of the component model and was stopped",
        )
    }
}

fn trapped(trap: Trap, limits: &Limits) -> CallError {
    match trap {
        Trap::OutOfFuel => CallError::limit(out_of_fuel(Some(limits.fuel))),
        Trap::StackOverflow => CallError::limit(LimitHit {
            setting: "stack".into(),
            allowed: format!("{} of stack", limits.stack),
            used: "its calls nest too deeply".to_owned(),
        }),
        Trap::UnreachableCodeReached => CallError::broken(
            "plugin-trapped",
            "the plugin gave up (a panic or an abort); what it wrote to stderr is in the log",
        ),
        trap => CallError::broken("plugin-trapped", format!("the plugin trapped: {trap}")),
    }
}

fn handles(limits: &Limits) -> LimitHit {
    LimitHit {
        setting: "handles".into(),
        allowed: format!("{} handles", limits.handles),
        used: "it holds that many".to_owned(),
    }
}
