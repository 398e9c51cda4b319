//! SQLite alone, with the settings of the server.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::Connection;

use crate::figures::Figures;

const BATCH: usize = 100;
/// Bytes of a row, about the size of a stored task.
const ROW: usize = 500;
const SCHEMA: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, due INTEGER, doc TEXT) WITHOUT ROWID;
                      CREATE INDEX d ON t (due);";

/// Inserts rows in durable transactions of 100.
pub fn insert(dir: &Path, count: usize) -> Result<Figures> {
    let mut db = Connection::open(dir.join("raw.db"))?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch(SCHEMA)?;
    let doc = "x".repeat(ROW);
    let start = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let transaction = db.transaction()?;
        for row in first..(first + BATCH).min(count) {
            let mut insert = transaction.prepare_cached("INSERT INTO t VALUES (?, ?, ?)")?;
            insert.execute((format!("{row:032x}"), row as i64, &doc))?;
        }
        transaction.commit()?;
    }
    Ok(Figures::rate(count, start))
}
