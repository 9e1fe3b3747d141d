//! The key in the keyring of the user's session: the Secret Service on Linux, the keychain on
//! macOS.

use super::VaultError;
use super::keys::{decode, encode};
use crate::key::Key;

/// What the entry is called there.
const SERVICE: &str = "portreeve";
const USER: &str = "vault";

/// The key; made where there is none.
pub(super) fn key() -> Result<Key, VaultError> {
    let failed = |error: keyring::Error| {
        VaultError::Value(format!(
            "the keyring of your session can't be used: {error}; unlock it, or choose another place for the key under [vault] in portreeve.toml"
        ))
    };
    let entry = keyring::Entry::new(SERVICE, USER).map_err(failed)?;
    match entry.get_password().map(zeroize::Zeroizing::new) {
        Ok(text) => decode(&text).ok_or_else(|| {
            VaultError::Value(format!(
                "the entry `{SERVICE}` of your keyring is no key: remove it there, or put back the one that was there"
            ))
        }),
        Err(keyring::Error::NoEntry) => {
            let mut key = Key::default();
            getrandom::fill(&mut *key).map_err(|error| {
                VaultError::Value(format!("the system gives no random numbers: {error}"))
            })?;
            entry.set_password(&encode(&key)).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}
