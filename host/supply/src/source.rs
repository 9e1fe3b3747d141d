//! Where a component comes from: a file, or the directory of a plugin.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::{Error, IntakeLimits};

/// Entries of a directory that are looked at: a plugin's directory or its `dist/` has few.
const ENTRIES_MAX: usize = 10_000;

/// A component file that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Source {
    /// The file's name without `.wasm`, for [`Package::read`](crate::Package::read).
    pub fn name(&self) -> String {
        let name = self.path.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The path of the component that `path` stands for: `path` itself when it is a file; for
/// a directory the single `*.wasm` in its `dist/`, else the single `*.wasm` in it.
///
/// # Errors
/// When there is nothing, no component, or more than one.
pub fn locate(path: &Path) -> Result<PathBuf, Error> {
    let kind = fs::metadata(path).map_err(|error| io(path, error))?;
    if kind.is_file() {
        return Ok(path.to_owned());
    }
    if !kind.is_dir() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    for directory in [path.join("dist"), path.to_owned()] {
        let mut found = components_in(&directory)?;
        match (found.pop(), found.is_empty()) {
            (None, _) => {}
            (Some(only), true) => return Ok(only),
            (Some(last), false) => {
                found.push(last);
                return Err(Error::Ambiguous {
                    directory,
                    names: names(&found),
                });
            }
        }
    }
    Err(Error::NothingBuilt(path.to_owned()))
}

/// Finds the component that `path` stands for, as [`locate`] does, and reads it.
///
/// # Errors
/// Those of [`locate`], a file larger than `limits.component`, and what the operating
/// system says.
pub fn read(path: &Path, limits: &IntakeLimits) -> Result<Source, Error> {
    let path = locate(path)?;
    let limit = limits.component.0;
    let file = File::open(&path).map_err(|error| io(&path, error))?;
    let size = file.metadata().map_err(|error| io(&path, error))?.len();
    if size > limit {
        return Err(crate::intake::file_too_large(size, limits));
    }
    let mut bytes = Vec::new();
    // A hint for the allocation only: the file may grow while it is read.
    bytes.reserve_exact(usize::try_from(size).unwrap_or(0).saturating_add(1));
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| io(&path, error))?;
    let read = bytes.len() as u64;
    if read > limit {
        return Err(crate::intake::file_too_large(read.max(size), limits));
    }
    Ok(Source { path, bytes })
}

/// The `*.wasm` files in a directory, sorted; none when there is no such directory.
fn components_in(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(io(directory, error)),
    };
    let mut found = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        let path = entry.map_err(|error| io(directory, error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
            && path.is_file()
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The first few names, for a message.
fn names(paths: &[PathBuf]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut names: Vec<_> = paths
        .iter()
        .take(SHOWN_MAX)
        .map(|path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    if paths.len() > SHOWN_MAX {
        names.push(format!("and {} more", paths.len() - SHOWN_MAX));
    }
    names.join(", ")
}

fn io(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound(path.to_owned()),
        _ => Error::Io {
            path: path.to_owned(),
            error,
        },
    }
}

#[cfg(test)]
mod tests {
    use portreeve_manifest::size::ByteSize;

    use super::*;

    /// A directory with the given files, each of four bytes.
    fn directory(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "data").unwrap();
        }
        root
    }

    #[test]
    fn files_and_directories() {
        let cases: &[(&[&str], &str, Result<&str, &str>)] = &[
            (&["a.wasm"], "a.wasm", Ok("a.wasm")),
            (&["plugin"], "plugin", Ok("plugin")),
            (&["a.wasm"], "", Ok("a.wasm")),
            (&["a.wasm", "dist/b.wasm"], "", Ok("dist/b.wasm")),
            (&["a.wasm", "dist/readme"], "", Ok("a.wasm")),
            (&["a.wasm", "dist"], "", Ok("a.wasm")),
            (&["plugin.toml"], "", Err("run `portreeve build")),
            (&[], "", Err("run `portreeve build")),
            (
                &["a.wasm", "b.wasm"],
                "",
                Err("a.wasm, b.wasm; name the one"),
            ),
            (
                &["dist/a.wasm", "dist/b.wasm", "c.wasm"],
                "",
                Err("a.wasm, b.wasm; name the one"),
            ),
            (
                &["1.wasm", "2.wasm", "3.wasm", "4.wasm", "5.wasm", "6.wasm"],
                "",
                Err("and 1 more"),
            ),
            (&[], "none.wasm", Err("there is no file")),
            (&["file"], "file/none.wasm", Err("can't be read")),
        ];
        for (files, path, expected) in cases {
            let root = directory(files);
            let found = locate(&root.path().join(path));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, root.path().join(expected)),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (found, _) => panic!("{files:?} {path}: {found:?}"),
            }
        }
    }

    #[test]
    fn reading_is_bounded() {
        let root = directory(&["a.wasm"]);
        let mut limits = IntakeLimits {
            component: ByteSize(4),
            ..IntakeLimits::default()
        };
        let source = read(root.path(), &limits).unwrap();
        assert_eq!(
            (source.name().as_str(), source.bytes.as_slice()),
            ("a", b"data".as_slice())
        );
        limits.component = ByteSize(3);
        let error = read(root.path(), &limits).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("4 bytes"), "{error}");
        // Ten gigabytes of nothing, none of which is read.
        let huge = std::fs::File::create(root.path().join("a.wasm")).unwrap();
        huge.set_len(10 << 30).unwrap();
        let error = read(root.path(), &IntakeLimits::default())
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("10737418240 bytes"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_no_components() {
        let error = locate(Path::new("/dev/zero")).unwrap_err();
        assert!(
            error.to_string().contains("neither a file nor a directory"),
            "{error}"
        );
    }
}
