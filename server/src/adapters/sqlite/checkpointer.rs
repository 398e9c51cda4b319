//! Checkpoints the write-ahead log on a separate thread: a checkpoint within a commit would delay
//! the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::errors::unavailable;
use crate::ports::Result;

/// Smallest number of pages of 4 KiB that are worth a checkpoint.
const MIN_PAGES: i64 = 1_000;
/// Number of pages from which the log must restart. Under load the log only grows, because a commit
/// is always in progress.
const MAX_PAGES: i64 = 16_000;

/// The checkpoint thread. It ends when the value is dropped.
pub struct Checkpointer {
    commits: Option<SyncSender<()>>,
    is_too_long: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread on `db`.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(db: Connection) -> Result<Self> {
        // One signal is enough: the thread then reads the size of the log.
        let (commits, signals) = sync_channel(1);
        let is_too_long = Arc::new(AtomicBool::new(false));
        let found_too_long = Arc::clone(&is_too_long);
        let thread = std::thread::Builder::new().name("sqlite-checkpoint".to_owned());
        let thread =
            thread.spawn(move || checkpoint_all(&db, &signals, &found_too_long)).map_err(unavailable)?;
        Ok(Self { commits: Some(commits), is_too_long, thread: Some(thread) })
    }

    /// Signals a commit. The writer calls this after it has answered its callers; `db` is its
    /// connection.
    pub fn signal_commit(&self, db: &Connection) {
        if let Some(commits) = &self.commits {
            let _ = commits.try_send(());
        }
        if self.is_too_long.swap(false, Ordering::Relaxed) {
            checkpoint_fully(db);
        }
    }
}

/// Checkpoints everything, on the writing thread. Nothing is written meanwhile, so the next commit
/// restarts the log. On a full disk, a restarted log frees space.
pub fn checkpoint_fully(db: &Connection) {
    // After an error the pages stay in the log, where they are equally durable.
    let _ = checkpoint(db, "PASSIVE");
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.commits = None;
        // The panic of a thread was already logged.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn checkpoint_all(db: &Connection, signals: &Receiver<()>, is_too_long: &AtomicBool) {
    while signals.recv().is_ok() {
        // After an error, the next signal tries again.
        if let Ok(true) = checkpoint_if_worthwhile(db) {
            is_too_long.store(true, Ordering::Relaxed);
        }
    }
}

/// Checkpoints if enough pages wait. Returns whether the log is too long.
fn checkpoint_if_worthwhile(db: &Connection) -> rusqlite::Result<bool> {
    let (pages, done) = checkpoint(db, "NOOP")?;
    if pages - done < MIN_PAGES {
        return Ok(false);
    }
    let (pages, _) = checkpoint(db, "PASSIVE")?;
    Ok(pages >= MAX_PAGES)
}

/// Returns the number of pages in the log, and how many of them are in the database.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    let mut checkpoint = db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    checkpoint.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}
