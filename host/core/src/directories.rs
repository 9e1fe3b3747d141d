//! Directories of this machine on their way to plugins: opened, and held against what no plugin
//! may have.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use arc_swap::ArcSwap;
use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::grant::HostPath;
use portreeve_manifest::project::{PluginEntry, ProjectManifest};
use portreeve_manifest::settings::VaultKeyPlace;
use rustix::fs::{Mode, OFlags, openat};

use crate::project::{Project, path_of};

#[cfg(test)]
mod model;

/// Levels of directories above one: Linux's longest path has no more.
const LEVELS_MAX: usize = 4_096;

/// Links on the way to a file: Linux follows no more.
const LINKS_MAX: usize = 40;

/// Something that no plugin may reach through a directory.
#[derive(Clone, Debug)]
struct Kept {
    what: &'static str,
    path: PathBuf,
    /// Whether directories in it are kept as well.
    within: bool,
}

/// What tells a file from all others.
type Id = (u64, u64);

fn id(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}

/// The directories that can be granted: all but those with what is the host's own.
#[derive(Debug)]
pub struct Directories {
    dir: PathBuf,
    kept: Vec<Kept>,
    /// The files that the manifest in force names.
    named: ArcSwap<Vec<Kept>>,
}

/// Why a directory is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// It may never be granted.
    #[error("{0}")]
    Kept(String),
    /// The system doesn't open it.
    #[error("{0}")]
    Io(io::Error),
}

impl Directories {
    /// Those of a project; `user_state` and `cache` are the user's own directories of the host.
    pub fn new(project: &Project, user_state: &Path, cache: &Path) -> Directories {
        let kept = |what, path: &Path, within| Kept {
            what,
            path: path.to_owned(),
            within,
        };
        Directories {
            dir: project.dir().to_owned(),
            kept: vec![
                kept("portreeve.toml", &project.manifest_path(), false),
                kept("portreeve.lock", &project.lock_path(), false),
                kept("the project's state", &project.state_dir(), true),
                kept("the host's keys and store", user_state, true),
                kept("the compiled components", cache, true),
            ],
            named: ArcSwap::default(),
        }
    }

    /// Keeps the keys from plugins that a manifest names: it is the one in force from now on.
    pub(crate) fn set(&self, manifest: &ProjectManifest) {
        self.named.store(named(manifest, &self.dir).into());
    }

    /// Opens the directory behind a grant.
    ///
    /// # Errors
    /// It contains or lies within what is the host's own, or the system doesn't open it.
    pub fn open(&self, from: &HostPath) -> Result<File, Unopened> {
        self.open_beside(from, &self.named.load())
    }

    fn open_beside(&self, from: &HostPath, named: &[Kept]) -> Result<File, Unopened> {
        let flags = OFlags::DIRECTORY | OFlags::NONBLOCK;
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.dir.join(from.as_str()))
            .map_err(Unopened::Io)?;
        match self.overlap(&dir, named).map_err(Unopened::Io)? {
            Some(why) => Err(Unopened::Kept(why)),
            None => Ok(dir),
        }
    }

    /// What of the host's own an opened directory contains or lies within: by what it is, not
    /// by how it is called.
    fn overlap(&self, dir: &File, named: &[Kept]) -> io::Result<Option<String>> {
        let this = id(&dir.metadata()?);
        let above = above(dir)?;
        for kept in self.kept.iter().chain(named) {
            if way(&kept.path).contains(&this) {
                return Ok(Some(format!("it contains {}", kept.what)));
            }
            let itself = kept.path.metadata().ok().map(|found| id(&found));
            if kept.within && itself.is_some_and(|itself| above.contains(&itself)) {
                return Ok(Some(format!("it lies within {}", kept.what)));
            }
        }
        Ok(None)
    }

    /// Holds the directories that an entry grants against what no plugin may have. One that is
    /// not there yet is refused when it is used.
    ///
    /// # Errors
    /// Those that can't be granted, with their place.
    pub(crate) fn check(
        &self,
        manifest: &ProjectManifest,
        entry: &PluginEntry,
    ) -> Result<(), Diagnostics> {
        let named = named(manifest, &self.dir);
        for (index, grant) in entry.grants.directories.iter().enumerate() {
            if let Err(Unopened::Kept(why)) = self.open_beside(&grant.from, &named) {
                let (alias, index) = (entry.alias.as_str(), index.to_string());
                let path = ["plugins", alias, "grants", "directories", &index, "from"];
                let message = format!(
                    "`{}` can't be granted: {why}; grant a directory of its own",
                    grant.from
                );
                return Err(manifest.refuse_setting(&path, &message));
            }
        }
        Ok(())
    }
}

/// The directory itself and all above it, up to the root.
fn above(dir: &File) -> io::Result<BTreeSet<Id>> {
    let mut seen = BTreeSet::from([id(&dir.metadata()?)]);
    let mut at: OwnedFd = dir.try_clone()?.into();
    for _ in 0..LEVELS_MAX {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let up = File::from(openat(&at, "..", flags, Mode::empty())?);
        if !seen.insert(id(&up.metadata()?)) {
            // The root's parent is itself.
            return Ok(seen);
        }
        at = up.into();
    }
    Err(io::Error::other("it lies too deep"))
}

/// The file and all directories on the way to it from the root, those included to which links
/// on it lead: whoever may change one of them may put another file in its place.
fn way(path: &Path) -> BTreeSet<Id> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        let named =
            parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut at = PathBuf::from("/");
    let mut seen: BTreeSet<Id> = at.metadata().iter().map(id).collect();
    // What is not there contains nothing, nor does what can't be looked at.
    let mut left = std::path::absolute(path).map_or_else(|_| Vec::new(), |path| parts(&path));
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        let Ok(found) = next.symlink_metadata() else {
            break;
        };
        if !found.is_symlink() {
            seen.insert(id(&found));
            if !found.is_dir() {
                break;
            }
            at = next;
            continue;
        }
        links += 1;
        let Some(target) = next.read_link().ok().filter(|_| links <= LINKS_MAX) else {
            break;
        };
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    seen
}

/// The keys that a manifest names: secrets are opened with one, and others say who is trusted.
fn named(manifest: &ProjectManifest, dir: &Path) -> Vec<Kept> {
    let kept = |what, path| Kept {
        what,
        path,
        within: false,
    };
    let mut named = Vec::new();
    if let VaultKeyPlace::File(path) = &manifest.settings.vault_key {
        named.push(kept("the vault's key", path.clone()));
    }
    if let Some(tls) = &manifest.settings.serve.tls {
        let path = dir.join(tls.key.as_str());
        named.push(kept("the key of the TLS listener", path));
    }
    let policy = manifest.policy.signatures();
    let keys = policy.keys.iter().map(|key| key.file.as_str());
    for file in keys.chain(policy.trust_root.as_deref()) {
        named.push(kept("what signatures are judged by", path_of(dir, file)));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_hosts_own_files_are_no_plugins() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for dir in [
            "p/notes",
            "p/.portreeve/logs",
            "user/keys",
            "cache/store",
            "other",
        ] {
            create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("p/portreeve.toml"), "").unwrap();
        symlink(root.join("p"), root.join("project")).unwrap();
        symlink("../.portreeve/logs", root.join("p/notes/logs")).unwrap();
        symlink(root, root.join("other/up")).unwrap();
        symlink(root.join("other"), root.join("p/others")).unwrap();
        // The cache is reached through a link of which the grant says nothing.
        symlink(root.join("cache"), root.join("cached")).unwrap();
        let project = Project::at(&root.join("p")).unwrap();
        let directories =
            Directories::new(&project, &root.join("user"), &root.join("cached/store"));
        let shown: String = [
            "notes",
            "others",
            "../other",
            "..",
            "../project",
            "../project/notes",
            ".",
            ".portreeve",
            ".portreeve/logs",
            "notes/logs",
            "../user",
            "../user/keys",
            "../cache",
            "../cache/store",
            "../other/up",
            "/",
            "none",
            "portreeve.toml",
        ]
        .into_iter()
        .map(|from| {
            let told = match directories.open(&from.parse().unwrap()) {
                Ok(_) => "may be granted".to_owned(),
                Err(error) => error.to_string(),
            };
            format!("{from}: {told}\n")
        })
        .collect();
        expect![[r#"
            notes: may be granted
            others: may be granted
            ../other: may be granted
            ..: it contains portreeve.toml
            ../project: it contains portreeve.toml
            ../project/notes: may be granted
            .: it contains portreeve.toml
            .portreeve: it contains the project's state
            .portreeve/logs: it lies within the project's state
            notes/logs: it lies within the project's state
            ../user: it contains the host's keys and store
            ../user/keys: it lies within the host's keys and store
            ../cache: it contains the compiled components
            ../cache/store: it contains the compiled components
            ../other/up: it contains portreeve.toml
            /: it contains portreeve.toml
            none: No such file or directory (os error 2)
            portreeve.toml: Not a directory (os error 20)
        "#]]
        .assert_eq(&shown);
    }
}
