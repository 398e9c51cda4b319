//! The writing thread. Jobs that wait at the same time share a transaction, and so one flush of the
//! disk. The [flushing thread](super::flusher) flushes a commit while this thread runs the next
//! transaction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use super::checkpointer::{Checkpointer, checkpoint_fully};
use super::durability::Durability;
use super::errors::unavailable;
use super::flusher::{Flush, Flusher, Group};
use super::inbox::{BATCH, Inbox, Message};
use super::job::{Isolation, Job, Waiting};
use super::open_file::OpenFile;
use super::rows::Db;
use crate::ports::{PortError, Result};

/// Maximum number of waiting jobs. Further callers wait.
const QUEUE: usize = 4 * BATCH;

/// The writing thread. When the value is dropped, the thread finishes the waiting jobs and ends.
pub struct Writer {
    jobs: Sender<Message>,
    slots: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on `db`, whose commits `flush` moves to the disk. `checkpointer` works on the same
    /// file.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(
        db: Db,
        checkpointer: Checkpointer,
        flush: Flush,
        file: &Arc<OpenFile>,
        durability: &Arc<Durability>,
    ) -> Result<Self> {
        let (jobs, messages) = channel();
        let sender = jobs.clone();
        // The receiver ends before the flusher.
        let done = move |groups| drop(sender.send(Message::Flushed(groups)));
        let flusher = Flusher::start(flush, durability, file, done)?;
        let commits = Arc::new(AtomicU64::new(0));
        let thread = std::thread::Builder::new().name("sqlite-writer".to_owned());
        let (counted, file, durability) = (Arc::clone(&commits), Arc::clone(file), Arc::clone(durability));
        let writing = move || {
            let inbox = Inbox::new(messages);
            Writing { db, checkpointer, flusher, file, durability, commits: counted }.write_all(inbox);
        };
        let thread = thread.spawn(writing).map_err(unavailable)?;
        let slots = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { jobs, slots, commits, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction. Returns its result after the commit has reached the disk. If
    /// `work` fails or panics, only its own writes are undone. `work` runs twice if a job of the
    /// transaction fails; the first run is then undone. A queued job runs even if the caller goes away.
    ///
    /// # Errors
    /// Errors of `work`, and of the commit, after which nothing is written. After an error of the flush,
    /// the write may be lost, and the store refuses all work.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(unavailable)?;
        let (answer, answered) = oneshot::channel();
        let job = Message::Job(Box::new(Waiting::new(work, answer, slot)));
        self.jobs.send(job).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Returns the number of committed transactions.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.jobs.send(Message::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The panic of a thread was already logged.
        let _ = thread.map(JoinHandle::join);
    }
}

fn ended() -> PortError {
    unavailable("the writing thread has ended")
}

/// State of the writing thread.
struct Writing {
    // In the order of dropping: the last connection to close decides about the log.
    flusher: Flusher,
    checkpointer: Checkpointer,
    db: Db,
    file: Arc<OpenFile>,
    durability: Arc<Durability>,
    commits: Arc<AtomicU64>,
}

impl Writing {
    fn write_all(self, mut inbox: Inbox) {
        while let Some(mut jobs) = inbox.next_batch() {
            let committed = self.file.require().and_then(|()| self.commit(&mut jobs, &mut inbox));
            let failed = committed.err();
            let is_committed = failed.is_none();
            self.commits.fetch_add(u64::from(is_committed), Ordering::Relaxed);
            let group = Group { jobs, failed, number: self.durability.last_visible() };
            if !self.flusher.flush(group) {
                break;
            }
            inbox.flushing += 1;
            self.checkpoint(is_committed);
        }
        self.keep_lost_log();
    }

    fn checkpoint(&self, is_committed: bool) {
        if is_committed {
            self.checkpointer.signal_commit(&self.db);
        } else if self.file.require().is_ok() {
            checkpoint_fully(&self.db);
        }
    }

    fn keep_lost_log(&self) {
        if self.file.require().is_err() {
            // The log may be all that is left of the data: do not write it into another file.
            let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// Runs the batch in one transaction, with the jobs that arrive while an earlier commit is flushed.
    /// After an error, nothing is written.
    fn commit(&self, batch: &mut Vec<Box<dyn Job>>, inbox: &mut Inbox) -> Result<()> {
        // Jobs rarely fail, so only the repetition pays for savepoints.
        if self.commit_all(batch, inbox)? { Ok(()) } else { self.commit_each(batch) }
    }

    /// Commits the batch if no job fails. Returns whether it was committed.
    fn commit_all(&self, batch: &mut Vec<Box<dyn Job>>, inbox: &mut Inbox) -> Result<bool> {
        let tx = begin(&self.db)?;
        let mut done = 0;
        while let Some(job) = next_job(batch, done, inbox) {
            if job.run(&self.db, Isolation::None).is_err() {
                // After some errors, such as a full disk, SQLite has already rolled back.
                if !tx.is_autocommit() {
                    tx.rollback()?;
                }
                return Ok(false);
            }
            done += 1;
        }
        self.finish(tx).map(|()| true)
    }

    /// Commits the jobs that do not fail.
    fn commit_each(&self, batch: &mut [Box<dyn Job>]) -> Result<()> {
        let tx = begin(&self.db)?;
        for job in batch {
            if let Err(error) = job.run(&self.db, Isolation::Savepoint)
                && tx.is_autocommit()
            {
                return Err(error);
            }
        }
        self.finish(tx)
    }

    fn finish(&self, tx: Transaction<'_>) -> Result<()> {
        crate::failpoint!("sqlite::before_commit");
        self.durability.begin_commit();
        tx.commit()?;
        crate::failpoint!("sqlite::committed");
        Ok(())
    }
}

/// Returns the job of the batch at `at`. After the last one, waits for jobs that arrive during a flush.
fn next_job<'a>(
    batch: &'a mut Vec<Box<dyn Job>>,
    at: usize,
    inbox: &mut Inbox,
) -> Option<&'a mut Box<dyn Job>> {
    if at == batch.len() && at < BATCH {
        batch.extend(inbox.during_flush());
    }
    batch.get_mut(at)
}

fn begin(db: &Db) -> Result<Transaction<'_>> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    crate::failpoint!("sqlite::begun");
    Ok(tx)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use rusqlite::Connection;

    use super::*;
    use crate::adapters::sqlite::errors::refused;

    fn writer() -> Writer {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").unwrap();
        Writer::start(
            Db::new(db, &Arc::default()),
            Checkpointer::start(Connection::open_in_memory().unwrap()).unwrap(),
            Box::new(|| Ok(())),
            &no_file(),
            &Arc::default(),
        )
        .unwrap()
    }

    fn no_file() -> Arc<OpenFile> {
        Arc::new(OpenFile::new(std::path::Path::new("")))
    }

    /// Returns the state of a writing thread, without a thread.
    fn writing() -> Writing {
        let (file, durability) = (no_file(), Arc::default());
        Writing {
            flusher: Flusher::start(Box::new(|| Ok(())), &durability, &file, drop).unwrap(),
            checkpointer: Checkpointer::start(Connection::open_in_memory().unwrap()).unwrap(),
            db: Db::new(Connection::open_in_memory().unwrap(), &Arc::default()),
            file,
            durability,
            commits: Arc::default(),
        }
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
        let writing = writing();
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
                batch.push(Box::new(Waiting::new(work, answer, slot)));
                answers.push(answered);
            }
            writing.commit(&mut batch, &mut Inbox::new(channel().1)).unwrap();
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
