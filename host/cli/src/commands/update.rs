//! `portreeve update`: newer versions of plugins, looked at before they are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{Arrival, Brought, Sources};
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::project::{PluginEntry, ProjectManifest};
use portreeve_supply::change::{self, Change, Content, Turn};
use portreeve_supply::{Digest, IntakeLimits, Package};
use serde_json::{Value, json};

use super::install::collect;
use crate::context::{Context, manifest_name};
use crate::progress::Progress;
use crate::{error, output, places, review, sources};

/// Take newer versions of plugins, within what `version` in portreeve.toml allows.
///
/// Fetches the newest version of each, shows how it differs from the one that is installed -
/// tools, their descriptions and schemas, requests, licence, signer - and installs it. One that
/// asks for more, has another signer or licence, or changes more than its version number
/// announces stops unless you agree. Calls that run finish on the former version.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve update --dry-run
  portreeve update markdown
  portreeve update markdown --agree    also where something about it is to be agreed to")]
pub(crate) struct Update {
    /// The plugins; all that come over a network by default.
    #[arg(value_name = "ALIAS")]
    plugins: Vec<Alias>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Agree to what is shown: requests, signer, licence. Nothing is granted by that.
    #[arg(long)]
    agree: bool,
}

/// A plugin with another component than before.
struct Found {
    alias: Alias,
    brought: Brought,
    /// None where nothing was installed before.
    change: Option<Change>,
}

impl Update {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let manifest = context.manifest(&project)?;
        let name = manifest_name(&project);
        for alias in &self.plugins {
            match manifest.plugins.get(alias) {
                Some(entry) if entry.source.is_remote() => {}
                Some(entry) => bail!(
                    "`{alias}` is {}, which is on this machine: put the new component there, and `portreeve grant {alias}` where it asks for more",
                    entry.source
                ),
                None => bail!(
                    "there is no plugin `{alias}` in {name}; `portreeve list` shows what there is"
                ),
            }
        }
        let sources = sources::open(&project, &manifest)?;
        let found = context.block_on(self.find(&manifest, &sources))?;
        for found in &found {
            output::note(shown(found));
        }
        let concerns: Vec<String> = found.iter().flat_map(concerns).collect();
        let agreed = self.agree
            || concerns.is_empty()
            || (!self.dry_run && review::is_interactive() && review::agree_to_update()?);
        let plugins: Vec<Value> = found.iter().map(described).collect();
        let result = json!({
            "updated": !self.dry_run && agreed,
            "plugins": plugins,
            "concerns": concerns,
        });
        if self.dry_run || found.is_empty() {
            return context.output.result(&result, || match found.is_empty() {
                true => "nothing is newer than what is installed".to_owned(),
                false => "nothing was changed".to_owned(),
            });
        }
        if !agreed {
            return Err(error::refused(format!(
                "nothing was changed, and the installed versions stay: {}; say --agree to take them all the same, or name the plugins to update",
                concerns.join("; ")
            )));
        }
        let arrived: BTreeMap<_, _> = found
            .iter()
            .map(|found| {
                let pin = found.brought.pin.clone();
                (found.alias.clone(), Arrival { pin, agreed })
            })
            .collect();
        context.ask(
            project.clone(),
            "installing",
            ControlRequest::Install { arrived },
        )?;
        collect(&project, &sources);
        context.output.result(&result, || {
            let lines: Vec<String> = found
                .iter()
                .map(|found| {
                    let version = &found.brought.package.manifest.version;
                    format!("`{}` is {version} now", found.alias)
                })
                .collect();
            lines.join("\n")
        })
    }

    /// Brings what is newer into the store.
    async fn find(
        &self,
        manifest: &ProjectManifest,
        sources: &Sources,
    ) -> anyhow::Result<Vec<Found>> {
        let progress = Arc::new(Progress::new());
        let mut found = Vec::new();
        let wanted = |entry: &&PluginEntry| {
            entry.source.is_remote()
                && (self.plugins.is_empty() || self.plugins.contains(&entry.alias))
        };
        for entry in manifest.plugins.values().filter(wanted) {
            let (alias, source) = (&entry.alias, &entry.source);
            let shown = sources::shown(&progress, &source.to_string());
            let version = entry.version.as_ref();
            let brought = sources
                .bring(alias, source, version, self.agree, &shown)
                .await;
            let brought = brought.map_err(sources::failed)?;
            let locked = sources.locked(alias);
            if locked.is_some_and(|locked| locked.digest == brought.pin.digest) {
                continue;
            }
            let change = locked
                .map(|locked| compare(locked, &brought))
                .transpose()?
                .flatten();
            found.push(Found {
                alias: alias.clone(),
                brought,
                change,
            });
        }
        progress.clear();
        Ok(found)
    }
}

/// How a component differs from the installed one; none where that is not here any more.
fn compare(locked: &LockedPlugin, brought: &Brought) -> anyhow::Result<Option<Change>> {
    let digest: Digest = locked.digest.parse()?;
    let Some(bytes) = places::artifacts()?.get(&digest)? else {
        return Ok(None);
    };
    let name = locked.id.as_deref().unwrap_or_default();
    let before = Package::read(&bytes, name, &IntakeLimits::default())?;
    let signer = (locked.signer != brought.signer).then(|| Turn {
        before: locked.signer.clone(),
        now: brought.signer.clone(),
    });
    let now = Content::of(&brought.package);
    Ok(Some(change::compare(&Content::of(&before), &now, signer)))
}

/// What the operator should agree to.
fn concerns(found: &Found) -> Vec<String> {
    let Some(change) = &found.change else {
        return Vec::new();
    };
    let words = change.concerns().into_iter();
    words
        .map(|concern| format!("`{}`: {}", found.alias, concern.words()))
        .collect()
}

fn shown(found: &Found) -> String {
    let plugin = &found.brought.package.manifest;
    match &found.change {
        Some(change) => format!("`{}` {}", found.alias, change.lines().join("\n  ")),
        None => format!(
            "`{}` {} {} is new here",
            found.alias, plugin.id, plugin.version
        ),
    }
}

fn described(found: &Found) -> Value {
    json!({
        "alias": found.alias,
        "version": found.brought.package.manifest.version,
        "digest": found.brought.pin.digest,
        "resolved": found.brought.pin.resolved,
        "signer": found.brought.signer,
        "change": found.change,
    })
}
