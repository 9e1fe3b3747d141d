//! Looking for records.

use std::sync::Arc;

use super::event::{AuditKind, AuditRecord};
use crate::error::StateError;
use crate::store::{ROWS_MAX, StateStore};

/// Which records are meant; all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// About this plugin.
    pub plugin: Option<String>,
    /// By or for this caller.
    pub caller: Option<String>,
    /// Of one of these kinds; any where there are none.
    pub kinds: Vec<AuditKind>,
    /// Of this call.
    pub call: Option<String>,
    /// From this moment on: milliseconds since 1970, UTC.
    pub from_ms: Option<i64>,
    /// Before this moment.
    pub to_ms: Option<i64>,
}

impl Filter {
    /// Whether a record is meant.
    pub fn matches(&self, record: &AuditRecord<'_>) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.plugin, &record.plugin)
            && same(&self.caller, &record.caller)
            && same(&self.call, &record.call)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.as_str() == record.kind))
            && self.from_ms.is_none_or(|from| record.time >= from)
            && self.to_ms.is_none_or(|to| record.time < to)
    }
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Records that were meant, a line of JSON each with its code, oldest first.
    pub lines: Vec<(String, String)>,
    /// The last record that was looked at: where to go on.
    pub last: i64,
    /// Whether there was nothing more.
    pub end: bool,
}

/// The records after `seq` that are meant, `lines_max` at most.
///
/// # Errors
/// When the state can't be read.
pub async fn search(
    store: &Arc<dyn StateStore>,
    filter: &Filter,
    seq: i64,
    lines_max: usize,
) -> Result<Page, StateError> {
    let mut page = Page {
        last: seq,
        ..Page::default()
    };
    loop {
        let rows = store.audit_after(page.last, ROWS_MAX / 10).await?;
        if rows.is_empty() {
            page.end = true;
            return Ok(page);
        }
        for row in rows {
            // What is no record is shown: nobody looks for it, and nobody must miss it.
            let meant =
                AuditRecord::parse(&row.record).map_or(true, |record| filter.matches(&record));
            page.last = row.seq;
            if meant {
                page.lines.push((row.record, row.mac));
                if page.lines.len() >= lines_max {
                    return Ok(page);
                }
            }
        }
    }
}
