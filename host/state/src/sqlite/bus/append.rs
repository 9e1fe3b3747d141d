//! Messages enter their topics: at once, or when they are due.

use std::collections::BTreeMap;

use sqlx::{Error, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::reads::message;
use super::{Came, signed};
use crate::bus::{BusAppend, BusAppended, BusMessage};
use crate::sqlite::writes::{Applied, Done};

/// Rows of one statement: SQLite takes 32,766 values in one.
const ROWS_AT_ONCE: usize = 1_000;

pub(super) async fn append(
    on: &mut SqliteConnection,
    project: &str,
    appends: &[BusAppend],
    now_ms: i64,
) -> Applied {
    let mut appended = vec![BusAppended::Delayed; appends.len()];
    let mut now = Vec::with_capacity(appends.len());
    let mut later = Vec::new();
    for (append, appended) in appends.iter().zip(&mut appended) {
        if let Some(first) = entered(on, project, append, now_ms).await? {
            *appended = BusAppended::Duplicate(first);
        } else if append.due_ms.is_some_and(|due| due > now_ms) {
            later.push(append);
        } else {
            now.push((&append.message, appended));
        }
    }
    let sizes = now.iter().map(|(message, _)| &**message);
    let mut places = Places::take(on, project, sizes).await?;
    let mut rows = Vec::with_capacity(now.len());
    for (message, appended) in now {
        let position = places.next(&message.topic);
        *appended = BusAppended::At(position);
        rows.push((message, position));
    }
    insert(on, project, &rows).await?;
    for append in later {
        delay(on, project, append, append.due_ms.unwrap_or(now_ms)).await?;
    }
    Ok(Ok(Done::Bus(Came::Appended(appended))))
}

/// The id of the message that has entered the topic with this one's dedup id.
async fn entered(
    on: &mut SqliteConnection,
    project: &str,
    append: &BusAppend,
    now_ms: i64,
) -> Result<Option<String>, Error> {
    let Some((dedup, expires_ms)) = &append.dedup else {
        return Ok(None);
    };
    let fresh = sqlx::query(
        "INSERT INTO bus_dedup (project, alias, tenant, topic, dedup, id, expires_ms)
         VALUES ($1, '', '', $2, $3, $4, $5)
         ON CONFLICT (project, alias, tenant, topic, dedup)
             DO UPDATE SET id = excluded.id, expires_ms = excluded.expires_ms
             WHERE bus_dedup.expires_ms <= $6
         RETURNING id",
    )
    .bind(project)
    .bind(&append.message.topic)
    .bind(dedup)
    .bind(&append.message.id)
    .bind(expires_ms)
    .bind(now_ms)
    .fetch_optional(&mut *on)
    .await?;
    if fresh.is_some() {
        return Ok(None);
    }
    sqlx::query_scalar(
        "SELECT id FROM bus_dedup
         WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2 AND dedup = $3",
    )
    .bind(project)
    .bind(&append.message.topic)
    .bind(dedup)
    .fetch_optional(on)
    .await
}

/// Positions that were taken in topics.
struct Places<'a>(BTreeMap<&'a str, i64>);

impl<'a> Places<'a> {
    /// Takes a position for each message.
    async fn take(
        on: &mut SqliteConnection,
        project: &str,
        messages: impl Iterator<Item = &'a BusMessage>,
    ) -> Result<Places<'a>, Error> {
        let mut wanted: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
        for message in messages {
            let (count, bytes) = wanted.entry(message.topic.as_str()).or_default();
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(message.size());
        }
        let mut places = BTreeMap::new();
        for (topic, (count, bytes)) in wanted {
            let head: i64 = sqlx::query_scalar(
                "INSERT INTO bus_topics (project, alias, tenant, topic, head, messages, bytes)
                 VALUES ($1, '', '', $2, $3, $3, $4)
                 ON CONFLICT (project, alias, tenant, topic) DO UPDATE SET
                     head = bus_topics.head + excluded.head,
                     messages = bus_topics.messages + excluded.messages,
                     bytes = bus_topics.bytes + excluded.bytes
                 RETURNING head",
            )
            .bind(project)
            .bind(topic)
            .bind(count)
            .bind(signed(bytes))
            .fetch_one(&mut *on)
            .await?;
            places.insert(topic, head.saturating_sub(count));
        }
        Ok(Places(places))
    }

    fn next(&mut self, topic: &'a str) -> i64 {
        let place = self.0.entry(topic).or_default();
        *place = place.saturating_add(1);
        *place
    }
}

async fn insert(
    on: &mut SqliteConnection,
    project: &str,
    rows: &[(&BusMessage, i64)],
) -> Result<(), Error> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO bus_log (project, alias, tenant, topic, position, id, time_ms,
                 expires_ms, key, size, envelope, payload) ",
        );
        insert.push_values(rows, |mut values, (message, position)| {
            values
                .push_bind(project)
                .push_bind("")
                .push_bind("")
                .push_bind(&message.topic)
                .push_bind(position)
                .push_bind(&message.id)
                .push_bind(message.time_ms)
                .push_bind(message.expires_ms)
                .push_bind(message.key.as_deref())
                .push_bind(signed(message.size()))
                .push_bind(&message.envelope)
                .push_bind(message.payload.as_slice());
        });
        insert.build().execute(&mut *on).await?;
    }
    Ok(())
}

async fn delay(
    on: &mut SqliteConnection,
    project: &str,
    append: &BusAppend,
    due_ms: i64,
) -> Result<(), Error> {
    let message = &append.message;
    sqlx::query(
        "INSERT INTO bus_delayed (project, alias, tenant, topic, due_ms, id, time_ms,
             expires_ms, key, size, envelope, payload)
         VALUES ($1, '', '', $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(project)
    .bind(&message.topic)
    .bind(due_ms)
    .bind(&message.id)
    .bind(message.time_ms)
    .bind(message.expires_ms)
    .bind(message.key.as_deref())
    .bind(signed(message.size()))
    .bind(&message.envelope)
    .bind(message.payload.as_slice())
    .execute(&mut *on)
    .await?;
    add(on, project, message, 1).await
}

/// Adds a delayed message to what lies in its topic, or takes it away.
async fn add(
    on: &mut SqliteConnection,
    project: &str,
    message: &BusMessage,
    sign: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO bus_topics (project, alias, tenant, topic, head, messages, bytes)
         VALUES ($1, '', '', $2, 0, $3, $4)
         ON CONFLICT (project, alias, tenant, topic) DO UPDATE SET
             messages = bus_topics.messages + excluded.messages,
             bytes = bus_topics.bytes + excluded.bytes",
    )
    .bind(project)
    .bind(&message.topic)
    .bind(sign)
    .bind(signed(message.size()).saturating_mul(sign))
    .execute(on)
    .await
    .map(|_| ())
}

pub(super) async fn release(
    on: &mut SqliteConnection,
    project: &str,
    now_ms: i64,
    rows_max: u32,
) -> Applied {
    let rows = sqlx::query(
        "SELECT topic, 0, id, time_ms, expires_ms, key, envelope, payload, due_ms
         FROM bus_delayed WHERE project = $1 AND due_ms <= $2 ORDER BY due_ms, id LIMIT $3",
    )
    .bind(project)
    .bind(now_ms)
    .bind(i64::from(rows_max))
    .fetch_all(&mut *on)
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let message = message(row)?;
        let due_ms: i64 = row.try_get(8)?;
        sqlx::query("DELETE FROM bus_delayed WHERE project = $1 AND due_ms = $2 AND id = $3")
            .bind(project)
            .bind(due_ms)
            .bind(&message.id)
            .execute(&mut *on)
            .await?;
        add(on, project, &message, -1).await?;
        due.push(message);
    }
    let mut places = Places::take(on, project, due.iter()).await?;
    let placed: Vec<_> = due
        .iter()
        .map(|message| (message, places.next(&message.topic)))
        .collect();
    insert(on, project, &placed).await?;
    let next = sqlx::query_scalar("SELECT min(due_ms) FROM bus_delayed WHERE project = $1")
        .bind(project)
        .fetch_one(on)
        .await?;
    let heads = places.0.into_iter();
    let heads = heads
        .map(|(topic, head)| (topic.to_owned(), head))
        .collect();
    Ok(Ok(Done::Bus(Came::Released(heads, next))))
}
