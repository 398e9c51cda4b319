//! What the front says: one envelope for every answer.

use serde::Serialize;

use crate::engine::service::ServiceError;

/// Why a request was not carried out. Codes and texts are the contract's.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something is missing, or is not what it should be.
    #[error("{0}")]
    Argument(String),
    /// There is no such task, or it is not one of this front.
    #[error("task not found")]
    NoTask,
    /// There is no such service, or no such node of it.
    #[error("task callback server not found")]
    NoServer,
    /// The server stops, or the run was stopped.
    #[error("stopped")]
    Stopped,
    /// Only POST is known here.
    #[error("method not allowed")]
    Method,
    /// The command failed; the cause is in the log.
    #[error("internal error")]
    Internal(#[source] ServiceError),
}

impl Refused {
    /// What cannot be read at all.
    pub fn unreadable() -> Self {
        Self::Argument("request arguments are invalid".to_owned())
    }

    fn code(&self) -> u32 {
        match self {
            Self::Argument(_) => 10_001,
            Self::NoTask => 10_002,
            Self::NoServer => 10_003,
            Self::Stopped => 10_004,
            Self::Method => 405,
            Self::Internal(_) => 500,
        }
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(invalid) => Self::Argument(invalid.to_string()),
            ServiceError::NotFound => Self::NoTask,
            other => Self::Internal(other),
        }
    }
}

/// The empty object.
#[derive(Serialize)]
pub struct Nothing {}

/// An answer. `data` is null where something is wrong.
#[derive(Serialize)]
pub struct Envelope<'a, T> {
    code: u32,
    msg: String,
    data: Option<&'a T>,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
}

impl<'a, T: Serialize> Envelope<'a, T> {
    /// The answer to a request of the trace `hint`.
    pub fn of(done: &'a Result<T, Refused>, hint: &'a str, task_id: Option<&'a str>) -> Self {
        match done {
            Ok(data) => Self { code: 0, msg: String::new(), data: Some(data), hint, task_id },
            Err(refused) => {
                if let Refused::Internal(error) = refused {
                    tracing::warn!(%error, trace = hint, "an easytask client was refused");
                }
                Self { code: refused.code(), msg: refused.to_string(), data: None, hint, task_id: None }
            }
        }
    }
}
