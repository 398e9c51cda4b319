//! What the front says.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::Result;
use crate::core::{Moment, Run, RunState, TaskId};
use crate::engine::service::ServiceError;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Why there is no better answer. The texts are the contract's.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something is missing, or is not what it should be.
    #[error("invalid argument")]
    Argument,
    /// Nothing has run, or it is too long ago.
    #[error("result not exist")]
    NoResult,
    /// The command failed.
    #[error(transparent)]
    Service(ServiceError),
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) => Self::Argument,
            other => Self::Service(other),
        }
    }
}

/// A result, as the old worker kept it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TaskResult {
    is_result_exist: u8,
    is_success: u8,
    message: String,
}

impl TaskResult {
    /// What the last attempt came to; `None` while there was none. Each attempt that failed has a result, as it had in the old system,
    /// and the next one replaces it.
    pub fn of(run: &Run) -> Option<Self> {
        let result = |is_success, message| Some(Self { is_result_exist: 1, is_success, message });
        match run.state {
            RunState::Succeeded => result(1, message(run)),
            RunState::Dead | RunState::Retrying => result(0, why(run)),
            RunState::Ready | RunState::Leased if run.attempt > 1 => result(0, why(run)),
            _ => None,
        }
    }
}

/// What the worker gave back.
fn message(run: &Run) -> String {
    let result = run.result.as_deref().unwrap_or_default();
    let written = serde_json::from_str::<Value>(result).ok();
    let message = written.as_ref().and_then(|result| result["message"].as_str());
    message.unwrap_or(result).to_owned()
}

/// What the worker said, without the count of attempts that the ledger adds to the last word.
fn why(run: &Run) -> String {
    let why = run.reason.as_deref().unwrap_or_default();
    let counted = why.rfind(&format!(" (attempt {} of ", run.attempt)).filter(|_| why.ends_with(')'));
    counted.map_or(why, |at| &why[..at]).to_owned()
}

/// A task's id as clients know it.
pub fn uuid(id: &TaskId) -> String {
    uuid::Uuid::try_parse(id.as_str()).map_or_else(|_| id.to_string(), |id| id.hyphenated().to_string())
}

/// `2006-01-02`, and nothing that merely looks like it.
pub fn day(date: &str) -> Option<Moment> {
    let at = jiff::civil::Date::strptime("%Y-%m-%d", date).ok().filter(|at| at.to_string() == date)?;
    let midnight = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Moment::from_ms(midnight.timestamp().as_millisecond()))
}

/// The answer as it goes out: compact JSON, and 403 for whatever is refused.
pub fn to<T: Serialize>(result: Result<T>) -> Response {
    match result {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refused) => {
            if let Refused::Service(error) = &refused {
                tracing::warn!(%error, "a kingtask client was refused");
            }
            json(StatusCode::FORBIDDEN, &refused.to_string())
        }
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    // Numbers and texts: nothing in it cannot be written.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_one_way() {
        assert_eq!(day("2015-10-30").unwrap().to_string(), "2015-10-30T00:00:00.000Z");
        for wrong in ["", "2015-13-01", "2015-02-30", "15-10-30", "2015-1-2", "2015-10-30x", "today"] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
