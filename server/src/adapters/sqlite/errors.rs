//! Maps SQLite's errors to port errors.

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

/// On a full disk, also a write or the growth of the shared index may fail.
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
        | Code::OperationAborted => unavailable(error),
        Code::OperationInterrupted => PortError::Interrupted(NAME, error.into()),
        _ => refused(error),
    }
}

/// Returns whether a column has an unexpected type.
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

/// Maps an error of the file system. `cause` says what failed, and why.
pub fn io_error(cause: String, error: &std::io::Error) -> PortError {
    use std::io::ErrorKind as K;
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

/// The operation may have happened.
pub fn unavailable(cause: impl Into<BoxError>) -> PortError {
    PortError::Unavailable(NAME, cause.into())
}

/// Repeating the operation does not help.
pub fn refused(cause: impl Into<BoxError>) -> PortError {
    PortError::Refused(NAME, cause.into())
}

/// No space is left; nothing was written.
pub fn full(cause: impl Into<BoxError>) -> PortError {
    PortError::Full(NAME, cause.into())
}

/// A stored row cannot be read.
pub fn corrupt(cause: impl Into<BoxError>) -> PortError {
    PortError::Corrupt(NAME, cause.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(extended_code: i32) -> PortError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None).into()
    }

    #[test]
    fn each_code_maps_to_its_port_error() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(mapped(code), PortError::Full(..)), "{code}");
        }
        // After a failed flush it is unknown what is on the disk.
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_READ] {
            assert!(matches!(mapped(code), PortError::Unavailable(..)), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_CORRUPT_INDEX] {
            assert!(matches!(mapped(code), PortError::Corrupt(..)), "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_MISUSE, ffi::SQLITE_READONLY] {
            assert!(matches!(mapped(code), PortError::Refused(..)), "{code}");
        }
    }
}
