//! `portreeve:storage/kv`: what a plugin keeps between calls.

use async_trait::async_trait;
use portreeve_manifest::size::ByteSize;

use crate::bindings::portreeve::storage::kv;
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1_024;

/// Keys of one page.
pub(super) const PAGE_MAX: u32 = 1_000;

/// The bucket of `portreeve:storage/kv`.
pub(super) const BUCKET: &str = "";

/// A value that a plugin keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvValue {
    /// The value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: u64,
    /// When it ends: milliseconds since 1970, UTC.
    pub expires_ms: Option<u64>,
}

/// What is known of a value without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvStat {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub version: u64,
    /// When it ends: milliseconds since 1970, UTC.
    pub expires_ms: Option<u64>,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvChange {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub act: KvAct,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvAct {
    /// Set it.
    Set {
        /// The value.
        value: Vec<u8>,
        /// When it ends: in so many milliseconds.
        ttl_ms: Option<u64>,
        /// What must be there before.
        expected: KvExpected,
    },
    /// Add to the number that it holds.
    Add(i64),
    /// Delete it.
    Delete(KvExpected),
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvExpected {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Absent,
    /// The value of this version.
    Version(u64),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDone {
    /// The value has this version.
    Set(u64),
    /// The sum.
    Sum(i64),
    /// Whether there was something.
    Deleted(bool),
}

/// What is kept, and how much may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvUsage {
    /// Keys.
    pub keys: u64,
    /// How many there may be.
    pub keys_max: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
}

/// Keeps keys and values for a plugin, in buckets that take part in one quota. Each use asks
/// again: grants may have changed. Keys and values come here no longer than they may be.
#[async_trait]
pub trait KvSource: Send + Sync {
    /// Whether anything may be kept now.
    ///
    /// # Errors
    /// It is not granted.
    fn permitted(&self) -> Result<(), Failure>;

    /// The value of a key.
    ///
    /// # Errors
    /// It is not granted, or can't be read.
    async fn get(&self, bucket: &str, key: &str) -> Result<Option<KvValue>, Failure>;

    /// What is known of it.
    ///
    /// # Errors
    /// As [`KvSource::get`].
    async fn stat(&self, bucket: &str, key: &str) -> Result<Option<KvStat>, Failure>;

    /// The keys that begin with `prefix` and come after `after`, `max` of them at most.
    ///
    /// # Errors
    /// As [`KvSource::get`].
    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        max: u32,
    ) -> Result<Vec<KvStat>, Failure>;

    /// Makes all of these changes or none, and answers when they are on disk.
    ///
    /// # Errors
    /// It is not granted, finds something else than is expected, goes over a quota, or can't be
    /// written.
    async fn change(&self, bucket: &str, changes: Vec<KvChange>) -> Result<Vec<KvDone>, Failure>;

    /// What is kept.
    ///
    /// # Errors
    /// As [`KvSource::get`].
    async fn used(&self) -> Result<KvUsage, Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoKv;

fn none<T>() -> Result<T, Failure> {
    Err(Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant",
    ))
}

#[async_trait]
impl KvSource for NoKv {
    fn permitted(&self) -> Result<(), Failure> {
        none()
    }

    async fn get(&self, _: &str, _: &str) -> Result<Option<KvValue>, Failure> {
        none()
    }

    async fn stat(&self, _: &str, _: &str) -> Result<Option<KvStat>, Failure> {
        none()
    }

    async fn list(
        &self,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<KvStat>, Failure> {
        none()
    }

    async fn change(&self, _: &str, _: Vec<KvChange>) -> Result<Vec<KvDone>, Failure> {
        none()
    }

    async fn used(&self) -> Result<KvUsage, Failure> {
        none()
    }
}

/// Refuses a key that can't be one.
pub(super) fn fit_key(key: &str) -> Result<(), Failure> {
    if key.is_empty() {
        return Err(Failure::new(
            ErrorCode::InvalidArgument,
            "key-empty",
            "the key is empty; give it one byte at least",
        ));
    }
    fit_text("key", key)
}

fn fit_text(what: &str, text: &str) -> Result<(), Failure> {
    if text.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::InvalidArgument,
        "key-length",
        format!(
            "the {what} has {} bytes, but keys have {KEY_BYTES_MAX} at most; shorten it, or keep a digest of it instead",
            text.len()
        ),
    ))
}

/// Refuses a value that is larger than one may be.
pub(super) fn fit_value(value: &[u8], max: ByteSize) -> Result<(), Failure> {
    if value.len() as u64 <= max.0 {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::QuotaExceeded,
        "limit-value",
        format!(
            "the value has {} bytes, but one value may have {max}; the setting `value` in the plugin's `limits` raises it",
            value.len()
        ),
    ))
}

impl From<kv::Expected> for KvExpected {
    fn from(expected: kv::Expected) -> KvExpected {
        match expected {
            kv::Expected::Anything => KvExpected::Anything,
            kv::Expected::Absent => KvExpected::Absent,
            kv::Expected::Version(version) => KvExpected::Version(version),
        }
    }
}

impl From<KvStat> for kv::Info {
    fn from(stat: KvStat) -> kv::Info {
        kv::Info {
            key: stat.key,
            size: stat.size,
            version: stat.version,
            expires_ms: stat.expires_ms,
        }
    }
}

impl Guest {
    /// Makes one change.
    async fn kv_change(&mut self, key: String, act: KvAct) -> Result<KvDone, Failure> {
        fit_key(&key)?;
        let changes = vec![KvChange { key, act }];
        let done = self.context.kv.clone().change(BUCKET, changes).await?;
        done.first().copied().ok_or_else(no_answer)
    }
}

fn no_answer() -> Failure {
    Failure::new(
        ErrorCode::Internal,
        "no-answer",
        "the change was made, but what came of it was lost",
    )
}

impl kv::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<kv::Entry>, wit::Failure> {
        fit_key(&key)?;
        let found = self.context.kv.clone().get(BUCKET, &key).await?;
        Ok(found.map(|found| kv::Entry {
            value: found.value,
            version: found.version,
            expires_ms: found.expires_ms,
        }))
    }

    async fn stat(&mut self, key: String) -> Result<Option<kv::Info>, wit::Failure> {
        fit_key(&key)?;
        let found = self.context.kv.clone().stat(BUCKET, &key).await?;
        Ok(found.map(kv::Info::from))
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
        expected: kv::Expected,
    ) -> Result<u64, wit::Failure> {
        fit_value(&value, self.kv_value_max)?;
        if ttl_ms == Some(0) {
            return Err(Failure::new(
                ErrorCode::InvalidArgument,
                "ttl",
                "a value can't end at once; give it a millisecond at least, or delete the key",
            )
            .into());
        }
        let act = KvAct::Set {
            value,
            ttl_ms,
            expected: expected.into(),
        };
        match self.kv_change(key, act).await? {
            KvDone::Set(version) => Ok(version),
            KvDone::Sum(_) | KvDone::Deleted(_) => Err(no_answer().into()),
        }
    }

    async fn delete(&mut self, key: String, expected: kv::Expected) -> Result<bool, wit::Failure> {
        match self.kv_change(key, KvAct::Delete(expected.into())).await? {
            KvDone::Deleted(was) => Ok(was),
            KvDone::Set(_) | KvDone::Sum(_) => Err(no_answer().into()),
        }
    }

    async fn increment(&mut self, key: String, delta: i64) -> Result<i64, wit::Failure> {
        match self.kv_change(key, KvAct::Add(delta)).await? {
            KvDone::Sum(sum) => Ok(sum),
            KvDone::Set(_) | KvDone::Deleted(_) => Err(no_answer().into()),
        }
    }

    async fn list_keys(
        &mut self,
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<kv::Page, wit::Failure> {
        fit_text("prefix", &prefix)?;
        fit_text("cursor", cursor.as_deref().unwrap_or_default())?;
        let max = limit.min(PAGE_MAX);
        let source = self.context.kv.clone();
        let found = source.list(BUCKET, &prefix, cursor.as_deref(), max).await?;
        // A page that is not full is the last one.
        let full = max > 0 && found.len() >= max as usize;
        let last = found.last().filter(|_| full);
        Ok(kv::Page {
            cursor: last.map(|last| last.key.clone()),
            entries: found.into_iter().map(kv::Info::from).collect(),
        })
    }

    async fn used(&mut self) -> Result<kv::Usage, wit::Failure> {
        let used = self.context.kv.clone().used().await?;
        Ok(kv::Usage {
            keys: used.keys,
            keys_max: used.keys_max,
            bytes: used.bytes,
            bytes_max: used.bytes_max,
        })
    }
}
