//! Whether the log is what was written: every record in its place, none changed, none
//! missing.

use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::chain::{Chain, Mac};
use super::heads::{Head, Heads};
use crate::error::StateError;
use crate::key::Key;
use crate::rows::{AuditGroup, Checkpoint, MAC_LEN};
use crate::store::StateStore;

/// Records that are read at once. Memory stays small, whatever the log has.
const ROWS_AT_ONCE: u32 = 8_000;

/// Records of a part: parts are read and hashed side by side.
const PART_ROWS: i64 = 8_000;

/// Parts that wait to be judged, besides the one that is and the next: together as many as a
/// store has readers. Each holds at most two reads, of 2 MiB.
const PARTS_AHEAD: usize = 2;

/// Findings that are told; a log that was changed in more places is changed enough.
const FINDINGS_MAX: usize = 50;

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
    /// How much more is wrong than what is told.
    pub findings_more: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What kind: `changed`, `missing`, `misplaced`, `cut-off`, `forged-checkpoint`,
    /// `other-head`, `other-key`.
    pub kind: &'static str,
    /// The record that it shows at, or the first of them.
    pub seq: i64,
    /// The last of them.
    pub last: i64,
    /// A sentence.
    pub message: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
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
    // Before the records: those that are written meanwhile are beyond it.
    let heads = heads.read().map_err(|error| {
        StateError::Database(format!("{} can't be read: {error}", heads.path().display()))
    })?;
    let checkpoint = store.audit_checkpoint().await?;
    let mut verifier = Verifier::new(key, store.project(), heads, checkpoint.as_ref());
    // Parts are read and hashed side by side, while another thread judges them in order.
    let (parts, mut read) = mpsc::channel(PARTS_AHEAD);
    let (from, chain) = (verifier.seq, verifier.chain.clone());
    let reading = tokio::spawn(read_parts(store.clone(), chain, from, parts));
    let runtime = Handle::current();
    let judging = tokio::task::spawn_blocking(move || {
        while let Some(mut part) = read.blocking_recv() {
            while let Some(page) = part.blocking_recv() {
                let page: Vec<Hashed> = page?;
                let first = page.first().map_or(0, |hashed| hashed.group.first);
                if first > verifier.seq.saturating_add(1)
                    && let Some(checkpoint) = runtime.block_on(store.audit_checkpoint())?
                {
                    // The host may have pruned them since we looked.
                    verifier.pruned_meanwhile(&checkpoint);
                }
                for hashed in &page {
                    verifier.lines(&hashed.group, &hashed.lines);
                }
            }
        }
        Ok(verifier.finish())
    });
    let (read, judged) = tokio::join!(reading, judging);
    read.map_err(failed)??;
    judged.map_err(failed)?
}

fn failed(error: JoinError) -> StateError {
    StateError::Database(error.to_string())
}

/// What was read of a part, in order.
type Part = mpsc::Receiver<Result<Vec<Hashed>, StateError>>;

/// Reads a log part by part, from where it goes on each time: a log with places that nothing
/// has is not looked through for them.
async fn read_parts(
    store: Arc<dyn StateStore>,
    chain: Chain,
    from: i64,
    parts: mpsc::Sender<Part>,
) -> Result<(), StateError> {
    let mut after = from;
    loop {
        let begin = store.audit_groups(after, 1).await?;
        let Some(last) = begin.last().map(|group| group.last) else {
            return Ok(());
        };
        let end = last.saturating_add(PART_ROWS);
        let (pages, part) = mpsc::channel(1);
        let (store, chain) = (store.clone(), chain.clone());
        tokio::spawn(async move {
            // Whoever would hear of an error has gone where sending one fails.
            if let Err(error) = read_part(store, chain, begin, end, &pages).await {
                let _ = pages.send(Err(error)).await;
            }
        });
        if parts.send(part).await.is_err() {
            return Ok(());
        }
        after = end;
    }
}

/// Reads a part that begins with these groups, and hashes it.
async fn read_part(
    store: Arc<dyn StateStore>,
    chain: Chain,
    begin: Vec<AuditGroup>,
    end: i64,
    pages: &mpsc::Sender<Result<Vec<Hashed>, StateError>>,
) -> Result<(), StateError> {
    let mut page = begin;
    while let Some(after) = page.last().map(|group| group.last) {
        let chain = chain.clone();
        let hash = move |group| Hashed::new(&chain, group);
        let hashing = tokio::task::spawn_blocking(move || page.into_iter().map(hash).collect());
        let hashed = hashing.await.map_err(failed)?;
        if pages.send(Ok(hashed)).await.is_err() || after >= end {
            return Ok(());
        }
        page = store.audit_groups(after, ROWS_AT_ONCE).await?;
        // Those are the next part's.
        page.retain(|group| group.last <= end);
    }
    Ok(())
}

/// A group whose records are told apart and hashed.
struct Hashed {
    group: AuditGroup,
    lines: Vec<Line>,
}

impl Hashed {
    fn new(chain: &Chain, group: AuditGroup) -> Hashed {
        let lines = lines(chain, &group);
        Hashed { group, lines }
    }
}

/// A record of a group.
struct Line {
    /// Where its text ends in the group's.
    end: usize,
    /// The code that it should have on the one that is stored before it; none where that is no
    /// code, and for the first, which builds on the group before.
    code: Option<Mac>,
}

fn lines(chain: &Chain, group: &AuditGroup) -> Vec<Line> {
    let text = &group.records;
    let mut macs = group.macs.chunks(MAC_LEN).map(Mac::from_bytes);
    let (mut start, mut before) = (0, None);
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let line = |end: usize| {
        let record = text.get(start..end).unwrap_or_default();
        start = end.saturating_add(1);
        let code = before.map(|before| chain.mac(before, record));
        before = macs.next().flatten();
        Line { end, code }
    };
    ends.map(line).collect()
}

/// Checks a log group by group.
pub(crate) struct Verifier {
    chain: Chain,
    verified: Verified,
    heads: std::iter::Peekable<std::vec::IntoIter<Head>>,
    /// The last record that was looked at.
    seq: i64,
    /// Its code as it is stored; none where it is missing, so that nothing builds on it.
    before: Option<Mac>,
    /// Whether the checkpoint bears the key.
    sealed: bool,
    /// Records that are as they were written.
    good: u64,
    /// Records that are not.
    bad: u64,
    /// The record of a host that went on with another key, if all before it fail.
    other_key_until: Option<i64>,
}

impl Verifier {
    pub(crate) fn new(
        key: &Key,
        project: &str,
        mut heads: Vec<Head>,
        checkpoint: Option<&Checkpoint>,
    ) -> Verifier {
        heads.retain(|head| head.project == project);
        heads.sort_by_key(|head| head.seq);
        let mut verifier = Verifier {
            chain: Chain::new(key, project),
            verified: Verified::default(),
            heads: heads.into_iter().peekable(),
            seq: 0,
            before: Some(Mac::START),
            sealed: false,
            good: 0,
            bad: 0,
            other_key_until: None,
        };
        if let Some(checkpoint) = checkpoint {
            verifier.checkpoint(checkpoint);
        }
        verifier.verified.first = verifier.seq.saturating_add(1);
        verifier
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let seq = checkpoint.seq;
        self.verified.pruned = Some(seq);
        self.sealed = self.chain.is_sealed(checkpoint);
        if !self.sealed {
            self.find(
                "forged-checkpoint",
                seq,
                seq,
                "the checkpoint that stands in for pruned records is not this host's: records before it may have been removed, or the key is another one",
            );
        }
        self.before = Mac::from_hex(&checkpoint.mac);
        self.seq = seq;
        // Those of records that are gone; the last one is still known by its code.
        while self.heads.next_if(|head| head.seq < seq).is_some() {}
        self.compare_heads(self.before);
    }

    fn pruned_meanwhile(&mut self, checkpoint: &Checkpoint) {
        if checkpoint.seq > self.seq && self.chain.is_sealed(checkpoint) {
            self.checkpoint(checkpoint);
        }
    }

    /// Takes the records that come next.
    pub(crate) fn group(&mut self, group: &AuditGroup) {
        self.lines(group, &lines(&self.chain, group));
    }

    fn lines(&mut self, group: &AuditGroup, lines: &[Line]) {
        let places = group.last.saturating_sub(group.first).saturating_add(1);
        if group.first <= self.seq {
            let (first, after) = (group.first, self.seq);
            let message = format!("record {first} stands after record {after}");
            self.find("misplaced", first, first, &message);
            self.before = None;
        } else if group.first != self.seq.saturating_add(1) {
            self.missing(self.seq.saturating_add(1), group.first.saturating_sub(1));
        }
        self.seq = group.first.saturating_sub(1);
        let mut macs = group.macs.chunks(MAC_LEN);
        // Where some were taken out, or put in, the others say themselves where they stand.
        let whole = i64::try_from(lines.len()) == Ok(places);
        let mut start = 0;
        for line in lines {
            let record = group.records.get(start..line.end).unwrap_or_default();
            start = line.end.saturating_add(1);
            let seq = self.seq.saturating_add(1);
            if !whole
                && let Some(own) = own_place(record).filter(|own| (seq..=group.last).contains(own))
            {
                if own > seq {
                    self.missing(seq, own.saturating_sub(1));
                }
                self.seq = own.saturating_sub(1);
            }
            let stored = macs.next().and_then(Mac::from_bytes);
            self.record(record, line.code, stored);
        }
        self.verified.records = self.verified.records.saturating_add(lines.len() as u64);
        self.verified.bytes = self
            .verified
            .bytes
            .saturating_add(group.records.len() as u64);
        if self.seq != group.last || macs.next().is_some() {
            self.find(
                "changed",
                group.first,
                group.last,
                "records were changed to what is none",
            );
        }
        self.seq = group.last;
        self.verified.last = group.last;
    }

    /// Takes a record; `code` is its own on the one before it in its group.
    fn record(&mut self, record: &str, code: Option<Mac>, stored: Option<Mac>) {
        let seq = self.seq.saturating_add(1);
        let code = self
            .before
            .map(|before| code.unwrap_or_else(|| self.chain.mac(before, record)));
        if code.is_some() {
            if code == stored {
                // From here on the key fits, and nowhere before: it was another one. A run
                // of a host writes more than two records.
                let all = seq.saturating_sub(self.verified.first);
                if self.good == 0 && self.bad > 2 && i64::try_from(self.bad) == Ok(all) {
                    self.other_key_until = Some(seq.saturating_sub(1));
                }
                self.good = self.good.saturating_add(1);
            } else {
                self.changed(seq);
            }
        } else if stored.is_none() {
            self.changed(seq);
        }
        // Further changes show behind this one as well.
        self.before = stored;
        self.seq = seq;
        self.compare_heads(stored);
    }

    /// Compares the heads of the last record.
    fn compare_heads(&mut self, stored: Option<Mac>) {
        let seq = self.seq;
        while let Some(head) = self.heads.next_if(|head| head.seq <= seq) {
            if head.seq < seq {
                continue;
            }
            self.verified.heads = self.verified.heads.saturating_add(1);
            if stored.is_none() || Mac::from_hex(&head.mac) != stored {
                let message = format!(
                    "record {seq} is another one than the head that was kept of it: the log was cut off before it and continued, or an older or copied state was put in its place"
                );
                self.find("other-head", seq, seq, &message);
            }
        }
    }

    fn changed(&mut self, seq: i64) {
        self.bad = self.bad.saturating_add(1);
        // Neighbours are told together.
        if let Some(finding) = self.verified.findings.last_mut()
            && finding.kind == "changed"
            && finding.last.checked_add(1) == Some(seq)
        {
            finding.last = seq;
            finding.message = format!(
                "the records from {} to {seq} are not what was written there: they were changed, moved or removed, or the key is another one",
                finding.seq
            );
            return;
        }
        let message = format!(
            "record {seq} is not what was written there: it, or the one before it, was changed, moved or removed, or the key is another one"
        );
        self.find("changed", seq, seq, &message);
    }

    fn missing(&mut self, first: i64, last: i64) {
        let message = if first == last {
            format!("record {first} is missing")
        } else {
            format!("the records from {first} to {last} are missing")
        };
        self.find("missing", first, last, &message);
        self.before = None;
    }

    fn find(&mut self, kind: &'static str, seq: i64, last: i64, message: &str) {
        if self.verified.findings.len() >= FINDINGS_MAX {
            self.verified.findings_more = self.verified.findings_more.saturating_add(1);
            return;
        }
        self.verified.findings.push(Finding {
            kind,
            seq,
            last,
            message: message.to_owned(),
        });
    }

    /// What was found.
    pub(crate) fn finish(mut self) -> Verified {
        let last = self.seq;
        if let Some(head) = self.heads.by_ref().last() {
            self.verified.heads = self.verified.heads.saturating_add(1);
            let message = format!(
                "the log ends at {last}, but a head that was kept apart says that there was a record {}: what came after {last} was cut off, or an older state was put in its place",
                head.seq
            );
            // Never left out, however much else is wrong.
            self.verified
                .findings
                .truncate(FINDINGS_MAX.saturating_sub(1));
            self.find("cut-off", last, head.seq, &message);
        }
        let mut verified = self.verified;
        let until = match self.other_key_until {
            None if self.good == 0 && self.bad > 0 && self.bad == verified.records => {
                Some(verified.last)
            }
            until => until,
        };
        if let Some(until) = until.filter(|_| !self.sealed) {
            // One sentence instead of one for each.
            let first = verified.first;
            verified.findings.retain(|finding| {
                !matches!(finding.kind, "changed" | "forged-checkpoint") || finding.seq > until
            });
            let message = format!(
                "none of the records from {first} to {until} bears this key: they were written with another one, or all were changed"
            );
            verified.findings.insert(
                0,
                Finding {
                    kind: "other-key",
                    seq: first,
                    last: until,
                    message,
                },
            );
        }
        verified
    }
}

/// The place that a record itself names.
pub(crate) fn own_place(record: &str) -> Option<i64> {
    let digits = record.strip_prefix("{\"seq\":")?;
    digits.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROJECT: &str = "p";

    fn key(byte: u8) -> Key {
        Key::new([byte; 32])
    }

    type Row = (i64, String, String);

    /// A log of so many records.
    fn log(count: i64) -> Vec<Row> {
        extend(&key(1), Vec::new(), count)
    }

    /// A log that a host with this key goes on with.
    fn extend(key: &Key, mut rows: Vec<Row>, count: i64) -> Vec<Row> {
        let chain = Chain::new(key, PROJECT);
        let first = i64::try_from(rows.len()).unwrap() + 1;
        for seq in first..first + count {
            let before = rows
                .last()
                .map_or(Mac::START, |(_, _, mac)| Mac::from_hex(mac).unwrap());
            let record = format!("{{\"seq\":{seq},\"time\":{},\"body\":{{}}}}", seq * 10);
            let mac = chain.mac(before, &record).to_hex();
            rows.push((seq, record, mac));
        }
        rows
    }

    fn head(row: &Row) -> Head {
        Head {
            project: PROJECT.to_owned(),
            seq: row.0,
            mac: row.2.clone(),
            time: 0,
        }
    }

    /// As the store gives it, which goes by the places.
    fn verified(key: &Key, rows: &[Row], page: usize, heads: Vec<Head>) -> Verified {
        let mut rows = rows.to_vec();
        rows.sort();
        let mut verifier = Verifier::new(key, PROJECT, heads, None);
        for rows in rows.chunks(page) {
            verifier.group(&text(rows));
        }
        verifier.finish()
    }

    fn text(rows: &[Row]) -> AuditGroup {
        let records: Vec<&str> = rows.iter().map(|(_, record, _)| record.as_str()).collect();
        let macs = rows.iter().map(|(_, _, mac)| Mac::from_hex(mac).unwrap());
        AuditGroup {
            first: rows[0].0,
            last: rows[rows.len() - 1].0,
            records: records.join("\n"),
            macs: macs.flat_map(|mac| mac.as_bytes().to_vec()).collect(),
        }
    }

    fn told(verified: &Verified) -> Vec<(&'static str, i64, i64)> {
        let told = |finding: &Finding| (finding.kind, finding.seq, finding.last);
        verified.findings.iter().map(told).collect()
    }

    #[test]
    fn each_change_is_told_with_its_place() {
        type Change = fn(&mut Vec<Row>);
        type Told = &'static [(&'static str, i64, i64)];
        let cases: [(Change, Told); 9] = [
            (|_| {}, &[]),
            (|rows| rows[4].1.push(' '), &[("changed", 5, 5)]),
            (|rows| rows[0].1.push(' '), &[("changed", 1, 1)]),
            // The record after it builds on its code.
            (|rows| rows[4].2 = rows[5].2.clone(), &[("changed", 5, 6)]),
            (|rows| drop(rows.drain(4..7)), &[("missing", 5, 7)]),
            (|rows| drop(rows.drain(..2)), &[("missing", 1, 2)]),
            (|rows| drop(rows.drain(17..)), &[("cut-off", 17, 20)]),
            (
                |rows| {
                    rows.remove(8);
                    rows.remove(2);
                },
                &[("missing", 3, 3), ("missing", 9, 9)],
            ),
            (
                |rows| {
                    let last = rows.pop().unwrap();
                    rows.push((last.0, last.1, "0".repeat(64)));
                },
                &[("changed", 20, 20), ("other-head", 20, 20)],
            ),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            let mut rows = log(20);
            let heads = vec![head(&rows[9]), head(&rows[19])];
            change(&mut rows);
            for page in [1, 3, 20] {
                let verified = verified(&key(1), &rows, page, heads.clone());
                assert_eq!(told(&verified), expected, "{number}, {page}: {verified:?}");
            }
        }
    }

    #[test]
    fn another_key_is_told_from_changes() {
        let rows = log(20);
        for page in [1, 7, 20] {
            let other = verified(&key(2), &rows, page, Vec::new());
            assert_eq!(told(&other), [("other-key", 1, 20)]);
            // A host went on with a new key.
            let both = extend(&key(2), rows.clone(), 5);
            let new = verified(&key(2), &both, page, Vec::new());
            assert_eq!(told(&new), [("other-key", 1, 20)]);
            let old = verified(&key(1), &both, page, Vec::new());
            assert_eq!(told(&old), [("changed", 21, 25)]);
        }
    }

    #[test]
    fn much_that_is_wrong_is_counted_and_hides_nothing() {
        let mut rows = log(400);
        let heads = vec![head(&rows[399])];
        rows.truncate(399);
        for row in rows.iter_mut().step_by(3) {
            row.1.push(' ');
        }
        let verified = verified(&key(1), &rows, 100, heads);
        assert_eq!(verified.findings.len(), FINDINGS_MAX);
        assert_eq!(verified.findings.last().unwrap().kind, "cut-off");
        assert!(verified.findings_more >= 83, "{}", verified.findings_more);
    }

    #[test]
    fn what_the_host_prunes_meanwhile_is_not_missing() {
        let rows = log(30);
        let chain = Chain::new(&key(1), PROJECT);
        let checkpoint = |seal: &str| Checkpoint {
            seq: 20,
            time_ms: 5,
            mac: rows[19].2.clone(),
            seal: seal.to_owned(),
        };
        let seal = chain.seal(20, 5, &rows[19].2).to_hex();
        for (seal, expected) in [
            (seal.as_str(), &[][..]),
            (&"0".repeat(64), &[("missing", 11, 20)]),
        ] {
            let mut verifier = Verifier::new(&key(1), PROJECT, vec![head(&rows[14])], None);
            verifier.group(&text(&rows[..10]));
            verifier.pruned_meanwhile(&checkpoint(seal));
            verifier.group(&text(&rows[20..]));
            assert_eq!(told(&verifier.finish()), expected);
        }
    }

    proptest! {
        /// Whatever is done to a log without its key shows, if heads were kept of its end.
        #[test]
        fn any_change_shows(
            count in 2_i64..60,
            page in 1_usize..70,
            changes in proptest::collection::vec((0_u8..6, 0_usize..60, 0_usize..60), 1..4),
        ) {
            let rows = log(count);
            let heads = vec![head(rows.last().unwrap())];
            let mut tampered = rows.clone();
            for (what, at, other) in changes {
                if tampered.is_empty() {
                    break;
                }
                let (at, other) = (at % tampered.len(), other % tampered.len());
                match what {
                    // A letter of a record; a record of its own; its code; its place.
                    0 => {
                        let place = other % tampered[at].1.len();
                        let letter = if tampered[at].1.as_bytes()[place] == b'x' { "y" } else { "x" };
                        tampered[at].1.replace_range(place..place + 1, letter);
                    }
                    1 => tampered[at].1 = format!("{}\n{{}}", tampered[at].1),
                    2 => tampered[at].2 = "0".repeat(64),
                    3 => drop(tampered.remove(at)),
                    4 => {
                        let seq = tampered[at].0;
                        tampered[at].0 = tampered[other].0;
                        tampered[other].0 = seq;
                    }
                    _ => tampered.truncate(at),
                }
            }
            let mut sorted = tampered.clone();
            sorted.sort();
            let verified = verified(&key(1), &tampered, page, heads);
            prop_assert_eq!(verified.is_whole(), sorted == rows, "{:?}", verified);
        }
    }
}
