//! Dead letters.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row, SqliteConnection};

use super::settle::Of;
use super::{Came, count, signed, unsigned};
use crate::bus::{BusDead, BusDeadFilter, BusEnd, BusException, BusMessage};
use crate::rows::Holder;
use crate::sqlite::writes::{Applied, Done};

/// Moves a copy of a message there; the log's own goes when every subscription is past it.
pub(super) async fn move_there(
    on: &mut SqliteConnection,
    of: &Of<'_>,
    topic: &str,
    position: i64,
    end: &BusEnd,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO bus_dead (project, alias, tenant, subscription, dead_ms, id, reason, detail,
             attempts, topic, position, message, time_ms, key, size, envelope, payload)
         SELECT project, $2, $3, $4, $5, $6, $7, $8, $9, topic, position, id, time_ms, key, size,
             envelope, payload
         FROM bus_log WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $10
             AND position = $11",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .bind(end.dead_ms)
    .bind(&end.id)
    .bind(&end.reason)
    .bind(&end.detail)
    .bind(i64::from(end.attempts))
    .bind(topic)
    .bind(position)
    .execute(on)
    .await
    .map(|_| ())
}

/// Removes the oldest of a subscription beyond so many, and counts them.
pub(super) async fn bound(
    on: &mut SqliteConnection,
    of: &Of<'_>,
    dead_max: u32,
) -> Result<(), Error> {
    let there: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM bus_dead
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .fetch_one(&mut *on)
    .await?;
    let over = there.saturating_sub(i64::from(dead_max));
    if over <= 0 {
        return Ok(());
    }
    let gone = sqlx::query_scalar::<_, String>(
        "DELETE FROM bus_dead WHERE project = $1 AND id IN (
             SELECT id FROM bus_dead
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4
             ORDER BY dead_ms, id LIMIT $5)
         RETURNING topic",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .bind(over)
    .fetch_all(&mut *on)
    .await?;
    for topic in gone {
        count(on, of, &topic, "dead-dropped", 1).await?;
    }
    Ok(())
}

pub(super) async fn bury(
    on: &mut SqliteConnection,
    project: &str,
    dead: &BusDead,
    dead_max: u32,
) -> Applied {
    let of = Of {
        project,
        holder: &dead.holder,
        name: &dead.subscription,
    };
    let message = &dead.message;
    sqlx::query(
        "INSERT INTO bus_dead (project, alias, tenant, subscription, dead_ms, id, reason, detail,
             attempts, topic, position, message, time_ms, key, size, envelope, payload)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $14, $15, $16)",
    )
    .bind(project)
    .bind(&*dead.holder.alias)
    .bind(&*dead.holder.tenant)
    .bind(&dead.subscription)
    .bind(dead.end.dead_ms)
    .bind(&dead.end.id)
    .bind(&dead.end.reason)
    .bind(&dead.end.detail)
    .bind(i64::from(dead.end.attempts))
    .bind(&message.topic)
    .bind(&message.id)
    .bind(message.time_ms)
    .bind(message.key.as_deref())
    .bind(signed(message.size()))
    .bind(&message.envelope)
    .bind(message.payload.as_slice())
    .execute(&mut *on)
    .await?;
    count(on, &of, &message.topic, "dead", 1).await?;
    bound(on, &of, dead_max).await?;
    Ok(Ok(Done::Nothing))
}

fn read(row: &SqliteRow) -> Result<BusDead, Error> {
    let (alias, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let attempts: i64 = row.try_get(7)?;
    Ok(BusDead {
        holder: Holder {
            alias: alias.into(),
            tenant: tenant.into(),
        },
        subscription: row.try_get(2)?,
        end: BusEnd {
            dead_ms: row.try_get(3)?,
            id: row.try_get(4)?,
            reason: row.try_get(5)?,
            detail: row.try_get(6)?,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        },
        size: unsigned(row.try_get(13)?),
        message: BusMessage {
            topic: row.try_get(8)?,
            position: row.try_get(9)?,
            id: row.try_get(10)?,
            time_ms: row.try_get(11)?,
            expires_ms: None,
            key: row.try_get(12)?,
            envelope: row.try_get(14)?,
            payload: row.try_get(15)?,
        },
    })
}

pub(super) async fn list(
    on: &SqlitePool,
    project: &str,
    filter: &BusDeadFilter,
    rows_max: u32,
) -> Result<Vec<BusDead>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, subscription, dead_ms, id, reason, detail, attempts, topic,
             position, message, time_ms, key, size, envelope, x''
         FROM bus_dead WHERE project = $1 AND id > $2 AND ($3 IS NULL OR alias = $3)
             AND ($4 IS NULL OR topic = $4)
         ORDER BY id LIMIT $5",
    )
    .bind(project)
    .bind(filter.after.as_deref().unwrap_or(""))
    .bind(filter.alias.as_deref())
    .bind(filter.topic.as_deref())
    .bind(i64::from(rows_max))
    .fetch_all(on)
    .await?;
    rows.iter().map(read).collect()
}

const ONE: &str =
    "SELECT alias, tenant, subscription, dead_ms, id, reason, detail, attempts, topic,
         position, message, time_ms, key, size, envelope, payload
     FROM bus_dead WHERE project = $1 AND id = $2";

pub(super) async fn one(
    on: &SqlitePool,
    project: &str,
    id: &str,
) -> Result<Option<BusDead>, Error> {
    let row = sqlx::query(ONE).bind(project).bind(id).fetch_optional(on);
    row.await?.as_ref().map(read).transpose()
}

pub(super) async fn how_many(on: &SqlitePool, project: &str) -> Result<u64, Error> {
    sqlx::query_scalar("SELECT count(*) FROM bus_dead WHERE project = $1")
        .bind(project)
        .fetch_one(on)
        .await
        .map(unsigned)
}

pub(super) async fn revive(
    on: &mut SqliteConnection,
    project: &str,
    id: &str,
    now_ms: i64,
) -> Applied {
    let row = sqlx::query(ONE).bind(project).bind(id);
    let Some(row) = row.fetch_optional(&mut *on).await? else {
        return Ok(Ok(Done::Bus(Came::Revived(None))));
    };
    let dead = read(&row)?;
    let message = &dead.message;
    let back = sqlx::query(
        "INSERT INTO bus_log (project, alias, tenant, topic, position, id, time_ms, expires_ms,
             key, size, envelope, payload)
         VALUES ($1, '', '', $2, $3, $4, $5, NULL, $6, $7, $8, $9)
         ON CONFLICT (project, alias, tenant, topic, position) DO UPDATE SET expires_ms = NULL",
    );
    let before: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM bus_log WHERE project = $1 AND alias = '' AND tenant = ''
             AND topic = $2 AND position = $3",
    )
    .bind(project)
    .bind(&message.topic)
    .bind(message.position)
    .fetch_one(&mut *on)
    .await?;
    back.bind(project)
        .bind(&message.topic)
        .bind(message.position)
        .bind(&message.id)
        .bind(message.time_ms)
        .bind(message.key.as_deref())
        .bind(signed(dead.size))
        .bind(&message.envelope)
        .bind(message.payload.as_slice())
        .execute(&mut *on)
        .await?;
    if before == 0 {
        sqlx::query(
            "UPDATE bus_topics SET messages = messages + 1, bytes = bytes + $3
             WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2",
        )
        .bind(project)
        .bind(&message.topic)
        .bind(signed(dead.size))
        .execute(&mut *on)
        .await?;
    }
    let of = Of {
        project,
        holder: &dead.holder,
        name: &dead.subscription,
    };
    let exception = BusException {
        position: message.position,
        attempt: 0,
        due_ms: now_ms,
        key: None,
        expires_ms: None,
    };
    of.put(on, &message.topic, &exception).await?;
    let _ = drop(on, project, id).await?;
    Ok(Ok(Done::Bus(Came::Revived(Some(before == 0)))))
}

pub(super) async fn drop(on: &mut SqliteConnection, project: &str, id: &str) -> Applied {
    let removed = sqlx::query("DELETE FROM bus_dead WHERE project = $1 AND id = $2")
        .bind(project)
        .bind(id)
        .execute(on)
        .await?;
    Ok(Ok(Done::Was(removed.rows_affected() > 0)))
}
