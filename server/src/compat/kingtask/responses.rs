//! Responses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::Result;
use crate::core::{Moment, Run, RunState, TaskId};
use crate::engine::service::ServiceError;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Why a request failed. The texts are defined by the contract.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field is missing or invalid.
    #[error("invalid argument")]
    Argument,
    /// No attempt has ended, or the retention of the result has.
    #[error("result not exist")]
    NoResult,
    /// A command failed.
    #[error(transparent)]
    Service(ServiceError),
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) => Self::Argument,
            other => Self::Service(other),
        }
    }
}

/// A result in the format of the old worker.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TaskResult {
    is_result_exist: u8,
    is_success: u8,
    message: String,
}

impl TaskResult {
    /// Returns the result of the last attempt that ended, if any. A failed attempt has a result too, until
    /// the next attempt ends.
    pub fn of(run: &Run) -> Option<Self> {
        let result = |is_success, message| Some(Self { is_result_exist: 1, is_success, message });
        match run.state {
            RunState::Succeeded => result(1, message(run)),
            RunState::Dead | RunState::Retrying => result(0, reason(run)),
            RunState::Held | RunState::Ready | RunState::Leased if run.attempt > 1 => result(0, reason(run)),
            _ => None,
        }
    }
}

/// Returns the message of the worker.
fn message(run: &Run) -> String {
    let result = run.result.as_deref().unwrap_or_default();
    let parsed = serde_json::from_str::<Value>(result).ok();
    let message = parsed.as_ref().and_then(|result| result["message"].as_str());
    message.unwrap_or(result).to_owned()
}

/// Returns the reason from the worker, without the number of attempts that the engine appends to the last
/// one.
fn reason(run: &Run) -> String {
    let reason = run.reason.as_deref().unwrap_or_default();
    let counted = reason.rfind(&format!(" (attempt {} of ", run.attempt)).filter(|_| reason.ends_with(')'));
    counted.map_or(reason, |at| &reason[..at]).to_owned()
}

/// Returns the id of a task as a hyphenated UUID.
pub fn uuid(id: &TaskId) -> String {
    uuid::Uuid::try_parse(id.as_str()).map_or_else(|_| id.to_string(), |id| id.hyphenated().to_string())
}

/// Parses a date in the exact format `2006-01-02`.
pub fn day(date: &str) -> Option<Moment> {
    let at = jiff::civil::Date::strptime("%Y-%m-%d", date).ok().filter(|at| at.to_string() == date)?;
    let midnight = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Moment::from_ms(midnight.timestamp().as_millisecond()))
}

/// Returns the response: compact JSON, and 403 for every error.
pub fn to<T: Serialize>(result: Result<T>) -> Response {
    match result {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refused) => {
            if let ApiError::Service(error) = &refused {
                tracing::warn!(%error, "kingtask request failed");
            }
            json(StatusCode::FORBIDDEN, &refused.to_string())
        }
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    // Serialization of numbers and strings does not fail.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_one_format() {
        assert_eq!(day("2015-10-30").unwrap().to_string(), "2015-10-30T00:00:00.000Z");
        for wrong in ["", "2015-13-01", "2015-02-30", "15-10-30", "2015-1-2", "2015-10-30x", "today"] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
