//! Against a real registry.

use std::process::Command;

use portreeve_egress::{Gate, GateErrorKind};
use portreeve_supply::credentials::{Anonymous, DockerCredentials, RegistryCredentials};
use portreeve_supply::fetch::{FetchError, FetchProgress, FetchSettings};
use portreeve_supply::signature::{SignatureFile, SignatureKind};
use portreeve_supply::{Digest, Fetched, Fetcher};

use crate::docker_registry::{AUTH, Registry};
use crate::skipped::skipped;
use crate::support::*;

impl Registry {
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
        skipped("there is no wkg on PATH");
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
