//! The bytes of a record.
//!
//! ```text
//! length of the rest but for the code    4 bytes
//! place, time                            8 bytes each
//! kind, alias, tenant, caller, call,
//! body                                   4 bytes of length each, then text
//! code                                   32 bytes
//! ```
//!
//! Numbers stand with their lowest byte first. Every part says how long it is, so that no two
//! records have the same bytes. The code covers the code of the record before and all that
//! stands before it here; within a group these lie side by side.

use super::chain::{MAC_BYTES, Mac};

/// Longest body, in bytes of JSON. A longer one is replaced by its beginning.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// What is kept of a body that is too long, in bytes of JSON.
const BODY_BYTES_KEPT: usize = 8 << 10;

/// Longest other text, in bytes: names and ids.
const TEXT_BYTES_MAX: usize = 256;

/// Bytes before the code of a record without any text.
const FIXED_BYTES: usize = 8 + 8 + 6 * 4;

/// Longest record that is believed, in bytes before the code. A body that was cut grows by
/// what escaping it adds.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// One record as it lies in its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Its place.
    pub(super) seq: i64,
    /// When it was written, in milliseconds since 1970.
    pub(super) time_ms: i64,
    /// All that the code covers, but for the code before.
    pub(super) covered: &'a [u8],
    /// Its code.
    pub(super) mac: &'a Mac,
}

/// The texts of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Texts<'a> {
    pub(super) kind: &'a str,
    pub(super) alias: &'a str,
    pub(super) tenant: &'a str,
    pub(super) caller: &'a str,
    pub(super) call: &'a str,
    pub(super) body: &'a str,
}

/// Adds a record without its code; what was added is what the code covers.
pub(super) fn encode(into: &mut Vec<u8>, seq: i64, time_ms: i64, texts: &Texts<'_>) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&seq.to_le_bytes());
    into.extend_from_slice(&time_ms.to_le_bytes());
    for text in [
        texts.kind,
        texts.alias,
        texts.tenant,
        texts.caller,
        texts.call,
    ] {
        put(into, cut(text, TEXT_BYTES_MAX));
    }
    if texts.body.len() <= BODY_BYTES_MAX {
        put(into, texts.body);
    } else {
        put(into, &shortened(texts.body));
    }
    let bytes = into.len().saturating_sub(start.saturating_add(4));
    if let Some(place) = into
        .get_mut(start..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        // A record is far shorter than 4 GiB: every text was cut.
        *place = u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    }
}

fn put(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

/// The beginning of a text.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

/// What stands in for a body that is too long.
fn shortened(body: &str) -> String {
    let start = cut(body, BODY_BYTES_KEPT);
    serde_json::json!({ "truncated": body.len(), "start": start }).to_string()
}

impl<'a> Record<'a> {
    /// Takes the first record off `bytes`; none where they are no record.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Record<'a>> {
        let (length, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if !(FIXED_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return None;
        }
        let (covered, rest) = bytes.split_at_checked(length.checked_add(4)?)?;
        let (mac, rest) = rest.split_first_chunk::<MAC_BYTES>()?;
        let (_, fields) = covered.split_first_chunk::<4>()?;
        let (seq, fields) = fields.split_first_chunk::<8>()?;
        let (time_ms, _) = fields.split_first_chunk::<8>()?;
        *bytes = rest;
        Some(Record {
            seq: i64::from_le_bytes(*seq),
            time_ms: i64::from_le_bytes(*time_ms),
            covered,
            mac,
        })
    }

    /// Its texts; none where they are not what [`encode`] writes.
    pub(super) fn texts(&self) -> Option<Texts<'a>> {
        let mut rest = self.covered.get(20..)?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, after) = after.split_at_checked(length)?;
            rest = after;
            std::str::from_utf8(text).ok()
        };
        let texts = Texts {
            kind: text()?,
            alias: text()?,
            tenant: text()?,
            caller: text()?,
            call: text()?,
            body: text()?,
        };
        rest.is_empty().then_some(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_texts_are_cut_with_a_mark() {
        let long = "é".repeat(BODY_BYTES_MAX);
        let body = serde_json::json!({ "x": long }).to_string();
        let mut bytes = Vec::new();
        let texts = Texts {
            kind: "call",
            alias: "",
            tenant: "",
            caller: &long,
            call: "",
            body: &body,
        };
        encode(&mut bytes, 1, 2, &texts);
        bytes.extend([0; 32]);
        let record = Record::take(&mut &*bytes).unwrap();
        let texts = record.texts().unwrap();
        assert_eq!(texts.caller.len(), 256);
        assert!(texts.body.len() <= BODY_BYTES_MAX);
        let kept: serde_json::Value = serde_json::from_str(texts.body).unwrap();
        assert_eq!(kept["truncated"], body.len());
        assert!(kept["start"].as_str().unwrap().starts_with("{\"x\":\"é"));
        // What grows most when it is written as JSON again.
        let worst = shortened(&"\u{1}".repeat(BODY_BYTES_MAX));
        assert!(worst.len() + FIXED_BYTES + 5 * TEXT_BYTES_MAX < RECORD_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn records_read_back(
            seq: i64, time_ms: i64,
            kind in "\\PC{0,9}", alias in "\\PC{0,9}", tenant in "\\PC{0,9}",
            caller in "\\PC{0,9}", call in "\\PC{0,9}", body in "\\PC{0,99}",
        ) {
            let texts = Texts {
                kind: &kind, alias: &alias, tenant: &tenant,
                caller: &caller, call: &call, body: &body,
            };
            let mut bytes = Vec::new();
            encode(&mut bytes, seq, time_ms, &texts);
            bytes.extend([7; 32]);
            let mut rest = &*bytes;
            let record = Record::take(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!((record.seq, record.time_ms, record.mac), (seq, time_ms, &[7; 32]));
            prop_assert_eq!(record.texts().unwrap(), texts);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let mut rest = &*bytes;
            while let Some(record) = Record::take(&mut rest) {
                let _ = record.texts();
            }
        }
    }
}
