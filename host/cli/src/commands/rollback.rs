//! `portreeve rollback`: a version that a plugin had, again.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{GenerationView, Project, RollBack};
use portreeve_manifest::id::Alias;
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_supply::Digest;
use serde_json::json;

use crate::context::Context;
use crate::progress::Progress;
use crate::{error, sources};

/// Put a plugin back to a version that it had, with the settings and grants of then.
///
/// Every version that worked is kept with its table of portreeve.toml and its part of
/// portreeve.lock: the last ten, for 180 days, unless `[generations]` says otherwise. Going back
/// puts all of it in place again, through the gate that an update passes; what is refused changes
/// nothing. Without --to it is the version that ran before this one, so that a second time takes
/// the first one back. What it was granted beyond what is granted now must be agreed to.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve rollback markdown
  portreeve rollback markdown --list
  portreeve rollback markdown --to 1.4.0")]
pub(crate) struct Rollback {
    /// The plugin, by its name in this project.
    #[arg(value_name = "ALIAS", required_unless_present = "list")]
    plugin: Option<Alias>,
    /// The version, or the number of its generation.
    #[arg(long, value_name = "N|VERSION", conflicts_with = "list")]
    to: Option<String>,
    /// Show which there are, and change nothing.
    #[arg(long)]
    list: bool,
    /// Grant again what was granted then and is not now.
    #[arg(long, conflicts_with = "list")]
    agree: bool,
}

impl Rollback {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let request = ControlRequest::Generations {
            alias: self.plugin.clone(),
        };
        let answer = context.ask(project.clone(), "looking at what was kept", request)?;
        let ControlAnswer::Generations(kept) = answer else {
            bail!("the process that owns the project answered something else");
        };
        let Some(alias) = self.plugin.as_ref().filter(|_| !self.list) else {
            return context
                .output
                .result(&json!({ "generations": kept }), || listed(&kept));
        };
        let target = self.target(alias, &kept)?;
        if !target.here {
            self.fetch(context, &project, target)?;
        }
        let request = ControlRequest::RollBack(RollBack {
            alias: alias.clone(),
            to: target.generation,
            agreed: self.agree,
        });
        let answer = context.ask(project, "going back", request)?;
        let ControlAnswer::RolledBack(now) = answer else {
            bail!("the process that owns the project answered something else");
        };
        let before = kept.iter().find(|kept| kept.until.is_none());
        let result = json!({ "now": now, "before": before });
        context.output.result(&result, || {
            let mut told = format!("`{alias}` is {} again", now.locked.version);
            if let Some(before) = before {
                told.push_str(&format!(
                    "; `portreeve rollback {alias}` takes it back to {}",
                    before.locked.version
                ));
            }
            told
        })
    }

    /// The version that is meant.
    fn target<'a>(
        &self,
        alias: &Alias,
        kept: &'a [GenerationView],
    ) -> anyhow::Result<&'a GenerationView> {
        let list = format!("`portreeve rollback {alias} --list` shows what there is");
        let former = || kept.iter().filter(|kept| kept.until.is_some());
        let Some(to) = &self.to else {
            return former().next().with_context(|| {
                format!("`{alias}` has no version that it could go back to; {list}")
            });
        };
        let number = to.parse::<i64>().ok();
        let named =
            |kept: &&GenerationView| Some(kept.generation) == number || kept.locked.version == *to;
        // A version may have come with several components: the one that was last.
        former()
            .find(named)
            .or_else(|| kept.iter().find(named))
            .with_context(|| format!("`{alias}` has no version {to} to go back to; {list}"))
            .and_then(|found| match found.until {
                Some(_) => Ok(found),
                None => bail!("`{alias}` is {} already", found.locked.version),
            })
    }

    /// Fetches a component that is not on this machine any more.
    fn fetch(
        &self,
        context: &Context,
        project: &Project,
        target: &GenerationView,
    ) -> anyhow::Result<()> {
        let GenerationView {
            alias,
            generation,
            locked,
            ..
        } = target;
        let gone = |why: String| {
            error::refused(format!(
                "`{alias}` is refused: the component of generation {generation} ({}) is not in the store of this machine any more, and {why}; ask for {} with `version` in portreeve.toml and `portreeve update {alias}`, or go back to another one (`portreeve rollback {alias} --list`)",
                locked.digest, locked.version
            ))
        };
        let source = PluginSource::parse(&locked.source).map_err(error::usage)?;
        if !source.is_remote() {
            return Err(error::refused(format!(
                "`{alias}` is refused: {source} is on this machine, where only the present file is kept; put the one of {} back there ({})",
                locked.version, locked.digest
            )));
        }
        let manifest: ProjectManifest = context.manifest(project)?;
        let sources = sources::open(project, &manifest)?;
        let progress = Arc::new(Progress::new());
        let shown = sources::shown(&progress, &source.to_string());
        let digest: Digest = locked.digest.parse()?;
        let brought = context.block_on(async {
            // It may lie there changed.
            if sources.held(vec![digest]).await?.contains(&digest) {
                return Ok(());
            }
            let brought = sources.bring_locked(alias, &source, locked, &shown).await;
            brought
                .map(drop)
                .map_err(|error| gone(format!("can't be fetched again: {error}")))
        });
        progress.clear();
        brought
    }
}

fn listed(kept: &[GenerationView]) -> String {
    if kept.is_empty() {
        return "nothing is kept to go back to".to_owned();
    }
    let line = |kept: &GenerationView| {
        let mark = if kept.until.is_none() { '*' } else { ' ' };
        let span = match kept.until {
            None => format!("since {}", time(kept.since)),
            Some(until) => format!("{} to {}", time(kept.since), time(until)),
        };
        let away = if kept.here {
            ""
        } else {
            ", not on this machine"
        };
        format!(
            "{mark} {} {} {}  {span}{away}",
            kept.alias, kept.generation, kept.locked.version
        )
    };
    let lines: Vec<String> = kept.iter().map(line).collect();
    lines.join("\n")
}

/// A moment, in milliseconds since 1970.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default()
}
