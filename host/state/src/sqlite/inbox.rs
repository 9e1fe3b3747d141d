//! What waits for people.

use sqlx::sqlite::SqlitePool;
use sqlx::{Error, Row, SqliteConnection};

use super::writes::{Applied, Done};
use crate::rows::{Holder, InboxRow};

pub(super) async fn rows(
    on: &SqlitePool,
    project: &str,
    now_ms: i64,
    rows_max: u32,
) -> Result<Vec<InboxRow>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, id, kind, call, created_ms, expires_ms, body FROM inbox
         WHERE project = $1 AND expires_ms > $2 ORDER BY created_ms, id LIMIT $3",
    )
    .bind(project)
    .bind(now_ms)
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let (alias, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            Ok(InboxRow {
                holder: Holder {
                    alias: alias.into(),
                    tenant: tenant.into(),
                },
                id: row.try_get(2)?,
                kind: row.try_get(3)?,
                call: row.try_get(4)?,
                created_ms: row.try_get(5)?,
                expires_ms: row.try_get(6)?,
                body: row.try_get(7)?,
            })
        })
        .collect()
}

/// Puts a row in; of those of its kind only the newest stay.
pub(super) async fn put(
    on: &mut SqliteConnection,
    project: &str,
    row: &InboxRow,
    rows_max: u32,
) -> Applied {
    sqlx::query(
        "INSERT INTO inbox (project, alias, tenant, id, kind, call, created_ms, expires_ms, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .bind(&row.id)
    .bind(&row.kind)
    .bind(&row.call)
    .bind(row.created_ms)
    .bind(row.expires_ms)
    .bind(&row.body)
    .execute(&mut *on)
    .await?;
    sqlx::query(
        "DELETE FROM inbox
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND kind = $4 AND id NOT IN (
             SELECT id FROM inbox
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND kind = $4
             ORDER BY created_ms DESC, id DESC LIMIT $5)",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .bind(&row.kind)
    .bind(i64::from(rows_max))
    .execute(on)
    .await?;
    Ok(Ok(Done::Nothing))
}

pub(super) async fn remove(
    on: &mut SqliteConnection,
    project: &str,
    holder: &Holder,
    id: &str,
) -> Applied {
    let removed = sqlx::query(
        "DELETE FROM inbox WHERE project = $1 AND alias = $2 AND tenant = $3 AND id = $4",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(id)
    .execute(on)
    .await?;
    Ok(Ok(Done::Was(removed.rows_affected() > 0)))
}

pub(super) async fn sweep(on: &mut SqliteConnection, project: &str, now_ms: i64) -> Applied {
    let removed = sqlx::query("DELETE FROM inbox WHERE project = $1 AND expires_ms <= $2")
        .bind(project)
        .bind(now_ms)
        .execute(on)
        .await?;
    Ok(Ok(Done::Count(removed.rows_affected())))
}
