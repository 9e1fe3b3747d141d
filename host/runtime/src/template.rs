//! A component made ready: everything that does not depend on the call is done once, and
//! each call gets a fresh instance of it.

use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_manifest::wit_type::BareFunction;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::capability::changes::Changes;
use crate::capability::messages::{GivenMessage, Handled, MessageAnswer};
use crate::clock::Clock;
use crate::content::{Given, Wanted};
use crate::engine::EngineRoom;
use crate::error::{CallError, Error, LimitHit};
use crate::exports::{Done, Exports, Work};
use crate::guest::{CallContext, Guest};
use crate::output::OutputSink;
use crate::{guest, stopped};

/// A component, compiled, linked and examined. Cheap to clone.
#[derive(Clone)]
pub struct Template {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    room: Arc<EngineRoom>,
    instance: InstancePre<Guest>,
    pub(crate) exports: Exports,
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
    /// The same end of something else.
    pub(crate) fn and_then<U>(self, result: impl FnOnce(T) -> Result<U, CallError>) -> Finished<U> {
        Finished {
            usage: self.usage,
            changes: self.changes,
            result: self.result.and_then(result),
        }
    }

    /// The end of a call that no guest ran for.
    pub fn refused(error: CallError) -> Finished<T> {
        Finished {
            result: Err(error),
            usage: Usage::default(),
            changes: Changes::default(),
        }
    }
}

impl Template {
    /// Links `component` and looks for the interfaces that the host knows.
    pub(crate) fn new(room: Arc<EngineRoom>, component: Component) -> Result<Template, Error> {
        let instance = room
            .linker
            .instantiate_pre(&component)
            .map_err(|error| Error::Mismatch(format!("{error:#}")))?;
        let exports = Exports::new(component, &instance)?;
        Ok(Template {
            inner: Arc::new(Inner {
                room,
                instance,
                exports,
            }),
        })
    }

    /// Whether the component exports `portreeve:tools/provider`.
    pub fn is_provider(&self) -> bool {
        self.inner.exports.has_provider()
    }

    /// Whether the component exports `portreeve:messages/handler`.
    pub fn is_handler(&self) -> bool {
        self.inner.exports.has_handler()
    }

    /// Whether the component exports `portreeve:messages/responder`.
    pub fn is_responder(&self) -> bool {
        self.inner.exports.has_responder()
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
        finished.and_then(Done::tools)
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
        let work = Work::Call(target, arguments);
        self.run(work, limits, context)
            .await
            .and_then(Done::outcome)
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
        self.run(work, limits, context)
            .await
            .and_then(Done::handled)
    }

    /// Gives a request to a fresh instance. Dropping the future stops the guest.
    pub async fn respond(
        &self,
        request: &GivenMessage,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<MessageAnswer> {
        let work = Work::Respond(request);
        self.run(work, limits, context).await.and_then(Done::answer)
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
        let work = Work::Content(wanted);
        self.run(work, limits, context)
            .await
            .and_then(Done::content)
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

    /// A store for an instance of it.
    pub(crate) fn store(
        &self,
        limits: &Limits,
        context: CallContext,
        clock: Arc<Clock>,
    ) -> Result<Store<Guest>, CallError> {
        guest::store(&self.inner.room.engine, limits, context, clock)
            .map_err(|error| CallError::internal(format!("{error:#}")))
    }

    /// Makes an instance in a store.
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<Guest>,
        limits: &Limits,
    ) -> Result<Instance, CallError> {
        let made = self.inner.instance.instantiate_async(&mut *store).await;
        made.map_err(|error| stopped::explain(error, store, limits))
    }

    async fn run(&self, work: Work<'_>, limits: &Limits, context: CallContext) -> Finished<Done> {
        let started = Instant::now();
        let clock = Arc::new(Clock::new(limits.timeout));
        let cancel = context.cancel.clone();
        let mut store = match self.store(limits, context, clock.clone()) {
            Ok(store) => store,
            Err(error) => return Finished::refused(error),
        };
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CallError::cancelled()),
            done = self.enter(&mut store, work, limits) => done,
            () = clock.over() => Err(out_of_time(limits, clock.ran(started))),
        };
        finished(&mut store, started, limits, result)
    }

    /// Makes the instance, starts it, and runs `work` in it.
    async fn enter(
        &self,
        store: &mut Store<Guest>,
        work: Work<'_>,
        limits: &Limits,
    ) -> Result<Done, CallError> {
        let prepared = work.prepare(store.data_mut())?;
        let instance = self.instantiate(store, limits).await?;
        let exports = &self.inner.exports;
        if !work.is_listing() {
            exports.start(store, &instance, limits).await?;
        }
        exports.run(store, &instance, prepared, limits).await
    }
}

/// The limit of time.
pub(crate) fn out_of_time(limits: &Limits, ran: Duration) -> CallError {
    CallError::limit(LimitHit {
        setting: "timeout".into(),
        allowed: HumanDuration(limits.timeout).to_string(),
        used: format!("it was stopped after {} ms", ran.as_millis()),
    })
}

/// The end of what a guest did since `started`, with what it took.
pub(crate) fn finished(
    store: &mut Store<Guest>,
    started: Instant,
    limits: &Limits,
    result: Result<Done, CallError>,
) -> Finished<Done> {
    let guest = store.data();
    let usage = Usage {
        duration: guest.clock.ran(started),
        fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
        memory_peak: guest.limiter.memory_peak as u64,
        host_calls: guest.limiter.host_calls,
        output_bytes: guest.output.finish(limits.output),
        bytes_in: guest.bytes_in,
        bytes_out: result.as_ref().map_or(0, Done::bytes),
    };
    let said = |done: &Done| !matches!(done, Done::Outcome(outcome) if outcome.is_error);
    let told = std::mem::take(&mut store.data_mut().changes);
    let changes = match &result {
        Ok(done) if said(done) => told,
        _ => Changes::default(),
    };
    Finished {
        result,
        usage,
        changes,
    }
}
