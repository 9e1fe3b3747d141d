//! A host without plugins, for targets that speak to one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portreeve_core::{ArtifactStore, Host, HostConfig, MANIFEST, Ownership, Project, Role};
use portreeve_runtime::{CompileLimits, RuntimeConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

/// Longest time that anything may take: whoever sends nothing more is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Fuzzed {
    pub runtime: Runtime,
    pub host: Arc<Host>,
    _dir: tempfile::TempDir,
}

/// The host that all inputs of a process share.
pub fn fuzzed() -> &'static Fuzzed {
    static FUZZED: OnceLock<Fuzzed> = OnceLock::new();
    FUZZED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), "schema = 1\n").unwrap();
        let project = Project::at(dir.path()).unwrap();
        let Ownership::Mine(lock) = project.own(Role::Serve).unwrap() else {
            panic!("the project is new");
        };
        let runtime = RuntimeConfig {
            cache_dir: dir.path().join("cache"),
            cache_key: dir.path().join("state/key"),
            cache_bytes_max: 1 << 20,
            compiler: dir.path().join("no-compiler"),
            compile_limits: CompileLimits::default(),
            instances: 1,
        };
        let user_state = dir.path().join("state");
        let artifacts = ArtifactStore::open(&dir.path().join("store"), 1 << 20).unwrap();
        let threads = Runtime::new().unwrap();
        let host = threads
            .block_on(Host::open(HostConfig {
                project,
                lock: lock.into(),
                runtime,
                user_state,
                artifacts,
            }))
            .unwrap();
        Fuzzed {
            runtime: threads,
            host,
            _dir: dir,
        }
    })
}

/// Sends bytes, says that there are no more, and reads all that comes back.
pub async fn exchange(client: DuplexStream, bytes: &[u8], ends: bool) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let sending = async {
        let _ = writer.write_all(bytes).await;
        // Over HTTP, who closes their half has gone, and gets no answer.
        if ends {
            let _ = writer.shutdown().await;
        }
    };
    let mut read = Vec::new();
    let exchanged = async { tokio::join!(sending, reader.read_to_end(&mut read)) };
    tokio::time::timeout(PATIENCE, exchanged)
        .await
        .expect("it hangs")
        .1
        .ok();
    read
}
