//! Removes what ended long enough ago, in steps so small that other writes find room between them.

use rusqlite::{Connection, params};

use super::SqliteStore;
use super::{counters, idempotency};
use crate::core::Moment;
use crate::ports::Result;

/// Rows a step.
const STEP: u64 = 500;

pub const RUNS: &str = "DELETE FROM runs WHERE rowid IN
    (SELECT rowid FROM runs INDEXED BY runs_ended WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)";

pub const TASKS: &str = "SELECT ended_at, rowid,
        EXISTS (SELECT 1 FROM runs INDEXED BY runs_open_by_task WHERE task_id = tasks.id AND attention_at IS NOT NULL)
    FROM tasks INDEXED BY tasks_ended
    WHERE ended_at < ?1 AND (ended_at, rowid) > (?2, ?3) ORDER BY ended_at, rowid LIMIT ?4";

pub const TASK: &str = "DELETE FROM tasks WHERE rowid = ?1";

/// Where a walk over the tasks that ended stands: when the last one ended, and its row.
type Place = (i64, i64);

/// Removes what the port's contract says; how many rows went.
pub async fn run(store: &SqliteStore, ended: Moment, remembered: Moment, limit: u32) -> Result<u64> {
    let now = store.clock.now();
    store.writer.write(move |db| counters::expire(db, now)).await?;
    let limit = u64::from(limit);
    let forgotten = in_steps(store, limit, move |db, step| idempotency::forget(db, remembered, step)).await?;
    let runs = in_steps(store, limit, move |db, step| prune_runs(db, ended, step)).await?;
    Ok(forgotten + runs + prune_tasks(store, ended, limit - runs).await?)
}

/// Removes until a step finds less than it might have, or `limit` rows are gone.
async fn in_steps(
    store: &SqliteStore,
    limit: u64,
    remove: impl Fn(&Connection, u64) -> Result<u64> + Copy + Send + 'static,
) -> Result<u64> {
    let mut gone = 0;
    while gone < limit {
        let step = STEP.min(limit - gone);
        let removed = store.writer.write(move |db| remove(db, step)).await?;
        gone += removed;
        if removed < step {
            break;
        }
    }
    Ok(gone)
}

fn prune_runs(db: &Connection, ended: Moment, step: u64) -> Result<u64> {
    Ok(db.prepare_cached(RUNS)?.execute(params![ended.ms(), step as i64])? as u64)
}

/// Walks over tasks that must stay because a run of theirs is open, so that they hold up no others.
async fn prune_tasks(store: &SqliteStore, ended: Moment, limit: u64) -> Result<u64> {
    let mut gone = 0;
    let mut place = Some((i64::MIN, i64::MIN));
    while let Some(after) = place.filter(|_| gone < limit) {
        let step = STEP.min(limit - gone);
        let removed;
        (removed, place) = store.writer.write(move |db| prune_step(db, ended, after, step)).await?;
        gone += removed;
    }
    Ok(gone)
}

/// Looks at the next tasks, and removes those that may go; how many went, and where to go on.
fn prune_step(db: &Connection, ended: Moment, after: Place, step: u64) -> Result<(u64, Option<Place>)> {
    let mut next = db.prepare_cached(TASKS)?;
    let found = next.query_map(params![ended.ms(), after.0, after.1, step as i64], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
    })?;
    let found: Vec<(Place, bool)> = found.collect::<rusqlite::Result<_>>()?;
    let mut remove = db.prepare_cached(TASK)?;
    let mut gone = 0;
    for ((_, row), _) in found.iter().filter(|(_, is_busy)| !is_busy) {
        gone += remove.execute([row])? as u64;
    }
    Ok((gone, found.last().map(|(place, _)| *place)))
}
