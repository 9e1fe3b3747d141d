//! An instance that lives on from turn to turn: what it remembers stays, what it may use is
//! each turn's own.

use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::limits::Limits;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::capability::changes::Changes;
use crate::capability::messages::{GivenMessage, Handled, MessageAnswer};
use crate::clock::Clock;
use crate::content::{Given, Wanted};
use crate::error::CallError;
use crate::exports::{Done, Work};
use crate::guest::{self, CallContext, Guest};
use crate::template::{Finished, Target, Template, Usage, finished, out_of_time};

/// A long-lived instance of a component.
///
/// It takes one turn after the other. Each has the fuel, the time, the output and the host
/// calls of a call of its own, and the capabilities of its own context; `memory` and `handles`
/// bound what the instance has altogether. A turn that is stopped, by a trap or by a limit,
/// leaves an instance that nothing can be said of: [`Resident::is_broken`], and it is to be
/// dropped.
///
/// What the guest has opened stays open over turns; what it does with it is asked about in the
/// turn in which it does it, but for HTTP bodies, which end with the turn that began them.
pub struct Resident {
    template: Template,
    limits: Limits,
    store: Store<Guest>,
    instance: Instance,
    broken: bool,
}

impl Template {
    /// Makes an instance that stays, and calls its `start`, as a turn of its own.
    pub async fn start(&self, limits: &Limits, context: CallContext) -> Finished<Resident> {
        let started = Instant::now();
        let clock = Arc::new(Clock::new(limits.timeout));
        let mut store = match self.store(limits, context, clock.clone()) {
            Ok(store) => store,
            Err(error) => return Finished::refused(error),
        };
        let making = async {
            let instance = self.instantiate(&mut store, limits).await?;
            let exports = &self.inner.exports;
            exports.start(&mut store, &instance, limits).await?;
            Ok(instance)
        };
        let made = tokio::select! {
            biased;
            made = making => made,
            () = clock.over() => Err(out_of_time(limits, clock.ran(started))),
        };
        let usage = finished(&mut store, started, limits, Err(CallError::cancelled())).usage;
        let result = made.map(|instance| Resident {
            template: self.clone(),
            limits: limits.clone(),
            store,
            instance,
            broken: false,
        });
        Finished {
            result,
            usage,
            changes: Changes::default(),
        }
    }
}

impl Resident {
    /// Whether a turn was stopped, so that there can be no other.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Calls `target`. A cancelled call goes on to its end, which it can bring about: the
    /// instance is not only this caller's. Dropping the future breaks the instance.
    pub async fn call(
        &mut self,
        target: Target<'_>,
        arguments: &Arguments,
        context: CallContext,
    ) -> Finished<Outcome> {
        let work = Work::Call(target, arguments);
        self.turn(work, context).await.and_then(Done::outcome)
    }

    /// Gives it a message; `attempt` says which try it is.
    pub async fn handle(
        &mut self,
        message: &GivenMessage,
        attempt: u32,
        context: CallContext,
    ) -> Finished<Handled> {
        let work = Work::Handle(message, attempt);
        self.turn(work, context).await.and_then(Done::handled)
    }

    /// Gives it a request.
    pub async fn respond(
        &mut self,
        request: &GivenMessage,
        context: CallContext,
    ) -> Finished<MessageAnswer> {
        let work = Work::Respond(request);
        self.turn(work, context).await.and_then(Done::answer)
    }

    /// Asks it for resources, prompts or completions.
    pub async fn ask(&mut self, wanted: &Wanted, context: CallContext) -> Finished<Given> {
        let work = Work::Content(wanted);
        self.turn(work, context).await.and_then(Done::content)
    }

    /// Tells it that it is dropped, and waits for as long as it has, but no longer than a call
    /// may take.
    pub async fn stop(mut self, deadline: Duration, context: CallContext) -> Finished<()> {
        self.limits.timeout = self.limits.timeout.min(deadline);
        let (started, clock) = match self.begin(context) {
            Ok(begun) => begun,
            Err(error) => return Finished::refused(error),
        };
        let exports = &self.template.inner.exports;
        let result = tokio::select! {
            biased;
            stopped = exports.stop(&mut self.store, &self.instance, &self.limits) => stopped,
            () = clock.over() => Err(out_of_time(&self.limits, clock.ran(started))),
        };
        let usage = self.usage(started);
        Finished {
            result,
            usage,
            changes: Changes::default(),
        }
    }

    async fn turn(&mut self, work: Work<'_>, context: CallContext) -> Finished<Done> {
        let (started, clock) = match self.begin(context) {
            Ok(begun) => begun,
            Err(error) => return Finished::refused(error),
        };
        let prepared = match work.prepare(self.store.data_mut()) {
            Ok(prepared) => prepared,
            Err(error) => return Finished::refused(error),
        };
        let exports = &self.template.inner.exports;
        // It is, for whoever drops this future in between.
        self.broken = true;
        let result = tokio::select! {
            biased;
            done = exports.run(&mut self.store, &self.instance, prepared, &self.limits) => {
                self.broken = self.store.data().stopped;
                done
            }
            () = clock.over() => Err(out_of_time(&self.limits, clock.ran(started))),
        };
        finished(&mut self.store, started, &self.limits, result)
    }

    /// Gives the guest what is each turn's own.
    fn begin(&mut self, context: CallContext) -> Result<(Instant, Arc<Clock>), CallError> {
        if self.broken {
            return Err(CallError::internal("a broken instance was to take a turn"));
        }
        let clock = Arc::new(Clock::new(self.limits.timeout));
        guest::begin_turn(&mut self.store, &self.limits, context, clock.clone())
            .map_err(|error| CallError::internal(format!("{error:#}")))?;
        Ok((Instant::now(), clock))
    }

    fn usage(&mut self, started: Instant) -> Usage {
        let nothing = Err(CallError::cancelled());
        finished(&mut self.store, started, &self.limits, nothing).usage
    }
}
