//! Slots of runs: at most one run has a slot. Only the write of a run changes its slots.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, Db};
use crate::core::run::OpenRun;
use crate::core::{RunId, TaskId};
use crate::ports::Result;

pub const HOLDER: &str = "SELECT run_id FROM run_slots WHERE slot = ?1";
pub const REMOVE: &str = "DELETE FROM run_slots WHERE run_id = ?1";
pub const PUT: &str = "INSERT INTO run_slots (slot, run_id) VALUES (?1, ?2)";

/// A task with an overlap policy has few open runs, so no index is needed.
pub const HELD: &str = "SELECT doc, id FROM runs INDEXED BY runs_open_by_task
    WHERE ended_at IS NULL AND task_id = ?1 AND state = 'held'";

pub const TASKS: &str =
    "SELECT task_id FROM runs INDEXED BY runs_open WHERE ended_at IS NULL AND state = 'held'";

/// Returns whether no other run than `run_id` has one of the slots.
pub fn are_free(db: &Connection, slots: &[String], run_id: &str) -> Result<bool> {
    for slot in slots {
        if holder(db, slot)?.is_some_and(|holder| holder != run_id) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Stores the slots of a run, in place of those before.
pub fn put(db: &Connection, slots: &[String], run_id: &str) -> Result<()> {
    db.prepare_cached(REMOVE)?.execute([run_id])?;
    for slot in slots {
        db.prepare_cached(PUT)?.execute(params![slot, run_id])?;
    }
    Ok(())
}

fn holder(db: &Connection, slot: &str) -> Result<Option<String>> {
    Ok(db.prepare_cached(HOLDER)?.query_row([slot], |row| row.get(0)).optional()?)
}

/// Returns those of the slots that runs have.
pub fn holders(db: &Connection, slots: &[String]) -> Result<Vec<(String, RunId)>> {
    let mut holders = Vec::new();
    for slot in slots {
        holders.extend(holder(db, slot)?.map(|id| (slot.clone(), RunId::from_text(id))));
    }
    Ok(holders)
}

/// Returns the runs of a task that wait for admission, earliest first.
pub fn held(db: &Db, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
    let mut held: Vec<OpenRun> =
        rows::page(db, db.prepare_cached(HELD)?.query([task_id.as_str()])?, u32::MAX)?;
    held.sort_by(|a, b| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
    held.truncate(limit as usize);
    Ok(held)
}

/// Returns tasks of the shards with runs that wait for admission.
pub fn tasks(db: &Connection, shards: &[u16], limit: u32) -> Result<Vec<TaskId>> {
    let mut find = db.prepare_cached(TASKS)?;
    let ids = find.query_map([], |row| row.get::<_, String>(0))?;
    let ids = ids.collect::<rusqlite::Result<BTreeSet<String>>>()?;
    let tasks = ids.iter().filter_map(|id| TaskId::parse(id)).filter(|id| shards.contains(&id.shard()));
    Ok(tasks.take(limit as usize).collect())
}
