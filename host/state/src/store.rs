//! What a backend of the state must do.

use async_trait::async_trait;

use crate::error::StateError;
use crate::rows::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, KvUsed, SecretRow, UsageRow, UsageSpan,
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

    /// The value of a key of a plugin's storage.
    async fn kv_get(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StateError>;

    /// Sets a key. Refused when the holder's storage would then have more than `bytes_max`
    /// bytes of keys and values.
    async fn kv_put(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        value: Vec<u8>,
        bytes_max: u64,
    ) -> Result<(), StateError>;

    /// Removes a key; whether it was there.
    async fn kv_delete(&self, holder: &Holder, bucket: &str, key: &str)
    -> Result<bool, StateError>;

    /// What a holder's storage holds.
    async fn kv_used(&self, holder: &Holder) -> Result<KvUsed, StateError>;

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
