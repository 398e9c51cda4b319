//! Slots of runs, and runs that wait for slots. At most one run has a slot. Only the write of a run changes its rows.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, Db};
use crate::core::run::OpenRun;
use crate::core::wait_group::WaitGroup;
use crate::core::{Run, RunId, TaskId};
use crate::ports::Result;

pub const HOLDER: &str = "SELECT run_id FROM run_slots WHERE slot = ?1";
pub const IN_USE: &str = "SELECT slot, run_id FROM run_slots WHERE slot >= ?1 AND slot < ?2";
pub const REMOVE: &str = "DELETE FROM run_slots WHERE run_id = ?1";
pub const PUT: &str = "INSERT INTO run_slots (slot, run_id) VALUES (?1, ?2)";
pub const REMOVE_HELD: &str = "DELETE FROM held_runs WHERE run_id = ?1";
pub const PUT_HELD: &str =
    "INSERT INTO held_runs (key, wait_group, scheduled_at, run_id) VALUES (?1, ?2, ?3, ?4)";

pub const HELD: &str = "SELECT doc, id FROM runs INDEXED BY runs_by_task
    WHERE task_id = ?1 AND state = 'held' ORDER BY scheduled_at, id";
pub const NEXT_GROUP: &str = "SELECT wait_group FROM held_runs INDEXED BY held_runs_by_group
    WHERE wait_group > ?1 ORDER BY wait_group LIMIT 1";
pub const NEXT_GROUP_OF_KEY: &str =
    "SELECT wait_group FROM held_runs WHERE key = ?2 AND wait_group > ?1 ORDER BY wait_group LIMIT 1";
pub const IN_GROUP: &str =
    "SELECT runs.doc, runs.id FROM held_runs CROSS JOIN runs ON runs.id = held_runs.run_id
    WHERE held_runs.key = ?1 AND held_runs.wait_group = ?2
    ORDER BY held_runs.scheduled_at, held_runs.run_id";

pub const COUNT_HELD: &str = "SELECT count(*) FROM (SELECT 1 FROM held_runs WHERE key = ?1 LIMIT ?2)";

/// What the tables of slots and of waiting runs have about a run.
#[derive(Debug, PartialEq, Eq)]
pub struct OfRun {
    slots: Vec<String>,
    /// `None`: the run does not wait for admission.
    waits_in: Option<WaitGroup>,
}

impl OfRun {
    /// Returns the rows of a run. `None`: the run never has slots, and has never waited.
    pub fn new(run: &Run) -> Option<Self> {
        let rows = || Self { slots: run.slots.clone(), waits_in: run.wait_group() };
        run.may_wait().then(rows)
    }

    /// Returns whether no other run than `run_id` has one of the slots.
    pub fn are_free(&self, db: &Connection, run_id: &str) -> Result<bool> {
        for slot in &self.slots {
            let mut find = db.prepare_cached(HOLDER)?;
            let holder: Option<String> = find.query_row([slot], |row| row.get(0)).optional()?;
            if holder.is_some_and(|holder| holder != run_id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores the rows of a run, in place of those before.
    pub fn put(&self, db: &Connection, run_id: &str, scheduled_at: i64) -> Result<()> {
        db.prepare_cached(REMOVE)?.execute([run_id])?;
        for slot in &self.slots {
            db.prepare_cached(PUT)?.execute(params![slot, run_id])?;
        }
        db.prepare_cached(REMOVE_HELD)?.execute([run_id])?;
        let Some(group) = &self.waits_in else { return Ok(()) };
        for key in group.keys() {
            db.prepare_cached(PUT_HELD)?.execute(params![key, group.as_str(), scheduled_at, run_id])?;
        }
        Ok(())
    }
}

/// Returns the slots with these keys that runs have.
pub fn in_use(db: &Connection, keys: &[String]) -> Result<Vec<(String, RunId)>> {
    let mut slots = Vec::new();
    let mut find = db.prepare_cached(IN_USE)?;
    for key in keys {
        // '$' follows '#'.
        let range = [format!("{key}#"), format!("{key}$")];
        let rows = find.query_map(range, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        for row in rows {
            let (slot, run) = row?;
            slots.push((slot, RunId::from_text(run)));
        }
    }
    Ok(slots)
}

/// Returns the runs of a task that wait for admission, earliest first.
pub fn held(db: &Db, task_id: &TaskId, limit: u32) -> Result<Vec<OpenRun>> {
    rows::page(db, db.prepare_cached(HELD)?.query([task_id.as_str()])?, limit)
}

/// Returns groups of runs that wait for admission, by name.
pub fn groups(db: &Connection, key: Option<&str>, after: &str, limit: u32) -> Result<Vec<WaitGroup>> {
    let mut find = db.prepare_cached(if key.is_some() { NEXT_GROUP_OF_KEY } else { NEXT_GROUP })?;
    let mut groups: Vec<WaitGroup> = Vec::new();
    while groups.len() < limit as usize {
        let after = groups.last().map_or(after, WaitGroup::as_str);
        let next = match key {
            Some(key) => find.query_row([after, key], |row| row.get::<_, String>(0)).optional()?,
            None => find.query_row([after], |row| row.get::<_, String>(0)).optional()?,
        };
        let Some(next) = next else { break };
        groups.push(WaitGroup::from_text(next));
    }
    Ok(groups)
}

/// Returns runs of a group that wait for admission, earliest first.
pub fn in_group(db: &Db, group: &WaitGroup, limit: u32) -> Result<Vec<OpenRun>> {
    let key = group.first_key();
    rows::page(db, db.prepare_cached(IN_GROUP)?.query([key.as_str(), group.as_str()])?, limit)
}

/// Returns the number of runs that wait for slots of a key, at most `limit`.
pub fn count_held(db: &Connection, key: &str, limit: u32) -> Result<u64> {
    let mut count = db.prepare_cached(COUNT_HELD)?;
    Ok(count.query_row(params![key, limit], |row| row.get::<_, u32>(0))?.into())
}
