//! Rows: a JSON document, and the columns that queries use. Only this module writes tasks and runs.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, Rows, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::errors::{corrupt, refused};
use crate::adapters::unreadable::{self, Unreadable};
use crate::core::task::SHARDS;
use crate::core::{Moment, Run, Task, TaskState};
use crate::ports::{Found, Head, MAX_RESULT_BYTES, PortError, Result};

/// A connection, and the unreadable rows that the store's connections have met.
pub struct Db {
    connection: Connection,
    unreadable: Arc<Unreadable>,
}

impl Db {
    pub fn new(connection: Connection, unreadable: &Arc<Unreadable>) -> Self {
        Self { connection, unreadable: Arc::clone(unreadable) }
    }

    /// Returns the unreadable rows that the store's connections have met.
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Deref for Db {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

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
    }

    fn ended_at(&self, now: Moment) -> Option<i64> {
        self.state.has_ended().then(|| now.ms())
    }

    /// Inserts the row, unless its id or its deduplication key exists. Returns whether it was
    /// inserted. `now` is the end of a task that has ended.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn insert(&self, db: &Connection, now: Moment) -> Result<bool> {
        let Self { id, shard, name, state, next_due_at, dedup_key, hidden, doc } = self;
        let mut insert = db.prepare_cached(INSERT_TASK)?;
        let ended_at = self.ended_at(now);
        let columns = params![id, shard, name, state.as_str(), next_due_at, dedup_key, hidden, ended_at, doc];
        Ok(insert.execute(columns)? == 1)
    }
}

const INSERT_TASK: &str = "INSERT INTO tasks
    (id, shard, name, state, next_due_at, dedup_key, hidden, ended_at, doc)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

pub const STEP_TASK: &str =
    "UPDATE tasks SET next_due_at = ?2, doc = ?3 WHERE id = ?1 AND doc = coalesce(?4, doc)";

const REPLACE_TASK: &str =
    "UPDATE tasks SET name = ?2, next_due_at = ?4, dedup_key = ?5, hidden = ?6, doc = ?8,
    ended_at = CASE WHEN state = ?3 THEN ended_at ELSE ?7 END, state = ?3
    WHERE id = ?1 AND doc = coalesce(?9, doc)";

/// A change of a task.
pub struct TaskChange {
    row: TaskRow,
    only_steps: bool,
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
        let row = TaskRow::new(after)?;
        Ok(Self { only_steps: row.only_steps(before), row, before: Some(document(before)?) })
    }

    /// Writes the change. Returns whether the row was there. `now` is the end of a task that ends with
    /// this change.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn write(&self, db: &Connection, now: Moment) -> Result<bool> {
        let (row, before) = (&self.row, &self.before);
        let TaskRow { id, shard: _, name, state, next_due_at, dedup_key, hidden, doc } = row;
        // SQLite rewrites an index for each of its columns that a statement names, even if unchanged.
        let changed = if self.only_steps {
            db.prepare_cached(STEP_TASK)?.execute(params![id, next_due_at, doc, before])?
        } else {
            let ended_at = row.ended_at(now);
            let columns =
                params![id, name, state.as_str(), next_due_at, dedup_key, hidden, ended_at, doc, before];
            db.prepare_cached(REPLACE_TASK)?.execute(columns)?
        };
        Ok(changed == 1)
    }
}

/// Replaces `before` by `after`, a change of the same task. `now` is the end of a task that ends
/// with this change.
///
/// # Errors
/// Errors of the database.
pub fn replace_task(db: &Connection, before: &Task, after: &Task, now: Moment) -> Result<()> {
    let row = TaskRow::new(after)?;
    let change = TaskChange { only_steps: row.only_steps(before), row, before: None };
    let vanished = || corrupt(format!("task {} vanished within a transaction", after.id));
    change.write(db, now)?.then_some(()).ok_or_else(vanished)
}

/// A row of `runs`.
#[derive(Debug, PartialEq, Eq)]
pub struct RunRow {
    pub id: String,
    task_id: String,
    shard: u16,
    tag: String,
    queue: Option<String>,
    state: &'static str,
    scheduled_at: i64,
    attention_at: Option<i64>,
    ended_at: Option<i64>,
    version: i64,
    lease_slot: Option<String>,
    pub doc: String,
}

impl RunRow {
    /// Converts a run.
    ///
    /// # Errors
    /// If the run cannot be serialized.
    pub fn new(run: &Run) -> Result<Self> {
        Ok(Self {
            id: run.id.as_str().to_owned(),
            task_id: run.task_id.as_str().to_owned(),
            shard: run.task_id.shard(),
            tag: run.tag.clone(),
            queue: run.queue.clone(),
            state: run.state.as_str(),
            scheduled_at: run.scheduled_at.ms(),
            attention_at: run.attention_at.map(Moment::ms),
            // The indexes of open runs rely on this column alone.
            ended_at: run.ended_at.filter(|_| run.has_ended()).map(Moment::ms),
            version: run.version as i64,
            lease_slot: run.lease_slot.clone(),
            doc: document(run)?,
        })
    }

    /// Converts a run to its next version.
    ///
    /// # Errors
    /// If the run cannot be serialized.
    pub fn next(run: &Run) -> Result<Self> {
        Self::new(&run.clone().next_version())
    }

    /// Inserts the row, unless its id exists. Returns whether it was inserted.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn insert(&self, db: &Connection) -> Result<bool> {
        let mut insert = db.prepare_cached(INSERT_RUN)?;
        let columns = params![
            self.id,
            self.task_id,
            self.shard,
            self.tag,
            self.queue,
            self.state,
            self.scheduled_at,
            self.attention_at,
            self.ended_at,
            self.version,
            self.lease_slot,
            self.doc
        ];
        Ok(insert.execute(columns)? == 1)
    }

    /// Replaces the version before this one. Returns whether that version was stored, and no other run
    /// has the slot.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn replace(&self, db: &Connection) -> Result<bool> {
        // The other columns never change.
        let Self { id, state, attention_at, ended_at, version, lease_slot, doc, .. } = self;
        let read_version = version.wrapping_sub(1);
        // SQLite rewrites an index for each of its columns that a statement names, even if unchanged.
        if ended_at.is_none() {
            let columns = params![id, read_version, state, attention_at, version, lease_slot, doc];
            if db.prepare_cached(STEP_RUN)?.execute(columns)? == 1 {
                return Ok(true);
            }
        }
        let mut update = db.prepare_cached(REPLACE_RUN)?;
        let columns = params![id, read_version, state, attention_at, ended_at, version, lease_slot, doc];
        Ok(update.execute(columns)? == 1)
    }
}

pub const INSERT_RUN: &str = "INSERT INTO runs
    (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, lease_slot, doc)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING";

/// Replaces an open run by an open run.
pub const STEP_RUN: &str = "UPDATE OR IGNORE runs
    SET state = ?3, attention_at = ?4, version = ?5, lease_slot = ?6, doc = ?7
    WHERE id = ?1 AND version = ?2 AND ended_at IS NULL";

pub const REPLACE_RUN: &str = "UPDATE OR IGNORE runs
    SET state = ?3, attention_at = ?4, ended_at = ?5, version = ?6, lease_slot = ?7, doc = ?8
    WHERE id = ?1 AND version = ?2";

fn document(of: &impl Serialize) -> Result<String> {
    serde_json::to_string(of).map_err(refused)
}

const _: () = assert!(SHARDS <= 64, "a shard mask has one bit per shard in an i64");

/// Returns the shards as a bit mask.
pub fn shard_mask(shards: &[u16]) -> i64 {
    shards.iter().filter(|shard| **shard < SHARDS).fold(0, |mask, shard| mask | 1 << shard)
}

/// Parses a document.
///
/// # Errors
/// If this release cannot read the document.
pub fn parse<T: DeserializeOwned>(doc: &str) -> Result<T> {
    serde_json::from_str(doc).map_err(corrupt)
}

/// Returns the document in a row's first column, and its length in bytes.
fn parse_row<T: DeserializeOwned>(row: &Row<'_>) -> Result<(T, usize)> {
    let unreadable = |error: FromSqlError| corrupt(error);
    let doc = row.get_ref(0)?.as_str().map_err(unreadable)?;
    Ok((parse(doc)?, doc.len()))
}

/// Returns the first `limit` readable documents. The first column of a row is its document, the
/// second one its id. Stops after the document that exceeds [`MAX_RESULT_BYTES`]. A `LIMIT` in the
/// statement would also count unreadable rows.
///
/// # Errors
/// Errors of the database.
pub fn head<T>(db: &Db, mut rows: Rows<'_>, limit: u32) -> Result<Head<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    let (mut documents, mut bytes) = (Vec::new(), 0);
    while bytes <= MAX_RESULT_BYTES && documents.len() < limit as usize {
        let Some(row) = rows.next()? else { return Ok(Head { rows: documents, more: false }) };
        if let Some((document, length)) = readable(db, row)? {
            bytes += length;
            documents.push(document);
        }
    }
    Ok(Head { rows: documents, more: true })
}

/// Same as [`head`], for callers that read until a page is empty.
///
/// # Errors
/// Errors of the database.
pub fn page<T>(db: &Db, rows: Rows<'_>, limit: u32) -> Result<Vec<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    Ok(head(db, rows, limit)?.rows)
}

/// Returns the document in a row and its length, and notes a row that is unreadable.
fn readable<T>(db: &Db, row: &Row<'_>) -> Result<Option<(T, usize)>>
where
    T: DeserializeOwned + unreadable::Row,
{
    match parse_row(row) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error @ PortError::Corrupt(..)) => {
            let id = row.get_ref(1)?.as_str().unwrap_or("?");
            let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
            db.unreadable.note::<T>("SQLite", id, &cause);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Result of reading a row by its id.
pub enum Read<T> {
    Row(T),
    Missing,
    /// The row exists, and is unreadable.
    Unreadable,
}

/// Reads the document that `sql` finds for `id`.
///
/// # Errors
/// Errors of the database.
pub fn read<T>(db: &Db, sql: &str, id: &str) -> Result<Read<T>>
where
    T: DeserializeOwned + unreadable::Row,
{
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([id])?;
    let Some(row) = rows.next()? else { return Ok(Read::Missing) };
    Ok(readable(db, row)?.map_or(Read::Unreadable, |(document, _)| Read::Row(document)))
}

/// Reads the documents that `sql` finds, one for each of `ids`.
///
/// # Errors
/// Errors of the database.
pub fn read_all<'a, T, Id>(
    db: &Db,
    sql: &str,
    ids: &'a [Id],
    text: impl Fn(&'a Id) -> &'a str,
) -> Result<Found<T, Id>>
where
    T: DeserializeOwned + unreadable::Row,
    Id: Clone,
{
    let mut found = Found::default();
    for id in ids {
        match read(db, sql, text(id))? {
            Read::Row(row) => found.rows.push(row),
            Read::Unreadable => found.unreadable.push(id.clone()),
            Read::Missing => {}
        }
    }
    Ok(found)
}

/// Returns the document that `sql` finds for `key`.
///
/// # Errors
/// Errors of the database, and an unreadable document.
pub fn one<T: DeserializeOwned>(db: &Connection, sql: &str, key: &dyn ToSql) -> Result<Option<T>> {
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([key])?;
    rows.next()?.map(|row| Ok(parse_row(row)?.0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_mask_has_one_bit_per_shard() {
        let all: Vec<u16> = (0..SHARDS).collect();
        assert_eq!((shard_mask(&all), shard_mask(&[])), (-1, 0));
        assert_eq!((shard_mask(&[0, 5]), shard_mask(&[63, 64])), (33, i64::MIN));
    }
}
