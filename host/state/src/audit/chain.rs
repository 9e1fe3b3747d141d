//! The codes that make a chain of the records.

use super::key::AuditKey;
use super::record::Record;
use crate::rows::Checkpoint;

/// Bytes of a code.
pub(super) const MAC_BYTES: usize = blake3::OUT_LEN;

/// The code of a record: a keyed hash over the code before it and its own bytes.
pub(super) type Mac = [u8; MAC_BYTES];

/// The keys of one project's log.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub(super) struct Chain {
    records: [u8; MAC_BYTES],
    checkpoints: [u8; MAC_BYTES],
    start: Mac,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

impl Chain {
    /// Each use has a key of its own, so that no code of one is a code of another.
    pub(super) fn new(key: &AuditKey, project: &str) -> Chain {
        Chain {
            records: key.derive("portreeve 2026-11 audit record", project),
            checkpoints: key.derive("portreeve 2026-11 audit checkpoint", project),
            start: key.derive("portreeve 2026-11 audit start", project),
        }
    }

    /// What stands in for the code before the first record of a chain.
    pub(super) fn start(&self) -> &Mac {
        &self.start
    }

    /// The code of a record.
    pub(super) fn mac(&self, before: &Mac, covered: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.records);
        hasher.update(before);
        hasher.update(covered);
        hasher.finalize()
    }

    /// The code of a record that lies behind the code before it, which is faster.
    pub(super) fn mac_joined(&self, before_and_covered: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.records, before_and_covered)
    }

    /// Whether a record has its code, in constant time.
    pub(super) fn holds(&self, before: &Mac, record: &Record<'_>) -> bool {
        self.mac(before, record.covered) == *record.mac
    }

    /// The code over a checkpoint.
    pub(super) fn seal(&self, seq: i64, time_ms: i64, mac: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.checkpoints);
        hasher.update(&seq.to_le_bytes());
        hasher.update(&time_ms.to_le_bytes());
        hasher.update(mac);
        hasher.finalize()
    }

    /// The code on which the first record after a checkpoint builds; none where the
    /// checkpoint was not made with this key.
    pub(super) fn sealed(&self, checkpoint: &Checkpoint) -> Option<Mac> {
        let mac: Mac = checkpoint.mac.as_slice().try_into().ok()?;
        let seal: Mac = checkpoint.seal.as_slice().try_into().ok()?;
        let expected = self.seal(checkpoint.seq, checkpoint.time_ms, &mac);
        (expected == seal).then_some(mac)
    }
}

/// A code as hexadecimal digits.
pub(super) fn hex(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A code from its hexadecimal digits.
pub(super) fn from_hex(digits: &str) -> Option<Mac> {
    blake3::Hash::from_hex(digits)
        .ok()
        .map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_by_key_project_and_use() {
        let chains = [
            Chain::new(&AuditKey::test(1), "p"),
            Chain::new(&AuditKey::test(2), "p"),
            Chain::new(&AuditKey::test(1), "q"),
        ];
        let mut codes = std::collections::BTreeSet::new();
        for chain in &chains {
            codes.insert(hex(chain.start()));
            codes.insert(hex(chain.mac(&[0; 32], &[0; 16]).as_bytes()));
            codes.insert(hex(chain.seal(0, 0, &[0; 32]).as_bytes()));
        }
        assert_eq!(codes.len(), 9);
        let joined = chains[0].mac_joined(&[3; 80]);
        assert_eq!(joined, chains[0].mac(&[3; 32], &[3; 48]));
        assert_eq!(from_hex(&hex(joined.as_bytes())), Some(*joined.as_bytes()));
        assert_eq!(from_hex("00"), None);
    }

    #[test]
    fn a_checkpoint_is_believed_with_its_seal_only() {
        let chain = Chain::new(&AuditKey::test(1), "p");
        let mac = [5; 32];
        let good = Checkpoint {
            seq: 9,
            time_ms: 10,
            mac: mac.to_vec(),
            seal: chain.seal(9, 10, &mac).as_bytes().to_vec(),
        };
        assert_eq!(chain.sealed(&good), Some(mac));
        let forged = [
            Checkpoint {
                seq: 8,
                ..good.clone()
            },
            Checkpoint {
                time_ms: 11,
                ..good.clone()
            },
            Checkpoint {
                mac: vec![6; 32],
                ..good.clone()
            },
            Checkpoint {
                seal: vec![6; 32],
                ..good.clone()
            },
            Checkpoint {
                mac: vec![5; 31],
                ..good
            },
        ];
        for forged in forged {
            assert_eq!(chain.sealed(&forged), None, "{forged:?}");
        }
    }
}
