//! What is waiting, by tag and by queue. Every query walks an index of open rows only.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params};

use super::errors::corrupt;
use crate::core::Moment;
use crate::ports::{BacklogRow, QueueRow, Result};

pub const OVERDUE: &str = "SELECT name, count(*) FROM tasks INDEXED BY tasks_due
    WHERE state = 'active' AND next_due_at <= ?1 GROUP BY name";

pub const FIRING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state = 'firing' AND scheduled_at <= ?1 GROUP BY tag";

pub const RETRYING: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state = 'retrying' AND scheduled_at <= ?1 AND attention_at <= ?1 GROUP BY tag";

pub const UNREPORTED: &str = "SELECT tag, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state IN ('fired', 'leased') GROUP BY tag";

pub const QUEUES: &str = "SELECT queue, state, count(*) FROM runs INDEXED BY runs_open_by_state
    WHERE attention_at IS NOT NULL AND state IN ('ready', 'leased', 'retrying') AND queue IS NOT NULL
    GROUP BY state, queue";

/// What is waiting at `now`, by tag.
pub fn rows(db: &Connection, now: Moment) -> Result<Vec<BacklogRow>> {
    let mut by_tag = BTreeMap::<String, (u64, u64)>::new();
    for sql in [OVERDUE, FIRING, RETRYING] {
        for (tag, count) in counts(db, sql, [now.ms()])? {
            by_tag.entry(tag).or_default().0 += count;
        }
    }
    for (tag, count) in counts(db, UNREPORTED, [])? {
        by_tag.entry(tag).or_default().1 += count;
    }
    Ok(by_tag.into_iter().map(|(tag, (due, unreported))| BacklogRow { tag, due, unreported }).collect())
}

fn counts(db: &Connection, sql: &str, values: impl Params) -> Result<Vec<(String, u64)>> {
    let mut count = db.prepare_cached(sql)?;
    let rows = count.query_map(values, |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What each queue holds, by name.
pub fn queues(db: &Connection) -> Result<Vec<QueueRow>> {
    let mut rows = BTreeMap::<String, QueueRow>::new();
    let mut count = db.prepare_cached(QUEUES)?;
    let mut held = count.query([])?;
    while let Some(row) = held.next()? {
        let (queue, state, runs): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let empty = QueueRow { queue: queue.clone(), ready: 0, leased: 0, retrying: 0 };
        add(rows.entry(queue).or_insert(empty), &state, runs as u64)?;
    }
    Ok(rows.into_values().collect())
}

fn add(row: &mut QueueRow, state: &str, runs: u64) -> Result<()> {
    match state {
        "ready" => row.ready += runs,
        "leased" => row.leased += runs,
        "retrying" => row.retrying += runs,
        other => return Err(corrupt(format!("a run that is {other} waits in a queue"))),
    }
    Ok(())
}
