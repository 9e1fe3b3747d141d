//! Whether the log is what was written: every record in its place, none changed, none
//! missing.

use std::sync::Arc;

use serde::Serialize;

use super::chain::{Chain, Mac};
use super::heads::{Head, Heads};
use crate::error::StateError;
use crate::key::Key;
use crate::rows::{AuditText, Checkpoint};
use crate::store::StateStore;

/// Records that are read at once: large enough that reading costs little each, small enough
/// that memory stays small whatever the log has.
const ROWS_AT_ONCE: u32 = 2_000;

/// Findings that are told; a log that was changed in more places is changed enough.
const FINDINGS_MAX: usize = 50;

/// What `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The first record that is there.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// How many there are.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last record that was pruned, if any.
    pub pruned: Option<i64>,
    /// Heads that the log was held against.
    pub heads: u64,
    /// What is wrong; nothing, for a log that is whole.
    pub findings: Vec<Finding>,
    /// How much more is wrong than what is told.
    pub findings_more: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What kind: `changed`, `missing`, `misplaced`, `cut-off`, `forged-checkpoint`,
    /// `other-head`, `other-key`.
    pub kind: &'static str,
    /// The record that it shows at, or the first of them.
    pub seq: i64,
    /// The last of them.
    pub last: i64,
    /// A sentence.
    pub message: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Holds the log against the key, its checkpoint and its heads. Reads beside a host that
/// runs; memory doesn't grow with the log.
///
/// # Errors
/// When the state or the heads can't be read.
pub async fn verify(
    store: Arc<dyn StateStore>,
    key: &Key,
    heads: &Heads,
) -> Result<Verified, StateError> {
    // Before the records: those that are written meanwhile are beyond it.
    let heads = heads.read().map_err(|error| {
        StateError::Database(format!("{} can't be read: {error}", heads.path().display()))
    })?;
    let checkpoint = store.audit_checkpoint().await?;
    let mut verifier = Verifier::new(key, store.project(), heads, checkpoint.as_ref());
    let mut text = store.audit_text(verifier.seq, ROWS_AT_ONCE).await?;
    while let Some(page) = text {
        if page.first > verifier.seq.saturating_add(1)
            && let Some(checkpoint) = store.audit_checkpoint().await?
        {
            // The host may have pruned them since we looked.
            verifier.pruned_meanwhile(&checkpoint);
        }
        // The next page is read while this one is hashed.
        let ends = page.last;
        let hashing = tokio::task::spawn_blocking(move || {
            verifier.page(&page);
            verifier
        });
        let (next, hashed) = tokio::join!(store.audit_text(ends, ROWS_AT_ONCE), hashing);
        verifier = hashed.map_err(|error| StateError::Database(error.to_string()))?;
        text = next?;
    }
    Ok(verifier.finish())
}

/// Checks a log page by page.
pub(crate) struct Verifier {
    chain: Chain,
    verified: Verified,
    heads: std::iter::Peekable<std::vec::IntoIter<Head>>,
    /// The last record that was looked at.
    seq: i64,
    /// Its code as it is stored; none where it is missing, so that nothing builds on it.
    before: Option<Mac>,
    /// Whether the checkpoint bears the key.
    sealed: bool,
    /// Records that are as they were written.
    good: u64,
    /// Records that are not.
    bad: u64,
    /// The record of a host that went on with another key, if all before it fail.
    other_key_until: Option<i64>,
}

impl Verifier {
    pub(crate) fn new(
        key: &Key,
        project: &str,
        mut heads: Vec<Head>,
        checkpoint: Option<&Checkpoint>,
    ) -> Verifier {
        heads.retain(|head| head.project == project);
        heads.sort_by_key(|head| head.seq);
        let mut verifier = Verifier {
            chain: Chain::new(key, project),
            verified: Verified::default(),
            heads: heads.into_iter().peekable(),
            seq: 0,
            before: Some(Mac::START),
            sealed: false,
            good: 0,
            bad: 0,
            other_key_until: None,
        };
        if let Some(checkpoint) = checkpoint {
            verifier.checkpoint(checkpoint);
        }
        verifier.verified.first = verifier.seq.saturating_add(1);
        verifier
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let seq = checkpoint.seq;
        self.verified.pruned = Some(seq);
        self.sealed = self.chain.is_sealed(checkpoint);
        if !self.sealed {
            self.find(
                "forged-checkpoint",
                seq,
                seq,
                "the checkpoint that stands in for pruned records is not this host's: records before it may have been removed, or the key is another one",
            );
        }
        self.before = Mac::from_hex(&checkpoint.mac);
        self.seq = seq;
        // Those of records that are gone; the last one is still known by its code.
        while self.heads.next_if(|head| head.seq < seq).is_some() {}
        self.compare_heads(self.before);
    }

    fn pruned_meanwhile(&mut self, checkpoint: &Checkpoint) {
        if checkpoint.seq > self.seq && self.chain.is_sealed(checkpoint) {
            self.checkpoint(checkpoint);
        }
    }

    /// Takes the records that come next.
    pub(crate) fn page(&mut self, page: &AuditText) {
        let expected = page.last.saturating_sub(page.first).saturating_add(1);
        if page.first <= self.seq {
            let (first, after) = (page.first, self.seq);
            let message = format!("record {first} stands after record {after}");
            self.find("misplaced", first, first, &message);
            self.before = None;
        } else if page.first != self.seq.saturating_add(1) {
            self.missing(self.seq.saturating_add(1), page.first.saturating_sub(1));
        }
        self.seq = page.first.saturating_sub(1);
        // Then records say themselves where they stand, which costs reading them.
        let holes = expected != i64::from(page.count);
        let mut macs = page.macs.as_bytes().chunks(Mac::HEX_LEN);
        let mut lines = 0_u32;
        for record in page.records.split('\n') {
            lines = lines.saturating_add(1);
            let seq = self.seq.saturating_add(1);
            if holes
                && let Some(own) = own_place(record).filter(|own| (seq..=page.last).contains(own))
            {
                if own > seq {
                    self.missing(seq, own.saturating_sub(1));
                }
                self.seq = own.saturating_sub(1);
            }
            let stored = macs
                .next()
                .and_then(|mac| std::str::from_utf8(mac).ok())
                .and_then(Mac::from_hex);
            self.record(record, stored);
        }
        let count = u64::from(page.count);
        self.verified.records = self.verified.records.saturating_add(count);
        self.verified.bytes = self
            .verified
            .bytes
            .saturating_add(page.records.len() as u64);
        let lines_fit = lines == page.count && macs.next().is_none();
        if self.seq != page.last || !lines_fit {
            self.find(
                "changed",
                page.first,
                page.last,
                "records were changed to what is none",
            );
        }
        self.seq = page.last;
        self.verified.last = page.last;
    }

    fn record(&mut self, record: &str, stored: Option<Mac>) {
        let seq = self.seq.saturating_add(1);
        if let Some(before) = self.before {
            if stored == Some(self.chain.mac(before, record)) {
                // From here on the key fits, and nowhere before: it was another one. A run
                // of a host writes more than two records.
                let all = seq.saturating_sub(self.verified.first);
                if self.good == 0 && self.bad > 2 && i64::try_from(self.bad) == Ok(all) {
                    self.other_key_until = Some(seq.saturating_sub(1));
                }
                self.good = self.good.saturating_add(1);
            } else {
                self.changed(seq);
            }
        } else if stored.is_none() {
            self.changed(seq);
        }
        // Further changes show behind this one as well.
        self.before = stored;
        self.seq = seq;
        self.compare_heads(stored);
    }

    /// Compares the heads of the last record.
    fn compare_heads(&mut self, stored: Option<Mac>) {
        let seq = self.seq;
        while let Some(head) = self.heads.next_if(|head| head.seq <= seq) {
            if head.seq < seq {
                continue;
            }
            self.verified.heads = self.verified.heads.saturating_add(1);
            if stored.is_none() || Mac::from_hex(&head.mac) != stored {
                let message = format!(
                    "record {seq} is another one than the head that was kept of it: the log was cut off before it and continued, or an older or copied state was put in its place"
                );
                self.find("other-head", seq, seq, &message);
            }
        }
    }

    fn changed(&mut self, seq: i64) {
        self.bad = self.bad.saturating_add(1);
        // Neighbours are told together.
        if let Some(finding) = self.verified.findings.last_mut()
            && finding.kind == "changed"
            && finding.last.checked_add(1) == Some(seq)
        {
            finding.last = seq;
            finding.message = format!(
                "the records from {} to {seq} are not what was written there: they were changed, moved or removed, or the key is another one",
                finding.seq
            );
            return;
        }
        let message = format!(
            "record {seq} is not what was written there: it, or the one before it, was changed, moved or removed, or the key is another one"
        );
        self.find("changed", seq, seq, &message);
    }

    fn missing(&mut self, first: i64, last: i64) {
        let message = if first == last {
            format!("record {first} is missing")
        } else {
            format!("the records from {first} to {last} are missing")
        };
        self.find("missing", first, last, &message);
        self.before = None;
    }

    fn find(&mut self, kind: &'static str, seq: i64, last: i64, message: &str) {
        if self.verified.findings.len() >= FINDINGS_MAX {
            self.verified.findings_more = self.verified.findings_more.saturating_add(1);
            return;
        }
        self.verified.findings.push(Finding {
            kind,
            seq,
            last,
            message: message.to_owned(),
        });
    }

    /// What was found.
    pub(crate) fn finish(mut self) -> Verified {
        let last = self.seq;
        if let Some(head) = self.heads.by_ref().last() {
            self.verified.heads = self.verified.heads.saturating_add(1);
            let message = format!(
                "the log ends at {last}, but a head that was kept apart says that there was a record {}: what came after {last} was cut off, or an older state was put in its place",
                head.seq
            );
            // Never left out, however much else is wrong.
            self.verified
                .findings
                .truncate(FINDINGS_MAX.saturating_sub(1));
            self.find("cut-off", last, head.seq, &message);
        }
        let mut verified = self.verified;
        let until = match self.other_key_until {
            None if self.good == 0 && self.bad > 0 && self.bad == verified.records => {
                Some(verified.last)
            }
            until => until,
        };
        if let Some(until) = until.filter(|_| !self.sealed) {
            // One sentence instead of one for each.
            let first = verified.first;
            verified.findings.retain(|finding| {
                !matches!(finding.kind, "changed" | "forged-checkpoint") || finding.seq > until
            });
            let message = format!(
                "none of the records from {first} to {until} bears this key: they were written with another one, or all were changed"
            );
            verified.findings.insert(
                0,
                Finding {
                    kind: "other-key",
                    seq: first,
                    last: until,
                    message,
                },
            );
        }
        verified
    }
}

/// The place that a record itself names.
fn own_place(record: &str) -> Option<i64> {
    let digits = record.strip_prefix("{\"seq\":")?;
    digits.split_once(',')?.0.parse().ok()
}
