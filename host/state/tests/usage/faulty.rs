//! A store that can be made to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use portreeve_state::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, InboxRow, KvDone, KvEntry, KvInfo,
    KvQuota, KvUsed, KvWrite, SecretRow, StateError, StateStore, UsageRow, UsageSpan,
};

/// A store whose usage can't be written, as a full disk makes it.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn StateStore>,
    /// It writes nothing, and says so.
    pub(crate) fails: AtomicBool,
    /// Rows of usage that were written.
    pub(crate) rows: AtomicU64,
}

#[async_trait]
impl StateStore for Faulty {
    fn project(&self) -> &str {
        self.inner.project()
    }

    async fn audit_append(&self, groups: Vec<AuditGroup>) -> Result<(), StateError> {
        self.inner.audit_append(groups).await
    }

    async fn inbox_put(&self, row: InboxRow, rows_max: u32) -> Result<(), StateError> {
        self.inner.inbox_put(row, rows_max).await
    }

    async fn inbox(&self, now_ms: i64, rows_max: u32) -> Result<Vec<InboxRow>, StateError> {
        self.inner.inbox(now_ms, rows_max).await
    }

    async fn inbox_remove(&self, holder: &Holder, id: &str) -> Result<bool, StateError> {
        self.inner.inbox_remove(holder, id).await
    }

    async fn inbox_sweep(&self, now_ms: i64) -> Result<u64, StateError> {
        self.inner.inbox_sweep(now_ms).await
    }

    async fn kv_entry(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvEntry>, StateError> {
        self.inner.kv_entry(holder, bucket, key, now_ms).await
    }

    async fn kv_info(
        &self,
        holder: &Holder,
        bucket: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KvInfo>, StateError> {
        self.inner.kv_info(holder, bucket, key, now_ms).await
    }

    async fn kv_list(
        &self,
        holder: &Holder,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        rows_max: u32,
        now_ms: i64,
    ) -> Result<Vec<KvInfo>, StateError> {
        self.inner
            .kv_list(holder, bucket, prefix, after, rows_max, now_ms)
            .await
    }

    async fn kv_bucket_after(
        &self,
        holder: &Holder,
        bucket: &str,
    ) -> Result<Option<String>, StateError> {
        self.inner.kv_bucket_after(holder, bucket).await
    }

    async fn kv_write(
        &self,
        holder: &Holder,
        writes: Vec<KvWrite>,
        quota: KvQuota,
        now_ms: i64,
    ) -> Result<Vec<KvDone>, StateError> {
        self.inner.kv_write(holder, writes, quota, now_ms).await
    }

    async fn kv_clear(&self, holder: &Holder, rows_max: u32) -> Result<u64, StateError> {
        self.inner.kv_clear(holder, rows_max).await
    }

    async fn kv_sweep(&self, now_ms: i64, rows_max: u32) -> Result<u64, StateError> {
        self.inner.kv_sweep(now_ms, rows_max).await
    }

    async fn kv_used(&self, holder: &Holder) -> Result<KvUsed, StateError> {
        self.inner.kv_used(holder).await
    }

    async fn audit_groups(&self, seq: i64, rows_max: u32) -> Result<Vec<AuditGroup>, StateError> {
        self.inner.audit_groups(seq, rows_max).await
    }

    async fn audit_last(&self) -> Result<Option<AuditRow>, StateError> {
        self.inner.audit_last().await
    }

    async fn audit_prune(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        self.inner.audit_prune(checkpoint).await
    }

    async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>, StateError> {
        self.inner.audit_checkpoint().await
    }

    async fn audit_bytes(&self) -> Result<u64, StateError> {
        self.inner.audit_bytes().await
    }

    async fn secrets_put(&self, rows: Vec<SecretRow>) -> Result<(), StateError> {
        self.inner.secrets_put(rows).await
    }

    async fn secret(&self, holder: &Holder, name: &str) -> Result<Option<SecretRow>, StateError> {
        self.inner.secret(holder, name).await
    }

    async fn secrets(&self) -> Result<Vec<SecretRow>, StateError> {
        self.inner.secrets().await
    }

    async fn secret_used(
        &self,
        holder: &Holder,
        name: &str,
        time_ms: i64,
    ) -> Result<(), StateError> {
        self.inner.secret_used(holder, name, time_ms).await
    }

    async fn secret_remove(&self, holder: &Holder, name: &str) -> Result<bool, StateError> {
        self.inner.secret_remove(holder, name).await
    }

    async fn history_append(&self, row: HistoryRow) -> Result<(), StateError> {
        self.inner.history_append(row).await
    }

    async fn history(&self, holder: &Holder, rows_max: u32) -> Result<Vec<HistoryRow>, StateError> {
        self.inner.history(holder, rows_max).await
    }

    async fn history_latest(&self) -> Result<Vec<HistoryRow>, StateError> {
        self.inner.history_latest().await
    }

    async fn usage_put(&self, rows: Vec<UsageRow>) -> Result<(), StateError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StateError::Full("database or disk is full".to_owned()));
        }
        self.rows.fetch_add(rows.len() as u64, Ordering::SeqCst);
        self.inner.usage_put(rows).await
    }

    async fn usage(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<UsageRow>, StateError> {
        self.inner.usage(span, from_ms, to_ms).await
    }

    async fn usage_prune(
        &self,
        span: UsageSpan,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<u64, StateError> {
        self.inner.usage_prune(span, from_ms, to_ms).await
    }

    async fn bytes(&self) -> Result<u64, StateError> {
        self.inner.bytes().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
