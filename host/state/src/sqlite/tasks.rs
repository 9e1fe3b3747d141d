//! Calls that their callers come back for.

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use sqlx::{Error, Row, SqliteConnection};

use super::writes::{Applied, Done, Write};
use super::{SqliteStore, count, was};
use crate::error::StateError;
use crate::rows::Holder;
use crate::tasks::{TaskRow, TaskState, TaskStore};

/// A change of tasks.
pub(super) enum Change {
    Put(TaskRow, u32),
    End {
        id: String,
        now_ms: i64,
        body: String,
    },
    Interrupt(i64),
    Sweep(i64),
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Change::End { body, .. } => body.len(),
            _ => 0,
        }
    }

    pub(super) async fn apply(&self, on: &mut SqliteConnection, project: &str) -> Applied {
        match self {
            Change::Put(row, rows_max) => put(on, project, row, *rows_max).await,
            Change::End { id, now_ms, body } => end(on, project, id, *now_ms, body).await,
            Change::Interrupt(now_ms) => interrupt(on, project, *now_ms).await,
            Change::Sweep(now_ms) => sweep(on, project, *now_ms).await,
        }
    }
}

async fn put(on: &mut SqliteConnection, project: &str, row: &TaskRow, rows_max: u32) -> Applied {
    let running: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tasks WHERE project = $1 AND state = $2")
            .bind(project)
            .bind(TaskState::Running.as_str())
            .fetch_one(&mut *on)
            .await?;
    // One place is for this one.
    let room = i64::from(rows_max)
        .saturating_sub(running)
        .saturating_sub(1);
    if room < 0 {
        return Ok(Ok(Done::Was(false)));
    }
    sqlx::query(
        "DELETE FROM tasks WHERE project = $1 AND state <> $2 AND id NOT IN (
             SELECT id FROM tasks WHERE project = $1 AND state <> $2
             ORDER BY created_ms DESC, id DESC LIMIT $3)",
    )
    .bind(project)
    .bind(TaskState::Running.as_str())
    .bind(room)
    .execute(&mut *on)
    .await?;
    sqlx::query(
        "INSERT INTO tasks (project, alias, tenant, id, owner, tool, state,
             created_ms, updated_ms, expires_ms, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .bind(&row.id)
    .bind(&row.owner)
    .bind(&row.tool)
    .bind(row.state.as_str())
    .bind(row.created_ms)
    .bind(row.updated_ms)
    .bind(row.expires_ms)
    .bind(&row.body)
    .execute(on)
    .await?;
    Ok(Ok(Done::Was(true)))
}

async fn end(
    on: &mut SqliteConnection,
    project: &str,
    id: &str,
    now_ms: i64,
    body: &str,
) -> Applied {
    let ended = sqlx::query(
        "UPDATE tasks SET state = $3, updated_ms = $4, body = $5
         WHERE project = $1 AND id = $2 AND state = $6",
    )
    .bind(project)
    .bind(id)
    .bind(TaskState::Ended.as_str())
    .bind(now_ms)
    .bind(body)
    .bind(TaskState::Running.as_str())
    .execute(on)
    .await?;
    Ok(Ok(Done::Was(ended.rows_affected() > 0)))
}

async fn interrupt(on: &mut SqliteConnection, project: &str, now_ms: i64) -> Applied {
    let interrupted = sqlx::query(
        "UPDATE tasks SET state = $2, updated_ms = $3 WHERE project = $1 AND state = $4",
    )
    .bind(project)
    .bind(TaskState::Interrupted.as_str())
    .bind(now_ms)
    .bind(TaskState::Running.as_str())
    .execute(on)
    .await?;
    Ok(Ok(Done::Count(interrupted.rows_affected())))
}

async fn sweep(on: &mut SqliteConnection, project: &str, now_ms: i64) -> Applied {
    let removed =
        sqlx::query("DELETE FROM tasks WHERE project = $1 AND expires_ms <= $2 AND state <> $3")
            .bind(project)
            .bind(now_ms)
            .bind(TaskState::Running.as_str())
            .execute(on)
            .await?;
    Ok(Ok(Done::Count(removed.rows_affected())))
}

async fn row(
    on: &SqlitePool,
    project: &str,
    id: &str,
    owner: &str,
    now_ms: i64,
) -> Result<Option<TaskRow>, Error> {
    let row = sqlx::query(
        "SELECT alias, tenant, tool, state, created_ms, updated_ms, expires_ms, body FROM tasks
         WHERE project = $1 AND id = $2 AND owner = $3 AND expires_ms > $4",
    )
    .bind(project)
    .bind(id)
    .bind(owner)
    .bind(now_ms)
    .fetch_optional(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (alias, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let state: String = row.try_get(3)?;
    Ok(Some(TaskRow {
        holder: Holder {
            alias: alias.into(),
            tenant: tenant.into(),
        },
        id: id.to_owned(),
        owner: owner.to_owned(),
        tool: row.try_get(2)?,
        // A state of a later version: nothing here runs it.
        state: TaskState::read(&state).unwrap_or(TaskState::Interrupted),
        created_ms: row.try_get(4)?,
        updated_ms: row.try_get(5)?,
        expires_ms: row.try_get(6)?,
        body: row.try_get(7)?,
    }))
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn task_put(&self, row: TaskRow, rows_max: u32) -> Result<bool, StateError> {
        let holder = row.holder.clone();
        let write = Write::Task(Box::new(Change::Put(row, rows_max)));
        self.write(&holder, write).await.map(was)
    }

    async fn task_end(&self, id: &str, now_ms: i64, body: String) -> Result<bool, StateError> {
        let id = id.to_owned();
        let write = Write::Task(Box::new(Change::End { id, now_ms, body }));
        self.write(&Holder::host(), write).await.map(was)
    }

    async fn task(
        &self,
        id: &str,
        owner: &str,
        now_ms: i64,
    ) -> Result<Option<TaskRow>, StateError> {
        row(&self.readers, &self.project, id, owner, now_ms)
            .await
            .map_err(self.failed())
    }

    async fn tasks_of(&self, owner: &str, now_ms: i64) -> Result<Vec<String>, StateError> {
        sqlx::query_scalar(
            "SELECT id FROM tasks WHERE project = $1 AND owner = $2 AND expires_ms > $3
             ORDER BY id",
        )
        .bind(&*self.project)
        .bind(owner)
        .bind(now_ms)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())
    }

    async fn tasks_interrupt(&self, now_ms: i64) -> Result<u64, StateError> {
        let write = Write::Task(Box::new(Change::Interrupt(now_ms)));
        self.write(&Holder::host(), write).await.map(count)
    }

    async fn tasks_sweep(&self, now_ms: i64) -> Result<u64, StateError> {
        let write = Write::Task(Box::new(Change::Sweep(now_ms)));
        self.write(&Holder::host(), write).await.map(count)
    }
}
