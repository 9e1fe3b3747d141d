//! Secrets: what people do with the vault, and what a call may use of it.

use portreeve_manifest::id::Name;
use portreeve_manifest::settings::VaultKeyPlace;
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind};
use portreeve_state::vault::{SecretInfo, SecretKind, SecretValue, VaultError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Map;
use zeroize::Zeroizing;

use crate::call::Caller;
use crate::host::{Host, HostError, read_manifest};

/// A text that must not be shown. It is sent over the owner's socket, and nowhere else.
#[derive(Clone, Default)]
pub struct SecretText(pub Zeroizing<String>);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SecretText, D::Error> {
        String::deserialize(from).map(|text| SecretText(Zeroizing::new(text)))
    }
}

/// What people do with the vault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretAct {
    /// Puts a new secret into it.
    Set {
        /// Its name.
        name: Name,
        /// Its kind.
        kind: String,
        /// Its value, as [`SecretValue::read`] takes it.
        value: SecretText,
        /// When it ends: milliseconds since 1970, UTC.
        expires: Option<i64>,
    },
    /// Gives a secret another value of the same kind.
    Rotate {
        /// Its name.
        name: Name,
        /// Its value, as [`SecretValue::read`] takes it.
        value: SecretText,
        /// When it ends from now on.
        expires: Option<i64>,
    },
    /// Removes a secret.
    Remove {
        /// Its name.
        name: Name,
    },
    /// Seals all secrets with another key.
    RotateKey {
        /// Where the key was until now, if its place has changed.
        from: Option<String>,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretDone {
    /// The secret as it is now, unopened.
    Secret(SecretInfo),
    /// It is gone.
    Removed,
    /// So many were sealed anew.
    Sealed(usize),
}

impl Host {
    /// Does something with the vault. It is on record before it is done.
    ///
    /// # Errors
    /// It makes no sense, can't be recorded or can't be done.
    pub async fn secret(&self, act: SecretAct, who: &Caller) -> Result<SecretDone, HostError> {
        let event = |kind: AuditKind, name: &str| AuditEvent {
            kind,
            holder: Holder::host(),
            caller: who.name.clone(),
            call: String::new(),
            body: Map::from_iter([("secret".to_owned(), name.into())]),
        };
        match act {
            SecretAct::Set {
                name,
                kind,
                value,
                expires,
            } => {
                let kind: SecretKind = kind.parse().map_err(HostError::Asked)?;
                let value = SecretValue::read(kind, &value.0)?;
                // What is refused is not recorded as if it were done.
                if self.kept(&name).await?.is_some() {
                    return Err(VaultError::Taken(name.to_string()).into());
                }
                let event = event(AuditKind::SecretSet, name.as_str());
                let setting = self.vault.set(&name, &value, expires, false);
                let (_, info) = self.on_record(event, setting).await?;
                Ok(SecretDone::Secret(info))
            }
            SecretAct::Rotate {
                name,
                value,
                expires,
            } => {
                // Also of one that has expired.
                let before = self.kept(&name).await?;
                let before = before.ok_or_else(|| VaultError::NoSuch(name.to_string()))?;
                let kind = before.kind.parse().map_err(HostError::Asked)?;
                let value = SecretValue::read(kind, &value.0)?;
                let event = event(AuditKind::SecretRotate, name.as_str());
                let setting = self.vault.set(&name, &value, expires, true);
                let (_, info) = self.on_record(event, setting).await?;
                self.network.tokens().forget(name.as_str());
                Ok(SecretDone::Secret(info))
            }
            SecretAct::Remove { name } => {
                if self.kept(&name).await?.is_none() {
                    return Err(VaultError::NoSuch(name.to_string()).into());
                }
                let event = event(AuditKind::SecretRemove, name.as_str());
                self.on_record(event, self.vault.remove(name.as_str()))
                    .await?;
                self.network.tokens().forget(name.as_str());
                Ok(SecretDone::Removed)
            }
            SecretAct::RotateKey { from } => {
                let from: Option<VaultKeyPlace> = from
                    .map(|from| from.parse())
                    .transpose()
                    .map_err(HostError::Asked)?;
                // It may just have been written, and not be read again yet.
                let manifest = read_manifest(&self.project)?;
                self.vault.key_is_at(manifest.settings.vault_key);
                let event = event(AuditKind::VaultRotate, "");
                let (_, sealed) = self.on_record(event, self.vault.rotate_key(from)).await?;
                Ok(SecretDone::Sealed(sealed))
            }
        }
    }

    /// What is known of a secret, also of one that has expired.
    async fn kept(&self, name: &Name) -> Result<Option<SecretInfo>, HostError> {
        let all = self.vault.list().await?;
        Ok(all.into_iter().find(|info| info.name == name.as_str()))
    }
}
