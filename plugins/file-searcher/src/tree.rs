//! Where files are: paths as callers give them, and walks over directories.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use portreeve_sdk::{Error, files, text};

/// Where the operator's directory is.
const ROOT: &str = "/files";

/// Files and directories that one walk looks at.
const LOOKED_AT_MAX: usize = 20_000;

/// Names of one directory that are held at a time.
const NAMES_MAX: usize = 5_000;

/// Directories in each other that a walk goes down.
const DEPTH_MAX: usize = 64;

/// What a caller calls a path: below the root, with or without a slash before it.
pub(crate) fn path(given: Option<&str>) -> Result<PathBuf, Error> {
    let given = Path::new(given.unwrap_or_default());
    let given = given.strip_prefix(ROOT).unwrap_or(given);
    let mut path = PathBuf::from(ROOT);
    for part in given.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid_argument(format_args!(
                    "`{}` leads out of the directory; give a path below it, without `..`",
                    given.display()
                ))
                .reason("path"));
            }
        }
    }
    Ok(path)
}

/// A path as callers see it.
pub(crate) fn shown(path: &Path) -> String {
    let below = path.strip_prefix(ROOT).unwrap_or(path);
    let text = below.to_string_lossy();
    let shown = |c: &char| text::is_shown(*c) && *c != '\n';
    text.chars().filter(shown).collect()
}

/// Something that a walk comes by.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) is_dir: bool,
    /// In bytes.
    pub(crate) size: u64,
}

/// A walk over a directory and, where it goes `down`, over those in it, by name.
pub(crate) struct Walk {
    /// What comes next, the last first, each with the depth that it lies in.
    next: Vec<(Entry, usize)>,
    down: bool,
    looked_at: usize,
    /// Whether there was more than it looks at.
    pub(crate) is_cut: bool,
}

impl Walk {
    /// A walk that begins with what is in `path`, or with the file that it is.
    pub(crate) fn new(path: &Path, down: bool) -> Result<Walk, Error> {
        let found = fs::metadata(path).map_err(|error| files::failed(path, &error))?;
        let mut walk = Walk {
            next: Vec::new(),
            down,
            looked_at: 0,
            is_cut: false,
        };
        if found.is_dir() {
            walk.open(path, 0)?;
        } else {
            let entry = Entry {
                path: path.to_owned(),
                is_dir: false,
                size: found.len(),
            };
            walk.next.push((entry, 0));
        }
        Ok(walk)
    }

    /// Puts what is in a directory before all that comes later.
    fn open(&mut self, dir: &Path, depth: usize) -> Result<(), Error> {
        let failed = |error: &_| files::failed(dir, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            if found.len() >= NAMES_MAX || self.looked_at >= LOOKED_AT_MAX {
                self.is_cut = true;
                break;
            }
            self.looked_at += 1;
            // What is gone by now, or no file, is left out.
            let (Ok(kind), false) = (entry.file_type(), is_hidden(&entry.file_name())) else {
                continue;
            };
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            let Ok(known) = entry.metadata() else {
                continue;
            };
            let entry = Entry {
                path: entry.path(),
                is_dir: kind.is_dir(),
                size: known.len(),
            };
            found.push((entry, depth));
        }
        found.sort_by(|(a, _), (b, _)| b.path.cmp(&a.path));
        self.next.append(&mut found);
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (entry, depth) = self.next.pop()?;
        if entry.is_dir && self.down {
            let opened = depth < DEPTH_MAX && self.open(&entry.path, depth + 1).is_ok();
            self.is_cut |= !opened;
        }
        Some(entry)
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_the_root() {
        for (given, expected) in [
            (None, Some("/files")),
            (Some(""), Some("/files")),
            (Some("."), Some("/files")),
            (Some("/"), Some("/files")),
            (Some("a/b"), Some("/files/a/b")),
            (Some("/a/./b/"), Some("/files/a/b")),
            (Some("/files/a"), Some("/files/a")),
            (Some(".."), None),
            (Some("a/../b"), None),
            (Some("/files/../etc"), None),
        ] {
            let found = path(given).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{given:?}");
        }
        assert_eq!(shown(Path::new("/files/a/b")), "a/b");
    }

    #[test]
    fn a_walk_goes_by_name_and_leaves_hidden_files_out() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["b/c", "a", ".git"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in ["b/c/1", "b/2", "z", ".git/x", "a/.y"] {
            fs::write(root.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("z", root.path().join("link")).unwrap();
        let names = |down| -> Vec<String> {
            let walk = Walk::new(root.path(), down).unwrap();
            let name = |entry: Entry| entry.path.strip_prefix(root.path()).unwrap().to_owned();
            walk.map(|entry| name(entry).display().to_string())
                .collect()
        };
        assert_eq!(names(false), ["a", "b", "z"]);
        assert_eq!(names(true), ["a", "b", "b/2", "b/c", "b/c/1", "z"]);
        let one: Vec<_> = Walk::new(&root.path().join("z"), true).unwrap().collect();
        assert_eq!((one.len(), one[0].size), (1, 1));
        assert!(Walk::new(&root.path().join("none"), true).is_err());
    }
}
