//! What was found about components, so that it need not be looked for again: by digest and
//! version of the rules. Components that are no artifacts of the store have theirs here, too.
//!
//! It is believed, as the signatures beside it are not: the directory is the user's own, as
//! those of keys are. What is damaged, or of other rules, is looked for again.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{ArtifactStore, StoreError, collect, make_dir, read};
use crate::Digest;
use crate::finding::rules;
use crate::scan::Examined;

/// Bytes of what was found about one component: findings are bounded, and have some 100 KiB
/// at most.
const FINDINGS_BYTES_MAX: u64 = 512 << 10;

/// Components whose findings are kept; the oldest go first.
const COMPONENTS_MAX: usize = 2_048;

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    digest: String,
    /// The version of the rules, and of the program: its lists of licences are its own.
    rules: u32,
    program: String,
    examined: Examined,
}

const PROGRAM: &str = env!("CARGO_PKG_VERSION");

impl ArtifactStore {
    /// What was found about a component by these rules; nothing where nobody has looked.
    pub fn findings(&self, digest: &Digest) -> Option<Examined> {
        let (_, bytes) = read(&self.findings_path(digest), FINDINGS_BYTES_MAX).ok()??;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        let same = kept.rules == rules::VERSION
            && kept.program == PROGRAM
            && kept.digest == digest.to_string();
        same.then_some(kept.examined)
    }

    /// Keeps what was found about a component.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_findings(&self, digest: &Digest, examined: &Examined) -> Result<(), StoreError> {
        let kept = Kept {
            digest: digest.to_string(),
            rules: rules::VERSION,
            program: PROGRAM.to_owned(),
            examined: examined.clone(),
        };
        let path = self.findings_path(digest);
        let bytes = serde_json::to_vec(&kept)
            .map_err(|error| StoreError::io("written", &path, error.into()))?;
        let _lease = self.lease()?;
        let dir = self.findings_dir();
        make_dir(&dir).map_err(|error| StoreError::io("made", &dir, error))?;
        self.write(&path, &bytes)?;
        self.forget_oldest_findings()
    }

    fn forget_oldest_findings(&self) -> Result<(), StoreError> {
        let mut files = Vec::new();
        collect::each(&self.findings_dir(), |entry| {
            files.push((entry.modified, entry.path));
            Ok(())
        })?;
        files.sort();
        let over = files.len().saturating_sub(COMPONENTS_MAX);
        for (_, path) in files.into_iter().take(over) {
            // Somebody else may have been faster; it is looked for again.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn findings_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.findings_dir().join(digest.hex() + ".json")
    }

    fn findings_dir(&self) -> std::path::PathBuf {
        self.dir.join("findings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Aspect, Finding, Findings, Place};
    use crate::scan::keep_listed;

    #[test]
    fn findings_are_kept_for_one_digest_and_these_rules() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 1 << 20).unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let mut findings = Findings::default();
        findings.push(Finding::new(&rules::MINER, Place::Component, "`xmrig`"));
        let mut examined = Examined::scanned(Findings::default());
        examined.examined(Aspect::Content, findings);
        assert_eq!(store.findings(&one), None);
        store.keep_findings(&one, &examined).unwrap();
        assert_eq!(store.findings(&one), Some(examined));
        // What belongs to another component, to other rules, or is damaged is not believed.
        let (path, elsewhere) = (store.findings_path(&one), store.findings_path(&other));
        fs::copy(&path, &elsewhere).unwrap();
        assert_eq!(store.findings(&other), None);
        let text = fs::read_to_string(&path).unwrap();
        let now = format!("\"rules\":{}", rules::VERSION);
        for damaged in [
            text.replace(&now, "\"rules\":0"),
            text.replace("miner", "minor"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert_ne!(damaged, text);
            fs::remove_file(&path).unwrap();
            fs::write(&path, damaged).unwrap();
            assert_eq!(store.findings(&one), None);
        }
    }

    #[test]
    fn what_a_list_shows_is_kept_beside_the_rest_until_there_is_another_list() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 1 << 20).unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let found = |what: &str| {
            let mut findings = Findings::default();
            findings.push(Finding::new(&rules::TEXT_HIDDEN, Place::Component, what));
            findings
        };
        let examined = Examined::scanned(found("in the file"));
        store.keep_findings(&one, &examined).unwrap();
        for listed in ["first", "second", "second"].map(found) {
            keep_listed(&store, &one, &listed);
            let known = store.findings(&one).unwrap();
            assert_eq!(known.findings, examined.findings);
            assert_eq!(known.listed, Some(listed));
        }
        // What was never looked through is not known by its list alone.
        keep_listed(&store, &other, &found("of another"));
        assert_eq!(store.findings(&other), None);
    }
}
