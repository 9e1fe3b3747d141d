//! What is kept, a type for each table. Times are milliseconds since 1970, UTC.

use std::sync::Arc;

/// Whose a row is, within the store's project.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// The plugin's alias; empty for the host itself.
    pub alias: Arc<str>,
    /// The tenant; empty where there is only one.
    pub tenant: Arc<str>,
}

impl Holder {
    /// The host itself.
    pub fn host() -> Holder {
        Holder::plugin("")
    }

    /// A plugin, for the only tenant.
    pub fn plugin(alias: &str) -> Holder {
        Holder {
            alias: alias.into(),
            tenant: "".into(),
        }
    }
}

/// What a plugin's key-value storage holds; what has ended counts until it is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvUsed {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// A value of a plugin's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The value.
    pub value: Vec<u8>,
    /// Its version: another with each write of the key, and never one that the holder had before.
    pub version: u64,
    /// When it ends.
    pub expires_ms: Option<i64>,
}

/// What is known of an entry of a plugin's storage without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvInfo {
    /// The key.
    pub key: String,
    /// Bytes of the value.
    pub size: u64,
    /// Its version.
    pub version: u64,
    /// When it ends.
    pub expires_ms: Option<i64>,
}

/// What to change of a plugin's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The change.
    pub change: KvChange,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvChange {
    /// Sets it.
    Put {
        /// The value.
        value: Vec<u8>,
        /// When it ends.
        expires_ms: Option<i64>,
        /// What must be there before.
        expected: KvExpected,
    },
    /// Adds to the whole number that it holds, in decimal digits; one that is not there is 0.
    /// When it ends stays as it is.
    Add(i64),
    /// Removes it.
    Remove(KvExpected),
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvExpected {
    /// Whatever is there.
    #[default]
    Anything,
    /// Nothing.
    Absent,
    /// A value of this version.
    Version(u64),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDone {
    /// The value has this version.
    Set(u64),
    /// The sum.
    Sum(i64),
    /// Whether there was something to remove.
    Removed(bool),
}

/// What a holder's storage may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvQuota {
    /// Bytes of keys and values, those of the buckets' names included.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

impl KvQuota {
    /// As much as there is room for.
    pub const NONE: KvQuota = KvQuota {
        bytes: u64::MAX,
        keys: u64::MAX,
    };
}

/// One record of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place: 1, 2, 3 …, without holes.
    pub seq: i64,
    /// All that it says: one line of JSON.
    pub record: String,
    /// The chain's code over the record and the code of the record before, in hexadecimal.
    pub mac: String,
}

impl AuditRow {
    /// Bytes that it takes, without what the database adds.
    pub fn bytes(&self) -> u64 {
        self.record.len().saturating_add(MAC_LEN) as u64
    }
}

/// Length of a code in bytes.
pub(crate) const MAC_LEN: usize = 32;

/// Records of the audit log that follow each other and were committed together. They are kept
/// as one text, which costs a database a small part of what a row for each would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditGroup {
    /// The place of the first one.
    pub first: i64,
    /// The place of the last one.
    pub last: i64,
    /// The records, parted by line feeds, of which a record has none.
    pub records: String,
    /// Their codes, one after the other, 32 bytes each.
    pub macs: Vec<u8>,
}

impl AuditGroup {
    /// A group of these rows; none where there are none, where they don't follow each other, or
    /// where a code is none.
    pub fn of(rows: &[AuditRow]) -> Option<AuditGroup> {
        let (first, last) = (rows.first()?, rows.last()?);
        let follow = (first.seq..).zip(rows).all(|(seq, row)| row.seq == seq);
        if !follow {
            return None;
        }
        let records: Vec<&str> = rows.iter().map(|row| row.record.as_str()).collect();
        let mut macs = Vec::with_capacity(rows.len().saturating_mul(MAC_LEN));
        for row in rows {
            macs.extend(blake3::Hash::from_hex(&row.mac).ok()?.as_bytes());
        }
        Some(AuditGroup {
            first: first.seq,
            last: last.seq,
            records: records.join("\n"),
            macs,
        })
    }

    /// Its records, as they stand there: in a group that somebody has changed, more or fewer
    /// than its places.
    pub fn rows(&self) -> impl Iterator<Item = AuditRow> {
        let mut macs = self.macs.chunks(MAC_LEN);
        (self.first..)
            .zip(self.records.split('\n'))
            .map(move |(seq, record)| AuditRow {
                seq,
                record: record.to_owned(),
                mac: blake3::Hash::from_slice(macs.next().unwrap_or_default())
                    .map_or_else(|_| String::new(), |mac| mac.to_hex().to_string()),
            })
    }

    /// Bytes of its records and codes.
    pub fn bytes(&self) -> u64 {
        let between = u64::try_from(self.last.saturating_sub(self.first)).unwrap_or(0);
        let all = self.records.len().saturating_add(self.macs.len()) as u64;
        all.saturating_sub(between)
    }
}

/// What stands in for records that were pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last record that is gone.
    pub seq: i64,
    /// When they were pruned.
    pub time_ms: i64,
    /// The code of the last record that is gone, on which the first that is left builds.
    pub mac: String,
    /// The code over this checkpoint.
    pub seal: String,
}

/// One secret, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub holder: Holder,
    /// Its kind, such as `api-key`.
    pub kind: String,
    /// Counts its values: 1, then one more with each rotation.
    pub version: i64,
    /// The key that sealed it.
    pub key_id: String,
    /// The sealed value with its nonce.
    pub sealed: Vec<u8>,
    /// When it was first set.
    pub created_ms: i64,
    /// When it got this value.
    pub rotated_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// When it was last used.
    pub used_ms: Option<i64>,
}

/// Changes of one plugin's grants that are kept; older ones go.
pub const HISTORY_ROWS_MAX: u32 = 1_000;

/// One change of what a plugin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Whom it is about.
    pub holder: Holder,
    /// When.
    pub time_ms: i64,
    /// What was done: `add`, `grant`, `revoke`, `edit`.
    pub kind: String,
    /// Who did it.
    pub who: String,
    /// The digest of the component.
    pub digest: String,
    /// The grants from then on, as JSON.
    pub grants: String,
}

/// Something that waits for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Whose it is.
    pub holder: Holder,
    /// Its id, which no other has.
    pub id: String,
    /// What it is: `question`, `notice`.
    pub kind: String,
    /// The call that it comes from.
    pub call: String,
    /// When it came.
    pub created_ms: i64,
    /// When it goes.
    pub expires_ms: i64,
    /// What it says, as JSON; never an answer.
    pub body: String,
}

/// The length of time that a row of usage sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageSpan {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl UsageSpan {
    /// Its length in milliseconds, which is also how it is stored.
    pub const fn ms(self) -> i64 {
        match self {
            UsageSpan::Minute => 60_000,
            UsageSpan::Hour => 3_600_000,
            UsageSpan::Day => 86_400_000,
        }
    }
}

/// What the calls of one tool used in one span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose tool it is.
    pub holder: Holder,
    /// The tool, as the plugin calls it.
    pub tool: String,
    /// The length of the span.
    pub span: UsageSpan,
    /// Its start.
    pub start_ms: i64,
    /// What was used, as `usage` writes it.
    pub data: Vec<u8>,
}
