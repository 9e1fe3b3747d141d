//! The rule of directories held against a slow one that knows nothing of handles: it walks a
//! tree of names and links that is written down, and compares paths. The tree is made on disk for
//! the real one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use portreeve_manifest::project::ProjectManifest;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Directories, Unopened};
use crate::project::{LOCKFILE, MANIFEST, Project};

/// A place in the tree, by the names that lead there without any link.
type Place = Vec<String>;

#[derive(Clone, Debug)]
enum Thing {
    Directory,
    File,
    /// To where, as it is written; what begins with `/` is from the tree's root.
    Link(String),
}

struct Tree(BTreeMap<Place, Thing>);

/// What the slow walk passes.
struct Walked {
    /// All places on the way, the last one included; of those below the root.
    passed: Vec<Place>,
    /// Where it ends; none where it breaks off.
    end: Option<Place>,
    /// Whether it went above the root, where the tree says nothing.
    left: bool,
}

impl Tree {
    /// Makes what is missing on the way; a name that is taken stays what it is.
    fn add(&mut self, path: &str, thing: Thing) {
        let place: Place = path.split('/').map(str::to_owned).collect();
        for length in 1..place.len() {
            let above = place[..length].to_vec();
            let there = self.0.entry(above).or_insert(Thing::Directory);
            if !matches!(there, Thing::Directory) {
                return;
            }
        }
        self.0.entry(place).or_insert(thing);
    }

    fn make(&self, root: &Path) {
        for (place, thing) in &self.0 {
            let path = root.join(place.join("/"));
            match thing {
                Thing::Directory => fs::create_dir(&path).unwrap(),
                Thing::File => fs::write(&path, "").unwrap(),
                Thing::Link(to) => symlink(on_disk(to, root), &path).unwrap(),
            }
        }
    }

    fn walk(&self, from: &[String], path: &str) -> Walked {
        let mut walked = Walked {
            passed: vec![Vec::new()],
            end: None,
            left: false,
        };
        let mut at: Place = if path.starts_with('/') {
            Vec::new()
        } else {
            from.to_vec()
        };
        let mut left: Vec<String> = names(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if !matches!(self.0.get(&at), Some(Thing::Directory)) && !at.is_empty() {
                return walked;
            }
            if name == ".." {
                if at.pop().is_none() {
                    walked.left = true;
                    return walked;
                }
                continue;
            }
            at.push(name);
            match self.0.get(&at) {
                None => return walked,
                Some(Thing::Link(to)) => {
                    at.pop();
                    if to.starts_with('/') {
                        at.clear();
                    }
                    left.extend(names(to));
                    links += 1;
                    if links > 40 {
                        return walked;
                    }
                }
                Some(_) => walked.passed.push(at.clone()),
            }
        }
        walked.end = Some(at);
        walked
    }
}

/// The names of a path, the first one last.
fn names(path: &str) -> Vec<String> {
    let names = path.split('/').rev();
    names
        .filter(|name| !matches!(*name, "" | "."))
        .map(str::to_owned)
        .collect()
}

fn on_disk(path: &str, root: &Path) -> String {
    match path.starts_with('/') {
        true => format!("{}{path}", root.display()),
        false => path.to_owned(),
    }
}

/// What the slow rule says: `may`, `kept`, or `no` for what is no directory; none where the tree
/// doesn't tell.
fn slowly(
    tree: &Tree,
    project: &Place,
    kept: &[(String, bool)],
    from: &str,
) -> Option<&'static str> {
    let granted = tree.walk(project, from);
    if granted.left {
        return None;
    }
    let Some(granted) = granted.end else {
        return Some("no");
    };
    if !granted.is_empty() && !matches!(tree.0.get(&granted), Some(Thing::Directory)) {
        return Some("no");
    }
    for (path, within) in kept {
        let walked = tree.walk(&[], path);
        if walked.left {
            return None;
        }
        if walked
            .passed
            .iter()
            .any(|place| place.starts_with(&granted))
        {
            return Some("kept");
        }
        if *within && walked.end.is_some_and(|end| granted.starts_with(&end)) {
            return Some("kept");
        }
    }
    Some("may")
}

fn any_path(up: bool) -> impl Strategy<Value = String> {
    let mut parts = vec!["a", "b", "c", ".portreeve", "."];
    if up {
        parts.extend(["..", ".."]);
    }
    proptest::collection::vec(select(parts), 1..5).prop_map(|parts| parts.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    (any::<bool>(), any_path(true)).prop_map(|(absolute, path)| match absolute {
        true => format!("/{path}"),
        false => path,
    })
}

/// Directories and links, by where they are.
fn any_things() -> impl Strategy<Value = Vec<(String, Thing)>> {
    let place = proptest::collection::vec(select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| names.join("/"));
    let thing = prop_oneof![
        2 => Just(Thing::Directory),
        3 => any_target().prop_map(Thing::Link),
    ];
    proptest::collection::vec((place, thing), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_rule_of_directories_agrees_with_the_slow_one(
        things in any_things(),
        project in select(vec!["a", "b/c", "c/a/b"]),
        user_state in any_target(),
        cache in any_target(),
        key in any_target(),
        from in prop_oneof![any_path(true), any_target()],
        picked in any::<[Option<prop::sample::Index>; 4]>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mut tree = Tree(BTreeMap::new());
        tree.add(&format!("{project}/{MANIFEST}"), Thing::File);
        tree.add(&format!("{project}/.portreeve"), Thing::Directory);
        for (place, thing) in things {
            tree.add(&place, thing);
        }
        tree.make(&root);
        let place: Place = project.split('/').map(str::to_owned).collect();
        let absolute = |path: &str| format!("/{}", path.trim_start_matches('/'));
        // Chance alone seldom names what is there.
        let there: Vec<String> = tree.0.keys().map(|place| place.join("/")).collect();
        let or_there = |text: String, pick: Option<prop::sample::Index>| {
            pick.map_or(text, |pick| format!("/{}", pick.get(&there)))
        };
        let [first, second, third, fourth] = picked;
        let from = or_there(from, first);
        let (user_state, cache, key) = (
            absolute(&or_there(user_state, second)),
            absolute(&or_there(cache, third)),
            absolute(&or_there(key, fourth)),
        );
        let in_project = |name: &str| format!("/{project}/{name}");
        let kept = [
            (in_project(MANIFEST), false),
            (in_project(LOCKFILE), false),
            (in_project(".portreeve"), true),
            (user_state.clone(), true),
            (cache.clone(), true),
            (key.clone(), false),
        ];

        let opened = Project::at(&root.join(project)).unwrap();
        let disk = |path: &str| on_disk(path, &root);
        let directories = Directories::new(
            &opened,
            Path::new(&disk(&user_state)),
            Path::new(&disk(&cache)),
        );
        let manifest = format!("schema = 1\n[vault]\nkey = \"file:{}\"\n", disk(&key));
        directories.set(&ProjectManifest::parse(MANIFEST, &manifest).unwrap());
        let told = match directories.open(&disk(&from).parse().unwrap()) {
            Ok(_) => "may",
            Err(Unopened::Kept(_)) => "kept",
            Err(Unopened::Io(_)) => "no",
        };
        if let Some(expected) = slowly(&tree, &place, &kept, &from) {
            prop_assert_eq!(told, expected);
        }
    }
}
