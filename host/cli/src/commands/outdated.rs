//! `portreeve outdated`: which plugins have newer versions.

use clap::Args;
use portreeve_manifest::project::PluginEntry;
use semver::Version;
use serde_json::{Value, json};

use crate::context::Context;
use crate::sources;

/// Say which plugins have newer versions where they come from.
///
/// Asks the registries and changes nothing. `wanted` is the newest version that the project's
/// `version` allows, `newest` the newest of all.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve outdated
  portreeve outdated --json")]
pub(crate) struct Outdated {}

impl Outdated {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let manifest = context.manifest(&project)?;
        let sources = sources::open(&project, &manifest)?;
        let mut found: Vec<Value> = Vec::new();
        let mut failed = 0;
        context.block_on(async {
            let remote = manifest
                .plugins
                .values()
                .filter(|entry| entry.source.is_remote());
            for entry in remote {
                let installed = sources
                    .locked(&entry.alias)
                    .map(|locked| locked.version.clone());
                match sources.versions(&entry.source).await {
                    Ok(versions) => found.push(row(entry, installed, &versions)),
                    Err(error) => {
                        failed += 1;
                        found.push(json!({
                            "alias": entry.alias,
                            "source": entry.source.to_string(),
                            "installed": installed,
                            "error": error.to_string(),
                        }));
                    }
                }
            }
            Ok(())
        })?;
        context
            .output
            .result(&json!({ "plugins": found }), || show(&found))?;
        if failed > 0 {
            anyhow::bail!("{failed} could not be asked about; see above");
        }
        Ok(())
    }
}

fn row(entry: &PluginEntry, installed: Option<String>, versions: &[Version]) -> Value {
    let finished = versions.iter().rev().find(|version| version.pre.is_empty());
    let wanted = portreeve_core::newest(versions, entry.version.as_ref());
    json!({
        "alias": entry.alias,
        "source": entry.source.to_string(),
        "installed": installed,
        "wanted": wanted,
        "newest": finished,
    })
}

fn show(found: &[Value]) -> String {
    let lines = found.iter().filter_map(|plugin| {
        let text = |key: &str| plugin[key].as_str();
        let alias = text("alias").unwrap_or_default();
        if let Some(error) = text("error") {
            return Some(format!("{alias}: {error}"));
        }
        let installed = text("installed").unwrap_or("nothing");
        let (wanted, newest) = (text("wanted"), text("newest"));
        let behind = |other: Option<&str>| other.is_some_and(|other| other != installed);
        (behind(wanted) || behind(newest)).then(|| {
            format!(
                "{alias}: {installed} is installed, {} is wanted, {} is the newest",
                wanted.unwrap_or("none"),
                newest.unwrap_or("none")
            )
        })
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return "every plugin is the newest that its source has a version of".to_owned();
    }
    format!("{}\nnext: `portreeve update --dry-run`", lines.join("\n"))
}
