//! Responses: one envelope for every answer.

use serde::Serialize;

use crate::engine::service::ServiceError;

/// Why a request failed. Codes and texts are defined by the contract.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field is missing or invalid.
    #[error("{0}")]
    Argument(String),
    /// The task does not exist or belongs to another API.
    #[error("task not found")]
    NoTask,
    /// The service or node does not exist.
    #[error("task callback server not found")]
    NoServer,
    /// The server is stopping, or the run was cancelled.
    #[error("stopped")]
    Stopped,
    /// Only POST is allowed.
    #[error("method not allowed")]
    Method,
    /// A command failed. The log has the cause.
    #[error("internal error")]
    Internal(#[source] ServiceError),
}

impl ApiError {
    /// The error of a body that cannot be parsed.
    pub fn malformed() -> Self {
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

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(invalid) => Self::Argument(invalid.to_string()),
            ServiceError::NotFound => Self::NoTask,
            other => Self::Internal(other),
        }
    }
}

/// An empty object.
#[derive(Serialize)]
pub struct Nothing {}

/// A response. `data` is null in an error.
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
    /// Returns the response to the request with the trace id `hint`.
    pub fn of(done: &'a Result<T, ApiError>, hint: &'a str, task_id: Option<&'a str>) -> Self {
        match done {
            Ok(data) => Self { code: 0, msg: String::new(), data: Some(data), hint, task_id },
            Err(refused) => {
                if let ApiError::Internal(error) = refused {
                    tracing::warn!(%error, trace = hint, "easytask request failed");
                }
                Self { code: refused.code(), msg: refused.to_string(), data: None, hint, task_id: None }
            }
        }
    }
}
