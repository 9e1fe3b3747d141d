//! Publishing, and what is had again of it; mirrors.

use portreeve_supply::credentials::Anonymous;
use portreeve_supply::fetch::{FetchError, FetchSettings};
use portreeve_supply::signature::{SignatureFile, SignatureKind};
use portreeve_supply::{Digest, Fetcher};
use serde_json::{Value, json};

use crate::fake::*;
use crate::support::*;

fn signature(kind: SignatureKind, bytes: &[u8]) -> SignatureFile {
    SignatureFile {
        kind,
        bytes: bytes.to_vec(),
    }
}

fn signatures() -> Vec<SignatureFile> {
    vec![
        signature(SignatureKind::Minisign, b"minisign"),
        signature(SignatureKind::SigstoreBundle, b"{}"),
    ]
}

/// A registry that notes itself what refers to what.
async fn modern() -> Fake {
    use std::sync::{Arc, Mutex};
    let listed = Arc::<Mutex<Vec<Value>>>::default();
    let slot = Arc::<Mutex<Option<Fake>>>::default();
    let (kept, noted) = (slot.clone(), listed.clone());
    let fake = Fake::with(move |what, _, given| {
        if what.contains("/referrers/") {
            let index = json!({ "schemaVersion": 2, "manifests": *noted.lock().unwrap() });
            return answer(200, index.to_string());
        }
        if what.starts_with("PUT ") && what.contains("/manifests/") {
            let digest = given.headers()["docker-content-digest"]
                .to_str()
                .unwrap()
                .to_owned();
            let fake = kept.lock().unwrap().clone().unwrap();
            let bytes = fake.kept.lock().unwrap().manifests[&digest].1.clone();
            let manifest: Value = serde_json::from_slice(&bytes).unwrap();
            if let Some(subject) = manifest["subject"]["digest"].as_str() {
                let mut noted = noted.lock().unwrap();
                noted.retain(|one| one["digest"] != digest);
                noted.push(json!({
                    "mediaType": MANIFEST,
                    "digest": digest,
                    "size": bytes.len(),
                    "artifactType": manifest["artifactType"],
                }));
                return header(given, "oci-subject", subject);
            }
        }
        given
    })
    .await;
    *slot.lock().unwrap() = Some(fake.clone());
    fake
}

#[tokio::test]
async fn what_is_published_is_had_again_with_its_signatures() {
    for (fake, tags) in [(Fake::start().await, 2), (modern().await, 1)] {
        let reference = fake.oci("acme/tool:1.0.0");
        let good = component("good");
        let digest = fetcher()
            .push(&reference.parse().unwrap(), &good, &signatures())
            .await
            .unwrap();
        let fetched = pull(&reference).await.unwrap();
        assert_eq!(
            (fetched.digest, fetched.bytes),
            (Digest::of(&good), good.clone())
        );
        assert_eq!(fetched.resolved, fake.oci(&format!("acme/tool@{digest}")));
        assert_eq!(fetched.signatures, signatures());
        // Again it is the same, and nothing is sent twice.
        let before = fake.kept.lock().unwrap().blobs.len();
        let again = fetcher()
            .push(&reference.parse().unwrap(), &good, &signatures())
            .await
            .unwrap();
        assert_eq!(again, digest);
        let uploads = fake
            .asked()
            .into_iter()
            .filter(|what| what.starts_with("POST "));
        assert_eq!(uploads.count(), before);
        assert_eq!(pull(&reference).await.unwrap().signatures.len(), 2);
        let kept = fake.kept.lock().unwrap();
        assert_eq!(
            kept.manifests
                .keys()
                .filter(|key| !key.contains(':'))
                .count(),
            tags
        );
        let (kind, manifest) = &kept.manifests["1.0.0"];
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        assert_eq!(kind, MANIFEST);
        assert_eq!(
            manifest["config"]["mediaType"],
            "application/vnd.wasm.config.v0+json"
        );
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
        let config = &kept.blobs[manifest["config"]["digest"].as_str().unwrap()];
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(
            config,
            json!({
                "created": "1970-01-01T00:00:00Z",
                "architecture": "wasm",
                "os": "wasip2",
                "layerDigests": [Digest::of(&good)],
                "component": { "exports": ["good"], "imports": [], "target": null },
            })
        );
    }
}

#[tokio::test]
async fn a_version_stands_for_one_component() {
    let fake = Fake::start().await;
    let push = async |tag: &str, name: &str| {
        let reference = fake.oci(&format!("a/tool{tag}")).parse().unwrap();
        fetcher().push(&reference, &component(name), &[]).await
    };
    push(":1.0.0", "good").await.unwrap();
    let error = push(":1.0.0", "evil").await.unwrap_err();
    assert!(matches!(error, FetchError::VersionTaken { .. }), "{error}");
    // Other tags move.
    push(":latest", "good").await.unwrap();
    push(":latest", "evil").await.unwrap();
    assert!(matches!(push("", "good").await, Err(FetchError::NoTag(_))));
    let reference = fake.oci("a/tool:2.0.0").parse().unwrap();
    let error = fetcher()
        .push(&reference, b"\0asm\x01\0\0\0", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Local(_)), "{error}");
}

#[tokio::test]
async fn a_registry_that_takes_it_wrongly_is_found_out() {
    for (part, status, name, value, expected) in [
        (
            "POST ",
            202,
            "location",
            "http://127.0.0.2:1/steal",
            "at another server",
        ),
        ("POST ", 202, "x", "y", "does not say where"),
        ("POST ", 202, "location", "http://[", "does not say where"),
        ("POST ", 403, "x", "y", "does not let us in"),
        ("PUT /v2/a/tool/blobs", 400, "x", "y", "answers 400"),
        (
            "PUT /v2/a/tool/manifests",
            201,
            "docker-content-digest",
            "sha256:00",
            "another manifest",
        ),
        (
            "PUT /v2/a/tool/manifests",
            307,
            "location",
            "/elsewhere",
            "only where it was meant to go",
        ),
    ] {
        let fake = Fake::with(move |what, _, given| match what.starts_with(part) {
            true => header(answer(status, ""), name, value),
            false => given,
        })
        .await;
        let reference = fake.oci("a/tool:1.0.0").parse().unwrap();
        let error = fetcher()
            .push(&reference, &component("good"), &[])
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{part}: {error}");
    }
}

#[tokio::test]
async fn signatures_of_others_are_passed_over() {
    let fake = Fake::start().await;
    let reference = fake.oci("a/tool:1.0.0");
    let subject = fetcher()
        .push(
            &reference.parse().unwrap(),
            &component("good"),
            &signatures()[..1],
        )
        .await
        .unwrap();
    // One for another manifest, one of no known kind, and one that is too large, in the list.
    let tag = format!("sha256-{}", subject.hex());
    let list = || {
        let kept = fake.kept.lock().unwrap();
        serde_json::from_slice::<Value>(&kept.manifests[&tag].1).unwrap()
    };
    let mut index = list();
    let first = index["manifests"][0].clone();
    let manifest = {
        let kept = fake.kept.lock().unwrap();
        let digest = first["digest"].as_str().unwrap();
        serde_json::from_slice::<Value>(&kept.manifests[digest].1).unwrap()
    };
    let mut add = |manifest: &Value, kind: &str| {
        let digest = fake.put_manifest("spare", manifest);
        let mut listed = first.clone();
        listed["digest"] = json!(digest);
        listed["size"] = json!(serde_json::to_vec(manifest).unwrap().len());
        listed["artifactType"] = json!(kind);
        index["manifests"].as_array_mut().unwrap().push(listed);
    };
    let minisign = first["artifactType"].as_str().unwrap();
    let mut other = manifest.clone();
    other["subject"]["digest"] = json!(Digest::of(b"other").to_string());
    add(&other, minisign);
    add(&manifest, "application/vnd.example");
    let mut large = manifest.clone();
    large["layers"][0]["size"] = json!(1 << 30);
    add(&large, minisign);
    fake.put_manifest(&tag, &index);
    assert_eq!(
        pull(&reference).await.unwrap().signatures,
        signatures()[..1]
    );
    // A thousand are not asked for.
    let many = vec![first.clone(); 1_000];
    index["manifests"] = json!(many);
    fake.put_manifest(&tag, &index);
    let before = fake.asked().len();
    assert_eq!(pull(&reference).await.unwrap().signatures.len(), 16);
    assert!(fake.asked().len() - before < 50);
}

#[tokio::test]
async fn mirrors_are_asked_first_and_not_believed() {
    let good = component("good");
    let (origin, mirror) = (Fake::start().await, Fake::start().await);
    let digest = origin.put("1.0.0", &good);
    let fetcher = || {
        let mirrors = vec![format!("{}/cache", mirror.address).parse().unwrap()];
        let settings = FetchSettings {
            mirrors: [(origin.address.to_string(), mirrors)].into(),
            ..settings()
        };
        Fetcher::new(&gate(), Box::new(Anonymous), settings)
    };
    let get = async |rest: &str| {
        fetcher()
            .fetch(&oci(&origin.oci(rest)), &|_| {})
            .await
            .unwrap()
    };
    // It has nothing.
    assert_eq!(get("a/tool:1.0.0").await.bytes, good);
    assert!(
        mirror
            .asked()
            .contains(&"GET /v2/cache/a/tool/manifests/1.0.0".to_owned())
    );
    // It has it: of the origin only the signatures are asked for.
    mirror.put("1.0.0", &good);
    let before = origin.asked().len();
    let fetched = get("a/tool:1.0.0").await;
    assert_eq!(fetched.resolved, origin.oci(&format!("a/tool@{digest}")));
    let asked = origin.asked().split_off(before);
    assert!(
        !asked.iter().any(|what| what.contains("/blobs/")),
        "{asked:?}"
    );
    // It has something else under the digest that is pinned.
    let evil = manifest(&component("evil"));
    mirror.put_blob(&component("evil"));
    let bytes = serde_json::to_vec(&evil).unwrap();
    let entry = (MANIFEST.to_owned(), bytes.into());
    mirror
        .kept
        .lock()
        .unwrap()
        .manifests
        .insert(digest.clone(), entry);
    assert_eq!(get(&format!("a/tool@{digest}")).await.bytes, good);
    for text in ["", "a b", "exаmple.com", "example.com/A", "example.com/x:1"] {
        assert!(
            text.parse::<portreeve_manifest::source::Mirror>().is_err(),
            "{text}"
        );
    }
}
