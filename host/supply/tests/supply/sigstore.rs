//! Recorded Sigstore bundles, verified offline. Who signed them stands in the bundles.

use std::fs;

use expect_test::{Expect, expect};
use portreeve_supply::signature::{SignatureFile, SignatureKind, Signer};
use serde_json::{Value, json};

use crate::signature::{Project, examine};

const BLOB: &[u8] = include_bytes!("sigstore/cosign-v3-blob.txt");
const BUNDLE: &str = include_str!("sigstore/cosign-v3-blob.sigstore.json");
const STAGING_BLOB: &[u8] = include_bytes!("sigstore/staging-rekor-v2.txt");
const STAGING_BUNDLE: &str = include_str!("sigstore/staging-rekor-v2.txt.sigstore.json");
const ATTESTATION: &str = include_str!("sigstore/conda-attestation.sigstore.json");
const MANAGED_KEY: &str = include_str!("sigstore/managed-key.sigstore.json");
const ISSUER: &str = "https://github.com/login/oauth";

fn bundle(text: impl Into<String>) -> SignatureFile {
    SignatureFile {
        kind: SignatureKind::SigstoreBundle,
        bytes: text.into().into_bytes(),
    }
}

/// Who a bundle says has made it: the error says whom to list.
fn identity(text: &str) -> String {
    let project = Project::new();
    let trust = project.trust("require = 'none'");
    let refusal = examine(&trust, b"", &[bundle(text)]).unwrap_err();
    let (_, rest) = refusal.finding.split_once("it was made by ").unwrap();
    rest.split_once(" (vouched for by").unwrap().0.to_owned()
}

/// A policy that lists an identity.
fn listing(identity: &str, issuer: &str, more: &str) -> String {
    format!("identities = [{{ identity = '{identity}', issuer = '{issuer}'{more} }}]")
}

/// What becomes of a bundle under a policy, without the signer's name.
fn outcome(project: &Project, policy: &str, blob: &[u8], text: &str) -> String {
    let trust = project.trust(policy);
    let shown = match examine(&trust, blob, &[bundle(text)]) {
        Ok(examined) => examined.signer.unwrap().to_string(),
        Err(refusal) => refusal.to_string(),
    };
    // The names of those who made the recorded bundles don't belong into expectations.
    let word = |word: &str| match word.split_once('@') {
        Some((name, domain)) if !name.contains('/') && domain.contains('.') => {
            "signer@example.com".to_owned()
        }
        _ => word.to_owned(),
    };
    shown.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn check(policy: &str, blob: &[u8], text: &str, expected: Expect) {
    expected.assert_eq(&outcome(&Project::new(), policy, blob, text));
}

#[test]
fn a_bundle_of_a_listed_identity_counts() {
    let who = identity(BUNDLE);
    check(
        &listing(&who, ISSUER, ""),
        BLOB,
        BUNDLE,
        expect!["sigstore signer@example.com https://github.com/login/oauth"],
    );
    // A pattern where the operator wrote one.
    let (_, domain) = who.split_once('@').unwrap();
    check(
        &listing(&format!("*@{domain}"), ISSUER, ""),
        BLOB,
        BUNDLE,
        expect!["sigstore signer@example.com https://github.com/login/oauth"],
    );
}

#[test]
fn identity_and_issuer_are_both_demanded() {
    let who = identity(BUNDLE);
    check(
        "",
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it was made by signer@example.com (vouched for by https://github.com/login/oauth), who is not listed; if that is who you expect, list identity and issuer under `identities` in [policy.signatures]"
        ],
    );
    check(
        &listing("else@example.com", ISSUER, ""),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it was made by signer@example.com (vouched for by https://github.com/login/oauth), who is not listed; if that is who you expect, list identity and issuer under `identities` in [policy.signatures]"
        ],
    );
    check(
        &listing(&who, "https://accounts.google.com", ""),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it was made by signer@example.com (vouched for by https://github.com/login/oauth), who is not listed; if that is who you expect, list identity and issuer under `identities` in [policy.signatures]"
        ],
    );
    check(
        &listing(&format!("{who}.example"), ISSUER, ""),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it was made by signer@example.com (vouched for by https://github.com/login/oauth), who is not listed; if that is who you expect, list identity and issuer under `identities` in [policy.signatures]"
        ],
    );
}

#[test]
fn identities_have_their_plugins_and_their_time() {
    let who = identity(BUNDLE);
    check(
        &listing(&who, ISSUER, ", plugins = ['acme-tables']"),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: signer@example.com (vouched for by https://github.com/login/oauth) may sign acme-tables, but not the plugin acme-charts; if it may sign this plugin as well, add the plugin's id to its `plugins` in [policy.signatures]"
        ],
    );
    check(
        &listing(&who, ISSUER, ", not-after = '2026-11-19'"),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: signatures by signer@example.com (vouched for by https://github.com/login/oauth) counted until 2026-11-19 (UTC), and that day is over; ask the author for a signature by a current key; or set a later `not-after` in [policy.signatures]"
        ],
    );
    check(
        &listing(&who, ISSUER, ", not-after = '2026-11-20', plugins = ['*']"),
        BLOB,
        BUNDLE,
        expect!["sigstore signer@example.com https://github.com/login/oauth"],
    );
    check(
        &listing(&who, ISSUER, ", revoked = 'left the company'"),
        BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: signer@example.com (vouched for by https://github.com/login/oauth) is revoked: left the company; don't use this component; ask the author for one that is signed by another key"
        ],
    );
}

#[test]
fn a_bundle_is_of_one_file() {
    let policy = listing(&identity(BUNDLE), ISSUER, "");
    check(
        &policy,
        b"another file",
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is not a signature of this component by signer@example.com (vouched for by https://github.com/login/oauth): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    check(
        &policy,
        STAGING_BLOB,
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is not a signature of this component by signer@example.com (vouched for by https://github.com/login/oauth): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    check(
        &policy,
        &[BLOB, b"\n"].concat(),
        BUNDLE,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is not a signature of this component by signer@example.com (vouched for by https://github.com/login/oauth): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    // Even where the bundle is made to say so.
    let digest = portreeve_supply::Digest::of(b"another file");
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(digest.as_bytes())
    };
    let changed =
        changed(|bundle| bundle["messageSignature"]["messageDigest"]["digest"] = json!(encoded));
    check(
        &policy,
        b"another file",
        &changed,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is not a signature of this component by signer@example.com (vouched for by https://github.com/login/oauth): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
}

/// The bundle with something changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(BUNDLE).unwrap();
    change(&mut value);
    value.to_string()
}

#[test]
fn every_part_of_a_bundle_is_needed() {
    let policy = listing(&identity(BUNDLE), ISSUER, "");
    let material = "verificationMaterial";
    let entry = |bundle: &mut Value| bundle[material]["tlogEntries"][0].take();
    check(
        &policy,
        BLOB,
        &changed(|b| b[material]["tlogEntries"] = json!([])),
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
    check(
        &policy,
        BLOB,
        &changed(|b| {
            let mut one = entry(b);
            one.as_object_mut().unwrap().remove("inclusionProof");
            b[material]["tlogEntries"] = json!([one]);
        }),
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
    check(
        &policy,
        BLOB,
        &changed(|b| {
            let mut one = entry(b);
            one["integratedTime"] = json!("1");
            b[material]["tlogEntries"] = json!([one]);
        }),
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: invalid inclusion promise: No log key valid at integrated time 1970-01-01T00:00:01Z for log ID wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0=; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
    check(
        &policy,
        BLOB,
        &changed(|b| {
            let mut one = entry(b);
            one["inclusionProof"]["logIndex"] = json!("1");
            b[material]["tlogEntries"] = json!([one]);
        }),
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: invalid inclusion proof: inclusion proof verification failed: expected 30 proof hashes, got 17; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
    // The signature and log of another bundle.
    let other: Value = serde_json::from_str(STAGING_BUNDLE).unwrap();
    check(
        &policy,
        BLOB,
        &changed(|b| {
            b["messageSignature"]["signature"] = other["messageSignature"]["signature"].clone()
        }),
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: invalid RFC 3161 timestamp: TSA timestamp verification failed: Timestamp message hash mismatch: expected baa85fece9ebe7eaeb84f81048043633df3044de12ba7025b770d17ce75e7a6e, got 3a360f992e908b16bd390a9d5d640c3cdebad7de0652757796211577b71b5bca; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
    // A certificate of another trust root, for somebody who is listed as well.
    let both = format!(
        "identities = [{{ identity = '{}', issuer = '{ISSUER}' }}, {{ identity = '{}', issuer = '{ISSUER}' }}]",
        identity(BUNDLE),
        identity(STAGING_BUNDLE)
    );
    let swapped = changed(|b| b[material]["certificate"] = other[material]["certificate"].clone());
    check(
        &both,
        BLOB,
        &swapped,
        expect![
            "signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: certificate chain is invalid: certificate chain validation failed: CertExpired { time: UnixTime(1764787002), not_after: UnixTime(1749470855) }; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
        ],
    );
}

#[test]
fn what_is_no_signature_of_a_file_is_refused() {
    for (text, expected) in [
        (
            "",
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: JSON error: EOF while parsing a value at line 1 column 0; get the signature again from whoever published the plugin"
            ],
        ),
        (
            "{}",
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: JSON error: missing field `verificationMaterial` at line 1 column 2; get the signature again from whoever published the plugin"
            ],
        ),
        (
            "\u{feff}{}",
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: JSON error: expected value at line 1 column 1; get the signature again from whoever published the plugin"
            ],
        ),
        (
            ATTESTATION,
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: it is an attestation about the component, not a signature of it (`cosign sign-blob` makes one); get the signature again from whoever published the plugin"
            ],
        ),
        (
            MANAGED_KEY,
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: it has no certificate, but was made with a key; of keys only those of minisign count here; get the signature again from whoever published the plugin"
            ],
        ),
        (
            &"[".repeat(10_000),
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: JSON error: invalid type: sequence, expected struct BundleHelper at line 1 column 0; get the signature again from whoever published the plugin"
            ],
        ),
        (
            &" ".repeat(300 << 10),
            expect![
                "signature: the component of `charts` has a Sigstore bundle that doesn't count: it is no Sigstore bundle that can be read: it has more than 262144 bytes; get the signature again from whoever published the plugin"
            ],
        ),
    ] {
        check("", BLOB, text, expected);
    }
}

#[test]
fn the_trust_root_is_the_operators() {
    use sigstore_verify::trust_root::{
        SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT,
    };
    let project = Project::new();
    let policy = listing(&identity(STAGING_BUNDLE), ISSUER, "");
    let stale = outcome(&project, &policy, STAGING_BLOB, STAGING_BUNDLE);
    expect!["signature: the component of `charts` has a Sigstore bundle that doesn't count: the bundle does not prove that signer@example.com (vouched for by https://github.com/login/oauth) signed this component: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: CMS signer does not match any trusted TSA certificate; get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"].assert_eq(&stale);
    let write = |text| fs::write(project.directory.path().join("root.json"), text).unwrap();
    let with_root = format!("trust-root = 'root.json'\n{policy}");
    write(SIGSTORE_STAGING_TRUSTED_ROOT);
    let staging = outcome(&project, &with_root, STAGING_BLOB, STAGING_BUNDLE);
    expect!["sigstore signer@example.com https://github.com/login/oauth"].assert_eq(&staging);
    // It stands in the place of the public one.
    let production = format!(
        "trust-root = 'root.json'\n{}",
        listing(&identity(BUNDLE), ISSUER, "")
    );
    assert!(outcome(&project, &production, BLOB, BUNDLE).contains("does not prove"));
    write(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
    assert!(outcome(&project, &production, BLOB, BUNDLE).starts_with("sigstore "));
}

#[test]
fn a_workflow_keeps_being_the_same_signer() {
    let workflow = |tag: &str| {
        format!("https://github.com/acme/charts/.github/workflows/release.yml@refs/tags/{tag}")
    };
    let issuer = "https://token.actions.githubusercontent.com";
    let now = Signer::Identity {
        identity: workflow("v1.5.0"),
        issuer: issuer.to_owned(),
    };
    let before = format!("sigstore {} {issuer}", workflow("v1.4.0"));
    let project = Project::new();
    let pattern = project.trust(&listing(&workflow("*"), issuer, ""));
    assert_eq!(pattern.turn(Some(&before), Some(&now)), None);
    let exact = project.trust(&listing(&workflow("v1.5.0"), issuer, ""));
    assert!(exact.turn(Some(&before), Some(&now)).is_some());
    let other_issuer = before.replace("githubusercontent", "example");
    assert!(pattern.turn(Some(&other_issuer), Some(&now)).is_some());
}
