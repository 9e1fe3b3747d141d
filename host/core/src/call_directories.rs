//! The directories of one call: each use under the grants of that moment, within what a call may
//! write, make and have open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::{Directory, DirectoryRule};
use portreeve_manifest::limits::Limits;
use portreeve_manifest::plugin::Origin;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{
    DirectoryBar, DirectoryPermit, DirectoryRoom, DirectorySource, DirectoryUse, ErrorCode,
    Failure, Mount,
};
use serde_json::{Value, json};

use crate::directories::{Directories, Unopened};
use crate::scope::CallScope;

/// What a call has done with directories.
#[derive(Debug, Default)]
pub(crate) struct DirectoriesUsed {
    read: AtomicU64,
    written: AtomicU64,
    made: AtomicU64,
    open: AtomicU64,
}

impl DirectoriesUsed {
    /// For the record; none where nothing was done.
    pub(crate) fn to_json(&self) -> Option<Value> {
        let [read, written, made] =
            [&self.read, &self.written, &self.made].map(|count| count.load(Ordering::Relaxed));
        (read > 0 || written > 0 || made > 0)
            .then(|| json!({"read": read, "written": written, "made": made}))
    }
}

/// The directories of a call.
pub(crate) struct CallDirectories {
    scope: Arc<CallScope>,
    directories: Arc<Directories>,
    written_max: ByteSize,
    files_max: u64,
    open_max: u64,
}

impl CallDirectories {
    pub(crate) fn new(
        scope: Arc<CallScope>,
        directories: Arc<Directories>,
        limits: &Limits,
    ) -> CallDirectories {
        CallDirectories {
            scope,
            directories,
            written_max: limits.written,
            files_max: limits.files.into(),
            open_max: limits.open_files.into(),
        }
    }

    /// What the plugin's manifest asks for; none where it has none of its own.
    fn asked(&self) -> Option<Vec<DirectoryRule>> {
        let manifest = self.scope.plugin.manifest()?;
        let requests = manifest.requests.directories.iter();
        (manifest.origin == Origin::Declared).then(|| requests.map(|it| it.rule()).collect())
    }

    /// Refuses a use that `rule` would allow.
    fn refuse(&self, rule: &DirectoryRule) -> Failure {
        let is_asked = match self.asked() {
            None => true,
            Some(asked) => asked.iter().any(|asked| asked.covers(rule)),
        };
        self.scope
            .refuse_as(Feature::Directories, &rule.to_string(), is_asked)
    }

    fn mount(&self, granted: &Directory) -> Result<Mount, Failure> {
        let (path, from) = (granted.rule.path.as_str(), granted.from.as_str());
        let opened = self.directories.open(&granted.from);
        let mounted = opened.and_then(|dir| Mount::new(path, from, dir).map_err(Unopened::Io));
        mounted.map_err(|error| {
            let alias = &self.scope.plugin.alias;
            let told = format!(
                "the directory `{from}`, which `{alias}` sees as {path}, can't be used: {error}; `grants.directories` under [plugins.{alias}] ({}) says which it is",
                self.scope.place()
            );
            if matches!(error, Unopened::Kept(_)) {
                self.scope
                    .count_refusal(Feature::Directories, &granted.rule.to_string());
            }
            tracing::warn!(plugin = alias, call = self.scope.call_id, "{told}");
            Failure::new(ErrorCode::Unavailable, "directory", told)
        })
    }

    fn over(&self, setting: &'static str, reason: &str, allowed: String, what: &str) -> Failure {
        let alias = &self.scope.plugin.alias;
        let told = format!(
            "this call of `{alias}` {what}, but {allowed} is all that it may; the setting `{setting}` in its `limits` ([plugins.{alias}] in {}) raises it",
            self.scope.place()
        );
        Failure {
            detail: Some(json!({"setting": setting, "allowed": allowed})),
            ..Failure::new(ErrorCode::QuotaExceeded, reason, told)
        }
    }

    fn used(&self) -> &DirectoriesUsed {
        self.scope.directories()
    }
}

/// Adds to a count, unless it would be more than may be.
fn add(count: &AtomicU64, more: u64, max: u64) -> bool {
    let sum = |now: u64| now.checked_add(more).filter(|sum| *sum <= max);
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, sum)
        .is_ok()
}

/// Room for one open file.
struct Room(Arc<CallScope>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.directories().open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl DirectorySource for CallDirectories {
    fn mounts(&self) -> (Vec<Mount>, Option<Failure>) {
        let granted = self.scope.granted().effective.directories.clone();
        let mut failure = None;
        // Asked for only when some file is looked for: whoever asks for a directory in its
        // manifest and has it not is told so.
        for asked in self.asked().unwrap_or_default() {
            if !granted.iter().any(|it| it.rule.path == asked.path) {
                failure = Some(self.refuse(&asked));
            }
        }
        let mut mounts = Vec::with_capacity(granted.len());
        for directory in granted.iter() {
            match self.mount(directory) {
                Ok(mount) => mounts.push(mount),
                Err(told) => failure = Some(told),
            }
        }
        (mounts, failure)
    }

    fn permits(&self, mount: &Mount, used: DirectoryUse) -> Result<DirectoryPermit, Failure> {
        let in_force = self.scope.granted();
        let granted = in_force.effective.directories.iter().find(|granted| {
            granted.rule.path.as_str() == mount.path && granted.from.as_str() == mount.from
        });
        let (write, hard_links) = granted.map_or((false, false), |granted| {
            (granted.rule.write, granted.rule.hard_links)
        });
        let allowed = granted.is_some()
            && match used {
                DirectoryUse::Read => true,
                DirectoryUse::Write => write,
                DirectoryUse::HardLink => write && hard_links,
            };
        if allowed {
            return Ok(DirectoryPermit { write, hard_links });
        }
        Err(self.refuse(&needed(
            mount,
            used != DirectoryUse::Read,
            used == DirectoryUse::HardLink,
        )?))
    }

    fn bars(&self, mount: &Mount, bar: DirectoryBar) -> Failure {
        let alias = &self.scope.plugin.alias;
        let (path, place) = (&mount.path, self.scope.place());
        let (what, why) = match bar {
            DirectoryBar::HardLink => {
                let granted = self.scope.granted();
                let mut all = granted.effective.directories.iter();
                let write = all.any(|it| it.rule.path.as_str() == path && it.rule.write);
                return match needed(mount, write, true) {
                    Ok(rule) => {
                        let told = self.refuse(&rule);
                        Failure {
                            message: format!(
                                "a file in {path} has further names (hard links), which may lie elsewhere: {}",
                                told.message
                            ),
                            ..told
                        }
                    }
                    Err(told) => told,
                };
            }
            DirectoryBar::Outside => (
                "outside",
                "a path or a link in it leads out of it, and only what lies in it is granted",
            ),
            DirectoryBar::Special => (
                "special file",
                "devices, pipes, sockets and files of the kernel are never given to plugins",
            ),
        };
        self.scope
            .count_refusal(Feature::Directories, &format!("{path} ({what})"));
        let told = format!(
            "`{alias}` may not use that in {path} (`grants.directories` under [plugins.{alias}], {place}): {why}"
        );
        Failure::new(ErrorCode::PermissionDenied, what, told)
    }

    fn room(&self) -> Result<DirectoryRoom, Failure> {
        if !add(&self.used().open, 1, self.open_max) {
            let what = "has as many files, directories and streams open as may be";
            return Err(self.over(
                "open-files",
                "limit-open-files",
                self.open_max.to_string(),
                what,
            ));
        }
        Ok(Box::new(Room(self.scope.clone())))
    }

    fn reads(&self, bytes: u64) {
        self.used().read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn writes(&self, bytes: u64) -> Result<(), Failure> {
        if add(&self.used().written, bytes, self.written_max.0) {
            return Ok(());
        }
        let used = self.used().written.load(Ordering::Relaxed);
        let what = format!("has written {used} bytes to files and would write {bytes} more");
        let allowed = self.written_max.to_string();
        Err(self.over("written", "limit-written", allowed, &what))
    }

    fn makes(&self) -> Result<(), Failure> {
        if add(&self.used().made, 1, self.files_max) {
            return Ok(());
        }
        let what = "would make one more file, directory or link";
        let allowed = self.files_max.to_string();
        Err(self.over("files", "limit-files", allowed, what))
    }
}

/// What would allow a use.
fn needed(mount: &Mount, write: bool, hard_links: bool) -> Result<DirectoryRule, Failure> {
    // It was a path in a grant before.
    let path = mount
        .path
        .parse()
        .map_err(|error| Failure::new(ErrorCode::Internal, "directory", format!("{error}")))?;
    Ok(DirectoryRule {
        path,
        write,
        hard_links,
    })
}
