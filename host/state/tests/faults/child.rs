//! What a process does that is to fail, and how it is started.
//!
//! It prints a line for each thing that it was told is on disk.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use portreeve_state::{Holder, SqliteStore, StateError, StateStore, StoreConfig};

use crate::skipped::skipped;
use crate::support::{audit, group, value};

const WORK: &str = "PORTREEVE_FAULTS_WORK";
const PATH: &str = "PORTREEVE_FAULTS_PATH";
const COUNT: &str = "PORTREEVE_FAULTS_COUNT";
const SYNC: &str = "PORTREEVE_FAULTS_SYNC";

/// A user without rights.
const NOBODY: u32 = 65_534;

/// What the process is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// One write after the other.
    Write,
    /// Writes of several holders at once, until it is killed.
    Storm,
    /// Writes until files may not grow, and again when they may.
    Limited,
    /// Opens and closes.
    Open,
    /// Opens for reading, and says what is there.
    Read,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Write,
        Kind::Storm,
        Kind::Limited,
        Kind::Open,
        Kind::Read,
    ];
}

/// What the process is to do, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    pub(crate) count: u32,
    pub(crate) sync: bool,
}

impl Work {
    pub(crate) fn new(kind: Kind, path: &Path, count: u32) -> Work {
        Work {
            kind,
            path: path.to_owned(),
            count,
            sync: true,
        }
    }

    /// What this process was started for.
    pub(crate) fn given() -> Option<Work> {
        let kind = std::env::var(WORK).ok()?;
        Some(Work {
            kind: *Kind::ALL
                .iter()
                .find(|known| format!("{known:?}") == kind)
                .expect("a known kind of work"),
            path: std::env::var_os(PATH).expect("a path").into(),
            count: std::env::var(COUNT).unwrap().parse().unwrap(),
            sync: std::env::var(SYNC).unwrap() == "true",
        })
    }

    /// This program, to do that.
    pub(crate) fn command(&self) -> Command {
        self.command_by(&std::env::current_exe().unwrap())
    }

    fn command_by(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
        self.for_process(&mut command);
        command
    }

    /// The same under `strace` with these arguments. None, and said so, where there is none.
    pub(crate) fn traced(&self, arguments: &[&str]) -> Option<Command> {
        let known = Command::new("strace").arg("--version").output();
        if !known.is_ok_and(|output| output.status.success()) {
            skipped("strace is not installed");
            return None;
        }
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "signal=none"]);
        command.args(arguments);
        let program = self.command();
        command.arg(program.get_program()).args(program.get_args());
        self.for_process(&mut command);
        Some(command)
    }

    /// The same by a user without rights: root may write everywhere.
    pub(crate) fn unprivileged(&self) -> Output {
        if !rustix::process::geteuid().is_root() {
            return Output::of(&mut self.command());
        }
        // That user may not be allowed to walk to this program, so it is given the open file.
        let program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let mut command = self.command_by(Path::new(&path));
        Output::of(command.uid(NOBODY).gid(NOBODY).current_dir("/"))
    }

    fn for_process(&self, command: &mut Command) {
        command
            .env(WORK, format!("{:?}", self.kind))
            .env(PATH, &self.path)
            .env(COUNT, self.count.to_string())
            .env(SYNC, self.sync.to_string());
    }

    /// Does it, in this process.
    pub(crate) fn run(&self) {
        // The tests' harness has begun a line.
        println!();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(self.work());
    }

    async fn work(&self) {
        if matches!(self.kind, Kind::Read) {
            return match SqliteStore::read(&self.path).await {
                Ok(store) => {
                    let last = store.audit_last().await.unwrap();
                    say(&format!("read {}", last.map_or(0, |row| row.seq)));
                }
                Err(error) => say_failed("read", &error),
            };
        }
        let config = StoreConfig {
            sync: self.sync,
            ..StoreConfig::default()
        };
        let store = match SqliteStore::open(&self.path, &config).await {
            Ok(store) => store,
            Err(error) => return say_failed("open", &error),
        };
        say(&format!("opened {}", store.project()));
        match self.kind {
            Kind::Write => self.write(&*store).await,
            Kind::Storm => self.storm(store.clone()).await,
            Kind::Limited => self.limited(&*store).await,
            Kind::Open | Kind::Read => {}
        }
        store.close().await;
        say("closed");
    }

    /// A plugin's keys, and each third time a record of the audit log.
    async fn write(&self, store: &dyn StateStore) {
        let mut seq = 0;
        for number in 0..self.count {
            put(store, "a", number).await;
            if number % 3 == 2 {
                match store.audit_append(group([audit(seq + 1)])).await {
                    Ok(()) => {
                        seq += 1;
                        say(&format!("audit {seq}"));
                    }
                    Err(error) => say_failed("audit", &error),
                }
            }
        }
    }

    async fn storm(&self, store: Arc<dyn StateStore>) {
        let tasks = ["a", "b", "c", "d"].map(|alias| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0_u32.. {
                    put(&*store, alias, number).await;
                }
            })
        });
        futures::future::join_all(tasks).await;
    }

    /// The soft limit of a file's size is lowered and raised by this process itself; that the
    /// signal is ignored is up to who starts it.
    async fn limited(&self, store: &dyn StateStore) {
        let limit = |bytes| {
            rustix::process::setrlimit(
                rustix::process::Resource::Fsize,
                rustix::process::Rlimit {
                    current: bytes,
                    maximum: None,
                },
            )
            .unwrap();
        };
        put(store, "a", 0).await;
        let log = std::fs::metadata(self.path.with_extension("db-wal")).unwrap();
        limit(Some(log.len() + 30_000));
        for number in 1..self.count {
            put(store, "a", number).await;
        }
        limit(None);
        put(store, "a", self.count).await;
    }
}

async fn put(store: &dyn StateStore, alias: &str, number: u32) {
    let holder = Holder::plugin(alias);
    let key = number.to_string();
    match store
        .kv_put(&holder, "b", &key, value(number), u64::MAX)
        .await
    {
        Ok(()) => say(&format!("put {alias} {number}")),
        Err(error) => say_failed(&format!("put {alias} {number}"), &error),
    }
}

/// One line, in one write of the system, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn say_failed(what: &str, error: &StateError) {
    let debug = format!("{error:?}");
    let kind = debug
        .split(|letter: char| !letter.is_alphanumeric())
        .next()
        .unwrap();
    say(&format!("failed {what}: {kind}: {error}"));
}

/// What a process said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    /// Whether it came to its end by itself.
    pub(crate) ended: bool,
}

impl Output {
    pub(crate) fn of(command: &mut Command) -> Output {
        let output = command.output().unwrap();
        Output::new(&output.stdout, output.status.success())
    }

    pub(crate) fn new(stdout: &[u8], ended: bool) -> Output {
        let text = String::from_utf8_lossy(stdout);
        // A line that was cut off says nothing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let known = ["opened", "put", "audit", "failed", "closed", "read"];
        let lines = whole
            .lines()
            .filter(|line| known.contains(&line.split(' ').next().unwrap_or("")))
            .map(str::to_owned)
            .collect();
        Output { lines, ended }
    }

    pub(crate) fn failures(&self) -> Vec<&str> {
        self.lines
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("failed"))
            .collect()
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.lines
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }
}
