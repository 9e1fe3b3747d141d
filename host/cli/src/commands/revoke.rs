//! `portreeve revoke`: less than was granted.

use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_manifest::edit::{Edit, Selector};
use portreeve_manifest::id::Alias;

use super::grant::edited;
use crate::context::Context;
use crate::error;

/// Revoke what was granted to a plugin.
///
/// Takes the grant out of portreeve.toml, whose comments and layout stay. It holds at once:
/// calls that run are refused at their next use.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve revoke github secrets.reveal
  portreeve revoke github secrets.reveal=signing-key
  portreeve revoke github --all")]
pub(crate) struct Revoke {
    /// The plugin, by its name in this project.
    alias: Alias,
    /// What to revoke: CAPABILITY for all of it, or CAPABILITY=ITEM.
    #[arg(value_name = "CAPABILITY[=ITEM]")]
    what: Vec<Selector>,
    /// Revoke everything.
    #[arg(long, conflicts_with = "what")]
    all: bool,
}

impl Revoke {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let what = match (self.all, self.what.is_empty()) {
            (true, _) => vec![Selector::All],
            (false, false) => self.what.clone(),
            (false, true) => {
                return Err(error::usage(
                    "say what to revoke: a capability such as `ui.progress`, or --all",
                ));
            }
        };
        let project = context.project()?;
        let manifest = context.manifest(&project)?;
        let before = manifest
            .plugins
            .get(&self.alias)
            .map(|entry| entry.grants.to_json())
            .unwrap_or_default();
        let request = ControlRequest::Edit {
            edit: Edit::Revoke(self.alias.clone(), what),
            arrived: None,
        };
        edited(context, request, &self.alias, &before)
    }
}
