//! Where a call runs: in an instance of its own, or in the one that its plugin has.

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    Arguments, CallContext, CallError, Finished, Given, GivenMessage, Handled, MessageAnswer,
    Outcome, Target, Template, Wanted,
};

use super::residence::Turn;
use crate::plugin::Facts;
use crate::scope::CallScope;

/// Where a call runs.
pub(crate) enum Vessel {
    /// In an instance of its own.
    Fresh(Template),
    /// In the one that the plugin has.
    Resident(Box<Turn>),
}

impl Vessel {
    /// Whether what runs in it is to go on when its caller leaves.
    pub(crate) fn is_resident(&self) -> bool {
        matches!(self, Vessel::Resident(_))
    }

    /// Whether what runs in it may use sockets: an instance that stays, by whatever may be granted
    /// while it lives; one of its own, by what is granted now.
    pub(crate) fn may_use_sockets(&self, facts: &Facts, scope: &CallScope) -> bool {
        match self {
            Vessel::Fresh(_) => !scope.granted().effective.sockets.is_empty(),
            Vessel::Resident(_) => facts.may_use_sockets(),
        }
    }

    pub(crate) async fn call(
        self,
        target: Target<'_>,
        arguments: &Arguments,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Outcome> {
        match self {
            Vessel::Fresh(template) => template.call(target, arguments, limits, context).await,
            Vessel::Resident(mut turn) => {
                let cancel = context.cancel.clone();
                let mut finished = match turn.instance() {
                    Ok(instance) => instance.call(target, arguments, context).await,
                    Err(error) => Finished::refused(error),
                };
                finished = turn.end(finished);
                if cancel.is_cancelled() {
                    finished.result = Err(CallError::cancelled());
                }
                finished
            }
        }
    }

    pub(crate) async fn handle(
        self,
        message: &GivenMessage,
        attempt: u32,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Handled> {
        match self {
            Vessel::Fresh(template) => template.handle(message, attempt, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.handle(message, attempt, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }

    pub(crate) async fn ask(
        self,
        wanted: &Wanted,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Given> {
        match self {
            Vessel::Fresh(template) => template.ask(wanted, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.ask(wanted, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }

    pub(crate) async fn respond(
        self,
        request: &GivenMessage,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<MessageAnswer> {
        match self {
            Vessel::Fresh(template) => template.respond(request, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.respond(request, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }
}
