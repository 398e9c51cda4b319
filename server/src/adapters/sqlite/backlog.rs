//! Backlog per tag and per queue. Every query uses an index of open rows only.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params};

use super::errors::corrupt;
use crate::core::{Moment, RunState};
use crate::ports::{BacklogRow, QueueRow, Result};

pub const OVERDUE: &str = "SELECT name, count(*) FROM tasks INDEXED BY tasks_due
    WHERE state = 'active' AND next_due_at <= ?1 GROUP BY name";

pub const FIRING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state = 'firing' AND scheduled_at <= ?1 GROUP BY tag";

pub const RETRYING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state = 'retrying' AND scheduled_at <= ?1 AND attention_at <= ?1 GROUP BY tag";

pub const UNREPORTED: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state IN ('fired', 'leased') GROUP BY tag";

pub const READY: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state = 'ready' GROUP BY tag";

pub const QUEUES: &str = "SELECT queue, state, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state IN ('ready', 'leased', 'retrying') AND queue IS NOT NULL
    GROUP BY state, queue";

/// Returns the backlog at `now`, per tag.
pub fn rows(db: &Connection, now: Moment) -> Result<Vec<BacklogRow>> {
    let mut by_tag = BTreeMap::<String, BacklogRow>::new();
    for sql in [OVERDUE, FIRING, RETRYING] {
        for (tag, count) in counts(db, sql, [now.ms()])? {
            BacklogRow::of(&mut by_tag, tag).due += count;
        }
    }
    for (tag, count) in counts(db, UNREPORTED, [])? {
        BacklogRow::of(&mut by_tag, tag).unreported += count;
    }
    for (tag, count) in counts(db, READY, [])? {
        BacklogRow::of(&mut by_tag, tag).ready += count;
    }
    Ok(by_tag.into_values().collect())
}

fn counts(db: &Connection, sql: &str, values: impl Params) -> Result<Vec<(String, u64)>> {
    let mut count = db.prepare_cached(sql)?;
    let rows = count.query_map(values, |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns the non-empty queues, by name.
pub fn queues(db: &Connection) -> Result<Vec<QueueRow>> {
    let mut rows = BTreeMap::<String, QueueRow>::new();
    let mut count = db.prepare_cached(QUEUES)?;
    let mut counted = count.query([])?;
    while let Some(row) = counted.next()? {
        let (queue, text, runs): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let state = RunState::parse(&text).ok_or_else(|| corrupt(format!("unknown run state {text:?}")))?;
        let row = rows.entry(queue.clone()).or_insert_with(|| QueueRow::empty(queue));
        row.add(state, runs as u64);
    }
    Ok(rows.into_values().collect())
}
