//! Removes old rows, in steps that are small enough not to delay other writes.

use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::labels::{Column, OfRun, OfTask};
use super::rows::Db;
use super::{audit, counters, idempotency, rates, revisions};
use crate::core::Moment;
use crate::ports::Result;

/// Rows per step.
const STEP: u64 = 500;

pub const RUNS: &str = "DELETE FROM runs WHERE rowid IN
    (SELECT rowid FROM runs INDEXED BY runs_ended WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)
    RETURNING labels, state, scheduled_at, id";

/// Chunks of logs per step. A chunk has up to 64 KiB.
const LOG_STEP: u64 = 256;

/// Chunks of the logs of the runs that [`RUNS`] removes.
pub const LOGS: &str = "DELETE FROM run_logs WHERE (run_id, first_line) IN
    (SELECT run_id, first_line FROM run_logs WHERE run_id IN
        (SELECT id FROM runs INDEXED BY runs_ended WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2) LIMIT ?3)";

pub const TASKS: &str = "SELECT ended_at, rowid,
        EXISTS (SELECT 1 FROM runs INDEXED BY runs_open_by_task WHERE task_id = tasks.id AND ended_at IS NULL)
    FROM tasks INDEXED BY tasks_ended
    WHERE ended_at < ?1 AND (ended_at, rowid) > (?2, ?3) ORDER BY ended_at, rowid LIMIT ?4";

pub const TASK: &str = "DELETE FROM tasks WHERE rowid = ?1 RETURNING labels, state, id";

/// Position in the list of ended tasks: end and row id of the last examined task.
type Position = (i64, i64);

/// Removes old rows, as [`Store::prune`](crate::ports::Store::prune) describes. Returns their
/// number.
pub async fn run(
    store: &SqliteStore,
    ended_before: Moment,
    idempotency_before: Moment,
    limit: u32,
) -> Result<u64> {
    let now = store.clock.now();
    let expire = move |db: &Db| {
        counters::expire(db, now)?;
        rates::expire(db, idempotency_before)?;
        audit::expire(db, idempotency_before)
    };
    store.writer.write(expire).await?;
    let limit = u64::from(limit);
    let records =
        in_steps(store, limit, move |db, step| idempotency::prune(db, idempotency_before, step)).await?;
    let runs = prune_runs(store, ended_before, limit).await?;
    Ok(records + runs + prune_tasks(store, ended_before, limit - runs).await?)
}

/// Repeats `remove` until a step removes less than it could, or `limit` rows are removed.
async fn in_steps(
    store: &SqliteStore,
    limit: u64,
    remove: impl Fn(&Connection, u64) -> Result<u64> + Copy + Send + 'static,
) -> Result<u64> {
    let mut total = 0;
    while total < limit {
        let step = STEP.min(limit - total);
        let removed = store.writer.write(move |db| remove(db, step)).await?;
        total += removed;
        if removed < step {
            break;
        }
    }
    Ok(total)
}

/// Removes runs, and their logs before them.
async fn prune_runs(store: &SqliteStore, ended_before: Moment, limit: u64) -> Result<u64> {
    let mut total = 0;
    while total < limit {
        let step = STEP.min(limit - total);
        let removed = store.writer.write(move |db| prune_runs_step(db, ended_before, step)).await?;
        total += removed.unwrap_or_default();
        if removed.is_some_and(|removed| removed < step) {
            break;
        }
    }
    Ok(total)
}

/// Removes a limited number of chunks of logs, and then the runs, in the transaction of the caller. `None`: the
/// logs of these runs may have further chunks, so the runs stay.
fn prune_runs_step(db: &Connection, ended_before: Moment, step: u64) -> Result<Option<u64>> {
    let oldest = params![ended_before.ms(), step as i64, LOG_STEP as i64];
    if db.prepare_cached(LOGS)?.execute(oldest)? as u64 == LOG_STEP {
        return Ok(None);
    }
    remove_runs(db, ended_before, step).map(Some)
}

fn remove_runs(db: &Connection, ended_before: Moment, step: u64) -> Result<u64> {
    let mut remove = db.prepare_cached(RUNS)?;
    let mut removed = remove.query(params![ended_before.ms(), step as i64])?;
    let mut total = 0;
    while let Some(row) = removed.next()? {
        total += 1;
        let column: Column = row.get(0)?;
        if column.is_some() {
            let (state, id): (String, String) = (row.get(1)?, row.get(3)?);
            OfRun { column: column.as_deref(), state: &state, scheduled_at: row.get(2)? }.remove(db, &id)?;
        }
    }
    Ok(total)
}

/// Passes tasks with open runs, which must stay, so that they do not block the tasks after them.
async fn prune_tasks(store: &SqliteStore, ended_before: Moment, limit: u64) -> Result<u64> {
    let mut total = 0;
    let mut position = Some((i64::MIN, i64::MIN));
    while let Some(after) = position.filter(|_| total < limit) {
        let step = STEP.min(limit - total);
        let removed;
        (removed, position) = store.writer.write(move |db| prune_step(db, ended_before, after, step)).await?;
        total += removed;
    }
    Ok(total)
}

/// Examines the next tasks, and removes those without open runs. Returns the number of removed
/// tasks, and the position of the next step.
fn prune_step(
    db: &Connection,
    ended_before: Moment,
    after: Position,
    step: u64,
) -> Result<(u64, Option<Position>)> {
    let mut next = db.prepare_cached(TASKS)?;
    let found = next.query_map(params![ended_before.ms(), after.0, after.1, step as i64], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
    })?;
    let found: Vec<(Position, bool)> = found.collect::<rusqlite::Result<_>>()?;
    let mut remove = db.prepare_cached(TASK)?;
    let mut total = 0;
    for ((_, row), _) in found.iter().filter(|(_, is_busy)| !is_busy) {
        let removed = remove.query_row([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let Some((column, state, id)): Option<(Column, String, String)> = removed.optional()? else {
            continue;
        };
        OfTask { column: column.as_deref(), state: &state }.remove(db, &id)?;
        revisions::remove(db, &id)?;
        total += 1;
    }
    Ok((total, found.last().map(|(position, _)| *position)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::sqlite::schema;

    const OLD: &str =
        "INSERT INTO runs (id, task_id, shard, tag, state, scheduled_at, ended_at, version, doc)
        VALUES ('r', 't', 0, 'n', 'dead', 0, 1, 1, '{}')";
    const CHUNK: &str = "INSERT INTO run_logs VALUES ('r', ?1, ?1 + 1, ?1, ?1 + 1, 1, 'b' || ?1, '[]')";

    #[test]
    fn a_step_removes_a_limited_part_of_a_log_and_then_the_run() {
        let mut db = Connection::open_in_memory().unwrap();
        schema::migrate(&mut db).unwrap();
        db.execute(OLD, []).unwrap();
        for n in 0..=LOG_STEP {
            db.execute(CHUNK, [n as i64]).unwrap();
        }
        let count = |of: &str| {
            let sql = format!("SELECT count(*) FROM {of}");
            db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(prune_runs_step(&db, Moment::from_ms(2), STEP).unwrap(), None);
        assert_eq!((count("run_logs"), count("runs")), (1, 1));
        assert_eq!(prune_runs_step(&db, Moment::from_ms(2), STEP).unwrap(), Some(1));
        assert_eq!((count("run_logs"), count("runs")), (0, 0));
    }
}
