//! The data directory. One process at a time uses it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::errors::{io_error, refused};
use crate::ports::{PortError, Result};

const DATABASE: &str = "taskcenter.db";
/// The bits of a mode with the rights of the group and of others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// A data directory, locked for this process until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Locks the directory at `path`, and creates a missing directory. Only the owner can read the
    /// directory and its files, because they contain payloads.
    ///
    /// # Errors
    /// If the directory cannot be created or written to, or another process has locked it.
    pub fn lock(path: &Path) -> Result<Self> {
        create(path).map_err(|error| unusable("cannot create the data directory", path, &error))?;
        restrict(path);
        let lock = path.join("lock");
        let opened = open_or_create(&lock);
        let lock = opened
            .map_err(|error| unusable("cannot write to the data directory: cannot open", &lock, &error))?;
        match lock.try_lock() {
            Ok(()) => Self { path: path.to_owned(), _lock: lock }.with_private_files(),
            Err(TryLockError::WouldBlock) => Err(in_use(path)),
            Err(TryLockError::Error(error)) => Err(unusable("cannot lock the data directory", path, &error)),
        }
    }

    /// Makes the files readable only by their owner. SQLite gives its other files the mode of the
    /// database.
    fn with_private_files(self) -> Result<Self> {
        let database = self.database();
        let created = open_or_create(&database);
        created.map_err(|error| unusable("cannot open", &database, &error))?;
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let is_own = |name: &str| name == "lock" || name.starts_with(DATABASE);
        files
            .filter(|file| file.file_name().to_str().is_some_and(is_own))
            .for_each(|file| restrict(&file.path()));
        Ok(self)
    }

    /// Returns the path of the database file.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

fn unusable(problem: &str, path: &Path, error: &io::Error) -> PortError {
    let path = path.display();
    let remedy = "choose a writable directory with --data-dir or embedded.data_dir";
    io_error(format!("{problem} {path}: {error}: {remedy}"), error)
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

fn open_or_create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create(true).truncate(false).open(path)
}

/// Takes the rights of the group and of others. Another user may own the directory, such as that of
/// a mounted volume: then the rights stay.
#[cfg(unix)]
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let restricted = std::fs::metadata(path).and_then(|metadata| {
        let mut rights = metadata.permissions();
        if rights.mode() & GROUP_AND_OTHERS == 0 {
            return Ok(());
        }
        rights.set_mode(if metadata.is_dir() { 0o700 } else { 0o600 });
        std::fs::set_permissions(path, rights)
    });
    if let Err(error) = restricted {
        tracing::warn!(path = %path.display(), %error, "other users may read the data: cannot change the rights");
    }
}

#[cfg(not(unix))]
fn restrict(_: &Path) {}

fn in_use(path: &Path) -> PortError {
    refused(format!(
        "the data directory {} is in use by another taskcenter: stop that process, or start this one with another --data-dir",
        path.display()
    ))
}
