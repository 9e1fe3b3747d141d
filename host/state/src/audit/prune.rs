//! Removes what is too old or too much, and seals what stands in for it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::chain::{Mac, hex};
use super::clock;
use super::error::AuditError;
use super::event::AuditKind;
use super::writer::{Writer, end_of};
use crate::rows::Checkpoint;

/// Records that are never removed, however old or many they are.
const KEPT_MIN: i64 = 1_000;

/// Bytes of records that are removed at once, so that no write waits long for it.
const STEP_BYTES: u64 = 4 << 20;

/// How long nothing is removed for its age after the clock was set: it may be wrong.
const CLOCK_PAUSE: Duration = Duration::from_secs(86_400);

/// Removes what is too much or too old, step by step.
pub(super) async fn maintain(writer: &mut Writer) -> Result<(), AuditError> {
    while step(writer).await? {}
    Ok(())
}

/// One step; whether there may be more to do.
async fn step(writer: &mut Writer) -> Result<bool, AuditError> {
    let shared = writer.shared().clone();
    if shared.healthy().is_err() {
        return Ok(false);
    }
    let used = shared.store.audit_bytes().await?;
    let mut surplus = used.saturating_sub(shared.config.size_max);
    let now_ms = shared.config.clock.wall_ms();
    let old_ms = now_ms.saturating_sub(clock::ms(shared.config.age_max));
    let clock_set = *shared
        .clock_set
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let passed = shared.config.clock.passed();
    let trusted = clock_set.is_none_or(|at| passed.saturating_sub(at) >= CLOCK_PAUSE);
    let newest = writer.written().saturating_sub(KEPT_MIN);
    let allowed = newest.min(shared.exported.load(Ordering::Acquire));

    let from = shared
        .store
        .audit_checkpoint()
        .await?
        .map_or(0, |checkpoint| checkpoint.seq);
    let groups = shared.store.audit_after(from, STEP_BYTES).await?;
    let mut end: Option<(i64, Mac)> = None;
    let (mut bytes, mut for_size, mut for_age) = (0_u64, false, false);
    for group in &groups {
        let old = trusted && group.to_ms < old_ms;
        if group.last > allowed || !(old || surplus > 0) {
            break;
        }
        // The code on which the rest builds is the stored one; whether it is right is for
        // `verify` to say, before and after.
        let Some(last) = end_of(group).filter(|(seq, _)| *seq == group.last) else {
            return Err(AuditError::Damaged {
                after: group.first.saturating_sub(1),
                why: "what shall be pruned is no record",
            });
        };
        let size = group.records.len() as u64;
        for_size |= surplus > 0;
        for_age |= old;
        surplus = surplus.saturating_sub(size);
        bytes = bytes.saturating_add(size);
        end = Some(last);
    }
    let Some((seq, mac)) = end else {
        return Ok(false);
    };
    let why = match (for_size, for_age) {
        (true, true) => "size and age",
        (true, false) => "size",
        _ => "age",
    };
    let body = json!({
        "from": from.saturating_add(1),
        "to": seq,
        "bytes": bytes,
        "mac": hex(&mac),
        "why": why,
    });
    let body = body.as_object().cloned().unwrap_or_default();
    shared.host_record(&mut shared.tail(), AuditKind::Prune, body);
    // On disk before anything is gone.
    writer.write_pending().await?;
    let seal = shared.chain.seal(seq, now_ms, &mac);
    shared
        .store
        .audit_prune(Checkpoint {
            seq,
            time_ms: now_ms,
            mac: mac.to_vec(),
            seal: seal.as_bytes().to_vec(),
        })
        .await?;
    writer.forget_small();
    tracing::info!(
        to = seq,
        bytes,
        why,
        "old records of the audit log were pruned"
    );
    Ok(true)
}
