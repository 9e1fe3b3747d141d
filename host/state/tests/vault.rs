//! The vault in a real database: what is sealed opens with its key, in its row, and nowhere
//! else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use portreeve_manifest::id::Name;
use portreeve_manifest::settings::VaultKeyPlace;
use portreeve_state::audit::wall_clock;
use portreeve_state::vault::{
    KeyPlace, SECRETS_MAX, SecretKind, SecretValue, VALUE_BYTES_MAX, Vault, VaultError,
};
use portreeve_state::{SqliteStore, StateStore, StoreConfig, make_key};
use sqlx::Connection as _;

/// Stands in every value, and nowhere else.
const CANARY: &str = "CANARY-7f3a";

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn store(&self) -> Arc<dyn StateStore> {
        SqliteStore::open(&self.path("state.db"), &StoreConfig::default())
            .await
            .unwrap()
    }

    fn place(&self) -> KeyPlace {
        KeyPlace::new(VaultKeyPlace::Default, &self.path("user"))
    }

    async fn vault(&self) -> Vault {
        Vault::new(self.store().await, self.place(), wall_clock)
    }

    /// The project's own key.
    fn key_file(&self, vault: &dyn StateStore) -> PathBuf {
        self.path(&format!("user/vault/{}.key", vault.project()))
    }

    async fn sql(&self, statement: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path("state.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await;
        assert!(done.unwrap().rows_affected() > 0, "{statement}");
        connection.close().await.unwrap();
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn bearer(text: &str) -> SecretValue {
    SecretValue::read(SecretKind::Bearer, &format!("{CANARY}-{text}")).unwrap()
}

#[tokio::test]
async fn what_is_set_is_got_and_nothing_shows_it() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let again = vault.set(&name("a"), &bearer("2"), None, false).await;
    assert!(matches!(again, Err(VaultError::Taken(_))), "{again:?}");
    let rotated = vault
        .set(&name("a"), &bearer("2"), None, true)
        .await
        .unwrap();
    assert_eq!(rotated.version, 2);
    let absent = vault.set(&name("b"), &bearer("1"), None, true).await;
    assert!(matches!(absent, Err(VaultError::NoSuch(_))));
    let value = vault.get("a").await.unwrap();
    assert_eq!(value.to_text().as_str(), format!("{CANARY}-2"));
    assert!(!format!("{value:?} {vault:?} {:?}", vault.list().await.unwrap()).contains(CANARY));
    for entry in std::fs::read_dir(fixture.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    vault.remove("a").await.unwrap();
    assert!(matches!(vault.get("a").await, Err(VaultError::NoSuch(_))));
    assert!(matches!(
        vault.remove("a").await,
        Err(VaultError::NoSuch(_))
    ));
}

#[tokio::test]
async fn a_row_that_was_changed_or_moved_does_not_open() {
    for statement in [
        "UPDATE secrets SET name = 'b' WHERE name = 'a'",
        "UPDATE secrets SET kind = 'api-key'",
        "UPDATE secrets SET version = version + 1",
        "UPDATE secrets SET expires_ms = 99999999999999",
        "UPDATE secrets SET sealed = zeroblob(60)",
        "UPDATE secrets SET sealed = x'00'",
        "UPDATE secrets SET tenant = tenant, project = project, sealed = (SELECT sealed FROM secrets WHERE name = 'other') WHERE name = 'a'",
    ] {
        let fixture = Fixture::new();
        let vault = fixture.vault().await;
        vault
            .set(&name("a"), &bearer("1"), None, false)
            .await
            .unwrap();
        vault
            .set(&name("other"), &bearer("2"), None, false)
            .await
            .unwrap();
        fixture.sql(statement).await;
        let which = if statement.contains("'b'") { "b" } else { "a" };
        let error = vault.get(which).await.unwrap_err();
        assert!(
            matches!(error, VaultError::Tampered(_)),
            "{statement}: {error}"
        );
        assert!(!error.to_string().contains(CANARY));
    }
}

#[tokio::test]
async fn a_lost_key_is_told_and_never_replaced_in_silence() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let file = fixture.key_file(&*fixture.store().await);
    let kept = fixture.path("kept.key");
    std::fs::rename(&file, &kept).unwrap();
    for error in [
        vault.get("a").await.unwrap_err(),
        vault
            .set(&name("b"), &bearer("2"), None, false)
            .await
            .unwrap_err(),
        vault.rotate_key(None).await.unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::LostKey(_)), "{error}");
        assert!(error.to_string().contains("put it back"), "{error}");
    }
    assert!(!file.exists());
    // Another key.
    make_key(&file).unwrap();
    for error in [
        vault.get("a").await.unwrap_err(),
        vault
            .set(&name("b"), &bearer("2"), None, false)
            .await
            .unwrap_err(),
        vault.rotate_key(None).await.unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
    }
    // Listing and removing need no key.
    assert_eq!(vault.list().await.unwrap().len(), 1);
    std::fs::rename(&kept, &file).unwrap();
    assert!(vault.get("a").await.is_ok());
    // A key that others can read is none.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = vault.get("a").await.unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn another_key_seals_everything_anew() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    for number in 0..5 {
        let value = bearer(&number.to_string());
        vault
            .set(&name(&format!("s{number}")), &value, None, false)
            .await
            .unwrap();
    }
    let file = fixture.key_file(&*fixture.store().await);
    let before = std::fs::read(&file).unwrap();
    assert_eq!(vault.rotate_key(None).await.unwrap(), 5);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    assert!(!file.with_extension("key.next").exists());
    assert_eq!(vault.get("s3").await.unwrap(), bearer("3"));

    // To a key that somebody else keeps, and nothing is left that the old one opens.
    let other = fixture.path("other.key");
    make_key(&other).unwrap();
    let moved = KeyPlace::new(VaultKeyPlace::File(other), &fixture.path("user"));
    let store = vault_store(&fixture).await;
    let there = Vault::new(store, moved, wall_clock);
    assert!(matches!(
        there.get("s3").await,
        Err(VaultError::WrongKey { .. })
    ));
    let from = Some(VaultKeyPlace::Default);
    assert_eq!(there.rotate_key(from).await.unwrap(), 5);
    assert_eq!(there.get("s3").await.unwrap(), bearer("3"));
    assert!(matches!(
        vault.get("s3").await,
        Err(VaultError::WrongKey { .. })
    ));
}

/// A second look at the same database.
async fn vault_store(fixture: &Fixture) -> Arc<dyn StateStore> {
    fixture.store().await
}

/// A rotation that is cut short leaves every secret with a key that is there.
#[tokio::test]
async fn a_crash_while_the_key_is_rotated_loses_nothing() {
    // Before anything was sealed with the new key.
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let file = fixture.key_file(&*fixture.store().await);
    let next = file.with_extension("key.next");
    make_key(&next).unwrap();
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    vault
        .set(&name("b"), &bearer("2"), None, false)
        .await
        .unwrap();
    assert_eq!(vault.rotate_key(None).await.unwrap(), 2);
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    assert_eq!(vault.get("b").await.unwrap(), bearer("2"));

    // After, and before the new key took the old one's place.
    let old = fixture.path("old");
    std::fs::copy(&file, &old).unwrap();
    vault.rotate_key(None).await.unwrap();
    std::fs::rename(&file, &next).unwrap();
    std::fs::copy(&old, &file).unwrap();
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    vault
        .set(&name("c"), &bearer("3"), None, false)
        .await
        .unwrap();
    assert_eq!(vault.rotate_key(None).await.unwrap(), 3);
    assert!(!next.exists());
    for (which, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(vault.get(which).await.unwrap(), bearer(value), "{which}");
    }
}

static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);

#[tokio::test]
async fn secrets_end_and_their_last_use_is_known() {
    let fixture = Fixture::new();
    let vault = Vault::new(fixture.store().await, fixture.place(), || {
        CLOCK.load(Ordering::SeqCst)
    });
    let now = CLOCK.load(Ordering::SeqCst);
    vault
        .set(&name("a"), &bearer("1"), Some(now + 1_000), false)
        .await
        .unwrap();
    vault.used("a").await.unwrap();
    assert_eq!(vault.list().await.unwrap()[0].used, Some(now));
    CLOCK.fetch_add(500, Ordering::SeqCst);
    vault.used("a").await.unwrap();
    assert_eq!(vault.list().await.unwrap()[0].used, Some(now));
    assert!(vault.get("a").await.is_ok());
    CLOCK.fetch_add(500, Ordering::SeqCst);
    let error = vault.get("a").await.unwrap_err();
    assert!(matches!(error, VaultError::Expired(_)), "{error}");
    // A clock that was put back makes it valid again, and the use is written.
    CLOCK.fetch_sub(86_400_000, Ordering::SeqCst);
    assert!(vault.get("a").await.is_ok());
    vault.used("a").await.unwrap();
    assert_eq!(
        vault.list().await.unwrap()[0].used,
        Some(now + 1_000 - 86_400_000)
    );
    let rotated = vault
        .set(&name("a"), &bearer("2"), None, true)
        .await
        .unwrap();
    assert_eq!((rotated.version, rotated.expires), (2, None));
}

#[tokio::test]
async fn there_are_only_so_many() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let vault = Vault::new(store.clone(), fixture.place(), wall_clock);
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let row = store.secrets().await.unwrap().remove(0);
    let rows = (1..SECRETS_MAX).map(|number| portreeve_state::SecretRow {
        name: format!("s{number}"),
        ..row.clone()
    });
    store.secrets_put(rows.collect()).await.unwrap();
    let full = vault.set(&name("b"), &bearer("1"), None, false).await;
    assert!(matches!(full, Err(VaultError::TooMany)), "{full:?}");
    vault
        .set(&name("a"), &bearer("2"), None, true)
        .await
        .unwrap();
}

/// Two projects of one user: what is done to the key of one must not touch the other's.
#[tokio::test]
async fn rotating_the_key_of_one_project_leaves_the_others() {
    let one = Fixture::new();
    let other = Fixture::new();
    let first = one.vault().await;
    first
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    // The same user's directory, another project's database.
    let store = other.store().await;
    let place = KeyPlace::new(VaultKeyPlace::Default, &one.path("user"));
    let second = Vault::new(store, place, wall_clock);
    second
        .set(&name("b"), &bearer("2"), None, false)
        .await
        .unwrap();
    first.rotate_key(None).await.unwrap();
    second.rotate_key(None).await.unwrap();
    assert_eq!(first.get("a").await.unwrap(), bearer("1"));
    assert_eq!(second.get("b").await.unwrap(), bearer("2"));
}

/// The next key, with secrets sealed with it, that can't be read just now is never replaced.
#[tokio::test]
async fn a_next_key_that_is_in_use_is_never_removed() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let file = fixture.key_file(&*fixture.store().await);
    let next = file.with_extension("key.next");
    let old = std::fs::read(&file).unwrap();
    vault.rotate_key(None).await.unwrap();
    // As a crash leaves it after the secrets were sealed, and then restored with other modes.
    std::fs::rename(&file, &next).unwrap();
    std::fs::write(&file, &old).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let sealed_with = std::fs::read(&next).unwrap();
    std::fs::set_permissions(&next, PermissionsExt::from_mode(0o644)).unwrap();
    let error = vault.rotate_key(None).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    assert_eq!(std::fs::read(&next).unwrap(), sealed_with);
    std::fs::set_permissions(&next, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
}

/// A key of more than one project is never replaced, and a place that is no other is none.
#[tokio::test]
async fn only_the_projects_own_key_is_replaced() {
    let fixture = Fixture::new();
    let shared = fixture.path("shared.key");
    let place = KeyPlace::new(VaultKeyPlace::File(shared.clone()), &fixture.path("user"));
    let vault = Vault::new(fixture.store().await, place, wall_clock);
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let before = std::fs::read(&shared).unwrap();
    let error = vault.rotate_key(None).await.unwrap_err().to_string();
    assert!(error.contains("--from file:"), "{error}");
    let same = Some(VaultKeyPlace::File(shared.clone()));
    let error = vault
        .rotate_key(same.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("another place"), "{error}");

    // The operator names another place.
    vault.key_is_at(VaultKeyPlace::Default);
    for error in [
        vault.get("a").await.unwrap_err(),
        vault
            .set(&name("b"), &bearer("2"), None, false)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::LostKey(_)), "{error}");
    }
    let file = fixture.key_file(&*fixture.store().await);
    assert!(
        !file.exists(),
        "no key is made before it is known that it will do"
    );
    // From a place whose key opens nothing: no key is made either.
    let wrong = fixture.path("wrong.key");
    make_key(&wrong).unwrap();
    let from = Some(VaultKeyPlace::File(wrong));
    assert!(matches!(
        vault.rotate_key(from).await,
        Err(VaultError::WrongKey { .. })
    ));
    assert!(!file.exists());
    assert_eq!(vault.rotate_key(same).await.unwrap(), 1);
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    assert_eq!(std::fs::read(&shared).unwrap(), before);
}

/// Whoever asked is gone: what was begun is done to its end, and nothing is between.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_nobody_waits_for_is_done() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    for text in &names {
        vault
            .set(&name(text), &bearer(text), None, false)
            .await
            .unwrap();
    }
    let file = fixture.key_file(&*fixture.store().await);
    let before = std::fs::read(&file).unwrap();
    let waited = tokio::time::timeout(Duration::ZERO, vault.rotate_key(None)).await;
    assert!(waited.is_err());
    let since = Instant::now();
    while std::fs::read(&file).unwrap() == before {
        assert!(since.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for round in 0..20 {
        let rotating = vault.rotate_key(None);
        let _ = tokio::time::timeout(Duration::from_millis(round), rotating).await;
        let (which, value) = (name("s7"), bearer("s7"));
        let setting = vault.set(&which, &value, None, true);
        let _ = tokio::time::timeout(Duration::from_millis(round / 4), setting).await;
    }
    for text in &names {
        assert_eq!(vault.get(text).await.unwrap(), bearer(text));
    }
}

/// A secret that is read while its key is replaced is never lost for the moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_there_while_its_key_is_replaced() {
    let fixture = Fixture::new();
    let vault = Arc::new(fixture.vault().await);
    vault
        .set(&name("a"), &bearer("1"), None, false)
        .await
        .unwrap();
    let reader = vault.clone();
    let reading = tokio::spawn(async move {
        for _ in 0..500 {
            assert_eq!(reader.get("a").await.unwrap(), bearer("1"));
        }
    });
    while !reading.is_finished() {
        vault.rotate_key(None).await.unwrap();
    }
    reading.await.unwrap();
}

/// What was sealed before is not in the files any more: whoever has the key of then finds
/// nothing that it opens.
#[tokio::test]
async fn what_is_replaced_or_removed_is_overwritten() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let vault = Vault::new(store.clone(), fixture.place(), wall_clock);
    let mut gone = Vec::new();
    for text in ["a", "b", "c"] {
        let value = SecretValue::read(SecretKind::Bearer, &text.repeat(9_000)).unwrap();
        vault.set(&name(text), &value, None, false).await.unwrap();
    }
    let keep = |rows: Vec<portreeve_state::SecretRow>, gone: &mut Vec<Vec<u8>>| {
        // Each part: a value lies on several pages.
        for row in rows {
            gone.extend(row.sealed.chunks(64).map(<[u8]>::to_vec));
        }
    };
    keep(store.secrets().await.unwrap(), &mut gone);
    vault.rotate_key(None).await.unwrap();
    keep(store.secrets().await.unwrap(), &mut gone);
    vault
        .set(&name("a"), &bearer("1"), None, true)
        .await
        .unwrap();
    vault.remove("b").await.unwrap();
    vault.remove("c").await.unwrap();
    drop(vault);
    store.close().await;
    let bytes = std::fs::read(fixture.path("state.db")).unwrap();
    assert!(!fixture.path("state.db-wal").exists());
    let left = gone
        .iter()
        .filter(|part| part.len() == 64)
        .filter(|part| bytes.windows(64).any(|window| window == part.as_slice()))
        .count();
    assert_eq!(left, 0, "of {}", gone.len());
}

/// The largest vault that there may be can be sealed anew.
#[tokio::test]
async fn a_full_vault_is_sealed_anew() {
    let fixture = Fixture::new();
    let store = fixture.store().await;
    let vault = Vault::new(store.clone(), fixture.place(), wall_clock);
    // As JSON it is six times as long; together it is more than may wait for the disk.
    let key = "\u{1}".repeat(VALUE_BYTES_MAX);
    let field = ("key".to_owned(), key.into());
    let large = SecretValue::new(SecretKind::SshKey, [field]).unwrap();
    for number in 0..45 {
        vault
            .set(&name(&format!("s{number}")), &large, None, false)
            .await
            .unwrap();
    }
    assert_eq!(vault.rotate_key(None).await.unwrap(), 45);
    assert_eq!(vault.get("s44").await.unwrap(), large);
}

/// The id of the project names files of the user's own.
#[tokio::test]
async fn a_state_that_names_other_files_is_refused() {
    for id in ["../../.config/x", "", "ABCDEF0123456789ABCDEF0123456789"] {
        let fixture = Fixture::new();
        fixture.store().await.close().await;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fixture.path("state.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        sqlx::query("UPDATE projects SET project = $1")
            .bind(id)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let path = fixture.path("state.db");
        let open = SqliteStore::open(&path, &StoreConfig::default()).await;
        let error = open.unwrap_err().to_string();
        assert!(error.contains("none; put it aside"), "{error}");
        let error = SqliteStore::read(&path).await.unwrap_err().to_string();
        assert!(error.contains("none; put it aside"), "{error}");
    }
}
