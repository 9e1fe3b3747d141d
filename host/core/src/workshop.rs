//! What every guest needs, whoever asks: the runtime, threads to run on, and a log.

use std::sync::Arc;

use portreeve_manifest::limits::Limits;
use portreeve_manifest::tool::Tool;
use portreeve_runtime::{
    CallContext, CallError, Config, ErrorCode, Failure, Finished, ProgressReport, ProgressSink,
    Runtime, Template,
};
use tokio_util::sync::CancellationToken;

use crate::guests::GuestThreads;
use crate::log::{CallOutput, GuestLog};

/// Makes components ready and runs guests.
pub(crate) struct Workshop {
    pub(crate) runtime: Runtime,
    pub(crate) guests: GuestThreads,
    pub(crate) log: Arc<GuestLog>,
}

impl Workshop {
    /// Runs a guest's work on the guests' threads. Dropping the future stops it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Finished<T>> + Send + 'static,
    ) -> Finished<T> {
        match self.guests.spawn(work).await {
            Ok(finished) => finished,
            Err(error) => Finished::refused(CallError::internal(format!(
                "the task of a guest ended: {error}"
            ))),
        }
    }

    /// Asks a component for its tools: without grants, configuration or caller.
    pub(crate) async fn list_tools(
        &self,
        alias: &str,
        template: &Template,
        limits: &Limits,
    ) -> Result<Vec<Tool>, CallError> {
        let context = CallContext {
            call_id: String::new(),
            caller: String::new(),
            config: Config::default(),
            progress: Arc::new(NoProgress),
            output: Arc::new(CallOutput {
                log: self.log.clone(),
                plugin: alias.to_owned(),
                call: String::new(),
            }),
            cancel: CancellationToken::new(),
        };
        let (template, limits) = (template.clone(), limits.clone());
        let listing = async move { template.list_tools(&limits, context).await };
        self.run(listing).await.result
    }
}

/// For a guest that lists its tools.
struct NoProgress;

impl ProgressSink for NoProgress {
    fn permitted(&self) -> Result<(), Failure> {
        Err(Failure::new(
            ErrorCode::PermissionDenied,
            "listing",
            "tools are listed without any grant",
        ))
    }

    fn report(&self, _: ProgressReport) {}
}
