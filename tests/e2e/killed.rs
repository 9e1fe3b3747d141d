//! Commands that are killed while they change what is installed: at each call by which they
//! make, replace, remove or sync a file. The next command finds what was before, or what shall
//! be, and never anything between.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::skipped::skipped;
use crate::sources::{Harbour, MORE, done};
use crate::support::Project;
use crate::web::said;

/// Calls after which the disk has something else than before.
const CALLS: [&str; 3] = [
    "rename,renameat,renameat2",
    "unlink,unlinkat",
    "fsync,fdatasync",
];

/// More calls of a kind than a command's thread makes.
const CALLS_MAX: u32 = 200;

/// What says which version is installed; an absent lockfile is an empty one.
type Files = (String, String);

fn files(project: &Project) -> Files {
    let read = |name: &str| std::fs::read_to_string(project.path().join(name)).unwrap_or_default();
    (read("portreeve.toml"), read("portreeve.lock"))
}

/// A copy of a project, with its machine.
fn copy(project: &Project) -> Project {
    fn walk(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        let permissions = std::fs::metadata(from).unwrap().permissions();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
            if kind.is_dir() && entry.file_name() != "cache" {
                walk(&entry.path(), &to);
            } else if kind.is_file() {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        std::fs::set_permissions(to, permissions).unwrap();
    }
    let copy = Project::none();
    walk(project.path(), copy.path());
    copy
}

impl Harbour {
    /// A command on a copy of the operator's project, which has the cache of the first.
    fn on(&self, project: &Project, arguments: &[&str]) -> Command {
        let mut command = self.command(project, arguments);
        command.env("PORTREEVE_CACHE_DIR", self.operator.path().join("cache"));
        command
    }

    /// Kills a command at the first call of a kind, at the second, and so on until one comes
    /// through; how often. `change` leads from one state of the files to one other.
    fn kill_at_each(&self, calls: &str, change: &[&str]) -> Option<u32> {
        // The keys of the machine, which all copies have then.
        done(&self.operate(&["list"]));
        let before = files(&self.operator);
        let whole = copy(&self.operator);
        done(&self.on(&whole, change).output().unwrap());
        let after = files(&whole);
        assert_ne!(before, after);
        let (next, through) = (AtomicU32::new(1), AtomicU32::new(CALLS_MAX));
        let run = |number: u32| -> Option<bool> {
            let project = copy(&self.operator);
            let killed = traced(&self.on(&project, change), project.path(), calls, number)?;
            let at = format!("{change:?} at {calls} {number}: {}", said(&killed));
            // Whatever is asked next finds one or the other, and works.
            let listed = self.on(&project, &["list", "--json"]).output().unwrap();
            let listed: Value = serde_json::from_str(&done(&listed)).unwrap();
            let found = files(&project);
            assert!(found == before || found == after, "{at}: {found:?}");
            let installed = found.1.contains("[plugins.");
            for plugin in listed["plugins"].as_array().unwrap() {
                if !installed {
                    // It stands in the operator's file, and was never fetched.
                    continue;
                }
                assert_eq!(plugin["status"], "ready", "{at}: {plugin}");
                let digest = plugin["digest"].as_str().unwrap();
                assert!(found.1.contains(digest), "{at}: {digest} in {found:?}");
            }
            // And it can be done, where it was not.
            if found == before {
                done(&self.on(&project, change).output().unwrap());
                assert_eq!(files(&project), after, "{at}");
            }
            let left: Vec<_> = [".portreeve.toml.new", ".portreeve.lock.new"]
                .iter()
                .map(|name| project.path().join(name))
                .chain([project.path().join(".portreeve/switch.json")])
                .filter(|path| path.exists())
                .collect();
            assert!(left.is_empty(), "{at}: {left:?}");
            done(&self.on(&project, &["audit", "verify"]).output().unwrap());
            Some(killed.status.success())
        };
        std::thread::scope(|scope| {
            let worker = || loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= through.load(Ordering::Relaxed) {
                    return Some(());
                }
                if run(number)? {
                    through.fetch_min(number, Ordering::Relaxed);
                }
            };
            let workers = [0; 3].map(|_| scope.spawn(worker));
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap())
        })?;
        let killed = through.load(Ordering::Relaxed) - 1;
        assert!(killed + 1 < CALLS_MAX, "{calls}: it never came through");
        Some(killed)
    }

    fn kill_at_every_step(&self, change: &[&str]) {
        for calls in CALLS {
            let Some(killed) = self.kill_at_each(calls, change) else {
                return;
            };
            eprintln!("{change:?}: killed at {killed} of {calls}");
            assert!(killed > 0, "{change:?} makes no call of {calls}");
        }
    }
}

/// Runs a command that is killed at the call with this number, of one of its threads. None, and
/// said so, where there is no `strace`.
fn traced(command: &Command, dir: &Path, calls: &str, number: u32) -> Option<Output> {
    let known = Command::new("strace").arg("--version").output();
    if !known.is_ok_and(|known| known.status.success()) {
        skipped("strace is not installed");
        return None;
    }
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o"])
        .arg(dir.join("strace"))
        .args(["-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=KILL:when={number}")])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    Some(traced.output().unwrap())
}

#[test]
fn adding_and_removing_are_done_whole_or_not_at_all() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", MORE, Some("acme.key"));
    harbour.kill_at_every_step(&["add", &source]);
    done(&harbour.operate(&["add", &source]));
    harbour.kill_at_every_step(&["remove", "reporter"]);
}

#[test]
fn installing_is_done_whole_or_not_at_all() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", MORE, Some("acme.key"));
    let manifest = std::fs::read_to_string(harbour.operator.manifest()).unwrap();
    let more = format!("{manifest}[plugins.reporter]\nsource = \"{source}\"\n");
    std::fs::write(harbour.operator.manifest(), more).unwrap();
    harbour.kill_at_every_step(&["install"]);
}

#[test]
fn an_update_is_done_whole_or_not_at_all() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", MORE, Some("acme.key"));
    done(&harbour.operate(&["add", &source]));
    harbour.publish("1.1.0", MORE, Some("acme.key"));
    harbour.kill_at_every_step(&["update"]);
}

#[test]
fn going_back_is_done_whole_or_not_at_all() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    harbour.two_versions();
    harbour.kill_at_every_step(&["rollback", "reporter", "--to", "1.0.0"]);
}
