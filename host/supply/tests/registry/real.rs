//! A real registry: Debian's `docker-registry`, with TLS by an authority of the test's own,
//! and passwords. Where it can't be had nothing is shown here, and it is said so.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use portreeve_egress::{Gate, GateErrorKind};
use portreeve_supply::credentials::{Anonymous, DockerCredentials, RegistryCredentials};
use portreeve_supply::fetch::{FetchError, FetchProgress, FetchSettings};
use portreeve_supply::{Digest, Fetched, Fetcher, SignatureFile, SignatureKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::*;

/// The user `user` with the password `secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2b$04$a6/41T9XfkEx9E.K6YT9OOpTgkmxMWgYhxpFMeGtJ5OLXtY.NaUKO\n";

/// The same, as `docker login` keeps it.
const AUTH: &str = "dXNlcjpzZWNyZXQ=";

/// How long the registry may take to start.
const START: Duration = Duration::from_secs(30);

/// The program: installed, or unpacked from its package.
fn program() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let installed = Path::new("docker-registry");
        let version = Command::new(installed).arg("--version").output();
        if version.is_ok_and(|output| output.status.success()) {
            return Some(installed.to_owned());
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-registry");
        let unpacked = dir.join("usr/bin/docker-registry");
        if !unpacked.exists() {
            unpack(&dir)?;
        }
        unpacked.exists().then_some(unpacked)
    });
    if found.is_none() {
        eprintln!(
            "SKIPPED: there is no docker-registry here and it can't be had by apt-get, so this case proves nothing"
        );
    }
    found.as_deref()
}

/// Unpacks the package, beside first: another test process may do the same.
fn unpack(dir: &Path) -> Option<()> {
    let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).ok()?;
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(beside.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().ok()?.success().then_some(())
    };
    run(
        "apt-get",
        &[
            "-o",
            "Acquire::http::Timeout=20",
            "download",
            "docker-registry",
        ],
    )?;
    let packages = std::fs::read_dir(beside.path()).ok()?;
    let package = packages
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))?;
    run("dpkg-deb", &["-x", package.to_str()?, "unpacked"])?;
    std::fs::create_dir_all(dir.parent()?).ok()?;
    // One who was faster has done the same.
    let _ = std::fs::rename(beside.path().join("unpacked"), dir);
    Some(())
}

/// A registry that runs; it ends with the test.
struct Registry {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
    /// The authority of its certificate.
    roots: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// One with TLS and passwords, or with neither.
    fn start(closed: bool) -> Option<Registry> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        write("key.pem", &key.serialize_pem());
        write("certificate.pem", &certificate.pem());
        write("htpasswd", HTPASSWD);
        // Free at this moment; a registry can't say which one it took.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp:\n  addr: {address}\n  secret: x\n",
            at("data")
        );
        if closed {
            config += &format!(
                "  tls: {{ certificate: {}, key: {} }}\nauth: {{ htpasswd: {{ realm: test, path: {} }} }}\n",
                at("certificate.pem"),
                at("key.pem"),
                at("htpasswd")
            );
        }
        write("config.yml", &config);
        let child = Command::new(program)
            .args(["serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut registry = Registry {
            child,
            address,
            dir,
            roots: authority.pem(),
        };
        let until = Instant::now() + START;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(
                registry.child.try_wait().unwrap().is_none(),
                "the registry does not start"
            );
            assert!(Instant::now() < until, "the registry does not answer");
            std::thread::yield_now();
        }
        Some(registry)
    }

    fn oci(&self, rest: &str) -> String {
        format!("oci://localhost:{}/{rest}", self.address.port())
    }

    /// Where a log-in is kept, for this registry.
    fn log_in(&self, auth: &str) -> PathBuf {
        let dir = self.dir.path().join(format!("docker-{}", auth.len()));
        std::fs::create_dir_all(&dir).unwrap();
        let registry = format!("localhost:{}", self.address.port());
        let config = serde_json::json!({ "auths": { registry: { "auth": auth } } });
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        dir
    }

    fn fetcher(&self, credentials: impl RegistryCredentials + 'static) -> Fetcher {
        let settings = FetchSettings {
            component_max: 32 << 20,
            ..settings()
        };
        Fetcher::new(&self.gate(), Box::new(credentials), settings)
    }

    fn gate(&self) -> Gate {
        gate_of(&self.roots)
    }

    fn user(&self) -> Fetcher {
        let file = self.log_in(AUTH).join("config.json");
        self.fetcher(DockerCredentials::new(vec![file]))
    }

    async fn get(&self, rest: &str) -> Result<Fetched, FetchError> {
        self.user().fetch(&oci(&self.oci(rest)), &|_| {}).await
    }
}

/// A component with much in it.
fn large() -> Vec<u8> {
    use wasm_encoder::{ComponentSection as _, CustomSection};
    let mut bytes = component("large");
    let data: Vec<u8> = (0..10_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let section = CustomSection {
        name: "data".into(),
        data: data.into(),
    };
    section.append_to_component(&mut bytes);
    bytes
}

#[tokio::test]
async fn published_fetched_listed() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let signatures = [
        SignatureFile {
            kind: SignatureKind::Minisign,
            bytes: b"minisign".to_vec(),
        },
        SignatureFile {
            kind: SignatureKind::SigstoreBundle,
            bytes: b"{}".to_vec(),
        },
    ];
    let push = async |rest: &str, bytes: &[u8], signatures: &[SignatureFile]| {
        let reference = registry.oci(rest).parse().unwrap();
        registry.user().push(&reference, bytes, signatures).await
    };
    let large = large();
    push("acme/tool:1.0.0", &component("one"), &[])
        .await
        .unwrap();
    push("acme/tool:1.10.0-rc.1", &component("two"), &[])
        .await
        .unwrap();
    let digest = push("acme/tool:1.2.0", &large, &signatures).await.unwrap();
    // Again, with one signature: nothing is lost.
    assert_eq!(
        push("acme/tool:1.2.0", &large, &signatures[..1])
            .await
            .unwrap(),
        digest
    );
    push("acme/tool:latest", &large, &[]).await.unwrap();
    let taken = push("acme/tool:1.0.0", &component("evil"), &[])
        .await
        .unwrap_err();
    assert!(matches!(taken, FetchError::VersionTaken { .. }), "{taken}");

    let reference = registry.oci("acme/tool").parse().unwrap();
    let versions = registry.user().versions(&reference).await.unwrap();
    let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
    assert_eq!(versions, ["1.0.0", "1.2.0", "1.10.0-rc.1"]);

    for rest in [
        "acme/tool:1.2.0",
        "acme/tool",
        &format!("acme/tool:1.0.0@{digest}"),
    ] {
        let (fetched, seen) = watched(&registry.user(), &oci(&registry.oci(rest))).await;
        assert_eq!(fetched.digest, Digest::of(&large));
        assert_eq!(fetched.bytes, large);
        assert_eq!(fetched.signatures, signatures);
        assert_eq!(
            fetched.resolved,
            registry.oci(&format!("acme/tool@{digest}"))
        );
        let len = large.len() as u64;
        let end = FetchProgress::Downloading {
            received: len,
            total: Some(len),
        };
        assert!(
            seen.contains(&end) && seen.len() > 5,
            "{} steps",
            seen.len()
        );
    }
    let missing = registry.get("acme/tool:3.0.0").await.unwrap_err();
    assert!(matches!(missing, FetchError::NotFound { .. }), "{missing}");
    let missing = registry.get("acme/none:1.0.0").await.unwrap_err();
    assert!(matches!(missing, FetchError::NotFound { .. }), "{missing}");
}

#[tokio::test]
async fn strangers_are_not_let_in_and_not_trusted() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let reference = registry.oci("a/tool:1.0.0");
    let wrong = registry.log_in("dXNlcjp3cm9uZw==").join("config.json");
    for fetcher in [
        registry.fetcher(Anonymous),
        registry.fetcher(DockerCredentials::new(vec![wrong])),
    ] {
        let error = fetcher.fetch(&oci(&reference), &|_| {}).await.unwrap_err();
        assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
        let push = fetcher
            .push(&reference.parse().unwrap(), &component("x"), &[])
            .await;
        assert!(
            matches!(push, Err(FetchError::Unauthorized { .. })),
            "{push:?}"
        );
    }
    // One whose certificate nobody vouches for isn't spoken to, over plain HTTP neither.
    let stranger = Fetcher::new(&gate(), Box::new(User("user", "secret")), settings());
    let error = stranger.fetch(&oci(&reference), &|_| {}).await.unwrap_err();
    let FetchError::Network { error, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), &GateErrorKind::Tls, "{error}");
}

/// What is tampered with where a registry keeps it is found out.
#[tokio::test]
async fn what_was_changed_in_the_registry_is_refused() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let reference = registry.oci("a/tool:1.0.0").parse().unwrap();
    let fetcher = fetcher();
    fetcher
        .push(&reference, &component("good"), &[])
        .await
        .unwrap();
    let hex = Digest::of(&component("good")).hex();
    let blobs = registry
        .dir
        .path()
        .join("data/docker/registry/v2/blobs/sha256");
    let blob = blobs.join(&hex[..2]).join(&hex).join("data");
    std::fs::write(blob, component("evil")).unwrap();
    let error = pull(&registry.oci("a/tool:1.0.0")).await.unwrap_err();
    assert!(matches!(error, FetchError::Mismatch { .. }), "{error}");
}

/// What we publish others fetch, and the other way round.
#[tokio::test]
async fn wkg_fetches_what_we_publish_and_we_what_it_does() {
    if !Command::new("wkg")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("SKIPPED: there is no wkg on PATH, so this case proves nothing");
        return;
    }
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let host = format!("localhost:{}", registry.address.port());
    let at = |name: &str| registry.dir.path().join(name);
    let wkg = |arguments: &[&str]| {
        let output = Command::new("wkg")
            .arg("oci")
            .args(arguments)
            .env("WKG_OCI_INSECURE", &host)
            .env("HOME", registry.dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let ours = registry.oci("a/ours:1.0.0");
    fetcher()
        .push(&ours.parse().unwrap(), &component("ours"), &[])
        .await
        .unwrap();
    let output = at("ours.wasm").display().to_string();
    wkg(&["pull", &format!("{host}/a/ours:1.0.0"), "-o", &output]);
    assert_eq!(std::fs::read(output).unwrap(), component("ours"));

    let input = at("theirs.wasm");
    std::fs::write(&input, component("theirs")).unwrap();
    wkg(&[
        "push",
        &format!("{host}/a/theirs:1.0.0"),
        &input.display().to_string(),
    ]);
    let fetched = pull(&registry.oci("a/theirs:1.0.0")).await.unwrap();
    assert_eq!(fetched.bytes, component("theirs"));
}
