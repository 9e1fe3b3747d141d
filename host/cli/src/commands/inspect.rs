//! `portreeve inspect`: what a component is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portreeve_manifest::id::Alias;
use portreeve_manifest::plugin::Origin;
use portreeve_manifest::tool::Tool;
use portreeve_supply::{Package, Tools};
use serde_json::{Map, Value, json};

use super::papers::{bytes, count, read_installed, read_package};
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
type Inspected = (PathBuf, Package, Option<Map<String, Value>>);

impl Inspect {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        let (file, package, grants) = self.find(context)?;
        let mut result = describe(&file, &package);
        if let (Some(result), Some(grants)) = (result.as_object_mut(), &grants) {
            result.insert("grants".to_owned(), json!(grants));
        }
        let show = || show(&file, &package, grants.as_ref());
        context.output.result(&result, show)
    }

    /// The component at the path itself where there is one, else that of the plugin with this
    /// alias, and what is granted to that.
    fn find(&self, context: &Context) -> anyhow::Result<Inspected> {
        // What is no alias can only be a path, and so can anything outside of projects.
        let alias = self.what.to_str().and_then(|what| Alias::new(what).ok());
        let (false, Some(alias), Ok(project)) = (self.what.exists(), alias, context.project())
        else {
            let (file, package) = read_package(&self.what)?;
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
}

/// The tools that are known without running anything.
pub(crate) fn tools(package: &Package) -> Vec<&Tool> {
    match &package.tools {
        Tools::Recorded(tools) => tools.iter().collect(),
        Tools::Bare(functions) => functions.iter().map(|function| &function.tool).collect(),
        Tools::Unrecorded | Tools::None => Vec::new(),
    }
}

/// Where the list of tools comes from.
fn tools_from(package: &Package) -> &'static str {
    match package.tools {
        Tools::Recorded(_) => "recorded",
        Tools::Unrecorded => "unrecorded",
        Tools::Bare(_) => "functions",
        Tools::None => "none",
    }
}

/// Everything, for a program.
pub(crate) fn describe(file: &Path, package: &Package) -> Value {
    let manifest = &package.manifest;
    let surface = &package.surface;
    let skipped: Vec<_> = surface
        .skipped
        .iter()
        .map(|(name, why)| json!({ "name": name, "reason": why }))
        .collect();
    let licences: Vec<_> = package.licence_texts.iter().map(|(name, _)| name).collect();
    json!({
        "file": output::path(file),
        "id": manifest.id,
        "version": manifest.version,
        "license": manifest.license,
        "description": manifest.description,
        "manifest": manifest.origin,
        "instances": manifest.instances,
        "digest": package.digest,
        "size": package.size,
        "tools": tools(package),
        "tools-from": tools_from(package),
        "requests": manifest.requests.items(),
        "config": manifest.config,
        "imports": surface.imports,
        "exports": surface.exports,
        "lifecycle": surface.lifecycle,
        "asynchronous": surface.asynchronous,
        "skipped": skipped,
        "licence-texts": licences,
    })
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
    let tools: Vec<_> = tools(package)
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
