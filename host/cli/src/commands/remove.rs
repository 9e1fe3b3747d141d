//! `portreeve remove`: a plugin out of the project.

use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_manifest::edit::Edit;
use portreeve_manifest::id::Alias;
use serde_json::json;

use crate::context::{Context, manifest_name};

/// Take a plugin out of the project.
///
/// Takes its table out of portreeve.toml and what was agreed to out of portreeve.lock. Its
/// component stays where it lies, what was recorded of it stays on record, and what it keeps
/// stays until `portreeve data clear` removes it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve remove github")]
pub(crate) struct Remove {
    /// The plugin, by its name in this project.
    alias: Alias,
}

impl Remove {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let name = manifest_name(&project);
        let request = ControlRequest::Edit {
            edit: Edit::Remove(self.alias.clone()),
            arrived: None,
        };
        context.ask(project, "removing it", request)?;
        let result = json!({ "alias": self.alias, "removed": true });
        context
            .output
            .result(&result, || format!("removed `{}` from {name}", self.alias))
    }
}
