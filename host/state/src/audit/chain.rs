//! The chain: each record's code covers the record and the code before it, under a key that
//! is not in the database.

use crate::key::Key;
use crate::rows::Checkpoint;

/// Bytes of a code and a record that are hashed as one piece: nearly all records are shorter.
const JOINED_BYTES_MAX: usize = 512;

/// A code in the chain. Comparing two takes the same time whatever they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac(blake3::Hash);

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Mac {
    /// What the first record builds on.
    pub(crate) const START: Mac = Mac(blake3::Hash::from_bytes([0; 32]));

    /// In hexadecimal.
    pub(crate) fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// From bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Mac> {
        blake3::Hash::from_slice(bytes).ok().map(Mac)
    }

    /// From hexadecimal.
    pub(crate) fn from_hex(text: &str) -> Option<Mac> {
        let hash = blake3::Hash::from_hex(text).ok()?;
        // One spelling only, so that the stored text can't be changed unnoticed.
        (hash.to_hex().as_str() == text).then_some(Mac(hash))
    }
}

/// Makes the codes of one project's log.
#[derive(Clone)]
pub(crate) struct Chain {
    key: Key,
}

impl Chain {
    /// The chain of a project: its own key is derived from the user's.
    pub(crate) fn new(user: &Key, project: &str) -> Chain {
        let mut key = Key::default();
        let mut hasher = blake3::Hasher::new_keyed(user);
        hasher.update(b"portreeve audit v1\0");
        hasher.update(project.as_bytes());
        hasher.finalize_xof().fill(&mut *key);
        Chain { key }
    }

    /// The code of a record.
    pub(crate) fn mac(&self, before: Mac, record: &str) -> Mac {
        let parts = [before.0.as_bytes(), record.as_bytes()];
        // Hashing one piece is faster than two, by more than it takes to make one of them.
        let mut joined = [0; JOINED_BYTES_MAX];
        let mut rest = joined.as_mut_slice();
        for part in parts {
            let Some((place, after)) = rest.split_at_mut_checked(part.len()) else {
                let mut hasher = blake3::Hasher::new_keyed(&self.key);
                for part in parts {
                    hasher.update(part);
                }
                return Mac(hasher.finalize());
            };
            place.copy_from_slice(part);
            rest = after;
        }
        let left = rest.len();
        let bytes = joined.get(..joined.len().saturating_sub(left));
        Mac(blake3::keyed_hash(&self.key, bytes.unwrap_or(&joined)))
    }

    /// The code over what stands in for pruned records. It can't be taken for a record's:
    /// those begin with a brace.
    pub(crate) fn seal(&self, seq: i64, time_ms: i64, mac: &str) -> Mac {
        self.mac(Mac::START, &format!("checkpoint {seq} {time_ms} {mac}"))
    }

    /// Whether a checkpoint is one of ours.
    pub(crate) fn is_sealed(&self, checkpoint: &Checkpoint) -> bool {
        let seal = self.seal(checkpoint.seq, checkpoint.time_ms, &checkpoint.mac);
        Mac::from_hex(&checkpoint.seal) == Some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(key: u8, project: &str) -> Chain {
        Chain::new(&Key::new([key; 32]), project)
    }

    #[test]
    fn codes_depend_on_everything() {
        let mac = chain(1, "p").mac(Mac::START, "{}");
        assert_eq!(mac, chain(1, "p").mac(Mac::START, "{}"));
        for other in [
            chain(2, "p").mac(Mac::START, "{}"),
            chain(1, "q").mac(Mac::START, "{}"),
            chain(1, "p").mac(mac, "{}"),
            chain(1, "p").mac(Mac::START, "{ }"),
        ] {
            assert_ne!(mac, other);
        }
        assert_eq!(Mac::from_hex(&mac.to_hex()), Some(mac));
        assert_eq!(Mac::from_hex(&mac.to_hex().to_uppercase()), None);
        assert_eq!(Mac::from_hex("00"), None);
    }

    #[test]
    fn a_checkpoint_is_sealed_whole() {
        let chain = chain(1, "p");
        let mac = Mac::START.to_hex();
        let sealed = Checkpoint {
            seq: 5,
            time_ms: 9,
            seal: chain.seal(5, 9, &mac).to_hex(),
            mac,
        };
        assert!(chain.is_sealed(&sealed));
        for changed in [
            Checkpoint {
                seq: 6,
                ..sealed.clone()
            },
            Checkpoint {
                time_ms: 8,
                ..sealed.clone()
            },
            Checkpoint {
                mac: "1".repeat(64),
                ..sealed.clone()
            },
            Checkpoint {
                seal: String::new(),
                ..sealed.clone()
            },
        ] {
            assert!(!chain.is_sealed(&changed), "{changed:?}");
        }
    }
}
