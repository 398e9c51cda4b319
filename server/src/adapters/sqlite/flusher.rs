//! The flushing thread. It flushes the log after a commit and then answers the callers, while the
//! writing thread runs the next transaction.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::durability::Durability;
use super::errors::{io_error, unavailable};
use super::job::Job;
use super::open_file::OpenFile;
use crate::ports::{PortError, Result};

/// The jobs of a transaction.
pub struct Group {
    pub jobs: Vec<Box<dyn Job>>,
    /// Why nothing was written.
    pub failed: Option<PortError>,
    /// Number of the commit, or of the last one before it.
    pub number: u64,
}

impl Group {
    fn answer(self, failed: Option<&PortError>) {
        let failed = self.failed.as_ref().or(failed);
        self.jobs.into_iter().for_each(|job| job.answer(failed));
    }
}

/// Moves the bytes of the log to the disk.
pub type Flush = Box<dyn Fn() -> std::io::Result<()> + Send>;

/// Returns the flush of the log of the database at `path`. The log exists while a connection is open.
///
/// # Errors
/// If the log cannot be opened.
pub fn of_log(path: &Path) -> Result<Flush> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Some systems flush only a file that is open for writing.
    let file: File = OpenOptions::new()
        .write(true)
        .open(&log)
        .map_err(|error| io_error(format!("the write-ahead log cannot be opened: {error}"), &error))?;
    Ok(Box::new(move || file.sync_data()))
}

/// The thread. When the value is dropped, the thread flushes the waiting groups and ends.
pub struct Flusher {
    groups: Option<Sender<Group>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread. It calls `done` with the number of groups that no longer wait, also if it ends.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(
        flush: Flush,
        durability: &Arc<Durability>,
        file: &Arc<OpenFile>,
        done: impl Fn(usize) + Send + 'static,
    ) -> Result<Self> {
        let (groups, waiting) = channel();
        let state = State { flush, durability: Arc::clone(durability), file: Arc::clone(file), done };
        let thread = std::thread::Builder::new().name("sqlite-flush".to_owned());
        let thread = thread.spawn(move || flush_all(&state, &waiting)).map_err(unavailable)?;
        Ok(Self { groups: Some(groups), thread: Some(thread) })
    }

    /// Hands a group over, after its commit. Returns whether the thread runs.
    pub fn flush(&self, group: Group) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.send(group).is_ok())
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.groups = None;
        // The panic of a thread was already logged.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct State<F: Fn(usize)> {
    flush: Flush,
    durability: Arc<Durability>,
    file: Arc<OpenFile>,
    done: F,
}

impl<F: Fn(usize)> Drop for State<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.file.lose_flush("the flushing thread panicked");
        }
        // The thread ends, so every waiting reader must continue.
        self.durability.settle(u64::MAX);
        (self.done)(usize::MAX);
    }
}

fn flush_all<F: Fn(usize)>(state: &State<F>, waiting: &Receiver<Group>) {
    while let Ok(first) = waiting.recv() {
        let groups: Vec<Group> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let failed = state.flush(&groups).err();
        state.durability.settle(groups.last().map_or(0, |group| group.number));
        (state.done)(groups.len());
        groups.into_iter().for_each(|group| group.answer(failed.as_ref()));
    }
}

impl<F: Fn(usize)> State<F> {
    /// Flushes the log. A commit into a lost file is not durable, so the file is checked before the answers.
    fn flush(&self, groups: &[Group]) -> Result<()> {
        if groups.iter().all(|group| group.failed.is_some()) {
            return Ok(());
        }
        crate::failpoint!("sqlite::before_flush");
        self.file.require()?;
        // The system may drop the bytes of a failed flush, and the next flush then succeeds.
        (self.flush)().map_err(|error| self.file.lose_flush(&error.to_string()))?;
        crate::failpoint!("sqlite::flushed");
        self.file.check()
    }
}
