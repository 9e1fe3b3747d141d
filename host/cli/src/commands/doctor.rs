//! `portreeve doctor`: what is wrong here, and what to do.

use std::path::Path;
use std::process::Command;

use clap::Args;
use portreeve_core::control::{ControlAnswer, ControlRequest};
use portreeve_core::{Ownership, Project, Role};
use portreeve_manifest::grant::Standing;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{Runtime, RuntimeConfig};
use portreeve_supply::Digest;
use serde::Serialize;
use serde_json::json;

use super::papers::{bytes, count};
use crate::context::Context;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::{cargo, error, places, text};

/// Less free space than this is worth a warning: a large component's code has some 100 MiB.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// The first Linux kernel with PAGEMAP_SCAN, by which memory of instances is given back three
/// times as fast.
const PAGEMAP_KERNEL: (u32, u32) = (6, 7);

/// The smallest component there is: a header.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Find out what is wrong here, and what to do.
///
/// Looks at everything that plugins need to be built, compiled and run here, and says what is
/// fine, what is not, and what to do about it.
///
/// Exit code 1 says that something which is needed is broken.
#[derive(Args)]
#[command(after_help = "\
Examples:
  portreeve doctor
  portreeve doctor --json")]
pub(crate) struct Doctor {}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    status: Status,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// As it should be.
    Fine,
    /// Portreeve works, but not all of it or not at its best.
    Warning,
    /// Something that is needed doesn't work.
    Broken,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            check,
            status: Status::Fine,
            found: found.into(),
            action: None,
        }
    }

    fn warning(
        check: &'static str,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            status: Status::Warning,
            found: found.into(),
            action: Some(action.into()),
        }
    }

    fn broken(check: &'static str, found: impl Into<String>, action: impl Into<String>) -> Finding {
        Finding {
            status: Status::Broken,
            ..Finding::warning(check, found, action)
        }
    }
}

impl Doctor {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        context.log()?;
        let progress = Progress::new();
        progress.quick_step("looking around");
        let runtime = places::runtime()?;
        let mut findings = toolchain();
        findings.extend(kernel());
        findings.extend(self::runtime(&runtime));
        findings.extend(space(&runtime.cache_dir));
        findings.push(context.block_on(async { Ok(compiler(&runtime).await) })?);
        findings.extend(project(context)?);
        progress.clear();
        context
            .output
            .result(&json!({ "findings": findings }), || show(&findings))?;
        if findings
            .iter()
            .any(|finding| finding.status == Status::Broken)
        {
            return Err(error::shown(Exit::Failed));
        }
        Ok(())
    }
}

/// Rust, which only authors need.
fn toolchain() -> Vec<Finding> {
    let install = "install Rust from https://rustup.rs if you want to build plugins";
    let cargo = match Command::new("cargo").arg("--version").output() {
        Ok(found) if found.status.success() => {
            Finding::fine("cargo", String::from_utf8_lossy(&found.stdout).trim())
        }
        Ok(found) => Finding::warning(
            "cargo",
            cargo::said_by_tool(&String::from_utf8_lossy(&found.stderr)),
            install,
        ),
        Err(error) => Finding::warning("cargo", error.to_string(), install),
    };
    let target = match cargo::has_target(Path::new(".")) {
        Ok(true) => Finding::fine(cargo::TARGET, "installed"),
        Ok(false) => Finding::warning(
            cargo::TARGET,
            "not installed",
            format!(
                "run `{}` to build plugins; `portreeve build` does it by itself",
                cargo::ADD_TARGET
            ),
        ),
        Err(error) => Finding::warning(cargo::TARGET, format!("{error:#}"), install),
    };
    vec![cargo, target]
}

fn kernel() -> Option<Finding> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    Some(if version >= PAGEMAP_KERNEL {
        Finding::fine(
            "kernel",
            format!("{release}, which gives memory of instances back fast"),
        )
    } else {
        let (major, minor) = PAGEMAP_KERNEL;
        Finding::warning(
            "kernel",
            format!("{release}, where a call takes about three times as long"),
            format!("use Linux {major}.{minor} or later for many calls"),
        )
    })
}

/// The cache directory and its key, and whether the runtime can be set up with them.
/// The cache of compiled components, and the pool of instances.
fn runtime(config: &RuntimeConfig) -> Vec<Finding> {
    let places =
        "make it usable, or name other places with PORTREEVE_CACHE_DIR and PORTREEVE_STATE_DIR";
    let runtime = match Runtime::new(config.clone()) {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::broken("cache", error.to_string(), places)],
    };
    let pool = match runtime.is_pooled() {
        Ok(true) => Finding::fine("instances", "from a pool"),
        Ok(false) => Finding::warning(
            "instances",
            "made one by one: this process may not reserve the address space of a pool",
            "allow it (`ulimit -v unlimited`): calls then cost about a third",
        ),
        Err(error) => Finding::broken(
            "instances",
            error.to_string(),
            "look at the limits of this process",
        ),
    };
    vec![
        Finding::fine("cache", config.cache_dir.display().to_string()),
        pool,
    ]
}

fn space(cache: &Path) -> Option<Finding> {
    let system = rustix::fs::statvfs(cache).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let found = format!("{} free at {}", bytes(free), cache.display());
    Some(if free >= FREE_BYTES_MIN {
        Finding::fine("disk", found)
    } else {
        Finding::warning(
            "disk",
            found,
            "make room, or name another place with PORTREEVE_CACHE_DIR",
        )
    })
}

/// Compiles and loads the smallest component, in a cache of its own, so that the compiler
/// really runs: that shows whether it is there, and of this version.
async fn compiler(config: &RuntimeConfig) -> Finding {
    let path = config.compiler.display();
    let action = format!(
        "install `{}` of the same version beside `portreeve`, or name it with PORTREEVE_COMPILER",
        places::COMPILER
    );
    let tried = async {
        let dir = tempfile::tempdir()?;
        let runtime = Runtime::new(RuntimeConfig {
            cache_dir: dir.path().join("cache"),
            cache_key: dir.path().join("state").join("key"),
            ..config.clone()
        })?;
        let digest = Digest::of(EMPTY_COMPONENT);
        let read = || Ok(EMPTY_COMPONENT.to_vec());
        let stack = Limits::default().stack;
        runtime
            .load(digest.as_bytes(), stack, read, &|_| {})
            .await?;
        anyhow::Ok(())
    };
    match tried.await {
        Ok(()) => Finding::fine(
            "compiler",
            format!("{path} compiles, and what it makes runs here"),
        ),
        Err(error) => Finding::broken("compiler", format!("{error:#}"), action),
    }
}

/// The project that we are in, if we are in one.
fn project(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let project = match context.project() {
        Ok(project) => project,
        Err(error) => {
            let action = "go to a project, or make one with `portreeve init`";
            return Ok(vec![Finding::warning("project", error.to_string(), action)]);
        }
    };
    let mut findings = vec![owner(&project)];
    let dir = project.dir().display().to_string();
    let answer = context.ask(project, "reading the plugins", ControlRequest::Project);
    let view = match answer {
        Ok(ControlAnswer::Project(view)) => view,
        Ok(_) => {
            let found = "its owner answered something else";
            findings.push(Finding::broken("project", found.to_owned(), "end it"));
            return Ok(findings);
        }
        Err(error) => {
            findings.push(Finding::broken(
                "project",
                format!("{error:#}"),
                "mend what is named there",
            ));
            return Ok(findings);
        }
    };
    let plugins = count(view.plugins.len(), "plugin");
    let tools = count(view.tools().count(), "tool");
    findings.push(Finding::fine(
        "project",
        format!("{dir}: {plugins}, {tools}"),
    ));
    for plugin in &view.plugins {
        if let Some(why) = &plugin.reason {
            findings.push(Finding::broken(
                "plugin",
                format!("{}: {why}", plugin.alias),
                format!(
                    "mend it, or take [plugins.{}] out of portreeve.toml",
                    plugin.alias
                ),
            ));
        }
        let not_granted = plugin
            .requests
            .iter()
            .filter(|request| request.grantable && request.standing == Standing::NotGranted);
        match not_granted.count() {
            0 => {}
            some => findings.push(Finding::fine(
                "plugin",
                format!(
                    "{0}: {some} of {1} is not granted; `portreeve grant {0}` shows and asks",
                    plugin.alias,
                    count(plugin.requests.len(), "request"),
                ),
            )),
        }
        for warning in &plugin.warnings {
            findings.push(Finding::warning(
                "plugin",
                format!("{}: {warning}", plugin.alias),
                format!("mend [plugins.{}.expose] in portreeve.toml", plugin.alias),
            ));
        }
    }
    Ok(findings)
}

fn owner(project: &Project) -> Finding {
    match project.own(Role::Command) {
        Ok(Ownership::Mine(_)) => {
            Finding::fine("owner", "no `portreeve serve` runs for this project")
        }
        Ok(Ownership::Other(None)) => Finding::warning(
            "owner",
            "a process owns the project, but does not say where it listens".to_owned(),
            "wait a moment if it has just been started; else end it",
        ),
        Ok(Ownership::Other(Some(other))) => {
            let path = other.control.display();
            match std::os::unix::net::UnixStream::connect(&other.control) {
                Ok(_) => {
                    Finding::fine("owner", format!("a process runs it, and listens on {path}"))
                }
                Err(error) => Finding::warning(
                    "owner",
                    format!("a process owns the project, but does not answer on {path}: {error}"),
                    "wait a moment if it has just been started; else end it",
                ),
            }
        }
        Err(error) => Finding::broken(
            "owner",
            error.to_string(),
            "make the project's .portreeve directory yours",
        ),
    }
}

fn show(findings: &[Finding]) -> String {
    let mut shown = String::new();
    for finding in findings {
        let status = match finding.status {
            Status::Fine => "fine",
            Status::Warning => "warning",
            Status::Broken => "BROKEN",
        };
        let found = text::lines(&finding.found)
            .to_string()
            .replace('\n', "\n    ");
        shown.push_str(&format!("{status:<8} {}: {found}\n", finding.check));
        if let Some(action) = &finding.action {
            shown.push_str(&format!("         → {action}\n"));
        }
    }
    shown
}
