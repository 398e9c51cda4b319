//! Rows of `tasks`.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, ToSql, params};

use super::super::errors::corrupt;
use super::super::labels::{self, OfTask};
use super::document;
use crate::core::{Moment, Task, TaskState};
use crate::ports::Result;

/// A row of `tasks`, without the column `ended_at`, which is not part of the task.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskRow {
    id: String,
    shard: u16,
    name: String,
    state: TaskState,
    next_due_at: Option<i64>,
    dedup_key: Option<String>,
    hidden: bool,
    labels: labels::Column,
    doc: String,
}

impl TaskRow {
    /// Converts a task.
    ///
    /// # Errors
    /// If the task cannot be serialized.
    pub fn new(task: &Task) -> Result<Self> {
        Ok(Self {
            id: task.id.as_str().to_owned(),
            shard: task.id.shard(),
            name: task.name.clone(),
            state: task.state,
            next_due_at: task.next_due_at.map(Moment::ms),
            dedup_key: task.dedup_key.clone(),
            hidden: task.hidden,
            labels: labels::column_of_task(task),
            doc: document(task)?,
        })
    }

    /// Returns whether at most the document and the next moment differ from `before`, as after most
    /// steps.
    fn only_steps(&self, before: &Task) -> bool {
        self.name == before.name
            && self.state == before.state
            && self.dedup_key == before.dedup_key
            && self.hidden == before.hidden
            && self.labels == labels::column_of_task(before)
    }

    /// Returns what the table of labels has about the task.
    fn in_labels(&self) -> OfTask<'_> {
        OfTask { column: self.labels.as_deref().filter(|_| !self.hidden), state: self.state.as_str() }
    }

    fn ended_at(&self, now: Moment) -> Option<i64> {
        self.state.has_ended().then(|| now.ms())
    }

    /// Inserts the row by [`INSERT_TASK`], unless its id or its deduplication key exists. Returns whether
    /// it was inserted. `now` is the end of a task that has ended.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn insert(&self, db: &Connection, insert: &mut CachedStatement<'_>, now: Moment) -> Result<bool> {
        self.bind(insert, 0, now)?;
        let is_new = insert.raw_execute()? == 1;
        if is_new {
            self.in_labels().add(db, &self.id)?;
        }
        Ok(is_new)
    }

    /// Returns whether only the id of the row can exist already, and the row is all that is written.
    pub fn is_plain(&self) -> bool {
        self.dedup_key.is_none() && self.labels.is_none()
    }

    /// Binds the columns of the row at this position of the statement.
    fn bind(&self, insert: &mut CachedStatement<'_>, position: usize, now: Moment) -> Result<()> {
        let Self { id, shard, name, state, next_due_at, dedup_key, hidden, labels, doc } = self;
        let (state, ended_at) = (state.as_str(), self.ended_at(now));
        let columns: [&dyn ToSql; COLUMNS] =
            [id, shard, name, &state, next_due_at, dedup_key, hidden, &ended_at, doc, labels];
        for (column, value) in columns.iter().enumerate() {
            insert.raw_bind_parameter(position * COLUMNS + column + 1, *value)?;
        }
        Ok(())
    }
}

const COLUMNS: usize = 10;
/// Number of rows of the statement that inserts several. The cursors of a statement stay at the end of the
/// indexes, so a row takes about a quarter less time.
pub const ROWS: usize = 25;

/// Callers keep the statement for all rows of a batch: SQLite then keeps the memory of its parameters.
pub const INSERT_TASK: &str = "INSERT INTO tasks
    (id, shard, name, state, next_due_at, dedup_key, hidden, ended_at, doc, labels)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

/// Without `OR IGNORE`, a statement with several rows copies each page that it changes.
static INSERT_TASKS: LazyLock<String> = LazyLock::new(|| {
    let columns = "(id, shard, name, state, next_due_at, dedup_key, hidden, ended_at, doc, labels)";
    let rows = ["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; ROWS].join(", ");
    format!("INSERT OR IGNORE INTO tasks {columns} VALUES {rows}")
});

/// Inserts [plain](TaskRow::is_plain) rows whose ids do not exist. `now` is the end of tasks that have ended.
///
/// # Errors
/// Errors of the database.
pub fn insert_tasks(db: &Connection, rows: [&TaskRow; ROWS], now: Moment) -> Result<()> {
    let mut insert = db.prepare_cached(&INSERT_TASKS)?;
    for (position, row) in rows.into_iter().enumerate() {
        row.bind(&mut insert, position, now)?;
    }
    insert.raw_execute()?;
    Ok(())
}

pub const STEP_TASK: &str =
    "UPDATE tasks SET next_due_at = ?2, doc = ?3 WHERE id = ?1 AND doc = coalesce(?4, doc)";

const REPLACE_TASK: &str =
    "UPDATE tasks SET name = ?2, next_due_at = ?4, dedup_key = ?5, hidden = ?6, doc = ?8,
    ended_at = CASE WHEN state = ?3 THEN ended_at ELSE ?7 END, state = ?3, labels = ?10
    WHERE id = ?1 AND doc = coalesce(?9, doc)";

/// A change of a task.
pub struct TaskChange {
    row: TaskRow,
    only_steps: bool,
    /// Labels and state before the change, as in the table of labels.
    labels_before: (labels::Column, TaskState),
    /// The document that the row must have. `None`: any.
    before: Option<String>,
}

impl TaskChange {
    /// Converts a change that is written only if the stored task is still `before`. The comparison of the
    /// documents costs less than reading the task. The document of an earlier release may have another
    /// form.
    ///
    /// # Errors
    /// If a task cannot be serialized.
    pub fn of_unchanged(before: &Task, after: &Task) -> Result<Self> {
        Ok(Self { before: Some(document(before)?), ..Self::new(before, after)? })
    }

    fn new(before: &Task, after: &Task) -> Result<Self> {
        let row = TaskRow::new(after)?;
        let shown = labels::column_of_task(before).filter(|_| !before.hidden);
        let labels_before = (shown, before.state);
        Ok(Self { only_steps: row.only_steps(before), row, labels_before, before: None })
    }

    /// Writes the change. Returns whether the row was there. `now` is the end of a task that ends with
    /// this change.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn write(&self, db: &Connection, now: Moment) -> Result<bool> {
        let (row, before) = (&self.row, &self.before);
        let TaskRow { id, shard: _, name, state, next_due_at, dedup_key, hidden, labels, doc } = row;
        // SQLite rewrites an index for each of its columns that a statement names, even if unchanged.
        let changed = if self.only_steps {
            db.prepare_cached(STEP_TASK)?.execute(params![id, next_due_at, doc, before])?
        } else {
            let ended_at = row.ended_at(now);
            let state = state.as_str();
            let columns =
                params![id, name, state, next_due_at, dedup_key, hidden, ended_at, doc, before, labels];
            let changed = db.prepare_cached(REPLACE_TASK)?.execute(columns)?;
            self.write_labels(db, changed)?;
            changed
        };
        Ok(changed == 1)
    }

    fn write_labels(&self, db: &Connection, changed: usize) -> Result<()> {
        let (column, state) = &self.labels_before;
        let before = OfTask { column: column.as_deref(), state: state.as_str() };
        let after = self.row.in_labels();
        if changed == 0 || before == after {
            return Ok(());
        }
        before.remove(db, &self.row.id)?;
        after.add(db, &self.row.id)
    }
}

/// Replaces `before` by `after`, a change of the same task. `now` is the end of a task that ends
/// with this change.
///
/// # Errors
/// Errors of the database.
pub fn replace_task(db: &Connection, before: &Task, after: &Task, now: Moment) -> Result<()> {
    let change = TaskChange::new(before, after)?;
    let vanished = || corrupt(format!("task {} vanished within a transaction", after.id));
    change.write(db, now)?.then_some(()).ok_or_else(vanished)
}
