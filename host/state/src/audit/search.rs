//! Reading the log. What is read is what is stored; whether that was written is for `verify`.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::chain::hex;
use super::clock::time_text;
use super::error::AuditError;
use super::event::AuditKind;
use super::record::{Record, Texts};
use crate::store::StateStore;

/// Bytes of records that are read at once.
const PAGE_BYTES: u64 = 1 << 20;

/// Bytes of the records that one search gives.
const RESULT_BYTES_MAX: usize = 64 << 20;

/// Which records are wanted; all that is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditFilter {
    /// Of this plugin, by its alias.
    pub alias: Option<String>,
    /// Of this caller.
    pub caller: Option<String>,
    /// Of one of these kinds; any where there are none.
    pub kinds: Vec<AuditKind>,
    /// Of this call.
    pub call: Option<String>,
    /// Written then or later, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Written before, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// After this record.
    pub after: i64,
}

impl AuditFilter {
    /// Whether it leaves nothing out.
    pub fn is_all(&self) -> bool {
        *self == AuditFilter::default()
    }

    fn wants(&self, record: &Record<'_>, texts: &Texts<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        self.from_ms.is_none_or(|from| record.time_ms >= from)
            && self.to_ms.is_none_or(|to| record.time_ms < to)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.as_str() == texts.kind))
            && is(&self.alias, texts.alias)
            && is(&self.caller, texts.caller)
            && is(&self.call, texts.call)
    }
}

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Its place.
    pub seq: i64,
    /// When it was written, such as `2026-11-21T10:00:00.123Z`.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: i64,
    /// Its kind.
    pub kind: String,
    /// The plugin's alias; empty for the host.
    pub alias: String,
    /// The tenant; empty where there is only one.
    pub tenant: String,
    /// Who did it, or for whom it was done.
    pub caller: String,
    /// The call's id; empty outside of calls.
    pub call: String,
    /// The rest.
    pub body: Value,
    /// Its code, in hexadecimal digits.
    pub mac: String,
}

impl AuditRecord {
    pub(super) fn new(record: &Record<'_>, texts: &Texts<'_>) -> AuditRecord {
        AuditRecord {
            seq: record.seq,
            time: time_text(record.time_ms),
            time_ms: record.time_ms,
            kind: texts.kind.to_owned(),
            alias: texts.alias.to_owned(),
            tenant: texts.tenant.to_owned(),
            caller: texts.caller.to_owned(),
            call: texts.call.to_owned(),
            body: serde_json::from_str(texts.body)
                .unwrap_or_else(|_| Value::String(texts.body.to_owned())),
            mac: hex(record.mac),
        }
    }
}

/// The place of the last record; 0 where there is none.
///
/// # Errors
/// When the store can't be read.
pub async fn last(store: &Arc<dyn StateStore>) -> Result<i64, AuditError> {
    Ok(store.audit_last().await?.map_or(0, |group| group.last))
}

/// The newest records that are wanted, oldest first: `records_max` at most, and no more than
/// 64 MiB of them.
///
/// # Errors
/// When the store can't be read, or what it holds are no records.
pub async fn search(
    store: &Arc<dyn StateStore>,
    filter: &AuditFilter,
    records_max: usize,
) -> Result<Vec<AuditRecord>, AuditError> {
    let mut found: VecDeque<(AuditRecord, usize)> = VecDeque::new();
    let mut bytes = 0_usize;
    scan(store, filter, |record, texts| {
        let size = record.covered.len();
        bytes = bytes.saturating_add(size);
        found.push_back((AuditRecord::new(record, texts), size));
        while found.len() > records_max || bytes > RESULT_BYTES_MAX {
            let Some((_, size)) = found.pop_front() else {
                break;
            };
            bytes = bytes.saturating_sub(size);
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(found.into_iter().map(|(record, _)| record).collect())
}

/// Shows each record that is wanted, in order, until told to stop.
pub(super) async fn scan(
    store: &Arc<dyn StateStore>,
    filter: &AuditFilter,
    mut show: impl FnMut(&Record<'_>, &Texts<'_>) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    let mut cursor = filter.after;
    loop {
        let page = store.audit_after(cursor, PAGE_BYTES).await?;
        let Some(end) = page.last().map(|group| group.last) else {
            return Ok(());
        };
        for group in &page {
            let mut rest = group.records.as_slice();
            while !rest.is_empty() {
                let read =
                    Record::take(&mut rest).and_then(|record| Some((record, record.texts()?)));
                let Some((record, texts)) = read else {
                    return Err(AuditError::Damaged {
                        after: cursor,
                        why: "what follows is no record",
                    });
                };
                // Groups may have been joined since the last page.
                if record.seq > cursor
                    && filter.wants(&record, &texts)
                    && show(&record, &texts).is_break()
                {
                    return Ok(());
                }
            }
        }
        cursor = end;
    }
}
