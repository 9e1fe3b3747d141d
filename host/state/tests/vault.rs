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

use portreeve_manifest::id::Name;
use portreeve_manifest::settings::VaultKeyPlace;
use portreeve_state::audit::wall_clock;
use portreeve_state::vault::{KeyPlace, SECRETS_MAX, SecretKind, SecretValue, Vault, VaultError};
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
    let file = fixture.path("user/vault.key");
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
    let file = fixture.path("user/vault.key");
    let before = std::fs::read(&file).unwrap();
    assert_eq!(vault.rotate_key(None).await.unwrap(), 5);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    assert!(!fixture.path("user/vault.key.next").exists());
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
    make_key(&fixture.path("user/vault.key.next")).unwrap();
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    vault
        .set(&name("b"), &bearer("2"), None, false)
        .await
        .unwrap();
    assert_eq!(vault.rotate_key(None).await.unwrap(), 2);
    assert_eq!(vault.get("a").await.unwrap(), bearer("1"));
    assert_eq!(vault.get("b").await.unwrap(), bearer("2"));

    // After, and before the new key took the old one's place.
    let file = fixture.path("user/vault.key");
    let next = fixture.path("user/vault.key.next");
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
