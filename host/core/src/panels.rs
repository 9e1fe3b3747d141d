//! Panels: what clients show as HTML, as far as the grant of the moment allows.

use std::sync::Arc;

use portreeve_manifest::content::{PANEL_MIME_TYPE, is_panel};
use portreeve_manifest::feature::Feature;
use portreeve_manifest::tool::{NAME_BYTES_MAX, Visibility};
use portreeve_runtime::{Body, CallError, ErrorCode, Failure, Given, Part, Said, Usage};

use crate::call::{CallRequest, CallResponse};
use crate::content::ContentChange;
use crate::host::Host;
use crate::plugin::Plugin;
use crate::record::Ended;
use crate::registry::{RegisteredTool, Registry};
use crate::scope::CallScope;

impl Plugin {
    /// Whether clients may be shown its panels now.
    pub fn shows_panels(&self) -> bool {
        self.in_force().is_some_and(|now| now.effective.panels)
    }
}

impl Registry {
    /// The plugins whose panels clients may be shown now, by alias.
    pub fn panels_shown(&self) -> Vec<String> {
        let shown = self.plugins().filter(|plugin| plugin.shows_panels());
        shown.map(|plugin| plugin.alias.clone()).collect()
    }
}

impl RegisteredTool {
    /// Whether its plugin's panels may call it, as far as its author says.
    pub fn is_for_panels(&self) -> bool {
        self.tool().is_for(Visibility::App)
    }
}

impl Host {
    /// Calls a tool for the panel that clients see at `uri`: one of its own plugin's.
    pub async fn call_from_panel(
        self: &Arc<Self>,
        uri: &str,
        request: CallRequest,
    ) -> CallResponse {
        let registry = self.registry();
        let Some((plugin, own)) = registry.resource(uri) else {
            return CallResponse {
                call_id: self.ids.next(),
                result: Err(CallError::host(
                    ErrorCode::NotFound,
                    "no-such-panel",
                    "there is no such panel",
                )),
                usage: Usage::default(),
            };
        };
        let tool = registry.tool(&request.tool);
        let its =
            tool.is_some_and(|tool| tool.plugin.alias == plugin.alias && tool.is_for_panels());
        if its && plugin.shows_panels() {
            return self.call(request).await;
        }
        let call_id = self.ids.next();
        let scope = CallScope::new(
            plugin.clone(),
            &call_id,
            request.caller.name.clone(),
            self.audit.clone(),
            Vec::new(),
        );
        // A panel may say anything.
        let asked: String = request.tool.chars().take(NAME_BYTES_MAX).collect();
        let error = permit(&scope, &own, None).err().unwrap_or_else(|| {
            scope.count_refusal(Feature::UiPanels, &asked);
            CallError::host(
                ErrorCode::PermissionDenied,
                "not-its-own",
                format!(
                    "{asked:?} is none of the tools that panels of `{}` may call: they are its own ones alone",
                    plugin.alias
                ),
            )
        });
        let usage = Usage::default();
        self.record_ended(&Ended {
            call_id: &call_id,
            caller: &request.caller.name,
            plugin: Some(&plugin),
            tool: "panels/call",
            item: None,
            scope: Some(&scope),
            error: Some(&error),
            is_error: false,
            usage: &usage,
        });
        CallResponse {
            call_id,
            result: Err(error),
            usage,
        }
    }

    /// Tells clients that there are other panels than `before`, and so other links to them.
    pub(crate) fn tell_panels(&self, before: &[String]) {
        if self.registry().panels_shown() == before {
            return;
        }
        self.changes
            .send_modify(|version| *version = version.wrapping_add(1));
        // Nobody who listens is no error.
        let _ = self.content_changes.send(ContentChange::Resources);
    }
}

/// Lets what is no panel pass, and panels where they are granted at this moment.
///
/// # Errors
/// A refusal, which is counted and on record.
pub(crate) fn permit(
    scope: &CallScope,
    uri: &str,
    mime_type: Option<&str>,
) -> Result<(), CallError> {
    if !is_panel(uri, mime_type) || scope.granted().effective.panels {
        return Ok(());
    }
    let failure = scope.refuse(Feature::UiPanels, "");
    Err(CallError::host(
        failure.code,
        &failure.reason,
        failure.message,
    ))
}

/// What a plugin gives, as far as it may: a list without the panels that are not granted, and
/// nothing else that a client could take for one.
///
/// # Errors
/// A refusal; something at the address of a panel that is none.
pub(crate) fn permitted(scope: &CallScope, mut given: Given) -> Result<Given, CallError> {
    match &mut given {
        Given::Resources(list, _) => {
            let before = list.len();
            let shown = scope.granted().effective.panels;
            list.retain(|item| shown || !is_panel(&item.uri, item.mime_type.as_deref()));
            if list.len() < before {
                scope.count_refusal(Feature::UiPanels, "");
            }
        }
        Given::Read(parts) => {
            for part in parts {
                check(scope, part)?;
            }
        }
        Given::Prompt(filled) => {
            for message in &filled.messages {
                if let Said::Embedded(part) = &message.said {
                    check(scope, part)?;
                }
            }
        }
        Given::Templates(_) | Given::Prompts(_) | Given::Completions(_) => {}
    }
    Ok(given)
}

fn check(scope: &CallScope, part: &Part) -> Result<(), CallError> {
    let mime_type = part.mime_type.as_deref();
    permit(scope, &part.uri, mime_type)?;
    let whole = mime_type == Some(PANEL_MIME_TYPE)
        && part.uri.starts_with("ui://")
        && matches!(part.body, Body::Text(_));
    if whole || !is_panel(&part.uri, mime_type) {
        return Ok(());
    }
    Err(CallError::plugin(Failure::new(
        ErrorCode::Internal,
        "invalid-panel",
        format!(
            "the plugin answered with something that is no panel: one has an address that begins with `ui://`, the media type `{PANEL_MIME_TYPE}`, and is text"
        ),
    )))
}
