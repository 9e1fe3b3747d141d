//! A real registry: Debian's `docker-registry`, with TLS by an authority of the test's own,
//! and passwords. Where it can't be had nothing is shown, and it is said so. Test programs
//! take this file in by its path.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::skipped::skipped;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The user `user` with the password `secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2b$04$a6/41T9XfkEx9E.K6YT9OOpTgkmxMWgYhxpFMeGtJ5OLXtY.NaUKO\n";

/// The same, as `docker login` keeps it.
pub(crate) const AUTH: &str = "dXNlcjpzZWNyZXQ=";

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
        skipped("there is no docker-registry, and it can't be had by apt-get");
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
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    /// The authority of its certificate.
    pub(crate) roots: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// One with TLS and passwords, or with neither.
    pub(crate) fn start(closed: bool) -> Option<Registry> {
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

    pub(crate) fn oci(&self, rest: &str) -> String {
        format!("oci://localhost:{}/{rest}", self.address.port())
    }

    /// Where a log-in is kept, for this registry.
    pub(crate) fn log_in(&self, auth: &str) -> PathBuf {
        let dir = self.dir.path().join(format!("docker-{}", auth.len()));
        std::fs::create_dir_all(&dir).unwrap();
        let registry = format!("localhost:{}", self.address.port());
        let config = serde_json::json!({ "auths": { registry: { "auth": auth } } });
        // Somebody may read it at this moment.
        let beside = tempfile::NamedTempFile::new_in(&dir).unwrap();
        std::fs::write(beside.path(), config.to_string()).unwrap();
        beside.persist(dir.join("config.json")).unwrap();
        dir
    }
}
