//! The data directory. One process at a time uses it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::errors::{io_error, refused};
use crate::ports::Result;

/// A data directory, locked for this process until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Locks the directory at `path`. Creates a missing directory, readable only by its owner,
    /// because it contains payloads.
    ///
    /// # Errors
    /// If the directory cannot be created or written to, or another process has locked it.
    pub fn lock(path: &Path) -> Result<Self> {
        create(path).map_err(|error| io_error(&format!("cannot create {}", path.display()), &error))?;
        let lock = path.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&lock);
        let lock = opened.map_err(|error| io_error(&format!("cannot open {}", lock.display()), &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(in_use(path)),
            Err(TryLockError::Error(error)) => {
                Err(io_error(&format!("cannot lock {}", path.display()), &error))
            }
        }
    }

    /// Returns the path of the database file.
    pub fn database(&self) -> PathBuf {
        self.path.join("taskcenter.db")
    }
}

fn create(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

fn in_use(path: &Path) -> crate::ports::PortError {
    refused(format!(
        "the data directory {} is in use by another taskcenter: stop that process, or start this one with another --data-dir",
        path.display()
    ))
}
