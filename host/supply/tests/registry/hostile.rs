//! Registries that lie, break off, or never end.

use http::HeaderMap;
use portreeve_supply::Digest;
use portreeve_supply::fetch::FetchError;
use serde_json::{Value, json};

use crate::fake::*;
use crate::support::*;

/// Pulls `a/tool:1.0.0` from a registry whose answers are changed; what comes of it, with the
/// requests that were made.
async fn pulled(
    change: impl Fn(&str, &HeaderMap, Answer) -> Answer + Send + Sync + 'static,
) -> (Result<Vec<u8>, FetchError>, Vec<String>) {
    let fake = Fake::with(change).await;
    fake.put("1.0.0", &component("good"));
    let fetched = pull(&fake.oci("a/tool:1.0.0")).await;
    (fetched.map(|fetched| fetched.bytes), fake.asked())
}

fn is_blob(what: &str) -> bool {
    what.contains("/blobs/sha256:")
}

#[tokio::test]
async fn what_others_have_published_is_fetched() {
    let (bytes, asked) = pulled(|_, _, answer| answer).await;
    assert_eq!(bytes.unwrap(), component("good"));
    let (layer, subject) = (Digest::of(&component("good")), fake_digest());
    assert_eq!(
        asked,
        [
            "GET /v2/".to_owned(),
            "GET /v2/a/tool/manifests/1.0.0".to_owned(),
            format!("GET /v2/a/tool/blobs/{layer}"),
            format!("GET /v2/a/tool/referrers/{subject}"),
            format!(
                "GET /v2/a/tool/manifests/{}",
                subject.to_string().replace(':', "-")
            ),
        ]
    );
}

fn fake_digest() -> Digest {
    Digest::of(&serde_json::to_vec(&manifest(&component("good"))).unwrap())
}

#[tokio::test]
async fn other_bytes_than_were_promised_are_refused() {
    let len = component("good").len();
    let evil = component("evil");
    assert_eq!(evil.len(), len);
    let (result, _) = pulled(move |what, _, given| match is_blob(what) {
        true => answer(200, evil.clone()),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::Mismatch { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_swapped_tag_does_not_move_what_is_pinned() {
    let fake = Fake::start().await;
    let first = fake.put("1.0.0", &component("good"));
    let second = fake.put("1.0.0", &component("evil"));
    let pinned = pull(&fake.oci(&format!("a/tool:1.0.0@{first}")))
        .await
        .unwrap();
    assert_eq!(pinned.bytes, component("good"));
    assert_eq!(pinned.resolved, fake.oci(&format!("a/tool@{first}")));
    assert_eq!(pinned.version_tag.as_deref(), Some("1.0.0"));
    // Who isn't pinned is told what the tag is now.
    let moved = pull(&fake.oci("a/tool:1.0.0")).await.unwrap();
    assert_eq!(moved.resolved, fake.oci(&format!("a/tool@{second}")));
    // A registry that gives another manifest than was pinned.
    let fake = Fake::with(|what, _, given| match what.contains("/manifests/sha256:") {
        true => answer(
            200,
            serde_json::to_vec(&manifest(&component("evil"))).unwrap(),
        ),
        false => given,
    })
    .await;
    let digest = fake.put("1.0.0", &component("good"));
    let error = pull(&fake.oci(&format!("a/tool@{digest}")))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Mismatch { .. }), "{error}");
}

#[tokio::test]
async fn lies_about_a_digest_are_found() {
    let (result, _) = pulled(|what, _, given| match what.contains("/manifests/") {
        true => header(
            given,
            "docker-content-digest",
            &Digest::of(b"x").to_string(),
        ),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::Protocol { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn lies_about_a_length_are_found() {
    let len = component("good").len();
    // The manifest says another length than the blob has.
    for (size, expected) in [
        (len - 1, "more than the"),
        (len + 1, "were promised"),
        (usize::MAX, "larger than"),
        (0, "more than the"),
    ] {
        let fake = Fake::start().await;
        let mut manifest = manifest(&component("good"));
        manifest["layers"][0]["size"] = json!(size);
        fake.put_blob(&component("good"));
        fake.put_manifest("1.0.0", &manifest);
        let error = pull(&fake.oci("a/tool:1.0.0")).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{size}: {error}");
    }
    // The answer does.
    for says in [len - 1, len + 1, 10 << 30] {
        let (result, _) = pulled(move |what, _, given| match is_blob(what) {
            true => broken(&component("good")[..10], says),
            false => given,
        })
        .await;
        assert!(
            matches!(result, Err(FetchError::Network { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_or_is_refused() {
    let whole = component("good");
    let (first, rest) = whole.split_at(20);
    let (first, rest, len) = (first.to_vec(), rest.to_vec(), whole.len());
    let (result, asked) = pulled(move |what, headers, given| {
        if !is_blob(what) {
            return given;
        }
        match headers.get("range").map(|range| range.to_str().unwrap()) {
            None => header(broken(&first, len), "etag", "\"x\""),
            Some("bytes=20-") => {
                let range = format!("bytes 20-{}/{len}", len - 1);
                header(answer(206, rest.clone()), "content-range", &range)
            }
            Some(other) => panic!("{other}"),
        }
    })
    .await;
    assert_eq!(result.unwrap(), whole);
    assert_eq!(asked.iter().filter(|what| is_blob(what)).count(), 2);

    let (result, asked) = pulled(move |what, _, given| match is_blob(what) {
        true => broken(&component("good")[..10], len),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::Network { .. })),
        "{result:?}"
    );
    assert_eq!(
        asked.iter().filter(|what| is_blob(what)).count(),
        HTTP.tries
    );
}

#[tokio::test]
async fn nothing_is_endless() {
    for part in ["/manifests/", "/blobs/", "/referrers/"] {
        let (result, _) = pulled(move |what, _, given| match what.contains(part) {
            true => endless(),
            false => given,
        })
        .await;
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("larger than") || error.contains("more than the"),
            "{error}"
        );
    }
    // A manifest that is huge, and says so.
    let (result, _) = pulled(|what, _, given| match what.contains("/manifests/") {
        true => header(endless(), "content-length", "10737418240"),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::TooLarge { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn redirects_in_a_circle_are_left() {
    let (result, asked) = pulled(|what, _, given| match what.contains("/blobs/") {
        true => header(answer(307, ""), "location", what.split(' ').nth(1).unwrap()),
        false => given,
    })
    .await;
    assert!(result.unwrap_err().to_string().contains("in a circle"));
    assert_eq!(asked.iter().filter(|what| is_blob(what)).count(), 1);
}

#[tokio::test]
async fn what_is_no_component_is_not_fetched() {
    let good = component("good");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut document = manifest(&good);
        change(&mut document);
        document
    };
    let layer = manifest(&good)["layers"][0].clone();
    for (document, expected) in [
        (with(&|m| m["layers"] = json!([])), "it has 0 layers"),
        (
            with(&|m| m["layers"] = json!([layer, layer])),
            "it has 2 layers",
        ),
        (
            with(&|m| {
                m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip")
            }),
            "its layer is application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            with(&|m| m["manifests"] = json!([])),
            "neither of one thing nor of many",
        ),
        (
            with(&|m| m["layers"] = Value::Null),
            "neither of one thing nor of many",
        ),
        (with(&|m| m["schemaVersion"] = json!(1)), "of schema 1"),
        (
            with(&|m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json")),
            "neither of one thing nor of many",
        ),
        (
            with(&|m| m["layers"][0]["digest"] = json!("sha256:../../etc/passwd")),
            "can't be read",
        ),
        (
            with(&|m| m["layers"][0]["digest"] = json!("md5:0123456789abcdef")),
            "sha256 and sha512",
        ),
        (
            with(&|m| m["layers"][0]["digest"] = json!("x:../../manifests/1")),
            "can't be read",
        ),
        (
            with(&|m| m["layers"][0]["size"] = json!(-1)),
            "can't be read",
        ),
        (json!([]), "can't be read"),
        (json!("x"), "can't be read"),
    ] {
        let fake = Fake::start().await;
        fake.put_blob(&good);
        fake.put_manifest("1.0.0", &document);
        let error = pull(&fake.oci("a/tool:1.0.0")).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{document}: {error}");
        assert!(!fake.asked().iter().any(|what| what.contains("..")));
    }
    let nested = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let (result, _) = pulled(move |what, _, given| match what.contains("/manifests/") {
        true => answer(200, nested.clone()),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::NotAComponent { .. })),
        "{result:?}"
    );
    // It is sent as something else than it says.
    let (result, _) = pulled(|what, _, given| match what.contains("/manifests/") {
        true => header(
            given,
            "content-type",
            "application/vnd.oci.image.index.v1+json",
        ),
        false => given,
    })
    .await;
    assert!(
        matches!(result, Err(FetchError::NotAComponent { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_list_leads_to_one_component() {
    let kind = "application/vnd.oci.image.index.v1+json";
    let listed = |digest: &str, size: usize, architecture: &str| {
        json!({
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": { "architecture": architecture, "os": "wasip2" },
        })
    };
    let size = serde_json::to_vec(&manifest(&component("good")))
        .unwrap()
        .len();
    for (entries, expected) in [
        (vec![(size, "amd64"), (size, "wasm")], ""),
        (vec![(size, "amd64")], "without a component"),
        (vec![(size, "wasm"), (size, "wasm")], "several components"),
        (vec![(size + 1, "wasm")], "were promised"),
    ] {
        let fake = Fake::start().await;
        let digest = fake.put("inner", &component("good"));
        let manifests: Vec<_> = entries
            .iter()
            .map(|(size, architecture)| listed(&digest, *size, architecture))
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
        fake.put_manifest("1.0.0", &index);
        match pull(&fake.oci("a/tool:1.0.0")).await {
            Ok(fetched) => {
                assert_eq!(expected, "");
                assert_eq!(fetched.resolved, fake.oci(&format!("a/tool@{digest}")));
            }
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
        // A list of lists has no end.
        let inner = fake.put_manifest("inner", &index);
        let size = serde_json::to_vec(&index).unwrap().len();
        let outer = json!({
            "schemaVersion": 2, "mediaType": kind, "manifests": [listed(&inner, size, "wasm")],
        });
        fake.put_manifest("outer", &outer);
        let error = pull(&fake.oci("a/tool:outer")).await.unwrap_err();
        assert!(
            error.to_string().contains("a list within a list"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn lists_of_tags_are_read_to_their_end() {
    let fake = Fake::with(|what, _, given| match what.split_once("tags/list?") {
        Some((_, "n=1000")) => header(
            given,
            "link",
            "</v2/a/tool/tags/list?last=x&n=1000>; rel=\"next\"",
        ),
        Some(_) => answer(200, json!({ "tags": ["2.0.0", "1.0.0"] }).to_string()),
        None => given,
    })
    .await;
    for tag in ["1.0.0", "1.10.0", "1.9.0", "latest", "v3.0.0", "1.0.0-rc.1"] {
        fake.put(tag, &component("good"));
    }
    fake.put(
        &format!("sha256-{}", Digest::of(b"").hex()),
        &component("good"),
    );
    let reference = fake.oci("a/tool").parse().unwrap();
    let versions = fetcher().versions(&reference).await.unwrap();
    let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
    assert_eq!(
        versions,
        ["1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0", "2.0.0"]
    );
    for (link, expected) in [
        ("</v2/a/tool/tags/list?n=1000>; rel=\"next\"", "has no end"),
        (
            "<http://127.0.0.2:1/steal>; rel=\"next\"",
            "at another server",
        ),
    ] {
        let fake = Fake::with(move |what, _, given| match what.contains("tags/list") {
            true => header(given, "link", link),
            false => given,
        })
        .await;
        let reference = fake.oci("a/tool").parse().unwrap();
        let error = fetcher().versions(&reference).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let reference = Fake::with(|_, _, _| answer(404, "")).await.oci("a/none");
    let error = fetcher()
        .versions(&reference.parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::NotFound { .. } | FetchError::Network { .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn words_of_a_registry_are_shortened() {
    let words = json!({ "errors": [{ "code": "DENIED", "message": format!("\u{1b}[2J{}", "x".repeat(10_000)) }] });
    let (result, _) = pulled(move |what, _, given| match what.contains("/manifests/") {
        true => answer(403, words.to_string()),
        false => given,
    })
    .await;
    let error = result.unwrap_err().to_string();
    assert!(error.len() < 1_000 && !error.contains('\u{1b}'), "{error}");
    assert!(error.contains("docker login"), "{error}");
}
