//! The database file after it was opened. If the file is removed or replaced while the server runs, SQLite
//! continues with the old file, and every later write is lost at the end of the process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::errors::unavailable;
use crate::ports::{PortError, Result};

/// First bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Device and inode of a file. Systems without them compare as equal.
type Identity = (u64, u64);

/// The database file and its write-ahead log, as the store has opened them.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    /// Open until the end: a process that closes a handle of a file loses its locks of the file. Without
    /// the locks of SQLite, another program that reads the file could remove the log.
    file: Option<File>,
    opened: Option<Identity>,
    /// Whether the file began like a database when it was opened. A new file may be empty.
    was_database: bool,
    /// The log, once it exists.
    log: Mutex<Option<Identity>>,
    /// Why the store refuses all work.
    lost: OnceLock<&'static str>,
}

const REPLACED: &str = "the database file was removed or replaced: restore it, and restart the server";
const NOT_FLUSHED: &str = "a write did not reach the disk: check the disk, and restart the server";

impl OpenFile {
    /// Notes the file that the store has opened.
    pub fn new(path: &Path) -> Self {
        let file = File::open(path).ok();
        Self {
            path: path.to_owned(),
            opened: identity(path),
            was_database: file.as_ref().is_some_and(is_database),
            file,
            log: Mutex::default(),
            lost: OnceLock::new(),
        }
    }

    /// Returns an error if the file was found lost before, or a flush failed.
    ///
    /// # Errors
    /// `Unavailable` until the process restarts.
    pub fn require(&self) -> Result<()> {
        self.lost.get().map_or(Ok(()), |why| Err(unavailable(*why)))
    }

    /// Notes that a flush failed. Returns the error of all further work: the bytes may be missing in the
    /// log, so a later commit could not be recovered.
    pub fn lose_flush(&self, cause: &str) -> PortError {
        if self.lost.set(NOT_FLUSHED).is_ok() {
            let path = self.path.display();
            tracing::error!(%path, cause, "a flush of the database failed; the server refuses all work until it is restarted");
        }
        unavailable(NOT_FLUSHED)
    }

    /// Checks that the path still has the opened file, and that the file is a database.
    ///
    /// # Errors
    /// As [`require`](Self::require).
    pub fn check(&self) -> Result<()> {
        if let Some(why) = self.loss()
            && self.lost.set(REPLACED).is_ok()
        {
            let path = self.path.display();
            tracing::error!(%path, why, "the database file is lost; the server refuses all work until it is restarted with a good file");
        }
        self.require()
    }

    fn loss(&self) -> Option<&'static str> {
        let now = identity(&self.path);
        if now.is_none() && self.opened.is_some() {
            return Some("the file was removed");
        }
        if now != self.opened {
            return Some("the file was replaced by another one");
        }
        if self.was_database && !self.file.as_ref().is_none_or(is_database) {
            return Some("the file is no longer a database");
        }
        self.is_log_lost().then_some("the write-ahead log was removed or replaced")
    }

    fn is_log_lost(&self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let now = identity(Path::new(&log));
        let mut opened = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            *opened = now;
        }
        *opened != now
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|_| (0, 0))
}

/// Returns whether the file begins like a database. A file that cannot be read may be one.
fn is_database(file: &File) -> bool {
    let mut magic = [0; MAGIC.len()];
    read_start(file, &mut magic).map_or(true, |_| magic == *MAGIC)
}

#[cfg(unix)]
fn read_start(file: &File, bytes: &mut [u8]) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0)
}

#[cfg(windows)]
fn read_start(file: &File, bytes: &mut [u8]) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, 0)
}
