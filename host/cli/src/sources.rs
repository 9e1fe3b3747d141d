//! Getting components over a network, with what is seen of it on the way.

use std::path::Path;
use std::sync::Arc;

use portreeve_core::{Project, SourceError, Sources};
use portreeve_manifest::project::ProjectManifest;
use portreeve_supply::credentials::DockerCredentials;
use portreeve_supply::fetch::FetchProgress;

use crate::commands::papers::bytes;
use crate::progress::Progress;
use crate::{error, places};

/// The sources of a project, with the log-ins that its user has for registries.
pub(crate) fn open(project: &Project, manifest: &ProjectManifest) -> anyhow::Result<Sources> {
    let credentials = DockerCredentials::of_user(|name| std::env::var_os(name));
    let store = places::artifacts()?;
    Ok(Sources::open(
        project,
        manifest,
        store,
        Box::new(credentials),
    )?)
}

/// The same outside of a project.
pub(crate) fn open_anywhere(dir: &Path, manifest: &ProjectManifest) -> anyhow::Result<Sources> {
    let credentials = DockerCredentials::of_user(|name| std::env::var_os(name));
    let store = places::artifacts()?;
    Ok(Sources::without_project(
        dir,
        manifest,
        store,
        Box::new(credentials),
    )?)
}

/// Shows how far something has come.
pub(crate) fn shown(
    progress: &Arc<Progress>,
    what: &str,
) -> impl Fn(FetchProgress) + Send + Sync + use<> {
    let (progress, what) = (progress.clone(), what.to_owned());
    move |step| match step {
        FetchProgress::Resolving => progress.step(&format!("looking for {what}")),
        // Each of these would be a line of its own elsewhere.
        FetchProgress::Downloading { received, total } => progress.quick_step(&match total {
            Some(total) => format!("{what}: {} of {}", bytes(received), bytes(total)),
            None => format!("{what}: {}", bytes(received)),
        }),
        FetchProgress::Signatures => {
            progress.quick_step(&format!("looking for the signatures of {what}"));
        }
    }
}

/// An error with its exit code: a refusal is one by policy.
pub(crate) fn failed(error: SourceError) -> anyhow::Error {
    if error.is_refusal() {
        return error::refused(error.to_string());
    }
    error.into()
}
