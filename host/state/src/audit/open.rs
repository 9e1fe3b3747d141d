//! What the log's end says about the run before, and how to go on.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::chain::{Chain, Mac, hex};
use super::clock::went_back;
use super::error::AuditError;
use super::event::{AuditKind, GapReason};
use super::heads::{Head, HeadsFile};
use super::key::AuditKey;
use super::log::{AuditConfig, jump_body};
use super::record::{self, Record, Texts};
use super::writer::end_of;
use crate::rows::AuditGroup;
use crate::store::StateStore;

/// Bytes of records at the end of the log that are checked when it is opened.
const TAIL_BYTES: u64 = 256 << 10;

/// Records before the last that are checked when it is opened.
const TAIL_RECORDS: i64 = 256;

/// The end of a log that was opened.
pub(super) struct End {
    pub(super) seq: i64,
    pub(super) mac: Mac,
    /// The last record whose head was exported.
    pub(super) exported: i64,
    /// What is wrong, to be put on record.
    pub(super) gaps: Vec<(GapReason, Map<String, Value>)>,
}

/// The end of the log as it is stored.
struct Stored {
    seq: i64,
    mac: Mac,
    time_ms: i64,
    stopped: bool,
    /// Records that were checked, and those of them that are not as they were written.
    checked: u64,
    wrong: Vec<i64>,
}

/// Checks the end of the log.
pub(super) async fn check_end(
    store: &Arc<dyn StateStore>,
    chain: &Chain,
    key: &AuditKey,
    heads: &HeadsFile,
    config: &AuditConfig,
) -> Result<End, AuditError> {
    let heads = heads.read()?;
    let stored = read_end(store, chain).await?;
    if stored.checked > 0 && stored.wrong.len() as u64 == stored.checked {
        return Err(AuditError::WrongKey {
            key: key.path().to_owned(),
            seq: stored.seq,
        });
    }
    let mut gaps = Vec::new();
    if !stored.wrong.is_empty() {
        gaps.push((
            GapReason::Changed,
            object(json!({ "records": stored.wrong })),
        ));
    }
    // Older heads stay in the file, where `verify` finds them.
    if let Some(head) = heads.last() {
        gaps.extend(check_head(store, &stored, head).await?);
    }
    if stored.seq > 0 && !stored.stopped {
        gaps.push((GapReason::Crash, object(json!({ "after": stored.seq }))));
    }
    if let Some(jump) = went_back(stored.time_ms, config.clock.wall_ms()) {
        gaps.push((GapReason::Clock, object(jump_body(jump, GapReason::Clock))));
    }
    Ok(End {
        seq: stored.seq,
        mac: stored.mac,
        exported: heads
            .iter()
            .map(|head| head.seq)
            .filter(|seq| *seq <= stored.seq)
            .max()
            .unwrap_or(0),
        gaps,
    })
}

async fn read_end(store: &Arc<dyn StateStore>, chain: &Chain) -> Result<Stored, AuditError> {
    let checkpoint = store.audit_checkpoint().await?;
    let sealed = checkpoint
        .as_ref()
        .and_then(|checkpoint| Some((checkpoint.seq, chain.sealed(checkpoint)?)));
    let Some(last) = store.audit_last().await? else {
        let (seq, mac) = match (&checkpoint, sealed) {
            (_, Some(sealed)) => sealed,
            (None, None) => (0, *chain.start()),
            (Some(checkpoint), None) => {
                return Err(AuditError::Damaged {
                    after: checkpoint.seq,
                    why: "nothing but a checkpoint is left, which was not written with this key",
                });
            }
        };
        return Ok(Stored {
            seq,
            mac,
            time_ms: i64::MIN,
            // Nothing was ever left unsaid.
            stopped: true,
            checked: 0,
            wrong: Vec::new(),
        });
    };
    let from = last.first.min(last.last.saturating_sub(TAIL_RECORDS));
    let mut groups = store
        .audit_after(from.saturating_sub(2).max(0), TAIL_BYTES)
        .await?;
    if groups.last().map(|group| group.first) != Some(last.first) {
        // More than fits: the last group, and where it starts.
        groups = store
            .audit_after(last.first.saturating_sub(2).max(0), 1)
            .await?;
        groups.retain(|group| group.first < last.first);
        groups.push(last);
    }
    let mut before = match (&sealed, groups.first().map(|group| group.first)) {
        (_, Some(1)) => Some((0, *chain.start())),
        (Some(sealed), _) => Some(*sealed),
        _ => None,
    };
    let mut end: Option<Stored> = None;
    for group in &groups {
        check_group(chain, group, &mut before, &mut end)?;
    }
    end.ok_or(AuditError::Damaged {
        after: from,
        why: "the last row holds no records",
    })
}

fn check_group(
    chain: &Chain,
    group: &AuditGroup,
    before: &mut Option<(i64, Mac)>,
    end: &mut Option<Stored>,
) -> Result<(), AuditError> {
    let mut rest = group.records.as_slice();
    while !rest.is_empty() {
        let record = Record::take(&mut rest).ok_or(AuditError::Damaged {
            after: before.map_or(0, |(seq, _)| seq),
            why: "what follows is no record",
        })?;
        let stored = end.get_or_insert(Stored {
            seq: 0,
            mac: *record.mac,
            time_ms: 0,
            stopped: false,
            checked: 0,
            wrong: Vec::new(),
        });
        let follows = before.filter(|(seq, _)| seq.checked_add(1) == Some(record.seq));
        if let Some((_, mac)) = follows {
            stored.checked = stored.checked.saturating_add(1);
            let anew = || record.is_kind("gap") && chain.holds(chain.start(), &record);
            if !chain.holds(&mac, &record) && !anew() {
                stored.wrong.push(record.seq);
            }
        }
        stored.seq = record.seq;
        stored.mac = *record.mac;
        stored.time_ms = record.time_ms;
        stored.stopped = record.is_kind(AuditKind::Stopped.as_str());
        *before = Some((record.seq, *record.mac));
    }
    // What the store counts by must be what the chain goes on from.
    if before.is_none_or(|(seq, _)| seq != group.last) {
        return Err(AuditError::Damaged {
            after: group.first.saturating_sub(1),
            why: "a row holds other records than it says",
        });
    }
    Ok(())
}

/// What an exported head says about the end.
async fn check_head(
    store: &Arc<dyn StateStore>,
    stored: &Stored,
    head: &Head,
) -> Result<Option<(GapReason, Map<String, Value>)>, AuditError> {
    let body = object(json!({
        "exported": head.seq,
        "mac": head.mac,
        "exported_ms": head.time_ms,
        "last": stored.seq,
        "hint": "the state was put back, copied, or cut; the exported record is not in it",
    }));
    if head.seq > stored.seq {
        return Ok(Some((GapReason::Truncated, body)));
    }
    let groups = store.audit_after(head.seq.saturating_sub(1), 1).await?;
    for group in &groups {
        let mut rest = group.records.as_slice();
        while let Some(record) = Record::take(&mut rest) {
            if record.seq == head.seq {
                let same = head.code() == Some(*record.mac);
                return Ok((!same).then_some((GapReason::Changed, body)));
            }
        }
    }
    // Pruned: `verify` looks at what stands in for it.
    Ok(None)
}

/// Starts a new chain in a log whose key was lost: a `gap` record says so and names the code
/// of the last record, and the old records are kept. For a project that no process owns.
/// Gives the new record's place.
///
/// # Errors
/// When the end of the log was written with this very key, or the store can't be written.
pub async fn renew(
    store: &Arc<dyn StateStore>,
    key: &AuditKey,
    config: &AuditConfig,
) -> Result<i64, AuditError> {
    let chain = Chain::new(key, store.project());
    let stored = read_end(store, &chain).await?;
    if stored.checked == 0 || (stored.wrong.len() as u64) < stored.checked {
        return Err(AuditError::File {
            path: key.path().to_owned(),
            why: "the audit log was written with this key".to_owned(),
            action: "nothing has to be done; see `portreeve audit verify`".to_owned(),
        });
    }
    let seq = stored.seq.saturating_add(1);
    let time_ms = config.clock.wall_ms();
    let body = json!({
        "reason": GapReason::Renewed.as_str(),
        "before": hex(&stored.mac),
        "after": stored.seq,
    })
    .to_string();
    let mut group = AuditGroup {
        first: seq,
        last: seq,
        from_ms: time_ms,
        to_ms: time_ms,
        records: Vec::new(),
    };
    let texts = Texts {
        kind: AuditKind::Gap.as_str(),
        alias: "",
        tenant: "",
        caller: "",
        call: "",
        body: &body,
    };
    record::encode(&mut group.records, seq, time_ms, &texts);
    let mac = chain.mac(chain.start(), &group.records);
    group.records.extend_from_slice(mac.as_bytes());
    let end = end_of(&group);
    store.audit_append(group).await?;
    if let Some((seq, mac)) = end {
        let heads = HeadsFile::new(&config.heads, store.project());
        heads.append(&Head {
            project: store.project().to_owned(),
            seq,
            mac: hex(&mac),
            time_ms,
        })?;
    }
    Ok(seq)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
