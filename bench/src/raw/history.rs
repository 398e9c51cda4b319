//! Fills a data directory with tasks and ended runs, by direct inserts into the tables of the server.
//!
//! The runs are inserted in the order of time, as the server does, and each belongs to another task than the
//! one before. The indexes are built at the end, which takes a fraction of the time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use serde_json::json;
use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::sqlite::SqliteStore;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Run, Schedule, TaskId};

use crate::figures::Figures;

const DAY_MS: i64 = 86_400_000;
/// Rows of a transaction.
const BATCH: usize = 100_000;

/// Inserts tasks. One of 100 is paused. They have 1,000 names, and one of 10 has a label.
const TASKS: &str = "
WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
new AS (SELECT i, printf('%032x', i) AS id, 'order-' || (i % 1000) AS name,
    iif(i % 100 = 0, 'paused', 'active') AS state, ?4 + i AS due FROM n)
INSERT INTO tasks (id, shard, name, state, next_due_at, hidden, labels, doc)
SELECT id, ?5, name, state, due, 0, iif(i % 10 = 0, '[\"team=pay\"]', NULL),
    json_set(iif(i % 10 = 0, json_set(?3, '$.labels', json('{\"team\":\"pay\"}')), ?3),
        '$.id', id, '$.name', name, '$.state', state, '$.next_due_at', due)
FROM new";

/// Inserts runs. One of 100 is dead, one of 200 skipped, and one of 1,000 still waits in a queue.
const RUNS: &str = "
WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
new AS (SELECT i, (i * 7919) % ?6 AS task, ?4 + i * ?5 / 1000 AS at,
    CASE WHEN i % 1000 = 7 THEN 'ready' WHEN i % 100 = 3 THEN 'dead' WHEN i % 200 = 5 THEN 'skipped'
        ELSE 'succeeded' END AS state FROM n),
named AS (SELECT *, printf('%032x', task) AS task_id, 'order-' || (task % 1000) AS tag FROM new),
complete AS (SELECT *, printf('%s-1-%d', task_id, at) AS id,
    iif(state = 'ready', NULL, at + 40) AS ended FROM named)
INSERT INTO runs (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, labels, doc)
SELECT id, task_id, ?7, tag, 'queue-' || (task % 10), state, at, iif(ended IS NULL, 253402207200000, NULL), ended, 3,
    iif(task % 10 = 0, '[\"team=pay\"]', NULL),
    json_set(iif(task % 10 = 0, json_set(?3, '$.labels', json('{\"team\":\"pay\"}')), ?3), '$.id', id,
        '$.task_id', task_id, '$.tag', tag, '$.queue', 'queue-' || (task % 10), '$.state', state, '$.scheduled_at', at,
        '$.fired_at', at + 2, '$.leased_at', at + 5, '$.ended_at', ended,
        '$.attention_at', iif(ended IS NULL, 253402207200000, NULL),
        '$.reason', iif(state = 'dead', 'the shop answered 500: Internal Server Error', NULL))
FROM complete";

const LABELS: &str = "
INSERT INTO task_labels (label, state, id) SELECT 'team=pay', state, id FROM tasks WHERE labels IS NOT NULL;
INSERT INTO run_labels (label, state, scheduled_at, id)
SELECT 'team=pay', state, scheduled_at, id FROM runs WHERE labels IS NOT NULL;";

/// Inserts `tasks` tasks, and `runs` runs of the last day.
pub fn fill(dir: &Path, tasks: usize, runs: usize) -> Result<Figures> {
    let start = Instant::now();
    drop(SqliteStore::open(dir, Arc::new(SystemClock))?);
    let path = dir.join("taskcenter.db");
    let db = Connection::open(&path)?;
    db.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA cache_size = -1500000;",
    )?;
    let indexes = drop_indexes(&db)?;
    insert_tasks(&db, tasks)?;
    insert_runs(&db, runs, tasks)?;
    db.execute_batch(LABELS)?;
    for index in indexes {
        db.execute_batch(&index)?;
    }
    db.execute_batch("PRAGMA journal_mode = WAL")?;
    drop(db);
    let bytes = std::fs::metadata(&path)?.len() as f64;
    let per_s = (tasks + runs) as f64 / start.elapsed().as_secs_f64();
    Ok(Figures::default().with("file_mb", bytes / 1024.0 / 1024.0).with("per_s", per_s))
}

/// Removes the indexes. Returns the statements that create them.
fn drop_indexes(db: &Connection) -> Result<Vec<String>> {
    let mut find =
        db.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")?;
    let found = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let indexes: Vec<(String, String)> = found.collect::<rusqlite::Result<_>>()?;
    for (name, _) in &indexes {
        db.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

fn now() -> Result<Moment> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Moment::from_ms(since.as_millis() as i64))
}

/// Returns a run as the server stores it.
fn sample(now: Moment) -> Result<(serde_json::Value, serde_json::Value, u16)> {
    let id = TaskId::parse(&"0".repeat(32)).context("no id")?;
    let shard = id.shard();
    let submission = Submission {
        schedule: Schedule::Every { period_ms: DAY_MS },
        queue: Some("queue".to_owned()),
        ..Submission::named(
            "name",
            json!({"order": 4711, "shop": "main street 5", "retry": false}).to_string(),
        )
    };
    let task = submission.accept(id, now).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut run = Run::firing(&task, now, "node-1", "0123456789abcdef0123456789abcdef".to_owned(), now);
    run.result = Some("{\"ok\":true}".to_owned());
    Ok((serde_json::to_value(task)?, serde_json::to_value(run)?, shard))
}

fn insert_tasks(db: &Connection, count: usize) -> Result<()> {
    let now = now()?;
    let (task, _, shard) = sample(now)?;
    let doc = task.to_string();
    for first in (0..count).step_by(BATCH) {
        let end = (first + BATCH).min(count);
        // Due in 10 days or later: nothing fires during the benchmark.
        db.execute(TASKS, params![first as i64, end as i64, doc, now.ms() + 10 * DAY_MS, shard])?;
    }
    Ok(())
}

fn insert_runs(db: &Connection, count: usize, tasks: usize) -> Result<()> {
    let now = now()?;
    let (_, run, shard) = sample(now)?;
    let doc = run.to_string();
    // Thousandths of a millisecond between two runs.
    let step = DAY_MS * 1_000 / count.max(1) as i64;
    let first_at = now.ms() - DAY_MS;
    for first in (0..count).step_by(BATCH) {
        let end = (first + BATCH).min(count);
        let values = params![first as i64, end as i64, doc, first_at, step, tasks.max(1) as i64, shard];
        db.execute(RUNS, values)?;
    }
    Ok(())
}
