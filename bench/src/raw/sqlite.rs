//! SQLite alone, with the settings of the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rusqlite::Connection;
use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::sqlite::SqliteStore;

use crate::figures::Figures;

const BATCH: usize = 100;
/// Bytes of a row, about the size of a stored task.
const ROW: usize = 500;
const SCHEMA: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, due INTEGER, doc TEXT) WITHOUT ROWID;
                      CREATE INDEX d ON t (due);";

/// Inserts rows into a table with one index, in durable transactions of 100.
pub fn insert(dir: &Path, count: usize) -> Result<Figures> {
    let db = open(&dir.join("raw.db"))?;
    db.execute_batch(SCHEMA)?;
    insert_rows(db, count, "INSERT INTO t VALUES (?1, ?2, ?3)")
}

/// Inserts rows into the server's table of tasks with its indexes, in durable transactions of 100.
pub fn insert_like_the_server(dir: &Path, count: usize) -> Result<Figures> {
    let clock = Arc::new(SystemClock);
    drop(SqliteStore::open(dir, clock)?);
    let db = open(&dir.join("taskcenter.db"))?;
    insert_rows(
        db,
        count,
        "INSERT INTO tasks (id, shard, name, state, next_due_at, hidden, doc)
         VALUES (?1, ?2 % 64, 'bench', 'active', ?2, 0, ?3)",
    )
}

fn open(path: &Path) -> Result<Connection> {
    let db = Connection::open(path)?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

fn insert_rows(mut db: Connection, count: usize, statement: &str) -> Result<Figures> {
    let doc = "x".repeat(ROW);
    let start = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let transaction = db.transaction()?;
        for row in first..(first + BATCH).min(count) {
            let mut insert = transaction.prepare_cached(statement)?;
            insert.execute((format!("01940000-0000-7000-8000-{row:012x}"), row as i64, &doc))?;
        }
        transaction.commit()?;
    }
    Ok(Figures::rate(count, start))
}
