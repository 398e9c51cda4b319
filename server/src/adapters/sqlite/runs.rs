//! Runs: insert, read, replace by compare-and-set.

use rusqlite::{Connection, params};

use super::errors::corrupt;
use super::rows::{RunRow, all, one, parse, within_bytes};
use crate::core::run::OpenRun;
use crate::core::{Moment, Run, RunId, TaskId};
use crate::ports::{InsertedRun, Result};

pub const BY_ID: &str = "SELECT doc FROM runs WHERE id = ?1";

pub const OPEN: &str =
    "SELECT doc FROM runs INDEXED BY runs_open_by_task WHERE task_id = ?1 AND attention_at IS NOT NULL
    AND id > ?2 ORDER BY id LIMIT ?3";

pub const NEEDING_ATTENTION: &str = "SELECT doc FROM runs INDEXED BY runs_attention
    WHERE attention_at <= ?2 AND (?1 >> shard) & 1 AND (queue IS NOT NULL OR NOT ?4)
    ORDER BY attention_at LIMIT ?3";

/// Stores runs. Returns one result per run, in order.
pub fn insert(db: &Connection, rows: &[RunRow]) -> Result<Vec<InsertedRun>> {
    rows.iter().map(|row| insert_one(db, row)).collect()
}

fn insert_one(db: &Connection, row: &RunRow) -> Result<InsertedRun> {
    if row.insert(db)? {
        return Ok(InsertedRun::New);
    }
    let stored: Option<Run> = one(db, BY_ID, &row.id)?;
    let missing = || corrupt(format!("the insert of run {} conflicts with no row", row.id));
    Ok(InsertedRun::from_stored(stored.ok_or_else(missing)?, &parse(&row.doc)?))
}

/// Returns the existing runs with these ids.
pub fn by_ids(db: &Connection, ids: &[RunId]) -> Result<Vec<Run>> {
    ids.iter().filter_map(|id| one(db, BY_ID, &id.as_str()).transpose()).collect()
}

/// Returns the runs of a task that have not ended, by id.
pub fn open(db: &Connection, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
    let mut find = db.prepare_cached(OPEN)?;
    all(find.query(params![task_id.as_str(), after.map_or("", RunId::as_str), limit])?)
}

/// Replaces runs. Returns for each whether the expected version was stored.
pub fn update(db: &Connection, rows: &[RunRow]) -> Result<Vec<bool>> {
    rows.iter().map(|row| row.replace(db)).collect()
}

/// Returns runs of the shards in `mask` whose `attention_at` has come, longest overdue first.
pub fn needing_attention(
    db: &Connection,
    mask: i64,
    now: Moment,
    limit: u32,
    queued_only: bool,
) -> Result<Vec<Run>> {
    let mut find = db.prepare_cached(NEEDING_ATTENTION)?;
    within_bytes(find.query(params![mask, now.ms(), limit, queued_only])?)
}
