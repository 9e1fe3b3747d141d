//! Minisign signatures and the operator's policy: what counts, and why not.

use std::fs;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use portreeve_manifest::id::{Alias, PluginId};
use portreeve_manifest::policy::SignaturePolicy;
use portreeve_supply::signature::{
    Demand, Examined, KeyError, NewKeyPair, PublicKey, Refusal, SIGNATURE_BYTES_MAX, SecretKey,
    SignatureFile, SignatureKind, Signer, Subject, Trust,
};
use semver::Version;

/// What is signed in these tests.
const ARTIFACT: &[u8] = b"\0asm the component";

/// A project's directory with the keys of three authors.
pub(crate) struct Project {
    pub(crate) directory: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Project {
        Project {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Makes a key, writes its public half as `NAME.pub`, and gives the secret one.
    pub(crate) fn key(&self, name: &str) -> SecretKey {
        let pair = NewKeyPair::generate(None).unwrap();
        let public = self.directory.path().join(format!("{name}.pub"));
        let secret = self.directory.path().join(format!("{name}.key"));
        pair.write(&public, &secret).unwrap();
        SecretKey::parse(&SecretKey::read_text(&secret).unwrap(), None).unwrap()
    }

    pub(crate) fn trust(&self, policy: &str) -> Trust {
        self.load(policy).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn load(
        &self,
        policy: &str,
    ) -> Result<Trust, portreeve_supply::signature::TrustError> {
        let policy: SignaturePolicy = toml::from_str(policy).unwrap();
        Trust::load(&policy, self.directory.path())
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Looks at signatures of the plugin `acme-charts` 1.4.0 on a day in 2026.
pub(crate) fn examine(
    trust: &Trust,
    artifact: &[u8],
    signatures: &[SignatureFile],
) -> Result<Examined, Refusal> {
    examine_at(trust, artifact, signatures, "2026-11-20T12:00:00Z", true)
}

fn examine_at(
    trust: &Trust,
    artifact: &[u8],
    signatures: &[SignatureFile],
    now: &str,
    required: bool,
) -> Result<Examined, Refusal> {
    let (id, version) = (PluginId::new("acme-charts").unwrap(), Version::new(1, 4, 0));
    let subject = Subject {
        id: &id,
        version: &version,
        now: time(now),
    };
    let alias = Alias::new("charts").unwrap();
    let demand = Demand {
        alias: &alias,
        required,
        agreed: None,
    };
    trust.examine(artifact, signatures, &subject, &demand)
}

fn sign(key: &SecretKey, id: &str, version: &str) -> SignatureFile {
    let id = PluginId::new(id).unwrap();
    key.sign(ARTIFACT, &id, &version.parse().unwrap()).unwrap()
}

fn minisign(bytes: impl Into<Vec<u8>>) -> SignatureFile {
    SignatureFile {
        kind: SignatureKind::Minisign,
        bytes: bytes.into(),
    }
}

/// The refusal, with the numbers of keys replaced by the names in `keys`.
fn refused(result: Result<Examined, Refusal>, keys: &[(&str, &SecretKey)], expected: Expect) {
    let mut shown = match result {
        Ok(examined) => panic!("accepted: {examined:?}"),
        Err(refusal) => refusal.to_string(),
    };
    for (name, key) in keys {
        shown = shown.replace(&key.public().id(), &format!("<{name}>"));
    }
    expected.assert_eq(&shown);
}

#[test]
fn a_signature_by_a_listed_key_counts() {
    let project = Project::new();
    let key = project.key("acme");
    let trust = project.trust("keys = [{ file = 'acme.pub', plugins = ['acme-*'] }]");
    let signature = sign(&key, "acme-charts", "1.4.0");
    let examined = examine(&trust, ARTIFACT, &[signature]).unwrap();
    let signer = examined.signer.unwrap();
    assert_eq!(
        signer.to_string(),
        format!("minisign {}", key.public().to_base64())
    );
    assert_eq!(
        signer.words(),
        format!("the minisign key {} (acme.pub)", key.public().id())
    );
    assert!(examined.passed_over.is_empty());
}

#[test]
fn what_does_not_count_says_why() {
    let project = Project::new();
    let (acme, other) = (project.key("acme"), project.key("other"));
    let keys = [("acme", &acme), ("other", &other)];
    let trust = project.trust("keys = [{ file = 'acme.pub' }]");
    let look = |signatures: &[SignatureFile]| examine(&trust, ARTIFACT, signatures);
    let good = sign(&acme, "acme-charts", "1.4.0");

    refused(
        look(&[]),
        &keys,
        expect![[
            r#"signature: the component of `charts` is not signed, but must be; ask the author for a signature; or, to run it all the same, write `require = "none"` in [policy.signatures]"#
        ]],
    );
    refused(
        look(&[sign(&other, "acme-charts", "1.4.0")]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it was made with the minisign key <other>, which is not listed; if you know the key to be the author's, list its public key under `keys` in [policy.signatures]"
        ],
    );
    refused(
        look(&[sign(&acme, "acme-tables", "1.4.0")]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed it as the plugin acme-tables, but its manifest says acme-charts; don't use this component: it is not what was asked for; or ask the author to sign it again"
        ],
    );
    refused(
        look(&[sign(&acme, "acme-charts", "1.3.9")]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed it as version 1.3.9, but its manifest says 1.4.0; don't use this component: it is not what was asked for; or ask the author to sign it again"
        ],
    );
    // Another file, and a changed one.
    refused(
        examine(&trust, b"\0asm another", std::slice::from_ref(&good)),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is not a signature of this component by the minisign key <acme> (acme.pub): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    // The trusted comment was changed.
    let text = String::from_utf8(good.bytes.clone()).unwrap();
    let comment = text.replace("version=1.4.0", "version=1.5.0");
    refused(
        look(&[minisign(comment)]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is not a signature of this component by the minisign key <acme> (acme.pub): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    // The untrusted one doesn't count for anything.
    let comment = text.replace("signature by", "no signature by");
    assert!(look(&[minisign(comment)]).is_ok());
    refused(
        look(&[minisign("")]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is no minisign signature that can be read: it doesn't say which key made it; get the signature again from whoever published the plugin"
        ],
    );
    refused(
        look(&[minisign([0xff, 0xfe])]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is no minisign signature that can be read: it is no text; get the signature again from whoever published the plugin"
        ],
    );
    refused(
        look(&[minisign(vec![b'a'; SIGNATURE_BYTES_MAX + 1])]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is no minisign signature that can be read: it is too long; get the signature again from whoever published the plugin"
        ],
    );
    refused(
        look(&[minisign(
            text.lines().take(3).collect::<Vec<_>>().join("\n"),
        )]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is no minisign signature that can be read: Invalid encoding in minisign data; get the signature again from whoever published the plugin"
        ],
    );
    refused(
        look(&[
            sign(&other, "acme-charts", "1.4.0"),
            sign(&acme, "acme-charts", "9.0.0"),
            minisign(""),
        ]),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed it as version 9.0.0, but its manifest says 1.4.0 (nor does any of 2 more); don't use this component: it is not what was asked for; or ask the author to sign it again"
        ],
    );
}

/// A signature with any trusted comment, as the `minisign` tool makes it by default.
fn sign_with_comment(project: &Project, name: &str, comment: &str) -> SignatureFile {
    let secret = fs::read_to_string(project.directory.path().join(format!("{name}.key"))).unwrap();
    let key = minisign::SecretKeyBox::from(secret)
        .into_unencrypted_secret_key()
        .unwrap();
    let signature = minisign::sign(None, &key, ARTIFACT, Some(comment), None).unwrap();
    minisign(signature.into_string())
}

#[test]
fn a_signature_must_be_bound_to_a_plugin() {
    let project = Project::new();
    let key = project.key("acme");
    let trust = project.trust("keys = [{ file = 'acme.pub' }]");
    for (comment, expected) in [
        (
            "timestamp:1555779966\tfile:charts.wasm\thashed",
            expect![[
                r#"signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed these bytes, but not as a plugin: the trusted comment is `timestamp:1555779966\tfile:charts.wasm\thashed`, where `name=ID version=VERSION` has to stand; ask the author to sign with `portreeve sign`, or with `minisign -t 'name=ID version=VERSION'`"#
            ]],
        ),
        (
            "name=acme-charts",
            expect![
                "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed these bytes, but not as a plugin: the trusted comment is `name=acme-charts`, where `name=ID version=VERSION` has to stand; ask the author to sign with `portreeve sign`, or with `minisign -t 'name=ID version=VERSION'`"
            ],
        ),
        (
            "name=acme-charts version=1.4.0 name=other",
            expect![
                "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) signed these bytes, but not as a plugin: the trusted comment is `name=acme-charts version=1.4.0 name=other`, where `name=ID version=VERSION` has to stand; ask the author to sign with `portreeve sign`, or with `minisign -t 'name=ID version=VERSION'`"
            ],
        ),
    ] {
        let signature = sign_with_comment(&project, "acme", comment);
        refused(
            examine(&trust, ARTIFACT, &[signature]),
            &[("acme", &key)],
            expected,
        );
    }
    let signature = sign_with_comment(&project, "acme", "name=acme-charts version=1.4.0");
    assert!(examine(&trust, ARTIFACT, &[signature]).is_ok());
}

#[test]
fn keys_have_their_plugins_and_their_time() {
    let project = Project::new();
    let (acme, old) = (project.key("acme"), project.key("old"));
    let keys = [("acme", &acme), ("old", &old)];
    let (by_acme, by_old) = (
        sign(&acme, "acme-charts", "1.4.0"),
        sign(&old, "acme-charts", "1.4.0"),
    );
    let scoped = project.trust("keys = [{ file = 'acme.pub', plugins = ['acme-tables', 'x*'] }]");
    refused(
        examine(&scoped, ARTIFACT, std::slice::from_ref(&by_acme)),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <acme> (acme.pub) may sign acme-tables, x*, but not the plugin acme-charts; if it may sign this plugin as well, add the plugin's id to its `plugins` in [policy.signatures]"
        ],
    );

    let trust = project.trust(
        "keys = [{ file = 'acme.pub', not-after = '2026-12-31' }, { file = 'old.pub', revoked = 'laptop stolen' }]",
    );
    // To the last moment of the day in UTC.
    for (now, counts) in [
        ("2026-12-31T00:00:00Z", true),
        ("2026-12-31T23:59:59.999Z", true),
        ("2027-01-01T00:00:00Z", false),
        // Still the 31st in New York, but not in UTC.
        ("2026-12-31T20:00:00-05:00", false),
        ("2030-06-01T00:00:00Z", false),
    ] {
        let result = examine_at(&trust, ARTIFACT, std::slice::from_ref(&by_acme), now, true);
        assert_eq!(result.is_ok(), counts, "{now}");
    }
    let late = examine_at(
        &trust,
        ARTIFACT,
        std::slice::from_ref(&by_acme),
        "2027-01-01T00:00:00Z",
        true,
    );
    refused(
        late,
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: signatures by the minisign key <acme> (acme.pub) counted until 2026-12-31 (UTC), and that day is over; ask the author for a signature by a current key; or set a later `not-after` in [policy.signatures]"
        ],
    );
    refused(
        examine(&trust, ARTIFACT, std::slice::from_ref(&by_old)),
        &keys,
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: the minisign key <old> (old.pub) is revoked: laptop stolen; don't use this component; ask the author for one that is signed by another key"
        ],
    );
    // One that counts is enough.
    let both = examine(&trust, ARTIFACT, &[by_old, by_acme]).unwrap();
    assert_eq!(both.passed_over.len(), 1);
    assert!(both.signer.unwrap().words().contains("acme.pub"));
}

#[test]
fn where_none_is_required_none_is_needed() {
    let project = Project::new();
    let key = project.key("acme");
    let trust = project.trust("keys = [{ file = 'acme.pub' }]");
    let look = |signatures: &[SignatureFile]| {
        examine_at(&trust, ARTIFACT, signatures, "2026-11-20T12:00:00Z", false).unwrap()
    };
    assert_eq!(look(&[]).signer, None);
    let stale = look(&[sign(&key, "acme-charts", "1.3.0")]);
    assert_eq!((stale.signer, stale.passed_over.len()), (None, 1));
    // Who has signed is known all the same.
    assert!(look(&[sign(&key, "acme-charts", "1.4.0")]).signer.is_some());
}

#[test]
fn of_several_signers_the_one_agreed_to_is_kept() {
    let project = Project::new();
    let keys = [project.key("a"), project.key("b"), project.key("c")];
    let trust =
        project.trust("keys = [{ file = 'a.pub' }, { file = 'b.pub' }, { file = 'c.pub' }]");
    let mut signatures: Vec<_> = keys
        .iter()
        .map(|key| sign(key, "acme-charts", "1.4.0"))
        .collect();
    let (id, version) = (PluginId::new("acme-charts").unwrap(), Version::new(1, 4, 0));
    let subject = Subject {
        id: &id,
        version: &version,
        now: time("2026-11-20T12:00:00Z"),
    };
    let alias = Alias::new("charts").unwrap();
    for key in &keys {
        let agreed = format!("minisign {}", key.public().to_base64());
        let demand = Demand {
            alias: &alias,
            required: true,
            agreed: Some(&agreed),
        };
        let signer = trust
            .examine(ARTIFACT, &signatures, &subject, &demand)
            .unwrap()
            .signer;
        assert_eq!(signer.as_ref().unwrap().to_string(), agreed);
        assert_eq!(trust.turn(Some(&agreed), signer.as_ref()), None);
    }
    let demand = Demand {
        alias: &alias,
        required: true,
        agreed: None,
    };
    let first = trust
        .examine(ARTIFACT, &signatures, &subject, &demand)
        .unwrap()
        .signer
        .unwrap();
    signatures.reverse();
    let again = trust
        .examine(ARTIFACT, &signatures, &subject, &demand)
        .unwrap()
        .signer
        .unwrap();
    assert_eq!(first, again);

    let turn = trust.turn(Some("minisign x"), Some(&first)).unwrap();
    assert_eq!(
        (turn.before.as_deref(), turn.now),
        (Some("minisign x"), Some(first.to_string()))
    );
    assert_eq!(trust.turn(None, None), None);
    assert!(trust.turn(None, Some(&first)).is_some());
    assert!(trust.turn(Some("minisign x"), None).is_some());
}

#[test]
fn an_installed_component_is_judged_by_its_signer() {
    let project = Project::new();
    let key = project.key("acme");
    let line = format!("minisign {}", key.public().to_base64());
    let judge = |policy: &str, line: &str| {
        let (id, version) = (PluginId::new("acme-charts").unwrap(), Version::new(1, 4, 0));
        let subject = Subject {
            id: &id,
            version: &version,
            now: time("2026-11-20T12:00:00Z"),
        };
        match project
            .trust(policy)
            .judge(line, &subject, &Alias::new("charts").unwrap())
        {
            Ok(()) => String::new(),
            Err(refusal) => refusal.to_string().replace(&key.public().id(), "<acme>"),
        }
    };
    assert_eq!(judge("keys = [{ file = 'acme.pub' }]", &line), "");
    expect!["signature: the component of `charts` has a signature that counts no more: it was made with the minisign key <acme>, which is not listed; if you know the key to be the author's, list its public key under `keys` in [policy.signatures]"].assert_eq(&judge("", &line));
    expect!["signature: the component of `charts` has a signature that counts no more: the minisign key <acme> (acme.pub) is revoked: lost; don't use this component; ask the author for one that is signed by another key"].assert_eq(&judge(
        "keys = [{ file = 'acme.pub', revoked = 'lost' }]",
        &line,
    ));
    expect!["signature: the component of `charts` has a signature that counts no more: signatures by the minisign key <acme> (acme.pub) counted until 2026-11-19 (UTC), and that day is over; ask the author for a signature by a current key; or set a later `not-after` in [policy.signatures]"].assert_eq(&judge(
        "keys = [{ file = 'acme.pub', not-after = '2026-11-19' }]",
        &line,
    ));
    expect!["signature: the component of `charts` has a signer in portreeve.lock that can't be read; install it again with `portreeve update charts`"].assert_eq(&judge("keys = [{ file = 'acme.pub' }]", "minisign"));
}

#[test]
fn a_policy_names_files_that_are_there() {
    let project = Project::new();
    let key = project.key("acme");
    let directory = project.directory.path();
    fs::copy(directory.join("acme.pub"), directory.join("copy.pub")).unwrap();
    fs::write(directory.join("empty.pub"), "").unwrap();
    fs::write(directory.join("long.pub"), "x".repeat(10_000)).unwrap();
    fs::write(directory.join("root.json"), "{}").unwrap();
    // One line of base64 is enough.
    fs::write(directory.join("line.pub"), key.public().to_base64()).unwrap();
    project.trust("keys = [{ file = 'line.pub' }]");
    for (policy, expected) in [
        (
            "keys = [{ file = 'missing.pub' }]",
            expect![
                "`policy.signatures.keys.0.file`: `<project>/missing.pub` can't be read: No such file or directory (os error 2)"
            ],
        ),
        (
            "keys = [{ file = 'acme.pub' }, { file = 'copy.pub' }]",
            expect![
                "`policy.signatures.keys.1.file`: this is the same key as in `acme.pub`; list it once"
            ],
        ),
        (
            "keys = [{ file = 'empty.pub' }]",
            expect![
                "`policy.signatures.keys.0.file`: this is no minisign public key: it is not a comment and a line of base64; give the file that `portreeve keys new` or `minisign -G` wrote as public key, or its last line"
            ],
        ),
        (
            "keys = [{ file = 'long.pub' }]",
            expect![
                "`policy.signatures.keys.0.file`: this is no minisign public key: it is too long; give the file that `portreeve keys new` or `minisign -G` wrote as public key, or its last line"
            ],
        ),
        (
            "keys = [{ file = 'acme.key' }]",
            expect![
                "`policy.signatures.keys.0.file`: this is no minisign public key: its length is not that of one; give the file that `portreeve keys new` or `minisign -G` wrote as public key, or its last line"
            ],
        ),
        (
            "trust-root = 'missing.json'",
            expect![
                "`policy.signatures.trust-root`: `<project>/missing.json` can't be read: No such file or directory (os error 2)"
            ],
        ),
        (
            "trust-root = 'root.json'",
            expect![
                "`policy.signatures.trust-root`: this is no trust root of Sigstore: failed to parse JSON: missing field `mediaType` at line 1 column 2; get a current trusted_root.json (`cosign trusted-root create` makes one)"
            ],
        ),
    ] {
        let error = project.load(policy).err().unwrap().to_string();
        expected.assert_eq(&error.replace(&directory.display().to_string(), "<project>"));
    }
}

#[test]
fn secret_keys_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (public, secret) = (
        directory.path().join("k.pub"),
        directory.path().join("k.key"),
    );
    let pair = NewKeyPair::generate(Some("correct horse")).unwrap();
    pair.write(&public, &secret).unwrap();
    assert_eq!(PublicKey::read(&public).unwrap(), pair.public);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Neither file is ever written over.
    assert!(matches!(
        pair.write(&public, &secret),
        Err(KeyError::Exists(_))
    ));
    fs::remove_file(&secret).unwrap();
    assert!(matches!(
        pair.write(&public, &secret),
        Err(KeyError::Exists(_))
    ));
    assert!(!secret.exists());

    let text = pair.secret_text();
    assert!(!format!("{pair:?}").contains(text.lines().nth(1).unwrap()));
    assert!(SecretKey::is_protected(text).unwrap());
    assert!(matches!(
        SecretKey::parse(text, None),
        Err(KeyError::PassphraseNeeded)
    ));
    assert!(matches!(
        SecretKey::parse(text, Some("wrong")),
        Err(KeyError::WrongPassphrase)
    ));
    assert!(matches!(
        SecretKey::parse(text, Some("")),
        Err(KeyError::BadPassphrase)
    ));
    let key = SecretKey::parse(text, Some("correct horse")).unwrap();
    assert_eq!(key.public(), &pair.public);
    assert_eq!(
        format!("{key:?}"),
        format!("SecretKey({})", pair.public.id())
    );

    let open = NewKeyPair::generate(None).unwrap();
    assert!(!SecretKey::is_protected(open.secret_text()).unwrap());
    assert!(matches!(
        SecretKey::parse(open.secret_text(), Some("x")),
        Err(KeyError::NoPassphrase)
    ));
    assert!(matches!(
        NewKeyPair::generate(Some("")),
        Err(KeyError::BadPassphrase)
    ));
    assert!(matches!(
        NewKeyPair::generate(Some(&"x".repeat(2_000))),
        Err(KeyError::BadPassphrase)
    ));
}

#[test]
fn what_is_no_secret_key_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let pair = NewKeyPair::generate(None).unwrap();
    let text = pair.secret_text();
    let change = |at: usize, value: u8| {
        let mut bytes = STANDARD.decode(text.lines().nth(1).unwrap()).unwrap();
        bytes[at] = value;
        format!("untrusted comment: x\n{}\n", STANDARD.encode(bytes))
    };
    // A derivation that would take hours or all memory.
    let mut dear = STANDARD.decode(text.lines().nth(1).unwrap()).unwrap();
    dear[2..4].copy_from_slice(b"Sc");
    dear[38..46].copy_from_slice(&u64::MAX.to_le_bytes());
    let dear = format!("untrusted comment: x\n{}\n", STANDARD.encode(dear));
    for (text, expected) in [
        (
            String::new(),
            expect![
                "this is no minisign secret key: its length or algorithm is not that of one; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
        (
            pair.public.to_text(),
            expect![
                "this is no minisign secret key: its length or algorithm is not that of one; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
        (
            change(0, b'X'),
            expect![
                "this is no minisign secret key: its length or algorithm is not that of one; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
        (
            change(2, b'X'),
            expect![
                "this is no minisign secret key: it is protected in a way that is not known; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
        (
            change(100, !0),
            expect![
                "this is no minisign secret key: it is damaged; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
        (
            dear,
            expect![
                "this is no minisign secret key: it would take too much time or memory to derive its key from a passphrase; give the file that `portreeve keys new` or `minisign -G` wrote as secret key"
            ],
        ),
    ] {
        let passphrase = text.contains("U2M").then_some("x");
        expected.assert_eq(&SecretKey::parse(&text, passphrase).unwrap_err().to_string());
    }
}

#[test]
fn a_signer_is_never_another_by_the_number_of_its_key() {
    // Whoever makes a key chooses its number.
    let project = Project::new();
    let (acme, evil) = (project.key("acme"), project.key("evil"));
    let as_acme = |text: &str| {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let number = STANDARD.decode(acme.public().to_base64()).unwrap()[2..10].to_vec();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut bytes = STANDARD.decode(&lines[1]).unwrap();
        bytes[2..10].copy_from_slice(&number);
        lines[1] = STANDARD.encode(bytes);
        lines.join("\n")
    };
    let signature = sign(&evil, "acme-charts", "1.4.0");
    let forged = as_acme(&String::from_utf8(signature.bytes).unwrap());
    let trust = project.trust("keys = [{ file = 'acme.pub' }]");
    refused(
        examine(&trust, ARTIFACT, &[minisign(forged.clone())]),
        &[("acme", &acme)],
        expect![
            "signature: the component of `charts` has a minisign signature that doesn't count: it is not a signature of this component by the minisign key <acme> (acme.pub): one of the two was changed after signing, or the signature belongs to another file; don't use this component; get it and its signature again from whoever published it"
        ],
    );
    // Where both are listed under the same number, the right one is found.
    let public = as_acme(&evil.public().to_text());
    fs::write(project.directory.path().join("evil.pub"), public).unwrap();
    let trust = project.trust("keys = [{ file = 'acme.pub' }, { file = 'evil.pub' }]");
    let signer = examine(&trust, ARTIFACT, &[minisign(forged)])
        .unwrap()
        .signer
        .unwrap();
    assert!(matches!(signer, Signer::Key { file, .. } if file == "evil.pub"));
}
