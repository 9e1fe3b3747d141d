//! Directories: what a rule shows reads back, and covers itself; no directory is granted that
//! contains what is the host's own or lies within it, and no path of a guest leads out of one,
//! whatever links there are. Judged by `realpath`.
//!
//! A line each: `WHERE -> TO` is a link, `WHERE` with a `/` at its end a directory, `? PATH` what
//! a guest opens; any other a file, and a directory that might be granted.
#![no_main]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portreeve_core::{Directories, MANIFEST, Project, Unopened};
use portreeve_manifest::grant::{DirectoryRule, GuestPath, HostPath};
use portreeve_manifest::project::ProjectManifest;
use portreeve_runtime::{
    DirectoryBar, DirectoryPermit, DirectoryRoom, DirectorySource, DirectoryUse, ErrorCode,
    Failure, Mount,
};

/// Lines that are looked at.
const LINES_MAX: usize = 16;

/// Permits reading, and nothing else.
struct ToRead;

fn refused() -> Failure {
    Failure::new(ErrorCode::PermissionDenied, "fuzz", "refused")
}

impl DirectorySource for ToRead {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        (Vec::new(), None)
    }

    fn permits(&self, _: &Mount, _: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        Ok(DirectoryPermit {
            write: false,
            hard_links: false,
        })
    }

    fn bars(&self, _: &Mount, _: DirectoryBar) -> Failure {
        refused()
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        Ok(Box::new(()))
    }

    fn reads(&self, _: u64) {}

    fn writes(&self, _: u64) -> Result<(), Failure> {
        Err(refused())
    }

    fn makes(&self) -> Result<(), Failure> {
        Err(refused())
    }
}

/// Where something is to be made: within `root`, and nowhere else.
fn place(root: &Path, text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let path = root.join(path);
    let parent = path.parent()?;
    // Else a link that was made before could lead out.
    let inside = || Some(parent.canonicalize().ok()?.starts_with(root));
    (plain && !text.is_empty() && !text.contains('\0') && inside()?).then_some(path)
}

/// What comes in a line is true of the rules, whatever is on disk.
fn check_texts(line: &str) {
    if let Ok(rule) = line.parse::<DirectoryRule>() {
        assert_eq!(rule.to_string(), line);
        assert!(rule.covers(&rule));
    }
    if let Ok(path) = line.parse::<GuestPath>() {
        assert_eq!(path.as_str(), line);
        assert!(
            Path::new(line)
                .components()
                .skip(1)
                .all(|part| matches!(part, Component::Normal(_)))
        );
    }
    // What the text alone tells is refused where the file is read.
    let from = serde_json::Value::from(line);
    let text = format!(
        "schema = 1\n[plugins.p]\nsource = \"p.wasm\"\ngrants.directories = [{{ path = \"/d\", from = {from} }}]\n"
    );
    if ProjectManifest::parse(MANIFEST, &text).is_ok() {
        let mut names = Vec::new();
        for part in line
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            let climbs = part == ".." && names.last().is_none_or(|last| *last == "..");
            match part {
                ".." if !climbs => drop(names.pop()),
                name => names.push(name),
            }
        }
        let above = names.iter().all(|name| *name == "..");
        let state = names.first() == Some(&".portreeve");
        assert!(line.starts_with('/') || !above && !state, "{line}");
    }
}

fuzz_target!(|text: &str| {
    text.lines().take(LINES_MAX).for_each(check_texts);
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().canonicalize().expect("is there");
    for made in [
        "project/.portreeve/logs",
        "project/data",
        "user/keys",
        "cache/compiled",
    ] {
        fs::create_dir_all(root.join(made)).expect("is made");
    }
    fs::write(root.join("project").join(MANIFEST), "schema = 1\n").expect("is written");
    for line in text.lines().take(LINES_MAX) {
        // What can't be made is not there.
        if let Some((at, to)) = line.split_once(" -> ") {
            let to = match to.strip_prefix('/') {
                Some(to) => root.join(to),
                None => to.into(),
            };
            place(&root, at).and_then(|at| symlink(to, at).ok());
        } else if let Some(at) = line.strip_suffix('/') {
            place(&root, at).and_then(|at| fs::create_dir(at).ok());
        } else if !line.starts_with("? ") {
            place(&root, line).and_then(|at| File::create_new(at).ok());
        }
    }
    let project = Project::at(&root.join("project")).expect("a project");
    let directories = Directories::new(&project, &root.join("user"), &root.join("cache"));
    let own = |name: &str| project.dir().join(name);
    let kept = [
        (own(MANIFEST), false),
        (own("portreeve.lock"), false),
        (own(".portreeve"), true),
        (root.join("user"), true),
        (root.join("cache"), true),
    ];
    let kept: Vec<(PathBuf, bool)> = kept
        .into_iter()
        .filter_map(|(path, within)| Some((path.canonicalize().ok()?, within)))
        .collect();
    for from in text.lines().take(LINES_MAX) {
        let Ok(from) = from.parse::<HostPath>() else {
            continue;
        };
        match directories.open(&from) {
            Ok(_) => {
                let real = project.dir().join(from.as_str());
                let real = real.canonicalize().expect("was opened");
                for (kept, within) in &kept {
                    assert!(!kept.starts_with(&real), "{from} contains {kept:?}");
                    assert!(!within || !real.starts_with(kept), "{from} is in {kept:?}");
                }
            }
            Err(Unopened::Kept(why)) => assert!(!why.is_empty()),
            Err(Unopened::Io(_)) => {}
        }
    }

    let data = root.join("project/data");
    let Ok(opened) = File::open(&data) else {
        return;
    };
    let mount = Arc::new(Mount::new("/data", "data", opened).expect("is a directory"));
    let source: Arc<dyn DirectorySource> = Arc::new(ToRead);
    let paths = text.lines().filter_map(|line| line.strip_prefix("? "));
    for path in paths.take(LINES_MAX) {
        for follow in [false, true] {
            let found = mount.open(&source, path, follow);
            let real = data.join(path).canonicalize().ok();
            match found {
                Some(found) => {
                    assert!(!path.starts_with('/'), "{path}");
                    let real = real.expect("was opened");
                    assert!(
                        real.starts_with(&data),
                        "{path} leads to {}",
                        real.display()
                    );
                    let (found, real) = (found.metadata(), real.metadata());
                    let (found, real) = (found.expect("is open"), real.expect("is there"));
                    assert_eq!(
                        (found.dev(), found.ino()),
                        (real.dev(), real.ino()),
                        "{path}"
                    );
                }
                // A plain name of what is there is always opened.
                None => {
                    let names = Path::new(path).components();
                    let plain = !path.is_empty()
                        && !path.starts_with('/')
                        && !path.ends_with('/')
                        && names
                            .clone()
                            .all(|part| matches!(part, Component::Normal(_)))
                        && real.is_some_and(|real| real == data.join(path));
                    assert!(!plain, "{path} was not opened");
                }
            }
        }
    }
});
