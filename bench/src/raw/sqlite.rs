//! SQLite alone, with the settings of the server.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use rusqlite::Connection;
use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::sqlite::SqliteStore;
use tokio::sync::oneshot;

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
    insert_rows(open_like_the_server(dir)?, count, INSERT_TASK)
}

fn open_like_the_server(dir: &Path) -> Result<Connection> {
    drop(SqliteStore::open(dir, Arc::new(SystemClock))?);
    open(&dir.join("taskcenter.db"))
}

const INSERT_TASK: &str = "INSERT INTO tasks (id, shard, name, state, next_due_at, hidden, doc)
                           VALUES (?1, ?2 % 64, 'bench', 'active', ?2, 0, ?3)";

/// The rows are on the disk.
pub struct Stored;

/// A thread that inserts rows into the server's table of tasks. Rows that wait share a transaction.
#[derive(Clone)]
pub struct RowWriter {
    queue: mpsc::Sender<(Vec<String>, oneshot::Sender<Stored>)>,
}

impl RowWriter {
    /// Creates the database.
    pub fn start(dir: &Path) -> Result<Self> {
        let db = open_like_the_server(dir)?;
        let (queue, waiting) = mpsc::channel();
        thread::spawn(move || write(db, &waiting));
        Ok(Self { queue })
    }

    /// Inserts rows, and waits until they are on the disk.
    pub async fn store(&self, rows: Vec<String>) -> Stored {
        let (answer, stored) = oneshot::channel();
        self.queue.send((rows, answer)).expect("the writer runs");
        stored.await.expect("the rows are stored")
    }
}

fn write(mut db: Connection, waiting: &mpsc::Receiver<(Vec<String>, oneshot::Sender<Stored>)>) {
    let mut order = 0_i64;
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter().take(1_000)).collect();
        let transaction = db.transaction().expect("a transaction begins");
        let mut insert = transaction.prepare_cached(INSERT_TASK).expect("the statement is valid");
        for row in batch.iter().flat_map(|(rows, _)| rows) {
            order += 1;
            let id = format!("01940000-0000-7000-8000-{order:012x}");
            insert.execute((id, order, row)).expect("the row is inserted");
        }
        drop(insert);
        transaction.commit().expect("the transaction is committed");
        for (_, answer) in batch {
            let _ = answer.send(Stored);
        }
    }
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
