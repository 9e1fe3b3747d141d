//! Files on this machine and on web servers.

use portreeve_egress::Gate;
use portreeve_manifest::integrity::Integrity;
use portreeve_manifest::source::{HttpsSource, PluginSource};
use portreeve_supply::credentials::Anonymous;
use portreeve_supply::fetch::{FetchError, FetchProgress};
use portreeve_supply::signature::SignatureKind;
use portreeve_supply::{ArtifactStore, Digest, Fetcher, Reference};

use crate::fake::*;
use crate::support::*;

/// What is written in a manifest is https; here it is a server on this machine.
fn reference(fake: &Fake, path: &str, integrity: Option<Integrity>) -> Reference {
    Reference::Https(HttpsSource {
        url: format!("http://{}{path}", fake.address).parse().unwrap(),
        integrity,
    })
}

fn sha256(bytes: &[u8]) -> Option<Integrity> {
    Some(Integrity::Sha256(*Digest::of(bytes).as_bytes()))
}

async fn server() -> Fake {
    Fake::with(|what, _, given| match what {
        "GET /dir/a.wasm" | "GET /dir/a.wasm?key=secret" => answer(200, component("good")),
        "GET /dir/a.wasm.minisig" => answer(200, "signed"),
        "GET /moved" => header(answer(302, ""), "location", "/dir/a.wasm"),
        "GET /endless" => endless(),
        "GET /circle" => header(answer(302, ""), "location", "/circle"),
        "GET /broken" => broken(&component("good")[..9], component("good").len()),
        "GET /busy" => answer(500, ""),
        "GET /huge-signature" => answer(200, component("good")),
        "GET /huge-signature.minisig" => endless(),
        _ => given,
    })
    .await
}

#[tokio::test]
async fn what_has_its_digest_is_fetched() {
    let fake = server().await;
    let good = component("good");
    let wide: Integrity = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    for integrity in [sha256(&good), Some(wide.found(&good))] {
        let (fetched, seen) =
            watched(&fetcher(), &reference(&fake, "/dir/a.wasm", integrity)).await;
        assert_eq!((fetched.digest, &fetched.bytes), (Digest::of(&good), &good));
        assert_eq!(fetched.signatures.len(), 1);
        assert_eq!(fetched.signatures[0].kind, SignatureKind::Minisign);
        assert_eq!(fetched.signatures[0].bytes, b"signed");
        let (received, total) = (good.len() as u64, Some(good.len() as u64));
        assert_eq!(
            seen,
            [
                FetchProgress::Resolving,
                FetchProgress::Downloading { received, total },
                FetchProgress::Signatures,
            ]
        );
    }
    let moved = reference(&fake, "/moved", sha256(&good));
    assert_eq!(fetcher().fetch(&moved, &|_| {}).await.unwrap().bytes, good);
}

#[tokio::test]
async fn what_has_none_is_refused_and_told_it() {
    let fake = server().await;
    let error = fetcher()
        .fetch(&reference(&fake, "/dir/a.wasm", None), &|_| {})
        .await
        .unwrap_err();
    let digest = Digest::of(&component("good"));
    assert!(error.to_string().contains(&digest.to_string()), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("/dir/a.wasm#sha256={}", digest.hex())),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_it_is_refused() {
    let fake = server().await;
    let good = sha256(&component("good"));
    for (path, integrity, expected) in [
        ("/dir/a.wasm", sha256(b"other"), "was changed on its way"),
        ("/none", good, "is not there"),
        ("/endless", good, "larger than 1 MiB"),
        ("/circle", good, "in a circle"),
        ("/broken", good, "can't be fetched"),
        ("/busy", good, "answers 500"),
        ("/huge-signature", good, "larger than 256 KiB"),
        ("/none?key=secret", good, "?…"),
    ] {
        let result = fetcher()
            .fetch(&reference(&fake, path, integrity), &|_| {})
            .await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    // http is for this machine.
    let plain = Reference::Https(HttpsSource {
        url: "http://example.com/a.wasm".parse().unwrap(),
        integrity: good,
    });
    let error = fetcher().fetch(&plain, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("over https only"), "{error}");
}

#[tokio::test]
async fn what_is_in_the_store_is_not_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(dir.path(), 1 << 20).unwrap();
    let good = component("good");
    let digest = store.put(&good).unwrap();
    let fake = server().await;
    fake.put("1.0.0", &good);
    let fetcher = |store: &ArtifactStore| {
        let gate: Gate = gate();
        Fetcher::with_store(&gate, Box::new(Anonymous), settings(), store.clone())
    };
    let sources = [
        reference(&fake, "/dir/a.wasm", sha256(&good)),
        oci(&fake.oci("a/tool:1.0.0")),
    ];
    let is_whole = |what: &String| what.ends_with("/a.wasm") || what.contains("/blobs/");
    for source in &sources {
        let (fetched, _) = watched(&fetcher(&store), source).await;
        assert_eq!(fetched.bytes, good);
    }
    assert!(!fake.asked().iter().any(is_whole), "{:?}", fake.asked());
    // One that was changed there is passed over.
    std::fs::remove_file(store.path(&digest)).unwrap();
    std::fs::write(store.path(&digest), component("evil")).unwrap();
    for source in &sources {
        let (fetched, _) = watched(&fetcher(&store), source).await;
        assert_eq!(fetched.bytes, good);
    }
    assert_eq!(fake.asked().iter().filter(|what| is_whole(what)).count(), 2);
}

#[tokio::test]
async fn files_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool.wasm");
    std::fs::write(&path, component("good")).unwrap();
    std::fs::write(dir.path().join("tool.wasm.minisig"), "signed").unwrap();
    std::fs::write(dir.path().join("tool.wasm.sigstore.json"), "{}").unwrap();
    for text in ["tool.wasm", "", "."] {
        let source = PluginSource::parse(if text.is_empty() { "./" } else { text }).unwrap();
        let reference = Reference::new(&source, dir.path());
        let (fetched, _) = watched(&fetcher(), &reference).await;
        assert_eq!(fetched.digest, Digest::of(&component("good")));
        let kinds: Vec<_> = fetched.signatures.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, SignatureKind::ALL);
        assert!(
            fetched.resolved.ends_with("tool.wasm"),
            "{}",
            fetched.resolved
        );
    }
    std::fs::write(dir.path().join("tool.wasm.minisig"), vec![0; 300 << 10]).unwrap();
    let error = fetcher()
        .fetch(&Reference::Local(path.clone()), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Signature(_)), "{error}");
    std::fs::write(&path, vec![0; 2 << 20]).unwrap();
    let error = fetcher()
        .fetch(&Reference::Local(path), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Local(_)), "{error}");
}
