//! MongoDB's errors, as the port names them.

use std::future::Future;
use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::ports::{BoxError, PortError, Result};

const NAME: &str = "MongoDB";

/// Longest single operation. A frozen server answers nothing, and the driver itself would wait for it.
const LONGEST_OPERATION: Duration = Duration::from_secs(10);

/// Pauses between the tries of a write whose answer was lost; each is the same write again.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// The code of a row that collides with one that stands.
pub const DUPLICATE_KEY: i32 = 11000;

/// Codes of a server that is going, gone, not the primary, or too slow: the state of the write is unknown.
const UNAVAILABLE_CODES: [i32; 24] = [
    6, 7, 24, 50, 64, 89, 91, 100, 112, 133, 134, 189, 202, 246, 262, 9001, 10107, 11600, 11601, 11602,
    13388, 13435, 13436, 50915,
];

/// Whether it is unknown what became of the operation.
pub fn is_unavailable(code: i32) -> bool {
    UNAVAILABLE_CODES.contains(&code)
}

/// Whether a single write collided with a row that stands.
pub fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
}

/// A driver's error, as the port names it.
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
        _ if error.contains_label("RetryableWriteError") => unavailable(error),
        _ => refused(error),
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

/// What is stored cannot be read.
pub fn corrupt(cause: impl Into<BoxError>) -> PortError {
    PortError::Corrupt(NAME, cause.into())
}

/// Runs one operation of the driver for as long as one may take.
pub async fn bounded<T>(operation: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
    match tokio::time::timeout(LONGEST_OPERATION, operation).await {
        Ok(answer) => answer.map_err(port_error),
        Err(elapsed) => Err(unavailable(elapsed)),
    }
}

/// Repeats the same write while its state is unknown, a bounded number of times.
pub async fn persistent<T, F: Future<Output = Result<T>>>(mut write: impl FnMut() -> F) -> Result<T> {
    for pause in RETRY_PAUSES {
        match write().await {
            Err(PortError::Unavailable(..)) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    write().await
}
