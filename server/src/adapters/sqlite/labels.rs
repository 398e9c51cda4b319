//! Labels of tasks and runs, in tables of their own: one row for each label, in the order of a list.
//!
//! A row without labels costs nothing here. A task that is hidden has no rows.

use rusqlite::{Connection, params};

use crate::core::Task;
use crate::core::labels::{self, Labels};
use crate::ports::Result;

/// Labels of a row as JSON, for the column `labels`: a list of texts. `None`: the row has none.
pub type Column = Option<String>;

/// Returns the column of these labels.
pub fn column(labels: &Labels) -> Column {
    // The encoding of texts cannot fail.
    (!labels.is_empty()).then(|| serde_json::to_string(&labels::texts(labels)).unwrap_or_default())
}

/// Returns the column of a task: the texts by which it is found.
pub fn column_of_task(task: &Task) -> Column {
    if task.timing.calendars.is_none() && task.quota_token.is_none() {
        return column(&task.labels);
    }
    Some(serde_json::to_string(&task.index_texts()).unwrap_or_default())
}

fn texts(column: &str) -> Vec<String> {
    serde_json::from_str(column).unwrap_or_default()
}

const ADD_TASK: &str = "INSERT OR IGNORE INTO task_labels (label, state, id) VALUES (?1, ?2, ?3)";
pub const REMOVE_TASK: &str = "DELETE FROM task_labels WHERE label = ?1 AND state = ?2 AND id = ?3";
const ADD_RUN: &str =
    "INSERT OR IGNORE INTO run_labels (label, state, scheduled_at, id) VALUES (?1, ?2, ?3, ?4)";
pub const REMOVE_RUN: &str =
    "DELETE FROM run_labels WHERE label = ?1 AND state = ?2 AND scheduled_at = ?3 AND id = ?4";

/// A task in the table of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfTask<'a> {
    /// Labels. `None` for a hidden task.
    pub column: Option<&'a str>,
    pub state: &'a str,
}

impl OfTask<'_> {
    /// Adds the rows of a new task.
    pub fn add(&self, db: &Connection, id: &str) -> Result<()> {
        for_each(db, ADD_TASK, self.column, |add, label| add.execute(params![label, self.state, id]))
    }

    /// Removes the rows of a task.
    pub fn remove(&self, db: &Connection, id: &str) -> Result<()> {
        for_each(db, REMOVE_TASK, self.column, |remove, label| remove.execute(params![label, self.state, id]))
    }
}

/// A run in the table of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfRun<'a> {
    pub column: Option<&'a str>,
    pub state: &'a str,
    pub scheduled_at: i64,
}

impl OfRun<'_> {
    /// Adds the rows of a run.
    pub fn add(&self, db: &Connection, id: &str) -> Result<()> {
        let Self { column, state, scheduled_at } = *self;
        for_each(db, ADD_RUN, column, |add, label| add.execute(params![label, state, scheduled_at, id]))
    }

    /// Removes the rows of a run.
    pub fn remove(&self, db: &Connection, id: &str) -> Result<()> {
        let Self { column, state, scheduled_at } = *self;
        for_each(db, REMOVE_RUN, column, |remove, label| {
            remove.execute(params![label, state, scheduled_at, id])
        })
    }
}

fn for_each(
    db: &Connection,
    sql: &str,
    column: Option<&str>,
    execute: impl Fn(&mut rusqlite::CachedStatement<'_>, &str) -> rusqlite::Result<usize>,
) -> Result<()> {
    let Some(column) = column else { return Ok(()) };
    let mut statement = db.prepare_cached(sql)?;
    for label in texts(column) {
        execute(&mut statement, &label)?;
    }
    Ok(())
}
