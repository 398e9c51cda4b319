//! Earlier definitions of tasks.

use rusqlite::{Connection, params};

use super::errors::refused;
use super::rows::{self, Db};
use crate::core::revision::MAX_PAST_DEFINITIONS;
use crate::core::{Task, TaskId};
use crate::ports::Result;

const INSERT: &str = "INSERT INTO revisions (task_id, rev, doc) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
pub const REMOVE_OLDEST: &str = "DELETE FROM revisions WHERE task_id = ?1 AND rev <=
    (SELECT rev FROM revisions WHERE task_id = ?1 ORDER BY rev DESC LIMIT 1 OFFSET ?2)";
pub const BEFORE: &str =
    "SELECT doc, task_id FROM revisions WHERE task_id = ?1 AND rev < ?2 ORDER BY rev DESC";
pub const REMOVE_ALL: &str = "DELETE FROM revisions WHERE task_id = ?1";

/// Keeps the definition of a task, in the transaction of the change that replaces the definition.
pub fn keep(db: &Connection, task: &Task) -> Result<()> {
    let defined = task.as_defined();
    let doc = serde_json::to_string(&defined).map_err(refused)?;
    db.prepare_cached(INSERT)?.execute(params![task.id.as_str(), defined.rev, doc])?;
    db.prepare_cached(REMOVE_OLDEST)?.execute(params![task.id.as_str(), MAX_PAST_DEFINITIONS])?;
    Ok(())
}

/// Returns the definitions that began before a revision, latest first.
pub fn before(db: &Db, id: &TaskId, rev: u32, limit: u32) -> Result<Vec<Task>> {
    let mut find = db.prepare_cached(BEFORE)?;
    rows::page(db, find.query(params![id.as_str(), rev])?, limit)
}

/// Removes the definitions of a task.
pub fn remove(db: &Connection, id: &str) -> Result<()> {
    db.prepare_cached(REMOVE_ALL)?.execute([id])?;
    Ok(())
}
