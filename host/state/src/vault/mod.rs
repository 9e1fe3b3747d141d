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
pub use secret::{Field, SecretKind, SecretValue, VALUE_BYTES_MAX};

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
        "the secret `{name}` was sealed with the key {sealed}, but the vault's key is {have}: put back the key that was there; if you have just changed `key` under [vault], run `portreeve secrets rotate-key --from` with the place it had before; if that key is gone, remove the secrets that it sealed and set them again"
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
    LostKey(String),
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
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Arc<dyn StateStore>,
    place: Mutex<KeyPlace>,
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
        let place = place.for_project(store.project());
        Vault(Arc::new(Inner {
            store,
            place: Mutex::new(place),
            clock,
            used: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }))
    }

    /// Says where the key is from now on, as the operator's file has it. Secrets that are
    /// sealed with the key at the place before don't open until [`Vault::rotate_key`].
    pub fn key_is_at(&self, place: VaultKeyPlace) {
        let mut now = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.at(place);
    }

    /// Puts a new secret into the vault, or with `replace` in the place of one that is there.
    /// Is done to its end even when nobody waits for it.
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
        let (inner, name, value) = (self.0.clone(), name.clone(), value.clone());
        whole(async move { inner.set(&name, &value, expires_ms, replace).await }).await
    }

    /// All secrets by name, unopened.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn list(&self) -> Result<Vec<SecretInfo>, VaultError> {
        let rows = self.0.store.secrets().await?;
        Ok(rows
            .iter()
            .filter(|row| row.holder == Holder::host())
            .map(SecretInfo::of)
            .collect())
    }

    /// One secret, unopened.
    ///
    /// # Errors
    /// There is none, or it has expired.
    pub async fn info(&self, name: &str) -> Result<SecretInfo, VaultError> {
        self.0.row(name).await.map(|row| SecretInfo::of(&row))
    }

    /// Opens a secret.
    ///
    /// # Errors
    /// There is none, it has expired, or it does not open.
    pub async fn get(&self, name: &str) -> Result<SecretValue, VaultError> {
        match self.0.get(name).await {
            // Its key was replaced between the two looks: the second sees both new.
            Err(VaultError::WrongKey { .. }) => self.0.get(name).await,
            got => got,
        }
    }

    /// Notes that a secret was used; to the minute, so that it costs no write each time.
    ///
    /// # Errors
    /// When the state can't be written.
    pub async fn used(&self, name: &str) -> Result<(), VaultError> {
        let now = (self.0.clock)();
        let used = || self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut used = used();
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
        let noted = self.0.store.secret_used(&Holder::host(), name, now).await;
        if noted.is_err() {
            used().remove(name);
        }
        Ok(noted?)
    }

    /// Removes a secret. Is done to its end even when nobody waits for it.
    ///
    /// # Errors
    /// There is none, or the state can't be written.
    pub async fn remove(&self, name: &str) -> Result<(), VaultError> {
        let (inner, name) = (self.0.clone(), name.to_owned());
        whole(async move { inner.remove(&name).await }).await
    }

    /// Seals all secrets with another key: a new one in the project's own file, or, with
    /// `from`, where the key was until now, the one at the vault's place. Gives how many
    /// there were. Is done to its end even when nobody waits for it.
    ///
    /// The old key is given up when all of them are on disk under the new one: a crash at any
    /// moment leaves every secret with a key that is there.
    ///
    /// # Errors
    /// A secret doesn't open, or a key can't be read or made; nothing is then changed.
    pub async fn rotate_key(&self, from: Option<VaultKeyPlace>) -> Result<usize, VaultError> {
        let inner = self.0.clone();
        whole(async move { inner.rotate_key(from).await }).await
    }
}

/// Runs a change to its end. Were it dropped with a write on its way, the next change would
/// not know of what that write seals, and could give up the key for it.
async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T, VaultError>> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::spawn(change).await.map_err(|error| ended(&error))?
}

/// Runs what may wait for a disk or a person.
async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ended(&error))?
}

fn ended(error: &tokio::task::JoinError) -> VaultError {
    VaultError::Value(format!("the vault was closed meanwhile: {error}"))
}

impl Inner {
    fn place(&self) -> KeyPlace {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    async fn set(
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
        let (place, make) = (self.place(), all.is_empty());
        let keys = waiting(move || place.read(make)).await?;
        let key = current(&keys, &all)?;
        key.seal(self.store.project(), &mut row, &value.to_json())?;
        let info = SecretInfo::of(&row);
        self.store.secrets_put(vec![row]).await?;
        Ok(info)
    }

    async fn get(&self, name: &str) -> Result<SecretValue, VaultError> {
        let row = self.row(name).await?;
        let place = self.place();
        let keys = waiting(move || place.read(false)).await?;
        self.open(&keys, &row)
    }

    fn open(&self, keys: &[VaultKey], row: &SecretRow) -> Result<SecretValue, VaultError> {
        let key = keys.iter().find(|key| key.id() == row.key_id);
        let key = key.ok_or_else(|| wrong_key(keys, row))?;
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

    async fn remove(&self, name: &str) -> Result<(), VaultError> {
        let _one = self.changing.lock().await;
        if self.store.secret_remove(&Holder::host(), name).await? {
            return Ok(());
        }
        Err(VaultError::NoSuch(name.to_owned()))
    }

    async fn rotate_key(&self, from: Option<VaultKeyPlace>) -> Result<usize, VaultError> {
        let _one = self.changing.lock().await;
        let rows = self.store.secrets().await?;
        let place = self.place();
        if from.as_ref() == Some(place.place()) {
            return Err(VaultError::Value(format!(
                "the vault's key is at {0} now, as portreeve.toml says under [vault]: name another place there first, or leave `--from` away",
                place.place()
            )));
        }
        // Everything is opened before any key is made or given up.
        let (old, none) = (place.clone(), rows.is_empty());
        let moved = from.is_some();
        let old = waiting(move || match from {
            Some(from) => {
                let mut keys = old.at(from).read(false)?;
                keys.extend(old.read_if_there()?);
                Ok(keys)
            }
            None => {
                old.can_be_replaced()?;
                old.read(none)
            }
        })
        .await?;
        let values = rows.iter().map(|row| self.open(&old, row));
        let values: Vec<SecretValue> = values.collect::<Result<_, _>>()?;
        // One that was cut short after sealing is finished first.
        let begun = match old.as_slice() {
            [_, next] if !moved && rows.iter().any(|row| row.key_id == next.id()) => {
                Some(next.clone())
            }
            _ => None,
        };
        let next = place.clone();
        let new = waiting(move || match begun {
            Some(next) => Ok(next),
            None if moved => first(next.read(true)?),
            None => next.make_next(),
        })
        .await?;
        let project = self.store.project();
        let mut sealed = rows;
        for (row, value) in sealed.iter_mut().zip(&values) {
            new.seal(project, row, &value.to_json())?;
        }
        let count = sealed.len();
        if count > 0 {
            self.store.secrets_put(sealed).await?;
        }
        if !moved {
            waiting(move || place.promote()).await?;
        }
        Ok(count)
    }
}

fn first(keys: Vec<VaultKey>) -> Result<VaultKey, VaultError> {
    let none = || VaultError::Value("there is no key".to_owned());
    keys.into_iter().next().ok_or_else(none)
}

fn wrong_key(keys: &[VaultKey], row: &SecretRow) -> VaultError {
    VaultError::WrongKey {
        name: row.name.clone(),
        sealed: row.key_id.clone(),
        have: keys
            .first()
            .map(VaultKey::id)
            .unwrap_or_default()
            .to_owned(),
    }
}

/// The key that new secrets are sealed with: that of the others.
fn current<'a>(keys: &'a [VaultKey], rows: &[SecretRow]) -> Result<&'a VaultKey, VaultError> {
    let found = match rows.first() {
        None => keys.first(),
        Some(_) => keys
            .iter()
            .rev()
            .find(|key| rows.iter().any(|row| row.key_id == key.id())),
    };
    match (found, rows.first()) {
        (Some(key), _) => Ok(key),
        (None, Some(row)) => Err(wrong_key(keys, row)),
        (None, None) => Err(VaultError::Value("there is no key".to_owned())),
    }
}
