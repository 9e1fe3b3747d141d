//! The key in the keyring of the user's session: the Secret Service on Linux, the keychain on
//! macOS. Each project has an entry of its own.

use zeroize::Zeroizing;

use super::VaultError;
use super::keys::{decode, encode};
use crate::key::Key;

/// What the entries are called there.
const SERVICE: &str = "portreeve";

/// The key; with `make`, made where there is none.
pub(super) fn key(project: &str, make: bool) -> Result<Key, VaultError> {
    let entry = entry(project)?;
    match entry.get_password().map(Zeroizing::new) {
        Ok(text) => decode(&text).ok_or_else(|| {
            VaultError::LostKey(format!(
                "the entry `{SERVICE}`, `{}` of your keyring is none",
                user(project)
            ))
        }),
        Err(keyring::Error::NoEntry) if make => {
            let mut key = Key::default();
            getrandom::fill(&mut *key).map_err(|error| {
                VaultError::Value(format!("the system gives no random numbers: {error}"))
            })?;
            entry
                .set_password(&encode(&key))
                .map_err(|error| failed(&error))?;
            Ok(key)
        }
        // Locked or out of reach is not lost, but absent is.
        Err(keyring::Error::NoEntry) => Err(VaultError::LostKey(format!(
            "your keyring has no entry `{SERVICE}`, `{}`",
            user(project)
        ))),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether there is one.
pub(super) fn has(project: &str) -> Result<bool, VaultError> {
    match entry(project)?.get_password().map(Zeroizing::new) {
        Ok(_) => Ok(true),
        Err(keyring::Error::NoEntry) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

fn entry(project: &str) -> Result<keyring::Entry, VaultError> {
    // What it says of a missing store is less than why it is missing.
    if let Err(error) = keyring::Entry::store_status() {
        return Err(failed(error));
    }
    keyring::Entry::new(SERVICE, &user(project)).map_err(|error| failed(&error))
}

fn user(project: &str) -> String {
    format!("vault-{project}")
}

fn failed(error: &keyring::Error) -> VaultError {
    // Some of these errors carry what was read: their own text shows it to nobody.
    let why = match error {
        keyring::Error::BadEncoding(_) | keyring::Error::BadDataFormat(..) => {
            "what it holds is no key".to_owned()
        }
        other => other.to_string(),
    };
    VaultError::Value(format!(
        "the keyring of your session can't be used: {why}; unlock it, or choose another place for the key under [vault] in portreeve.toml"
    ))
}
