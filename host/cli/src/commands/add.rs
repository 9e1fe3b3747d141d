//! `portreeve add`: a plugin into the project.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Error, bail};
use clap::Args;
use portreeve_core::control::ControlRequest;
use portreeve_core::{Arrival, Brought, MANIFEST, Pin, Project};
use portreeve_manifest::edit::{Edit, NewPlugin};
use portreeve_manifest::grant::{Granted, Standing};
use portreeve_manifest::id::Alias;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_supply::licence::{self, Rules};
use portreeve_supply::{Package, Tools};
use semver::VersionReq;
use serde_json::{Map, json};

use super::advisories::{self, Known};
use super::papers::read_package;
use super::scan::{self, Judge};
use super::secrets;
use crate::context::{Context, manifest_name};
use crate::progress::Progress;
use crate::review::{self, Choice};
use crate::{error, output, places, sources};

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
  portreeve add oci://registry.example.com/acme/markdown --version ^1.4
  portreeve add ~/Downloads/github.wasm --alias work-github --grant ui.progress
  portreeve add plugins/signer --grant secrets.reveal=signing-key:acme-signing")]
pub(crate) struct Add {
    /// A component file, a directory that holds one, an artifact in a registry
    /// (oci://REGISTRY/OWNER/NAME) or a file on a web server (https://...#sha256=...).
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The versions that may run, of a component in a registry: "^1.4".
    #[arg(long, value_name = "VERSIONS")]
    version: Option<VersionReq>,
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
        let manifest = context.manifest(&project)?;
        let (source, file, package, pin) = match self.remote()? {
            Some(remote) => self.bring(context, &project, &manifest, remote)?,
            None => {
                let (file, package) = read_package(&self.source)?;
                let pin = Pin::local(&package.digest);
                (self.local(&project)?, file, package, pin)
            }
        };
        let plugin = &package.manifest;
        let alias = match &self.alias {
            Some(alias) => alias.clone(),
            None => {
                Alias::new(plugin.id.as_str()).map_err(|error| error::usage(error.to_string()))?
            }
        };
        let name = manifest_name(&project);
        if manifest.plugins.contains_key(&alias) {
            bail!(
                "there is a plugin `{alias}` in {name} already: choose another name with --alias, or take that one out with `portreeve remove {alias}`"
            );
        }
        let policy = manifest.policy.licenses.as_ref();
        let rules = Rules::load(policy, project.dir()).map_err(Error::msg)?;
        let report = licence::examine(&package, &alias, &rules);
        if let Some(why) = report.refusal(&alias) {
            return Err(error::refused(why));
        }
        let known = Known::open(Some(&manifest))?;
        let weaknesses = known.examine(&package, &alias);
        if let Some(why) = weaknesses.refusal(&alias) {
            return Err(error::refused(why));
        }
        let judge = Judge::open(context)?;
        let looked = judge.report(&file, &package, &alias)?;
        // Then its owner refuses it, on record, and nobody needs to be asked.
        let refused = looked.refusal.is_some();
        let seen = review::is_interactive() && !refused;
        if seen {
            output::note(format!("{} {}", plugin.id, plugin.version));
            output::note(scan::notes(&looked).trim_end());
            output::note(advisories::notes(&weaknesses).trim_end());
        }
        let choice = Choice {
            named: &self.grants,
            all: self.yes,
            ask: true,
        };
        let new = NewPlugin {
            source: source.clone(),
            version: self.version.as_ref().map(ToString::to_string),
            grants: match refused {
                true => Map::new(),
                false => review::choose(plugin, &choice, &Map::new())?,
            },
            ..NewPlugin::default()
        };
        secrets::tell_missing(context, &new.grants)?;
        let edit = Edit::Add(alias.clone(), new.clone());
        let text = edit.apply(&name, &project.read_manifest()?)?;
        let missing = check(&name, &text, &alias, plugin)?;
        let request = ControlRequest::Edit {
            edit,
            arrived: Some(Arrival {
                pin: pin.clone(),
                agreed: true,
            }),
        };
        context.ask(project, "adding it", request)?;
        // Now its owner has asked it for tools that nobody had recorded.
        let (looked, seen) = match package.tools {
            Tools::Unrecorded => (judge.report(&file, &package, &alias)?, false),
            _ => (looked, seen),
        };
        let requests = plugin.requests.items();
        let granted = Granted::read(&new.grants);
        let asks = requests
            .iter()
            .any(|item| item.grantable && granted.standing(item) == Standing::NotGranted);
        let result = json!({
            "alias": alias,
            "id": plugin.id,
            "version": plugin.version,
            "file": output::path(&file),
            "source": source,
            "digest": package.digest,
            "resolved": pin.resolved,
            "requests": requests,
            "grants": new.grants,
            "config-missing": missing,
            "licences": report,
            "scan": looked,
            "advisories": weaknesses,
        });
        context.output.result(&result, || {
            let mut shown = format!(
                "added {} {} as `{alias}` to {name}\n",
                plugin.id, plugin.version
            );
            shown.push_str(&review::describe_all(plugin, Some(&new.grants)));
            // What its licences leave open, the scan names as well.
            if !seen {
                shown.push_str(&scan::notes(&looked));
                shown.push_str(&advisories::notes(&weaknesses));
            }
            if !missing.is_empty() {
                shown.push_str(&format!(
                    "next: set what it needs under [plugins.{alias}] in {MANIFEST}:\n  {}",
                    missing.join("\n  ")
                ));
            } else if asks {
                shown.push_str(&format!(
                    "next: `portreeve grant {alias}` for what it may do of that, then `portreeve list`"
                ));
            } else {
                shown.push_str(&format!(
                    "next: `portreeve list`, or `portreeve call {alias} TOOL`"
                ));
            }
            shown
        })
    }

    /// The source, where it is none on this machine.
    fn remote(&self) -> anyhow::Result<Option<PluginSource>> {
        let Some(text) = self.source.to_str().filter(|text| text.contains("://")) else {
            if self.version.is_some() {
                return Err(error::usage(
                    "--version is for components in registries: a file is the version that it is",
                ));
            }
            return Ok(None);
        };
        PluginSource::parse(text).map(Some).map_err(error::usage)
    }

    /// Fetches it, and holds it against the policy, before anybody is asked about it.
    fn bring(
        &self,
        context: &Context,
        project: &Project,
        manifest: &ProjectManifest,
        source: PluginSource,
    ) -> anyhow::Result<(String, PathBuf, Package, Pin)> {
        let sources = sources::open(project, manifest)?;
        let alias = match &self.alias {
            Some(alias) => alias.clone(),
            None => Alias::new(source.name().unwrap_or_default())
                .map_err(|error| error::usage(format!("{error}; choose a name with --alias")))?,
        };
        let progress = Arc::new(Progress::new());
        let shown = sources::shown(&progress, &source.to_string());
        let brought = context.block_on(async {
            let version = self.version.as_ref();
            let brought = sources.bring(&alias, &source, version, true, &shown).await;
            brought.map_err(sources::failed)
        });
        progress.clear();
        let Brought {
            pin,
            package,
            signer,
        } = brought?;
        if review::is_interactive() {
            let by = signer.as_deref().unwrap_or("nobody who is listed");
            output::note(format!("signed by {by}"));
        }
        let file = places::artifacts()?.path(&package.digest);
        Ok((source.to_string(), file, package, pin))
    }

    /// The source as the manifest says it: relative where the plugin lies in the project or
    /// near it, so that both can move together.
    fn local(&self, project: &Project) -> anyhow::Result<String> {
        let path = self
            .source
            .canonicalize()
            .with_context(|| format!("{} can't be found", self.source.display()))?;
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
