//! The broker's tables: what is read of them, and what the writer does with them.

mod append;
mod dead;
mod reads;
mod settle;
mod sweep;

use async_trait::async_trait;
use sqlx::{Error, SqliteConnection};

use super::SqliteStore;
use super::writes::{Applied, Done, Write};
use crate::bus::{
    BusAppend, BusAppended, BusCount, BusDead, BusDeadFilter, BusException, BusImage, BusMessage,
    BusSettle, BusStore, BusSubscription, BusSweep, BusTrim,
};
use crate::error::StateError;
use crate::rows::Holder;
use crate::store::ROWS_MAX;

/// What is asked of the writer.
pub(super) enum Change {
    Append(Vec<BusAppend>, i64),
    Release {
        now_ms: i64,
        rows_max: u32,
    },
    Subscribe(BusSubscription, Vec<(String, i64)>),
    Unsubscribe(Holder, String),
    Settle {
        holder: Holder,
        name: String,
        settles: Vec<BusSettle>,
        dead_max: u32,
    },
    Seek {
        holder: Holder,
        name: String,
        topic: String,
        position: i64,
    },
    Bury(Box<BusDead>, u32),
    Trim(BusTrim),
    Sweep(BusSweep),
    Forget(Vec<String>, &'static str),
    Revive(String, i64),
    DropDead(String),
}

/// What came of it, where it is more than that.
#[derive(Debug)]
pub(super) enum Came {
    Appended(Vec<BusAppended>),
    Released(Vec<(String, i64)>, Option<i64>),
    Trimmed(u64, u64),
    Revived(Option<bool>),
    Forgotten(Vec<String>),
}

impl Change {
    /// Bytes that it holds while it waits, roughly.
    pub(super) fn bytes(&self) -> usize {
        let bytes = match self {
            Change::Append(appends, _) => appends.iter().map(|one| one.message.size()).sum(),
            Change::Bury(dead, _) => dead.message.size(),
            _ => 0_u64,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// How many rows it adds: publishing is refused where only the audit log has room; settling,
    /// which makes room, is not.
    pub(super) fn adding(&self) -> usize {
        match self {
            Change::Append(appends, _) => appends.len(),
            Change::Subscribe(_, cursors) => cursors.len().saturating_add(1),
            _ => 0,
        }
    }

    pub(super) async fn apply(&self, on: &mut SqliteConnection, project: &str) -> Applied {
        match self {
            Change::Append(appends, now_ms) => append::append(on, project, appends, *now_ms).await,
            Change::Release { now_ms, rows_max } => {
                append::release(on, project, *now_ms, *rows_max).await
            }
            Change::Subscribe(subscription, cursors) => {
                settle::subscribe(on, project, subscription, cursors).await
            }
            Change::Unsubscribe(holder, name) => {
                settle::unsubscribe(on, project, holder, name).await
            }
            Change::Settle {
                holder,
                name,
                settles,
                dead_max,
            } => {
                let of = settle::Of {
                    project,
                    holder,
                    name,
                };
                of.settle(on, settles, *dead_max).await
            }
            Change::Seek {
                holder,
                name,
                topic,
                position,
            } => {
                let of = settle::Of {
                    project,
                    holder,
                    name,
                };
                of.seek(on, topic, *position).await
            }
            Change::Bury(dead, dead_max) => dead::bury(on, project, dead, *dead_max).await,
            Change::Trim(trim) => sweep::trim(on, project, trim).await,
            Change::Sweep(sweep) => sweep::sweep(on, project, sweep).await,
            Change::Forget(topics, under) => sweep::forget(on, project, topics, under).await,
            Change::Revive(id, now_ms) => dead::revive(on, project, id, *now_ms).await,
            Change::DropDead(id) => dead::drop(on, project, id).await,
        }
    }
}

/// Adds to a count, in the transaction of what is counted.
async fn count(
    on: &mut SqliteConnection,
    of: &settle::Of<'_>,
    topic: &str,
    what: &str,
    more: u64,
) -> Result<(), Error> {
    if more == 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO bus_counts (project, alias, tenant, subscription, topic, what, count)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (project, alias, tenant, subscription, topic, what)
             DO UPDATE SET count = bus_counts.count + excluded.count",
    )
    .bind(of.project)
    .bind(&*of.holder.alias)
    .bind(&*of.holder.tenant)
    .bind(of.name)
    .bind(topic)
    .bind(what)
    .bind(signed(more))
    .execute(on)
    .await
    .map(|_| ())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl SqliteStore {
    /// The broker's writes have a turn of their own between those of plugins.
    async fn bus(&self, change: Change) -> Result<Done, StateError> {
        let lane = Holder {
            alias: "".into(),
            tenant: "(messages)".into(),
        };
        self.write(&lane, Write::Bus(Box::new(change))).await
    }
}

fn odd() -> StateError {
    StateError::Database("the writer gave another answer than was asked for".to_owned())
}

#[async_trait]
impl BusStore for SqliteStore {
    async fn bus_image(&self) -> Result<BusImage, StateError> {
        reads::image(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn bus_exceptions(
        &self,
        holder: &Holder,
        subscription: &str,
        topic: &str,
    ) -> Result<Vec<BusException>, StateError> {
        let of = settle::Of {
            project: &self.project,
            holder,
            name: subscription,
        };
        reads::exceptions(&self.readers, &of, topic)
            .await
            .map_err(self.failed())
    }

    async fn bus_excepted(&self, holder: &Holder, name: &str) -> Result<Vec<String>, StateError> {
        let of = settle::Of {
            project: &self.project,
            holder,
            name,
        };
        reads::excepted(&self.readers, &of)
            .await
            .map_err(self.failed())
    }

    async fn bus_append(
        &self,
        appends: Vec<BusAppend>,
        now_ms: i64,
    ) -> Result<Vec<BusAppended>, StateError> {
        match self.bus(Change::Append(appends, now_ms)).await? {
            Done::Bus(Came::Appended(appended)) => Ok(appended),
            _ => Err(odd()),
        }
    }

    async fn bus_release(
        &self,
        now_ms: i64,
        rows_max: u32,
    ) -> Result<(Vec<(String, i64)>, Option<i64>), StateError> {
        let rows_max = rows_max.min(ROWS_MAX);
        match self.bus(Change::Release { now_ms, rows_max }).await? {
            Done::Bus(Came::Released(heads, next)) => Ok((heads, next)),
            _ => Err(odd()),
        }
    }

    async fn bus_read(
        &self,
        topic: &str,
        after: i64,
        rows_max: u32,
        bytes_max: u64,
    ) -> Result<Vec<BusMessage>, StateError> {
        let bounds = (rows_max.min(ROWS_MAX), bytes_max);
        reads::after(&self.readers, &self.project, topic, after, bounds)
            .await
            .map_err(self.failed())
    }

    async fn bus_latest(
        &self,
        topic: &str,
        now_ms: i64,
        rows_max: u32,
        bytes_max: u64,
    ) -> Result<Vec<BusMessage>, StateError> {
        let bounds = (rows_max.min(ROWS_MAX), bytes_max);
        reads::latest(&self.readers, &self.project, topic, now_ms, bounds)
            .await
            .map_err(self.failed())
    }

    async fn bus_at(&self, topic: &str, positions: &[i64]) -> Result<Vec<BusMessage>, StateError> {
        reads::at(&self.readers, &self.project, topic, positions)
            .await
            .map_err(self.failed())
    }

    async fn bus_before(&self, topic: &str, time_ms: i64) -> Result<i64, StateError> {
        reads::before(&self.readers, &self.project, topic, time_ms)
            .await
            .map_err(self.failed())
    }

    async fn bus_subscribe(
        &self,
        subscription: BusSubscription,
        cursors: Vec<(String, i64)>,
    ) -> Result<(), StateError> {
        self.bus(Change::Subscribe(subscription, cursors))
            .await
            .map(|_| ())
    }

    async fn bus_unsubscribe(&self, holder: &Holder, name: &str) -> Result<bool, StateError> {
        let done = self.bus(Change::Unsubscribe(holder.clone(), name.to_owned()));
        Ok(matches!(done.await?, Done::Was(true)))
    }

    async fn bus_settle(
        &self,
        holder: &Holder,
        name: &str,
        settles: Vec<BusSettle>,
        dead_max: u32,
    ) -> Result<(), StateError> {
        let change = Change::Settle {
            holder: holder.clone(),
            name: name.to_owned(),
            settles,
            dead_max,
        };
        self.bus(change).await.map(|_| ())
    }

    async fn bus_seek(
        &self,
        holder: &Holder,
        name: &str,
        topic: &str,
        position: i64,
    ) -> Result<(), StateError> {
        let change = Change::Seek {
            holder: holder.clone(),
            name: name.to_owned(),
            topic: topic.to_owned(),
            position,
        };
        self.bus(change).await.map(|_| ())
    }

    async fn bus_bury(&self, dead: BusDead, dead_max: u32) -> Result<(), StateError> {
        self.bus(Change::Bury(Box::new(dead), dead_max))
            .await
            .map(|_| ())
    }

    async fn bus_trim(&self, trim: BusTrim) -> Result<(u64, u64), StateError> {
        match self.bus(Change::Trim(trim)).await? {
            Done::Bus(Came::Trimmed(messages, bytes)) => Ok((messages, bytes)),
            _ => Err(odd()),
        }
    }

    async fn bus_forget(
        &self,
        topics: Vec<String>,
        under: &'static str,
    ) -> Result<Vec<String>, StateError> {
        match self.bus(Change::Forget(topics, under)).await? {
            Done::Bus(Came::Forgotten(gone)) => Ok(gone),
            _ => Err(odd()),
        }
    }

    async fn bus_sweep(&self, sweep: BusSweep) -> Result<u64, StateError> {
        match self.bus(Change::Sweep(sweep)).await? {
            Done::Count(count) => Ok(count),
            _ => Err(odd()),
        }
    }

    async fn bus_dead(
        &self,
        filter: &BusDeadFilter,
        rows_max: u32,
    ) -> Result<Vec<BusDead>, StateError> {
        dead::list(&self.readers, &self.project, filter, rows_max.min(ROWS_MAX))
            .await
            .map_err(self.failed())
    }

    async fn bus_dead_one(&self, id: &str) -> Result<Option<BusDead>, StateError> {
        dead::one(&self.readers, &self.project, id)
            .await
            .map_err(self.failed())
    }

    async fn bus_revive(&self, id: &str, now_ms: i64) -> Result<Option<bool>, StateError> {
        match self.bus(Change::Revive(id.to_owned(), now_ms)).await? {
            Done::Bus(Came::Revived(revived)) => Ok(revived),
            _ => Err(odd()),
        }
    }

    async fn bus_dead_drop(&self, id: &str) -> Result<bool, StateError> {
        let done = self.bus(Change::DropDead(id.to_owned())).await?;
        Ok(matches!(done, Done::Was(true)))
    }

    async fn bus_counts(&self) -> Result<Vec<BusCount>, StateError> {
        reads::counts(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn bus_dead_count(&self) -> Result<u64, StateError> {
        dead::how_many(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }
}
