//! The writing thread. Jobs that wait at the same time share a transaction, and so one flush of the
//! disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::checkpointer::{Checkpointer, checkpoint_fully};
use super::errors::{refused, unavailable};
use super::open_file::OpenFile;
use super::rows::Db;
use crate::ports::{PortError, Result};

/// Longest wait for further jobs of a transaction.
const LINGER: Duration = Duration::from_millis(2);
/// Maximum number of jobs per transaction.
const BATCH: usize = 256;
/// Maximum number of waiting jobs. Further callers wait.
const QUEUE: usize = 4 * BATCH;

/// The writing thread. When the value is dropped, the thread finishes the waiting jobs and ends.
pub struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    slots: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on `db`. `checkpointer` works on the same file.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(db: Db, checkpointer: Checkpointer, file: &Arc<OpenFile>) -> Result<Self> {
        let (jobs, waiting) = channel();
        let commits = Arc::new(AtomicU64::new(0));
        let (counted, file) = (Arc::clone(&commits), Arc::clone(file));
        let thread = std::thread::Builder::new().name("sqlite-writer".to_owned());
        let thread = thread
            .spawn(move || {
                write_all(&db, &waiting, &counted, &checkpointer, &file);
                // The last connection to close decides about the log.
                drop(checkpointer);
                drop(db);
            })
            .map_err(unavailable)?;
        let slots = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { jobs: Some(jobs), slots, commits, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction. Returns its result after the commit has reached the disk. If
    /// `work` fails or panics, only its own writes are undone. `work` runs twice if a job of the
    /// transaction fails; the first run is then undone. A queued job runs even if the caller goes away.
    ///
    /// # Errors
    /// Errors of `work`, and of the commit, after which nothing is written.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(unavailable)?;
        let (answer, answered) = oneshot::channel();
        let job = Waiting { work, outcome: None, answer, _slot: slot };
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Returns the number of committed transactions.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The panic of a thread was already logged.
        let _ = thread.map(JoinHandle::join);
    }
}

fn ended() -> PortError {
    unavailable("the writing thread has ended")
}

/// How the jobs of a transaction are separated.
#[derive(Clone, Copy)]
enum Isolation {
    /// A failure undoes the transaction.
    None,
    /// A failure undoes only the job. SQLite copies each page that a savepoint changes, so a job of
    /// one row takes about a quarter longer.
    Savepoint,
}

/// A write, and the caller that waits for it.
trait Job: Send {
    /// Runs the write. The caller gets the original of an error, the transaction a copy.
    fn run(&mut self, db: &Db, isolation: Isolation) -> Result<()>;
    /// Answers the caller after the commit. `failed_commit`: why nothing was written.
    fn answer(self: Box<Self>, failed_commit: Option<&PortError>);
}

struct Waiting<W, T> {
    work: W,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    _slot: OwnedSemaphorePermit,
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

    fn answer(self: Box<Self>, failed_commit: Option<&PortError>) {
        let answer = match (self.outcome, failed_commit) {
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

fn write_all(
    db: &Db,
    waiting: &Receiver<Box<dyn Job>>,
    commits: &AtomicU64,
    checkpointer: &Checkpointer,
    file: &OpenFile,
) {
    let mut last_size = 0;
    while let Some(mut batch) = next_batch(waiting, last_size) {
        last_size = batch.len();
        // A commit into a lost file is not durable, so the file is checked before the answers.
        let committed = file.require().and_then(|()| commit(db, &mut batch)).and_then(|()| file.check());
        let failed_commit = committed.err();
        commits.fetch_add(u64::from(failed_commit.is_none()), Ordering::Relaxed);
        for job in batch {
            job.answer(failed_commit.as_ref());
        }
        if failed_commit.is_none() {
            checkpointer.signal_commit(db);
        } else if file.require().is_ok() {
            checkpoint_fully(db);
        }
    }
    if file.require().is_err() {
        // The log may be all that is left of the data: do not write it into another file.
        let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

/// Returns the waiting jobs; `None` after the store was dropped. Waits for as many jobs as the last
/// batch had (`last_size`), except after a pause.
fn next_batch(waiting: &Receiver<Box<dyn Job>>, last_size: usize) -> Option<Vec<Box<dyn Job>>> {
    let (first, expected) = match waiting.recv_timeout(LINGER) {
        Ok(job) => (job, last_size),
        Err(RecvTimeoutError::Timeout) => (waiting.recv().ok()?, 1),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    let mut batch = vec![first];
    batch.extend(waiting.try_iter().take(BATCH - 1));
    if batch.len() < expected {
        linger(waiting, &mut batch, expected);
    }
    Some(batch)
}

#[allow(clippy::disallowed_methods, reason = "the time only bounds a wait")]
fn linger(waiting: &Receiver<Box<dyn Job>>, batch: &mut Vec<Box<dyn Job>>, expected: usize) {
    let until = Instant::now() + LINGER;
    while batch.len() < expected
        && let Ok(job) = waiting.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        batch.push(job);
    }
}

/// Runs the batch in one transaction. After an error, nothing is written.
fn commit(db: &Db, batch: &mut [Box<dyn Job>]) -> Result<()> {
    // Jobs rarely fail, so only the repetition pays for savepoints.
    if commit_all(db, batch)? { Ok(()) } else { commit_each(db, batch) }
}

/// Commits the batch if no job fails. Returns whether it was committed.
fn commit_all(db: &Db, batch: &mut [Box<dyn Job>]) -> Result<bool> {
    let tx = begin(db)?;
    if batch.iter_mut().all(|job| job.run(db, Isolation::None).is_ok()) {
        return finish(tx).map(|()| true);
    }
    // After some errors, such as a full disk, SQLite has already rolled back.
    if !tx.is_autocommit() {
        tx.rollback()?;
    }
    Ok(false)
}

/// Commits the jobs that do not fail.
fn commit_each(db: &Db, batch: &mut [Box<dyn Job>]) -> Result<()> {
    let tx = begin(db)?;
    for job in batch {
        if let Err(error) = job.run(db, Isolation::Savepoint)
            && tx.is_autocommit()
        {
            return Err(error);
        }
    }
    finish(tx)
}

fn begin(db: &Db) -> Result<Transaction<'_>> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    crate::failpoint!("sqlite::begun");
    Ok(tx)
}

fn finish(tx: Transaction<'_>) -> Result<()> {
    crate::failpoint!("sqlite::before_commit");
    tx.commit()?;
    crate::failpoint!("sqlite::committed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use rusqlite::Connection;

    use super::*;

    fn writer() -> Writer {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").unwrap();
        Writer::start(
            Db::new(db, &Arc::default()),
            Checkpointer::start(Connection::open_in_memory().unwrap()).unwrap(),
            &Arc::new(OpenFile::new(std::path::Path::new(""))),
        )
        .unwrap()
    }

    fn add(db: &Connection, n: i64) -> Result<()> {
        db.execute("INSERT INTO numbers VALUES (?1)", [n])?;
        Ok(())
    }

    async fn numbers(writer: &Writer) -> Vec<i64> {
        let read = |db: &Db| -> Result<Vec<i64>> {
            let mut find = db.prepare("SELECT n FROM numbers ORDER BY n")?;
            Ok(find.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        };
        writer.write(read).await.unwrap()
    }

    #[tokio::test]
    async fn a_failed_job_undoes_only_its_own_writes() {
        let writer = writer();
        let answers = join_all((0..30).map(|n| {
            writer.write(move |db| {
                add(db, n)?;
                match n % 3 {
                    0 => Ok(n),
                    1 => Err(refused("error of the test")),
                    _ => panic!("error of the test"),
                }
            })
        }));
        for (n, answer) in (0..).zip(answers.await) {
            match answer {
                Ok(answer) => assert!(n == answer && n % 3 == 0),
                Err(PortError::Refused(_, cause)) => {
                    assert!(n % 3 != 0 && cause.to_string().contains("error of the test"), "{cause}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(numbers(&writer).await, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    }

    #[tokio::test]
    async fn jobs_run_once_and_without_a_savepoint_unless_one_fails() {
        let db = Db::new(Connection::open_in_memory().unwrap(), &Arc::default());
        for fails in [false, true] {
            let runs = Arc::new(AtomicU64::new(0));
            let (mut batch, mut answers): (Vec<Box<dyn Job>>, Vec<_>) = (Vec::new(), Vec::new());
            for n in 0..2 {
                let runs = Arc::clone(&runs);
                let work = move |db: &Db| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    let in_savepoint = db.execute_batch("ROLLBACK TO job").is_ok();
                    if fails && n == 1 { Err(refused("error of the test")) } else { Ok(in_savepoint) }
                };
                let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
                let (answer, answered) = oneshot::channel();
                batch.push(Box::new(Waiting { work, outcome: None, answer, _slot: slot }));
                answers.push(answered);
            }
            commit(&db, &mut batch).unwrap();
            batch.into_iter().for_each(|job| job.answer(None));
            let answers: Vec<Option<bool>> =
                join_all(answers).await.into_iter().map(|answer| answer.unwrap().ok()).collect();
            assert_eq!(answers, if fails { [Some(true), None] } else { [Some(false); 2] });
            assert_eq!(runs.load(Ordering::Relaxed), if fails { 4 } else { 2 });
        }
    }

    #[tokio::test]
    async fn a_lost_transaction_fails_all_of_its_jobs() {
        let writer = writer();
        let answers = join_all((0..30).map(|n| {
            writer.write(move |db| {
                add(db, n)?;
                if n == 7 {
                    db.execute_batch("ROLLBACK")?;
                    return Err(super::super::errors::full("error of the test"));
                }
                Ok(n)
            })
        }));
        let kept: Vec<i64> = answers.await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(numbers(&writer).await, kept);
        assert!(!kept.contains(&7));
        assert!(writer.write(|db| add(db, 100)).await.is_ok(), "the next transaction works again");
    }
}
