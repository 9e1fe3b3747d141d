//! `portreeve install`: what stands in the operator's file, onto this machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{Arrival, Brought, LOCKFILE, Project, Sources};
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::project::{PluginEntry, PluginSource, ProjectManifest};
use portreeve_supply::{Digest, IntakeLimits, source};
use serde_json::json;

use super::papers::count;
use crate::context::Context;
use crate::progress::Progress;
use crate::{error, places, sources};

/// Fetch the plugins of the project that come over a network.
///
/// What portreeve.lock pins is what is installed: it is fetched only where the store of this
/// machine doesn't have it, and held against both of its digests. What is not in portreeve.lock
/// yet is fetched in the newest version that is wanted, and written into it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve install
  portreeve install --locked       in CI: nothing but what portreeve.lock pins")]
pub(crate) struct Install {
    /// Refuse whatever portreeve.lock doesn't pin, components on this machine included.
    #[arg(long)]
    locked: bool,
}

/// What is done about a plugin.
enum Need {
    /// Nothing.
    There(String),
    /// The component that was agreed to is fetched again.
    Again(Box<LockedPlugin>),
    /// One is chosen.
    New,
}

impl Install {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let manifest = context.manifest(&project)?;
        let sources = sources::open(&project, &manifest)?;
        let (arrived, installed) = context.block_on(self.bring(&manifest, &project, &sources))?;
        if !arrived.is_empty() {
            let request = ControlRequest::Install { arrived };
            context.ask(project.clone(), "installing", request)?;
        }
        collect(&project, &sources);
        context
            .output
            .result(&json!({ "installed": installed }), || {
                let fetched = installed.iter().filter(|plugin| plugin["fetched"] == true);
                let there = installed.len() - fetched.clone().count();
                let mut lines: Vec<String> = fetched
                    .map(|plugin| {
                        let text = |key: &str| plugin[key].as_str().unwrap_or_default().to_owned();
                        format!(
                            "installed {} {} ({})",
                            text("alias"),
                            text("version"),
                            text("digest")
                        )
                    })
                    .collect();
                lines.push(format!("{} there already", count(there, "plugin")));
                lines.join("\n")
            })
    }

    async fn bring(
        &self,
        manifest: &ProjectManifest,
        project: &Project,
        sources: &Sources,
    ) -> anyhow::Result<(BTreeMap<Alias, Arrival>, Vec<serde_json::Value>)> {
        let progress = Arc::new(Progress::new());
        let mut arrived = BTreeMap::new();
        let mut installed = Vec::new();
        for (alias, entry) in &manifest.plugins {
            let (version, pin) = match self.need(project, sources, entry).await? {
                Need::There(version) => {
                    installed.push(json!({ "alias": alias, "version": version, "fetched": false }));
                    continue;
                }
                need => {
                    let brought = fetch(sources, entry, &need, &progress).await?;
                    (brought.package.manifest.version.to_string(), brought.pin)
                }
            };
            installed.push(json!({
                "alias": alias,
                "version": version,
                "digest": pin.digest,
                "resolved": pin.resolved,
                "fetched": true,
            }));
            arrived.insert(alias.clone(), Arrival { pin, agreed: false });
        }
        progress.clear();
        Ok((arrived, installed))
    }

    async fn need(
        &self,
        project: &Project,
        sources: &Sources,
        entry: &PluginEntry,
    ) -> anyhow::Result<Need> {
        let alias = &entry.alias;
        let locked = sources.locked(alias).filter(|locked| pins(locked, entry));
        if let PluginSource::Local(path) = &entry.source {
            if self.locked {
                let found = local_digest(project, path)?;
                if locked.is_none_or(|locked| locked.digest != found.to_string()) {
                    return Err(not_locked(alias, &format!("its component is {found}")));
                }
            }
            return Ok(Need::There(
                locked.map(|l| l.version.clone()).unwrap_or_default(),
            ));
        }
        let Some(locked) = locked else {
            if self.locked {
                return Err(not_locked(
                    alias,
                    &format!("its source is {}", entry.source),
                ));
            }
            return Ok(Need::New);
        };
        let digest: Digest = locked.digest.parse()?;
        if sources.has(&digest).await.map_err(sources::failed)? {
            return Ok(Need::There(locked.version.clone()));
        }
        Ok(Need::Again(Box::new(locked.clone())))
    }
}

async fn fetch(
    sources: &Sources,
    entry: &PluginEntry,
    need: &Need,
    progress: &Arc<Progress>,
) -> anyhow::Result<Brought> {
    let (alias, source) = (&entry.alias, &entry.source);
    let shown = sources::shown(progress, &source.to_string());
    let brought = match need {
        Need::Again(locked) => sources.bring_locked(alias, source, locked, &shown).await,
        _ => {
            sources
                .bring(alias, source, entry.version.as_ref(), false, &shown)
                .await
        }
    };
    brought.map_err(sources::failed)
}

/// Whether what was agreed to is what the operator's file asks for.
fn pins(locked: &LockedPlugin, entry: &PluginEntry) -> bool {
    let wanted = entry.version.as_ref();
    let version = locked.version.parse();
    locked.source == entry.source.to_string()
        && wanted.is_none_or(|wanted| version.is_ok_and(|version| wanted.matches(&version)))
}

fn local_digest(project: &Project, path: &str) -> anyhow::Result<Digest> {
    let read = source::read(&project.path_of(path), &IntakeLimits::default())?;
    Ok(Digest::of(&read.bytes))
}

fn not_locked(alias: &Alias, found: &str) -> anyhow::Error {
    error::refused(format!(
        "`{alias}` is refused: {found}, which is not what {LOCKFILE} pins; run `portreeve install` without --locked where you can look at it, and commit what it writes"
    ))
}

/// Removes from the store what nobody uses any more. That it can't be done harms nothing.
pub(super) fn collect(project: &Project, sources: &Sources) {
    let Ok(store) = places::artifacts() else {
        return;
    };
    let kept = sources.kept(project);
    match store.collect(|digest| kept.contains(digest)) {
        Ok(collected) => tracing::debug!(?collected, "the store was cleaned up"),
        Err(error) => tracing::warn!(%error, "the store was not cleaned up"),
    }
}
