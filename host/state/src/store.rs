//! What a backend of the state must do.

use async_trait::async_trait;

use crate::error::StateError;
use crate::rows::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, InboxRow, KvChange, KvDone, KvEntry,
    KvExpected, KvInfo, KvQuota, KvUsed, KvWrite, SecretRow, UsageRow, UsageSpan,
};

/// Most rows that one read gives.
pub const ROWS_MAX: u32 = 10_000;

/// A store of one project's state.
///
/// A write is on disk when its future is ready, or nothing of it is; writes of one holder
/// happen in the order in which they are asked for. Writers take turns by holder, so that
/// one that writes much delays its own writes; the audit log has places of its own.
#[async_trait]
pub trait StateStore: Send + Sync + std::fmt::Debug {
    /// The project's id.
    fn project(&self) -> &str;

    /// An entry of a plugin's storage, unless it ended before `now_ms`.
    async fn kv_entry(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvEntry>, StateError>;

    /// The same, without its value.
    async fn kv_info(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvInfo>, StateError>;

    /// The entries of a bucket whose keys begin with `prefix` and come after `after`, in the order
    /// of their bytes, [`ROWS_MAX`] at most.
    async fn kv_list(
        &self,
        holder: &Holder,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        rows_max: u32,
        now_ms: i64,
    ) -> Result<Vec<KvInfo>, StateError>;

    /// The first of a holder's buckets whose name comes after this one, in the order of their
    /// bytes.
    async fn kv_bucket_after(
        &self,
        holder: &Holder,
        bucket: &str,
    ) -> Result<Option<String>, StateError>;

    /// Makes these changes one after the other, all or none. Refused when one of them finds
    /// something else than it expects, or when the holder's storage would have more than its
    /// quota, in which case what has ended is removed first.
    async fn kv_write(
        &self,
        holder: &Holder,
        writes: Vec<KvWrite>,
        quota: KvQuota,
        now_ms: i64,
    ) -> Result<Vec<KvDone>, StateError>;

    /// Removes what a holder's storage holds, `rows_max` entries at most; how many there were.
    async fn kv_clear(&self, holder: &Holder, rows_max: u32) -> Result<u64, StateError>;

    /// Removes what ended before `now_ms` of all holders, `rows_max` entries at most; how many
    /// there were.
    async fn kv_sweep(&self, now_ms: i64, rows_max: u32) -> Result<u64, StateError>;

    /// The value of a key that never ends.
    async fn kv_get(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let entry = self.kv_entry(holder, bucket, key, i64::MIN).await?;
        Ok(entry.map(|entry| entry.value))
    }

    /// Sets a key for good. Refused when the holder's storage would then have more than
    /// `bytes_max` bytes of keys and values.
    async fn kv_put(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        value: Vec<u8>,
        bytes_max: u64,
    ) -> Result<(), StateError> {
        let change = KvChange::Put {
            value,
            expires_ms: None,
            expected: KvExpected::Anything,
        };
        let write = KvWrite {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            change,
        };
        let quota = KvQuota {
            bytes: bytes_max,
            ..KvQuota::NONE
        };
        self.kv_write(holder, vec![write], quota, i64::MIN).await?;
        Ok(())
    }

    /// Removes a key; whether it was there.
    async fn kv_delete(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
    ) -> Result<bool, StateError> {
        let write = KvWrite {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            change: KvChange::Remove(KvExpected::Anything),
        };
        let done = self.kv_write(holder, vec![write], KvQuota::NONE, i64::MIN);
        Ok(done.await?.contains(&KvDone::Removed(true)))
    }

    /// What a holder's storage holds.
    async fn kv_used(&self, holder: &Holder) -> Result<KvUsed, StateError>;

    /// Puts something where people find it. Of what the holder has there of that kind, the newest
    /// `rows_max` stay.
    async fn inbox_put(&self, row: InboxRow, rows_max: u32) -> Result<(), StateError>;

    /// What waits for people and has not ended at `now_ms`, from the oldest on, [`ROWS_MAX`] at
    /// most.
    async fn inbox(&self, now_ms: i64, rows_max: u32) -> Result<Vec<InboxRow>, StateError>;

    /// Takes something away; whether it was there.
    async fn inbox_remove(&self, holder: &Holder, id: &str) -> Result<bool, StateError>;

    /// Takes away what has ended at `now_ms`; how much it was.
    async fn inbox_sweep(&self, now_ms: i64) -> Result<u64, StateError>;

    /// Appends records, all or none. They must follow the last one and each other.
    async fn audit_append(&self, groups: Vec<AuditGroup>) -> Result<(), StateError>;

    /// The groups of which something comes after `seq`, in order: as many as are needed for
    /// `rows_max` records, [`ROWS_MAX`] at most, or fewer, where those are long.
    async fn audit_groups(&self, seq: i64, rows_max: u32) -> Result<Vec<AuditGroup>, StateError>;

    /// The records after `seq`, in order, [`ROWS_MAX`] at most; fewer where they are long, none
    /// where there are none.
    async fn audit_after(&self, seq: i64, rows_max: u32) -> Result<Vec<AuditRow>, StateError> {
        let groups = self.audit_groups(seq, rows_max).await?;
        let rows = groups.iter().flat_map(AuditGroup::rows);
        Ok(rows
            .filter(|row| row.seq > seq)
            .take(rows_max.min(ROWS_MAX) as usize)
            .collect())
    }

    /// The last record.
    async fn audit_last(&self) -> Result<Option<AuditRow>, StateError>;

    /// Removes the records up to the checkpoint's, which may be within a group, and puts the checkpoint in their place.
    async fn audit_prune(&self, checkpoint: Checkpoint) -> Result<(), StateError>;

    /// What stands in for the records that are gone.
    async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>, StateError>;

    /// Bytes that the records take.
    async fn audit_bytes(&self) -> Result<u64, StateError>;

    /// Writes secrets, all or none; one of the same name and holder is replaced.
    async fn secrets_put(&self, rows: Vec<SecretRow>) -> Result<(), StateError>;

    /// One secret.
    async fn secret(&self, holder: &Holder, name: &str) -> Result<Option<SecretRow>, StateError>;

    /// All secrets, by name.
    async fn secrets(&self) -> Result<Vec<SecretRow>, StateError>;

    /// Notes when a secret was last used.
    async fn secret_used(
        &self,
        holder: &Holder,
        name: &str,
        time_ms: i64,
    ) -> Result<(), StateError>;

    /// Removes a secret; whether it was there.
    async fn secret_remove(&self, holder: &Holder, name: &str) -> Result<bool, StateError>;

    /// Adds to the history.
    async fn history_append(&self, row: HistoryRow) -> Result<(), StateError>;

    /// The newest changes of a holder, newest first.
    async fn history(&self, holder: &Holder, rows_max: u32) -> Result<Vec<HistoryRow>, StateError>;

    /// The newest change of each holder, [`ROWS_MAX`] at most.
    async fn history_latest(&self) -> Result<Vec<HistoryRow>, StateError>;

    /// Writes rows of usage; those of the same tool and span are replaced.
    async fn usage_put(&self, rows: Vec<UsageRow>) -> Result<(), StateError>;

    /// Rows of usage of all holders that start in `from_ms..to_ms`, [`ROWS_MAX`] at most.
    async fn usage(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<UsageRow>, StateError>;

    /// Removes the rows of usage that start outside of `from_ms..to_ms`; how many there were.
    async fn usage_prune(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<u64, StateError>;

    /// Bytes that the whole state takes on disk.
    async fn bytes(&self) -> Result<u64, StateError>;

    /// Waits for the writes that were asked for and closes the store.
    async fn close(&self);
}
