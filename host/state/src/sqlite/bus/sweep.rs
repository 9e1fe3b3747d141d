//! What goes: messages that every subscription is past, and what has become too old or too much.

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::settle::Of;
use super::{Came, count, signed, unsigned};
use crate::bus::{BusSweep, BusTrim};
use crate::rows::Holder;
use crate::sqlite::writes::{Applied, Done};

/// Rows of one sweep: others wait for it.
const ROWS_MAX: i64 = 1_000;

pub(super) async fn trim(on: &mut SqliteConnection, project: &str, trim: &BusTrim) -> Applied {
    let sizes: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM bus_log WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2
             AND position IN (
                 SELECT position FROM bus_log AS log
                 WHERE log.project = $1 AND log.alias = '' AND log.tenant = '' AND log.topic = $2
                     AND log.position <= $3 AND log.time_ms < $4
                     AND NOT EXISTS (SELECT 1 FROM bus_exceptions AS e WHERE e.project = $1
                         AND e.topic = $2 AND e.position = log.position)
                 ORDER BY log.position LIMIT $5)
         RETURNING size",
    )
    .bind(project)
    .bind(&trim.topic)
    .bind(trim.up_to)
    .bind(trim.before_ms)
    .bind(i64::from(trim.rows_max))
    .fetch_all(&mut *on)
    .await?;
    let messages = sizes.len() as u64;
    let bytes = sizes.into_iter().map(unsigned).sum();
    if messages > 0 {
        sqlx::query(
            "UPDATE bus_topics SET messages = messages - $3, bytes = bytes - $4
             WHERE project = $1 AND alias = '' AND tenant = '' AND topic = $2",
        )
        .bind(project)
        .bind(&trim.topic)
        .bind(signed(messages))
        .bind(signed(bytes))
        .execute(&mut *on)
        .await?;
    }
    if let Some(what) = trim.count {
        let of = Of {
            project,
            holder: &Holder::host(),
            name: "",
        };
        count(on, &of, &trim.topic, what, messages).await?;
    }
    Ok(Ok(Done::Bus(Came::Trimmed(messages, bytes))))
}

pub(super) async fn sweep(on: &mut SqliteConnection, project: &str, sweep: &BusSweep) -> Applied {
    let mut gone = sqlx::query(
        "DELETE FROM bus_dedup WHERE project = $1 AND (topic, dedup) IN (
             SELECT topic, dedup FROM bus_dedup WHERE project = $1 AND expires_ms <= $2 LIMIT $3)",
    )
    .bind(project)
    .bind(sweep.now_ms)
    .bind(ROWS_MAX)
    .execute(&mut *on)
    .await?
    .rows_affected();
    let full = sqlx::query(
        "SELECT topic, count(*) FROM bus_dedup WHERE project = $1
         GROUP BY topic HAVING count(*) > $2",
    )
    .bind(project)
    .bind(i64::from(sweep.dedup_max))
    .fetch_all(&mut *on)
    .await?;
    for row in full {
        let (topic, there): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let over = there
            .saturating_sub(i64::from(sweep.dedup_max))
            .min(ROWS_MAX);
        let forgotten = sqlx::query(
            "DELETE FROM bus_dedup WHERE project = $1 AND topic = $2 AND dedup IN (
                 SELECT dedup FROM bus_dedup WHERE project = $1 AND topic = $2
                 ORDER BY expires_ms, dedup LIMIT $3)",
        )
        .bind(project)
        .bind(&topic)
        .bind(over)
        .execute(&mut *on)
        .await?
        .rows_affected();
        let of = Of {
            project,
            holder: &Holder::host(),
            name: "",
        };
        count(on, &of, &topic, "dedup-forgotten", forgotten).await?;
        gone = gone.saturating_add(forgotten);
    }
    let old = sqlx::query(
        "DELETE FROM bus_dead WHERE project = $1 AND id IN (
             SELECT id FROM bus_dead WHERE project = $1 AND dead_ms < $2 LIMIT $3)
         RETURNING alias, tenant, subscription, topic",
    )
    .bind(project)
    .bind(sweep.dead_before_ms)
    .bind(ROWS_MAX)
    .fetch_all(&mut *on)
    .await?;
    for row in &old {
        let (alias, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (name, topic): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let holder = Holder {
            alias: alias.into(),
            tenant: tenant.into(),
        };
        let of = Of {
            project,
            holder: &holder,
            name: &name,
        };
        count(on, &of, &topic, "dead-dropped", 1).await?;
    }
    Ok(Ok(Done::Count(gone.saturating_add(old.len() as u64))))
}

pub(super) async fn forget(
    on: &mut SqliteConnection,
    project: &str,
    topics: &[String],
    under: &str,
) -> Applied {
    let mut delete = QueryBuilder::<Sqlite>::new(
        "DELETE FROM bus_topics WHERE messages = 0
             AND NOT EXISTS (SELECT 1 FROM bus_dedup AS d
                 WHERE d.project = bus_topics.project AND d.topic = bus_topics.topic)
             AND NOT EXISTS (SELECT 1 FROM bus_exceptions AS e
                 WHERE e.project = bus_topics.project AND e.topic = bus_topics.topic)
             AND topic NOT IN (SELECT topic FROM bus_dead WHERE position > 0 AND project = ",
    );
    delete.push_bind(project).push(") AND project = ");
    delete.push_bind(project).push(" AND topic IN (");
    list(&mut delete, topics);
    delete.push(") RETURNING topic");
    let gone: Vec<String> = delete.build_query_scalar().fetch_all(&mut *on).await?;
    if !gone.is_empty() {
        let mut cursors = QueryBuilder::<Sqlite>::new("DELETE FROM bus_cursors WHERE project = ");
        cursors.push_bind(project).push(" AND topic IN (");
        list(&mut cursors, &gone);
        cursors.push(")");
        cursors.build().execute(&mut *on).await?;
        let mut sums = QueryBuilder::<Sqlite>::new(
            "INSERT INTO bus_counts (project, alias, tenant, subscription, topic, what, count)
             SELECT project, alias, tenant, subscription, ",
        );
        sums.push_bind(under)
            .push(", what, sum(count) FROM bus_counts WHERE project = ");
        sums.push_bind(project).push(" AND topic IN (");
        list(&mut sums, &gone);
        sums.push(
            ") GROUP BY project, alias, tenant, subscription, what
             ON CONFLICT (project, alias, tenant, subscription, topic, what)
                 DO UPDATE SET count = bus_counts.count + excluded.count",
        );
        sums.build().execute(&mut *on).await?;
        let mut counts = QueryBuilder::<Sqlite>::new("DELETE FROM bus_counts WHERE project = ");
        counts.push_bind(project).push(" AND topic IN (");
        list(&mut counts, &gone);
        counts.push(")");
        counts.build().execute(on).await?;
    }
    Ok(Ok(Done::Bus(Came::Forgotten(gone))))
}

fn list(query: &mut QueryBuilder<Sqlite>, topics: &[String]) {
    let mut list = query.separated(", ");
    for topic in topics {
        list.push_bind(topic);
    }
}
