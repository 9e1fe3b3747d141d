//! Reloads the project when its files change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::host::{Host, HostError};
use crate::install::FileStamp;

/// How long nothing must have changed before the project is read again: editors and builds
/// write in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// Longest time that is waited for that.
const SETTLED_TIME_MAX: Duration = Duration::from_secs(2);

/// How often is looked without having been told of a change: queues of events overflow, and some
/// file systems tell nothing.
const LOOK: Duration = Duration::from_secs(5);

/// Directories that appear one within the other while they are looked for.
const APPEARING_MAX: usize = 64;

/// Watches until it is dropped.
pub struct Watch {
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    pub(crate) async fn start(host: &Arc<Host>) -> Result<Watch, HostError> {
        // One that waits is enough: what changed is found by looking.
        let (changed, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |_| {
            let _ = changed.try_send(());
        })
        .map_err(|error| system(&error))?;
        let mut files = Files {
            watcher,
            dirs: BTreeSet::new(),
            stamps: BTreeMap::new(),
        };
        files.follow(host).await;
        Ok(Watch {
            _task: AbortOnDropHandle::new(tokio::spawn(watch(host.clone(), files, changes))),
        })
    }
}

async fn watch(host: Arc<Host>, mut files: Files, mut changes: mpsc::Receiver<()>) {
    loop {
        // Looked at before waiting: a change that came before the watch began is one too.
        // Directories tell of all their files; only ours matter.
        if !files.changed() {
            if let Ok(None) = tokio::time::timeout(LOOK, changes.recv()).await {
                return;
            }
            // One that was missing may be there now.
            files.watch();
            continue;
        }
        let settled = async {
            while tokio::time::timeout(QUIET, changes.recv())
                .await
                .is_ok_and(|more| more.is_some())
            {}
        };
        // A directory in which something always changes holds nothing up.
        let _ = tokio::time::timeout(SETTLED_TIME_MAX, settled).await;
        match host.reload().await {
            Ok(()) => tracing::info!("the project was read again"),
            Err(error) => tracing::error!("the project is used as it was before: {error}"),
        }
        files.follow(&host).await;
    }
}

/// The files of a project. Their directories are watched rather than they themselves, since
/// a file that is replaced by rename is another one.
struct Files {
    watcher: RecommendedWatcher,
    dirs: BTreeSet<PathBuf>,
    stamps: BTreeMap<PathBuf, Option<FileStamp>>,
}

impl Files {
    /// Watches the files that the project has now.
    async fn follow(&mut self, host: &Host) {
        self.stamps = host.files().await.into_iter().collect();
        self.watch();
    }

    /// Watches their directories.
    fn watch(&mut self) {
        for _ in 0..APPEARING_MAX {
            let dirs = self.wanted();
            self.watch_only(&dirs);
            // What appeared before its directory was watched was not told of.
            if self.wanted() == dirs {
                return;
            }
        }
    }

    /// The directories to watch; of what is missing, the nearest one that is there, since it is
    /// in that one that something appears.
    fn wanted(&self) -> BTreeSet<PathBuf> {
        let there = |file: &PathBuf| {
            let mut above = file.ancestors();
            above.find(|dir| dir.is_dir()).map(Path::to_owned)
        };
        self.stamps.keys().filter_map(there).collect()
    }

    fn watch_only(&mut self, dirs: &BTreeSet<PathBuf>) {
        for dir in self.dirs.difference(dirs) {
            // It may be gone already.
            let _ = self.watcher.unwatch(dir);
        }
        self.dirs.retain(|dir| dirs.contains(dir));
        for dir in dirs {
            if self.dirs.contains(dir) {
                continue;
            }
            if let Err(error) = self.watcher.watch(dir, RecursiveMode::NonRecursive) {
                tracing::warn!(dir = %dir.display(), %error, "changes in a directory are noticed after some seconds only");
            }
            // Tried once: it is looked at in any case.
            self.dirs.insert(dir.clone());
        }
    }

    fn changed(&self) -> bool {
        self.stamps
            .iter()
            .any(|(file, stamp)| FileStamp::of(file) != *stamp)
    }
}

fn system(error: &notify::Error) -> HostError {
    HostError::System {
        what: "files can't be watched",
        error: std::io::Error::other(error.to_string()),
    }
}
