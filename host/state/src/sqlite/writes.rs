//! What the writer does, statement by statement, within the batch's transaction.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{bus, generations, inbox, kv, reads, tasks};
use crate::error::StateError;
use crate::rows::{
    AuditGroup, Checkpoint, HISTORY_ROWS_MAX, HistoryRow, Holder, InboxRow, KvDone, SecretRow,
    UsageRow, UsageSpan,
};

/// Rows of one statement: SQLite takes 32,766 values in one.
const ROWS_AT_ONCE: usize = 1_000;

/// What is asked of the writer.
pub(super) enum Write {
    Kv(kv::Changes),
    KvClear(Holder, u32),
    KvSweep {
        now_ms: i64,
        rows_max: u32,
    },
    InboxPut(InboxRow, u32),
    InboxRemove(Holder, String),
    InboxSweep(i64),
    AuditAppend(Vec<AuditGroup>),
    AuditPrune(Checkpoint),
    SecretsPut(Vec<SecretRow>),
    SecretUsed {
        holder: Holder,
        name: String,
        time_ms: i64,
    },
    SecretRemove {
        holder: Holder,
        name: String,
    },
    HistoryAppend(HistoryRow),
    Generations(generations::Installed),
    UsagePut(Vec<UsageRow>),
    UsagePrune(UsageSpan, i64, i64),
    /// Boxed, as the next: they are larger than the rest.
    Task(Box<tasks::Change>),
    Bus(Box<bus::Change>),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Nothing,
    /// Whether there was something.
    Was(bool),
    /// How many there were.
    Count(u64),
    /// What came of each change of a plugin's storage.
    Kv(Vec<KvDone>),
    /// What came of a change of messages.
    Bus(bus::Came),
}

/// A write's own result; the outer error fails the whole batch.
pub(super) type Applied = Result<Result<Done, StateError>, sqlx::Error>;

/// Pages that plugins may still fill, or more where it is clear that they want no more than
/// that: the last tenth is the audit log's.
pub(super) async fn room(
    connection: &mut SqliteConnection,
    pages_max: i64,
    wanted: i64,
) -> Result<i64, sqlx::Error> {
    if wanted == 0 {
        return Ok(0);
    }
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut *connection)
        .await?;
    let room = pages_max
        .saturating_sub(pages_max / 10)
        .saturating_sub(pages);
    if wanted <= room {
        return Ok(room);
    }
    // What is free within the file counts only when there is little else.
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count")
        .fetch_one(connection)
        .await?;
    Ok(room.saturating_add(free))
}

impl Write {
    pub(super) fn is_audit(&self) -> bool {
        matches!(self, Write::AuditAppend(_) | Write::AuditPrune(_))
    }

    /// Bytes that it holds while it waits, roughly.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Write::Kv(changes) => changes.bytes(),
            Write::AuditAppend(groups) => {
                let bytes = groups.iter().map(AuditGroup::bytes).sum::<u64>();
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
            Write::InboxPut(row, _) => row.body.len(),
            Write::Generations(installed) => installed.bytes(),
            Write::UsagePut(rows) => rows.iter().map(|row| row.data.len()).sum(),
            Write::Task(change) => change.bytes(),
            Write::Bus(change) => change.bytes(),
            Write::SecretsPut(rows) => rows.iter().map(|row| row.sealed.len()).sum(),
            _ => 0,
        }
    }

    pub(super) async fn apply(&self, on: &mut SqliteConnection, project: &str) -> Applied {
        match self {
            Write::Kv(changes) => changes.apply(on, project).await,
            Write::KvClear(holder, rows_max) => kv::clear(on, project, holder, *rows_max).await,
            Write::KvSweep { now_ms, rows_max } => kv::sweep(on, project, *now_ms, *rows_max).await,
            Write::InboxPut(row, rows_max) => inbox::put(on, project, row, *rows_max).await,
            Write::InboxRemove(holder, id) => inbox::remove(on, project, holder, id).await,
            Write::InboxSweep(now_ms) => inbox::sweep(on, project, *now_ms).await,
            Write::Task(change) => change.apply(on, project).await,
            Write::AuditAppend(groups) => audit_append(on, project, groups).await,
            Write::AuditPrune(checkpoint) => audit_prune(on, project, checkpoint).await,
            Write::SecretsPut(rows) => {
                overwriting(on, true).await?;
                let done = secrets_put(on, project, rows).await;
                overwriting(on, false).await?;
                done
            }
            Write::SecretUsed {
                holder,
                name,
                time_ms,
            } => {
                sqlx::query(
                    "UPDATE secrets SET used_ms = $5
                     WHERE project = $1 AND alias = $2 AND tenant = $3 AND name = $4",
                )
                .bind(project)
                .bind(&*holder.alias)
                .bind(&*holder.tenant)
                .bind(name)
                .bind(time_ms)
                .execute(on)
                .await?;
                Ok(Ok(Done::Nothing))
            }
            Write::SecretRemove { holder, name } => {
                overwriting(on, true).await?;
                let removed = sqlx::query(
                    "DELETE FROM secrets
                     WHERE project = $1 AND alias = $2 AND tenant = $3 AND name = $4",
                )
                .bind(project)
                .bind(&*holder.alias)
                .bind(&*holder.tenant)
                .bind(name)
                .execute(&mut *on)
                .await;
                overwriting(on, false).await?;
                Ok(Ok(Done::Was(removed?.rows_affected() > 0)))
            }
            Write::Bus(change) => change.apply(on, project).await,
            Write::HistoryAppend(row) => history_append(on, project, row).await,
            Write::Generations(installed) => installed.apply(on, project).await,
            Write::UsagePut(rows) => usage_put(on, project, rows).await,
            Write::UsagePrune(span, from_ms, to_ms) => {
                let removed = sqlx::query(
                    "DELETE FROM usage WHERE project = $1 AND span_ms = $2
                     AND (start_ms < $3 OR start_ms >= $4)",
                )
                .bind(project)
                .bind(span.ms())
                .bind(from_ms)
                .bind(to_ms)
                .execute(on)
                .await?;
                Ok(Ok(Done::Count(removed.rows_affected())))
            }
        }
    }
}

async fn audit_append(on: &mut SqliteConnection, project: &str, groups: &[AuditGroup]) -> Applied {
    let mut last: i64 = sqlx::query_scalar(
        "SELECT max(
             coalesce((SELECT max(last) FROM audit
                       WHERE project = $1 AND alias = '' AND tenant = ''), 0),
             coalesce((SELECT seq FROM audit_checkpoint WHERE project = $1), 0))",
    )
    .bind(project)
    .fetch_one(&mut *on)
    .await?;
    for group in groups {
        if group.first != last.saturating_add(1) || group.last < group.first {
            return Ok(Err(StateError::Damaged(format!(
                "records of the audit log were to be added after {last} that do not follow it"
            ))));
        }
        last = group.last;
    }
    for group in groups {
        audit_insert(on, project, group).await?;
    }
    let bytes = groups.iter().map(AuditGroup::bytes).sum::<u64>();
    sqlx::query(
        "INSERT INTO audit_used (project, bytes) VALUES ($1, $2)
         ON CONFLICT (project) DO UPDATE SET bytes = audit_used.bytes + excluded.bytes",
    )
    .bind(project)
    .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
    .execute(on)
    .await?;
    Ok(Ok(Done::Nothing))
}

async fn audit_insert(
    on: &mut SqliteConnection,
    project: &str,
    group: &AuditGroup,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit (project, alias, tenant, first, last, records, macs)
         VALUES ($1, '', '', $2, $3, $4, $5)",
    )
    .bind(project)
    .bind(group.first)
    .bind(group.last)
    .bind(group.records.as_bytes())
    .bind(&group.macs)
    .execute(on)
    .await
    .map(|_| ())
}

async fn audit_prune(on: &mut SqliteConnection, project: &str, checkpoint: &Checkpoint) -> Applied {
    // The group that the checkpoint cuts in two, if it does.
    let cut = sqlx::query(
        "SELECT first, last, records, macs FROM audit
         WHERE project = $1 AND alias = '' AND tenant = '' AND first <= $2 AND last > $2",
    )
    .bind(project)
    .bind(checkpoint.seq)
    .fetch_optional(&mut *on)
    .await?;
    let cut = cut.as_ref().map(reads::audit_group).transpose()?;
    let up_to = cut.as_ref().map_or(checkpoint.seq, |group| group.last);
    let gone: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(length(records) - (last - first) + length(macs)), 0)
         FROM audit WHERE project = $1 AND alias = '' AND tenant = '' AND last <= $2",
    )
    .bind(project)
    .bind(up_to)
    .fetch_one(&mut *on)
    .await?;
    sqlx::query(
        "DELETE FROM audit WHERE project = $1 AND alias = '' AND tenant = '' AND last <= $2",
    )
    .bind(project)
    .bind(up_to)
    .execute(&mut *on)
    .await?;
    let left: Vec<_> = cut
        .iter()
        .flat_map(AuditGroup::rows)
        .filter(|row| row.seq > checkpoint.seq)
        .collect();
    let mut back = 0;
    if let Some(left) = AuditGroup::of(&left) {
        // It ends where it ended, whatever somebody has made of its lines.
        let left = AuditGroup {
            last: up_to,
            ..left
        };
        audit_insert(on, project, &left).await?;
        back = i64::try_from(left.bytes()).unwrap_or(0);
    }
    sqlx::query("UPDATE audit_used SET bytes = bytes - $2 WHERE project = $1")
        .bind(project)
        .bind(gone.saturating_sub(back))
        .execute(&mut *on)
        .await?;
    sqlx::query(
        "INSERT INTO audit_checkpoint (project, seq, time_ms, mac, seal)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project) DO UPDATE SET seq = excluded.seq, time_ms = excluded.time_ms,
             mac = excluded.mac, seal = excluded.seal",
    )
    .bind(project)
    .bind(checkpoint.seq)
    .bind(checkpoint.time_ms)
    .bind(&checkpoint.mac)
    .bind(&checkpoint.seal)
    .execute(on)
    .await?;
    Ok(Ok(Done::Nothing))
}

/// Whether what is freed is overwritten: a secret that was replaced or removed shall not lie
/// on in the file for whoever comes to have the key of then.
async fn overwriting(on: &mut SqliteConnection, yes: bool) -> Result<(), sqlx::Error> {
    let statement = match yes {
        true => "PRAGMA secure_delete = ON",
        false => "PRAGMA secure_delete = OFF",
    };
    sqlx::query(statement).execute(on).await.map(|_| ())
}

async fn secrets_put(on: &mut SqliteConnection, project: &str, rows: &[SecretRow]) -> Applied {
    for row in rows {
        sqlx::query(
            "INSERT INTO secrets (project, alias, tenant, name, kind, version, key_id, sealed,
                 created_ms, rotated_ms, expires_ms, used_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (project, alias, tenant, name) DO UPDATE SET kind = excluded.kind,
                 version = excluded.version, key_id = excluded.key_id,
                 sealed = excluded.sealed, created_ms = excluded.created_ms,
                 rotated_ms = excluded.rotated_ms, expires_ms = excluded.expires_ms,
                 used_ms = excluded.used_ms",
        )
        .bind(project)
        .bind(&*row.holder.alias)
        .bind(&*row.holder.tenant)
        .bind(&row.name)
        .bind(&row.kind)
        .bind(row.version)
        .bind(&row.key_id)
        .bind(&row.sealed)
        .bind(row.created_ms)
        .bind(row.rotated_ms)
        .bind(row.expires_ms)
        .bind(row.used_ms)
        .execute(&mut *on)
        .await?;
    }
    Ok(Ok(Done::Nothing))
}

async fn history_append(on: &mut SqliteConnection, project: &str, row: &HistoryRow) -> Applied {
    let last: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(seq), 0) FROM history
         WHERE project = $1 AND alias = $2 AND tenant = $3",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .fetch_one(&mut *on)
    .await?;
    let seq = last.saturating_add(1);
    sqlx::query(
        "INSERT INTO history (project, alias, tenant, seq, time_ms, kind, who, digest, grants)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .bind(seq)
    .bind(row.time_ms)
    .bind(&row.kind)
    .bind(&row.who)
    .bind(&row.digest)
    .bind(&row.grants)
    .execute(&mut *on)
    .await?;
    sqlx::query(
        "DELETE FROM history
         WHERE project = $1 AND alias = $2 AND tenant = $3 AND seq <= $4",
    )
    .bind(project)
    .bind(&*row.holder.alias)
    .bind(&*row.holder.tenant)
    .bind(seq.saturating_sub(i64::from(HISTORY_ROWS_MAX)))
    .execute(on)
    .await?;
    Ok(Ok(Done::Nothing))
}

async fn usage_put(on: &mut SqliteConnection, project: &str, rows: &[UsageRow]) -> Applied {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO usage (project, alias, tenant, tool, span_ms, start_ms, data) ",
        );
        insert.push_values(rows, |mut values, row| {
            values
                .push_bind(project)
                .push_bind(&*row.holder.alias)
                .push_bind(&*row.holder.tenant)
                .push_bind(&row.tool)
                .push_bind(row.span.ms())
                .push_bind(row.start_ms)
                .push_bind(&row.data);
        });
        insert.push(
            " ON CONFLICT (project, span_ms, start_ms, alias, tenant, tool)
              DO UPDATE SET data = excluded.data",
        );
        insert.build().execute(&mut *on).await?;
    }
    Ok(Ok(Done::Nothing))
}
