//! Whether the log is what was written.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::chain::{Chain, Mac, hex};
use super::error::AuditError;
use super::heads::Head;
use super::key::AuditKey;
use super::record::Record;
use crate::rows::{AuditGroup, Checkpoint};
use crate::store::StateStore;

/// Bytes of records that are read at once.
const PAGE_BYTES: u64 = 2 << 20;

/// Findings and gaps that are told one by one; the rest is counted.
const TOLD_MAX: usize = 100;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// Records were changed.
    Edited {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
    /// Records are missing.
    Removed {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
    /// A record stands where another should, or twice.
    Reordered {
        /// The record.
        seq: i64,
        /// The one before it.
        after: i64,
    },
    /// The log ends before a head that was exported.
    Truncated {
        /// The last record.
        last: i64,
        /// The last record that was exported.
        exported: i64,
        /// When, in milliseconds since 1970.
        exported_ms: i64,
    },
    /// A record is not the one that was exported under its number: the log was rewritten, or
    /// an older state was put in its place and went on.
    Rewritten {
        /// The record.
        seq: i64,
        /// When it was exported, in milliseconds since 1970.
        exported_ms: i64,
    },
    /// No record was written with this key.
    WrongKey {
        /// Records.
        records: u64,
    },
    /// The checkpoint that stands in for pruned records was not made with this key.
    ForgedCheckpoint {
        /// The last record that it stands in for.
        seq: i64,
    },
    /// Stored bytes are no records.
    Damaged {
        /// The last record before.
        after: i64,
    },
    /// A row of the database says that it holds other records than it does.
    Misplaced {
        /// The first record that it names.
        first: i64,
        /// The last record that it names.
        last: i64,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let range = |first: i64, last: i64| {
            if first == last {
                format!("record {first}")
            } else {
                format!("records {first} to {last}")
            }
        };
        match *self {
            Finding::Edited { first, last } => write!(f, "edited: {}", range(first, last)),
            Finding::Removed { first, last } => write!(f, "removed: {}", range(first, last)),
            Finding::Reordered { seq, after } => {
                write!(f, "reordered: record {seq} stands after record {after}")
            }
            Finding::Truncated {
                last,
                exported,
                exported_ms,
            } => write!(
                f,
                "truncated: the log ends with record {last}, but record {exported} was exported at {}",
                super::time_text(exported_ms)
            ),
            Finding::Rewritten { seq, exported_ms } => write!(
                f,
                "rewritten: record {seq} is not the one that was exported at {}",
                super::time_text(exported_ms)
            ),
            Finding::WrongKey { records } => write!(
                f,
                "wrong key: none of {records} records was written with this key, or all were changed"
            ),
            Finding::ForgedCheckpoint { seq } => write!(
                f,
                "forged checkpoint: what stands in for the records up to {seq} was not written by the host"
            ),
            Finding::Damaged { after } => {
                write!(f, "damaged: what follows record {after} is no record")
            }
            Finding::Misplaced { first, last } => write!(
                f,
                "misplaced: the row of {} holds others",
                range(first, last)
            ),
        }
    }
}

/// A `gap` record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// Its place.
    pub seq: i64,
    /// When it was written, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it says.
    pub body: Value,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Records that are as they were written.
    pub verified: u64,
    /// Records that were read.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first record.
    pub first: Option<i64>,
    /// The last record.
    pub last: Option<i64>,
    /// The code of the last record, in hexadecimal digits.
    pub mac: Option<String>,
    /// The last record that was pruned.
    pub pruned: Option<i64>,
    /// Exported heads that were compared.
    pub heads: u64,
    /// The last record of an older chain whose key was lost: it can't be verified.
    pub unverifiable: Option<i64>,
    /// `gap` records, the first ones.
    pub gaps: Vec<Gap>,
    /// Further `gap` records.
    pub gaps_more: u64,
    /// What is not as it was written, the first ones.
    pub findings: Vec<Finding>,
    /// Further findings.
    pub findings_more: u64,
}

impl VerifyReport {
    /// Whether everything is as it was written.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies the log, or what of it follows record `after`, against the key and the exported
/// heads. Memory is bounded; the process that owns the project may go on meanwhile.
///
/// # Errors
/// When the store can't be read. What is wrong with the log is in the report.
pub async fn verify(
    store: &Arc<dyn StateStore>,
    key: &AuditKey,
    heads: Vec<Head>,
    after: i64,
) -> Result<VerifyReport, AuditError> {
    let chain = Chain::new(key, store.project());
    let mut verifier = Verifier::new(chain, heads, after);
    let mut cursor = after;
    match store.audit_checkpoint().await? {
        Some(checkpoint) if checkpoint.seq >= after => verifier.checkpoint(&checkpoint),
        _ if after > 0 => {
            // Its code is believed, so that what builds on it can be checked.
            cursor = after.saturating_sub(1);
        }
        _ => {}
    }
    let mut page = store.audit_after(cursor, PAGE_BYTES).await?;
    while let Some(end) = page.last().map(|group| group.last) {
        let follows = page
            .first()
            .is_none_or(|group| group.first <= verifier.next);
        if !follows && let Some(checkpoint) = store.audit_checkpoint().await? {
            // Pruned while we read.
            verifier.pruned_meanwhile(&checkpoint);
        }
        // The store reads the next page while this one is hashed, elsewhere.
        let hashing = tokio::task::spawn_blocking(move || {
            for group in &page {
                verifier.group(group);
            }
            verifier
        });
        let next = store.audit_after(end, PAGE_BYTES).await?;
        verifier = hashing.await.map_err(|_| AuditError::Closed)?;
        page = next;
    }
    Ok(verifier.finish())
}

/// Checks records one after the other.
pub(super) struct Verifier {
    chain: Chain,
    heads: std::iter::Peekable<std::vec::IntoIter<Head>>,
    /// The record from which on is checked, but for itself.
    after: i64,
    /// The record that should come next.
    next: i64,
    /// The record before, and its code as it is stored.
    before: Option<(i64, Mac)>,
    sealed: bool,
    report: VerifyReport,
}

impl Verifier {
    pub(super) fn new(chain: Chain, heads: Vec<Head>, after: i64) -> Verifier {
        let before = (after == 0).then(|| (0, *chain.start()));
        let heads: Vec<Head> = heads.into_iter().filter(|head| head.seq > after).collect();
        Verifier {
            heads: heads.into_iter().peekable(),
            after,
            next: after.saturating_add(1),
            before,
            sealed: false,
            report: VerifyReport::default(),
            chain,
        }
    }

    /// Takes what stands in for records that were pruned.
    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.report.pruned = Some(checkpoint.seq);
        self.next = checkpoint.seq.saturating_add(1);
        match self.chain.sealed(checkpoint) {
            Some(mac) => {
                self.sealed = true;
                self.before = Some((checkpoint.seq, mac));
                self.compare_head(checkpoint.seq, &mac);
            }
            None => {
                // The record after it can be checked against the code all the same, so that
                // a wrong key is told from a forged checkpoint.
                self.before = checkpoint
                    .mac
                    .as_slice()
                    .try_into()
                    .ok()
                    .map(|mac| (checkpoint.seq, mac));
                self.find(Finding::ForgedCheckpoint {
                    seq: checkpoint.seq,
                });
            }
        }
    }

    fn pruned_meanwhile(&mut self, checkpoint: &Checkpoint) {
        if checkpoint.seq >= self.next
            && let Some(mac) = self.chain.sealed(checkpoint)
        {
            self.report.pruned = Some(checkpoint.seq);
            self.next = checkpoint.seq.saturating_add(1);
            self.before = Some((checkpoint.seq, mac));
        }
    }

    /// Takes one row of the store.
    pub(super) fn group(&mut self, group: &AuditGroup) {
        // Neighbours may have been joined since the last page was read.
        let again = group.first < self.next;
        let mut rest = group.records.as_slice();
        let mut ends: Option<(i64, i64)> = None;
        let mut place = 0_usize;
        while !rest.is_empty() {
            let Some(record) = Record::take(&mut rest) else {
                let after = self.next.saturating_sub(1);
                self.find(Finding::Damaged { after });
                return;
            };
            // The code before and the record lie side by side.
            let end = place.saturating_add(record.covered.len());
            let joined = place
                .checked_sub(record.mac.len())
                .and_then(|start| group.records.get(start..end));
            place = end.saturating_add(record.mac.len());
            ends = Some((ends.map_or(record.seq, |(first, _)| first), record.seq));
            if record.seq <= self.after && self.before.is_none() {
                if record.seq == self.after {
                    self.before = Some((record.seq, *record.mac));
                }
                continue;
            }
            if again && record.seq < self.next && record.seq >= group.first {
                continue;
            }
            self.record(&record, joined);
        }
        if ends != Some((group.first, group.last)) {
            self.find(Finding::Misplaced {
                first: group.first,
                last: group.last,
            });
        }
    }

    /// Takes a record. `joined` is the stored code before it and what its own covers, where
    /// they lie side by side.
    pub(super) fn record(&mut self, record: &Record<'_>, joined: Option<&[u8]>) {
        let seq = record.seq;
        let report = &mut self.report;
        report.records = report.records.saturating_add(1);
        report.bytes = report
            .bytes
            .saturating_add((record.covered.len().saturating_add(record.mac.len())) as u64);
        report.first.get_or_insert(seq);
        if seq > self.next {
            let (first, last) = (self.next, seq.saturating_sub(1));
            self.find(Finding::Removed { first, last });
        } else if seq < self.next {
            let after = self.before.map_or(0, |(before, _)| before);
            self.find(Finding::Reordered { seq, after });
        }
        // Without the record before, a record can't be checked; what is missing was told.
        let before = self
            .before
            .filter(|(before, _)| before.checked_add(1) == Some(seq));
        if let Some((_, mac)) = before {
            // Within a row, the code before is the one that is stored before: the same.
            let code = match joined {
                Some(joined) => self.chain.mac_joined(joined),
                None => self.chain.mac(&mac, record.covered),
            };
            if code == *record.mac {
                self.report.verified = self.report.verified.saturating_add(1);
            } else if !self.starts_anew(record, &mac) {
                self.find(Finding::Edited {
                    first: seq,
                    last: seq,
                });
            }
        }
        if record.is_kind("gap") {
            self.gap(record);
        }
        self.compare_head(seq, record.mac);
        self.before = Some((seq, *record.mac));
        self.next = self.next.max(seq.saturating_add(1));
    }

    /// Whether a chain with another key starts here, written by `renew` with this key.
    fn starts_anew(&mut self, record: &Record<'_>, before: &Mac) -> bool {
        let body = record.body();
        let is = |name: &str, value: &str| {
            body.as_ref()
                .and_then(|body| body.get(name))
                .and_then(Value::as_str)
                == Some(value)
        };
        let anew = record.is_kind("gap")
            && is("reason", super::GapReason::Renewed.as_str())
            && is("before", &hex(before))
            && self.chain.holds(self.chain.start(), record);
        // Where records before verify, they are this key's, and edits among them count.
        if !anew || self.report.verified > 0 {
            return anew;
        }
        let other_key = |finding: &Finding| {
            matches!(
                finding,
                Finding::Edited { .. } | Finding::ForgedCheckpoint { .. }
            )
        };
        self.report.findings.retain(|finding| !other_key(finding));
        self.report.unverifiable = Some(record.seq.saturating_sub(1));
        self.report.verified = 1;
        true
    }

    fn gap(&mut self, record: &Record<'_>) {
        if self.report.gaps.len() >= TOLD_MAX {
            self.report.gaps_more = self.report.gaps_more.saturating_add(1);
            return;
        }
        self.report.gaps.push(Gap {
            seq: record.seq,
            time_ms: record.time_ms,
            body: record.body().unwrap_or_default(),
        });
    }

    fn compare_head(&mut self, seq: i64, mac: &Mac) {
        while let Some(head) = self.heads.next_if(|head| head.seq <= seq) {
            if head.seq < seq {
                continue;
            }
            self.report.heads = self.report.heads.saturating_add(1);
            if head.code() != Some(*mac) {
                self.find(Finding::Rewritten {
                    seq,
                    exported_ms: head.time_ms,
                });
            }
        }
    }

    fn find(&mut self, finding: Finding) {
        if let (Some(Finding::Edited { last, .. }), Finding::Edited { first, .. }) =
            (self.report.findings.last_mut(), &finding)
            && last.checked_add(1) == Some(*first)
        {
            *last = *first;
            return;
        }
        if self.report.findings.len() >= TOLD_MAX {
            self.report.findings_more = self.report.findings_more.saturating_add(1);
            return;
        }
        self.report.findings.push(finding);
    }

    /// What was found.
    pub(super) fn finish(mut self) -> VerifyReport {
        let last = self.next.saturating_sub(1);
        if let Some(head) = self.heads.by_ref().last() {
            self.find(Finding::Truncated {
                last,
                exported: head.seq,
                exported_ms: head.time_ms,
            });
        }
        let mut report = self.report;
        if report.records > 0 && report.verified == 0 && !self.sealed {
            report.findings.retain(|finding| {
                !matches!(
                    finding,
                    Finding::Edited { .. } | Finding::ForgedCheckpoint { .. }
                )
            });
            let records = report.records;
            report.findings.insert(0, Finding::WrongKey { records });
        }
        if let Some((seq, mac)) = self.before.filter(|_| report.records > 0) {
            report.last = Some(seq);
            report.mac = Some(hex(&mac));
        }
        report
    }
}

impl Record<'_> {
    /// Whether it is of a kind, without reading the rest of it.
    pub(super) fn is_kind(&self, kind: &str) -> bool {
        let length = u32::try_from(kind.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.covered
            .get(20..)
            .and_then(|rest| rest.strip_prefix(&length))
            .is_some_and(|rest| rest.starts_with(kind.as_bytes()))
    }

    /// Its body.
    pub(super) fn body(&self) -> Option<Value> {
        serde_json::from_str(self.texts()?.body).ok()
    }
}
