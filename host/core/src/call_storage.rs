//! What one call does with what its plugin keeps: each use under the grants of that moment, and
//! within what is asked for and granted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_manifest::feature::Feature;
use portreeve_manifest::size::ByteSize;
use portreeve_runtime::{
    ErrorCode, Failure, KvAct, KvChange, KvDone, KvExpected, KvSource, KvStat, KvUsage, KvValue,
};
use portreeve_state::audit::wall_clock;
use portreeve_state::{
    Holder, KvChange as Change, KvDone as Done, KvExpected as Expected, KvInfo, KvQuota, KvWrite,
    StateError, StateStore,
};
use serde_json::json;

use crate::scope::CallScope;

/// When it makes sense to try again where too many changes wait for the disk.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What is granted where nobody has said how much: a suggestion for whoever reads the refusal.
const SUGGESTED: ByteSize = ByteSize::mib(1);

/// What a call may keep.
pub(crate) struct CallKv {
    scope: Arc<CallScope>,
    store: Arc<dyn StateStore>,
    holder: Holder,
    keys_max: u64,
    /// Whether the log has been told that the state can't be used.
    told: AtomicBool,
}

impl CallKv {
    pub(crate) fn new(scope: Arc<CallScope>, store: Arc<dyn StateStore>, keys_max: u64) -> CallKv {
        CallKv {
            holder: Holder::plugin(&scope.plugin.alias),
            scope,
            store,
            keys_max,
            told: AtomicBool::new(false),
        }
    }

    /// How many bytes may be kept now.
    fn granted(&self) -> Result<ByteSize, Failure> {
        if let Some(bytes) = self.scope.granted().effective.kv {
            return Ok(bytes);
        }
        let size = self.asked().unwrap_or(SUGGESTED).to_string();
        Err(self.scope.refuse(Feature::StorageKv, &size))
    }

    /// How many bytes the plugin asks for, where it asks.
    fn asked(&self) -> Option<ByteSize> {
        let requests = &self.scope.plugin.manifest()?.requests;
        Some(requests.storage.as_ref()?.kv)
    }

    /// The same before something is read.
    fn reading(&self) -> Result<i64, Failure> {
        self.granted()?;
        self.scope.reads_storage();
        Ok(wall_clock())
    }

    /// What the plugin is told of something that was not done.
    fn failed(&self, error: &StateError) -> Failure {
        let alias = &self.scope.plugin.alias;
        match error {
            StateError::Quota { used, allowed } => self.over(*used, *allowed),
            StateError::Keys { allowed } => {
                let told = format!(
                    "`{alias}` keeps {allowed} keys, and may keep no more; the setting `keys` in its `limits` ([plugins.{alias}] in {}) raises it",
                    self.scope.place()
                );
                Failure {
                    detail: Some(json!({"setting": "keys", "allowed": allowed})),
                    ..Failure::new(ErrorCode::QuotaExceeded, "limit-keys", told)
                }
            }
            StateError::Conflict => Failure::new(
                ErrorCode::Conflict,
                "changed",
                "something else is there than was expected; read it again, and decide anew",
            ),
            StateError::NoNumber(why) => Failure::new(ErrorCode::Conflict, "no-number", *why),
            StateError::Busy => Failure {
                retry_after: Some(BUSY_PAUSE),
                ..Failure::new(
                    ErrorCode::RateLimited,
                    "busy",
                    format!(
                        "more changes of `{alias}` wait for the disk than may; try again in a moment"
                    ),
                )
            },
            error => {
                // A plugin that tries again and again fills no log.
                if !self.told.swap(true, Ordering::Relaxed) {
                    let call = &self.scope.call_id;
                    tracing::warn!(plugin = alias, call, %error, "what a plugin keeps can't be used");
                }
                Failure::new(
                    ErrorCode::Unavailable,
                    "state",
                    "this host can't read or write what plugins keep; its log says why",
                )
            }
        }
    }

    /// Says that more would be kept than may be, and what raises it.
    fn over(&self, used: u64, allowed: u64) -> Failure {
        let alias = &self.scope.plugin.alias;
        let (size, place) = (ByteSize(allowed), self.scope.place());
        // What is asked for is the bound where the grant is no less.
        let raise = match self.asked() {
            Some(asked) if asked.0 <= allowed => format!(
                "its plugin.toml asks for no more than that: its author has to ask for more, and its operator to grant it ({place})"
            ),
            _ => format!(
                "`grants.storage.kv` under [plugins.{alias}] ({place}) raises it, and `portreeve grant {alias} 'storage.kv=SIZE'` writes that"
            ),
        };
        let told =
            format!("`{alias}` would keep {used} bytes with this, but may keep {size}; {raise}");
        Failure {
            detail: Some(json!({"setting": "grants.storage.kv", "used": used, "allowed": allowed})),
            ..Failure::new(ErrorCode::QuotaExceeded, "storage", told)
        }
    }
}

fn stat(info: KvInfo) -> KvStat {
    KvStat {
        key: info.key,
        size: info.size,
        version: info.version,
        expires_ms: info.expires_ms.and_then(|end| u64::try_from(end).ok()),
    }
}

fn expected(expected: KvExpected) -> Expected {
    match expected {
        KvExpected::Anything => Expected::Anything,
        KvExpected::Absent => Expected::Absent,
        KvExpected::Version(version) => Expected::Version(version),
    }
}

fn write(bucket: &str, change: KvChange, now_ms: i64) -> KvWrite {
    let act = match change.act {
        KvAct::Set {
            value,
            ttl_ms,
            expected: there,
        } => Change::Put {
            value,
            expires_ms: ttl_ms
                .map(|ttl| now_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX))),
            expected: expected(there),
        },
        KvAct::Add(delta) => Change::Add(delta),
        KvAct::Delete(there) => Change::Remove(expected(there)),
    };
    KvWrite {
        bucket: bucket.to_owned(),
        key: change.key,
        change: act,
    }
}

#[async_trait]
impl KvSource for CallKv {
    fn permitted(&self) -> Result<(), Failure> {
        self.granted().map(|_| ())
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<KvValue>, Failure> {
        let now = self.reading()?;
        let found = self.store.kv_entry(&self.holder, bucket, key, now).await;
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(found.map(|found| KvValue {
            value: found.value,
            version: found.version,
            expires_ms: found.expires_ms.and_then(|end| u64::try_from(end).ok()),
        }))
    }

    async fn stat(&self, bucket: &str, key: &str) -> Result<Option<KvStat>, Failure> {
        let now = self.reading()?;
        let found = self.store.kv_info(&self.holder, bucket, key, now).await;
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(found.map(stat))
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        max: u32,
    ) -> Result<Vec<KvStat>, Failure> {
        let now = self.reading()?;
        let listed = self
            .store
            .kv_list(&self.holder, bucket, prefix, after, max, now)
            .await;
        let listed = listed.map_err(|error| self.failed(&error))?;
        Ok(listed.into_iter().map(stat).collect())
    }

    async fn change(&self, bucket: &str, changes: Vec<KvChange>) -> Result<Vec<KvDone>, Failure> {
        let quota = KvQuota {
            bytes: self.granted()?.0,
            keys: self.keys_max,
        };
        let now = wall_clock();
        let keys = changes.len() as u64;
        let bytes = changes.iter().map(|change| match &change.act {
            KvAct::Set { value, .. } => value.len() as u64,
            KvAct::Add(_) | KvAct::Delete(_) => 0,
        });
        let bytes = bytes.fold(0, u64::saturating_add);
        let writes = changes.into_iter().map(|change| write(bucket, change, now));
        let writes = writes.collect();
        let done = self.store.kv_write(&self.holder, writes, quota, now).await;
        let done = done.map_err(|error| self.failed(&error))?;
        self.scope.changes_storage(keys, bytes);
        let done = done.into_iter().map(|done| match done {
            Done::Set(version) => KvDone::Set(version),
            Done::Sum(sum) => KvDone::Sum(sum),
            Done::Removed(was) => KvDone::Deleted(was),
        });
        Ok(done.collect())
    }

    async fn used(&self) -> Result<KvUsage, Failure> {
        let bytes_max = self.granted()?.0;
        self.scope.reads_storage();
        let used = self.store.kv_used(&self.holder).await;
        let used = used.map_err(|error| self.failed(&error))?;
        Ok(KvUsage {
            keys: used.keys,
            keys_max: self.keys_max,
            bytes: used.bytes,
            bytes_max,
        })
    }
}
