//! Brings what the write-ahead log holds into the database, on a thread of its own: a commit that had to do it would be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::errors::unavailable;
use crate::ports::Result;

/// Pages of 4 KiB that are brought over at a time.
const STEP: i64 = 1_000;
/// Pages in the log from which on it must be begun anew. Until then it only grows, since there is always a commit under way.
const LONG: i64 = 16_000;

/// Watches the log. It ends when this is dropped.
pub struct Log {
    news: Option<SyncSender<()>>,
    is_long: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the thread on `db`.
    ///
    /// # Errors
    /// When the machine has no thread to give.
    pub fn watch(db: Connection) -> Result<Self> {
        // One piece of news is enough: whoever gets it looks for itself.
        let (news, heard) = sync_channel(1);
        let is_long = Arc::new(AtomicBool::new(false));
        let found_long = Arc::clone(&is_long);
        let thread = std::thread::Builder::new().name("sqlite-log".to_owned());
        let thread = thread.spawn(move || watch_all(&db, &heard, &found_long)).map_err(unavailable)?;
        Ok(Self { news: Some(news), is_long, thread: Some(thread) })
    }

    /// The thread that writes has committed through `db`, and those who waited have their answers.
    pub fn has_grown(&self, db: &Connection) {
        if let Some(news) = &self.news {
            let _ = news.try_send(());
        }
        if self.is_long.swap(false, Ordering::Relaxed) {
            begin_anew(db);
        }
    }
}

/// Brings over everything, on the thread that writes: while nothing is written the next commit can begin the log anew. On a full disk
/// that is room which nobody has to make.
pub fn begin_anew(db: &Connection) {
    // What could not be brought over stays in the log, where it is as safe.
    let _ = checkpoint(db, "PASSIVE");
}

impl Drop for Log {
    fn drop(&mut self) {
        self.news = None;
        // A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch_all(db: &Connection, heard: &Receiver<()>, is_long: &AtomicBool) {
    while heard.recv().is_ok() {
        // After an error the log is looked at again with the next news.
        if let Ok(true) = bring_over(db) {
            is_long.store(true, Ordering::Relaxed);
        }
    }
}

/// Brings over what there is, if it is worth it; whether the log has become long.
fn bring_over(db: &Connection) -> rusqlite::Result<bool> {
    let (pages, done) = checkpoint(db, "NOOP")?;
    if pages - done < STEP {
        return Ok(false);
    }
    let (pages, _) = checkpoint(db, "PASSIVE")?;
    Ok(pages >= LONG)
}

/// The pages in the log, and how many of them are in the database.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    let mut checkpoint = db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    checkpoint.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}
