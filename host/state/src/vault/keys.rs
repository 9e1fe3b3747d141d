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
    /// The project whose key it is, where it has one of its own.
    project: String,
}

impl KeyPlace {
    /// A place as the operator's file says it; `user_state` is the user's own directory.
    pub fn new(place: VaultKeyPlace, user_state: &Path) -> KeyPlace {
        KeyPlace {
            place,
            user_state: user_state.to_owned(),
            project: String::new(),
        }
    }

    /// The place, for one project.
    pub(super) fn for_project(self, project: &str) -> KeyPlace {
        KeyPlace {
            project: project.to_owned(),
            ..self
        }
    }

    /// The same user's and project's key at another place.
    pub(super) fn at(&self, place: VaultKeyPlace) -> KeyPlace {
        KeyPlace {
            place,
            ..self.clone()
        }
    }

    /// What the operator's file says.
    pub(super) fn place(&self) -> &VaultKeyPlace {
        &self.place
    }

    /// The file that the project has for itself. Only there may a key be replaced: any other
    /// place may hold the key of further projects, which would lose their secrets with it.
    fn own_file(&self) -> PathBuf {
        self.user_state
            .join("vault")
            .join(format!("{}.key", self.project))
    }

    /// Where the next key lies while secrets are sealed with it.
    fn next_file(&self) -> PathBuf {
        self.own_file().with_extension("key.next")
    }

    /// The keys that there are: the vault's, and the next one of a rotation that was cut
    /// short. With `make`, one is made where there is none.
    ///
    /// To be called where a thread may wait: a keyring may ask its user.
    pub(super) fn read(&self, make: bool) -> Result<Vec<VaultKey>, VaultError> {
        let file = match &self.place {
            VaultKeyPlace::Default => self.own_file(),
            VaultKeyPlace::File(path) => path.clone(),
            VaultKeyPlace::Env(name) => return Ok(vec![VaultKey::new(from_env(name)?)]),
            VaultKeyPlace::Keyring => {
                let key = super::keyring::key(&self.project, make)?;
                return Ok(vec![VaultKey::new(key)]);
            }
        };
        let key = match read_key(&file) {
            Err(KeyError::Missing(_)) if make => make_key(&file)?,
            read => read.map_err(|error| VaultError::LostKey(error.to_string()))?,
        };
        let mut keys = vec![VaultKey::new(key)];
        if self.place == VaultKeyPlace::Default {
            match read_key(&self.next_file()) {
                Ok(next) => keys.push(VaultKey::new(next)),
                Err(KeyError::Missing(_)) => {}
                // Secrets may be sealed with it.
                Err(error) => return Err(VaultError::LostKey(error.to_string())),
            }
        }
        Ok(keys)
    }

    /// The same, where it is no mistake that there is none yet.
    pub(super) fn read_if_there(&self) -> Result<Vec<VaultKey>, VaultError> {
        let there = match &self.place {
            VaultKeyPlace::Default => self.own_file().symlink_metadata().is_ok(),
            VaultKeyPlace::File(path) => path.symlink_metadata().is_ok(),
            VaultKeyPlace::Keyring => super::keyring::has(&self.project)?,
            VaultKeyPlace::Env(_) => true,
        };
        if there {
            self.read(false)
        } else {
            Ok(Vec::new())
        }
    }

    /// Whether [`KeyPlace::make_next`] can make a key here.
    pub(super) fn can_be_replaced(&self) -> Result<(), VaultError> {
        if self.place == VaultKeyPlace::Default {
            return Ok(());
        }
        Err(VaultError::Value(format!(
            "the key is in {}, where other projects may have theirs too: put a new key elsewhere, name that place under [vault] in portreeve.toml, and run `portreeve secrets rotate-key --from {0}`",
            self.place
        )))
    }

    /// Makes the next key; the vault's stays until [`KeyPlace::promote`]. No secret may be
    /// sealed with a next key that is there: it goes.
    pub(super) fn make_next(&self) -> Result<VaultKey, VaultError> {
        self.can_be_replaced()?;
        let next = self.next_file();
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
        self.can_be_replaced()?;
        let (file, next) = (self.own_file(), self.next_file());
        let dir = file.parent().unwrap_or(Path::new("."));
        std::fs::rename(&next, &file)
            .and_then(|()| std::fs::File::open(dir)?.sync_all())
            .map_err(|error| {
                VaultError::Value(format!(
                    "{} can't be put in the place of {}: {error}; the secrets are sealed with it: keep it, and run `portreeve secrets rotate-key` again",
                    next.display(),
                    file.display()
                ))
            })
    }
}

/// A key that others keep, in an environment variable of the project's owner.
fn from_env(name: &str) -> Result<Key, VaultError> {
    let text = std::env::var(name).map(Zeroizing::new).map_err(|_| {
        VaultError::LostKey(format!(
            "the environment variable {name}, which is to hold it, is not set or no text: set it to {KEY_BYTES} bytes in base64 or hexadecimal"
        ))
    })?;
    decode(&text).ok_or_else(|| {
        VaultError::LostKey(format!(
            "the environment variable {name} holds none: it must be {KEY_BYTES} bytes in base64 or hexadecimal"
        ))
    })
}

/// A key in base64 or hexadecimal.
pub(super) fn decode(text: &str) -> Option<Key> {
    let text = text.trim();
    let mut key = Key::default();
    if text.len() == KEY_BYTES * 2 {
        let digits = text.as_bytes().chunks_exact(2);
        for (byte, pair) in key.iter_mut().zip(digits) {
            // A sign would be taken for a digit.
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
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
            &"+a".repeat(KEY_BYTES),
            &"é".repeat(KEY_BYTES),
            "AAAA",
        ] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
    }
}
