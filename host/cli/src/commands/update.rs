//! `portreeve update`: newer versions of plugins, looked at before they are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Error, bail};
use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{Arrival, Brought, Sources};
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::LockedPlugin;
use portreeve_manifest::project::{PluginEntry, ProjectManifest};
use portreeve_supply::change::{self, Change, Content, Turn};
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::scan::Report;
use portreeve_supply::{Digest, IntakeLimits, Package, Tools};
use serde_json::{Value, json};

use super::advisories::{self, Known};
use super::scan::{self, Judge};
use crate::context::{Context, manifest_name};
use crate::progress::Progress;
use crate::{error, output, places, review, sources, text};

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
    looked: Looked,
    /// What is newly said of its licences and of what it was made from, and what no more.
    papers: Vec<String>,
}

/// What a scan says of it.
struct Looked {
    now: Report,
    /// Of the installed one, where that is still here.
    before: Option<Report>,
}

/// What papers are judged by.
struct Judges {
    rules: Rules,
    known: Known,
    scan: Judge,
}

impl Judges {
    /// What is said of a component now that was not of the one before, and the reverse.
    fn changes(&self, alias: &Alias, before: Option<&Package>, now: &Package) -> Vec<String> {
        let notes = |package: &Package| licence::examine(package, alias, &self.rules).notes;
        let (known, left) = (before.map(notes).unwrap_or_default(), notes(now));
        let line = |how: &str, note: &licence::Note| {
            text::line(&format!(
                "{how}: {}: {}: {}",
                note.rule, note.about, note.found
            ))
            .to_string()
        };
        let new = left.iter().filter(|note| !known.contains(note));
        let gone = known.iter().filter(|note| !left.contains(note));
        let new = new.map(|note| line("new", note));
        let mut lines: Vec<String> = new.chain(gone.map(|note| line("no more", note))).collect();
        let now = self.known.examine(now, alias);
        lines.extend(match before {
            Some(before) => advisories::changes(&self.known.examine(before, alias), &now),
            None => advisories::notes(&now)
                .lines()
                .map(|line| line.trim().to_owned())
                .collect(),
        });
        lines
    }
}

impl Judges {
    /// Looks once more at one whose tools nobody had recorded: its owner has asked it for them.
    fn listed(&self, found: &mut Found) -> anyhow::Result<()> {
        let package = &found.brought.package;
        if package.tools != Tools::Unrecorded {
            return Ok(());
        }
        let file = places::artifacts()?.path(&package.digest);
        let now = self.scan.report(&file, package, &found.alias)?;
        if now.findings != found.looked.now.findings {
            let lines = scan::changes(Some(&found.looked.now), &now);
            let alias = &found.alias;
            output::note(format!(
                "`{alias}` lists its tools\n  {}",
                lines.join("\n  ")
            ));
            found.looked.now = now;
        }
        Ok(())
    }
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
        let judges = Judges {
            rules: Rules::load(manifest.policy.licenses.as_ref(), project.dir())
                .map_err(Error::msg)?,
            known: Known::open(Some(&manifest))?,
            scan: Judge::open(context)?,
        };
        let mut found = context.block_on(self.find(&manifest, &sources, &judges))?;
        for found in &found {
            output::note(shown(found));
        }
        let concerns: Vec<String> = found.iter().flat_map(concerns).collect();
        let may_ask = !concerns.is_empty() && !self.dry_run && review::is_interactive();
        let said = self.agree || (may_ask && review::agree_to_update()?);
        let agreed = said || concerns.is_empty();
        let result = |found: &[Found]| {
            json!({
                "updated": !self.dry_run && agreed,
                "plugins": found.iter().map(described).collect::<Vec<Value>>(),
                "concerns": concerns,
            })
        };
        if self.dry_run || found.is_empty() {
            return context
                .output
                .result(&result(&found), || match found.is_empty() {
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
                // Nobody has seen the tools of one that has to run before it lists them.
                let seen = found.brought.package.tools != Tools::Unrecorded;
                let agreed = said || seen;
                (found.alias.clone(), Arrival { pin, agreed })
            })
            .collect();
        context.ask(project, "installing", ControlRequest::Install { arrived })?;
        for found in &mut found {
            judges.listed(found)?;
        }
        context.output.result(&result(&found), || {
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
        judges: &Judges,
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
            let before = locked.map(installed).transpose()?.flatten();
            let change = match (locked, &before) {
                (Some(locked), Some(before)) => Some(compare(locked, before, &brought)),
                _ => None,
            };
            let papers = judges.changes(alias, before.as_ref(), &brought.package);
            found.push(Found {
                alias: alias.clone(),
                looked: look(&judges.scan, alias, before.as_ref(), &brought)?,
                papers,
                brought,
                change,
            });
        }
        progress.clear();
        Ok(found)
    }
}

/// The installed component; none where it is not here any more.
fn installed(locked: &LockedPlugin) -> anyhow::Result<Option<Package>> {
    let digest: Digest = locked.digest.parse()?;
    let Some(bytes) = places::artifacts()?.get(&digest)? else {
        return Ok(None);
    };
    let name = locked.id.as_deref().unwrap_or_default();
    Ok(Some(Package::read(&bytes, name, &IntakeLimits::default())?))
}

/// How a component differs from the installed one.
fn compare(locked: &LockedPlugin, before: &Package, brought: &Brought) -> Change {
    let signer = (locked.signer != brought.signer).then(|| Turn {
        before: locked.signer.clone(),
        now: brought.signer.clone(),
    });
    let now = Content::of(&brought.package);
    change::compare(&Content::of(before), &now, signer)
}

/// Looks through a component and the installed one.
fn look(
    judge: &Judge,
    alias: &Alias,
    before: Option<&Package>,
    brought: &Brought,
) -> anyhow::Result<Looked> {
    let store = places::artifacts()?;
    let report = |package: &Package| judge.report(&store.path(&package.digest), package, alias);
    Ok(Looked {
        now: report(&brought.package)?,
        before: before.map(report).transpose()?,
    })
}

/// What the operator should agree to.
fn concerns(found: &Found) -> Vec<String> {
    let words = found.change.iter().flat_map(Change::concerns);
    let mut concerns: Vec<String> = words.map(|concern| concern.words().to_string()).collect();
    // What is new here is shown whole when it is added.
    if let Some(before) = &found.looked.before {
        concerns.extend(scan::concerns(before, &found.looked.now));
    }
    let named = concerns.into_iter();
    named
        .map(|concern| format!("`{}`: {concern}", found.alias))
        .collect()
}

fn shown(found: &Found) -> String {
    let plugin = &found.brought.package.manifest;
    let mut shown = match &found.change {
        Some(change) => format!("`{}` {}", found.alias, change.lines().join("\n  ")),
        None => format!(
            "`{}` {} {} is new here",
            found.alias, plugin.id, plugin.version
        ),
    };
    let looked = scan::changes(found.looked.before.as_ref(), &found.looked.now);
    for line in found.papers.iter().chain(&looked) {
        shown.push_str("\n  ");
        shown.push_str(line);
    }
    shown
}

fn described(found: &Found) -> Value {
    json!({
        "alias": found.alias,
        "version": found.brought.package.manifest.version,
        "digest": found.brought.pin.digest,
        "resolved": found.brought.pin.resolved,
        "signer": found.brought.signer,
        "change": found.change,
        "scan": found.looked.now,
        "scan-before": found.looked.before,
        "papers": found.papers,
    })
}
