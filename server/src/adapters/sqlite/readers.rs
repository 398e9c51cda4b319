//! The reading threads. They read committed data, and never wait for the writing thread. An answer waits
//! for the flush of the commits that it may contain.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::durability::Durability;
use super::errors::unavailable;
use super::job::catch_panic;
use super::open_file::OpenFile;
use super::rows::Db;
use crate::ports::{PortError, Result};

/// Steps of SQLite's machine between two looks at the clock: about a tenth of a millisecond.
const STEPS: i32 = 10_000;

type Query = Box<dyn FnOnce(&Db) + Send>;
type Waiting = Arc<Mutex<Receiver<Query>>>;

/// The reading threads, one per connection. They end when the value is dropped.
pub struct Readers {
    queries: Option<Sender<Query>>,
    file: Arc<OpenFile>,
    durability: Arc<Durability>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts a thread on each connection. A query that runs for `timeout` is interrupted.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(
        connections: Vec<Db>,
        timeout: Option<Duration>,
        file: &Arc<OpenFile>,
        durability: &Arc<Durability>,
    ) -> Result<Self> {
        let (queries, waiting) = channel();
        let waiting: Waiting = Arc::new(Mutex::new(waiting));
        let (file, durability) = (Arc::clone(file), Arc::clone(durability));
        let readers = Self { queries: Some(queries), file, durability, threads: Mutex::default() };
        for mut db in connections {
            if timeout.is_some() {
                interrupt_after_deadline(&mut db)?;
            }
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name("sqlite-reader".to_owned());
            let thread = thread.spawn(move || read_all(&db, &waiting, timeout)).map_err(unavailable)?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Runs `query` on one snapshot of the database. Returns its result after the snapshot has reached the
    /// disk.
    ///
    /// # Errors
    /// Errors of `query`.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, last_visible) = self.run(query).await?;
        self.durability.wait_for(last_visible).await;
        self.file.require()?;
        answer
    }

    /// Same as [`read`](Self::read), but the snapshot may not have reached the disk. For callers that only
    /// prepare a write: its answer waits for the flush.
    ///
    /// # Errors
    /// Errors of `query`.
    pub async fn read_for_write<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(query).await?.0
    }

    /// Returns the result of `query`, and the number of the last commit that the snapshot may contain.
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<(Result<T>, u64)> {
        self.file.require()?;
        let (answer, answered) = oneshot::channel();
        let durability = Arc::clone(&self.durability);
        let query = move |db: &Db| {
            // A closed channel means that the caller has gone.
            if !answer.is_closed() {
                let result = catch_panic(|| on_snapshot(db, query));
                let _ = answer.send((result, durability.last_visible()));
            }
        };
        let queries = self.queries.as_ref().ok_or_else(ended)?;
        queries.send(Box::new(query)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queries = None;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The panic of a thread was already logged.
            let _ = thread.join();
        }
    }
}

fn ended() -> PortError {
    unavailable("the reading threads have ended")
}

fn on_snapshot<T>(db: &Db, query: impl FnOnce(&Db) -> Result<T>) -> Result<T> {
    let tx = db.unchecked_transaction()?;
    let answer = query(db)?;
    tx.commit()?;
    Ok(answer)
}

#[allow(clippy::disallowed_methods, reason = "the time only bounds a query")]
fn read_all(db: &Db, waiting: &Waiting, timeout: Option<Duration>) {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(query) = next() {
        DEADLINE.set(timeout.map(|timeout| Instant::now() + timeout));
        query(db);
    }
}

thread_local! {
    /// When the query of this thread is interrupted.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Interrupts each query of the connection that passes the deadline of its thread.
#[allow(clippy::disallowed_methods, reason = "the time only bounds a query")]
fn interrupt_after_deadline(db: &mut Db) -> Result<()> {
    let is_late = || DEADLINE.get().is_some_and(|deadline| Instant::now() > deadline);
    Ok(db.progress_handler(STEPS, Some(is_late))?)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    const FOREVER: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    #[tokio::test]
    async fn a_long_query_is_interrupted_and_the_next_one_is_answered() {
        let db = Db::new(Connection::open_in_memory().unwrap(), &Arc::default());
        let file = Arc::new(OpenFile::new(std::path::Path::new("")));
        let readers =
            Readers::start(vec![db], Some(Duration::from_millis(20)), &file, &Arc::default()).unwrap();
        let count = |sql: &'static str| {
            readers.read(move |db| Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?))
        };
        let interrupted = count(FOREVER).await;
        assert!(matches!(interrupted, Err(PortError::Interrupted(..))), "{interrupted:?}");
        assert_eq!(count("SELECT 7").await.unwrap(), 7);
    }
}
