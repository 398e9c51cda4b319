//! What the rows look like: a document, and beside it the columns that it is searched by. Nothing else writes a task or a run.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, Rows, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::errors::{corrupt, refused};
use crate::adapters::unreadable;
use crate::core::task::SHARDS;
use crate::core::{Moment, Run, Task};
use crate::ports::Result;

/// Bytes of documents read at a time: thousands of rows of 4 MiB each would not fit into memory, and the rest can be asked for again.
const READ_BYTES: usize = 64 * 1024 * 1024;

/// A row of `tasks`, apart from when it ended, which the task does not know.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskRow {
    id: String,
    shard: u16,
    name: String,
    state: &'static str,
    next_due_at: Option<i64>,
    dedup_key: Option<String>,
    hidden: bool,
    doc: String,
}

impl TaskRow {
    /// The row of a task.
    ///
    /// # Errors
    /// When the task cannot be written down.
    pub fn new(task: &Task) -> Result<Self> {
        Ok(Self {
            id: task.id.as_str().to_owned(),
            shard: task.id.shard(),
            name: task.name.clone(),
            state: task.state.as_str(),
            next_due_at: task.next_due_at.map(Moment::ms),
            dedup_key: task.dedup_key.clone(),
            hidden: task.hidden,
            doc: document(task)?,
        })
    }

    /// Whether it differs from `before` in its document and its next moment at most, as after nearly every step.
    fn only_moves(&self, before: &Task) -> bool {
        self.name == before.name
            && self.state == before.state.as_str()
            && self.dedup_key == before.dedup_key
            && self.hidden == before.hidden
    }

    fn ended_at(&self, now: Moment) -> Option<i64> {
        matches!(self.state, "finished" | "cancelled").then(|| now.ms())
    }

    /// Stores it; whether no row stood in its way. `now` is when it ended, if it has.
    ///
    /// # Errors
    /// Those of the database.
    pub fn insert(&self, db: &Connection, now: Moment) -> Result<bool> {
        let Self { id, shard, name, state, next_due_at, dedup_key, hidden, doc } = self;
        let mut insert = db.prepare_cached(INSERT_TASK)?;
        let ended_at = self.ended_at(now);
        let columns = params![id, shard, name, state, next_due_at, dedup_key, hidden, ended_at, doc];
        Ok(insert.execute(columns)? == 1)
    }
}

const INSERT_TASK: &str = "INSERT INTO tasks
    (id, shard, name, state, next_due_at, dedup_key, hidden, ended_at, doc)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

pub const MOVE_TASK: &str = "UPDATE tasks SET next_due_at = ?2, doc = ?3 WHERE id = ?1";

const REPLACE_TASK: &str =
    "UPDATE tasks SET name = ?2, next_due_at = ?4, dedup_key = ?5, hidden = ?6, doc = ?8,
    ended_at = CASE WHEN state = ?3 THEN ended_at ELSE ?7 END, state = ?3 WHERE id = ?1";

/// Puts `after` in the place of `before`, the same task. One that has ended with this ended at `now`.
///
/// # Errors
/// Those of the database.
pub fn replace_task(db: &Connection, before: &Task, after: &Task, now: Moment) -> Result<()> {
    let row = TaskRow::new(after)?;
    let TaskRow { id, shard: _, name, state, next_due_at, dedup_key, hidden, doc } = &row;
    // An index is written anew for each of its columns that a statement names, changed or not.
    let changed = if row.only_moves(before) {
        db.prepare_cached(MOVE_TASK)?.execute(params![id, next_due_at, doc])?
    } else {
        let ended_at = row.ended_at(now);
        let columns = params![id, name, state, next_due_at, dedup_key, hidden, ended_at, doc];
        db.prepare_cached(REPLACE_TASK)?.execute(columns)?
    };
    if changed == 1 { Ok(()) } else { Err(corrupt(format!("task {id} is not where it was read"))) }
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
    pub doc: String,
}

impl RunRow {
    /// The row of a run.
    ///
    /// # Errors
    /// When the run cannot be written down.
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
            ended_at: run.ended_at.map(Moment::ms),
            version: run.version as i64,
            doc: document(run)?,
        })
    }

    /// The row of a run, one version on.
    ///
    /// # Errors
    /// When the run cannot be written down.
    pub fn next(run: &Run) -> Result<Self> {
        Self::new(&run.clone().next_version())
    }

    /// Stores it; whether no row stood in its way.
    ///
    /// # Errors
    /// Those of the database.
    pub fn insert(&self, db: &Connection) -> Result<bool> {
        let Self {
            id,
            task_id,
            shard,
            tag,
            queue,
            state,
            scheduled_at,
            attention_at,
            ended_at,
            version,
            doc,
        } = self;
        let mut insert = db.prepare_cached(INSERT_RUN)?;
        let columns = params![
            id,
            task_id,
            shard,
            tag,
            queue,
            state,
            scheduled_at,
            attention_at,
            ended_at,
            version,
            doc
        ];
        Ok(insert.execute(columns)? == 1)
    }

    /// Puts it in the place of the version before; whether that one stood.
    ///
    /// # Errors
    /// Those of the database.
    pub fn replace(&self, db: &Connection) -> Result<bool> {
        let Self { id, state, attention_at, ended_at, version, doc, .. } = self;
        let mut update = db.prepare_cached(REPLACE_RUN)?;
        let read_at = version.wrapping_sub(1);
        let columns = params![id, read_at, state, attention_at, ended_at, version, doc];
        Ok(update.execute(columns)? == 1)
    }
}

const INSERT_RUN: &str = "INSERT INTO runs
    (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, doc)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";

pub const REPLACE_RUN: &str =
    "UPDATE runs SET state = ?3, attention_at = ?4, ended_at = ?5, version = ?6, doc = ?7
    WHERE id = ?1 AND version = ?2";

fn document(of: &impl Serialize) -> Result<String> {
    serde_json::to_string(of).map_err(refused)
}

const _: () = assert!(SHARDS <= 64, "a mask of shards is one integer");

/// The shards as one integer, a bit each.
pub fn shard_mask(shards: &[u16]) -> i64 {
    shards.iter().filter(|shard| **shard < SHARDS).fold(0, |mask, shard| mask | 1 << shard)
}

/// The document in a text.
///
/// # Errors
/// When this release cannot read it.
pub fn parse<T: DeserializeOwned>(doc: &str) -> Result<T> {
    serde_json::from_str(doc).map_err(corrupt)
}

/// The document in a row's first column, and its length in bytes.
fn parse_row<T: DeserializeOwned>(row: &Row<'_>) -> Result<(T, usize)> {
    let unreadable = |error: FromSqlError| corrupt(error);
    let doc = row.get_ref(0)?.as_str().map_err(unreadable)?;
    Ok((parse(doc)?, doc.len()))
}

/// The documents in the rows' first column, up to the one with which they pass 64 MiB. What cannot be read is passed over.
///
/// # Errors
/// Those of the database.
pub fn within_bytes<T: DeserializeOwned>(rows: Rows<'_>) -> Result<Vec<T>> {
    page(rows, u32::MAX)
}

/// The same, and at most `limit` documents: no statement can tell beforehand which rows can be read. None at all: there is none.
///
/// # Errors
/// Those of the database.
pub fn page<T: DeserializeOwned>(mut rows: Rows<'_>, limit: u32) -> Result<Vec<T>> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while bytes <= READ_BYTES
        && read.len() < limit as usize
        && let Some(row) = rows.next()?
    {
        match parse_row(row) {
            Ok((document, length)) => {
                bytes += length;
                read.push(document);
            }
            Err(error) => unreadable::tell("SQLite", &id_in(row), &error),
        }
    }
    Ok(read)
}

/// The id in a damaged row, where so much of it is left.
fn id_in(row: &Row<'_>) -> String {
    let document = row.get_ref(0).ok().and_then(|doc| doc.as_str().ok());
    let fields = document.and_then(|doc| serde_json::from_str::<serde_json::Value>(doc).ok());
    fields.and_then(|fields| Some(fields.get("id")?.as_str()?.to_owned())).unwrap_or_else(|| "?".to_owned())
}

/// All documents in the rows' first column.
///
/// # Errors
/// Those of the database, and a document that cannot be read.
pub fn all<T: DeserializeOwned>(mut rows: Rows<'_>) -> Result<Vec<T>> {
    let mut read = Vec::new();
    while let Some(row) = rows.next()? {
        read.push(parse_row(row)?.0);
    }
    Ok(read)
}

/// The one document that `sql` finds for `key`.
///
/// # Errors
/// Those of the database, and a document that cannot be read.
pub fn one<T: DeserializeOwned>(db: &Connection, sql: &str, key: &dyn ToSql) -> Result<Option<T>> {
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([key])?;
    rows.next()?.map(|row| Ok(parse_row(row)?.0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_shard() {
        let all: Vec<u16> = (0..SHARDS).collect();
        assert_eq!((shard_mask(&all), shard_mask(&[])), (-1, 0));
        assert_eq!((shard_mask(&[0, 5]), shard_mask(&[63, 64])), (33, i64::MIN));
    }
}
