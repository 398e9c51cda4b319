//! The reading threads. They read committed data, and never wait for the writing thread.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::errors::unavailable;
use super::rows::Db;
use super::writer::catch_panic;
use crate::ports::{PortError, Result};

type Query = Box<dyn FnOnce(&Db) + Send>;
type Waiting = Arc<Mutex<Receiver<Query>>>;

/// The reading threads, one per connection. They end when the value is dropped.
pub struct Readers {
    queries: Option<Sender<Query>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts a thread on each connection.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(connections: Vec<Db>) -> Result<Self> {
        let (queries, waiting) = channel();
        let waiting: Waiting = Arc::new(Mutex::new(waiting));
        let readers = Self { queries: Some(queries), threads: Mutex::default() };
        for db in connections {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name("sqlite-reader".to_owned());
            let thread = thread.spawn(move || read_all(&db, &waiting)).map_err(unavailable)?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Runs `query` on one snapshot of the database.
    ///
    /// # Errors
    /// Errors of `query`.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let query = move |db: &Db| {
            // A closed channel means that the caller has gone.
            if !answer.is_closed() {
                let _ = answer.send(catch_panic(|| on_snapshot(db, query)));
            }
        };
        let queries = self.queries.as_ref().ok_or_else(ended)?;
        queries.send(Box::new(query)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
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

fn read_all(db: &Db, waiting: &Waiting) {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(query) = next() {
        query(db);
    }
}
