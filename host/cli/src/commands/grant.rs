//! `portreeve grant`: more of what a plugin asks for.

use anyhow::bail;
use clap::Args;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{Arrival, Pin, Project, changed_tools, read_lockfile};
use portreeve_manifest::edit::Edit;
use portreeve_manifest::id::Alias;
use portreeve_supply::Package;
use portreeve_supply::papers::known_tools;
use serde_json::{Map, Value, json};

use super::papers::{installed_pin, read_installed};
use super::secrets;
use crate::context::{Context, manifest_name};
use crate::review::{self, Choice};
use crate::{error, output};

/// Grant a plugin something that it asks for.
///
/// Writes the grant into portreeve.toml, whose comments and layout stay, and puts it in force
/// at once. On a terminal, and without naming anything, it asks about each request that is
/// not granted yet, and agrees to a component that was replaced by one that asks for more.
/// Elsewhere --agree does that, and grants only what is named.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve grant github                                     be asked about each request
  portreeve grant github ui.progress
  portreeve grant github secrets.reveal=signing-key:acme-signing
  portreeve grant github --yes                               everything that it asks for
  portreeve grant github --agree                             let its new component run, with
                                                             what is granted already")]
pub(crate) struct Grant {
    /// The plugin, by its name in this project.
    alias: Alias,
    /// What to grant: CAPABILITY for all of it that is asked for, or CAPABILITY=VALUE.
    #[arg(value_name = "CAPABILITY[=VALUE]")]
    what: Vec<String>,
    /// Grant everything that the plugin asks for and that can be granted.
    #[arg(long, conflicts_with = "what")]
    yes: bool,
    /// Agree to what its component asks for now, and grant only what is named: nothing more,
    /// where nothing is.
    #[arg(long, conflicts_with = "yes")]
    agree: bool,
    /// There for those who know it from `revoke`.
    #[arg(long, hide = true)]
    all: bool,
}

impl Grant {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        if self.all {
            return Err(error::usage(format!(
                "`grant` has no --all: name what to grant, as in `portreeve grant {} CAPABILITY`, or say --yes for everything that it asks for",
                self.alias
            )));
        }
        let project = context.project()?;
        let manifest = context.manifest(&project)?;
        let name = manifest_name(&project);
        let Some(entry) = manifest.plugins.get(&self.alias) else {
            bail!(
                "there is no plugin `{}` in {name}; `portreeve list` shows what there is",
                self.alias
            );
        };
        let (_, package) = read_installed(&project, entry)?;
        let pin = match entry.source.is_remote() {
            true => installed_pin(&project, entry)?,
            false => Pin::local(&package.digest),
        };
        let before = entry.grants.to_json();
        let more = asks_more(&project, &self.alias, &package)?;
        let lock = read_lockfile(&project)?;
        let changed = changed_tools(&lock, &self.alias, known_tools(&package));
        if !more.is_empty() {
            output::note(format!(
                "`{}` asks for more than was agreed to:\n{}",
                self.alias,
                more.join("\n")
            ));
        }
        if !changed.is_empty() {
            output::note(format!(
                "tools of `{}` have other descriptions or schemas than those that were agreed to: {}",
                self.alias,
                changed.join(", ")
            ));
        }
        if !more.is_empty() || !changed.is_empty() {
            let said = self.yes || self.agree;
            if !(said || review::is_interactive() && review::agree()?) {
                bail!(
                    "nothing was changed: say --agree to agree to that and grant only what you name; --yes agrees and grants all of it; or put the former component back"
                );
            }
        }
        if self.what.is_empty() && !self.yes && !self.agree && !review::is_interactive() {
            return Err(error::usage(format!(
                "say what to grant: `portreeve grant {} CAPABILITY`, or --yes for everything that it asks for; `portreeve inspect {0}` shows what that is",
                self.alias
            )));
        }
        let choice = Choice {
            named: &self.what,
            all: self.yes,
            ask: !self.agree,
        };
        let grants = review::choose(&package.manifest, &choice, &before)?;
        secrets::tell_missing(context, &grants)?;
        let edit = Edit::Grant(self.alias.clone(), grants);
        let request = ControlRequest::Edit {
            edit,
            arrived: Some(Arrival { pin, agreed: true }),
        };
        edited(context, request, &self.alias, &before)
    }
}

/// What a component asks for beyond what was agreed to, as lines.
fn asks_more(project: &Project, alias: &Alias, package: &Package) -> anyhow::Result<Vec<String>> {
    let lock = read_lockfile(project)?;
    let agreed = lock.plugins.get(alias);
    let Some(agreed) = agreed.filter(|agreed| agreed.digest != package.digest.to_string()) else {
        return Ok(Vec::new());
    };
    let diff = agreed.differs(&package.manifest.requests);
    if diff.more.is_empty() {
        return Ok(Vec::new());
    }
    Ok(diff.lines())
}

/// Has the owner do it, and shows what is granted from then on.
pub(super) fn edited(
    context: &Context,
    request: ControlRequest,
    alias: &Alias,
    before: &Map<String, Value>,
) -> anyhow::Result<()> {
    let project = context.project()?;
    let name = manifest_name(&project);
    let ControlAnswer::Edited(done) = context.ask(project, "writing it", request)? else {
        bail!("the owner of the project answered something else");
    };
    let result = json!({
        "alias": alias,
        "changed": done.changed,
        "before": before,
        "grants": done.grants,
        "record": done.record,
    });
    context.output.result(&result, || {
        let grants = Value::Object(done.grants.clone());
        let now = if done.grants.is_empty() {
            format!("`{alias}` is granted nothing")
        } else {
            format!("`{alias}` is granted {grants}")
        };
        if done.changed {
            let record = done.record.unwrap_or_default();
            format!("{now}\nwritten to {name}, in force now, on record as {record}")
        } else {
            format!("{now}\nnothing was changed")
        }
    })
}
