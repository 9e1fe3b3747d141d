//! The log as JSON lines, which can be verified elsewhere by whoever has the key.
//!
//! The first line says whose log it is; then come the records, each as a text beside its code,
//! so that it stays what was written, to the byte, whatever escapes a reader puts in or out.

use std::borrow::Cow;
use std::io::{BufRead, Read as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::verify::{Verified, Verifier, own_place};
use crate::error::StateError;
use crate::key::Key;
use crate::rows::{AuditGroup, AuditRow, Checkpoint};
use crate::store::StateStore;

/// The version of the format.
const VERSION: u32 = 1;

/// Longest line that is read, in bytes: far longer than any record.
const LINE_BYTES_MAX: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Header {
    portreeve_audit: u32,
    project: String,
    /// Whether records were left out, so that the chain can't be followed.
    filtered: bool,
    checkpoint: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    seq: i64,
    time: i64,
    mac: String,
    seal: String,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    mac: Cow<'a, str>,
    record: Cow<'a, str>,
}

/// Why an export can't be verified.
#[derive(Clone, Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ExportError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// The first line of an export, without its end. `filtered` says that records are left out.
///
/// # Errors
/// When the state can't be read.
pub async fn header(store: &Arc<dyn StateStore>, filtered: bool) -> Result<String, StateError> {
    let checkpoint = store.audit_checkpoint().await?;
    let header = Header {
        portreeve_audit: VERSION,
        project: store.project().to_owned(),
        filtered,
        checkpoint: checkpoint.map(|checkpoint| Sealed {
            seq: checkpoint.seq,
            time: checkpoint.time_ms,
            mac: checkpoint.mac,
            seal: checkpoint.seal,
        }),
    };
    serde_json::to_string(&header).map_err(|error| StateError::Database(error.to_string()))
}

/// The line of a record, without its end.
pub fn line(record: &str, mac: &str) -> String {
    serde_json::json!({ "mac": mac, "record": record }).to_string()
}

/// Verifies an export of a whole log. Heads are not looked at: an export may be older.
///
/// # Errors
/// When it is no whole export. What is wrong with the records is in the result.
pub fn verify_export(key: &Key, mut text: impl BufRead) -> Result<Verified, ExportError> {
    let mut number = 0_u64;
    let wrong = |line: u64, why: &str| ExportError {
        line,
        why: why.to_owned(),
    };
    let first = next_line(&mut text, &mut number)?.unwrap_or_default();
    let header: Header = serde_json::from_str(&first)
        .map_err(|_| wrong(1, "this was not written by `portreeve audit export`"))?;
    if header.portreeve_audit != VERSION {
        return Err(wrong(1, "another version of Portreeve has written this"));
    }
    if header.filtered {
        return Err(wrong(
            1,
            "records were left out of this export, so that the chain can't be followed; export without filters",
        ));
    }
    let checkpoint = header.checkpoint.map(|sealed| Checkpoint {
        seq: sealed.seq,
        time_ms: sealed.time,
        mac: sealed.mac,
        seal: sealed.seal,
    });
    let mut verifier = Verifier::new(key, &header.project, Vec::new(), checkpoint.as_ref());
    while let Some(line) = next_line(&mut text, &mut number)? {
        let Line { mac, record } = serde_json::from_str(&line)
            .map_err(|_| wrong(number, "this is no line of an export"))?;
        // Its own word for its place; a wrong one makes the code wrong.
        let seq = own_place(&record).ok_or_else(|| wrong(number, "this is no record"))?;
        let row = AuditRow {
            seq,
            record: record.into_owned(),
            mac: mac.into_owned(),
        };
        let group =
            AuditGroup::of(&[row]).ok_or_else(|| wrong(number, "this is no code of a record"))?;
        verifier.group(&group);
    }
    Ok(verifier.finish())
}

fn next_line(text: &mut impl BufRead, number: &mut u64) -> Result<Option<String>, ExportError> {
    *number = number.saturating_add(1);
    let failed = |why: String| ExportError { line: *number, why };
    let mut line = String::new();
    let bytes = text
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|error| failed(error.to_string()))?;
    if bytes as u64 >= LINE_BYTES_MAX {
        return Err(failed("it is longer than any record".to_owned()));
    }
    if line.ends_with('\n') {
        line.pop();
    }
    Ok((bytes > 0).then_some(line))
}
