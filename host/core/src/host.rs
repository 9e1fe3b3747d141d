//! The host: one project, open.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::project::ProjectManifest;
use portreeve_runtime::{
    CallContext, CallError, ErrorCode, Failure, Finished, Outcome, ProgressReport, ProgressSink,
    Runtime, RuntimeConfig, Step, Target, Template, within_arguments,
};
use portreeve_supply::Digest;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, watch};

use crate::admission::{Admission, Permit};
use crate::call::{CallRequest, CallResponse, ProgressListener};
use crate::guests::GuestThreads;
use crate::install::{FileStamp, Installer};
use crate::log::{CallOutput, GuestLog};
use crate::plugin::Facts;
use crate::project::{MANIFEST, Project, ProjectError};
use crate::registry::{Offered, RegisteredTool, Registry};
use crate::watch::Watch;
use crate::workshop::Workshop;

/// What a host is made of.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The project.
    pub project: Project,
    /// Where the runtime keeps its things; the number of instances is set from the project's
    /// limits.
    pub runtime: RuntimeConfig,
}

/// Why a host can't be opened or a change not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The project's files can't be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The manifest has mistakes.
    #[error(transparent)]
    Manifest(#[from] Diagnostics),
    /// The runtime can't be set up.
    #[error(transparent)]
    Runtime(#[from] portreeve_runtime::Error),
    /// The system refuses something that a host needs.
    #[error("{what}: {error}")]
    System {
        /// What failed.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

/// One project, open: its plugins, and the way of every call.
pub struct Host {
    project: Project,
    workshop: Workshop,
    registry: ArcSwap<Registry>,
    changes: watch::Sender<u64>,
    admission: Arc<Admission>,
    /// Calls at a time that there are instances for.
    instances: u32,
    ids: CallIds,
    /// The manifest file as it was before it was last read; one reload at a time.
    manifest: Mutex<Option<FileStamp>>,
}

impl Host {
    /// Opens a project: reads its manifest and all its packages.
    ///
    /// A plugin that can't be used is in the registry with the reason; it doesn't fail this.
    ///
    /// # Errors
    /// When the manifest has mistakes, or the machine refuses what a host needs.
    pub async fn open(mut config: HostConfig) -> Result<Arc<Host>, HostError> {
        let stamp = FileStamp::of(&config.project.manifest_path());
        let manifest = read_manifest(&config.project)?;
        // Besides the calls, plugins are asked for their tools.
        let listings = std::thread::available_parallelism().map_or(1, usize::from);
        config.runtime.instances = manifest
            .host
            .concurrent_calls
            .saturating_add(u32::try_from(listings).unwrap_or(1));
        let system = |what| move |error| HostError::System { what, error };
        let host = Host {
            workshop: Workshop {
                runtime: Runtime::new(config.runtime)?,
                guests: GuestThreads::start()
                    .map_err(system("the threads of guests can't start"))?,
                log: GuestLog::open(&config.project.logs_dir())
                    .map_err(system("the log of guests can't be written"))?,
            },
            registry: ArcSwap::default(),
            changes: watch::Sender::new(0),
            admission: Admission::new(&manifest.host),
            instances: manifest.host.concurrent_calls,
            ids: CallIds::new(),
            manifest: Mutex::new(stamp),
            project: config.project,
        };
        let registry = host.install(&manifest).await;
        host.registry.store(Arc::new(registry));
        Ok(Arc::new(host))
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The plugins and tools as they are now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Changes its value whenever other tools are offered than before.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the manifest again and swaps the registry. Calls in flight finish on the old
    /// one.
    ///
    /// # Errors
    /// When the manifest can't be read or has mistakes; the old registry then stays.
    pub async fn reload(&self) -> Result<(), HostError> {
        let mut stamp = self.manifest.lock().await;
        *stamp = FileStamp::of(&self.project.manifest_path());
        let manifest = read_manifest(&self.project)?;
        let mut limits = manifest.host.clone();
        if limits.concurrent_calls > self.instances {
            tracing::warn!(
                "`concurrent-calls` under `[host] limits` stays at {} until the next start",
                self.instances
            );
            limits.concurrent_calls = self.instances;
        }
        self.admission.resize(&limits);
        let registry = self.install(&manifest).await;
        let before = self.registry.swap(Arc::new(registry));
        if !before.offers_the_same(&self.registry.load()) {
            self.changes
                .send_modify(|version| *version = version.wrapping_add(1));
        }
        Ok(())
    }

    /// Reloads whenever the manifest or a component file changes, until the result is
    /// dropped.
    ///
    /// # Errors
    /// When the files can't be watched.
    pub async fn watch(self: &Arc<Self>) -> Result<Watch, HostError> {
        Watch::start(self).await
    }

    /// The files that make the project what it is, as they were before they were read.
    pub(crate) async fn files(&self) -> Vec<(PathBuf, Option<FileStamp>)> {
        let manifest = (self.project.manifest_path(), *self.manifest.lock().await);
        let registry = self.registry();
        registry
            .plugins()
            .flat_map(|plugin| match &plugin.facts {
                Some(facts) => vec![(plugin.path.clone(), facts.stamp)],
                // It was not read. A plugin's directory may get its component in `dist`.
                None => [plugin.path.clone(), plugin.path.join("dist")]
                    .map(|path| (path.clone(), FileStamp::of(&path)))
                    .to_vec(),
            })
            .chain([manifest])
            .collect()
    }

    /// Waits until what guests wrote is in the log, for a process that is about to end.
    pub async fn flush_log(&self) {
        self.workshop.log.flush().await;
    }

    async fn install(&self, manifest: &ProjectManifest) -> Registry {
        let before = self.registry.load_full();
        let installer = Installer {
            dir: self.project.dir(),
            manifest,
            workshop: &self.workshop,
            before: &before,
        };
        installer.install().await
    }

    /// Calls a tool. Dropping the future stops the guest, as cancelling the request does.
    pub async fn call(self: &Arc<Self>, request: CallRequest) -> CallResponse {
        let call_id = self.ids.next();
        let Finished { result, usage } = self
            .prepared(&call_id, &request)
            .await
            .unwrap_or_else(Finished::refused);
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

    /// Finds the tool, waits for a place, makes the plugin ready, and runs the call on the
    /// guests' threads.
    async fn prepared(
        self: &Arc<Self>,
        call_id: &str,
        request: &CallRequest,
    ) -> Result<Finished<Outcome>, CallError> {
        let registry = self.registry();
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
            Ok((permit, template))
        };
        let (permit, template) = tokio::select! {
            biased;
            () = request.cancel.cancelled() => Err(CallError::cancelled()),
            ready = ready => ready,
        }?;
        let context = self.context(alias, facts, call_id, request);
        let work = run(
            tool.clone(),
            template,
            request.arguments.clone(),
            context,
            permit,
        );
        let mut finished = self.workshop.run(work).await;
        if let Err(error) = &mut finished.result
            && error.limit.is_some()
        {
            let place = format!(" ([plugins.{alias}] in {MANIFEST})");
            error.failure.message.push_str(&place);
        }
        Ok(finished)
    }

    async fn template<'a>(
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
    fn context(
        self: &Arc<Self>,
        alias: &str,
        facts: &Facts,
        call_id: &str,
        request: &CallRequest,
    ) -> CallContext {
        CallContext {
            call_id: call_id.to_owned(),
            caller: request.caller.name.to_string(),
            config: facts.config.clone(),
            progress: Arc::new(PluginProgress {
                host: self.clone(),
                plugin: alias.to_owned(),
                digest: facts.component.digest,
                listener: request.progress.clone(),
            }),
            output: Arc::new(CallOutput {
                log: self.workshop.log.clone(),
                plugin: alias.to_owned(),
                call: call_id.to_owned(),
            }),
            cancel: request.cancel.clone(),
        }
    }
}

/// The call itself, on a guests' thread: schemas are the plugin's, too.
async fn run(
    tool: Arc<RegisteredTool>,
    template: Template,
    arguments: Map<String, Value>,
    context: CallContext,
    _permit: Permit,
) -> Finished<Outcome> {
    let Some(facts) = &tool.plugin.facts else {
        return Finished::refused(CallError::internal("a plugin without package was called"));
    };
    let arguments = Value::Object(arguments);
    let target = match tool.offered() {
        // The conversion to the function's types is its check.
        Offered::Function(function) => Target::Function(function),
        Offered::Tool(offered) => {
            let size = arguments.to_string().len();
            let checked = match within_arguments(size, &facts.limits) {
                Ok(()) => tool.check_arguments(&arguments),
                Err(error) => return Finished::refused(error),
            };
            if let Err(mistakes) = checked {
                let code = ErrorCode::InvalidArgument;
                return Finished::refused(CallError::host(code, "arguments", mistakes));
            }
            Target::Tool(&offered.name)
        }
    };
    let mut finished = template
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

fn read_manifest(project: &Project) -> Result<ProjectManifest, HostError> {
    let text = project.read_manifest()?;
    let path = project.manifest_path();
    Ok(ProjectManifest::parse(&path.display().to_string(), &text)?)
}

/// Progress reports of a plugin's call: permitted as its grants are at that moment.
struct PluginProgress {
    host: Arc<Host>,
    plugin: String,
    /// Of the component that runs: a grant to another one under the same alias is none.
    digest: Digest,
    listener: Option<Arc<dyn ProgressListener>>,
}

impl ProgressSink for PluginProgress {
    fn permitted(&self) -> Result<(), Failure> {
        let granted = self
            .host
            .registry
            .load()
            .plugin(&self.plugin)
            .and_then(|plugin| plugin.facts.as_ref())
            .is_some_and(|facts| facts.grants.progress && facts.component.digest == self.digest);
        if granted {
            return Ok(());
        }
        Err(Failure::new(
            ErrorCode::PermissionDenied,
            "not-granted",
            format!(
                "reporting progress is not granted: `grants.ui.progress = true` under [plugins.{}] in {MANIFEST} allows it",
                self.plugin
            ),
        ))
    }

    fn report(&self, report: ProgressReport) {
        if let Some(listener) = &self.listener {
            listener.progress(report);
        }
    }
}

/// Ids of calls: one prefix for each run of the host, then a count.
struct CallIds {
    run: u32,
    next: AtomicU64,
}

impl CallIds {
    fn new() -> CallIds {
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

    fn next(&self) -> String {
        format!(
            "{:08x}-{}",
            self.run,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}
