//! A plugin's papers as several commands read and show them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use portreeve_core::{Pin, Project, read_lockfile};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::{PluginEntry, PluginSource};
use portreeve_supply::{Digest, IntakeLimits, Package, source};

use crate::places;

/// The author's file.
pub(crate) const PLUGIN_MANIFEST: &str = "plugin.toml";

/// `plugin.toml`, read.
pub(crate) struct AuthorFile {
    /// Its name, as diagnostics show it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) manifest: PluginManifest,
}

impl AuthorFile {
    /// Reads the `plugin.toml` in `dir`.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<AuthorFile> {
        let path = dir.join(PLUGIN_MANIFEST);
        if !path.is_file() {
            anyhow::bail!(
                "there is no {PLUGIN_MANIFEST} in {}: give the directory of a plugin, or write one",
                dir.display()
            );
        }
        let name = path.display().to_string();
        let text = read_text(&path, IntakeLimits::default().manifest.0)?;
        let manifest = PluginManifest::parse(&name, &text)?;
        Ok(AuthorFile {
            name,
            text,
            manifest,
        })
    }
}

/// A text file of at most `bytes_max` bytes.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            file.take(bytes_max.saturating_add(1))
                .read_to_string(&mut text)
        })
        .with_context(|| format!("{} can't be read", path.display()))?;
    if text.len() as u64 > bytes_max {
        anyhow::bail!(
            "{} has more than {bytes_max} bytes, which is all that is read",
            path.display()
        );
    }
    Ok(text)
}

/// Finds the component that `path` stands for and reads it, code included.
pub(crate) fn read_package(path: &Path) -> anyhow::Result<(PathBuf, Package)> {
    let limits = IntakeLimits::default();
    let read = source::read(path, &limits)?;
    let package = Package::read(&read.bytes, &read.name(), &limits)
        .with_context(|| read.path.display().to_string())?;
    Ok((read.path, package))
}

/// The component of an installed plugin: in the store, where it came over a network.
pub(crate) fn read_installed(
    project: &Project,
    entry: &PluginEntry,
) -> anyhow::Result<(PathBuf, Package)> {
    let PluginSource::Local(path) = &entry.source else {
        let pin = installed_pin(project, entry)?;
        let digest: Digest = pin.digest.parse()?;
        let store = places::artifacts()?;
        let bytes = store.get(&digest)?.with_context(|| {
            format!(
                "the component of `{}` is not in the store of this machine: `portreeve install` fetches it",
                entry.alias
            )
        })?;
        let name = entry.source.name().unwrap_or_default();
        let package = Package::read(&bytes, name, &IntakeLimits::default())?;
        return Ok((store.path(&digest), package));
    };
    read_package(&project.path_of(path))
}

/// Which component of a plugin is installed that came over a network.
pub(crate) fn installed_pin(project: &Project, entry: &PluginEntry) -> anyhow::Result<Pin> {
    let lock = read_lockfile(project)?;
    let locked = lock.plugins.get(&entry.alias);
    let locked = locked.filter(|locked| locked.source == entry.source.to_string());
    let Some(locked) = locked else {
        anyhow::bail!(
            "`{}` was not fetched from {} yet: `portreeve install` does",
            entry.alias,
            entry.source
        );
    };
    Ok(locked.into())
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `3 tools`, `1 tool`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// The licence texts in a directory: file names and texts.
pub(crate) fn licence_texts(dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    // Apache's notices are to be handed on with its text.
    const PREFIXES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE"];
    /// More licences than any plugin has.
    const FILES_MAX: usize = 16;
    /// The longest licences have some 35 KiB.
    const FILE_BYTES_MAX: u64 = 256 << 10;
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let name = name.to_ascii_uppercase();
            PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
        .filter(|name| dir.join(name).is_file())
        .collect();
    names.sort();
    if names.len() > FILES_MAX {
        bail!("{} has more than {FILES_MAX} licence files", dir.display());
    }
    names
        .into_iter()
        .map(|name| {
            let text = read_text(&dir.join(&name), FILE_BYTES_MAX)?;
            Ok((name, text))
        })
        .collect()
}

/// Replaces a file whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || {
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new()
            .prefix(".portreeve-")
            // As other build results: readable, as far as the umask lets it.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "LICENSE-MIT",
            "Licence.md",
            "COPYING",
            "NOTICE.txt",
            "README.md",
        ] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("LICENSES")).unwrap();
        let texts = licence_texts(dir.path()).unwrap();
        let names: Vec<_> = texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["COPYING", "LICENSE-MIT", "Licence.md", "NOTICE.txt"]
        );
    }
}
