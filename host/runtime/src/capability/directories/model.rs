//! Paths that guests give, held against a slow resolver that knows nothing of the kernel's: a tree
//! of names that is written down, and made on disk for the real one. Beside the directory lies
//! another one, to which links and names lead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::sample::select;

use super::{DirectoryBar, DirectoryPermit, DirectoryRoom, DirectorySource, DirectoryUse, Mount};
use crate::error::Failure;

/// A place in the directory, by the names that lead there without any link.
type Place = Vec<String>;

#[derive(Clone, Debug)]
enum Thing {
    Directory,
    File,
    /// A file that lies outside as well.
    Linked,
    Pipe,
    Link(String),
}

type Tree = BTreeMap<Place, Thing>;

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    Opened(Place),
    Barred(DirectoryBar),
    Nothing,
}

/// The names of a path, the first one last.
fn names(path: &str) -> Vec<String> {
    path.split('/').rev().map(str::to_owned).collect()
}

/// The slow one: goes the way name by name.
fn slowly(tree: &Tree, path: &str, follow: bool, hard_links: bool) -> Came {
    const OUTSIDE: Came = Came::Barred(DirectoryBar::Outside);
    if path.starts_with('/') {
        return OUTSIDE;
    }
    let mut at: Place = Vec::new();
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        let thing = if at.is_empty() {
            Some(&Thing::Directory)
        } else {
            tree.get(&at)
        };
        if !matches!(thing, Some(Thing::Directory)) {
            return Came::Nothing;
        }
        match name.as_str() {
            "" | "." => {}
            ".." if at.pop().is_none() => return OUTSIDE,
            ".." => {}
            _ => {
                at.push(name);
                if let Some(Thing::Link(to)) = tree.get(&at) {
                    links += 1;
                    if links > 40 || (left.is_empty() && !follow) {
                        return Came::Nothing;
                    }
                    if to.starts_with('/') {
                        return OUTSIDE;
                    }
                    at.pop();
                    left.extend(names(to));
                }
            }
        }
    }
    match tree.get(&at) {
        Some(Thing::Directory | Thing::File) => Came::Opened(at),
        None if at.is_empty() => Came::Opened(at),
        Some(Thing::Linked) if hard_links => Came::Opened(at),
        Some(Thing::Linked) => Came::Barred(DirectoryBar::HardLink),
        Some(Thing::Pipe) => Came::Barred(DirectoryBar::Special),
        Some(Thing::Link(_)) | None => Came::Nothing,
    }
}

/// Makes what is missing on the way; a name that is taken stays what it is.
fn add(tree: &mut Tree, path: &str, thing: Thing) {
    let place: Place = path.split('/').map(str::to_owned).collect();
    for length in 1..place.len() {
        let above = place[..length].to_vec();
        let there = tree.entry(above).or_insert(Thing::Directory);
        if !matches!(there, Thing::Directory) {
            return;
        }
    }
    tree.entry(place).or_insert(thing);
}

fn make(tree: &Tree, root: &Path, outside: &Path) {
    for (number, (place, thing)) in tree.iter().enumerate() {
        let path = root.join(place.join("/"));
        match thing {
            Thing::Directory => fs::create_dir(&path).unwrap(),
            Thing::File => fs::write(&path, "").unwrap(),
            Thing::Linked => {
                let other = outside.join(number.to_string());
                fs::write(&other, "").unwrap();
                fs::hard_link(other, &path).unwrap();
            }
            Thing::Pipe => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            Thing::Link(to) => symlink(to, &path).unwrap(),
        }
    }
}

/// What is granted, and what was refused beyond that.
struct Source {
    hard_links: bool,
    barred: Mutex<Option<DirectoryBar>>,
}

impl DirectorySource for Source {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        (Vec::new(), None)
    }

    fn permits(&self, _: &Mount, _: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        Ok(DirectoryPermit {
            write: false,
            hard_links: self.hard_links,
        })
    }

    fn bars(&self, _: &Mount, bar: DirectoryBar) -> Failure {
        *self.barred.lock().unwrap() = Some(bar);
        super::none()
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        Ok(Box::new(()))
    }

    fn reads(&self, _: u64) {}

    fn writes(&self, _: u64) -> Result<(), Failure> {
        Err(super::none())
    }

    fn makes(&self) -> Result<(), Failure> {
        Err(super::none())
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let part = select(vec![
        "a", "b", "c", "a", "b", "c", "..", "..", ".", "data", "outside",
    ]);
    // A `.` behind the name of a pipe is refused in other words, and as well.
    proptest::collection::vec(part, 1..6)
        .prop_map(|parts| parts.join("/").trim_end_matches("/.").to_owned())
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any_path(),
        1 => any_path().prop_map(|path| format!("/{path}")),
        1 => Just("/proc/self/root/etc".to_owned()),
        1 => Just("../outside/secret".to_owned()),
    ]
}

fn any_things() -> impl Strategy<Value = Vec<(String, Thing)>> {
    let place = proptest::collection::vec(select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| names.join("/"));
    let thing = prop_oneof![
        3 => Just(Thing::Directory),
        2 => Just(Thing::File),
        1 => Just(Thing::Linked),
        1 => Just(Thing::Pipe),
        5 => any_target().prop_map(Thing::Link),
    ];
    proptest::collection::vec((place, thing), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn paths_of_guests_lead_where_the_slow_resolver_says(
        things in any_things(),
        paths in proptest::collection::vec(any_target(), 1..8),
        picked in proptest::collection::vec(any::<prop::sample::Index>(), 4),
        follow in any::<bool>(),
        hard_links in any::<bool>(),
    ) {
        let mut tree = Tree::new();
        for (path, thing) in things {
            add(&mut tree, &path, thing);
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("data"), dir.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        make(&tree, &root, &outside);
        let mount = Mount::new("/data", "data", File::open(&root).unwrap()).unwrap();
        let mount = Arc::new(mount);
        // Chance alone seldom names what is there.
        let there: Vec<String> = tree.keys().map(|place| place.join("/")).collect();
        let picked = picked.iter().map(|pick| pick.get(&there).clone());
        for path in paths.into_iter().chain(picked) {
            let source = Arc::new(Source { hard_links, barred: Mutex::default() });
            let asked: Arc<dyn DirectorySource> = source.clone();
            let opened = mount.open(&asked, &path, follow);
            let barred = source.barred.lock().unwrap().take();
            let expected = slowly(&tree, &path, follow, hard_links);
            match (&expected, opened) {
                (Came::Opened(place), Some(file)) => {
                    let found = root.join(place.join("/")).symlink_metadata().unwrap();
                    let file = file.metadata().unwrap();
                    prop_assert_eq!((file.dev(), file.ino()), (found.dev(), found.ino()), "{}", path);
                    prop_assert_eq!(barred, None);
                }
                (Came::Barred(bar), None) => prop_assert_eq!(barred, Some(*bar), "{}", path),
                (Came::Nothing, None) => prop_assert_eq!(barred, None, "{}", path),
                (_, opened) => {
                    prop_assert!(false, "{}: {:?} was expected, and {:?} came", path, expected, opened);
                }
            }
        }
    }
}
