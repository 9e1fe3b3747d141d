//! `wasi:keyvalue`: the same storage as [`storage`](super::storage), for components that were
//! made for other hosts.

use std::collections::VecDeque;

use wasmtime::component::Resource;

use super::storage::{BUCKET, KvAct, KvChange, KvDone, KvExpected, PAGE_MAX, fit_key, fit_value};
use crate::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Longest name of a bucket, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Pages of which one handle knows where they begin.
const CURSORS_MAX: usize = 16;

/// Keys of one batch.
const BATCH_MAX: usize = 100;

/// Bytes of the values that one batch reads.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A guest's handle to a bucket.
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub struct BucketHandle {
    name: String,
    /// Where pages begin that were promised: the number that the guest has of it, and the last
    /// key before it.
    cursors: VecDeque<(u64, String)>,
    next: u64,
}

impl From<Failure> for store::Error {
    fn from(failure: Failure) -> store::Error {
        match failure.code {
            // Its words say what would allow it, but there is no place for them.
            ErrorCode::PermissionDenied => store::Error::AccessDenied,
            _ => store::Error::Other(failure.message),
        }
    }
}

fn other(why: impl Into<String>) -> store::Error {
    store::Error::Other(why.into())
}

impl Guest {
    fn bucket(
        &mut self,
        bucket: &Resource<BucketHandle>,
    ) -> Result<&mut BucketHandle, store::Error> {
        let found = self.table().get_mut(bucket);
        found.map_err(|error| other(format!("there is no such handle: {error}")))
    }

    async fn change(
        &mut self,
        bucket: &Resource<BucketHandle>,
        changes: Vec<KvChange>,
    ) -> Result<Vec<KvDone>, store::Error> {
        for change in &changes {
            fit_key(&change.key)?;
            if let KvAct::Set { value, .. } = &change.act {
                fit_value(value, self.kv_value_max)?;
            }
        }
        let name = self.bucket(bucket)?.name.clone();
        Ok(self.context.kv.clone().change(&name, changes).await?)
    }

    async fn value(
        &mut self,
        bucket: &Resource<BucketHandle>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, store::Error> {
        fit_key(key)?;
        let name = self.bucket(bucket)?.name.clone();
        let found = self.context.kv.clone().get(&name, key).await?;
        Ok(found.map(|found| found.value))
    }
}

fn set(key: String, value: Vec<u8>) -> KvChange {
    let act = KvAct::Set {
        value,
        ttl_ms: None,
        expected: KvExpected::Anything,
    };
    KvChange { key, act }
}

fn delete(key: String) -> KvChange {
    let act = KvAct::Delete(KvExpected::Anything);
    KvChange { key, act }
}

fn fit_batch(keys: usize) -> Result<(), store::Error> {
    if keys <= BATCH_MAX {
        return Ok(());
    }
    Err(other(format!(
        "a batch has {BATCH_MAX} keys at most, and this one has {keys}; make several of it"
    )))
}

impl store::Host for Guest {
    async fn open(&mut self, name: String) -> Result<Resource<BucketHandle>, store::Error> {
        self.context.kv.permitted()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(store::Error::NoSuchStore);
        }
        let name = match name.as_str() {
            "default" => BUCKET.to_owned(),
            _ => name,
        };
        let handle = BucketHandle {
            name,
            cursors: VecDeque::new(),
            next: 1,
        };
        self.table().push(handle).map_err(|error| {
            other(format!(
                "no more handles: {error}; the setting `handles` in the plugin's `limits` says how many there may be"
            ))
        })
    }
}

impl store::HostBucket for Guest {
    async fn get(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
    ) -> Result<Option<Vec<u8>>, store::Error> {
        self.value(&bucket, &key).await
    }

    async fn set(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), store::Error> {
        self.change(&bucket, vec![set(key, value)]).await?;
        Ok(())
    }

    async fn delete(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
    ) -> Result<(), store::Error> {
        self.change(&bucket, vec![delete(key)]).await?;
        Ok(())
    }

    async fn exists(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
    ) -> Result<bool, store::Error> {
        fit_key(&key)?;
        let name = self.bucket(&bucket)?.name.clone();
        let found = self.context.kv.clone().stat(&name, &key).await?;
        Ok(found.is_some())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<BucketHandle>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, store::Error> {
        let source = self.context.kv.clone();
        let handle = self.bucket(&bucket)?;
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let known = handle.cursors.iter().find(|(known, _)| *known == cursor);
                let (_, after) = known.ok_or_else(|| {
                    other("the cursor is none of this handle, or an old one; begin anew")
                })?;
                Some(after.clone())
            }
        };
        let found = source
            .list(&handle.name, "", after.as_deref(), PAGE_MAX)
            .await?;
        let full = found.len() >= PAGE_MAX as usize;
        let cursor = found.last().filter(|_| full).map(|last| {
            if handle.cursors.len() >= CURSORS_MAX {
                handle.cursors.pop_front();
            }
            let cursor = handle.next;
            handle.cursors.push_back((cursor, last.key.clone()));
            handle.next = cursor.wrapping_add(1);
            cursor
        });
        let keys = found.into_iter().map(|stat| stat.key).collect();
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<BucketHandle>) -> wasmtime::Result<()> {
        self.table().delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(
        &mut self,
        bucket: Resource<BucketHandle>,
        key: String,
        delta: u64,
    ) -> Result<u64, store::Error> {
        let delta = i64::try_from(delta)
            .map_err(|_| other(format!("no more can be added at once than {}", i64::MAX)))?;
        let act = KvAct::Add(delta);
        let done = self.change(&bucket, vec![KvChange { key, act }]).await?;
        match done.first() {
            Some(KvDone::Sum(sum)) => u64::try_from(*sum)
                .map_err(|_| other(format!("the sum is {sum}, which is below zero"))),
            _ => Err(other("the sum was lost")),
        }
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<BucketHandle>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, store::Error> {
        fit_batch(keys.len())?;
        let mut found = Vec::with_capacity(keys.len());
        let mut bytes = 0_usize;
        for key in keys {
            let value = self.value(&bucket, &key).await?;
            bytes = bytes.saturating_add(value.as_ref().map_or(0, Vec::len));
            if bytes > BATCH_BYTES_MAX {
                return Err(other(format!(
                    "the values have more than {BATCH_BYTES_MAX} bytes together; read fewer at once"
                )));
            }
            found.push(value.map(|value| (key, value)));
        }
        Ok(found)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<BucketHandle>,
        values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), store::Error> {
        fit_batch(values.len())?;
        let changes = values.into_iter().map(|(key, value)| set(key, value));
        self.change(&bucket, changes.collect()).await?;
        Ok(())
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<BucketHandle>,
        keys: Vec<String>,
    ) -> Result<(), store::Error> {
        fit_batch(keys.len())?;
        let changes = keys.into_iter().map(delete);
        self.change(&bucket, changes.collect()).await?;
        Ok(())
    }
}
