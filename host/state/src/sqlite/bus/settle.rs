//! Subscriptions: that they are, and what they have settled.

use sqlx::{Error, SqliteConnection};

use super::{count, dead};
use crate::bus::{BusException, BusSettle, BusSubscription};
use crate::rows::Holder;
use crate::sqlite::writes::{Applied, Done};

/// A subscription, within the project.
pub(super) struct Of<'a> {
    pub(super) project: &'a str,
    pub(super) holder: &'a Holder,
    pub(super) name: &'a str,
}

pub(super) async fn subscribe(
    on: &mut SqliteConnection,
    project: &str,
    subscription: &BusSubscription,
    cursors: &[(String, i64)],
) -> Applied {
    let of = Of {
        project,
        holder: &subscription.holder,
        name: &subscription.name,
    };
    sqlx::query(
        "INSERT INTO bus_subscriptions (project, alias, tenant, subscription, patterns)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project, alias, tenant, subscription)
             DO UPDATE SET patterns = excluded.patterns",
    )
    .bind(project)
    .bind(&*subscription.holder.alias)
    .bind(&*subscription.holder.tenant)
    .bind(&subscription.name)
    .bind(&subscription.patterns)
    .execute(&mut *on)
    .await?;
    for (topic, position) in cursors {
        of.set_cursor(on, topic, *position).await?;
    }
    Ok(Ok(Done::Nothing))
}

pub(super) async fn unsubscribe(
    on: &mut SqliteConnection,
    project: &str,
    holder: &Holder,
    name: &str,
) -> Applied {
    let mut was = false;
    for statement in [
        "DELETE FROM bus_exceptions
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4",
        "DELETE FROM bus_cursors
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4",
        "DELETE FROM bus_subscriptions
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND subscription = $4",
    ] {
        let removed = sqlx::query(statement)
            .bind(project)
            .bind(&*holder.alias)
            .bind(&*holder.tenant)
            .bind(name)
            .execute(&mut *on)
            .await?;
        was = removed.rows_affected() > 0;
    }
    Ok(Ok(Done::Was(was)))
}

impl Of<'_> {
    pub(super) async fn settle(
        &self,
        on: &mut SqliteConnection,
        settles: &[BusSettle],
        dead_max: u32,
    ) -> Applied {
        let mut buried = 0_usize;
        for settle in settles {
            let topic = settle.topic.as_str();
            self.set_cursor(on, topic, settle.cursor).await?;
            for position in &settle.remove {
                self.remove(on, topic, *position).await?;
            }
            for exception in &settle.put {
                self.put(on, topic, exception).await?;
            }
            for (position, end) in &settle.dead {
                dead::move_there(on, self, topic, *position, end).await?;
                buried = buried.saturating_add(1);
            }
            for (what, more) in &settle.counts {
                count(on, self, topic, what, *more).await?;
            }
        }
        if buried > 0 {
            dead::bound(on, self, dead_max).await?;
        }
        Ok(Ok(Done::Nothing))
    }

    pub(super) async fn seek(
        &self,
        on: &mut SqliteConnection,
        topic: &str,
        position: i64,
    ) -> Applied {
        sqlx::query(
            "DELETE FROM bus_exceptions WHERE project = $1 AND alias = $2 AND tenant = $3
                 AND subscription = $4 AND topic = $5",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.name)
        .bind(topic)
        .execute(&mut *on)
        .await?;
        self.set_cursor(on, topic, position).await?;
        Ok(Ok(Done::Nothing))
    }

    async fn set_cursor(
        &self,
        on: &mut SqliteConnection,
        topic: &str,
        position: i64,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO bus_cursors (project, alias, tenant, subscription, topic, position)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project, alias, tenant, subscription, topic)
                 DO UPDATE SET position = excluded.position",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.name)
        .bind(topic)
        .bind(position)
        .execute(on)
        .await
        .map(|_| ())
    }

    async fn remove(
        &self,
        on: &mut SqliteConnection,
        topic: &str,
        position: i64,
    ) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM bus_exceptions WHERE project = $1 AND alias = $2 AND tenant = $3
                 AND subscription = $4 AND topic = $5 AND position = $6",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.name)
        .bind(topic)
        .bind(position)
        .execute(on)
        .await
        .map(|_| ())
    }

    pub(super) async fn put(
        &self,
        on: &mut SqliteConnection,
        topic: &str,
        exception: &BusException,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO bus_exceptions (project, alias, tenant, subscription, topic, position,
                 attempt, due_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (project, alias, tenant, subscription, topic, position)
                 DO UPDATE SET attempt = excluded.attempt, due_ms = excluded.due_ms",
        )
        .bind(self.project)
        .bind(&*self.holder.alias)
        .bind(&*self.holder.tenant)
        .bind(self.name)
        .bind(topic)
        .bind(exception.position)
        .bind(i64::from(exception.attempt))
        .bind(exception.due_ms)
        .execute(on)
        .await
        .map(|_| ())
    }
}
