//! `portreeve add`: a plugin into the project.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{MANIFEST, Project};
use portreeve_manifest::edit::{Edit, NewPlugin};
use portreeve_manifest::id::Alias;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::ProjectManifest;
use serde_json::{Map, json};

use super::papers::read_package;
use super::secrets;
use crate::context::{Context, manifest_name};
use crate::review::{self, Choice};
use crate::{error, output};

/// Install a plugin in the project.
///
/// Installs a plugin: shows what it asks for, in plain words and by weight, and writes it
/// into portreeve.toml, whose comments and layout stay as they are.
///
/// On a terminal it asks about each request. Elsewhere nothing is granted but what `--grant`
/// names, or `--yes` allows; `portreeve grant` does it later.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve add plugins/markdown
  portreeve add ~/Downloads/github.wasm --alias work-github --grant ui.progress
  portreeve add plugins/signer --grant secrets.reveal=signing-key:acme-signing")]
pub(crate) struct Add {
    /// A component file, or a directory that holds one.
    path: PathBuf,
    /// The name of the plugin in this project, by which its tools are named; its own id by
    /// default.
    #[arg(long, value_name = "NAME")]
    alias: Option<Alias>,
    /// Something that the plugin asks for and may do, such as `ui.progress`; repeat for more.
    #[arg(long = "grant", value_name = "CAPABILITY[=VALUE]")]
    grants: Vec<String>,
    /// Grant everything that it asks for and that can be granted.
    #[arg(long, conflicts_with = "grants")]
    yes: bool,
}

impl Add {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let project = context.project()?;
        let (file, package) = read_package(&self.path)?;
        let plugin = &package.manifest;
        let alias = match &self.alias {
            Some(alias) => alias.clone(),
            None => {
                Alias::new(plugin.id.as_str()).map_err(|error| error::usage(error.to_string()))?
            }
        };
        let name = manifest_name(&project);
        if context.manifest(&project)?.plugins.contains_key(&alias) {
            bail!(
                "there is a plugin `{alias}` in {name} already: choose another name with --alias, or take that one out with `portreeve remove {alias}`"
            );
        }
        let source = self.source(&project)?;
        if review::is_interactive() {
            output::note(format!("{} {}", plugin.id, plugin.version));
        }
        let choice = Choice {
            named: &self.grants,
            all: self.yes,
            ask: true,
        };
        let new = NewPlugin {
            source: source.clone(),
            grants: review::choose(plugin, &choice, &Map::new())?,
            ..NewPlugin::default()
        };
        secrets::tell_missing(context, &new.grants)?;
        let edit = Edit::Add(alias.clone(), new.clone());
        let text = edit.apply(&name, &project.read_manifest()?)?;
        let missing = check(&name, &text, &alias, plugin)?;
        let request = ControlRequest::Edit {
            edit,
            agreed: Some(package.digest.to_string()),
        };
        context.ask(project, "adding it", request)?;
        let requests = plugin.requests.items();
        let result = json!({
            "alias": alias,
            "id": plugin.id,
            "version": plugin.version,
            "file": output::path(&file),
            "source": source,
            "digest": package.digest,
            "requests": requests,
            "grants": new.grants,
            "config-missing": missing,
        });
        context.output.result(&result, || {
            let mut shown = format!(
                "added {} {} as `{alias}` to {name}\n",
                plugin.id, plugin.version
            );
            shown.push_str(&review::describe_all(plugin, Some(&new.grants)));
            if missing.is_empty() {
                shown.push_str(&format!(
                    "next: `portreeve list`, or `portreeve call {alias} TOOL`"
                ));
            } else {
                shown.push_str(&format!(
                    "next: set what it needs under [plugins.{alias}] in {MANIFEST}:\n  {}",
                    missing.join("\n  ")
                ));
            }
            shown
        })
    }

    /// The source as the manifest says it: relative where the plugin lies in the project or
    /// near it, so that both can move together.
    fn source(&self, project: &Project) -> anyhow::Result<String> {
        let path = self
            .path
            .canonicalize()
            .with_context(|| format!("{} can't be found", self.path.display()))?;
        let path = relative(&path, project.dir()).unwrap_or(path);
        path.into_os_string().into_string().map_err(|path| {
            anyhow::anyhow!(
                "the path {} is no UTF-8 text, which {MANIFEST} needs: rename it",
                path.display()
            )
        })
    }
}

/// `path` as seen from `dir`, where the way doesn't lead far up.
fn relative(path: &Path, dir: &Path) -> Option<PathBuf> {
    /// Beyond this, a path says less than the absolute one.
    const UP_MAX: usize = 2;
    let common = path
        .components()
        .zip(dir.components())
        .take_while(|(a, b)| a == b)
        .map(|(component, _)| component);
    let normal = |component: &Component| matches!(component, Component::Normal(_));
    let (common, names) = common.fold((0, 0), |(all, names), component| {
        (all + 1, names + usize::from(normal(&component)))
    });
    let up = dir.components().count().saturating_sub(common);
    if up > UP_MAX || (up > 0 && names == 0) {
        return None;
    }
    let mut relative: PathBuf = std::iter::repeat_n("..", up).collect();
    relative.extend(path.components().skip(common));
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    Some(relative)
}

/// Reads the edited text as the host will. Gives the settings that are still missing.
fn check(
    file: &str,
    text: &str,
    alias: &Alias,
    plugin: &PluginManifest,
) -> anyhow::Result<Vec<String>> {
    let manifest = ProjectManifest::parse(file, text)?;
    let entry = manifest
        .plugins
        .get(alias)
        .context("the edited manifest lost the plugin; this is a mistake in portreeve")?;
    manifest.effective(entry, plugin)?;
    let missing = plugin.config.check(&entry.config).err().unwrap_or_default();
    Ok(missing
        .into_iter()
        .map(|error| {
            let path: Vec<_> = ["config".to_owned()]
                .into_iter()
                .chain(error.path)
                .collect();
            format!("{}: {}", path.join("."), error.message)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_paths_are_relative() {
        for (path, dir, expected) in [
            ("/p/a.wasm", "/p", Some("a.wasm")),
            ("/p/dist/a.wasm", "/p", Some("dist/a.wasm")),
            ("/w/plugins/a", "/w/p", Some("../plugins/a")),
            ("/w/plugins/a", "/w/x/p", Some("../../plugins/a")),
            ("/w/plugins/a", "/w/x/y/p", None),
            ("/opt/a.wasm", "/p", None),
            ("/p", "/p", Some(".")),
        ] {
            let found = relative(Path::new(path), Path::new(dir));
            assert_eq!(
                found.as_deref(),
                expected.map(Path::new),
                "{path} from {dir}"
            );
        }
    }
}
