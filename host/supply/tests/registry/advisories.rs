//! Advisories that lie in a registry, as `oras push REFERENCE all.zip` leaves them.

use std::io::Write as _;

use portreeve_manifest::source::OciReference;
use portreeve_supply::Digest;
use portreeve_supply::advisory::{AdvisoryStore, Collector};
use portreeve_supply::fetch::FetchError;
use serde_json::{Value, json};

use crate::fake::*;
use crate::support::*;

fn archive() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive
        .start_file("GHSA-xvch-5gv4-984h.json", options)
        .unwrap();
    let record = include_bytes!("../advisories/npm/GHSA-xvch-5gv4-984h.json");
    archive.write_all(record).unwrap();
    archive.finish().unwrap().into_inner()
}

/// The manifest of any artifact with these layers.
fn of_layers(layers: &[&[u8]]) -> Value {
    let layers = layers.iter().map(|layer| {
        json!({
            "mediaType": "application/zip",
            "digest": Digest::of(layer).to_string(),
            "size": layer.len(),
        })
    });
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.advisories",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": Digest::of(b"{}").to_string(),
            "size": 2,
        },
        "layers": layers.collect::<Vec<_>>(),
    })
}

async fn artifact(fake: &Fake, max: u64) -> Result<(Vec<u8>, String), FetchError> {
    let reference: OciReference = fake.oci("a/tool:1.0.0").parse().unwrap();
    let artifact = fetcher().artifact(&reference, max, &|_| {}).await?;
    Ok((artifact.bytes, artifact.resolved))
}

#[tokio::test]
async fn advisories_come_from_a_registry() {
    let bytes = archive();
    let fake = Fake::start().await;
    fake.put_blob(&bytes);
    let digest = fake.put_manifest("1.0.0", &of_layers(&[&bytes]));
    let (found, resolved) = artifact(&fake, 1 << 20).await.unwrap();
    assert_eq!(found, bytes);
    assert!(resolved.ends_with(&digest), "{resolved}, not {digest}");
    let mut collector = Collector::default();
    collector.bytes(&resolved, found).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = AdvisoryStore::new(dir.path().join("advisories"));
    let staged = store.stage(collector, 0).unwrap();
    assert_eq!(
        (staged.info.advisories, staged.info.sources),
        (1, vec![resolved])
    );

    let error = artifact(&fake, 10).await.unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { max: 10, .. }),
        "{error}"
    );
    for layers in [vec![], vec![bytes.as_slice(), b"x"]] {
        fake.put_blob(b"x");
        fake.put_manifest("1.0.0", &of_layers(&layers));
        let error = artifact(&fake, 1 << 20).await.unwrap_err().to_string();
        assert!(error.contains("where one was looked for"), "{error}");
    }
}

#[tokio::test]
async fn other_advisories_than_were_promised_are_refused() {
    let bytes = archive();
    let fake = Fake::with(|what, _, given| match what.contains("/blobs/sha256:") {
        true => answer(200, "PK\u{3}\u{4} something else"),
        false => given,
    })
    .await;
    fake.put_blob(&bytes);
    fake.put_manifest("1.0.0", &of_layers(&[&bytes]));
    assert!(artifact(&fake, 1 << 20).await.is_err());
}
