//! The storage of plugins: what is read of it, and what the writer does with it.
//!
//! An entry that has ended is none for whoever reads or writes, and lies there until its key is
//! written, room is wanted, or it is swept away.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row, SqliteConnection};

use super::writes::{Applied, Done};
use crate::error::StateError;
use crate::rows::{
    Holder, KvChange, KvDone, KvEntry, KvExpected, KvInfo, KvQuota, KvUsed, KvWrite,
};

/// What has ended and is removed before a holder is told that its storage is full.
const ENDED_ROWS_MAX: u32 = 10_000;

pub(super) async fn entry(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
    (bucket, key): (&str, &str),
    now_ms: i64,
) -> Result<Option<KvEntry>, Error> {
    let row = sqlx::query(
        "SELECT value, version, expires_ms FROM kv
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket = $4 AND key = $5
             AND (expires_ms IS NULL OR expires_ms > $6)",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(bucket)
    .bind(key)
    .bind(now_ms)
    .fetch_optional(on)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(KvEntry {
        value: row.try_get(0)?,
        version: unsigned(row.try_get(1)?),
        expires_ms: row.try_get(2)?,
    }))
}

pub(super) async fn info(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
    (bucket, key): (&str, &str),
    now_ms: i64,
) -> Result<Option<KvInfo>, Error> {
    let row = sqlx::query(
        "SELECT key, length(value), version, expires_ms FROM kv
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket = $4 AND key = $5
             AND (expires_ms IS NULL OR expires_ms > $6)",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(bucket)
    .bind(key)
    .bind(now_ms)
    .fetch_optional(on)
    .await?;
    row.as_ref().map(info_row).transpose()
}

fn info_row(row: &SqliteRow) -> Result<KvInfo, Error> {
    Ok(KvInfo {
        key: row.try_get(0)?,
        size: unsigned(row.try_get(1)?),
        version: unsigned(row.try_get(2)?),
        expires_ms: row.try_get(3)?,
    })
}

/// Which entries of a bucket are listed.
pub(super) struct Listing<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) after: Option<&'a str>,
    pub(super) rows_max: u32,
}

pub(super) async fn list(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
    listing: &Listing<'_>,
    now_ms: i64,
) -> Result<Vec<KvInfo>, Error> {
    // No text is above a blob, which is the bound where there is none.
    let rows = sqlx::query(
        "SELECT key, length(value), version, expires_ms FROM kv
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket = $4
             AND key >= $5 AND key < coalesce($6, x'') AND key > coalesce($7, '')
             AND (expires_ms IS NULL OR expires_ms > $8)
         ORDER BY key LIMIT $9",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(listing.bucket)
    .bind(listing.after.unwrap_or("").max(listing.prefix))
    .bind(beyond(listing.prefix))
    .bind(listing.after)
    .bind(now_ms)
    .bind(i64::from(listing.rows_max))
    .fetch_all(on)
    .await?;
    rows.iter().map(info_row).collect()
}

/// The first text that comes after all those that begin with `prefix`; none where all later
/// ones do.
fn beyond(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

pub(super) async fn bucket_after(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
    bucket: &str,
) -> Result<Option<String>, Error> {
    sqlx::query_scalar(
        "SELECT bucket FROM kv
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket > $4
         ORDER BY bucket LIMIT 1",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(bucket)
    .fetch_optional(on)
    .await
}

pub(super) async fn used(on: &SqlitePool, project: &str, holder: &Holder) -> Result<KvUsed, Error> {
    let row = sqlx::query(
        "SELECT keys, bytes FROM kv_used WHERE project = $1 AND alias = $2 AND tenant = $3",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .fetch_optional(on)
    .await?;
    let Some(row) = row else {
        return Ok(KvUsed::default());
    };
    Ok(KvUsed {
        keys: unsigned(row.try_get("keys")?),
        bytes: unsigned(row.try_get("bytes")?),
    })
}

/// Changes of one holder, and what bounds them.
pub(super) struct Changes {
    pub(super) holder: Holder,
    pub(super) writes: Vec<KvWrite>,
    pub(super) quota: KvQuota,
    pub(super) now_ms: i64,
}

impl Changes {
    /// Bytes that they hold while they wait, roughly.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.writes.iter().map(|write| {
            let value = match &write.change {
                KvChange::Put { value, .. } => value.len(),
                KvChange::Add(_) | KvChange::Remove(_) => 0,
            };
            write.key.len().saturating_add(value)
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// How many of them may take room.
    pub(super) fn adding(&self) -> usize {
        let adds = |write: &&KvWrite| !matches!(write.change, KvChange::Remove(_));
        self.writes.iter().filter(adds).count()
    }

    /// All of them or none.
    pub(super) async fn apply(&self, on: &mut SqliteConnection, project: &str) -> Applied {
        // One that is refused has changed nothing.
        if let [write] = self.writes.as_slice() {
            let done = self.one(on, project, write).await?;
            return Ok(done.map(|done| Done::Kv(vec![done])));
        }
        execute(on, "SAVEPOINT kv").await?;
        let mut all = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            match self.one(on, project, write).await? {
                Ok(done) => all.push(done),
                Err(refused) => {
                    execute(on, "ROLLBACK TO kv").await?;
                    execute(on, "RELEASE kv").await?;
                    return Ok(Err(refused));
                }
            }
        }
        execute(on, "RELEASE kv").await?;
        Ok(Ok(Done::Kv(all)))
    }

    async fn one(
        &self,
        on: &mut SqliteConnection,
        project: &str,
        write: &KvWrite,
    ) -> Result<Result<KvDone, StateError>, Error> {
        let place = Place {
            project,
            holder: &self.holder,
            bucket: &write.bucket,
            key: &write.key,
        };
        let before = place.standing(on, self.now_ms).await?;
        match &write.change {
            KvChange::Put {
                value,
                expires_ms,
                expected,
            } => {
                if !before.is(*expected) {
                    return Ok(Err(StateError::Conflict));
                }
                let put = self.put(on, &place, before, value, *expires_ms).await?;
                Ok(put.map(KvDone::Set))
            }
            KvChange::Add(delta) => {
                let held = match before.version {
                    Some(_) => place.value(on).await?,
                    None => b"0".to_vec(),
                };
                let sum = match add(&held, *delta) {
                    Ok(sum) => sum,
                    Err(refused) => return Ok(Err(refused)),
                };
                let expires_ms = before.version.and(before.expires_ms);
                let value = sum.to_string().into_bytes();
                let put = self.put(on, &place, before, &value, expires_ms).await?;
                Ok(put.map(|_| KvDone::Sum(sum)))
            }
            KvChange::Remove(expected) => {
                if !before.is(*expected) {
                    return Ok(Err(StateError::Conflict));
                }
                if before.size.is_some() {
                    place.remove(on).await?;
                    place.set_used(on, before.without()).await?;
                }
                Ok(Ok(KvDone::Removed(before.version.is_some())))
            }
        }
    }

    /// Writes a value, where there is room; its version.
    async fn put(
        &self,
        on: &mut SqliteConnection,
        place: &Place<'_>,
        before: Standing,
        value: &[u8],
        expires_ms: Option<i64>,
    ) -> Result<Result<u64, StateError>, Error> {
        let entry = place.name_bytes().saturating_add(size(value.len()));
        let mut used = before.without().with(entry);
        if let Err(refused) = used.within(&self.quota) {
            let rows_max = ENDED_ROWS_MAX;
            let gone = sweep_of(on, place.project, Some(place.holder), self.now_ms, rows_max);
            if gone.await? == 0 {
                return Ok(Err(refused));
            }
            let before = place.standing(on, self.now_ms).await?;
            used = before.without().with(entry);
            if let Err(refused) = used.within(&self.quota) {
                return Ok(Err(refused));
            }
        }
        used.version = used.version.saturating_add(1);
        sqlx::query(
            "INSERT INTO kv (project, alias, tenant, bucket, key, version, expires_ms, value)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (project, alias, tenant, bucket, key) DO UPDATE SET
                 version = excluded.version, expires_ms = excluded.expires_ms,
                 value = excluded.value",
        )
        .bind(place.project)
        .bind(&*place.holder.alias)
        .bind(&*place.holder.tenant)
        .bind(place.bucket)
        .bind(place.key)
        .bind(used.version)
        .bind(expires_ms)
        .bind(value)
        .execute(&mut *on)
        .await?;
        place.set_used(on, used).await?;
        Ok(Ok(unsigned(used.version)))
    }
}

/// The sum of a number in decimal digits and another one.
fn add(held: &[u8], delta: i64) -> Result<i64, StateError> {
    let number = std::str::from_utf8(held)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let number = number.ok_or(StateError::NoNumber(
        "the value is no whole number in decimal digits",
    ))?;
    number.checked_add(delta).ok_or(StateError::NoNumber(
        "the sum would not fit into 64 bits with a sign",
    ))
}

/// Where an entry is.
struct Place<'a> {
    project: &'a str,
    holder: &'a Holder,
    bucket: &'a str,
    key: &'a str,
}

/// What a holder has.
#[derive(Clone, Copy)]
struct Used {
    keys: i64,
    bytes: i64,
    /// The last version that was given.
    version: i64,
}

impl Used {
    fn with(self, entry: i64) -> Used {
        Used {
            keys: self.keys.saturating_add(1),
            bytes: self.bytes.saturating_add(entry),
            ..self
        }
    }

    fn within(&self, quota: &KvQuota) -> Result<(), StateError> {
        let bytes = unsigned(self.bytes);
        if bytes > quota.bytes {
            return Err(StateError::Quota {
                used: bytes,
                allowed: quota.bytes,
            });
        }
        if unsigned(self.keys) > quota.keys {
            return Err(StateError::Keys {
                allowed: quota.keys,
            });
        }
        Ok(())
    }
}

/// What there is before a change.
#[derive(Clone, Copy)]
struct Standing {
    used: Used,
    /// Bytes of the entry with its names, also of one that has ended.
    size: Option<i64>,
    /// Of an entry that has not ended.
    version: Option<i64>,
    expires_ms: Option<i64>,
}

impl Standing {
    fn is(&self, expected: KvExpected) -> bool {
        match expected {
            KvExpected::Anything => true,
            KvExpected::Absent => self.version.is_none(),
            KvExpected::Version(version) => self.version.map(unsigned) == Some(version),
        }
    }

    /// What the holder has without the entry.
    fn without(&self) -> Used {
        let Some(size) = self.size else {
            return self.used;
        };
        Used {
            keys: self.used.keys.saturating_sub(1),
            bytes: self.used.bytes.saturating_sub(size),
            ..self.used
        }
    }
}

impl Place<'_> {
    fn name_bytes(&self) -> i64 {
        size(self.bucket.len().saturating_add(self.key.len()))
    }

    async fn standing(&self, on: &mut SqliteConnection, now_ms: i64) -> Result<Standing, Error> {
        let row = sqlx::query(
            "SELECT coalesce(used.keys, 0), coalesce(used.bytes, 0), coalesce(used.version, 0),
                 length(kv.value), kv.version, kv.expires_ms
             FROM (SELECT 1)
             LEFT JOIN kv_used AS used
                 ON used.project = $1 AND used.alias = $2 AND used.tenant = $3
             LEFT JOIN kv ON kv.project = $1 AND kv.alias = $2 AND kv.tenant = $3
                 AND kv.bucket = $4 AND kv.key = $5",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.bucket)
        .bind(self.key)
        .fetch_one(on)
        .await?;
        let value: Option<i64> = row.try_get(3)?;
        let version: Option<i64> = row.try_get(4)?;
        let expires_ms: Option<i64> = row.try_get(5)?;
        let ended = expires_ms.is_some_and(|end| end <= now_ms);
        Ok(Standing {
            used: Used {
                keys: row.try_get(0)?,
                bytes: row.try_get(1)?,
                version: row.try_get(2)?,
            },
            size: value.map(|value| value.saturating_add(self.name_bytes())),
            version: version.filter(|_| !ended),
            expires_ms,
        })
    }

    async fn value(&self, on: &mut SqliteConnection) -> Result<Vec<u8>, Error> {
        sqlx::query_scalar(
            "SELECT value FROM kv
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket = $4 AND key = $5",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.bucket)
        .bind(self.key)
        .fetch_one(on)
        .await
    }

    async fn remove(&self, on: &mut SqliteConnection) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM kv
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND bucket = $4 AND key = $5",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.bucket)
        .bind(self.key)
        .execute(on)
        .await
        .map(|_| ())
    }

    async fn set_used(&self, on: &mut SqliteConnection, used: Used) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO kv_used (project, alias, tenant, keys, bytes, version)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project, alias, tenant) DO UPDATE SET
                 keys = excluded.keys, bytes = excluded.bytes, version = excluded.version",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(used.keys)
        .bind(used.bytes)
        .bind(used.version)
        .execute(on)
        .await
        .map(|_| ())
    }
}

/// Removes what a holder has.
pub(super) async fn clear(
    on: &mut SqliteConnection,
    project: &str,
    holder: &Holder,
    rows_max: u32,
) -> Applied {
    let removed = sqlx::query(
        "DELETE FROM kv WHERE rowid IN (
             SELECT rowid FROM kv WHERE project = $1 AND alias = $2 AND tenant = $3 LIMIT $4)
         RETURNING alias, tenant, length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB))
             + length(value)",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(i64::from(rows_max))
    .fetch_all(&mut *on)
    .await?;
    Ok(Ok(Done::Count(gone(on, project, &removed).await?)))
}

/// Removes what has ended.
pub(super) async fn sweep(
    on: &mut SqliteConnection,
    project: &str,
    now_ms: i64,
    rows_max: u32,
) -> Applied {
    let count = sweep_of(on, project, None, now_ms, rows_max).await?;
    Ok(Ok(Done::Count(count)))
}

/// Removes what has ended of one holder or of all; how many entries that were.
async fn sweep_of(
    on: &mut SqliteConnection,
    project: &str,
    holder: Option<&Holder>,
    now_ms: i64,
    rows_max: u32,
) -> Result<u64, Error> {
    let removed = sqlx::query(
        "DELETE FROM kv WHERE rowid IN (
             SELECT rowid FROM kv WHERE project = $1 AND expires_ms <= $2
                 AND ($3 IS NULL OR alias = $3 AND tenant = $4) LIMIT $5)
         RETURNING alias, tenant, length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB))
             + length(value)",
    )
    .bind(project)
    .bind(now_ms)
    .bind(holder.map(|holder| &*holder.alias))
    .bind(holder.map(|holder| &*holder.tenant))
    .bind(i64::from(rows_max))
    .fetch_all(&mut *on)
    .await?;
    gone(on, project, &removed).await
}

/// Takes what was removed out of what its holders have; how many entries that were.
async fn gone(
    on: &mut SqliteConnection,
    project: &str,
    removed: &[SqliteRow],
) -> Result<u64, Error> {
    let mut sums = std::collections::BTreeMap::<(String, String), (i64, i64)>::new();
    for row in removed {
        let (keys, bytes) = sums.entry((row.try_get(0)?, row.try_get(1)?)).or_default();
        *keys = keys.saturating_add(1);
        *bytes = bytes.saturating_add(row.try_get(2)?);
    }
    for ((alias, tenant), (keys, bytes)) in sums {
        sqlx::query(
            "UPDATE kv_used SET keys = keys - $4, bytes = bytes - $5
             WHERE project = $1 AND alias = $2 AND tenant = $3",
        )
        .bind(project)
        .bind(alias)
        .bind(tenant)
        .bind(keys)
        .bind(bytes)
        .execute(&mut *on)
        .await?;
    }
    Ok(removed.len() as u64)
}

async fn execute(on: &mut SqliteConnection, statement: &'static str) -> Result<(), Error> {
    sqlx::query(statement).execute(on).await.map(|_| ())
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_of_a_prefix() {
        for (prefix, bound) in [
            ("a", Some("b")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(beyond(prefix).as_deref(), bound, "{prefix:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_below_the_bound_begins_with_the_prefix(prefix in any::<String>(), key in any::<String>()) {
            for key in [format!("{prefix}{key}"), key] {
                let within = key >= prefix && beyond(&prefix).is_none_or(|bound| key < bound);
                prop_assert_eq!(within, key.starts_with(&prefix));
            }
        }
    }
}
