//! What every command has: the project, the output, and the means to wait.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use portreeve_core::Project;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_manifest::project::ProjectManifest;
use tokio_util::sync::CancellationToken;

use crate::output::Output;
use crate::progress::Progress;
use crate::session::Session;
use crate::{Global, logging};

/// What every command has.
pub(crate) struct Context {
    /// Where results go.
    pub(crate) output: Output,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    project: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(global: &Global, output: Output) -> Context {
        Context {
            output,
            verbose: global.verbose,
            project: global.project.clone(),
        }
    }

    /// The project that was named, or the one that we are in, with its files as they should be:
    /// what a command was killed at is done to its end first.
    pub(crate) fn project(&self) -> anyhow::Result<Project> {
        let project = match &self.project {
            Some(dir) => Project::at(dir)?,
            None => {
                let here = std::env::current_dir().context("the current directory is gone")?;
                Project::search(&here)?
            }
        };
        if project.settle()? {
            tracing::info!("a change that was not done to its end is done now");
        }
        Ok(project)
    }

    /// What the project's manifest says.
    pub(crate) fn manifest(&self, project: &Project) -> anyhow::Result<ProjectManifest> {
        let text = project.read_manifest()?;
        Ok(ProjectManifest::parse(&manifest_name(project), &text)?)
    }

    /// Asks the project's owner for one thing; this process becomes it where there is none.
    pub(crate) fn ask(
        &self,
        project: Project,
        doing: &str,
        request: ControlRequest,
    ) -> anyhow::Result<ControlAnswer> {
        self.block_on(async {
            let progress = Arc::new(Progress::new());
            progress.quick_step(doing);
            let mut session = Session::open(project).await?;
            let answer = session
                .ask(request, &progress, &CancellationToken::new())
                .await;
            progress.clear();
            session.end().await;
            Ok(answer?)
        })
    }

    /// Writes the log of this command to standard error.
    pub(crate) fn log(&self) -> anyhow::Result<()> {
        logging::to_stderr(self.verbose)
    }

    /// Waits for `work`. What still runs afterwards ends with the process.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        // One thread for the protocol: handing a message from thread to thread costs more
        // than most messages. Guests, and what blocks, have threads of their own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no threads could be started")?;
        let result = runtime.block_on(work);
        runtime.shutdown_background();
        result
    }
}

/// The manifest's file as diagnostics name it.
pub(crate) fn manifest_name(project: &Project) -> String {
    project.manifest_path().display().to_string()
}
