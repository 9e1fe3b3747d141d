//! What a component exports, and how each of it is called in an instance.

use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_manifest::wit_type::BareFunction;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre, Val};

use crate::answer::{self, Outcome};
use crate::arguments::Arguments;
use crate::bindings::exports::portreeve::{lifecycle, messages, tools};
use crate::capability::messages::{GivenMessage, Handled, MessageAnswer};
use crate::content::{ContentExports, Given, Wanted};
use crate::error::{CallError, Error, ErrorCode};
use crate::guest::Guest;
use crate::template::Target;
use crate::{stopped, values};

/// Deepest nesting of the JSON that a plugin answers with.
const ANSWER_DEPTH_MAX: usize = 64;

/// What is to be done in an instance.
#[derive(Clone, Copy)]
pub(crate) enum Work<'a> {
    ListTools,
    Call(Target<'a>, &'a Arguments),
    Handle(&'a GivenMessage, u32),
    Respond(&'a GivenMessage),
    Content(&'a Wanted),
}

/// What came of it.
pub(crate) enum Done {
    Tools(Vec<Tool>),
    Outcome(Outcome),
    Handled(Handled),
    Answer(MessageAnswer),
    Content(Given),
}

impl Done {
    /// Bytes of the answer, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Done::Outcome(outcome) => outcome.bytes(),
            Done::Answer(answer) => answer.payload.len() as u64,
            Done::Content(given) => given.bytes(),
            Done::Tools(_) | Done::Handled(_) => 0,
        }
    }
}

/// What came of it, for whoever knows what was asked.
macro_rules! accessors {
    ($($name:ident: $what:ident => $type:ty),+ $(,)?) => {
        impl Done {
            $(pub(crate) fn $name(self) -> Result<$type, CallError> {
                match self {
                    Done::$what(what) => Ok(what),
                    _ => Err(CallError::internal("an export was answered for by another one")),
                }
            })+
        }
    };
}

accessors! {
    tools: Tools => Vec<Tool>,
    outcome: Outcome => Outcome,
    handled: Handled => Handled,
    content: Content => Given,
    answer: Answer => MessageAnswer,
}

/// Work that was found to be possible, so far as that can be said without an instance.
pub(crate) enum Prepared<'a> {
    ListTools,
    Tool(&'a str, &'a String),
    Function(&'a BareFunction, Vec<Val>),
    Handle(&'a GivenMessage, u32),
    Respond(&'a GivenMessage),
    Content(&'a Wanted),
}

impl<'a> Work<'a> {
    /// Whether it lists what depends on nothing but the component, which is not started for it.
    pub(crate) fn is_listing(self) -> bool {
        matches!(
            self,
            Work::ListTools | Work::Content(Wanted::Templates | Wanted::Prompts)
        )
    }

    /// Refuses what can be refused without an instance, and counts what the guest is given.
    pub(crate) fn prepare(self, guest: &mut Guest) -> Result<Prepared<'a>, CallError> {
        Ok(match self {
            Work::ListTools => Prepared::ListTools,
            Work::Content(wanted) => Prepared::Content(wanted),
            Work::Handle(message, attempt) => {
                guest.bytes_in = message.payload.len() as u64;
                Prepared::Handle(message, attempt)
            }
            Work::Respond(request) => {
                guest.bytes_in = request.payload.len() as u64;
                Prepared::Respond(request)
            }
            Work::Call(target, arguments) => {
                let text = arguments.text();
                guest.bytes_in = text.len() as u64;
                match target {
                    Target::Tool(name) => Prepared::Tool(name, text),
                    Target::Function(function) => Prepared::Function(
                        function,
                        values::arguments(&function.params, arguments.value())?,
                    ),
                }
            }
        })
    }
}

/// What a component exports of all that a host may call; every one of them is optional.
pub(crate) struct Exports {
    component: Component,
    provider: Option<tools::provider::GuestIndices>,
    lifecycle: Option<lifecycle::lifecycle::GuestIndices>,
    handler: Option<messages::handler::GuestIndices>,
    responder: Option<messages::responder::GuestIndices>,
    content: ContentExports,
}

impl Exports {
    /// Looks for the interfaces that the host knows.
    pub(crate) fn new(
        component: Component,
        instance: &InstancePre<Guest>,
    ) -> Result<Exports, Error> {
        let exports = |name: &str| component.get_export_index(None, name).is_some();
        let mismatch = |error: wasmtime::Error| Error::Mismatch(format!("{error:#}"));
        let provider = exports(PROVIDER)
            .then(|| tools::provider::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        let lifecycle = exports(LIFECYCLE)
            .then(|| lifecycle::lifecycle::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        let handler = exports(HANDLER)
            .then(|| messages::handler::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        let responder = exports(RESPONDER)
            .then(|| messages::responder::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        Ok(Exports {
            content: ContentExports::new(&component, instance)?,
            component,
            provider,
            lifecycle,
            handler,
            responder,
        })
    }

    pub(crate) fn has_provider(&self) -> bool {
        self.provider.is_some()
    }

    pub(crate) fn has_handler(&self) -> bool {
        self.handler.is_some()
    }

    pub(crate) fn has_responder(&self) -> bool {
        self.responder.is_some()
    }

    /// Calls what was prepared.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        prepared: Prepared<'_>,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        match prepared {
            Prepared::ListTools => self.list(store, instance, limits).await,
            Prepared::Handle(message, attempt) => {
                self.handle_message(store, instance, message, attempt, limits)
                    .await
            }
            Prepared::Respond(request) => {
                self.answer_request(store, instance, request, limits).await
            }
            Prepared::Content(wanted) => {
                let given = self.content.ask(store, instance, wanted, limits).await;
                given.map(Done::Content)
            }
            Prepared::Tool(name, text) => self.call_tool(store, instance, name, text, limits).await,
            Prepared::Function(function, params) => {
                self.call_function(store, instance, function, &params, limits)
                    .await
            }
        }
    }

    /// Calls `lifecycle.start` where the component has it.
    pub(crate) async fn start(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        limits: &Limits,
    ) -> Result<(), CallError> {
        let Some(indices) = &self.lifecycle else {
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

    /// Calls `lifecycle.stop` where the component has it.
    pub(crate) async fn stop(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        limits: &Limits,
    ) -> Result<(), CallError> {
        let Some(indices) = &self.lifecycle else {
            return Ok(());
        };
        let lifecycle = indices
            .load(&mut *store, instance)
            .map_err(|error| CallError::internal(format!("{error:#}")))?;
        let left = store.data().clock.left().as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let stopped = lifecycle.call_stop(&mut *store, left).await;
        stopped.map_err(|error| stopped::explain(error, store, limits))
    }

    fn provider(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> Result<tools::provider::Guest, CallError> {
        let Some(indices) = &self.provider else {
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
        let Some(indices) = &self.handler else {
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
        let Some(indices) = &self.responder else {
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

    async fn call_function(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        function: &BareFunction,
        params: &[Val],
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let component = &self.component;
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

const PROVIDER: &str = "portreeve:tools/provider@0.1.0";
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
