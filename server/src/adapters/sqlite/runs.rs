//! Runs: insert, read, replace by compare-and-set.

use rusqlite::{Connection, params};

use super::errors::corrupt;
use super::rows::{self, Db, Read, RunRow, parse};
use crate::core::run::{LeaseSlots, OpenRun};
use crate::core::{Moment, Run, RunId, TaskId};
use crate::ports::{Found, Head, InsertedRun, Result};

pub const BY_ID: &str = "SELECT doc, id FROM runs WHERE id = ?1";

pub const OPEN: &str =
    "SELECT doc, id FROM runs INDEXED BY runs_open_by_task WHERE task_id = ?1 AND ended_at IS NULL
    AND id > ?2 ORDER BY id";

pub const IN_SLOTS: &str = "SELECT doc, id FROM runs INDEXED BY runs_lease_slot
    WHERE lease_slot >= ?1 AND lease_slot < ?2 ORDER BY lease_slot";

/// The number is [`Moment::NEVER`].
pub const NEEDING_ATTENTION: &str = "SELECT doc, id FROM runs INDEXED BY runs_attention
    WHERE attention_at <> 253402207200000 AND attention_at <= ?2 AND (?1 >> shard) & 1 AND (queue IS NOT NULL OR NOT ?3)
    ORDER BY attention_at";

/// Stores runs. Returns one result per run, in order.
pub fn insert(db: &Db, rows: &[RunRow]) -> Result<Vec<InsertedRun>> {
    rows.iter().map(|row| insert_one(db, row)).collect()
}

fn insert_one(db: &Db, row: &RunRow) -> Result<InsertedRun> {
    if row.insert(db)? {
        return Ok(InsertedRun::New);
    }
    match rows::read(db, BY_ID, &row.id)? {
        Read::Row(stored) => Ok(InsertedRun::from_stored(stored, &parse(&row.doc)?)),
        Read::Unreadable => Ok(InsertedRun::Unreadable),
        Read::Missing => Err(corrupt(format!("the insert of run {} conflicts with no row", row.id))),
    }
}

pub fn by_id(db: &Connection, id: &RunId) -> Result<Option<Run>> {
    rows::one(db, BY_ID, &id.as_str())
}

/// Returns the existing runs with these ids.
pub fn by_ids(db: &Db, ids: &[RunId]) -> Result<Found<Run, RunId>> {
    rows::read_all(db, BY_ID, ids, RunId::as_str)
}

/// Returns the runs of a task that have not ended, by id.
pub fn open(db: &Db, task_id: &TaskId, after: Option<&RunId>, limit: u32) -> Result<Vec<OpenRun>> {
    let mut find = db.prepare_cached(OPEN)?;
    rows::page(db, find.query(params![task_id.as_str(), after.map_or("", RunId::as_str)])?, limit)
}

/// Returns the leased runs of one lease request, by slot.
pub fn in_slots(db: &Db, slots: &LeaseSlots) -> Result<Vec<Run>> {
    let (from, to) = slots.range();
    rows::page(db, db.prepare_cached(IN_SLOTS)?.query([from, to])?, u32::MAX)
}

/// Replaces runs. Returns for each whether the expected version was stored.
pub fn update(db: &Connection, rows: &[RunRow]) -> Result<Vec<bool>> {
    rows.iter().map(|row| row.replace(db)).collect()
}

/// Returns runs of the shards in `mask` whose `attention_at` has come, longest overdue first.
pub fn needing_attention(
    db: &Db,
    mask: i64,
    now: Moment,
    limit: u32,
    queued_only: bool,
) -> Result<Head<Run>> {
    let mut find = db.prepare_cached(NEEDING_ATTENTION)?;
    rows::head(db, find.query(params![mask, now.ms(), queued_only])?, limit)
}
