//! Jobs of the writing thread, and their isolation from each other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::errors::{refused, unavailable};
use super::rows::Db;
use crate::ports::{PortError, Result};

/// How the jobs of a transaction are separated.
#[derive(Clone, Copy)]
pub enum Isolation {
    /// A failure undoes the transaction.
    None,
    /// A failure undoes only the job. SQLite copies each page that a savepoint changes, so a job of
    /// one row takes about a quarter longer.
    Savepoint,
}

/// A write, and the caller that waits for it.
pub trait Job: Send {
    /// Runs the write. The caller gets the original of an error, the transaction a copy.
    ///
    /// # Errors
    /// Errors of the write.
    fn run(&mut self, db: &Db, isolation: Isolation) -> Result<()>;
    /// Answers the caller after the flush. `failed`: why the write may be lost.
    fn answer(self: Box<Self>, failed: Option<&PortError>);
}

/// A closure, and the channel of its result.
pub struct Waiting<W, T> {
    work: W,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    _slot: OwnedSemaphorePermit,
}

impl<W, T> Waiting<W, T> {
    /// Creates a job that keeps `slot` until its answer.
    pub fn new(work: W, answer: oneshot::Sender<Result<T>>, slot: OwnedSemaphorePermit) -> Self {
        Self { work, outcome: None, answer, _slot: slot }
    }
}

impl<T: Send, W: Fn(&Db) -> Result<T> + Send> Job for Waiting<W, T> {
    fn run(&mut self, db: &Db, isolation: Isolation) -> Result<()> {
        let outcome = match isolation {
            Isolation::None => catch_panic(|| (self.work)(db)),
            Isolation::Savepoint => run_in_savepoint(db, &self.work),
        };
        let failed = outcome.as_ref().err().map(PortError::duplicate);
        self.outcome = Some(outcome);
        failed.map_or(Ok(()), Err)
    }

    fn answer(self: Box<Self>, failed: Option<&PortError>) {
        let answer = match (self.outcome, failed) {
            (Some(Ok(_)) | None, Some(error)) => Err(error.duplicate()),
            (Some(outcome), _) => outcome,
            (None, None) => Err(unavailable("the job was not run")),
        };
        // A caller that went away does not need its answer.
        let _ = self.answer.send(answer);
    }
}

/// Runs `work` in a savepoint, so that a failure undoes only its own writes.
fn run_in_savepoint<T>(db: &Db, work: impl FnOnce(&Db) -> Result<T>) -> Result<T> {
    db.prepare_cached("SAVEPOINT job")?.execute([])?;
    let outcome = catch_panic(|| work(db));
    // After some errors, such as a full disk, SQLite has already rolled back the whole transaction.
    if outcome.is_err() && !db.is_autocommit() && db.execute_batch("ROLLBACK TO job; RELEASE job").is_err() {
        db.execute_batch("ROLLBACK")?;
    }
    if outcome.is_ok() {
        db.prepare_cached("RELEASE job")?.execute([])?;
    }
    outcome
}

/// Runs `work`, and turns a panic into an error.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // The transaction undoes the partial writes of a panic.
    let caught = catch_unwind(AssertUnwindSafe(work));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(refused(format!("the operation panicked: {text}")))
    })
}
