//! A component made ready: everything that does not depend on the call is done once, and
//! each call gets a fresh instance of it.

use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_manifest::wit_type::BareFunction;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre, Val};

use crate::answer::{self, Outcome};
use crate::arguments::Arguments;
use crate::bindings::exports::portreeve::{content as exported, lifecycle, messages, tools};
use crate::capability::changes::Changes;
use crate::capability::messages::{GivenMessage, Handled, MessageAnswer};
use crate::clock::Clock;
use crate::content::{self, Given, Wanted};
use crate::engine::EngineRoom;
use crate::error::{CallError, Error, ErrorCode, LimitHit};
use crate::guest::{CallContext, Guest};
use crate::output::OutputSink;
use crate::{guest, stopped, values};

/// Deepest nesting of the JSON that a plugin answers with.
const ANSWER_DEPTH_MAX: usize = 64;

/// A component, compiled, linked and examined. Cheap to clone.
#[derive(Clone)]
pub struct Template {
    inner: Arc<Inner>,
}

struct Inner {
    room: Arc<EngineRoom>,
    instance: InstancePre<Guest>,
    component: Component,
    provider: Option<tools::provider::GuestIndices>,
    lifecycle: Option<lifecycle::lifecycle::GuestIndices>,
    handler: Option<messages::handler::GuestIndices>,
    responder: Option<messages::responder::GuestIndices>,
    resources: Option<exported::resources::GuestIndices>,
    prompts: Option<exported::prompts::GuestIndices>,
    completion: Option<exported::completion::GuestIndices>,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A tool of a component that exports `portreeve:tools/provider`.
    Tool(&'a str),
    /// A plain exported function.
    Function(&'a BareFunction),
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall-clock time, from the making of the instance to the answer.
    pub duration: Duration,
    /// Fuel, in wasmtime's units.
    pub fuel: u64,
    /// Most bytes of linear memory at once.
    pub memory_peak: u64,
    /// Calls from the guest into the host.
    pub host_calls: u64,
    /// Bytes written to stdout and stderr, dropped ones included.
    pub output_bytes: u64,
    /// Bytes of its arguments, as JSON.
    pub bytes_in: u64,
    /// Bytes of its answer, roughly: without what JSON would add.
    pub bytes_out: u64,
}

/// The end of a call.
#[derive(Clone, Debug)]
pub struct Finished<T> {
    /// The answer.
    pub result: Result<T, CallError>,
    /// What it took.
    pub usage: Usage,
    /// What it says that it changed; empty where it failed.
    pub changes: Changes,
}

impl<T> Finished<T> {
    /// The end of a call that no guest ran for.
    pub fn refused(error: CallError) -> Finished<T> {
        Finished {
            result: Err(error),
            usage: Usage::default(),
            changes: Changes::default(),
        }
    }
}

enum Work<'a> {
    ListTools,
    Call(Target<'a>, &'a Arguments),
    Handle(&'a GivenMessage, u32),
    Respond(&'a GivenMessage),
    Content(&'a Wanted),
}

enum Done {
    Tools(Vec<Tool>),
    Outcome(Outcome),
    Handled(Handled),
    Answer(MessageAnswer),
    Content(Given),
}

impl Template {
    /// Links `component` and looks for the interfaces that the host knows.
    pub(crate) fn new(room: Arc<EngineRoom>, component: Component) -> Result<Template, Error> {
        let instance = room
            .linker
            .instantiate_pre(&component)
            .map_err(|error| Error::Mismatch(format!("{error:#}")))?;
        let exports = |name: &str| component.get_export_index(None, name).is_some();
        let mismatch = |error: wasmtime::Error| Error::Mismatch(format!("{error:#}"));
        let provider = exports(PROVIDER)
            .then(|| tools::provider::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let lifecycle = exports(LIFECYCLE)
            .then(|| lifecycle::lifecycle::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let handler = exports(HANDLER)
            .then(|| messages::handler::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let responder = exports(RESPONDER)
            .then(|| messages::responder::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let resources = exports(RESOURCES)
            .then(|| exported::resources::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let prompts = exports(PROMPTS)
            .then(|| exported::prompts::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        let completion = exports(COMPLETION)
            .then(|| exported::completion::GuestIndices::new(&instance))
            .transpose()
            .map_err(mismatch)?;
        Ok(Template {
            inner: Arc::new(Inner {
                room,
                instance,
                component,
                provider,
                lifecycle,
                handler,
                responder,
                resources,
                prompts,
                completion,
            }),
        })
    }

    /// Whether the component exports `portreeve:tools/provider`.
    pub fn is_provider(&self) -> bool {
        self.inner.provider.is_some()
    }

    /// Whether the component exports `portreeve:messages/handler`.
    pub fn is_handler(&self) -> bool {
        self.inner.handler.is_some()
    }

    /// Whether the component exports `portreeve:messages/responder`.
    pub fn is_responder(&self) -> bool {
        self.inner.responder.is_some()
    }

    /// Asks a provider for its tools: without grants, configuration or caller, so that the
    /// answer depends on nothing but the component.
    pub async fn list_tools(
        &self,
        limits: &Limits,
        output: Arc<dyn OutputSink>,
    ) -> Finished<Vec<Tool>> {
        let context = CallContext::without_grants(output);
        let finished = self.run(Work::ListTools, limits, context).await;
        Finished {
            usage: finished.usage,
            changes: Changes::default(),
            result: finished.result.and_then(|done| match done {
                Done::Tools(tools) => Ok(tools),
                _ => Err(CallError::internal(
                    "something else answered for list-tools",
                )),
            }),
        }
    }

    /// Calls `target` in a fresh instance.
    ///
    /// Dropping the future stops the guest and gives back everything it held.
    pub async fn call(
        &self,
        target: Target<'_>,
        arguments: &Arguments,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Outcome> {
        let finished = self
            .run(Work::Call(target, arguments), limits, context)
            .await;
        Finished {
            usage: finished.usage,
            changes: finished.changes,
            result: finished.result.and_then(|done| match done {
                Done::Outcome(outcome) => Ok(outcome),
                _ => Err(CallError::internal("something else answered for a call")),
            }),
        }
    }

    /// Gives a message to a fresh instance; `attempt` says which try it is. Dropping the future
    /// stops the guest.
    pub async fn handle(
        &self,
        message: &GivenMessage,
        attempt: u32,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Handled> {
        let work = Work::Handle(message, attempt);
        let finished = self.run(work, limits, context).await;
        Finished {
            usage: finished.usage,
            changes: finished.changes,
            result: finished.result.and_then(|done| match done {
                Done::Handled(handled) => Ok(handled),
                _ => Err(CallError::internal("something else answered for a message")),
            }),
        }
    }

    /// Gives a request to a fresh instance. Dropping the future stops the guest.
    pub async fn respond(
        &self,
        request: &GivenMessage,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<MessageAnswer> {
        let finished = self.run(Work::Respond(request), limits, context).await;
        Finished {
            usage: finished.usage,
            changes: finished.changes,
            result: finished.result.and_then(|done| match done {
                Done::Answer(answer) => Ok(answer),
                _ => Err(CallError::internal("something else answered for a request")),
            }),
        }
    }

    /// Asks for resources, prompts or completions, in a fresh instance.
    ///
    /// Dropping the future stops the guest and gives back everything it held.
    pub async fn ask(
        &self,
        wanted: &Wanted,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Given> {
        let finished = self.run(Work::Content(wanted), limits, context).await;
        Finished {
            usage: finished.usage,
            changes: finished.changes,
            result: finished.result.and_then(|done| match done {
                Done::Content(given) => Ok(given),
                _ => Err(CallError::internal("something else answered for content")),
            }),
        }
    }

    /// The same for what depends on nothing but the component: without grants,
    /// configuration or caller.
    pub async fn ask_without_grants(
        &self,
        wanted: &Wanted,
        limits: &Limits,
        output: Arc<dyn OutputSink>,
    ) -> Finished<Given> {
        self.ask(wanted, limits, CallContext::without_grants(output))
            .await
    }

    async fn run(&self, work: Work<'_>, limits: &Limits, context: CallContext) -> Finished<Done> {
        let started = Instant::now();
        let clock = Arc::new(Clock::new(limits.timeout));
        let cancel = context.cancel.clone();
        let mut store = match guest::store(&self.inner.room.engine, limits, context, clock.clone())
        {
            Ok(store) => store,
            Err(error) => {
                return Finished::refused(CallError::internal(format!("{error:#}")));
            }
        };
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CallError::cancelled()),
            done = self.enter(&mut store, work, limits) => done,
            () = clock.over() => Err(CallError::limit(LimitHit {
                setting: "timeout".into(),
                allowed: portreeve_manifest::duration::HumanDuration(limits.timeout).to_string(),
                used: format!("it was stopped after {} ms", clock.ran(started).as_millis()),
            })),
        };
        let guest = store.data();
        let usage = Usage {
            duration: clock.ran(started),
            fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            memory_peak: guest.limiter.memory_peak as u64,
            host_calls: guest.limiter.host_calls,
            output_bytes: guest.output.finish(limits.output),
            bytes_in: guest.bytes_in,
            bytes_out: match &result {
                Ok(Done::Outcome(outcome)) => outcome.bytes(),
                Ok(Done::Answer(answer)) => answer.payload.len() as u64,
                Ok(Done::Content(given)) => given.bytes(),
                _ => 0,
            },
        };
        let said = |done: &Done| !matches!(done, Done::Outcome(outcome) if outcome.is_error);
        let changes = match &result {
            Ok(done) if said(done) => std::mem::take(&mut store.data_mut().changes),
            _ => Changes::default(),
        };
        Finished {
            result,
            usage,
            changes,
        }
    }

    /// Makes the instance, starts it, and runs `work` in it.
    async fn enter(
        &self,
        store: &mut Store<Guest>,
        work: Work<'_>,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        // What can be refused without an instance is refused before there is one.
        let prepared = match &work {
            Work::ListTools => Prepared::ListTools,
            Work::Handle(message, attempt) => {
                store.data_mut().bytes_in = message.payload.len() as u64;
                Prepared::Handle(message, *attempt)
            }
            Work::Respond(request) => {
                store.data_mut().bytes_in = request.payload.len() as u64;
                Prepared::Respond(request)
            }
            Work::Content(wanted) => Prepared::Content(wanted),
            Work::Call(target, arguments) => {
                let text = arguments.text();
                store.data_mut().bytes_in = text.len() as u64;
                match target {
                    Target::Tool(name) => Prepared::Tool(name, text),
                    Target::Function(function) => Prepared::Function(
                        function,
                        values::arguments(&function.params, arguments.value())?,
                    ),
                }
            }
        };
        let instance = match self.inner.instance.instantiate_async(&mut *store).await {
            Ok(instance) => instance,
            Err(error) => return Err(stopped::explain(error, store, limits)),
        };
        let listing = matches!(
            work,
            Work::ListTools | Work::Content(Wanted::Templates | Wanted::Prompts)
        );
        if !listing {
            self.start(store, &instance, limits).await?;
        }
        match prepared {
            Prepared::ListTools => self.list(store, &instance, limits).await,
            Prepared::Handle(message, attempt) => {
                self.handle_message(store, &instance, message, attempt, limits)
                    .await
            }
            Prepared::Respond(request) => {
                self.answer_request(store, &instance, request, limits).await
            }
            Prepared::Content(wanted) => self.content(store, &instance, wanted, limits).await,
            Prepared::Tool(name, text) => {
                self.call_tool(store, &instance, name, text, limits).await
            }
            Prepared::Function(function, params) => {
                self.call_function(store, &instance, function, &params, limits)
                    .await
            }
        }
    }

    /// Calls `lifecycle.start` where the component has it.
    async fn start(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        limits: &Limits,
    ) -> Result<(), CallError> {
        let Some(indices) = &self.inner.lifecycle else {
            return Ok(());
        };
        let lifecycle = indices
            .load(&mut *store, instance)
            .map_err(|error| CallError::internal(format!("{error:#}")))?;
        let config = store.data().context.config.text().to_owned();
        match lifecycle.call_start(&mut *store, &config).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(CallError::plugin(answer::failure(failure))),
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }

    fn provider(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> Result<tools::provider::Guest, CallError> {
        let Some(indices) = &self.inner.provider else {
            return Err(CallError::host(
                ErrorCode::Unsupported,
                "no-provider",
                "the component does not export portreeve:tools/provider",
            ));
        };
        indices
            .load(&mut *store, instance)
            .map_err(|error| CallError::internal(format!("{error:#}")))
    }

    async fn list(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let provider = self.provider(store, instance)?;
        match provider.call_list_tools(&mut *store).await {
            Ok(Ok(documents)) => match Tool::parse_list(&documents) {
                Ok(tools) => Ok(Done::Tools(tools)),
                Err(error) => Err(CallError::broken(
                    "invalid-tools",
                    format!("the plugin's list of tools is not usable: {error}"),
                )),
            },
            Ok(Err(failure)) => Err(CallError::plugin(answer::failure(failure))),
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }

    async fn call_tool(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        name: &str,
        arguments: &String,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let provider = self.provider(store, instance)?;
        match provider.call_call_tool(&mut *store, name, arguments).await {
            Ok(Ok(outcome)) => answer::outcome(outcome, limits).map(Done::Outcome),
            Ok(Err(failure)) => Err(CallError::plugin(answer::failure(failure))),
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }

    async fn handle_message(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        message: &GivenMessage,
        attempt: u32,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let Some(indices) = &self.inner.handler else {
            return Err(not_exported("no-handler", HANDLER));
        };
        let handler = indices
            .load(&mut *store, instance)
            .map_err(|error| CallError::internal(format!("{error:#}")))?;
        let message = message.into();
        match handler.call_handle(&mut *store, &message, attempt).await {
            Ok(Ok(outcome)) => Ok(Done::Handled(outcome.into())),
            Ok(Err(failure)) => Err(CallError::plugin(answer::failure(failure))),
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }

    async fn answer_request(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        request: &GivenMessage,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let Some(indices) = &self.inner.responder else {
            return Err(not_exported("no-responder", RESPONDER));
        };
        let responder = indices
            .load(&mut *store, instance)
            .map_err(|error| CallError::internal(format!("{error:#}")))?;
        let request = request.into();
        match responder.call_respond(&mut *store, &request).await {
            Ok(Ok(answer)) => Ok(Done::Answer(answer.into())),
            Ok(Err(failure)) => Err(CallError::plugin(answer::failure(failure))),
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }

    async fn content(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        wanted: &Wanted,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let loading = |error: wasmtime::Error| CallError::internal(format!("{error:#}"));
        let inner = &self.inner;
        let resources = inner.resources.as_ref();
        let resources = || resources.ok_or_else(|| content::not_exported("resources"));
        let prompts = inner.prompts.as_ref();
        let prompts = || prompts.ok_or_else(|| content::not_exported("prompts"));
        /// What wasmtime gives, and what the plugin does.
        macro_rules! answered {
            ($answer:expr) => {
                match $answer {
                    Ok(Ok(given)) => given,
                    Ok(Err(failure)) => return Err(CallError::plugin(answer::failure(failure))),
                    Err(error) => return Err(stopped::explain(error, store, limits)),
                }
            };
        }
        let given = match wanted {
            Wanted::Resources(cursor) => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                let cursor = cursor.as_deref();
                content::page(answered!(
                    exported
                        .call_list_resources(&mut *store, cursor, content::PAGE_MAX)
                        .await
                ))
            }
            Wanted::Templates => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                content::templates(&answered!(exported.call_list_templates(&mut *store).await))
            }
            Wanted::Read(uri) => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                let parts = answered!(exported.call_read_resource(&mut *store, uri).await);
                content::read(parts, limits)
            }
            Wanted::Prompts => {
                let exported = prompts()?.load(&mut *store, instance).map_err(loading)?;
                content::prompts(&answered!(exported.call_list_prompts(&mut *store).await))
            }
            Wanted::Prompt(name, arguments) => {
                let exported = prompts()?.load(&mut *store, instance).map_err(loading)?;
                let arguments = Value::Object(arguments.clone()).to_string();
                store.data_mut().bytes_in = arguments.len() as u64;
                let filled = exported.call_get_prompt(&mut *store, name, &arguments);
                content::filled(answered!(filled.await), limits)
            }
            Wanted::Completions(completing) => {
                let indices = inner.completion.as_ref();
                let indices = indices.ok_or_else(|| content::not_exported("completion"))?;
                let exported = indices.load(&mut *store, instance).map_err(loading)?;
                let known = Value::Object(completing.known.clone()).to_string();
                let subject = content::subject(&completing.subject);
                let found = exported.call_complete(
                    &mut *store,
                    &subject,
                    &completing.argument,
                    &completing.value,
                    &known,
                );
                Ok(content::completions(answered!(found.await)))
            }
        };
        given.map(Done::Content)
    }

    async fn call_function(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        function: &BareFunction,
        params: &[Val],
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let component = &self.inner.component;
        let export = &function.export;
        let interface = match &export.interface {
            Some(name) => match component.get_export_index(None, name) {
                Some(index) => Some(index),
                None => return Err(missing(name)),
            },
            None => None,
        };
        let func = component
            .get_export_index(interface.as_ref(), &export.function)
            .and_then(|index| instance.get_func(&mut *store, index))
            .ok_or_else(|| missing(&export.function))?;
        let mut results = vec![Val::Bool(false); usize::from(function.result.is_some())];
        match func.call_async(&mut *store, params, &mut results).await {
            Ok(()) => {
                answer::bare(function.result.as_ref(), results.first(), limits).map(Done::Outcome)
            }
            Err(error) => Err(stopped::explain(error, store, limits)),
        }
    }
}

enum Prepared<'a> {
    ListTools,
    Content(&'a Wanted),
    Tool(&'a str, &'a String),
    Function(&'a BareFunction, Vec<Val>),
    Handle(&'a GivenMessage, u32),
    Respond(&'a GivenMessage),
}

const PROVIDER: &str = "portreeve:tools/provider@0.1.0";
const RESOURCES: &str = "portreeve:content/resources@0.1.0";
const PROMPTS: &str = "portreeve:content/prompts@0.1.0";
const COMPLETION: &str = "portreeve:content/completion@0.1.0";
const LIFECYCLE: &str = "portreeve:lifecycle/lifecycle@0.1.0";

const HANDLER: &str = "portreeve:messages/handler@0.1.0";
const RESPONDER: &str = "portreeve:messages/responder@0.1.0";

fn not_exported(reason: &'static str, interface: &str) -> CallError {
    CallError::host(
        ErrorCode::Unsupported,
        reason,
        format!("the component does not export {interface}"),
    )
}

fn missing(name: &str) -> CallError {
    CallError::internal(format!("the component has no export `{name}`"))
}

/// What a plugin's answer in JSON must keep to.
pub(crate) fn answer_limits(limits: &Limits) -> JsonLimits {
    JsonLimits {
        bytes_max: limits.result.as_usize(),
        depth_max: ANSWER_DEPTH_MAX,
    }
}

/// Reads JSON of a plugin.
pub(crate) fn plugin_json(text: &str, limits: &Limits) -> Result<Value, CallError> {
    json::parse(text, &answer_limits(limits)).map_err(|error| {
        CallError::broken(
            "invalid-json",
            format!("the plugin answered with JSON that can't be used: {error}"),
        )
    })
}
