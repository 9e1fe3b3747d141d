//! `portreeve inspect`: what a component is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portreeve_core::{WithheldTool, changed_tools, read_lockfile};
use portreeve_manifest::id::Alias;
use portreeve_manifest::plugin::Origin;
use portreeve_manifest::project::ProjectManifest;
use portreeve_supply::papers::{self, Papers, known_tools};
use portreeve_supply::{Package, Tools};
use serde_json::{Map, Value, json};

use super::advisories::{self, Known};
use super::licences;
use super::papers::{bytes, count, read_installed, read_package};
use super::scan::{self, Judge};
use crate::context::Context;
use crate::{output, review, text};

/// Say what a component is, what it offers and what it asks for.
///
/// Says what a component is: who made it, what it offers, what it asks for, what it imports.
/// Nothing of it is run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve inspect dist/markdown-0.1.0.wasm
  portreeve inspect plugins/markdown           a directory with one component
  portreeve inspect markdown --json            a plugin of the project, with its schemas")]
pub(crate) struct Inspect {
    /// A component file, a directory that holds one, or the alias of an installed plugin.
    #[arg(value_name = "PATH|ALIAS")]
    what: PathBuf,
}

/// A component, and what is granted to it where it is installed.
pub(crate) type Inspected = (PathBuf, Package, Option<Map<String, Value>>);

impl Inspect {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let (file, package, grants) = find(&self.what, context)?;
        let (alias, manifest) = self.context_of(context, &package)?;
        let weaknesses = Known::open(manifest.as_ref())?.examine(&package, &alias);
        let looked = Judge::open(context)?.report(&file, &package, &alias)?;
        let licences = licences::judge(context, manifest.as_ref(), &package, &alias);
        let papers = Papers {
            alias: &alias,
            package: &package,
            advisories: &weaknesses,
            scan: &looked,
            licences: licences.as_ref().map_err(String::as_str),
        };
        let withheld = match (&grants, &manifest) {
            (Some(_), Some(manifest)) => withheld(context, manifest, &alias, &package)?,
            _ => Vec::new(),
        };
        let signer = grants.is_some().then(|| signer(context, &package, &alias));
        let signer = signer.flatten();
        let mut result = in_file(&file, papers.to_object());
        if let Some(grants) = &grants {
            result.insert("grants".to_owned(), json!(grants));
            result.insert("withheld".to_owned(), json!(withheld));
            result.insert("signer".to_owned(), json!(signer));
        }
        let show = || {
            let mut shown = show(&file, &package, grants.as_ref());
            if grants.is_some() {
                let who = signer.as_deref().unwrap_or("nobody who is listed");
                let _ = writeln!(shown, "\nsigned by {who}");
            }
            if !withheld.is_empty() {
                let lines: Vec<_> = withheld
                    .iter()
                    .map(|tool| {
                        let WithheldTool {
                            name,
                            reason,
                            command,
                            ..
                        } = tool;
                        format!("{name}: {reason}; `{command}` lets it through")
                    })
                    .collect();
                let _ = write!(shown, "\nWITHHELD\n{}", indented(&lines));
            }
            format!(
                "{shown}\n{}\n{}\nfound by `portreeve scan`\n{}",
                licences::section(&licences, &alias),
                advisories::section(&weaknesses),
                scan::notes(&looked)
            )
        };
        context.output.result(&result, show)
    }

    /// By what name it is judged, and under whose policy.
    fn context_of(
        &self,
        context: &Context,
        package: &Package,
    ) -> anyhow::Result<(Alias, Option<ProjectManifest>)> {
        let own = || Alias::new(package.manifest.id.as_str());
        let Ok(project) = context.project() else {
            return Ok((own()?, None));
        };
        let manifest = context.manifest(&project)?;
        let named = self.what.to_str().and_then(|what| Alias::new(what).ok());
        let installed = named.filter(|alias| manifest.plugins.contains_key(alias));
        let alias = match installed {
            Some(alias) if !self.what.exists() => alias,
            _ => own()?,
        };
        Ok((alias, Some(manifest)))
    }
}

/// The tools of an installed plugin that are not what was agreed to, by the plugin's own names.
fn withheld(
    context: &Context,
    manifest: &ProjectManifest,
    alias: &Alias,
    package: &Package,
) -> anyhow::Result<Vec<WithheldTool>> {
    let lock = read_lockfile(&context.project()?)?;
    let expose = manifest.plugins.get(alias).map(|entry| &entry.expose);
    let mut changed = changed_tools(&lock, alias, known_tools(package));
    changed.retain(|own| expose.is_none_or(|expose| expose.offers(own)));
    let withheld = changed.into_iter();
    Ok(withheld
        .map(|own| WithheldTool::new(alias.as_str(), own))
        .collect())
}

/// Who signed an installed component, as the gate has judged it.
fn signer(context: &Context, package: &Package, alias: &Alias) -> Option<String> {
    let mut lock = read_lockfile(&context.project().ok()?).ok()?;
    let locked = lock.plugins.remove(alias)?;
    let same = locked.digest == package.digest.to_string();
    locked.signer.filter(|_| same)
}

/// The component at the path itself where there is one, else that of the plugin with this
/// alias, and what is granted to that.
pub(crate) fn find(what: &Path, context: &Context) -> anyhow::Result<Inspected> {
    // What is no alias can only be a path, and so can anything outside of projects.
    let alias = what.to_str().and_then(|what| Alias::new(what).ok());
    let (false, Some(alias), Ok(project)) = (what.exists(), alias, context.project()) else {
        let (file, package) = read_package(what)?;
        return Ok((file, package, None));
    };
    match context.manifest(&project)?.plugins.get(&alias) {
        Some(entry) => {
            let (file, package) = read_installed(&project, entry)?;
            Ok((file, package, Some(entry.grants.to_json())))
        }
        None => anyhow::bail!(
            "there is no file `{alias}` here, and no plugin of that name in {}: check the path, or see `portreeve list`",
            project.manifest_path().display()
        ),
    }
}

/// What a component in a file says of itself, for a program.
pub(crate) fn describe(file: &Path, package: &Package) -> Map<String, Value> {
    in_file(file, papers::describe(package))
}

fn in_file(file: &Path, mut members: Map<String, Value>) -> Map<String, Value> {
    members.insert("file".to_owned(), json!(output::path(file)));
    members
}

/// The same for people; with `granted`, also what is granted of what it asks for.
pub(crate) fn show(file: &Path, package: &Package, granted: Option<&Map<String, Value>>) -> String {
    let manifest = &package.manifest;
    let mut shown = format!("{} {}\n", manifest.id, manifest.version);
    // Writing to a string can't fail.
    if let Some(description) = &manifest.description {
        let _ = writeln!(shown, "{}", text::lines(description.trim()));
    }
    let licence = manifest
        .license
        .as_ref()
        .map_or("unknown".to_owned(), ToString::to_string);
    let origin = match manifest.origin {
        Origin::Declared => "declared by its author",
        Origin::Inferred => "inferred: the component carries none, so it requests nothing",
    };
    let _ = write!(
        shown,
        "\n  file      {}\n  digest    {}\n  size      {}\n  licence   {licence}\n  manifest  {origin}\n",
        file.display(),
        package.digest,
        bytes(package.size),
    );
    if package.surface.asynchronous {
        shown.push_str(
            "  needs     asynchronous components (WASI 0.3), which this version can't run\n",
        );
    }
    show_tools(&mut shown, package);
    let requests = manifest.requests.items().len();
    let _ = write!(shown, "\n{}: ", count(requests, "request"));
    shown.push_str(&review::describe_all(manifest, granted));
    if package.dependencies.is_whole() {
        let number = package.dependencies.list.len();
        let _ = writeln!(
            shown,
            "\nmade from {}: `portreeve licenses` and `portreeve sbom` show them",
            count(number, "package")
        );
    } else {
        shown.push_str("\nmade from packages that are not, or not all, recorded\n");
    }
    list(&mut shown, "import", &package.surface.imports);
    list(&mut shown, "export", &package.surface.exports);
    let skipped: Vec<_> = package
        .surface
        .skipped
        .iter()
        .map(|(name, why)| format!("{}: {}", text::line(name), text::line(why)))
        .collect();
    if !skipped.is_empty() {
        let _ = write!(shown, "\nnot offered\n{}", indented(&skipped));
    }
    shown
}

fn show_tools(shown: &mut String, package: &Package) {
    /// Longest description in the overview, in characters; `--json` has all of it.
    const DESCRIPTION_CHARS_MAX: usize = 100;
    let tools: Vec<_> = known_tools(package)
        .into_iter()
        .map(|tool| {
            let about = tool.description.as_deref().unwrap_or_default();
            let about = text::summary(about, DESCRIPTION_CHARS_MAX);
            if about.is_empty() {
                tool.name.clone()
            } else {
                format!("{}: {about}", tool.name)
            }
        })
        .collect();
    match package.tools {
        Tools::Unrecorded => shown
            .push_str("\ntools not recorded: the plugin is asked for them when it is installed\n"),
        _ => list(shown, "tool", &tools),
    }
}

fn list(shown: &mut String, what: &str, items: &[String]) {
    let _ = write!(shown, "\n{}\n{}", count(items.len(), what), indented(items));
}

fn indented(items: &[String]) -> String {
    items
        .iter()
        .map(|item| format!("  {}\n", text::line(item)))
        .collect()
}
