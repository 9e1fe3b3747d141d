//! Panels: what clients show as HTML, as far as the grant of the moment allows.

use portreeve_manifest::content::{PANEL_MIME_TYPE, is_panel};
use portreeve_manifest::feature::Feature;
use portreeve_runtime::{Body, CallError, ErrorCode, Failure, Given, Part, Said};

use crate::content::ContentChange;
use crate::host::Host;
use crate::plugin::Plugin;
use crate::registry::Registry;
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

impl Host {
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
