//! SQLite's errors, as the port names them.

use rusqlite::ErrorCode as Code;
use rusqlite::ffi;

use crate::ports::{BoxError, PortError};

const NAME: &str = "SQLite";

impl From<rusqlite::Error> for PortError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error() {
            Some(code) if is_full(*code) => full(error),
            Some(code) => by_code(code.code, error),
            None if is_unreadable(&error) => corrupt(error),
            None => refused(error),
        }
    }
}

/// A disk without room also shows as a write, or a growth of the shared index, that fails.
fn is_full(error: ffi::Error) -> bool {
    error.code == Code::DiskFull
        || matches!(error.extended_code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
}

fn by_code(code: Code, error: rusqlite::Error) -> PortError {
    match code {
        Code::DatabaseCorrupt | Code::NotADatabase => corrupt(error),
        Code::DatabaseBusy
        | Code::DatabaseLocked
        | Code::SystemIoFailure
        | Code::OutOfMemory
        | Code::CannotOpen
        | Code::FileLockingProtocolFailed
        | Code::OperationInterrupted
        | Code::OperationAborted => unavailable(error),
        _ => refused(error),
    }
}

/// A column that does not hold what this release has put there.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..)
    )
}

/// A file system's error, as the port names it.
pub fn io_error(what: &str, error: &std::io::Error) -> PortError {
    use std::io::ErrorKind as K;
    let cause = format!("{what}: {error}");
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => full(cause),
        K::PermissionDenied
        | K::NotADirectory
        | K::AlreadyExists
        | K::ReadOnlyFilesystem
        | K::InvalidInput => refused(cause),
        _ => unavailable(cause),
    }
}

/// The state of the operation is unknown.
pub fn unavailable(cause: impl Into<BoxError>) -> PortError {
    PortError::Unavailable(NAME, cause.into())
}

/// Repeating it will not help.
pub fn refused(cause: impl Into<BoxError>) -> PortError {
    PortError::Refused(NAME, cause.into())
}

/// There is no room; nothing was written.
pub fn full(cause: impl Into<BoxError>) -> PortError {
    PortError::Full(NAME, cause.into())
}

/// What is stored cannot be read.
pub fn corrupt(cause: impl Into<BoxError>) -> PortError {
    PortError::Corrupt(NAME, cause.into())
}

/// The same error for one more of those that it befell.
pub fn copy(error: &PortError) -> PortError {
    like(error, cause(error))
}

/// The same error, and what it is about.
pub fn about(what: &str, error: &PortError) -> PortError {
    like(error, format!("{what}: {}", cause(error)))
}

fn cause(error: &PortError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn like(error: &PortError, cause: String) -> PortError {
    match error {
        PortError::Unavailable(name, _) => PortError::Unavailable(name, cause.into()),
        PortError::Refused(name, _) => PortError::Refused(name, cause.into()),
        PortError::Full(name, _) => PortError::Full(name, cause.into()),
        PortError::Corrupt(name, _) => PortError::Corrupt(name, cause.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(extended_code: i32) -> PortError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None).into()
    }

    #[test]
    fn each_code_has_its_meaning() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(of(code), PortError::Full(..)), "{code}");
        }
        // A flush that failed says nothing of what is on the disk.
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_READ] {
            assert!(matches!(of(code), PortError::Unavailable(..)), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_CORRUPT_INDEX] {
            assert!(matches!(of(code), PortError::Corrupt(..)), "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_MISUSE, ffi::SQLITE_READONLY] {
            assert!(matches!(of(code), PortError::Refused(..)), "{code}");
        }
    }
}
