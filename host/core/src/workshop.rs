//! What every guest needs, whoever asks: the runtime, threads to run on, and a log.

use std::sync::Arc;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_runtime::{CallError, Finished, Runtime, Template};
use tokio::task::JoinError;

use crate::guests::GuestThreads;
use crate::log::{CallOutput, GuestLog};
use crate::pace::Pace;

/// Makes components ready and runs guests.
pub(crate) struct Workshop {
    pub(crate) runtime: Runtime,
    pub(crate) guests: GuestThreads,
    pub(crate) log: Arc<GuestLog>,
}

impl Workshop {
    /// Runs a call: takes its first turn here, where its plugin's turns are short, and goes on
    /// with it on the guests' threads where it is not over then. Dropping the future stops it.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        mut work: impl Future<Output = Finished<T>> + Send + Unpin + 'static,
        pace: &Pace,
        uses_sockets: bool,
    ) -> Finished<T> {
        if let Some(over) = self.first_turn(&mut work, pace, uses_sockets) {
            return over;
        }
        self.run(work, uses_sockets).await
    }

    /// The same for work that goes on when whoever waits for it leaves.
    pub(crate) async fn call_to_its_end<T: Send + 'static>(
        &self,
        mut work: impl Future<Output = Finished<T>> + Send + Unpin + 'static,
        pace: &Pace,
        uses_sockets: bool,
    ) -> Finished<T> {
        if let Some(over) = self.first_turn(&mut work, pace, uses_sockets) {
            return over;
        }
        match self.guests.spawn(work, uses_sockets) {
            Ok(work) => ended(work.detach().await),
            Err(error) => no_threads(error),
        }
    }

    /// The first turn of some work, on this thread; what came of it where it is over then.
    fn first_turn<T>(
        &self,
        work: &mut (impl Future<Output = Finished<T>> + Unpin),
        pace: &Pace,
        uses_sockets: bool,
    ) -> Option<Finished<T>> {
        if uses_sockets || !pace.is_quick() {
            return None;
        }
        let begun = pace.turn(|| self.guests.begin(work))?;
        Some(begun.unwrap_or_else(|_| panicked()))
    }

    /// Runs a guest's work on the guests' threads, which are others for one that may use
    /// sockets. Dropping the future stops it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Finished<T>> + Send + 'static,
        uses_sockets: bool,
    ) -> Finished<T> {
        match self.guests.spawn(work, uses_sockets) {
            Ok(work) => ended(work.await),
            Err(error) => no_threads(error),
        }
    }

    /// Asks a component for its tools, on the guests' threads.
    pub(crate) async fn list_tools(
        &self,
        alias: &str,
        template: &Template,
        limits: &Limits,
    ) -> Result<Vec<Tool>, CallError> {
        let output = Arc::new(CallOutput {
            log: self.log.clone(),
            plugin: alias.to_owned(),
            call: String::new(),
        });
        let (template, limits) = (template.clone(), limits.clone());
        let listing = async move { template.list_tools(&limits, output).await };
        self.run(listing, false).await.result
    }
}

fn panicked<T>() -> Finished<T> {
    Finished::refused(CallError::internal("the task of a guest panicked"))
}

fn no_threads<T>(error: &std::io::Error) -> Finished<T> {
    let told = format!("the threads of sockets can't start: {error}");
    Finished::refused(CallError::internal(told))
}

fn ended<T>(work: Result<Finished<T>, JoinError>) -> Finished<T> {
    work.unwrap_or_else(|error| {
        let told = format!("the task of a guest ended: {error}");
        Finished::refused(CallError::internal(told))
    })
}
