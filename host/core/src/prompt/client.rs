//! What one call asks of its caller's client besides forms, and what it writes to its log.

use async_trait::async_trait;
use portreeve_manifest::feature::Feature;
use portreeve_runtime::{
    CallError, ClientSource, ErrorCode, Failure, Input, InputKind, InputReply, LogEntry, Origin,
    PromptSource,
};
use serde_json::json;

use super::Counted;
use super::asking::CallPrompt;
use crate::scope::CallScope;

impl CallPrompt {
    /// Whether such a thing may be asked for now.
    pub(super) fn may(&self, kind: InputKind) -> Result<(), Failure> {
        let granted = self.scope.granted();
        let (allowed, feature) = match kind {
            InputKind::Question => return self.may_ask(),
            InputKind::Message => (granted.effective.sampling, Feature::ClientSampling),
            InputKind::Roots => (granted.effective.roots, Feature::ClientRoots),
        };
        if allowed {
            return Ok(());
        }
        Err(self.scope.refuse(feature, ""))
    }

    /// Refuses what the client can't give, and remembers it: a call that fails for that tells
    /// its caller so. Forms never lack a place: the inbox shows them.
    fn lacking(&self, kind: InputKind) -> Result<(), Failure> {
        let what = match kind {
            InputKind::Question => return Ok(()),
            InputKind::Message => "has no model that may be asked (`sampling`)",
            InputKind::Roots => "does not tell where it works (`roots`)",
        };
        if self.ui.can(kind) {
            return Ok(());
        }
        self.scope.lacks(kind);
        Err(Failure::new(
            ErrorCode::Unsupported,
            CLIENT_CAPABILITY,
            format!("the client of this call {what}; use one that has it, or another tool"),
        ))
    }
}

/// Says of a call that failed because its client could not give something that the client lacks
/// it, in the host's own words: the plugin handed on what it was told.
pub(crate) fn for_want_of_a_capability(error: &mut CallError, scope: &CallScope) {
    let lacked = scope.lacked();
    let handed_on = error.origin == Origin::Plugin
        && error.failure.code == ErrorCode::Unsupported
        && error.failure.reason == CLIENT_CAPABILITY;
    if !handed_on || lacked.is_empty() {
        return;
    }
    let names: Vec<&str> = lacked.iter().map(|kind| name(*kind)).collect();
    let told = format!(
        "the tool needs a client with {}; use one that has it, or another tool",
        names.join(", ")
    );
    *error = CallError::host(ErrorCode::Unsupported, CLIENT_CAPABILITY, told);
    error.failure.detail = Some(json!({"clientCapabilities": names}));
}

/// A capability of clients, by its name in the protocol.
const fn name(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Question => "elicitation",
        InputKind::Message => "sampling",
        InputKind::Roots => "roots",
    }
}

/// The reason of failures for want of something that the client can't do.
pub const CLIENT_CAPABILITY: &str = "client-capability";

#[async_trait]
impl ClientSource for CallPrompt {
    fn can(&self, kind: InputKind) -> bool {
        self.ui.can(kind)
    }

    fn may_ask_for(&self, kind: InputKind) -> Result<(), Failure> {
        self.may(kind)
    }

    async fn gather(&self, inputs: Vec<Input>) -> Result<Vec<InputReply>, Failure> {
        for input in &inputs {
            self.may(input.want.kind())?;
            self.lacking(input.want.kind())?;
        }
        self.asked(inputs).await
    }

    fn may_log(&self) -> Result<(), Failure> {
        if self.scope.granted().effective.log {
            return Ok(());
        }
        Err(self.scope.refuse(Feature::ClientLog, ""))
    }

    fn log(&self, entry: LogEntry) -> Result<(), Failure> {
        self.may_log()?;
        self.count(Counted::LogEntries, 1)?;
        if let Some(listener) = &self.ui.listener {
            listener.log(self.alias(), entry);
        }
        Ok(())
    }
}
