//! The log as JSON lines, which can be verified elsewhere.

use std::io::BufRead;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, from_hex, hex};
use super::clock::time_text;
use super::error::AuditError;
use super::key::AuditKey;
use super::record::{self, Record, Texts};
use super::search::{AuditFilter, scan};
use super::verify::{Verifier, VerifyReport};
use crate::rows::Checkpoint;
use crate::store::StateStore;

/// Longest line of an export that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The version of the format.
const VERSION: u32 = 1;

/// The first line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    portreeve_audit: u32,
    project: String,
    /// Whether records were left out, so that the chain is not whole.
    filtered: bool,
    checkpoint: Option<Sealed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    seq: i64,
    time_ms: i64,
    mac: String,
    seal: String,
}

/// A record's line, but for its body.
#[derive(Deserialize)]
struct Line {
    seq: i64,
    time_ms: i64,
    kind: String,
    alias: String,
    tenant: String,
    caller: String,
    call: String,
    mac: String,
}

/// Gives the log as lines of JSON: one that says what follows, then one for each record that
/// is wanted, oldest first. `emit` says when it has had enough.
///
/// # Errors
/// When the store can't be read, or what it holds are no records.
pub async fn export(
    store: &Arc<dyn StateStore>,
    filter: &AuditFilter,
    mut emit: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    let checkpoint = store.audit_checkpoint().await?;
    let header = Header {
        portreeve_audit: VERSION,
        project: store.project().to_owned(),
        filtered: !filter.is_all(),
        checkpoint: checkpoint.map(|checkpoint| Sealed {
            seq: checkpoint.seq,
            time_ms: checkpoint.time_ms,
            mac: hex(&checkpoint.mac),
            seal: hex(&checkpoint.seal),
        }),
    };
    if emit(&json(&header)).is_break() {
        return Ok(());
    }
    scan(store, filter, |record, texts| emit(&line(record, texts))).await
}

/// The body stands there to the letter, since the code covers its letters.
fn line(record: &Record<'_>, texts: &Texts<'_>) -> String {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(texts.body).is_ok();
    let quoted;
    let (name, body) = if is_json && !texts.body.contains('\n') {
        ("body", texts.body)
    } else {
        quoted = json(texts.body);
        ("body_text", quoted.as_str())
    };
    format!(
        "{{\"seq\":{},\"time\":{},\"time_ms\":{},\"kind\":{},\"alias\":{},\"tenant\":{},\"caller\":{},\"call\":{},\"{name}\":{body},\"mac\":\"{}\"}}",
        record.seq,
        json(&time_text(record.time_ms)),
        record.time_ms,
        json(texts.kind),
        json(texts.alias),
        json(texts.tenant),
        json(texts.caller),
        json(texts.call),
        hex(record.mac),
    )
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // What is given here is text and numbers, which always are JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// Verifies an export of a whole log with the user's key.
///
/// # Errors
/// When it can't be read as an export. What is wrong with the log is in the report.
pub fn verify_export(key: &AuditKey, mut text: impl BufRead) -> Result<VerifyReport, AuditError> {
    let mut number = 0_u64;
    let first = next_line(&mut text, &mut number)?.unwrap_or_default();
    let wrong = |line: u64, why: &str| AuditError::Export {
        line,
        why: why.to_owned(),
    };
    let header: Header = serde_json::from_str(&first).map_err(|error| AuditError::Export {
        line: 1,
        why: format!("it is no export of `portreeve audit export`: {error}"),
    })?;
    if header.portreeve_audit != VERSION {
        return Err(wrong(1, "it was written by another version of Portreeve"));
    }
    if header.filtered {
        return Err(wrong(
            1,
            "records were left out, so that the chain can't be verified; export without filters",
        ));
    }
    let mut verifier = Verifier::new(Chain::new(key, &header.project), Vec::new(), 0);
    if let Some(sealed) = &header.checkpoint {
        let code = |digits: &str| from_hex(digits).map(Vec::from).unwrap_or_default();
        verifier.checkpoint(&Checkpoint {
            seq: sealed.seq,
            time_ms: sealed.time_ms,
            mac: code(&sealed.mac),
            seal: code(&sealed.seal),
        });
    }
    let mut bytes = Vec::new();
    while let Some(text) = next_line(&mut text, &mut number)? {
        let line: Line = serde_json::from_str(&text).map_err(|error| AuditError::Export {
            line: number,
            why: error.to_string(),
        })?;
        let mac = from_hex(&line.mac).ok_or_else(|| wrong(number, "its code is none"))?;
        // Quotes within texts are escaped, so that this stands there once only.
        let body = text
            .split_once(",\"body\":")
            .and_then(|(_, rest)| rest.rsplit_once(",\"mac\":\""))
            .map(|(body, _)| body)
            .ok_or_else(|| wrong(number, "it has no body"))?;
        bytes.clear();
        let texts = Texts {
            kind: &line.kind,
            alias: &line.alias,
            tenant: &line.tenant,
            caller: &line.caller,
            call: &line.call,
            body,
        };
        record::encode(&mut bytes, line.seq, line.time_ms, &texts);
        let record = Record {
            seq: line.seq,
            time_ms: line.time_ms,
            covered: &bytes,
            mac: &mac,
        };
        verifier.record(&record, None);
    }
    Ok(verifier.finish())
}

fn next_line(text: &mut impl BufRead, number: &mut u64) -> Result<Option<String>, AuditError> {
    let mut line = String::new();
    *number = number.saturating_add(1);
    let failed = |why: String| AuditError::Export { line: *number, why };
    let mut limited = std::io::Read::take(&mut *text, LINE_BYTES_MAX);
    let bytes = limited
        .read_line(&mut line)
        .map_err(|error| failed(error.to_string()))?;
    if bytes as u64 >= LINE_BYTES_MAX {
        return Err(failed("it is longer than any record".to_owned()));
    }
    let line = line.trim_end().to_owned();
    Ok((bytes > 0).then_some(line))
}
