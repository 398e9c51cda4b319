//! The data directory: one process has it at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::errors::{io_error, refused};
use crate::ports::Result;

/// A directory that this process alone uses, for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory at `path`, and makes it where it is missing: for its owner's eyes only, since payloads lie in it.
    ///
    /// # Errors
    /// When it cannot be made or written to, or another process has it.
    pub fn take(path: &Path) -> Result<Self> {
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

    /// Where the database lies.
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
        "the data directory {} is in use by another taskcenter: stop that one, or start this one with another --data-dir",
        path.display()
    ))
}
