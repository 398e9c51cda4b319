//! The one thread that writes. Jobs that wait at the same time share a transaction, and so one flush of the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::errors::{copy, refused, unavailable};
use super::log::{Log, begin_anew};
use crate::ports::{PortError, Result};

/// Longest wait for company.
const LINGER: Duration = Duration::from_millis(2);
/// Jobs a transaction.
const BATCH: usize = 256;
/// Jobs that may wait before those who ask have to.
const QUEUE: usize = 4 * BATCH;

/// The writing thread. It ends, after the jobs that wait, when this is dropped.
pub struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    slots: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on `db`, whose write-ahead log is `log`.
    ///
    /// # Errors
    /// When the machine has no thread to give.
    pub fn start(db: Connection, log: Log) -> Result<Self> {
        let (jobs, waiting) = channel();
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let thread = std::thread::Builder::new().name("sqlite-writer".to_owned());
        let thread = thread.spawn(move || write_all(db, &waiting, &counted, &log)).map_err(unavailable)?;
        let slots = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { jobs: Some(jobs), slots, commits, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction; its answer, once that is on the disk. A `work` that fails or panics leaves nothing behind and
    /// harms no other. Once it has its place it is done even if the caller goes away.
    ///
    /// # Errors
    /// Those of `work`, and those of the commit: then nothing counts as done.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(unavailable)?;
        let (answer, answered) = oneshot::channel();
        let job = Waiting { work: Some(work), outcome: None, answer, _slot: slot };
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so already.
        let _ = thread.map(JoinHandle::join);
    }
}

fn ended() -> PortError {
    unavailable("the writing thread has ended")
}

/// Something to write, and somebody who waits for it.
trait Job: Send {
    /// Does it. A copy of the error where it failed.
    fn run(&mut self, db: &Connection) -> Result<()>;
    /// Answers, once it is known whether it lasts: `lost` says why it does not.
    fn settle(self: Box<Self>, lost: Option<&PortError>);
}

struct Waiting<W, T> {
    work: Option<W>,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    _slot: OwnedSemaphorePermit,
}

impl<T: Send, W: FnOnce(&Connection) -> Result<T> + Send> Job for Waiting<W, T> {
    fn run(&mut self, db: &Connection) -> Result<()> {
        let work = self.work.take().ok_or_else(|| refused("a job runs once"))?;
        let outcome = guarded(db, work);
        let failed = outcome.as_ref().err().map(copy);
        self.outcome = Some(outcome);
        failed.map_or(Ok(()), Err)
    }

    fn settle(self: Box<Self>, lost: Option<&PortError>) {
        let answer = match (self.outcome, lost) {
            (Some(Ok(_)) | None, Some(lost)) => Err(copy(lost)),
            (Some(outcome), _) => outcome,
            (None, None) => Err(unavailable("the job was not run")),
        };
        // A caller that went away does not need its answer.
        let _ = self.answer.send(answer);
    }
}

/// Runs `work` so that its failure undoes its own writes only.
fn guarded<T>(db: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    db.prepare_cached("SAVEPOINT job")?.execute([])?;
    let outcome = caught(|| work(db));
    // After some failures, a full disk among them, SQLite has undone the whole transaction already.
    if outcome.is_err() && !db.is_autocommit() && db.execute_batch("ROLLBACK TO job; RELEASE job").is_err() {
        db.execute_batch("ROLLBACK")?;
    }
    if outcome.is_ok() {
        db.prepare_cached("RELEASE job")?.execute([])?;
    }
    outcome
}

/// What `work` answers; a panic becomes an error.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is undone with the transaction.
    let caught = catch_unwind(AssertUnwindSafe(work));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(refused(format!("the operation panicked: {text}")))
    })
}

fn write_all(mut db: Connection, waiting: &Receiver<Box<dyn Job>>, commits: &AtomicU64, log: &Log) {
    let mut together = 0;
    while let Some(mut batch) = next_batch(waiting, together) {
        together = batch.len();
        let lost = commit(&mut db, &mut batch).err();
        for job in batch {
            job.settle(lost.as_ref());
        }
        if lost.is_some() {
            begin_anew(&db);
        } else {
            commits.fetch_add(1, Ordering::Relaxed);
            log.has_grown(&db);
        }
    }
}

/// What waits; `None` once the store is dropped. As many as came `together` last time are expected together again, and waited for;
/// after a pause nobody is.
fn next_batch(waiting: &Receiver<Box<dyn Job>>, together: usize) -> Option<Vec<Box<dyn Job>>> {
    let (first, expected) = match waiting.recv_timeout(LINGER) {
        Ok(job) => (job, together),
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

#[allow(clippy::disallowed_methods, reason = "it bounds a wait; nothing is decided by it")]
fn linger(waiting: &Receiver<Box<dyn Job>>, batch: &mut Vec<Box<dyn Job>>, expected: usize) {
    let until = Instant::now() + LINGER;
    while batch.len() < expected
        && let Ok(job) = waiting.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        batch.push(job);
    }
}

/// Runs the batch in one transaction. After an error nothing of it lasts.
fn commit(db: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    crate::failpoint!("sqlite::begun");
    for job in batch {
        if let Err(error) = job.run(&tx)
            && tx.is_autocommit()
        {
            return Err(error);
        }
    }
    crate::failpoint!("sqlite::before_commit");
    tx.commit()?;
    crate::failpoint!("sqlite::committed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn writer() -> Writer {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").unwrap();
        Writer::start(db, Log::watch(Connection::open_in_memory().unwrap()).unwrap()).unwrap()
    }

    fn add(db: &Connection, n: i64) -> Result<()> {
        db.execute("INSERT INTO numbers VALUES (?1)", [n])?;
        Ok(())
    }

    async fn numbers(writer: &Writer) -> Vec<i64> {
        let read = |db: &Connection| -> Result<Vec<i64>> {
            let mut find = db.prepare("SELECT n FROM numbers ORDER BY n")?;
            Ok(find.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        };
        writer.write(read).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_or_panics_undoes_its_own_writes_only() {
        let writer = writer();
        let answers = join_all((0..30).map(|n| {
            writer.write(move |db| {
                add(db, n)?;
                match n % 3 {
                    0 => Ok(n),
                    1 => Err(refused("as the test wants it")),
                    _ => panic!("as the test wants it"),
                }
            })
        }));
        for (n, answer) in (0..).zip(answers.await) {
            match answer {
                Ok(answer) => assert!(n == answer && n % 3 == 0),
                Err(PortError::Refused(_, cause)) => {
                    assert!(n % 3 != 0 && cause.to_string().contains("as the test wants it"), "{cause}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(numbers(&writer).await, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    }

    #[tokio::test]
    async fn when_the_transaction_is_gone_nothing_of_it_counts_as_done() {
        let writer = writer();
        let answers = join_all((0..30).map(|n| {
            writer.write(move |db| {
                add(db, n)?;
                if n == 7 {
                    db.execute_batch("ROLLBACK")?;
                    return Err(super::super::errors::full("as the test wants it"));
                }
                Ok(n)
            })
        }));
        let kept: Vec<i64> = answers.await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(numbers(&writer).await, kept);
        assert!(!kept.contains(&7));
        assert!(writer.write(|db| add(db, 100)).await.is_ok(), "and the next one begins anew");
    }
}
