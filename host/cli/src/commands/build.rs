//! `portreeve build`: from an author's directory to one packed file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::tool::Tool;
use portreeve_runtime::{OutputSink, Runtime, Step, Stream};
use portreeve_supply::papers::known_tools;
use portreeve_supply::{Digest, IntakeLimits, PackParts, Package, pack, source};
use semver::Version;
use serde_json::json;

use super::inspect;
use super::papers::{AuthorFile, bytes, licence_texts, write};
use crate::cargo::Crate;
use crate::context::Context;
use crate::materials::Materials;
use crate::progress::Progress;
use crate::{output, places, text};

/// Longest time that a plugin may take to list its tools.
const LISTING_TIME_MAX: Duration = Duration::from_secs(10);

/// Build a plugin and pack it into one file.
///
/// Builds a plugin: compiles its crate to a component, asks that for its tools, and packs it
/// with plugin.toml, the licence texts and the list of what it was made from into
/// DIR/dist/ID-VERSION.wasm.
///
/// Packages of other versions in DIR/dist are removed, so that DIR names one plugin.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve build
  portreeve build plugins/markdown
  portreeve build --component app.wasm      made by componentize-py or another tool")]
pub(crate) struct Build {
    /// The plugin's directory, with plugin.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The Cargo profile to build with.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "release",
        conflicts_with = "component"
    )]
    release_profile: String,
    /// Pack this component instead of building one with Cargo.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Where to write the package.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A component, the plugin's own licence texts by name, and what it is made from.
type Parts = (PathBuf, Vec<(String, String)>, Materials);

impl Build {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let author = AuthorFile::read(&self.dir)?;
        let progress = Progress::new();
        let (component, licence_texts, materials) = self.component(&author, &progress)?;
        let limits = IntakeLimits::default();
        let read = source::read(&component, &limits)?;
        let found = Package::read(&read.bytes, &read.name(), &limits)
            .with_context(|| component.display().to_string())?;
        let tools = if found.surface.provides_tools {
            context.block_on(list_tools(read.bytes.clone(), &author.manifest, &progress))?
        } else {
            Vec::new()
        };
        for what in &materials.open {
            output::note(format!(
                "{} is not pinned: the list of what the plugin is made from is not whole",
                text::line(what)
            ));
        }
        progress.step("packing");
        let parts = PackParts {
            manifest_toml: &author.text,
            licence_texts: &licence_texts,
            tools: &tools,
            crates: materials.crates.as_ref(),
            dependencies: &materials.dependencies,
            more_dependencies: !materials.open.is_empty(),
            dependency_texts: &materials.texts,
        };
        let packed = pack(&read.bytes, &parts)?;
        let package = Package::read(&packed, author.manifest.id.as_str(), &limits)?;
        let file = self.file(&author.manifest);
        write(&file, &packed)?;
        let removed = match self.out {
            Some(_) => Vec::new(),
            None => remove_older(&file, &author.manifest)?,
        };
        progress.clear();
        let mut result = inspect::describe(&file, &package);
        let shown: Vec<_> = removed.iter().map(|path| output::path(path)).collect();
        result.insert("removed".to_owned(), json!(shown));
        context
            .output
            .result(&result, || show(&file, &package, &removed))
    }

    /// The component, given or built, the licence texts that go with it, and what it is made
    /// from.
    fn component(&self, author: &AuthorFile, progress: &Progress) -> anyhow::Result<Parts> {
        let of_crate = Crate::read(&self.dir);
        let (component, root, materials) = match &self.component {
            Some(component) => {
                // Its crate, if there is one, may be anything.
                let root = of_crate
                    .ok()
                    .flatten()
                    .map(|found| found.workspace_root().to_owned());
                (
                    component.clone(),
                    root,
                    Materials::of_lock_files(&self.dir)?,
                )
            }
            None => {
                let Some(found) = of_crate? else {
                    bail!(
                        "there is no Cargo.toml in {0}: a plugin in Rust needs one; for one in another language build the component with that language's tool, then `portreeve build {0} --component FILE`",
                        self.dir.display()
                    );
                };
                found.check(&author.manifest, &author.name, &author.text)?;
                let component = found.build(&self.release_profile, progress)?;
                let materials = Materials::of_crate(&found)?;
                let root = found.workspace_root().to_owned();
                (component, Some(root), materials)
            }
        };
        let mut texts = licence_texts(&self.dir)?;
        if let (true, Some(root)) = (texts.is_empty(), root) {
            texts = licence_texts(&root)?;
        }
        Ok((component, texts, materials))
    }

    fn file(&self, manifest: &PluginManifest) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let name = format!("{}-{}.wasm", manifest.id, manifest.version);
            self.dir.join("dist").join(name)
        })
    }
}

/// Asks a provider for its tools, without any grant.
async fn list_tools(
    component: Vec<u8>,
    manifest: &PluginManifest,
    progress: &Progress,
) -> anyhow::Result<Vec<Tool>> {
    let runtime = Runtime::new(places::runtime()?)?;
    let limits = Limits {
        timeout: LISTING_TIME_MAX,
        ..Limits::default()
    };
    let digest = Digest::of(&component);
    let template = runtime
        .load(
            digest.as_bytes(),
            limits.stack,
            move || Ok(component),
            &|step| {
                if step == Step::Compiling {
                    progress.step("compiling the component to ask it for its tools");
                }
            },
        )
        .await?;
    progress.step("asking the plugin for its tools");
    let listed = template
        .list_tools(&limits, Arc::new(ToStderr))
        .await
        .result;
    listed.map_err(|error| {
        anyhow::anyhow!(
            "{} does not list its tools: {}; `list-tools` runs without grants and configuration, and must not need them",
            manifest.id,
            error.failure.message
        )
    })
}

/// What a plugin writes while it is built interests its author.
struct ToStderr;

impl OutputSink for ToStderr {
    fn line(&self, stream: Stream, line: &str) {
        output::note(format!("plugin {}: {}", stream.as_str(), text::line(line)));
    }
}

/// Removes the packages of this plugin beside `written`.
fn remove_older(written: &Path, manifest: &PluginManifest) -> anyhow::Result<Vec<PathBuf>> {
    let Some(dir) = written.parent() else {
        return Ok(Vec::new());
    };
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))?;
    let mut removed = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        if path != written
            && name
                .to_str()
                .is_some_and(|name| is_package(name, manifest.id.as_str()))
        {
            std::fs::remove_file(&path)
                .with_context(|| format!("{} can't be removed", path.display()))?;
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}

/// Whether a file's name is `ID-VERSION.wasm`.
fn is_package(name: &str, id: &str) -> bool {
    name.strip_prefix(id)
        .and_then(|name| name.strip_prefix('-'))
        .and_then(|name| name.strip_suffix(".wasm"))
        .is_some_and(|version| Version::parse(version).is_ok())
}

fn show(file: &Path, package: &Package, removed: &[PathBuf]) -> String {
    let manifest = &package.manifest;
    let names: Vec<_> = known_tools(package)
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    let mut shown = format!(
        "packed {} {}\n  file    {}\n  size    {}\n  digest  {}\n  tools   {names}\n",
        manifest.id,
        manifest.version,
        file.display(),
        bytes(package.size),
        package.digest,
    );
    for (name, why) in &package.surface.skipped {
        shown.push_str(&format!(
            "  not offered: {}: {}\n",
            text::line(name),
            text::line(why)
        ));
    }
    for path in removed {
        shown.push_str(&format!("  removed {}\n", path.display()));
    }
    if package.licence_texts.is_empty() {
        shown.push_str(
            "  no licence text was found to pack: put a LICENSE file beside plugin.toml\n",
        );
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_a_plugin_by_name() {
        for (name, expected) in [
            ("markdown-0.1.0.wasm", true),
            ("markdown-1.0.0-rc.1.wasm", true),
            ("markdown-extra-0.1.0.wasm", false),
            ("markdown.wasm", false),
            ("markdown-0.1.0.txt", false),
            ("my-markdown-0.1.0.wasm", false),
        ] {
            assert_eq!(is_package(name, "markdown"), expected, "{name}");
        }
    }
}
