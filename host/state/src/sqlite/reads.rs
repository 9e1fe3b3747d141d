//! What is read, on any of the readers.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use crate::rows::{
    AuditGroup, AuditRow, Checkpoint, HistoryRow, Holder, SecretRow, UsageRow, UsageSpan,
};

/// Text of records that one read gives, in bytes, and one group more.
const AUDIT_BYTES_MAX: u64 = 2 << 20;

pub(super) async fn audit_groups(
    on: &SqlitePool,
    project: &str,
    seq: i64,
    rows_max: u32,
) -> Result<Vec<AuditGroup>, Error> {
    let mut rows = sqlx::query(
        "SELECT first, last, records, macs FROM audit
         WHERE project = $1 AND alias = '' AND tenant = '' AND last > $2 ORDER BY last LIMIT $3",
    )
    .bind(project)
    .bind(seq)
    .bind(i64::from(rows_max))
    .fetch(on);
    let wanted = seq.saturating_add(i64::from(rows_max));
    let mut groups = Vec::new();
    let mut bytes = 0_u64;
    while let Some(row) = rows.try_next().await? {
        let group = audit_group(&row)?;
        bytes = bytes.saturating_add(group.bytes());
        let last = group.last;
        groups.push(group);
        if last >= wanted || bytes >= AUDIT_BYTES_MAX {
            break;
        }
    }
    Ok(groups)
}

pub(super) async fn audit_last(on: &SqlitePool, project: &str) -> Result<Option<AuditRow>, Error> {
    let row = sqlx::query(
        "SELECT first, last, records, macs FROM audit
         WHERE project = $1 AND alias = '' AND tenant = '' ORDER BY last DESC LIMIT 1",
    )
    .bind(project)
    .fetch_optional(on)
    .await?;
    let group = row.as_ref().map(audit_group).transpose()?;
    Ok(group.and_then(|group| {
        // The place is the group's: of one that was changed, nothing else is sure.
        let last = group.rows().last()?;
        Some(AuditRow {
            seq: group.last,
            ..last
        })
    }))
}

pub(super) fn audit_group(row: &SqliteRow) -> Result<AuditGroup, Error> {
    // What is no text was changed, and shows as such.
    let records = String::from_utf8(row.try_get(2)?)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(AuditGroup {
        first: row.try_get(0)?,
        last: row.try_get(1)?,
        records,
        macs: row.try_get(3)?,
    })
}

pub(super) async fn audit_checkpoint(
    on: &SqlitePool,
    project: &str,
) -> Result<Option<Checkpoint>, Error> {
    let row =
        sqlx::query("SELECT seq, time_ms, mac, seal FROM audit_checkpoint WHERE project = $1")
            .bind(project)
            .fetch_optional(on)
            .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Checkpoint {
        seq: row.try_get(0)?,
        time_ms: row.try_get(1)?,
        mac: row.try_get(2)?,
        seal: row.try_get(3)?,
    }))
}

pub(super) async fn audit_bytes(on: &SqlitePool, project: &str) -> Result<u64, Error> {
    let bytes: Option<i64> = sqlx::query_scalar("SELECT bytes FROM audit_used WHERE project = $1")
        .bind(project)
        .fetch_optional(on)
        .await?;
    Ok(unsigned(bytes.unwrap_or(0)))
}

pub(super) async fn secret(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
    name: &str,
) -> Result<Option<SecretRow>, Error> {
    let row = sqlx::query(
        "SELECT name, alias, tenant, kind, version, key_id, sealed, created_ms, rotated_ms,
             expires_ms, used_ms
         FROM secrets WHERE project = $1 AND alias = $2 AND tenant = $3 AND name = $4",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(name)
    .fetch_optional(on)
    .await?;
    row.as_ref().map(secret_row).transpose()
}

pub(super) async fn secrets(
    on: &SqlitePool,
    project: &str,
    rows_max: u32,
) -> Result<Vec<SecretRow>, Error> {
    let rows = sqlx::query(
        "SELECT name, alias, tenant, kind, version, key_id, sealed, created_ms, rotated_ms,
             expires_ms, used_ms
         FROM secrets WHERE project = $1 ORDER BY name, alias, tenant LIMIT $2",
    )
    .bind(project)
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter().map(secret_row).collect()
}

fn secret_row(row: &SqliteRow) -> Result<SecretRow, Error> {
    Ok(SecretRow {
        name: row.try_get(0)?,
        holder: holder(row.try_get(1)?, row.try_get(2)?),
        kind: row.try_get(3)?,
        version: row.try_get(4)?,
        key_id: row.try_get(5)?,
        sealed: row.try_get(6)?,
        created_ms: row.try_get(7)?,
        rotated_ms: row.try_get(8)?,
        expires_ms: row.try_get(9)?,
        used_ms: row.try_get(10)?,
    })
}

pub(super) async fn history(
    on: &SqlitePool,
    project: &str,
    of: &Holder,
    rows_max: u32,
) -> Result<Vec<HistoryRow>, Error> {
    let rows = sqlx::query(
        "SELECT time_ms, kind, who, digest, grants FROM history
         WHERE project = $1 AND alias = $2 AND tenant = $3 ORDER BY seq DESC LIMIT $4",
    )
    .bind(project)
    .bind(&*of.alias)
    .bind(&*of.tenant)
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryRow {
                holder: of.clone(),
                time_ms: row.try_get(0)?,
                kind: row.try_get(1)?,
                who: row.try_get(2)?,
                digest: row.try_get(3)?,
                grants: row.try_get(4)?,
            })
        })
        .collect()
}

pub(super) async fn history_latest(
    on: &SqlitePool,
    project: &str,
    rows_max: u32,
) -> Result<Vec<HistoryRow>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, time_ms, kind, who, digest, grants FROM history AS latest
         WHERE project = $1 AND seq = (
             SELECT max(seq) FROM history
             WHERE project = latest.project AND alias = latest.alias AND tenant = latest.tenant)
         ORDER BY alias, tenant LIMIT $2",
    )
    .bind(project)
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryRow {
                holder: holder(row.try_get(0)?, row.try_get(1)?),
                time_ms: row.try_get(2)?,
                kind: row.try_get(3)?,
                who: row.try_get(4)?,
                digest: row.try_get(5)?,
                grants: row.try_get(6)?,
            })
        })
        .collect()
}

pub(super) async fn usage(
    on: &SqlitePool,
    project: &str,
    span: UsageSpan,
    from_ms: i64,
    to_ms: i64,
    rows_max: u32,
) -> Result<Vec<UsageRow>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, tool, start_ms, data FROM usage
         WHERE project = $1 AND span_ms = $2 AND start_ms >= $3 AND start_ms < $4
         ORDER BY start_ms, alias, tenant, tool LIMIT $5",
    )
    .bind(project)
    .bind(span.ms())
    .bind(from_ms)
    .bind(to_ms)
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(UsageRow {
                holder: holder(row.try_get(0)?, row.try_get(1)?),
                tool: row.try_get(2)?,
                span,
                start_ms: row.try_get(3)?,
                data: row.try_get(4)?,
            })
        })
        .collect()
}

pub(super) async fn bytes(on: &SqlitePool) -> Result<u64, Error> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    )
    .fetch_one(on)
    .await?;
    Ok(unsigned(bytes))
}

fn holder(alias: &str, tenant: &str) -> Holder {
    Holder {
        alias: Arc::from(alias),
        tenant: Arc::from(tenant),
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
