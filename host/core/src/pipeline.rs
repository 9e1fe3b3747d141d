//! The way of a call: found, admitted, made ready, run, recorded, answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_runtime::{
    Arguments, CallContext, CallError, ErrorCode, Failure, Finished, Outcome, ProgressReport, Step,
    Target, Template,
};
use serde_json::{Map, Value};

use crate::admission::Permit;
use crate::agreement::WithheldTool;
use crate::call::{CallRequest, CallResponse, ProgressListener};
use crate::call_directories::CallDirectories;
use crate::call_messages::CallMessages;
use crate::call_network::{CallHttp, CallNetwork, CallSockets};
use crate::call_secrets::CallSecrets;
use crate::call_storage::CallKv;
use crate::host::Host;
use crate::log::CallOutput;
use crate::plugin::Facts;
use crate::project::MANIFEST;
use crate::prompt::{self, CallPrompt};
use crate::registry::{Offered, RegisteredTool};
use crate::resident::Vessel;
use crate::scope::{CallScope, PluginProgress};

impl Host {
    /// Calls a tool. Dropping the future stops the guest, as cancelling the request does.
    pub async fn call(self: &Arc<Self>, mut request: CallRequest) -> CallResponse {
        let call_id = self.ids.next();
        let arguments = std::mem::take(&mut request.arguments);
        let mut scope = None;
        let Finished {
            result,
            usage,
            changes,
        } = self
            .prepared(&call_id, &request, arguments, &mut scope)
            .await
            .unwrap_or_else(Finished::refused);
        self.record_call(&call_id, &request, scope.as_deref(), &result, &usage);
        if let Some(scope) = &scope {
            self.tell_changes(&scope.plugin, changes);
        }
        if let Err(error) = &result {
            tracing::info!(
                call = call_id,
                tool = request.tool,
                caller = &*request.caller.name,
                origin = ?error.origin,
                code = %error.failure.code,
                reason = error.failure.reason,
                detail = error.log,
                "a call failed: {}",
                error.failure.message,
            );
        } else {
            tracing::debug!(
                call = call_id,
                tool = request.tool,
                ?usage,
                "a call was answered"
            );
        }
        CallResponse {
            call_id,
            result,
            usage,
        }
    }

    /// Finds the tool, waits for a place, makes the plugin ready, and runs the call: its first
    /// turn here, where that is short, and the rest on the guests' threads.
    async fn prepared(
        self: &Arc<Self>,
        call_id: &str,
        request: &CallRequest,
        arguments: Map<String, Value>,
        scope: &mut Option<Arc<CallScope>>,
    ) -> Result<Finished<Outcome>, CallError> {
        self.audit_is_kept()?;
        let registry = self.registry();
        if let Some(tool) = registry.withheld(&request.tool) {
            return Err(withheld(&tool));
        }
        let tool = registry.tool(&request.tool).cloned().ok_or_else(|| {
            CallError::host(
                ErrorCode::NotFound,
                "no-such-tool",
                format!("there is no tool `{}`", request.tool),
            )
        })?;
        let alias = &tool.plugin.alias;
        let facts =
            tool.plugin.facts.as_ref().ok_or_else(|| {
                CallError::internal(format!("`{alias}` has a tool, but no package"))
            })?;
        let ready = async {
            // Before a place is taken: compiling takes none.
            let listener = request.progress.as_deref();
            let template = self.template(alias, facts, listener).await?.clone();
            let connection = &request.caller.connection;
            let permit = self
                .admission
                .admit(connection, alias, &facts.limits)
                .await?;
            let vessel = self.vessel(&tool.plugin, facts, &template).await?;
            Ok((permit, vessel))
        };
        let (permit, vessel) = tokio::select! {
            biased;
            () = request.cancel.cancelled() => Err(CallError::cancelled()),
            ready = ready => ready,
        }?;
        let scope = scope.insert(CallScope::new(
            tool.plugin.clone(),
            call_id,
            request.caller.name.clone(),
            self.audit.clone(),
            Vec::new(),
        ));
        let resident = vessel.is_resident();
        let uses_sockets = vessel.may_use_sockets(facts, scope);
        let context = self.context(facts, scope, request, uses_sockets).await?;
        // Boxed once rather than moved from hand to hand: it is large.
        let work = Box::pin(run(tool.clone(), vessel, arguments, context, permit));
        let pace = &facts.component.pace;
        let mut finished = match resident {
            // A turn that were cut off would take the instance from everybody else.
            true => {
                self.workshop
                    .call_to_its_end(work, pace, uses_sockets)
                    .await
            }
            false => self.workshop.call(work, pace, uses_sockets).await,
        };
        name_limits_place(&mut finished.result, alias);
        if let Err(error) = &mut finished.result {
            prompt::for_want_of_a_capability(error, scope);
        }
        Ok(finished)
    }

    /// Nothing runs that could not be recorded.
    pub(crate) fn audit_is_kept(&self) -> Result<(), CallError> {
        self.audit.healthy().map_err(|error| CallError {
            log: Some(error.to_string()),
            ..CallError::host(
                ErrorCode::Unavailable,
                "audit-unavailable",
                "this host can't write its audit log, and runs nothing that it could not record; its operator finds the reason in `portreeve status` and the host's log",
            )
        })
    }

    pub(crate) async fn template<'a>(
        &self,
        alias: &str,
        facts: &'a Facts,
        listener: Option<&dyn ProgressListener>,
    ) -> Result<&'a Template, CallError> {
        let on_step = |step| {
            tracing::info!(plugin = alias, ?step, "making a plugin ready");
            if let (Step::Compiling, Some(listener)) = (step, listener) {
                listener.progress(ProgressReport {
                    done: 0.0,
                    total: None,
                    message: Some(format!("compiling plugin `{alias}`; this is done once")),
                });
            }
        };
        facts
            .component
            .template(&self.workshop, alias, &facts.limits, &on_step)
            .await
    }

    /// What the guest knows of its call and reaches outside of itself.
    pub(crate) async fn context(
        &self,
        facts: &Facts,
        scope: &Arc<CallScope>,
        request: &CallRequest,
        uses_sockets: bool,
    ) -> Result<CallContext, CallError> {
        let secrets = Arc::new(CallSecrets::new(scope.clone(), self.vault.clone()));
        let network = CallNetwork::new(
            scope.clone(),
            secrets.clone(),
            self.network.clone(),
            &facts.limits,
        )
        .await
        .map_err(|error| CallError {
            log: Some(error.to_string()),
            ..CallError::host(
                ErrorCode::Unavailable,
                "state",
                "this host can't read its state, and so not how much of the network this plugin has used today",
            )
        })?;
        let prompt = Arc::new(CallPrompt::new(
            scope.clone(),
            self.prompts.clone(),
            &facts.limits,
            request.ui.clone(),
            request.progress.clone(),
        ));
        Ok(CallContext {
            call_id: scope.call_id.clone(),
            caller: request.caller.name.to_string(),
            config: facts.config.clone(),
            progress: Arc::new(PluginProgress {
                scope: scope.clone(),
                listener: request.progress.clone(),
            }),
            prompt: prompt.clone(),
            client: prompt,
            secrets,
            sockets: Arc::new(CallSockets::new(network.clone(), uses_sockets)),
            http: Arc::new(CallHttp(network)),
            kv: Arc::new(CallKv::new(
                scope.clone(),
                self.store.clone(),
                facts.limits.keys,
            )),
            directories: Arc::new(CallDirectories::new(
                scope.clone(),
                self.directories.clone(),
                &facts.limits,
            )),
            messages: Arc::new(CallMessages::new(scope.clone(), self.post.clone())),
            output: Arc::new(CallOutput {
                log: self.workshop.log.clone(),
                plugin: scope.plugin.alias.clone(),
                call: scope.call_id.clone(),
            }),
            cancel: request.cancel.clone(),
        })
    }
}

/// Adds where the limit stands that a call has reached.
pub(crate) fn name_limits_place<T>(result: &mut Result<T, CallError>, alias: &str) {
    if let Err(error) = result
        && error.limit.is_some()
    {
        let place = format!(" ([plugins.{alias}] in {MANIFEST})");
        error.failure.message.push_str(&place);
    }
}

/// The refusal of a tool that changed after it was agreed to.
fn withheld(tool: &WithheldTool) -> CallError {
    let WithheldTool {
        name,
        reason,
        command,
        ..
    } = tool;
    CallError::host(
        ErrorCode::PermissionDenied,
        "tool-changed",
        format!("`{name}` is withheld: {reason}; its operator agrees to that with `{command}`"),
    )
}

/// The call itself, in its guest's time: schemas are the plugin's, too.
async fn run(
    tool: Arc<RegisteredTool>,
    vessel: Vessel,
    arguments: Map<String, Value>,
    context: CallContext,
    _permit: Permit,
) -> Finished<Outcome> {
    let Some(facts) = &tool.plugin.facts else {
        return Finished::refused(CallError::internal("a plugin without package was called"));
    };
    let arguments = match Arguments::new(Value::Object(arguments), &facts.limits) {
        Ok(arguments) => arguments,
        Err(error) => return Finished::refused(error),
    };
    let target = match tool.offered() {
        // The conversion to the function's types is its check.
        Offered::Function(function) => Target::Function(function),
        Offered::Tool(offered) => {
            if let Err(mistakes) = tool.check_arguments(arguments.value()) {
                let code = ErrorCode::InvalidArgument;
                return Finished::refused(CallError::host(code, "arguments", mistakes));
            }
            Target::Tool(&offered.name)
        }
    };
    let mut finished = vessel
        .call(target, &arguments, &facts.limits, context)
        .await;
    if let Ok(outcome) = &mut finished.result
        && !outcome.is_error
        && let Err(why) = tool.check_answer(&mut outcome.structured)
    {
        finished.result = Err(CallError::plugin(Failure::new(
            ErrorCode::Internal,
            "invalid-answer",
            format!("the plugin's answer does not fit its own output schema: {why}"),
        )));
    }
    finished
}

/// Ids of calls: one prefix for each run of the host, then a count.
pub(crate) struct CallIds {
    run: u32,
    next: AtomicU64,
}

impl CallIds {
    pub(crate) fn new() -> CallIds {
        let mut run = [0; 4];
        // Without randomness ids may repeat between runs; they name lines in a log and
        // protect nothing.
        if getrandom::fill(&mut run).is_err() {
            run = std::process::id().to_be_bytes();
        }
        CallIds {
            run: u32::from_be_bytes(run),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn next(&self) -> String {
        format!(
            "{:08x}-{}",
            self.run,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}
