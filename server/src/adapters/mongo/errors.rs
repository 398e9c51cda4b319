//! Maps MongoDB's errors to port errors.

use std::future::Future;
use std::time::Duration;

use mongodb::error::{
    Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};

use crate::ports::{BoxError, PortError, Result};

const NAME: &str = "MongoDB";

/// Timeout of a single operation. Without it, the driver would wait for a frozen server.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of a list or a count on the server, which then answers before [`OPERATION_TIMEOUT`].
pub const READ_TIMEOUT: Duration = Duration::from_secs(9);

/// Error code of an operation that exceeded its time limit on the server.
const MAX_TIME_EXPIRED: i32 = 50;

/// Pauses between the attempts of a write whose answer was lost.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Error code of a duplicate key.
pub const DUPLICATE_KEY: i32 = 11000;

/// Error codes of a server that shuts down, is not the primary, or is too slow: the write may have
/// happened.
const UNAVAILABLE_CODES: [i32; 24] = [
    6, 7, 24, 50, 64, 89, 91, 100, 112, 133, 134, 189, 202, 246, 262, 9001, 10107, 11600, 11601, 11602,
    13388, 13435, 13436, 50915,
];

/// Labels of errors after which the operation may have happened, and can be repeated.
const UNKNOWN_RESULT: [&str; 3] =
    [RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT];

/// Returns whether the operation may have happened in spite of this error code.
pub fn is_unavailable(code: i32) -> bool {
    UNAVAILABLE_CODES.contains(&code)
}

/// Returns whether a single write failed because of a duplicate key.
pub fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
}

/// Returns whether the server has aborted the transaction, such as after a conflict with another write. Nothing
/// was written, so the caller can read again and decide again.
pub fn has_aborted(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

/// Maps an error of the driver.
pub fn port_error(error: Error) -> PortError {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown
        | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => unavailable(error),
        ErrorKind::Command(command) if is_unavailable(command.code) => unavailable(error),
        ErrorKind::Write(WriteFailure::WriteError(write)) if is_unavailable(write.code) => unavailable(error),
        ErrorKind::InsertMany(insert) if insert.write_concern_error.is_some() => unavailable(error),
        ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. } => {
            corrupt(error)
        }
        _ if UNKNOWN_RESULT.iter().any(|label| error.contains_label(label)) => unavailable(error),
        _ => refused(error),
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

/// A stored row cannot be read.
pub fn corrupt(cause: impl Into<BoxError>) -> PortError {
    PortError::Corrupt(NAME, cause.into())
}

/// Runs one operation of the driver, with a timeout.
pub async fn bounded<T>(operation: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
    timed(operation).await?.map_err(port_error)
}

/// Same as [`bounded`], for a read with a time limit on the server.
pub async fn interruptible<T>(read: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
    timed(read).await?.map_err(|error| match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED => {
            PortError::Interrupted(NAME, error.into())
        }
        _ => port_error(error),
    })
}

/// Same as [`bounded`], for callers that need the driver's error.
pub async fn timed<T>(
    operation: impl Future<Output = mongodb::error::Result<T>>,
) -> Result<mongodb::error::Result<T>> {
    tokio::time::timeout(OPERATION_TIMEOUT, operation).await.map_err(unavailable)
}

/// Repeats a write, a limited number of times, while it is unknown whether it happened.
pub async fn with_retries<T, F: Future<Output = Result<T>>>(write: impl FnMut() -> F) -> Result<T> {
    Ok(with_counted_retries(write).await?.0)
}

/// Same as [`with_retries`]; also returns the number of earlier attempts, each of which may have
/// happened.
pub async fn with_counted_retries<T, F: Future<Output = Result<T>>>(
    mut write: impl FnMut() -> F,
) -> Result<(T, usize)> {
    for (retries, pause) in RETRY_PAUSES.into_iter().enumerate() {
        match write().await {
            Err(PortError::Unavailable(..)) => tokio::time::sleep(pause).await,
            answer => return Ok((answer?, retries)),
        }
    }
    Ok((write().await?, RETRY_PAUSES.len()))
}

/// Runs an insert of one row. Returns `false` if its key already exists.
pub async fn is_inserted<T>(insert: impl Future<Output = mongodb::error::Result<T>>) -> Result<bool> {
    match timed(insert).await? {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(port_error(error)),
    }
}
