//! Backlog per tag and per queue. Every query uses an index of open rows only.

use std::collections::BTreeMap;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Params, Row};

use super::errors::corrupt;
use crate::core::{Moment, RunState};
use crate::ports::{BacklogRow, QueueRow, Result};

pub const OVERDUE: &str = "SELECT name, count(*) FROM tasks INDEXED BY tasks_due
    WHERE state = 'active' AND next_due_at <= ?1 GROUP BY name";

pub const FIRING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state = 'firing' AND scheduled_at <= ?1 GROUP BY tag";

pub const RETRYING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state = 'retrying' AND scheduled_at <= ?1 AND attention_at <= ?1 GROUP BY tag";

pub const UNREPORTED: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state IN ('fired', 'leased') GROUP BY tag";

pub const READY: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state = 'ready' GROUP BY tag";

pub const HELD: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state = 'held' GROUP BY tag";

/// One row per run: the index has no order by queue, and a sort would cost more than a count here.
pub const QUEUES: &str = "SELECT queue, state, scheduled_at FROM runs INDEXED BY runs_open
    WHERE ended_at IS NULL AND state IN ('held', 'ready', 'leased', 'retrying') AND queue IS NOT NULL";

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
    for (tag, count) in counts(db, HELD, [])? {
        BacklogRow::of(&mut by_tag, tag).held += count;
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
    let mut find = db.prepare_cached(QUEUES)?;
    let mut found = find.query([])?;
    while let Some(row) = found.next()? {
        let (queue, state) = (text(row, 0)?, text(row, 1)?);
        let state = RunState::parse(state).ok_or_else(|| corrupt(format!("unknown run state {state:?}")))?;
        let at = Moment::from_ms(row.get(2)?);
        // Most runs are in a queue that is already known: do not copy its name.
        if let Some(row) = rows.get_mut(queue) {
            row.add(state, 1, at);
        } else {
            let mut row = QueueRow::empty(queue.to_owned());
            row.add(state, 1, at);
            rows.insert(queue.to_owned(), row);
        }
    }
    Ok(rows.into_values().collect())
}

/// Returns the text in a column, without a copy.
fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error: FromSqlError| corrupt(error))
}
