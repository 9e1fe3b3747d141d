use std::os::unix::fs::PermissionsExt as _;

use super::*;

const ROOM: u64 = 1_000;

fn store() -> (tempfile::TempDir, ArtifactStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(&dir.path().join("store"), ROOM).unwrap();
    (dir, store)
}

/// Changes a file of the store, which is read-only.
fn change(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

fn age(path: &Path, by: Duration) {
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

#[test]
fn what_is_put_in_is_there() {
    let (dir, store) = store();
    let digest = store.put(b"data").unwrap();
    assert_eq!(digest, Digest::of(b"data"));
    assert_eq!(store.put(b"data").unwrap(), digest);
    assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&b"data"[..]));
    assert_eq!(store.get(&Digest::of(b"other")).unwrap(), None);
    // Another project's.
    let same = ArtifactStore::open(&dir.path().join("store"), ROOM).unwrap();
    assert_eq!(same.get(&digest).unwrap().as_deref(), Some(&b"data"[..]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.path(&digest)), 0o400);
    assert_eq!(mode(&dir.path().join("store")), 0o700);
    assert_eq!(store.size().unwrap(), 4);
}

#[test]
fn what_was_changed_is_put_aside_and_never_given_out() {
    let long = vec![0; 2_000];
    for bytes in [&b"dato"[..], b"", b"data and more", &long] {
        let (_dir, store) = store();
        let digest = store.put(b"data").unwrap();
        change(&store.path(&digest), bytes);
        let error = store.get(&digest).unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
        assert!(!store.holds(&digest).unwrap());
        assert_eq!(fs::read(store.aside().join(digest.hex())).unwrap(), bytes);
        assert_eq!(store.get(&digest).unwrap(), None);
        // And it can be put in again, also where nobody has looked meanwhile.
        change(&store.path(&digest), bytes);
        let error = store.holds(&digest).unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
        change(&store.path(&digest), bytes);
        assert_eq!(store.put(b"data").unwrap(), digest);
        assert_eq!(store.get(&digest).unwrap().as_deref(), Some(&b"data"[..]));
        assert!(store.holds(&digest).unwrap());
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let (dir, store) = store();
    let digest = Digest::of(b"data");
    let other = dir.path().join("data");
    fs::write(&other, b"data").unwrap();
    std::os::unix::fs::symlink(&other, store.path(&digest)).unwrap();
    let error = store.get(&digest).unwrap_err();
    assert!(matches!(error, StoreError::NoFile(_)), "{error}");
    fs::remove_file(store.path(&digest)).unwrap();
    fs::create_dir(store.path(&digest)).unwrap();
    assert!(matches!(store.get(&digest), Err(StoreError::NoFile(_))));
}

#[test]
fn there_is_only_so_much_room() {
    let (_dir, store) = store();
    let first = store.put(&[1; 600]).unwrap();
    let error = store.put(&[2; 401]).unwrap_err();
    assert!(
        matches!(error, StoreError::Full { used: 600, .. }),
        "{error}"
    );
    store.put(&[2; 300]).unwrap();
    store.put_sidecar(&first, "a.minisig", &[0; 100]).unwrap();
    assert!(matches!(store.put(b"x"), Err(StoreError::Full { .. })));
    assert!(matches!(
        store.put_sidecar(&first, "b", b"x"),
        Err(StoreError::Full { .. })
    ));
    // What is there needs none.
    assert_eq!(store.put(&[1; 600]).unwrap(), first);
    assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
}

#[test]
fn files_beside_an_artifact() {
    let (_dir, store) = store();
    let digest = store.put(b"data").unwrap();
    assert_eq!(store.sidecar(&digest, "minisig").unwrap(), None);
    for bytes in [&b"one"[..], b"other"] {
        store.put_sidecar(&digest, "minisig", bytes).unwrap();
        assert_eq!(
            store.sidecar(&digest, "minisig").unwrap().as_deref(),
            Some(bytes)
        );
    }
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        ".hidden",
        "A",
        "é",
        "a\0",
        &"a".repeat(65),
    ] {
        let error = store.put_sidecar(&digest, name, b"").unwrap_err();
        assert!(matches!(error, StoreError::Name(_)), "{name}: {error}");
        assert!(matches!(
            store.sidecar(&digest, name),
            Err(StoreError::Name(_))
        ));
    }
    let large = vec![0; usize::try_from(SIDECAR_BYTES_MAX).unwrap() + 1];
    assert!(matches!(
        store.put_sidecar(&digest, "a", &large),
        Err(StoreError::SidecarTooLarge { .. })
    ));
    change(&store.sidecars(&digest).join("minisig"), &large);
    assert!(matches!(
        store.sidecar(&digest, "minisig"),
        Err(StoreError::SidecarTooLarge { .. })
    ));
}

#[test]
fn what_is_unused_is_collected() {
    let (_dir, store) = store();
    let day = Duration::from_secs(24 * 60 * 60);
    let [kept, old, new, used] = [b"kept", b"old!", b"new!", b"used"].map(|bytes| {
        let digest = store.put(bytes).unwrap();
        store.put_sidecar(&digest, "minisig", b"12").unwrap();
        age(&store.path(&digest), 40 * day);
        age(&store.sidecars(&digest), 40 * day);
        digest
    });
    age(&store.path(&new), day);
    store.get(&used).unwrap();
    // What others have left: unfinished, changed lately, changed long ago, of another name.
    fs::write(store.tmp().join("half"), b"123").unwrap();
    fs::write(store.aside().join("lately"), b"1").unwrap();
    fs::write(store.aside().join("long-ago"), b"12345").unwrap();
    age(&store.aside().join("long-ago"), 40 * day);
    fs::write(store.blobs().join("README"), b"").unwrap();
    let orphan = store.sidecars(&Digest::of(b"gone"));
    fs::create_dir(&orphan).unwrap();
    age(&orphan, 40 * day);

    let collected = store.collect(|digest| *digest == kept).unwrap();
    let expected = Collected {
        artifacts: 1,
        bytes: 4 + 2 + 3 + 5,
        kept: 3,
        busy: false,
    };
    assert_eq!(collected, expected);
    assert_eq!(store.get(&old).unwrap(), None);
    assert_eq!(store.sidecar(&old, "minisig").unwrap(), None);
    for digest in [kept, new, used] {
        assert!(store.get(&digest).unwrap().is_some());
        assert!(store.sidecar(&digest, "minisig").unwrap().is_some());
    }
    assert!(!orphan.exists() && store.blobs().join("README").exists());
    assert!(store.aside().join("lately").exists());
    let again = store.collect_unused_for(Duration::ZERO, |_| false).unwrap();
    assert_eq!((again.artifacts, again.kept), (3, 0));
    assert_eq!(store.size().unwrap(), 0);
}

#[test]
fn nothing_is_collected_while_somebody_installs() {
    let (dir, store) = store();
    let digest = store.put(b"data").unwrap();
    let collect = || {
        let other = ArtifactStore::open(&dir.path().join("store"), ROOM).unwrap();
        other.collect_unused_for(Duration::ZERO, |_| false).unwrap()
    };
    let leases = [store.lease().unwrap(), store.lease().unwrap()];
    assert!(collect().busy);
    // An install writes under its lease.
    store.put(b"more").unwrap();
    drop(leases);
    assert!(store.get(&digest).unwrap().is_some());
    assert_eq!(collect().artifacts, 2);
}
