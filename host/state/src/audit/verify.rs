//! Whether the log is what was written: every record in its place, none changed, none
//! missing.

use std::sync::Arc;

use serde::Serialize;

use super::chain::{Chain, Mac};
use super::heads::Heads;
use crate::error::StateError;
use crate::key::Key;
use crate::rows::AuditText;
use crate::store::StateStore;

/// Records that are read at once: large enough that reading costs little each, small enough
/// that memory stays small whatever the log has.
const ROWS_AT_ONCE: u32 = 2_000;

/// Findings that are told; a log that was changed in more places is changed enough.
const FINDINGS_MAX: usize = 20;

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
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What kind: `changed`, `missing`, `cut-off`, `forged-checkpoint`, `other-head`.
    pub kind: &'static str,
    /// The record that it shows at.
    pub seq: i64,
    /// A sentence.
    pub message: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, kind: &'static str, seq: i64, message: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { kind, seq, message });
        }
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
    let chain = Chain::new(key, store.project());
    let mut verified = Verified::default();
    let mut place = Place::default();
    // Before the records: those that are written meanwhile are beyond it.
    let mut heads: Vec<_> = heads
        .read()
        .map_err(|error| {
            StateError::Database(format!("{} can't be read: {error}", heads.path().display()))
        })?
        .into_iter()
        .filter(|head| head.project == store.project())
        .collect();
    heads.sort_by_key(|head| head.seq);
    if let Some(checkpoint) = store.audit_checkpoint().await? {
        verified.pruned = Some(checkpoint.seq);
        if chain.is_sealed(&checkpoint) {
            place.before = Mac::from_hex(&checkpoint.mac).unwrap_or(Mac::START);
        } else {
            verified.find(
                "forged-checkpoint",
                checkpoint.seq,
                "the checkpoint that stands in for pruned records is not this host's: records before it may have been removed, or the key is another one".to_owned(),
            );
            place.before = Mac::from_hex(&checkpoint.mac).unwrap_or(Mac::START);
        }
        place.seq = checkpoint.seq;
    }
    verified.first = place.seq.saturating_add(1);
    let mut heads = heads.into_iter().peekable();
    while heads.next_if(|head| head.seq <= place.seq).is_some() {}
    let mut text = store.audit_text(place.seq, ROWS_AT_ONCE).await?;
    while let Some(page) = text {
        // The next page is read while this one is hashed.
        let ends = page.last;
        let hashing = {
            let chain = chain.clone();
            let mut wanted = Vec::new();
            while let Some(head) = heads.next_if(|head| head.seq <= ends) {
                wanted.push((head.seq, head.mac));
            }
            verified.heads = verified.heads.saturating_add(wanted.len() as u64);
            tokio::task::spawn_blocking(move || {
                let findings = check_page(&chain, &mut place, &page, &wanted);
                (place, findings, page.count, page.records.len())
            })
        };
        let (next, hashed) = tokio::join!(store.audit_text(ends, ROWS_AT_ONCE), hashing);
        let (reached, findings, count, bytes) =
            hashed.map_err(|error| StateError::Database(error.to_string()))?;
        place = reached;
        verified.records = verified.records.saturating_add(u64::from(count));
        verified.bytes = verified.bytes.saturating_add(bytes as u64);
        verified.last = ends;
        for (kind, seq, message) in findings {
            verified.find(kind, seq, message);
        }
        text = next?;
    }
    if let Some(head) = heads.last() {
        verified.heads = verified.heads.saturating_add(1);
        let last = verified.last.max(place.seq);
        verified.find(
            "cut-off",
            last,
            format!(
                "the log ends at {last}, but a head that was kept apart says that there was a record {}: what came after {last} was cut off",
                head.seq
            ),
        );
    }
    Ok(verified)
}

/// How far the log was read.
#[derive(Clone, Copy, Debug)]
struct Place {
    seq: i64,
    before: Mac,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            seq: 0,
            before: Mac::START,
        }
    }
}

type Findings = Vec<(&'static str, i64, String)>;

fn check_page(
    chain: &Chain,
    place: &mut Place,
    page: &AuditText,
    heads: &[(i64, String)],
) -> Findings {
    let mut findings = Findings::new();
    let mut heads = heads.iter().peekable();
    let mut macs = page.macs.as_bytes().chunks(Mac::HEX_LEN);
    let first = place.seq.saturating_add(1);
    if page.first != first {
        findings.push((
            "missing",
            first,
            format!(
                "the records from {first} up to {} are missing",
                page.first.saturating_sub(1)
            ),
        ));
        place.seq = page.first.saturating_sub(1);
    }
    let expected = page.last.saturating_sub(page.first).saturating_add(1);
    if expected != i64::from(page.count) {
        findings.push((
            "missing",
            page.first,
            format!(
                "of the records from {} to {} there are {}, not {expected}",
                page.first, page.last, page.count
            ),
        ));
    }
    for record in page.records.split('\n') {
        let seq = place.seq.saturating_add(1);
        let stored = macs
            .next()
            .and_then(|mac| std::str::from_utf8(mac).ok())
            .and_then(Mac::from_hex);
        let mac = chain.mac(place.before, record);
        if stored != Some(mac) && findings.len() < FINDINGS_MAX {
            findings.push((
                "changed",
                seq,
                format!(
                    "record {seq} is not what was written there: it, or the one before it, was changed, moved or removed, or the key is another one"
                ),
            ));
        }
        // Further changes show behind this one as well.
        place.before = stored.unwrap_or(mac);
        place.seq = seq;
        while let Some((_, head)) = heads.next_if(|(at, _)| *at == seq) {
            if Mac::from_hex(head) != stored {
                findings.push((
                    "other-head",
                    seq,
                    format!("record {seq} is another one than the head that was kept of it: the log was cut off before it and continued"),
                ));
            }
        }
    }
    place.seq = page.last;
    findings
}
