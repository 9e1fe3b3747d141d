//! Sealing: XChaCha20-Poly1305 under the vault's key, bound to the row that it stands in.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::VaultError;
use crate::key::Key;
use crate::rows::SecretRow;

/// Length of a nonce, in bytes: long enough to be drawn at random for ever.
const NONCE_BYTES: usize = 24;

/// The key of a vault.
#[derive(Clone)]
pub struct VaultKey {
    key: Key,
    id: String,
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VaultKey({})", self.id)
    }
}

impl VaultKey {
    /// The vault's key.
    pub fn new(key: Key) -> VaultKey {
        let mut hasher = blake3::Hasher::new_derive_key("portreeve vault key id v1");
        hasher.update(&*key);
        let id = hasher.finalize().to_hex().chars().take(16).collect();
        VaultKey { key, id }
    }

    /// Tells keys apart, and nothing of them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a text into a row, whose other fields are set.
    pub(super) fn seal(
        &self,
        project: &str,
        row: &mut SecretRow,
        text: &str,
    ) -> Result<(), VaultError> {
        row.key_id.clone_from(&self.id);
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| {
            VaultError::Value(format!("the system gives no random numbers: {error}"))
        })?;
        let cipher = XChaCha20Poly1305::new((&*self.key).into());
        let sealed = cipher.encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: text.as_bytes(),
                aad: &identity(project, row),
            },
        );
        let sealed = sealed.map_err(|_| VaultError::Value("it can't be sealed".to_owned()))?;
        row.sealed = [&nonce[..], &sealed].concat();
        Ok(())
    }

    /// The text that was sealed into a row.
    pub(super) fn open(
        &self,
        project: &str,
        row: &SecretRow,
    ) -> Result<Zeroizing<String>, VaultError> {
        let tampered = || VaultError::Tampered(row.name.clone());
        let (nonce, sealed) = row
            .sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(tampered)?;
        let cipher = XChaCha20Poly1305::new((&*self.key).into());
        let text = cipher
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: &identity(project, row),
                },
            )
            .map_err(|_| tampered())?;
        match String::from_utf8(text) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(tampered())
            }
        }
    }
}

/// What a sealed value belongs to: in another row, or a row that was changed, it does not
/// open.
fn identity(project: &str, row: &SecretRow) -> Vec<u8> {
    let version = row.version.to_string();
    let expires = row.expires_ms.map(|ms| ms.to_string()).unwrap_or_default();
    let fields = [
        "portreeve secret v1",
        project,
        &row.holder.alias,
        &row.holder.tenant,
        &row.name,
        &row.kind,
        &version,
        &row.key_id,
        &expires,
    ];
    let mut identity = Vec::new();
    for field in fields {
        identity.extend_from_slice(&(field.len() as u64).to_le_bytes());
        identity.extend_from_slice(field.as_bytes());
    }
    identity
}
