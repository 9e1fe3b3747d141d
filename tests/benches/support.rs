//! What the benches share: CPU time, interleaved medians, and a project to run.
//!
//! The machines that these run on are noisy, so nothing here is a time to remember: every
//! figure is a ratio of two things measured in turns in one run.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use portreeve_core::{
    ArtifactStore, CallRequest, Caller, Host, HostConfig, Outcome, Ownership, Project, Role,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

#[path = "figures.rs"]
mod figures;
#[allow(unused_imports, reason = "each bench uses a part of it")]
pub(crate) use figures::{median, report};

/// Runs a bench that needs threads.
pub(crate) fn on_threads(bench: impl Future<Output = ()>) {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    threads.block_on(bench);
    threads.shutdown_background();
}

/// CPU time of something that this process does, in seconds.
pub(crate) async fn measured(work: impl Future<Output = ()>) -> f64 {
    let before = cpu();
    work.await;
    (cpu() - before).as_secs_f64()
}

/// Calls a tool.
pub(crate) async fn call(host: &Arc<Host>, tool: &str, arguments: &Map<String, Value>) -> Outcome {
    let request = CallRequest {
        caller: Caller::local("bench"),
        tool: tool.to_owned(),
        arguments: arguments.clone(),
        progress: None,
        ui: Default::default(),
        cancel: CancellationToken::new(),
    };
    host.call(request).await.result.expect("an answer")
}

/// An object of JSON.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else {
        panic!("{value} is no object");
    };
    object
}

/// CPU time of this process, all of its threads that are or were: to the moment, so that what is
/// measured may be short.
pub(crate) fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        now.tv_sec.try_into().expect("some seconds"),
        now.tv_nsec.try_into().expect("some nanoseconds"),
    )
}

/// CPU time of a process, all of its threads that live; exact to some milliseconds.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let nanoseconds = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Resident and private memory of a process, in bytes: private is what it wrote to. Pages of
/// compiled components that were only read are the file's, and the system may drop them.
pub(crate) fn memory_of(pid: &str) -> (u64, u64) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let sum = |names: &[&str]| {
        rollup
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    (sum(&["Rss:"]), sum(&["Private_Dirty:"]))
}

/// A directory with projects in it, and caches of its own.
pub(crate) struct Bench {
    path: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Bench {
            path: dir.path().to_owned(),
            _dir: Some(dir),
        }
    }

    /// One that another process made.
    pub(crate) fn at(path: PathBuf) -> Bench {
        Bench { path, _dir: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the manifest of a project with these plugins: alias and component.
    pub(crate) fn project<'a>(
        &self,
        name: &str,
        plugins: impl IntoIterator<Item = (String, &'a Path)>,
    ) -> PathBuf {
        let dir = self.path().join(name);
        std::fs::create_dir_all(&dir).expect("a project");
        let mut text = "schema = 1\n".to_owned();
        for (alias, path) in plugins {
            text.push_str(&format!(
                "[plugins.{alias}]\nsource = {:?}\n",
                path.display().to_string()
            ));
        }
        std::fs::write(dir.join("portreeve.toml"), text).expect("a manifest");
        dir
    }

    /// The same with one plugin, and more of its table.
    pub(crate) fn project_of(&self, alias: &str, component: &str, table: &str) -> PathBuf {
        let project = self.project(alias, [(alias.to_owned(), component.as_ref())]);
        let manifest = project.join("portreeve.toml");
        let mut text = std::fs::read_to_string(&manifest).expect("a manifest");
        text.push_str(table);
        std::fs::write(&manifest, text).expect("a manifest");
        project
    }

    /// The host on a project, with caches of this bench.
    pub(crate) fn portreeve(&self, project: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command
            .arg("--project")
            .arg(project)
            .env("PORTREEVE_CACHE_DIR", self.path().join("cache"))
            .env("PORTREEVE_STATE_DIR", self.path().join("state"));
        command
    }

    pub(crate) fn runtime_config(&self) -> portreeve_runtime::RuntimeConfig {
        portreeve_runtime::RuntimeConfig {
            cache_dir: self.path().join("cache/compiled"),
            cache_key: self.path().join("state/cache.key"),
            cache_bytes_max: 4 << 30,
            compiler: env!("CARGO_BIN_EXE_portreeve-compile").into(),
            compile_limits: portreeve_runtime::CompileLimits::default(),
            instances: 64,
        }
    }

    /// A host on a project, which this process owns.
    pub(crate) fn host_config(&self, project: &Path) -> HostConfig {
        let project = Project::at(project).expect("a project");
        let Ownership::Mine(lock) = project.own(Role::Serve).expect("a lock") else {
            panic!("the project is owned already");
        };
        HostConfig {
            project,
            lock: lock.into(),
            runtime: self.runtime_config(),
            user_state: self.path().join("state"),
            artifacts: ArtifactStore::open(&self.path().join("store"), 1 << 30).expect("a store"),
        }
    }

    /// Copies of a component, each with a digest of its own.
    pub(crate) fn distinct(&self, component: &str, count: usize) -> Vec<PathBuf> {
        let bytes = std::fs::read(component).expect("a component");
        let dir = self.path().join("components");
        std::fs::create_dir_all(&dir).expect("a directory");
        (0..count)
            .map(|number| {
                let path = dir.join(format!("p{number}.wasm"));
                let mut copy = bytes.clone();
                // A custom section named "n" with the number in it.
                let text = format!("{number:08}");
                copy.extend([0, 10, 1, b'n']);
                copy.extend(text.as_bytes());
                std::fs::write(&path, copy).expect("a copy");
                path
            })
            .collect()
    }
}
