//! A project with plugins of one plain function.

use std::path::Path;
use std::sync::Arc;

use portreeve_core::{ArtifactStore, Host, HostConfig, MANIFEST, Ownership, Project, Role};
use portreeve_runtime::{CompileLimits, RuntimeConfig};
use tempfile::TempDir;

const COMPONENT: &str = r#"(component
    (core module $m
        (func (export "add") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.add))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32)
        (canon lift (core func $i "add"))))"#;

pub(crate) struct TestProject {
    pub(crate) host: Arc<Host>,
    dir: TempDir,
}

impl TestProject {
    /// A project with the plugin `calc`.
    pub(crate) async fn open() -> TestProject {
        let dir = tempfile::tempdir().unwrap();
        let component = wat::parse_str(COMPONENT).unwrap();
        std::fs::write(dir.path().join("calc.wasm"), component).unwrap();
        write_manifest(dir.path(), &["calc"]);
        let project = Project::at(dir.path()).unwrap();
        let Ownership::Mine(lock) = project.own(Role::Serve).unwrap() else {
            panic!("the project is new");
        };
        let runtime = RuntimeConfig {
            cache_dir: dir.path().join("cache"),
            cache_key: dir.path().join("state/key"),
            cache_bytes_max: 1 << 20,
            // Never made: no guest runs in these tests.
            compiler: dir.path().join("no-compiler"),
            compile_limits: CompileLimits::default(),
            instances: 1,
        };
        let host = Host::open(HostConfig {
            project,
            lock: lock.into(),
            runtime,
            user_state: dir.path().join("state"),
            artifacts: ArtifactStore::open(&dir.path().join("store"), 1 << 20).unwrap(),
        })
        .await
        .unwrap();
        TestProject { host, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sets limits under `[serve]`, and has the host read them.
    pub(crate) async fn settle(&self, limits: &str) {
        self.settle_serve(&format!("[serve.limits]\n{limits}"))
            .await;
    }

    /// Writes the rest of the table `[serve]`, and has the host read it.
    pub(crate) async fn settle_serve(&self, text: &str) {
        write_manifest(self.dir.path(), &["calc"]);
        let path = self.dir.path().join(MANIFEST);
        let before = std::fs::read_to_string(&path).unwrap();
        let after = before.replace("schema = 1\n", &format!("schema = 1\n[serve]\n{text}\n"));
        std::fs::write(path, after).unwrap();
        self.host.reload().await.unwrap();
    }

    /// Lists these plugins in the manifest instead, and has the host read it.
    pub(crate) async fn change(&self, aliases: &[&str]) {
        write_manifest(self.dir.path(), aliases);
        self.host.reload().await.unwrap();
    }
}

fn write_manifest(dir: &Path, aliases: &[&str]) {
    let mut text = "schema = 1\n".to_owned();
    for alias in aliases {
        text.push_str(&format!("[plugins.{alias}]\nsource = \"./calc.wasm\"\n"));
    }
    std::fs::write(dir.join(MANIFEST), text).unwrap();
}
