//! The signatures of an artifact, as they came with it.

use super::{ArtifactStore, StoreError};
use crate::Digest;
use crate::signature::{SIGNATURES_MAX, SignatureFile, SignatureKind};

impl ArtifactStore {
    /// Keeps the signatures that came with an artifact. Those that are there already stay.
    ///
    /// # Errors
    /// Those of [`put_sidecar`](ArtifactStore::put_sidecar).
    pub fn put_signatures(
        &self,
        digest: &Digest,
        signatures: &[SignatureFile],
    ) -> Result<(), StoreError> {
        let mut there = self.signatures(digest)?;
        for signature in signatures {
            let same = there.iter().filter(|known| known.kind == signature.kind);
            let place = same.clone().count();
            if place >= SIGNATURES_MAX || same.clone().any(|known| known == signature) {
                continue;
            }
            self.put_sidecar(digest, &name(signature.kind, place), &signature.bytes)?;
            there.push(signature.clone());
        }
        Ok(())
    }

    /// The signatures that came with an artifact; nobody has looked at them.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn signatures(&self, digest: &Digest) -> Result<Vec<SignatureFile>, StoreError> {
        let mut found = Vec::new();
        for kind in SignatureKind::ALL {
            for place in 0..SIGNATURES_MAX {
                let Some(bytes) = self.sidecar(digest, &name(kind, place))? else {
                    break;
                };
                found.push(SignatureFile { kind, bytes });
            }
        }
        Ok(found)
    }
}

fn name(kind: SignatureKind, place: usize) -> String {
    format!("{place}{}", kind.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_kept_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 1 << 20).unwrap();
        let digest = store.put(b"component").unwrap();
        let signature = |kind, text: &str| SignatureFile {
            kind,
            bytes: text.as_bytes().to_vec(),
        };
        let first = signature(SignatureKind::Minisign, "first");
        let bundle = signature(SignatureKind::SigstoreBundle, "bundle");
        let second = signature(SignatureKind::Minisign, "second");
        assert_eq!(store.signatures(&digest).unwrap(), []);
        for _ in 0..2 {
            let both = [first.clone(), bundle.clone()];
            store.put_signatures(&digest, &both).unwrap();
        }
        store
            .put_signatures(&digest, std::slice::from_ref(&second))
            .unwrap();
        assert_eq!(store.signatures(&digest).unwrap(), [first, second, bundle]);
    }
}
