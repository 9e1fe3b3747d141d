//! Where the vault's key comes from.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use portreeve_manifest::settings::VaultKeyPlace;
use zeroize::Zeroizing;

use super::VaultError;
use super::seal::VaultKey;
use crate::key::{KEY_BYTES, Key, KeyError, make_key, read_key};

/// Where a vault's key is kept.
#[derive(Clone, Debug)]
pub struct KeyPlace {
    place: VaultKeyPlace,
    user_state: PathBuf,
}

impl KeyPlace {
    /// A place as the operator's file says it; `user_state` is the user's own directory.
    pub fn new(place: VaultKeyPlace, user_state: &Path) -> KeyPlace {
        KeyPlace {
            place,
            user_state: user_state.to_owned(),
        }
    }

    /// The same place, or another one of this user's.
    pub fn of(&self, place: VaultKeyPlace) -> KeyPlace {
        KeyPlace::new(place, &self.user_state)
    }

    fn file(&self) -> Option<PathBuf> {
        match &self.place {
            VaultKeyPlace::Default => Some(self.user_state.join("vault.key")),
            VaultKeyPlace::File(path) => Some(path.clone()),
            VaultKeyPlace::Keyring | VaultKeyPlace::Env(_) => None,
        }
    }

    /// Where the next key lies while secrets are sealed with it.
    fn next_file(&self) -> Option<PathBuf> {
        let mut name = self.file()?.into_os_string();
        name.push(".next");
        Some(name.into())
    }

    /// The keys that there are: the vault's, and the next one of a rotation that was cut
    /// short. With `make`, one is made where there is none.
    pub(super) fn read(&self, make: bool) -> Result<Vec<VaultKey>, VaultError> {
        let Some(file) = self.file() else {
            return Ok(vec![VaultKey::new(self.given()?)]);
        };
        let mut keys = Vec::new();
        match read_key(&file) {
            Ok(key) => keys.push(VaultKey::new(key)),
            Err(KeyError::Missing(_)) if make => keys.push(VaultKey::new(make_key(&file)?)),
            Err(error) => {
                return Err(VaultError::LostKey(error));
            }
        }
        if let Some(next) = self.next_file().and_then(|next| read_key(&next).ok()) {
            keys.push(VaultKey::new(next));
        }
        Ok(keys)
    }

    /// Makes the next key; the vault's stays until [`KeyPlace::promote`].
    pub(super) fn make_next(&self) -> Result<VaultKey, VaultError> {
        let Some(next) = self.next_file() else {
            return Err(VaultError::Value(format!(
                "the key is in {}, which this host can't change: put the new key elsewhere, name that under [vault] in portreeve.toml, and run `portreeve secrets rotate-key --from {0}`",
                self.place
            )));
        };
        // Of a rotation that was cut short before anything was sealed with it.
        match std::fs::remove_file(&next) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(VaultError::Value(format!(
                    "{} is in the way: {error}",
                    next.display()
                )));
            }
            _ => {}
        }
        Ok(VaultKey::new(make_key(&next)?))
    }

    /// Puts the next key in the place of the vault's.
    pub(super) fn promote(&self) -> Result<(), VaultError> {
        let (Some(file), Some(next)) = (self.file(), self.next_file()) else {
            return Ok(());
        };
        let dir = file.parent().unwrap_or(Path::new("."));
        std::fs::rename(&next, &file)
            .and_then(|()| std::fs::File::open(dir)?.sync_all())
            .map_err(|error| {
                VaultError::Value(format!(
                    "{} can't be put in the place of {}: {error}; the secrets are sealed with it: keep it",
                    next.display(),
                    file.display()
                ))
            })
    }

    /// A key that others keep.
    fn given(&self) -> Result<Key, VaultError> {
        let VaultKeyPlace::Env(name) = &self.place else {
            return super::keyring::key();
        };
        let text = std::env::var(name).map(Zeroizing::new).map_err(|_| {
            VaultError::Value(format!(
                "the key of the vault is to be in the environment variable {name}, which is not set: set it to {KEY_BYTES} bytes in base64 or hexadecimal"
            ))
        })?;
        decode(&text).ok_or_else(|| {
            VaultError::Value(format!(
                "the environment variable {name} has no key: it must be {KEY_BYTES} bytes in base64 or hexadecimal"
            ))
        })
    }
}

/// A key in base64 or hexadecimal.
pub(super) fn decode(text: &str) -> Option<Key> {
    let text = text.trim();
    let mut key = Key::default();
    if text.len() == KEY_BYTES * 2 {
        let digits = text.as_bytes().chunks_exact(2);
        for (byte, pair) in key.iter_mut().zip(digits) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        return Some(key);
    }
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
    if bytes.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// A key in base64.
pub(super) fn encode(key: &Key) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(**key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_base64_and_hexadecimal() {
        let key = Key::new([0xab; KEY_BYTES]);
        assert_eq!(decode(&encode(&key)).unwrap(), key);
        assert_eq!(decode(&"ab".repeat(KEY_BYTES)).unwrap(), key);
        assert_eq!(
            decode(&format!(" {}\n", "AB".repeat(KEY_BYTES))).unwrap(),
            key
        );
        for wrong in [
            "",
            "ab",
            &"zz".repeat(KEY_BYTES),
            &"é".repeat(KEY_BYTES),
            "AAAA",
        ] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
    }
}
