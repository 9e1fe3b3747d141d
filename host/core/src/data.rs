//! What plugins keep, in their operator's hands: taken out, put in, removed; and swept, once it
//! has ended.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_manifest::id::Alias;
use portreeve_manifest::size::ByteSize;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::tasks::TaskStore;
use portreeve_state::{
    Holder, KvChange, KvExpected, KvQuota, KvUsed, KvWrite, ROWS_MAX, StateError, StateStore,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::call::Caller;
use crate::host::{Host, HostError};

/// Entries of one page.
const PAGE_ENTRIES_MAX: usize = 1_000;

/// Bytes of the values of one page; one value may be larger.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Longest key, in bytes: that of what plugins set.
const KEY_BYTES_MAX: usize = 1_024;

/// Longest name of a bucket, in bytes.
const BUCKET_BYTES_MAX: usize = 64;

/// Pause between two looks at what has ended.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// Entries that are swept away at once.
const SWEEP_ROWS_MAX: u32 = 1_000;

/// What people do with what a plugin keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataAct {
    /// Takes out a page of it.
    Export {
        /// The plugin.
        alias: Alias,
        /// The last entry of the page before.
        after: Option<DataCursor>,
    },
    /// Puts entries in, all or none, in place of those of the same keys.
    Import {
        /// The plugin.
        alias: Alias,
        /// The entries.
        entries: Vec<DataEntry>,
    },
    /// Removes all of it.
    Clear {
        /// The plugin, or one that was removed.
        alias: Alias,
    },
}

/// A place among the entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataCursor {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// An entry as it is written to files: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataEntry {
    /// The bucket; empty for that of `portreeve:storage/kv`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The value, in base64.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub value: Vec<u8>,
    /// When it ends: milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

fn to_base64<S: Serializer>(value: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(value))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD
        .decode(text)
        .map_err(|error| de::Error::custom(format!("the value is not base64: {error}")))
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataDone {
    /// A page.
    Page {
        /// Its entries.
        entries: Vec<DataEntry>,
        /// Where the next one begins; none after the last one.
        next: Option<DataCursor>,
    },
    /// So many entries were put in.
    Imported(u64),
    /// So much was removed.
    Cleared {
        /// Keys.
        keys: u64,
        /// Bytes of keys and values.
        bytes: u64,
    },
}

impl Host {
    /// Does something with what a plugin keeps. It is on record before it is done.
    ///
    /// # Errors
    /// It makes no sense, can't be recorded or can't be done.
    pub async fn data(&self, act: DataAct, who: &Caller) -> Result<DataDone, HostError> {
        let record = async |kind: AuditKind, alias: &Alias, body: Value| {
            let event = AuditEvent {
                kind,
                holder: Holder::plugin(alias.as_str()),
                caller: who.name.clone(),
                call: String::new(),
                body: match body {
                    Value::Object(members) => members,
                    _ => Map::new(),
                },
            };
            self.audit.commit(event).await
        };
        match act {
            DataAct::Export { alias, after } => {
                let used = self.kept_by(&alias).await?;
                // The first page stands for all of them.
                if after.is_none() {
                    let body = json!({"keys": used.keys, "bytes": used.bytes});
                    record(AuditKind::DataExport, &alias, body).await?;
                }
                self.page(&alias, after).await
            }
            DataAct::Import { alias, entries } => {
                let (writes, quota) = self.writes(&alias, entries)?;
                let count = writes.len() as u64;
                record(AuditKind::DataImport, &alias, json!({"keys": count})).await?;
                let holder = Holder::plugin(alias.as_str());
                self.store
                    .kv_write(&holder, writes, quota, wall_clock())
                    .await
                    .map_err(|error| refused(&alias, error))?;
                Ok(DataDone::Imported(count))
            }
            DataAct::Clear { alias } => {
                let used = self.kept_by(&alias).await?;
                let body = json!({"keys": used.keys, "bytes": used.bytes});
                record(AuditKind::DataClear, &alias, body).await?;
                let holder = Holder::plugin(alias.as_str());
                let mut keys = 0_u64;
                loop {
                    let gone = self.store.kv_clear(&holder, ROWS_MAX).await?;
                    keys = keys.saturating_add(gone);
                    if gone < u64::from(ROWS_MAX) {
                        break;
                    }
                }
                Ok(DataDone::Cleared {
                    keys,
                    bytes: used.bytes,
                })
            }
        }
    }

    /// What is kept under an alias, which must be a plugin's, or have been.
    async fn kept_by(&self, alias: &Alias) -> Result<KvUsed, HostError> {
        let used = self.store.kv_used(&Holder::plugin(alias.as_str())).await?;
        if used.keys == 0 && self.registry().plugin(alias.as_str()).is_none() {
            return Err(HostError::Asked(format!(
                "there is no plugin `{alias}`, and nothing is kept under that name; `portreeve list` shows what there is"
            )));
        }
        Ok(used)
    }

    async fn page(&self, alias: &Alias, after: Option<DataCursor>) -> Result<DataDone, HostError> {
        let (holder, now) = (Holder::plugin(alias.as_str()), wall_clock());
        let (mut bucket, mut after) = match after {
            Some(cursor) => (cursor.bucket, Some(cursor.key)),
            None => (String::new(), None),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let rows_max = u32::try_from(PAGE_ENTRIES_MAX).unwrap_or(ROWS_MAX);
            let listed = self
                .store
                .kv_list(&holder, &bucket, "", after.as_deref(), rows_max, now)
                .await?;
            let more = listed.len() >= PAGE_ENTRIES_MAX;
            for info in listed {
                after = Some(info.key.clone());
                let found = self
                    .store
                    .kv_entry(&holder, &bucket, &info.key, now)
                    .await?;
                // It may just have been deleted.
                let Some(found) = found else {
                    continue;
                };
                bytes = bytes.saturating_add(found.value.len());
                entries.push(DataEntry {
                    bucket: bucket.clone(),
                    key: info.key.clone(),
                    value: found.value,
                    expires: found.expires_ms,
                });
                if bytes >= PAGE_BYTES_MAX || entries.len() >= PAGE_ENTRIES_MAX {
                    let key = info.key;
                    let next = Some(DataCursor { bucket, key });
                    return Ok(DataDone::Page { entries, next });
                }
            }
            if more {
                continue;
            }
            match self.store.kv_bucket_after(&holder, &bucket).await? {
                Some(next) => (bucket, after) = (next, None),
                None => {
                    return Ok(DataDone::Page {
                        entries,
                        next: None,
                    });
                }
            }
        }
    }

    /// Entries as changes, within what the plugin itself may keep.
    fn writes(
        &self,
        alias: &Alias,
        entries: Vec<DataEntry>,
    ) -> Result<(Vec<KvWrite>, KvQuota), HostError> {
        let asked = |why: String| Err(HostError::Asked(why));
        let registry = self.registry();
        let facts = registry.plugin(alias.as_str());
        let Some(facts) = facts.and_then(|plugin| plugin.facts.as_ref()) else {
            return asked(format!(
                "there is no plugin `{alias}` that could keep it; `portreeve list` shows what there is"
            ));
        };
        let Some(bytes) = facts.grants.load().effective.kv else {
            return asked(format!(
                "`{alias}` may keep nothing: `portreeve grant {alias} storage.kv` allows it, if it asks for that"
            ));
        };
        if entries.len() > PAGE_ENTRIES_MAX {
            return asked(format!(
                "{PAGE_ENTRIES_MAX} entries can be put in at once, and these are {}",
                entries.len()
            ));
        }
        let mut writes = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = &entry.key;
            if name.is_empty() || name.len() > KEY_BYTES_MAX {
                return asked(format!(
                    "a key has {} bytes; keys have 1 to {KEY_BYTES_MAX}",
                    name.len()
                ));
            }
            if entry.bucket.len() > BUCKET_BYTES_MAX {
                return asked(format!(
                    "the bucket of `{name}` has a name of more than {BUCKET_BYTES_MAX} bytes"
                ));
            }
            if entry.value.len() as u64 > facts.limits.value.0 {
                return asked(format!(
                    "the value of `{name}` has {} bytes, but one value may have {}; `value` in the `limits` of [plugins.{alias}] raises it",
                    entry.value.len(),
                    facts.limits.value
                ));
            }
            writes.push(KvWrite {
                bucket: entry.bucket,
                key: entry.key,
                change: KvChange::Put {
                    value: entry.value,
                    expires_ms: entry.expires,
                    expected: KvExpected::Anything,
                },
            });
        }
        let quota = KvQuota {
            bytes: bytes.0,
            keys: facts.limits.keys,
        };
        Ok((writes, quota))
    }
}

/// Why entries were not put in.
fn refused(alias: &Alias, error: StateError) -> HostError {
    match error {
        StateError::Quota { used, allowed } => HostError::Asked(format!(
            "`{alias}` would keep {used} bytes, but may keep {}; grant it more (`portreeve grant {alias} 'storage.kv=SIZE'`), as far as it asks for more",
            ByteSize(allowed)
        )),
        StateError::Keys { allowed } => HostError::Asked(format!(
            "`{alias}` may keep {allowed} keys; `keys` in the `limits` of [plugins.{alias}] raises it"
        )),
        error => error.into(),
    }
}

/// Removes what has ended, until it is dropped.
pub(crate) struct Sweeper {
    _until_dropped: DropGuard,
}

impl Sweeper {
    /// To be called within a tokio runtime.
    pub(crate) fn start(store: Arc<dyn StateStore>, tasks: Arc<dyn TaskStore>) -> Sweeper {
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(SWEEP_PAUSE).await;
                match sweep(&*store, &*tasks).await {
                    Ok(()) => {}
                    Err(StateError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "what has ended of what plugins keep was not removed");
                    }
                }
            }
        }));
        Sweeper {
            _until_dropped: end.drop_guard(),
        }
    }
}

async fn sweep(store: &dyn StateStore, tasks: &dyn TaskStore) -> Result<(), StateError> {
    let now = wall_clock();
    while store.kv_sweep(now, SWEEP_ROWS_MAX).await? >= u64::from(SWEEP_ROWS_MAX) {}
    store.inbox_sweep(now).await?;
    tasks.tasks_sweep(now).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line() {
        let entry = DataEntry {
            bucket: String::new(),
            key: "a\n".to_owned(),
            value: vec![0, 255],
            expires: None,
        };
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(line, r#"{"key":"a\n","value":"AP8="}"#);
        assert_eq!(serde_json::from_str::<DataEntry>(&line).unwrap(), entry);
        for wrong in [
            r#"{"key":"a"}"#,
            r#"{"key":"a","value":"?"}"#,
            r#"{"key":"a","value":"","more":1}"#,
        ] {
            assert!(serde_json::from_str::<DataEntry>(wrong).is_err(), "{wrong}");
        }
    }
}
