//! Cargo: from a plugin's crate to its component.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cargo_metadata::{CrateType, Message, Metadata, MetadataCommand, Package, PackageId, Target};
use portreeve_manifest::diagnostic::{Diagnostic, Diagnostics, Source};
use portreeve_manifest::plugin::PluginManifest;
use serde::Deserialize;
use toml::Spanned;

use crate::progress::Progress;

/// The target that components are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// What adds it.
pub(crate) const ADD_TARGET: &str = "rustup target add wasm32-wasip2";

/// A plugin's crate.
pub(crate) struct Crate {
    dir: PathBuf,
    metadata: Metadata,
    package: Package,
}

impl Crate {
    /// The crate in `dir`; none where there is no `Cargo.toml`.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Option<Crate>> {
        let file = dir.join("Cargo.toml");
        if !file.is_file() {
            return Ok(None);
        }
        let metadata = MetadataCommand::new()
            .manifest_path(&file)
            .no_deps()
            .exec()
            .map_err(|error| {
                let said = error.to_string();
                anyhow::anyhow!(
                    "cargo can't read {}: {}",
                    file.display(),
                    said_by_tool(&said)
                )
            })?;
        let wanted = real(&file);
        let package = metadata
            .packages
            .iter()
            .find(|package| real(package.manifest_path.as_std_path()) == wanted)
            .cloned();
        let Some(package) = package else {
            bail!(
                "{} has no [package]: it is a workspace; give the directory of the plugin's own crate",
                file.display()
            );
        };
        Ok(Some(Crate {
            dir: dir.to_owned(),
            metadata,
            package,
        }))
    }

    /// Checks that the crate makes a component, and that both files say the same version.
    ///
    /// # Errors
    /// What is wrong, with its place where it has one.
    pub(crate) fn check(
        &self,
        manifest: &PluginManifest,
        file: &str,
        text: &str,
    ) -> anyhow::Result<()> {
        self.library()?;
        if self.package.version == manifest.version {
            return Ok(());
        }
        let source = Source::new(file, text);
        let crate_file = self.package.manifest_path.as_std_path();
        let crate_line = std::fs::read_to_string(crate_file)
            .ok()
            .and_then(|text| {
                let span = version_span(&text)?;
                Some(Source::new("Cargo.toml", &text).position(span.start).0)
            })
            .map_or_else(String::new, |line| format!(":{line}"));
        let message = format!(
            "the version is {} here, but {} at {}{crate_line}",
            manifest.version,
            self.package.version,
            crate_file.display(),
        );
        let mistake = Diagnostic::new(message, version_span(text))
            .with_help("write the same version in both files");
        Err(Diagnostics::new(source, vec![mistake]).into())
    }

    /// The library that becomes the component.
    fn library(&self) -> anyhow::Result<&Target> {
        let is_component = |target: &&Target| target.crate_types.contains(&CrateType::CDyLib);
        self.package.targets.iter().find(is_component).with_context(|| {
            format!(
                "{} makes no component: it has no library of the type `cdylib`; add\n  [lib]\n  crate-type = [\"cdylib\"]",
                self.package.manifest_path
            )
        })
    }

    /// The root of the workspace, where licences often lie.
    pub(crate) fn workspace_root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// The crates that the component is made from, as cargo resolved them for its target, and
    /// which of them is the plugin.
    pub(crate) fn resolved(&self) -> anyhow::Result<(Metadata, PackageId)> {
        let metadata = MetadataCommand::new()
            .manifest_path(self.dir.join("Cargo.toml"))
            .other_options(vec!["--filter-platform".to_owned(), TARGET.to_owned()])
            .exec()
            .map_err(|error| {
                let said = error.to_string();
                anyhow::anyhow!(
                    "cargo can't say what {} is made from: {}",
                    self.package.name,
                    said_by_tool(&said)
                )
            })?;
        Ok((metadata, self.package.id.clone()))
    }

    /// Builds the component and says where it is. Cargo's own messages go to standard error.
    pub(crate) fn build(&self, profile: &str, progress: &Progress) -> anyhow::Result<PathBuf> {
        let library = self.library()?;
        ensure_target(&self.dir, progress)?;
        progress.step(&format!("building {} for {TARGET}", self.package.name));
        progress.clear();
        let mut command = cargo(&self.dir);
        command.args(["build", "--lib", "--package", &self.package.id.repr]);
        command.args(["--target", TARGET]);
        command.args(["--profile", profile]);
        command.arg("--message-format=json-render-diagnostics");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .context("cargo can't be started; install Rust from https://rustup.rs")?;
        let stdout = child.stdout.take().context("cargo has no output")?;
        let mut components = Vec::new();
        for message in Message::parse_stream(BufReader::new(stdout)) {
            let Message::CompilerArtifact(artifact) =
                message.context("cargo's messages can't be read")?
            else {
                continue;
            };
            if artifact.package_id == self.package.id && artifact.target.name == library.name {
                let wasm =
                    |file: &cargo_metadata::camino::Utf8PathBuf| file.extension() == Some("wasm");
                components.extend(artifact.filenames.into_iter().filter(wasm));
            }
        }
        let status = child.wait().context("cargo got lost")?;
        if !status.success() {
            bail!(
                "cargo could not build {}: see its messages above",
                self.package.name
            );
        }
        match components.as_slice() {
            [only] => Ok(only.clone().into_std_path_buf()),
            [] => bail!(
                "cargo built {}, but no component of it; is its library of the type `cdylib`?",
                self.package.name
            ),
            several => {
                let names: Vec<_> = several.iter().map(ToString::to_string).collect();
                bail!(
                    "cargo built several components: {}; give the one that is meant with --component",
                    names.join(", ")
                )
            }
        }
    }
}

/// The place of the version in `Cargo.toml` or `plugin.toml`.
fn version_span(text: &str) -> Option<std::ops::Range<usize>> {
    #[derive(Deserialize)]
    struct File {
        package: Option<Section>,
        plugin: Option<Section>,
    }
    #[derive(Deserialize)]
    struct Section {
        version: Option<Spanned<toml::Value>>,
    }
    let file: File = toml::from_str(text).ok()?;
    let section = file.package.or(file.plugin)?;
    Some(section.version?.span())
}

/// Cargo in the plugin's directory, so that its toolchain file counts.
/// The same for every path to a file: cargo keeps the one that it was given.
fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    command
}

/// What a tool of Rust's said, without the trace of its own code that some versions add.
pub(crate) fn said_by_tool(said: &str) -> String {
    let lines = said.lines().take_while(|line| {
        let line = line.trim().to_ascii_lowercase();
        line != "location:" && !line.ends_with("backtrace:")
    });
    let lines: Vec<_> = lines.map(str::trim_end).collect();
    lines.join("\n").trim().to_owned()
}

/// Whether the standard library for components is installed; an error where there is no
/// Rust at all.
pub(crate) fn has_target(dir: &Path) -> anyhow::Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = Command::new(rustc)
        .current_dir(dir)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("rustc can't be started; install Rust from https://rustup.rs")?;
    let libraries = String::from_utf8_lossy(&found.stdout);
    let libraries = libraries.trim();
    // The directory is named whether it exists or not, and may be left empty.
    let mut entries = std::fs::read_dir(libraries).into_iter().flatten();
    Ok(found.status.success() && !libraries.is_empty() && entries.next().is_some())
}

fn ensure_target(dir: &Path, progress: &Progress) -> anyhow::Result<()> {
    if has_target(dir)? {
        return Ok(());
    }
    progress.step(&format!(
        "the target {TARGET} is missing; running `{ADD_TARGET}`"
    ));
    let added = Command::new("rustup")
        .current_dir(dir)
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    progress.clear();
    if added.is_ok_and(|status| status.success()) && has_target(dir)? {
        return Ok(());
    }
    bail!(
        "the Rust target {TARGET} is not installed and could not be added: run `{ADD_TARGET}` in {}, or install that target as your Rust was installed",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_has_no_trace() {
        for (said, expected) in [
            (
                "error: no toolchain\n\nStack backtrace:\n   0: main\n",
                "error: no toolchain",
            ),
            (
                "error: a\n\nCaused by:\n  b\n",
                "error: a\n\nCaused by:\n  b",
            ),
            ("error: a\n\nLocation:\n    src/x.rs:1\n", "error: a"),
            ("", ""),
        ] {
            assert_eq!(said_by_tool(said), expected, "{said}");
        }
    }

    #[test]
    fn a_crate_is_found_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        std::fs::create_dir_all(real.join("src")).unwrap();
        std::fs::write(real.join("src/lib.rs"), "").unwrap();
        let text = "[package]\nname = \"linked\"\nversion = \"0.1.0\"\n";
        std::fs::write(real.join("Cargo.toml"), text).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for dir in [real, link] {
            let found = Crate::read(&dir).unwrap().unwrap();
            assert_eq!(found.package.name.as_str(), "linked");
        }
    }

    #[test]
    fn versions_are_found() {
        for (text, expected) in [
            (
                "[package]\nname = \"a\"\nversion = \"1.0.0\"\n",
                Some("\"1.0.0\""),
            ),
            (
                "[package]\nversion.workspace = true\n",
                Some("version.workspace = true"),
            ),
            ("schema = 1\n[plugin]\nversion = '2.0.0'", Some("'2.0.0'")),
            ("[package]\n", None),
            ("[package", None),
        ] {
            let found = version_span(text).and_then(|span| text.get(span));
            match (found, expected) {
                (Some(found), Some(expected)) => assert!(expected.contains(found), "{found}"),
                (found, expected) => assert_eq!(found, expected, "{text}"),
            }
        }
    }
}
