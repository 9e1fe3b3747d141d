//! What is read of messages and subscriptions, beside the writer.

use futures::{Stream, TryStreamExt as _};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, QueryBuilder, Row, Sqlite};

use super::settle::Of;
use super::unsigned;
use crate::bus::{
    BusCount, BusCursor, BusException, BusImage, BusMessage, BusSubscription, BusTopic,
};
use crate::rows::Holder;

fn holder(row: &SqliteRow, from: usize) -> Result<Holder, Error> {
    let (alias, tenant): (String, String) = (row.try_get(from)?, row.try_get(from + 1)?);
    Ok(Holder {
        alias: alias.into(),
        tenant: tenant.into(),
    })
}

pub(super) async fn image(on: &SqlitePool, project: &str) -> Result<BusImage, Error> {
    // One view of them all.
    let mut on = on.begin().await?;
    let topics = sqlx::query(
        "SELECT topic, head, messages, bytes FROM bus_topics WHERE project = $1 ORDER BY topic",
    )
    .bind(project)
    .fetch_all(&mut *on)
    .await?;
    let topics = topics.iter().map(|row| {
        Ok(BusTopic {
            topic: row.try_get(0)?,
            head: row.try_get(1)?,
            messages: unsigned(row.try_get(2)?),
            bytes: unsigned(row.try_get(3)?),
        })
    });
    let topics = topics.collect::<Result<_, Error>>()?;
    let subscriptions = sqlx::query(
        "SELECT alias, tenant, subscription, patterns FROM bus_subscriptions
         WHERE project = $1 ORDER BY alias, tenant, subscription",
    )
    .bind(project)
    .fetch_all(&mut *on)
    .await?;
    let subscriptions = subscriptions.iter().map(|row| {
        Ok(BusSubscription {
            holder: holder(row, 0)?,
            name: row.try_get(2)?,
            patterns: row.try_get(3)?,
        })
    });
    let subscriptions = subscriptions.collect::<Result<_, Error>>()?;
    let cursors = sqlx::query(
        "SELECT alias, tenant, subscription, topic, position FROM bus_cursors WHERE project = $1",
    )
    .bind(project)
    .fetch_all(&mut *on)
    .await?;
    let cursors = cursors.iter().map(|row| {
        Ok(BusCursor {
            holder: holder(row, 0)?,
            subscription: row.try_get(2)?,
            topic: row.try_get(3)?,
            position: row.try_get(4)?,
        })
    });
    let cursors = cursors.collect::<Result<_, Error>>()?;
    // The newest of each topic is its last: no row of the rest is read.
    let newest: Option<i64> = sqlx::query_scalar(
        "SELECT max(log.time_ms) FROM bus_topics AS topics
         JOIN bus_log AS log ON log.project = topics.project AND log.alias = topics.alias
             AND log.tenant = topics.tenant AND log.topic = topics.topic
             AND log.position = topics.head
         WHERE topics.project = $1",
    )
    .bind(project)
    .fetch_one(&mut *on)
    .await?;
    let next = sqlx::query_scalar("SELECT min(due_ms) FROM bus_delayed WHERE project = $1")
        .bind(project)
        .fetch_one(&mut *on)
        .await?;
    Ok(BusImage {
        topics,
        subscriptions,
        cursors,
        newest_ms: newest.unwrap_or(0),
        next_due_ms: next,
    })
}

pub(super) async fn exceptions(
    on: &SqlitePool,
    of: &Of<'_>,
    topic: &str,
) -> Result<Vec<BusException>, Error> {
    let rows = sqlx::query(
        "SELECT e.position, e.attempt, e.due_ms, log.key, log.expires_ms FROM bus_exceptions AS e
         LEFT JOIN bus_log AS log ON log.project = e.project AND log.alias = ''
             AND log.tenant = '' AND log.topic = e.topic AND log.position = e.position
         WHERE e.project = $1 AND e.alias = $2 AND e.tenant = $3 AND e.subscription = $4
             AND e.topic = $5 ORDER BY e.position",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .bind(topic)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let attempt: i64 = row.try_get(1)?;
            Ok(BusException {
                position: row.try_get(0)?,
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
                due_ms: row.try_get(2)?,
                key: row.try_get(3)?,
                expires_ms: row.try_get(4)?,
            })
        })
        .collect()
}

pub(super) async fn excepted(on: &SqlitePool, of: &Of<'_>) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT topic FROM bus_exceptions
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4 ORDER BY topic",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .fetch_all(on)
    .await
}

/// Columns: topic, position, id, time, end, key, envelope, payload.
pub(super) fn message(row: &SqliteRow) -> Result<BusMessage, Error> {
    Ok(BusMessage {
        topic: row.try_get(0)?,
        position: row.try_get(1)?,
        id: row.try_get(2)?,
        time_ms: row.try_get(3)?,
        expires_ms: row.try_get(4)?,
        key: row.try_get(5)?,
        envelope: row.try_get(6)?,
        payload: row.try_get(7)?,
    })
}

pub(super) async fn after(
    on: &SqlitePool,
    project: &str,
    topic: &str,
    after: i64,
    (rows_max, bytes_max): (u32, u64),
) -> Result<Vec<BusMessage>, Error> {
    let mut rows = sqlx::query(
        "SELECT topic, position, id, time_ms, expires_ms, key, envelope, payload FROM bus_log
         WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2 AND position > $3
         ORDER BY position LIMIT $4",
    )
    .bind(project)
    .bind(topic)
    .bind(after)
    .bind(i64::from(rows_max))
    .fetch(on);
    within(&mut rows, bytes_max).await
}

/// The newest first, without those that have ended.
pub(super) async fn latest(
    on: &SqlitePool,
    project: &str,
    topic: &str,
    now_ms: i64,
    (rows_max, bytes_max): (u32, u64),
) -> Result<Vec<BusMessage>, Error> {
    let mut rows = sqlx::query(
        "SELECT topic, position, id, time_ms, expires_ms, key, envelope, payload FROM bus_log
         WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2
             AND (expires_ms IS NULL OR expires_ms > $3)
         ORDER BY position DESC LIMIT $4",
    )
    .bind(project)
    .bind(topic)
    .bind(now_ms)
    .bind(i64::from(rows_max))
    .fetch(on);
    within(&mut rows, bytes_max).await
}

/// Messages up to the one with which they have so many bytes.
async fn within(
    rows: &mut (impl Stream<Item = Result<SqliteRow, Error>> + Unpin),
    bytes_max: u64,
) -> Result<Vec<BusMessage>, Error> {
    let mut messages = Vec::new();
    let mut bytes = 0_u64;
    while let Some(row) = rows.try_next().await? {
        let message = message(&row)?;
        bytes = bytes.saturating_add(message.size());
        messages.push(message);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(messages)
}

pub(super) async fn at(
    on: &SqlitePool,
    project: &str,
    topic: &str,
    positions: &[i64],
) -> Result<Vec<BusMessage>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT topic, position, id, time_ms, expires_ms, key, envelope, payload FROM bus_log
         WHERE alias = '' AND tenant = '' AND project = ",
    );
    query
        .push_bind(project)
        .push(" AND topic = ")
        .push_bind(topic);
    query.push(" AND position IN (");
    let mut list = query.separated(", ");
    for position in positions {
        list.push_bind(position);
    }
    query.push(") ORDER BY position");
    let rows = query.build().fetch_all(on).await?;
    rows.iter().map(message).collect()
}

pub(super) async fn before(
    on: &SqlitePool,
    project: &str,
    topic: &str,
    time_ms: i64,
) -> Result<i64, Error> {
    let position: Option<i64> = sqlx::query_scalar(
        // A delayed message is older than those before it: what comes after the first that is not
        // too old is none of it.
        "SELECT coalesce(
             (SELECT min(position) - 1 FROM bus_log WHERE project = $1 AND alias = ''
                 AND tenant = '' AND topic = $2 AND time_ms >= $3),
             (SELECT max(position) FROM bus_log WHERE project = $1 AND alias = ''
                 AND tenant = '' AND topic = $2))",
    )
    .bind(project)
    .bind(topic)
    .bind(time_ms)
    .fetch_one(on)
    .await?;
    Ok(position.unwrap_or(0))
}

pub(super) async fn counts(on: &SqlitePool, project: &str) -> Result<Vec<BusCount>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, subscription, topic, what, count FROM bus_counts
         WHERE project = $1 ORDER BY topic, alias, tenant, subscription, what",
    )
    .bind(project)
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(BusCount {
                holder: holder(row, 0)?,
                subscription: row.try_get(2)?,
                topic: row.try_get(3)?,
                what: row.try_get(4)?,
                count: unsigned(row.try_get(5)?),
            })
        })
        .collect()
}
