//! `portreeve install`: what stands in the operator's file, onto this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{Arrival, Brought, LOCKFILE, Project, Sources};
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::project::{PluginEntry, ProjectManifest};
use portreeve_supply::{Digest, IntakeLimits, on_all_cores, source};
use serde_json::json;

use super::papers::count;
use crate::context::Context;
use crate::progress::Progress;
use crate::{error, sources};

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

/// The components that are on this machine.
#[derive(Default)]
struct There {
    /// In the store.
    stored: BTreeSet<Digest>,
    /// Those of plugins that are files here, where they must be as they were.
    local: BTreeMap<Alias, Digest>,
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
            context.ask(project, "installing", request)?;
        }
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
        let there = self.there(manifest, project, sources).await?;
        for (alias, entry) in &manifest.plugins {
            let (version, pin) = match self.need(&there, sources, entry)? {
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

    /// The components that are on this machine, of those that matter here. All cores look.
    async fn there(
        &self,
        manifest: &ProjectManifest,
        project: &Project,
        sources: &Sources,
    ) -> anyhow::Result<There> {
        let (remote, local): (Vec<_>, Vec<_>) = manifest
            .plugins
            .values()
            .partition(|entry| entry.source.is_remote());
        let locked = remote.iter().filter_map(|entry| {
            let locked = sources.locked(&entry.alias)?;
            locked.digest.parse::<Digest>().ok()
        });
        let stored = sources.held(locked.collect()).await;
        let mut there = There {
            stored: stored.map_err(sources::failed)?,
            ..There::default()
        };
        if self.locked {
            let found = on_all_cores(&local, |entry| {
                let path = project.path_of(&entry.source.to_string());
                let read = source::read(&path, &IntakeLimits::default())?;
                anyhow::Ok((entry.alias.clone(), Digest::of(&read.bytes)))
            });
            there.local = found.into_iter().collect::<Result<_, _>>()?;
        }
        Ok(there)
    }

    fn need(&self, there: &There, sources: &Sources, entry: &PluginEntry) -> anyhow::Result<Need> {
        let alias = &entry.alias;
        let locked = sources.locked(alias).filter(|locked| pins(locked, entry));
        if !entry.source.is_remote() {
            if let Some(found) = there.local.get(alias)
                && locked.is_none_or(|locked| locked.digest != found.to_string())
            {
                return Err(not_locked(alias, &format!("its component is {found}")));
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
        if there.stored.contains(&locked.digest.parse()?) {
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

fn not_locked(alias: &Alias, found: &str) -> anyhow::Error {
    error::refused(format!(
        "`{alias}` is refused: {found}, which is not what {LOCKFILE} pins; run `portreeve install` without --locked where you can look at it, and commit what it writes"
    ))
}
