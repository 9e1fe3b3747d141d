//! Directories: what a guest may do in one, each way out of one that it may try, and what a
//! grant that ends takes along.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    DirectoryBar, DirectoryPermit, DirectoryRoom, DirectorySource, DirectoryUse, ErrorCode,
    Failure, Mount,
};
use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::support::{Guest, Recorder, guest, run};

/// A directory, what is granted of it, and what is counted.
struct Disk {
    root: tempfile::TempDir,
    write: AtomicBool,
    hard_links: AtomicBool,
    /// Ends the grant when something is made.
    ends: bool,
    written: AtomicU64,
    written_max: u64,
    made: AtomicU64,
    made_max: u64,
    open: Arc<AtomicU64>,
    open_max: u64,
    read: AtomicU64,
    barred: Mutex<Vec<DirectoryBar>>,
    granted: AtomicBool,
}

impl Disk {
    fn new(write: bool) -> Disk {
        Disk {
            root: tempfile::tempdir().unwrap(),
            write: write.into(),
            hard_links: false.into(),
            ends: false,
            written: AtomicU64::new(0),
            written_max: 1 << 20,
            made: AtomicU64::new(0),
            made_max: 100,
            open: Arc::default(),
            open_max: 100,
            read: AtomicU64::new(0),
            barred: Mutex::default(),
            granted: true.into(),
        }
    }

    /// The path of something in the mounted directory.
    fn data(&self, name: &str) -> PathBuf {
        self.dir("data").join(name)
    }

    /// The path of something beside it, where no guest may come.
    fn outside(&self, name: &str) -> PathBuf {
        self.dir("outside").join(name)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn barred(&self) -> Vec<DirectoryBar> {
        std::mem::take(&mut self.barred.lock().unwrap())
    }
}

fn refused(code: ErrorCode, what: &str) -> Failure {
    Failure::new(code, what, format!("refused: {what}"))
}

fn count(count: &AtomicU64, more: u64, max: u64, what: &str) -> Result<(), Failure> {
    if count.load(Ordering::Relaxed) + more > max {
        return Err(refused(ErrorCode::QuotaExceeded, what));
    }
    count.fetch_add(more, Ordering::Relaxed);
    Ok(())
}

struct Room(Arc<AtomicU64>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DirectorySource for Disk {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        let mount = |name: &str| {
            let dir = fs::File::open(self.dir(name)).unwrap();
            Mount::new(&format!("/{name}"), name, dir).unwrap()
        };
        (vec![mount("data"), mount("other")], None)
    }

    fn permits(&self, _: &Mount, used: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        let write = self.write.load(Ordering::Relaxed);
        let hard_links = self.hard_links.load(Ordering::Relaxed);
        let allowed = match used {
            DirectoryUse::Read => true,
            DirectoryUse::Write => write,
            DirectoryUse::HardLink => write && hard_links,
        };
        if allowed && self.granted.load(Ordering::Relaxed) {
            return Ok(DirectoryPermit { write, hard_links });
        }
        Err(refused(ErrorCode::PermissionDenied, "grant"))
    }

    fn bars(&self, _: &Mount, bar: DirectoryBar) -> Failure {
        self.barred.lock().unwrap().push(bar);
        refused(ErrorCode::PermissionDenied, "bar")
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        count(&self.open, 1, self.open_max, "open")?;
        Ok(Box::new(Room(self.open.clone())))
    }

    fn reads(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn writes(&self, bytes: u64) -> Result<(), Failure> {
        count(&self.written, bytes, self.written_max, "written")
    }

    fn makes(&self) -> Result<(), Failure> {
        if self.ends {
            self.granted.store(false, Ordering::Relaxed);
        }
        count(&self.made, 1, self.made_max, "made")
    }
}

fn program() -> Guest {
    guest(programs::DIRECTORIES)
}

fn call(disk: &Arc<Disk>, tool: &str, arguments: Value) -> Value {
    let recorder = Recorder {
        directories: Some(disk.clone()),
        ..Recorder::default()
    };
    let finished = run(program().calling(tool, arguments, &Limits::default(), &recorder));
    Value::Object(finished.result.unwrap().structured.unwrap())
}

/// What comes of each step: `ok …`, or the code of the error.
fn steps(disk: &Arc<Disk>, steps: &Value) -> Vec<String> {
    let done = call(disk, "run", json!({"steps": steps}));
    let done = done["done"].as_array().unwrap();
    assert_eq!(done.len(), steps.as_array().unwrap().len());
    done.iter()
        .map(|done| match done["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!("ok {}", done["ok"]),
        })
        .collect()
}

/// The same for steps of which all must end so.
fn all(disk: &Arc<Disk>, expected: &str, given: Value) {
    for (step, done) in given.as_array().unwrap().iter().zip(steps(disk, &given)) {
        assert_eq!(done, expected, "{step}");
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn files_are_read_written_and_listed() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.data("a"), "one two").unwrap();
    let done = steps(
        &disk,
        &json!([
            ["open", "a", "/data", "a", "rf"],
            ["read", "a", 4, 100],
            ["read", "a", 7, 100],
            ["reading", "s", "a", 0],
            ["next", "s", 3],
            ["poll", "s", 100],
            ["next", "s", 100],
            ["mkdir", "/data", "b"],
            ["open", "c", "/data", "b/c", "rwcx"],
            ["write", "c", 0, "x"],
            ["writing", "w", "c", 1],
            ["put", "w", "yz"],
            ["put-later", "w", "!"],
            ["appending", "e", "c"],
            ["put", "e", "end"],
            ["read", "c", 0, 100],
            ["size", "c", 2],
            ["rename", "/data", "b/c", "/data", "d"],
            ["rmdir", "/data", "b"],
            ["symlink", "/data", "d", "l"],
            ["readlink", "/data", "l"],
            ["open", "l", "/data", "l", "rf"],
            ["read", "l", 0, 100],
            ["stat", "/data", "l", ""],
            ["stat", "/data", "l", "f"],
            ["times", "/data", "d", "f"],
            ["entries", "/data"],
            ["type", "/data"],
            ["unlink", "/data", "l"],
            ["why"],
        ]),
    );
    let ok = "ok null";
    assert_eq!(
        done,
        [
            ok,
            "ok [\"two\",false]",
            "ok [\"\",true]",
            ok,
            "ok \"one\"",
            "ok \" two\"",
            "closed",
            ok,
            ok,
            "ok 1",
            ok,
            ok,
            ok,
            ok,
            ok,
            "ok [\"xyz!end\",false]",
            ok,
            ok,
            ok,
            ok,
            "ok \"d\"",
            ok,
            "ok [\"xy\",false]",
            "ok [\"DescriptorType::SymbolicLink\",1]",
            "ok [\"DescriptorType::RegularFile\",2]",
            ok,
            "ok [\"DescriptorType::RegularFile a\",\"DescriptorType::RegularFile d\",\"DescriptorType::SymbolicLink l\"]",
            "ok \"DescriptorType::Directory\"",
            ok,
            ok,
        ]
    );
    assert_eq!(text(&disk.data("d")), "xy");
    assert_eq!(disk.written.load(Ordering::Relaxed), 7);
    assert_eq!(disk.made.load(Ordering::Relaxed), 3);
    assert_eq!(disk.open.load(Ordering::Relaxed), 0);
}

#[test]
fn a_standard_library_finds_its_files() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.data("a"), [7; 200_000]).unwrap();
    assert_eq!(
        call(&disk, "read_file", json!({"path": "/data/a"})),
        json!({"ok": 200_000})
    );
    assert_eq!(disk.read.load(Ordering::Relaxed), 200_000);
    let kept = call(&disk, "keep", json!({"path": "/data/b", "text": "kept"}));
    assert_eq!(kept, json!({"ok": "kept"}));
}

#[test]
fn nothing_is_changed_in_a_directory_to_read() {
    let disk = Arc::new(Disk::new(false));
    fs::write(disk.data("a"), "as it was").unwrap();
    fs::create_dir(disk.data("d")).unwrap();
    all(
        &disk,
        "not-permitted",
        json!([
            ["open", "a", "/data", "a", "w"],
            ["open", "a", "/data", "a", "rt"],
            ["open", "a", "/data", "new", "rc"],
            ["open", "d", "/data", "d", "rmd"],
            ["mkdir", "/data", "new"],
            ["rmdir", "/data", "d"],
            ["unlink", "/data", "a"],
            ["rename", "/data", "a", "/data", "b"],
            ["symlink", "/data", "a", "b"],
            ["link", "/data", "a", "/data", "b"],
            ["times", "/data", "a", "f"],
        ]),
    );
    // A handle that was opened to be read writes nothing either.
    disk.write.store(true, Ordering::Relaxed);
    let done = steps(
        &disk,
        &json!([
            ["open", "a", "/data", "a", "r"],
            ["write", "a", 0, "x"],
            ["size", "a", 0],
            ["writing", "w", "a", 0],
            ["appending", "w", "a"],
            ["open", "w", "/data", "a", "w"],
            ["read", "w", 0, 1],
            ["reading", "r", "w", 0],
        ]),
    );
    let bad = "bad-descriptor";
    assert_eq!(done, ["ok null", bad, bad, bad, bad, "ok null", bad, bad]);
    assert_eq!(text(&disk.data("a")), "as it was");
}

#[test]
fn paths_lead_nowhere_else() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.outside("secret"), "secret").unwrap();
    fs::write(disk.data("a"), "a").unwrap();
    fs::create_dir(disk.data("d")).unwrap();
    let secret = disk.outside("secret");
    let secret = secret.to_str().unwrap();
    let given = json!([
        ["open", "x", "/data", "..", "r"],
        ["open", "x", "/data", "../outside/secret", "r"],
        ["open", "x", "/data", "d/../../outside/secret", "rf"],
        ["open", "x", "/data", "./d/.././../outside/secret", "rf"],
        ["open", "x", "/data", secret, "rf"],
        ["open", "x", "/data", "/", "r"],
        ["open", "x", "/data", "../outside/new", "rwc"],
        ["open", "x", "/data", "/etc/passwd", "r"],
        ["stat", "/data", "../outside/secret", "f"],
        ["stat", "/data", secret, ""],
        ["mkdir", "/data", "../outside/new"],
        ["unlink", "/data", "../outside/secret"],
        ["rmdir", "/data", "../outside"],
        ["rename", "/data", "../outside/secret", "/data", "b"],
        ["rename", "/data", "a", "/data", "../outside/b"],
        ["symlink", "/data", "a", "../outside/b"],
        ["readlink", "/data", "../outside/secret"],
        ["times", "/data", "../outside/secret", "f"],
    ]);
    all(&disk, "not-permitted", given.clone());
    let barred = disk.barred();
    assert_eq!(barred.len(), given.as_array().unwrap().len());
    assert!(barred.iter().all(|bar| *bar == DirectoryBar::Outside));
    assert_eq!(
        steps(&disk, &json!([["stat", "/data", "x".repeat(5_000), ""]])),
        ["name-too-long"]
    );
    assert_eq!(
        steps(&disk, &json!([["open", "x", "/data", "a\0b", "r"]])),
        ["invalid"]
    );
    assert_eq!(fs::read_dir(disk.dir("outside")).unwrap().count(), 1);
}

#[test]
fn links_lead_nowhere_else() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.outside("secret"), "secret").unwrap();
    symlink(disk.outside("secret"), disk.data("absolute")).unwrap();
    symlink("../outside/secret", disk.data("relative")).unwrap();
    symlink("../outside", disk.data("dir")).unwrap();
    symlink("relative", disk.data("chained")).unwrap();
    symlink("../outside/new", disk.data("dangling")).unwrap();
    symlink("/proc/self/environ", disk.data("environ")).unwrap();
    symlink("/proc/self/cwd", disk.data("cwd")).unwrap();
    all(
        &disk,
        "not-permitted",
        json!([
            ["open", "x", "/data", "absolute", "rf"],
            ["open", "x", "/data", "relative", "rf"],
            ["open", "x", "/data", "chained", "rf"],
            ["open", "x", "/data", "dir/secret", "r"],
            ["open", "x", "/data", "dir", "rdf"],
            ["open", "x", "/data", "dir/new", "wc"],
            ["open", "x", "/data", "dangling", "wcf"],
            ["open", "x", "/data", "environ", "rf"],
            ["open", "x", "/data", "cwd/Cargo.toml", "r"],
            ["stat", "/data", "absolute", "f"],
            ["readlink", "/data", "absolute"],
            ["mkdir", "/data", "dir/new"],
            ["unlink", "/data", "dir/secret"],
            ["rename", "/data", "dir/secret", "/data", "b"],
            // Whoever else follows them is not held to the directory.
            ["symlink", "/data", "/etc/passwd", "b"],
            ["symlink", "/data", "../outside/secret", "b"],
            ["symlink", "/data", "a/../../outside", "b"],
        ]),
    );
    // A link itself is no way.
    assert_eq!(
        steps(&disk, &json!([["open", "x", "/data", "absolute", "r"]])),
        ["loop"]
    );
    assert_eq!(fs::read_dir(disk.dir("outside")).unwrap().count(), 1);
    assert_eq!(text(&disk.outside("secret")), "secret");
}

#[test]
fn files_with_further_names_are_refused_unless_granted() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.outside("secret"), "secret").unwrap();
    fs::hard_link(disk.outside("secret"), disk.data("linked")).unwrap();
    let given = json!([
        ["open", "x", "/data", "linked", "r"],
        ["open", "x", "/data", "linked", "w"],
        ["open", "x", "/data", "linked", "wt"],
        ["times", "/data", "linked", "f"],
    ]);
    all(&disk, "not-permitted", given);
    assert_eq!(disk.barred(), [DirectoryBar::HardLink; 4]);
    assert_eq!(text(&disk.outside("secret")), "secret");
    fs::write(disk.data("a"), "a").unwrap();
    let link = json!([["link", "/data", "a", "/data", "b"]]);
    all(&disk, "not-permitted", link.clone());
    assert!(!disk.data("b").exists());

    disk.hard_links.store(true, Ordering::Relaxed);
    all(&disk, "ok null", link);
    let done = steps(
        &disk,
        &json!([["open", "x", "/data", "linked", "r"], ["read", "x", 0, 9]]),
    );
    assert_eq!(done, ["ok null", "ok [\"secret\",false]"]);
    // From one directory to another not even then: what is granted of one is not of the other.
    let across = json!([
        ["link", "/data", "a", "/other", "b"],
        ["rename", "/data", "a", "/other", "b"],
    ]);
    all(&disk, "cross-device", across);
}

/// A file that gets another name while its handle is kept is looked at again.
#[test]
fn a_handle_is_looked_at_at_each_use() {
    let disk = Arc::new(Disk::new(true));
    disk.hard_links.store(true, Ordering::Relaxed);
    fs::write(disk.data("a"), "text").unwrap();
    fs::hard_link(disk.data("a"), disk.outside("a")).unwrap();
    let disk = Arc::new(Disk {
        ends: false,
        ..Arc::into_inner(disk).unwrap()
    });
    let opened = steps(
        &disk,
        &json!([["open", "a", "/data", "a", "rw"], ["read", "a", 0, 4]]),
    );
    assert_eq!(opened, ["ok null", "ok [\"text\",false]"]);
    disk.hard_links.store(false, Ordering::Relaxed);
    fs::remove_file(disk.outside("a")).unwrap();
    let linked = HardLinking {
        disk: disk.clone(),
        links: (disk.data("a"), disk.outside("b")),
    };
    let recorder = Recorder {
        directories: Some(Arc::new(linked)),
        ..Recorder::default()
    };
    let given = json!({"steps": [
        ["open", "a", "/data", "a", "rw"],
        ["reading", "s", "a", 0],
        ["mkdir", "/data", "now"],
        ["read", "a", 0, 4],
        ["write", "a", 0, "x"],
        ["size", "a", 0],
        ["next", "s", 4],
    ]});
    let finished = run(program().calling("run", given, &Limits::default(), &recorder));
    let done = Value::Object(finished.result.unwrap().structured.unwrap());
    for at in 3..7 {
        assert_eq!(done["done"][at]["error"], "not-permitted", "{done}");
    }
    assert_eq!(text(&disk.outside("b")), "text");
}

/// Gives a file another name when the guest makes something.
struct HardLinking {
    disk: Arc<Disk>,
    links: (PathBuf, PathBuf),
}

impl DirectorySource for HardLinking {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        self.disk.mounts()
    }

    fn permits(&self, mount: &Mount, used: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        self.disk.permits(mount, used)
    }

    fn bars(&self, mount: &Mount, bar: DirectoryBar) -> Failure {
        self.disk.bars(mount, bar)
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        self.disk.room()
    }

    fn reads(&self, bytes: u64) {
        self.disk.reads(bytes);
    }

    fn writes(&self, bytes: u64) -> Result<(), Failure> {
        self.disk.writes(bytes)
    }

    fn makes(&self) -> Result<(), Failure> {
        fs::hard_link(&self.links.0, &self.links.1).unwrap();
        self.disk.makes()
    }
}

#[test]
fn special_files_are_never_opened() {
    let disk = Arc::new(Disk::new(true));
    disk.hard_links.store(true, Ordering::Relaxed);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        disk.data("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(disk.data("socket")).unwrap();
    let mut given = vec![
        json!(["open", "x", "/data", "pipe", "r"]),
        json!(["open", "x", "/data", "pipe", "w"]),
        json!(["open", "x", "/data", "pipe", "rwct"]),
        json!(["open", "x", "/data", "socket", "r"]),
        json!(["times", "/data", "pipe", "f"]),
    ];
    // Devices are root's to make.
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        disk.data("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        rustix::fs::makedev(1, 3),
    );
    match device {
        Ok(()) => given.push(json!(["open", "x", "/data", "null", "rw"])),
        Err(error) => println!("SKIPPED: no device can be made here: {error}"),
    }
    let count = given.len();
    all(&disk, "not-permitted", Value::Array(given));
    assert_eq!(disk.barred(), vec![DirectoryBar::Special; count]);
    let seen = steps(&disk, &json!([["stat", "/data", "pipe", ""]]));
    assert_eq!(seen, ["ok [\"DescriptorType::Fifo\",0]"]);
}

#[test]
fn the_kernels_own_files_are_no_directory() {
    for path in ["/proc", "/proc/self", "/sys"] {
        let Ok(dir) = fs::File::open(path) else {
            println!("SKIPPED: no {path} here");
            continue;
        };
        assert!(Mount::new("/data", path, dir).is_err(), "{path}");
    }
}

/// What a path leads to is swapped as fast as can be while a guest opens it.
#[test]
fn races_win_nothing() {
    let disk = Arc::new(Disk::new(true));
    fs::write(disk.outside("secret"), "secret").unwrap();
    fs::write(disk.data("honest"), "honest").unwrap();
    fs::create_dir(disk.data("dir")).unwrap();
    fs::write(disk.data("dir/file"), "honest").unwrap();
    symlink("../outside/secret", disk.data("to-secret")).unwrap();
    symlink("../outside", disk.data("to-outside")).unwrap();
    fs::write(disk.outside("file"), "secret").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        disk.data("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs::hard_link(disk.outside("secret"), disk.data("linked")).unwrap();
    // Names that are swapped: a file, a link out, a pipe, a file of outside; a directory and a
    // link out.
    fs::write(disk.data("file"), "honest").unwrap();
    fs::create_dir(disk.data("swapped")).unwrap();
    fs::write(disk.data("swapped/file"), "honest").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (disk, stop) = (disk.clone(), stop.clone());
        std::thread::spawn(move || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            let swap = |a: &str, b: &str| {
                let (a, b) = (disk.data(a), disk.data(b));
                renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
            };
            while !stop.load(Ordering::Relaxed) {
                swap("file", "to-secret");
                swap("swapped", "to-outside");
                swap("file", "pipe");
                swap("file", "linked");
                swap("swapped", "dir");
                swap("file", "honest");
            }
        })
    };
    let round = json!([
        ["open", "x", "/data", "file", "rf"],
        ["read", "x", 0, 9],
        ["drop", "x"],
        ["open", "y", "/data", "swapped/file", "rw"],
        ["read", "y", 0, 9],
        ["drop", "y"],
        ["open", "z", "/data", "file", "wtf"],
        ["drop", "z"],
    ]);
    let rounds: Vec<Value> = std::iter::repeat_n(round.as_array().unwrap().clone(), 300)
        .flatten()
        .collect();
    let done = call(&disk, "run", json!({"steps": rounds}));
    stop.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(!done.to_string().contains("secret"), "{done}");
    assert_eq!(text(&disk.outside("secret")), "secret");
    assert_eq!(text(&disk.outside("file")), "secret");
    let opened = done["done"].as_array().unwrap().iter();
    let opened = opened.filter(|done| done["ok"].is_array()).count();
    assert!(opened > 0, "nothing was ever read: {done}");
    assert!(!disk.barred().is_empty(), "nothing was ever refused");
}

#[test]
fn a_grant_that_ends_takes_handles_and_streams_along() {
    let disk = Arc::new(Disk {
        ends: true,
        ..Disk::new(true)
    });
    fs::write(disk.data("a"), "text").unwrap();
    fs::create_dir(disk.data("d")).unwrap();
    fs::write(disk.data("d/b"), "text").unwrap();
    let before = json!([
        ["open", "a", "/data", "a", "rw"],
        ["open", "d", "/data", "d", "rd"],
        ["reading", "r", "a", 0],
        ["next", "r", 1],
        ["reading", "p", "a", 0],
        ["poll", "p", 1],
        ["writing", "w", "a", 0],
        ["appending", "e", "a"],
    ]);
    let after = json!([
        ["read", "a", 0, 4],
        ["write", "a", 0, "x"],
        ["size", "a", 0],
        ["next", "r", 1],
        ["poll", "p", 1],
        ["put", "w", "x"],
        ["put-later", "e", "x"],
        ["reading", "n", "a", 0],
        ["open", "n", "d", "b", "r"],
        ["open", "n", "/data", "a", "r"],
        ["stat", "d", "b", ""],
        ["type", "a"],
        ["entries", "d"],
        ["unlink", "d", "b"],
    ]);
    let mut given = before.as_array().unwrap().clone();
    let ends = given.len();
    given.push(json!(["mkdir", "/data", "end"]));
    given.extend(after.as_array().unwrap().clone());
    let done = steps(&disk, &Value::Array(given.clone()));
    for (at, (step, done)) in given.iter().zip(&done).enumerate() {
        if at <= ends {
            assert!(done.starts_with("ok"), "{step}: {done}");
        } else {
            assert_eq!(done, "not-permitted", "{step}");
        }
    }
    assert_eq!(text(&disk.data("a")), "text");
}

#[test]
fn what_is_written_counts_whatever_way_it_is_written() {
    let within = |written_max| {
        let disk = Disk::new(true);
        fs::write(disk.data("a"), "1234").unwrap();
        Arc::new(Disk {
            written_max,
            ..disk
        })
    };
    let open = json!(["open", "a", "/data", "a", "rw"]);
    let big: u64 = 1 << 40;
    for (step, cost) in [
        (json!([["write", "a", 0, "abcdef"]]), 6),
        // A hole counts: it can be filled later.
        (json!([["write", "a", 100, "x"]]), 97),
        (json!([["size", "a", 1_000]]), 996),
        (json!([["size", "a", 1]]), 0),
        (json!([["writing", "w", "a", 50], ["put", "w", "x"]]), 47),
        (
            json!([["writing", "w", "a", 2], ["put-later", "w", "xyz"]]),
            3,
        ),
        (
            json!([
                ["appending", "w", "a"],
                ["put", "w", "xyz"],
                ["put", "w", "!"]
            ]),
            4,
        ),
    ] {
        let mut given = vec![open.clone()];
        given.extend(step.as_array().unwrap().clone());
        let given = Value::Array(given);
        let disk = within(cost);
        let done = steps(&disk, &given);
        assert!(
            done.iter().all(|done| done.starts_with("ok")),
            "{step}: {done:?}"
        );
        assert_eq!(disk.written.load(Ordering::Relaxed), cost, "{step}");
        if cost > 0 {
            let done = steps(&within(cost - 1), &given);
            assert_eq!(done.last().unwrap(), "quota", "{step}");
        }
    }
    let disk = within(1 << 20);
    let done = steps(
        &disk,
        &json!([
            open,
            ["size", "a", big],
            ["write", "a", big, "x"],
            ["write", "a", u64::MAX, "x"],
            ["writing", "w", "a", big],
            ["put", "w", "x"],
            ["why"],
        ]),
    );
    let quota = "quota".to_owned();
    let expected = [
        "ok null",
        &quota,
        &quota,
        "file-too-large",
        "ok null",
        &quota,
    ];
    assert_eq!(done[..6], expected);
    assert_eq!(done[6], "ok \"refused: written\"");
    assert_eq!(text(&disk.data("a")), "1234");
}

#[test]
fn files_and_handles_are_counted() {
    let disk = Arc::new(Disk {
        made_max: 3,
        ..Disk::new(true)
    });
    let done = steps(
        &disk,
        &json!([
            ["open", "a", "/data", "a", "rwc"],
            ["open", "a", "/data", "a", "rwc"],
            ["mkdir", "/data", "b"],
            ["symlink", "/data", "a", "c"],
            ["open", "d", "/data", "d", "rwc"],
            ["mkdir", "/data", "d"],
            ["symlink", "/data", "a", "d"],
        ]),
    );
    let (ok, quota) = ("ok null", "quota");
    assert_eq!(done, [ok, ok, ok, ok, quota, quota, quota]);

    // Two directories are open from the start.
    let disk = Arc::new(Disk {
        open_max: 4,
        ..Disk::new(true)
    });
    fs::write(disk.data("a"), "text").unwrap();
    let done = steps(
        &disk,
        &json!([
            ["open", "a", "/data", "a", "r"],
            ["reading", "s", "a", 0],
            ["open", "b", "/data", "a", "r"],
            ["reading", "t", "a", 0],
            ["entries", "/data"],
            ["drop", "s"],
            ["open", "b", "/data", "a", "r"],
        ]),
    );
    assert_eq!(done, [ok, ok, quota, quota, quota, ok, ok]);
    assert_eq!(disk.open.load(Ordering::Relaxed), 0);
}

#[test]
fn without_a_grant_there_are_no_directories() {
    let answer = program().structured("mounted", json!({}));
    assert_eq!(answer["names"], json!([]));
}
