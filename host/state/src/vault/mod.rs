//! The vault: secrets, sealed in the state under a key that lies elsewhere.
//!
//! A value leaves it only to whoever is to use it; nothing here shows or logs one. Each is
//! bound to its row: moved to another name, or with its kind or expiry changed, it does not
//! open any more.

mod keyring;
mod keys;
mod seal;
mod secret;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use keys::KeyPlace;
pub use seal::VaultKey;
pub use secret::{FIELD_BYTES_MAX, Field, SecretKind, SecretValue};

use portreeve_manifest::id::Name;
use portreeve_manifest::settings::VaultKeyPlace;

use crate::error::StateError;
use crate::key::KeyError;
use crate::rows::{Holder, SecretRow};
use crate::store::StateStore;

/// Secrets of one project.
pub const SECRETS_MAX: usize = 1_000;

/// How often a secret's last use is written.
const USED_MS: i64 = 60_000;

/// Why a secret can't be kept or used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is none of that name.
    #[error("there is no secret `{0}` in the vault: `portreeve secrets set {0}` puts it there")]
    NoSuch(String),
    /// There is one.
    #[error(
        "there is a secret `{0}` already: `portreeve secrets rotate {0}` gives it another value"
    )]
    Taken(String),
    /// It has ended.
    #[error("the secret `{0}` has expired: `portreeve secrets rotate {0}` gives it another value")]
    Expired(String),
    /// It was sealed with another key.
    #[error(
        "the secret `{name}` was sealed with the key {sealed}, but the vault's key is {have}: put back the key that was there, or set the secret again"
    )]
    WrongKey {
        /// The secret.
        name: String,
        /// The key that it was sealed with.
        sealed: String,
        /// The key that there is.
        have: String,
    },
    /// The key is gone, and there are secrets.
    #[error(
        "the vault's key can't be used: {0}. Without it no secret can be opened: put it back, or remove the secrets and set them again"
    )]
    LostKey(KeyError),
    /// It was changed in the state.
    #[error(
        "the secret `{0}` was changed or moved in the state: set it again, and find out who had the file"
    )]
    Tampered(String),
    /// There are too many.
    #[error("the vault has {SECRETS_MAX} secrets, which is all that it takes: remove some")]
    TooMany,
    /// The value or something around it is not as it must be.
    #[error("{0}")]
    Value(String),
    /// A key can't be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The state can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What is known of a secret without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Counts its values.
    pub version: i64,
    /// When it was first set: milliseconds since 1970, UTC.
    pub created: i64,
    /// When it got this value.
    pub rotated: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// When it was last used, to the minute.
    pub used: Option<i64>,
}

impl SecretInfo {
    /// What a row says without being opened.
    pub fn of(row: &SecretRow) -> SecretInfo {
        SecretInfo {
            name: row.name.clone(),
            kind: row.kind.clone(),
            version: row.version,
            created: row.created_ms,
            rotated: row.rotated_ms,
            expires: row.expires_ms,
            used: row.used_ms,
        }
    }
}

/// The secrets of a project.
pub struct Vault {
    store: Arc<dyn StateStore>,
    place: KeyPlace,
    clock: fn() -> i64,
    used: Mutex<HashMap<String, i64>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// The vault in a state. The key is read when it is needed.
    pub fn new(store: Arc<dyn StateStore>, place: KeyPlace, clock: fn() -> i64) -> Vault {
        Vault {
            store,
            place,
            clock,
            used: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Puts a new secret into the vault, or with `replace` in the place of one that is there.
    ///
    /// # Errors
    /// It is there already, the vault is full, or its key can't be used.
    pub async fn set(
        &self,
        name: &Name,
        value: &SecretValue,
        expires_ms: Option<i64>,
        replace: bool,
    ) -> Result<SecretInfo, VaultError> {
        let _one = self.changing.lock().await;
        let all = self.store.secrets().await?;
        let before = all
            .iter()
            .find(|row| row.name == name.as_str() && row.holder == Holder::host());
        match before {
            Some(_) if !replace => return Err(VaultError::Taken(name.to_string())),
            None if replace => return Err(VaultError::NoSuch(name.to_string())),
            None if all.len() >= SECRETS_MAX => return Err(VaultError::TooMany),
            _ => {}
        }
        let now = (self.clock)();
        let mut row = SecretRow {
            name: name.to_string(),
            holder: Holder::host(),
            kind: value.kind().as_str().to_owned(),
            version: before.map_or(1, |before| before.version.saturating_add(1)),
            key_id: String::new(),
            sealed: Vec::new(),
            created_ms: before.map_or(now, |before| before.created_ms),
            rotated_ms: now,
            expires_ms,
            used_ms: before.and_then(|before| before.used_ms),
        };
        // A new key where secrets are sealed with another would hide that one is lost.
        let keys = self.place.read(all.is_empty())?;
        let key = current(&keys, &all)?;
        key.seal(self.store.project(), &mut row, &value.to_json())?;
        let info = SecretInfo::of(&row);
        self.store.secrets_put(vec![row]).await?;
        Ok(info)
    }

    /// All secrets by name, unopened.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn list(&self) -> Result<Vec<SecretInfo>, VaultError> {
        let rows = self.store.secrets().await?;
        Ok(rows.iter().map(SecretInfo::of).collect())
    }

    /// One secret, unopened.
    ///
    /// # Errors
    /// There is none, or it has expired.
    pub async fn info(&self, name: &str) -> Result<SecretInfo, VaultError> {
        self.row(name).await.map(|row| SecretInfo::of(&row))
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// There is none, it has expired, or it does not open.
    pub async fn get(&self, name: &str) -> Result<SecretValue, VaultError> {
        let row = self.row(name).await?;
        let place = self.place.clone();
        let keys = tokio::task::spawn_blocking(move || place.read(false))
            .await
            .map_err(|error| VaultError::Value(error.to_string()))??;
        self.open(&keys, &row)
    }

    fn open(&self, keys: &[VaultKey], row: &SecretRow) -> Result<SecretValue, VaultError> {
        let key = keys.iter().find(|key| key.id() == row.key_id);
        let key = key.ok_or_else(|| VaultError::WrongKey {
            name: row.name.clone(),
            sealed: row.key_id.clone(),
            have: keys
                .first()
                .map_or_else(String::new, |key| key.id().to_owned()),
        })?;
        let text = key.open(self.store.project(), row)?;
        let kind = row.kind.parse();
        let kind = kind.map_err(|_| VaultError::Tampered(row.name.clone()))?;
        SecretValue::from_json(kind, &text)
    }

    async fn row(&self, name: &str) -> Result<SecretRow, VaultError> {
        let row = self.store.secret(&Holder::host(), name).await?;
        let row = row.ok_or_else(|| VaultError::NoSuch(name.to_owned()))?;
        if row.expires_ms.is_some_and(|end| end <= (self.clock)()) {
            return Err(VaultError::Expired(name.to_owned()));
        }
        Ok(row)
    }

    /// Notes that a secret was used; to the minute, so that it costs no write each time.
    ///
    /// # Errors
    /// When the state can't be written.
    pub async fn used(&self, name: &str) -> Result<(), VaultError> {
        let now = (self.clock)();
        {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            // Also when the clock was put back.
            let recent = used
                .get(name)
                .is_some_and(|last| (0..USED_MS).contains(&now.saturating_sub(*last)));
            if recent {
                return Ok(());
            }
            if used.len() > SECRETS_MAX {
                used.clear();
            }
            used.insert(name.to_owned(), now);
        }
        self.store.secret_used(&Holder::host(), name, now).await?;
        Ok(())
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// There is none, or the state can't be written.
    pub async fn remove(&self, name: &str) -> Result<(), VaultError> {
        let _one = self.changing.lock().await;
        if self.store.secret_remove(&Holder::host(), name).await? {
            return Ok(());
        }
        Err(VaultError::NoSuch(name.to_owned()))
    }

    /// Seals all secrets with a new key: that of the vault's place, or, with `from`, those
    /// that are sealed with the key at another place with the vault's own. Gives how many
    /// there were.
    ///
    /// The old key is given up when all of them are on disk under the new one: a crash at any
    /// moment leaves every secret with a key that is there.
    ///
    /// # Errors
    /// A secret doesn't open, or a key can't be read or made; nothing is then changed.
    pub async fn rotate_key(&self, from: Option<VaultKeyPlace>) -> Result<usize, VaultError> {
        let _one = self.changing.lock().await;
        let mut rows = self.store.secrets().await?;
        let (old, new, promote) = match from {
            None => {
                let old = self.place.read(rows.is_empty())?;
                // One that was cut short after sealing is finished first.
                if let [_, next] = old.as_slice()
                    && rows.iter().any(|row| row.key_id == next.id())
                {
                    let next = next.clone();
                    (old, next, true)
                } else {
                    (old, self.place.make_next()?, true)
                }
            }
            Some(from) => {
                let new = self.place.read(true)?;
                let mut old = self.place.of(from).read(false)?;
                old.extend(new.clone());
                let new = new
                    .first()
                    .cloned()
                    .ok_or_else(|| VaultError::Value("there is no key".to_owned()))?;
                (old, new, false)
            }
        };
        for row in &mut rows {
            let value = self.open(&old, row)?;
            new.seal(self.store.project(), row, &value.to_json())?;
        }
        let count = rows.len();
        self.store.secrets_put(rows).await?;
        if promote {
            self.place.promote()?;
        }
        Ok(count)
    }
}

/// The key that new secrets are sealed with: that of the others.
fn current<'a>(keys: &'a [VaultKey], rows: &[SecretRow]) -> Result<&'a VaultKey, VaultError> {
    let Some(first) = keys.first() else {
        return Err(VaultError::Value("there is no key".to_owned()));
    };
    let Some(row) = rows.first() else {
        return Ok(first);
    };
    keys.iter()
        .rev()
        .find(|key| rows.iter().any(|row| row.key_id == key.id()))
        .ok_or_else(|| VaultError::WrongKey {
            name: row.name.clone(),
            sealed: row.key_id.clone(),
            have: first.id().to_owned(),
        })
}
