//! Which records go when there are too many or they are too old.

use serde_json::{Map, Value};

use super::event::AuditRecord;
use crate::error::StateError;
use crate::store::{ROWS_MAX, StateStore};

/// The newest records, which always stay.
const KEPT: i64 = 1_000;

/// To how much of its size a log that is too large is cut, in tenths: so that it is not cut
/// again with the next record.
const TENTHS_LEFT: u64 = 9;

/// What a log may have.
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) size_max: u64,
    /// Records from before this moment go, if ages mean anything.
    pub(crate) older_than: Option<i64>,
    /// The last record of which a head was kept: what comes after stays.
    pub(crate) exported: i64,
}

/// The records that go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Surplus {
    /// The last of them.
    pub(crate) seq: i64,
    /// Its code.
    pub(crate) mac: String,
    records: u64,
    bytes: u64,
}

impl Surplus {
    pub(crate) fn describe(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("up-to".to_owned(), self.seq.into());
        body.insert("records".to_owned(), self.records.into());
        body.insert("bytes".to_owned(), self.bytes.into());
        body
    }
}

/// What is too much, from the oldest record on.
pub(crate) async fn surplus(
    store: &dyn StateStore,
    bounds: &Bounds,
) -> Result<Option<Surplus>, StateError> {
    let bytes = store.audit_bytes().await?;
    let over = if bytes > bounds.size_max {
        let left = (bounds.size_max / 10).saturating_mul(TENTHS_LEFT);
        bytes.saturating_sub(left)
    } else {
        0
    };
    let last = match store.audit_last().await? {
        Some(last) => last.seq.saturating_sub(KEPT).min(bounds.exported),
        None => return Ok(None),
    };
    let mut surplus: Option<Surplus> = None;
    let mut after = 0;
    loop {
        let rows = store.audit_after(after, ROWS_MAX).await?;
        let Some(end) = rows.last() else {
            return Ok(surplus);
        };
        after = end.seq;
        for row in rows {
            let (records, gone) = surplus
                .as_ref()
                .map_or((0, 0), |surplus| (surplus.records, surplus.bytes));
            let too_old = bounds.older_than.is_some_and(|moment| {
                AuditRecord::parse(&row.record).is_ok_and(|record| record.time < moment)
            });
            if row.seq > last || !(gone < over || too_old) {
                return Ok(surplus);
            }
            surplus = Some(Surplus {
                seq: row.seq,
                bytes: gone.saturating_add(row.bytes()),
                mac: row.mac,
                records: records.saturating_add(1),
            });
        }
    }
}
