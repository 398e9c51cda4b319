//! Rows of `runs`.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::labels::{self, OfRun};
use super::super::slots;
use super::document;
use crate::core::{Moment, Run, RunState};
use crate::ports::Result;

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
    labels: labels::Column,
    /// `None`: the run never has slots.
    slots: Option<slots::OfRun>,
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
            labels: labels::column(&run.labels),
            slots: slots::OfRun::new(run),
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
            self.doc,
            self.labels
        ];
        let is_new = insert.execute(columns)? == 1;
        if is_new {
            self.in_labels(self.state).add(db, &self.id)?;
            self.put_held(db)?;
        }
        Ok(is_new)
    }

    /// Stores the rows of a new run that waits for admission.
    fn put_held(&self, db: &Connection) -> Result<()> {
        match &self.slots {
            Some(slots) if self.state == RunState::Held.as_str() => {
                slots.put(db, &self.id, self.scheduled_at)
            }
            _ => Ok(()),
        }
    }

    /// Returns what the table of labels has about the run in `state`.
    fn in_labels<'a>(&'a self, state: &'a str) -> OfRun<'a> {
        OfRun { column: self.labels.as_deref(), state, scheduled_at: self.scheduled_at }
    }

    /// Replaces the version before this one. Returns whether that version was stored, and no other run
    /// has one of the slots.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn replace(&self, db: &Connection) -> Result<bool> {
        let Some(slots) = &self.slots else { return self.replace_labelled(db) };
        if !slots.are_free(db, &self.id)? || !self.replace_labelled(db)? {
            return Ok(false);
        }
        slots.put(db, &self.id, self.scheduled_at)?;
        crate::failpoint!("sqlite::slots_put");
        Ok(true)
    }

    fn replace_labelled(&self, db: &Connection) -> Result<bool> {
        if self.labels.is_none() {
            return self.replace_row(db);
        }
        let mut read = db.prepare_cached(RUN_STATE)?;
        let before: Option<String> = read.query_row([&self.id], |row| row.get(0)).optional()?;
        let is_replaced = self.replace_row(db)?;
        if let Some(before) = before.filter(|before| is_replaced && before != self.state) {
            self.in_labels(&before).remove(db, &self.id)?;
            self.in_labels(self.state).add(db, &self.id)?;
        }
        Ok(is_replaced)
    }

    fn replace_row(&self, db: &Connection) -> Result<bool> {
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
    (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, lease_slot, doc, labels)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING";

/// State of a run with labels before its replacement: the table of labels is ordered by state.
pub const RUN_STATE: &str = "SELECT state FROM runs WHERE id = ?1";

/// Replaces an open run by an open run.
pub const STEP_RUN: &str = "UPDATE OR IGNORE runs
    SET state = ?3, attention_at = ?4, version = ?5, lease_slot = ?6, doc = ?7
    WHERE id = ?1 AND version = ?2 AND ended_at IS NULL";

pub const REPLACE_RUN: &str = "UPDATE OR IGNORE runs
    SET state = ?3, attention_at = ?4, ended_at = ?5, version = ?6, lease_slot = ?7, doc = ?8
    WHERE id = ?1 AND version = ?2";
