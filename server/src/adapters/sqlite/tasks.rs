//! Tasks: insert, read, replace, step past a moment, cancel.

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::corrupt;
use super::revisions;
use super::rows::{self, Db, INSERT_TASK, ROWS, Read, RunRow, TaskRow, insert_tasks, one, replace_task};
use crate::core::{Moment, Task, TaskId};
use crate::ports::{Advance, Attached, Found, Head, InsertedTask, Order, ReplacedTask, Result, Tombstone};

pub const BY_ID: &str = "SELECT doc, id FROM tasks WHERE id = ?1";

pub const BY_KEY: &str = "SELECT doc, id FROM tasks INDEXED BY tasks_key WHERE dedup_key = ?1";

pub const KEY_HOLDER: &str = "SELECT id FROM tasks INDEXED BY tasks_key WHERE dedup_key = ?1";

/// The order by id keeps the rows that fire together close to each other on the disk.
pub const DUE: &str = "SELECT doc, id FROM tasks INDEXED BY tasks_due
    WHERE state = 'active' AND next_due_at <= ?2 AND (?1 >> shard) & 1
    ORDER BY next_due_at, id";

pub const DUE_LATEST: &str = "SELECT doc, id FROM tasks INDEXED BY tasks_due
    WHERE state = 'active' AND next_due_at <= ?2 AND (?1 >> shard) & 1
    ORDER BY next_due_at DESC, id DESC";

pub fn by_id(db: &Connection, id: &TaskId) -> Result<Option<Task>> {
    one(db, BY_ID, &id.as_str())
}

/// Returns the live task with a deduplication key.
pub fn by_key(db: &Connection, key: &str) -> Result<Option<Task>> {
    one(db, BY_KEY, &key)
}

/// Returns the existing tasks with these ids.
pub fn by_ids(db: &Db, ids: &[TaskId]) -> Result<Found<Task, TaskId>> {
    rows::read_all(db, BY_ID, ids, TaskId::as_str)
}

/// A new task: id, deduplication key and row.
pub type NewTask = (TaskId, Option<String>, TaskRow);

/// Stores tasks. Returns one result per task, in order.
pub fn insert(db: &Connection, tasks: &[NewTask], now: Moment) -> Result<Vec<InsertedTask>> {
    let mut answers = Vec::with_capacity(tasks.len());
    for tasks in tasks.chunks(ROWS) {
        if insert_plain(db, tasks, now)? {
            answers.extend(tasks.iter().map(|_| InsertedTask::New));
        } else {
            insert_each(db, tasks, now, &mut answers)?;
        }
    }
    Ok(answers)
}

/// Stores a full chunk of plain rows by one statement. Returns whether the tasks are such a chunk.
fn insert_plain(db: &Connection, tasks: &[NewTask], now: Moment) -> Result<bool> {
    let rows: Vec<&TaskRow> = tasks.iter().map(|(_, _, row)| row).filter(|row| row.is_plain()).collect();
    let Ok(rows) = rows.try_into() else { return Ok(false) };
    // A stored task with the same id is the result of an earlier attempt of this insert.
    insert_tasks(db, rows, now)?;
    Ok(true)
}

fn insert_each(
    db: &Connection,
    tasks: &[NewTask],
    now: Moment,
    answers: &mut Vec<InsertedTask>,
) -> Result<()> {
    let mut insert = db.prepare_cached(INSERT_TASK)?;
    for (id, key, row) in tasks {
        let is_new = row.insert(db, &mut insert, now)?;
        answers.push(if is_new { InsertedTask::New } else { existing(db, id, key.as_deref())? });
    }
    Ok(())
}

/// Returns why a task was not inserted.
fn existing(db: &Connection, id: &TaskId, key: Option<&str>) -> Result<InsertedTask> {
    // A stored task with the same id is the result of an earlier attempt of this insert.
    if by_id(db, id)?.is_some() {
        return Ok(InsertedTask::New);
    }
    let holder = key.map(|key| key_holder(db, key)).transpose()?.flatten();
    holder
        .map(InsertedTask::Existing)
        .ok_or_else(|| corrupt(format!("the insert of task {id} conflicts with no row")))
}

/// Returns the live task that has the key.
fn key_holder(db: &Connection, key: &str) -> Result<Option<TaskId>> {
    let mut find = db.prepare_cached(KEY_HOLDER)?;
    let holder = find.query_row([key], |row| row.get::<_, String>(0)).optional()?;
    let unreadable = |id: &String| corrupt(format!("{id:?} is not a task id"));
    holder.map(|id| TaskId::parse(&id).ok_or_else(|| unreadable(&id))).transpose()
}

/// Returns active tasks of the shards in `mask` that are due at or before `until`.
pub fn due(db: &Db, mask: i64, until: Moment, limit: u32, order: Order) -> Result<Head<Task>> {
    let mut find = db.prepare_cached(if order == Order::Earliest { DUE } else { DUE_LATEST })?;
    rows::head(db, find.query(params![mask, until.ms()])?, limit)
}

/// Rows that a replacement inserts.
pub struct AttachedRows {
    skipped: Option<RunRow>,
    answer: Option<NewTask>,
}

impl AttachedRows {
    /// Converts the rows.
    ///
    /// # Errors
    /// If a row cannot be serialized.
    pub fn new(rows: Attached<'_>) -> Result<Self> {
        let Attached { skipped, answer } = rows;
        Ok(Self { skipped: skipped.map(RunRow::new).transpose()?, answer: answer.map(new_row).transpose()? })
    }

    /// Inserts the rows. Returns why they cannot be inserted.
    fn insert(&self, db: &Connection, now: Moment) -> Result<Option<ReplacedTask>> {
        if let Some((id, _, _)) = &self.answer
            && by_id(db, id)?.is_some()
        {
            return Ok(Some(ReplacedTask::Answered));
        }
        if let Some(row) = &self.skipped
            && !row.insert(db)?
        {
            return Ok(Some(ReplacedTask::Moved));
        }
        if let Some((_, _, row)) = &self.answer {
            row.insert(db, &mut db.prepare_cached(INSERT_TASK)?, now)?;
        }
        Ok(None)
    }
}

/// Replaces `read` by `task`, by compare-and-set on the position, and inserts the attached rows.
pub fn replace(
    db: &Connection,
    read: &Task,
    task: &Task,
    rows: &AttachedRows,
    now: Moment,
) -> Result<ReplacedTask> {
    let Some(stored) = by_id(db, &read.id)? else { return Ok(ReplacedTask::Moved) };
    if stored.position() != read.position() {
        return Ok(ReplacedTask::from_stored(Some(&stored), task));
    }
    let holder = task.dedup_key.as_deref().map(|key| key_holder(db, key)).transpose()?.flatten();
    if let Some(other) = holder.filter(|holder| *holder != task.id) {
        return Ok(ReplacedTask::KeyHeld(other));
    }
    if let Some(refused) = rows.insert(db, now)? {
        return Ok(refused);
    }
    if task.begins_definition() {
        revisions::keep(db, &stored)?;
    }
    replace_task(db, &stored, task, now)?;
    Ok(ReplacedTask::Done)
}

/// Steps tasks past a moment. Returns for each whether it has passed the moment.
pub fn advance(db: &Db, advances: &[Advance], now: Moment) -> Result<Vec<bool>> {
    advances.iter().map(|advance| advance_one(db, advance, now)).collect()
}

fn advance_one(db: &Db, advance: &Advance, now: Moment) -> Result<bool> {
    let Read::Row(task) = rows::read::<Task>(db, BY_ID, advance.task_id.as_str())? else { return Ok(false) };
    if !advance.is_allowed(&task, now) {
        return Ok(advance.has_passed(&task));
    }
    replace_task(db, &task, &task.stepped(advance), now)?;
    Ok(true)
}

/// Turns tasks into tombstones. Returns those that are tombstones now.
pub fn cancel(db: &Db, ids: &[TaskId], rev: Option<u32>, hide: bool, now: Moment) -> Result<Vec<Tombstone>> {
    let mut tombstones = Vec::with_capacity(ids.len());
    for task in by_ids(db, ids)?.rows {
        if rev.is_some_and(|rev| task.rev != rev) {
            continue;
        }
        let tombstone = task.tombstone(hide);
        let is_new = tombstone != task;
        if is_new {
            replace_task(db, &task, &tombstone, now)?;
        }
        tombstones.push(Tombstone { id: task.id, is_new });
    }
    Ok(tombstones)
}

/// Returns id, deduplication key and row of a new task.
pub fn new_row(task: &Task) -> Result<NewTask> {
    Ok((task.id.clone(), task.dedup_key.clone(), TaskRow::new(task)?))
}
