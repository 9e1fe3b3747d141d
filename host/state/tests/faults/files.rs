//! Files that can't be written, that a newer version made, that are damaged, or that are not
//! what they seem.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use portreeve_state::{Holder, SqliteStore, StateError, StateStore, StoreConfig};
use sqlx::Connection as _;

use crate::child::{Kind, Output, Work};
use crate::support::{audit, check, connect, contents, group, open, place, runtime, value};

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn refused(path: &Path) -> [StateError; 2] {
    let open = SqliteStore::open(path, &StoreConfig::default()).await;
    [
        open.unwrap_err(),
        SqliteStore::read(path).await.unwrap_err(),
    ]
}

/// A state with a record in the audit log and a few values.
async fn make(path: &Path) {
    let store = open(path).await;
    store.audit_append(group([audit(1)])).await.unwrap();
    for number in 0..50 {
        store
            .kv_put(
                &Holder::plugin("a"),
                "b",
                &number.to_string(),
                value(number),
                u64::MAX,
            )
            .await
            .unwrap();
    }
    store.close().await;
}

fn make_now(path: &Path) {
    runtime().block_on(make(path));
}

#[tokio::test]
async fn a_newer_versions_state_is_refused_and_left_as_it_is() {
    let (dir, path) = place();
    make(&path).await;
    let mut database = connect(&path).await;
    sqlx::query("PRAGMA user_version = 99")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let before = contents(dir.path());
    assert_eq!(before.len(), 1);
    for error in refused(&path).await {
        let StateError::Newer { found, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*found, 99);
        assert!(error.to_string().contains("it was left as it is"));
    }
    assert!(contents(dir.path()) == before, "it was changed");
}

/// A newer version that was killed has its schema's version in the write-ahead log only.
#[tokio::test]
async fn a_newer_versions_state_is_known_by_its_log_too() {
    let (_dir, path) = place();
    make(&path).await;
    let mut database = connect(&path).await;
    sqlx::query("PRAGMA user_version = 99")
        .execute(&mut database)
        .await
        .unwrap();
    // As a killed process leaves them.
    let (killed_dir, killed) = place();
    for end in ["db", "db-wal", "db-shm"] {
        std::fs::copy(path.with_extension(end), killed.with_extension(end)).unwrap();
    }
    database.close().await.unwrap();
    let before = contents(killed_dir.path());
    for error in refused(&killed).await {
        assert!(
            matches!(error, StateError::Newer { found: 99, .. }),
            "{error:?}"
        );
    }
    let after = contents(killed_dir.path());
    // The third is the log's index in shared memory, which every start makes anew.
    assert_eq!(after.len(), 3);
    for kept in ["state.db", "state.db-wal"] {
        assert!(after[kept] == before[kept], "{kept} was changed");
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    for garbage in [&b"not a database, but long enough to be taken for one: 100 bytes and more of this and of that, of this and of that"[..], b"short"] {
        let (dir, path) = place();
        std::fs::write(&path, garbage).unwrap();
        let before = contents(dir.path());
        for error in refused(&path).await {
            assert!(matches!(error, StateError::Damaged(_)), "{error:?}");
            assert!(error.to_string().contains("put it aside"), "{error}");
        }
        assert!(contents(dir.path()) == before, "it was changed");
    }
}

#[tokio::test]
async fn a_damaged_database_says_so() {
    let (_dir, path) = place();
    make(&path).await;
    let sound = std::fs::read(&path).unwrap();

    // All but the first page, which says what there is.
    let mut bytes = sound.clone();
    bytes[4_096..].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    for error in refused(&path).await {
        assert!(matches!(error, StateError::Damaged(_)), "{error:?}");
        assert!(error.to_string().contains("put it aside"), "{error}");
    }

    // Cut off in the middle.
    std::fs::write(&path, &sound[..sound.len() / 2 / 4_096 * 4_096]).unwrap();
    let read = match SqliteStore::open(&path, &StoreConfig::default()).await {
        Ok(store) => store.audit_last().await.map(|_| ()),
        Err(error) => Err(error),
    };
    let told = read.is_err_and(|error| matches!(error, StateError::Damaged(_)));
    // What is lost may be none of what is looked at first; then it shows with the rest.
    if !told {
        let store = open(&path).await;
        let mut damaged = false;
        for number in 0..50_u32 {
            match store
                .kv_get(&Holder::plugin("a"), "b", &number.to_string())
                .await
            {
                Err(StateError::Damaged(_)) => damaged = true,
                Ok(Some(found)) => assert_eq!(found, value(number)),
                other => panic!("{other:?}"),
            }
        }
        assert!(damaged);
    }
}

#[tokio::test]
async fn links_are_not_followed() {
    let (dir, path) = place();
    let (elsewhere_dir, elsewhere) = place();
    make(&elsewhere).await;
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let before = contents(elsewhere_dir.path());
    for error in refused(&path).await {
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    assert!(contents(elsewhere_dir.path()) == before);
    std::fs::remove_file(&path).unwrap();
    // Nor one that leads nowhere yet.
    let nowhere = elsewhere_dir.path().join("new.db");
    std::os::unix::fs::symlink(&nowhere, &path).unwrap();
    SqliteStore::open(&path, &StoreConfig::default())
        .await
        .unwrap_err();
    assert!(!nowhere.exists());
    std::fs::remove_file(&path).unwrap();
    // Nor one in the log's place.
    let log = dir.path().join("state.db-wal");
    let target = elsewhere_dir.path().join("target");
    std::fs::write(&target, "theirs").unwrap();
    std::os::unix::fs::symlink(&target, &log).unwrap();
    let _ = SqliteStore::open(&path, &StoreConfig::default()).await;
    assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
}

#[tokio::test]
async fn its_files_are_for_this_user_only() {
    let (dir, path) = place();
    let store = open(&path).await;
    let modes = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o777)
            .collect::<Vec<_>>()
    };
    assert_eq!(modes(), [0o600; 3]);
    store.close().await;
    // One that was copied here is made so.
    mode(&path, 0o644);
    let store = open(&path).await;
    assert_eq!(modes(), [0o600; 3]);
    store.close().await;
}

#[test]
fn where_nothing_can_be_written_it_says_so_and_can_still_be_read() {
    let (dir, path) = place();
    make_now(&path);
    mode(&path, 0o444);
    mode(dir.path(), 0o555);
    let before = contents(dir.path());
    let output = Work::new(Kind::Open, &path, 0).unprivileged();
    let [failure] = output.failures()[..] else {
        panic!("{output:#?}");
    };
    assert!(failure.contains(": ReadOnly:"), "{failure}");
    assert!(failure.contains("that you can write"), "{failure}");
    let output = Work::new(Kind::Read, &path, 0).unprivileged();
    assert_eq!(output.lines, ["read 1"]);
    assert!(contents(dir.path()) == before);
    mode(dir.path(), 0o755);
}

#[test]
fn where_nothing_can_be_made_it_says_so() {
    let (dir, path) = place();
    mode(dir.path(), 0o555);
    let output = Work::new(Kind::Open, &path, 0).unprivileged();
    let [failure] = output.failures()[..] else {
        panic!("{output:#?}");
    };
    assert!(failure.contains(": ReadOnly:"), "{failure}");
    let output = Work::new(Kind::Read, &path, 0).unprivileged();
    assert!(
        output.failures()[0].contains(": None:"),
        "a missing state is no fault: {output:#?}"
    );
    assert!(contents(dir.path()).is_empty());
    mode(dir.path(), 0o755);
}

/// What a killed owner left in its log is read where nothing can be written, too.
#[test]
fn a_killed_owners_log_is_read_without_writing() {
    let (dir, path) = place();
    let (_source_dir, source) = place();
    runtime().block_on(async {
        let store = open(&source).await;
        store.audit_append(group((1..=7).map(audit))).await.unwrap();
        for end in ["db", "db-wal", "db-shm"] {
            std::fs::copy(source.with_extension(end), path.with_extension(end)).unwrap();
            mode(&path.with_extension(end), 0o444);
        }
        store.close().await;
    });
    mode(dir.path(), 0o555);
    let before = contents(dir.path());
    let output = Work::new(Kind::Read, &path, 0).unprivileged();
    assert_eq!(output.lines, ["read 7"]);
    assert!(contents(dir.path()) == before);
    mode(dir.path(), 0o755);
    // And the next owner has it, and puts it into the file.
    for end in ["db", "db-wal", "db-shm"] {
        mode(&path.with_extension(end), 0o600);
    }
    runtime().block_on(check(&path, &["audit 7".to_owned()]));
    assert_eq!(contents(dir.path()).len(), 1);
}

/// Whoever may read the directory, but not the file, is told so.
#[test]
fn what_cant_be_read_says_so() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can make a file that is another user's");
        return;
    }
    let (dir, path) = place();
    make_now(&path);
    mode(dir.path(), 0o755);
    let output = Output {
        ..Work::new(Kind::Read, &path, 0).unprivileged()
    };
    let [failure] = output.failures()[..] else {
        panic!("{output:#?}");
    };
    assert!(failure.contains("can't be read"), "{failure}");
}
