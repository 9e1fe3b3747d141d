//! The generations of each plugin.

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row, SqliteConnection};

use super::SqliteStore;
use super::writes::{Applied, Done, Write};
use crate::error::StateError;
use crate::generations::{Generation, GenerationKeep, GenerationRow, GenerationStore};
use crate::rows::Holder;
use crate::store::ROWS_MAX;

/// What is installed from now on.
pub(super) struct Installed {
    rows: Vec<(Holder, Generation)>,
    now_ms: i64,
    keep: GenerationKeep,
}

impl Installed {
    /// Bytes that it holds while it waits, roughly.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |row: &Generation| row.entry.len().saturating_add(row.locked.len());
        self.rows.iter().map(|(_, row)| bytes(row)).sum()
    }

    pub(super) async fn apply(&self, on: &mut SqliteConnection, project: &str) -> Applied {
        for (holder, row) in &self.rows {
            self.put(on, project, holder, row).await?;
            self.prune(on, project, holder).await?;
        }
        sqlx::query("DELETE FROM generations WHERE project = $1 AND until_ms < $2")
            .bind(project)
            .bind(self.keep.before_ms)
            .execute(on)
            .await?;
        Ok(Ok(Done::Nothing))
    }

    async fn put(
        &self,
        on: &mut SqliteConnection,
        project: &str,
        holder: &Holder,
        row: &Generation,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE generations SET until_ms = $5
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND digest <> $4
                 AND until_ms IS NULL",
        )
        .bind(project)
        .bind(&*holder.alias)
        .bind(&*holder.tenant)
        .bind(&row.digest)
        .bind(self.now_ms)
        .execute(&mut *on)
        .await?;
        sqlx::query(
            "INSERT INTO generations
                 (project, alias, tenant, generation, digest, since_ms, until_ms, entry, locked)
             VALUES ($1, $2, $3,
                 (SELECT coalesce(max(generation), 0) + 1 FROM generations
                  WHERE project = $1 AND alias = $2 AND tenant = $3),
                 $4, $5, NULL, $6, $7)
             ON CONFLICT (project, alias, tenant, digest) DO UPDATE SET
                 since_ms = CASE WHEN generations.until_ms IS NULL
                     THEN generations.since_ms ELSE excluded.since_ms END,
                 until_ms = NULL, entry = excluded.entry, locked = excluded.locked",
        )
        .bind(project)
        .bind(&*holder.alias)
        .bind(&*holder.tenant)
        .bind(&row.digest)
        .bind(self.now_ms)
        .bind(&row.entry)
        .bind(&row.locked)
        .execute(on)
        .await
        .map(|_| ())
    }

    /// Of those that are not installed any more, the ones that were last stay.
    async fn prune(
        &self,
        on: &mut SqliteConnection,
        project: &str,
        holder: &Holder,
    ) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM generations
             WHERE project = $1 AND alias = $2 AND tenant = $3 AND until_ms IS NOT NULL
                 AND generation NOT IN (
                     SELECT generation FROM generations
                     WHERE project = $1 AND alias = $2 AND tenant = $3 AND until_ms IS NOT NULL
                     ORDER BY until_ms DESC, generation DESC LIMIT $4)",
        )
        .bind(project)
        .bind(&*holder.alias)
        .bind(&*holder.tenant)
        .bind(i64::from(self.keep.rows_max.saturating_sub(1)))
        .execute(on)
        .await
        .map(|_| ())
    }
}

async fn installed(on: &SqlitePool, project: &str) -> Result<Vec<GenerationRow>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, generation, since_ms, until_ms, digest, entry, locked
         FROM generations WHERE project = $1 AND until_ms IS NULL ORDER BY alias, tenant LIMIT $2",
    )
    .bind(project)
    .bind(i64::from(ROWS_MAX))
    .fetch_all(on)
    .await?;
    rows.iter().map(generation).collect()
}

async fn of_one(
    on: &SqlitePool,
    project: &str,
    holder: &Holder,
) -> Result<Vec<GenerationRow>, Error> {
    let rows = sqlx::query(
        "SELECT alias, tenant, generation, since_ms, until_ms, digest, entry, locked
         FROM generations WHERE project = $1 AND alias = $2 AND tenant = $3
         ORDER BY until_ms IS NOT NULL, until_ms DESC, generation DESC LIMIT $4",
    )
    .bind(project)
    .bind(&*holder.alias)
    .bind(&*holder.tenant)
    .bind(i64::from(ROWS_MAX))
    .fetch_all(on)
    .await?;
    rows.iter().map(generation).collect()
}

fn generation(row: &SqliteRow) -> Result<GenerationRow, Error> {
    let (alias, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(GenerationRow {
        holder: Holder {
            alias: alias.into(),
            tenant: tenant.into(),
        },
        number: row.try_get(2)?,
        since_ms: row.try_get(3)?,
        until_ms: row.try_get(4)?,
        content: Generation {
            digest: row.try_get(5)?,
            entry: row.try_get(6)?,
            locked: row.try_get(7)?,
        },
    })
}

#[async_trait]
impl GenerationStore for SqliteStore {
    async fn generations_put(
        &self,
        rows: Vec<(Holder, Generation)>,
        now_ms: i64,
        keep: GenerationKeep,
    ) -> Result<(), StateError> {
        let write = Write::Generations(Installed { rows, now_ms, keep });
        self.write(&Holder::host(), write).await.map(|_| ())
    }

    async fn generations_installed(&self) -> Result<Vec<GenerationRow>, StateError> {
        installed(&self.readers, &self.project)
            .await
            .map_err(self.failed())
    }

    async fn generations(&self, holder: &Holder) -> Result<Vec<GenerationRow>, StateError> {
        of_one(&self.readers, &self.project, holder)
            .await
            .map_err(self.failed())
    }

    async fn generation_digests(&self) -> Result<Vec<String>, StateError> {
        sqlx::query_scalar("SELECT DISTINCT digest FROM generations WHERE project = $1")
            .bind(&*self.project)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed())
    }
}
