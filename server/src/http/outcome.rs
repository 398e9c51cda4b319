//! Outcome reports and confirmations in requests.

use serde::Deserialize;
use serde_json::Value;
use taskcenter_client::Timestamp;
use taskcenter_client::resources::RunConfirmation;
use taskcenter_client::wire::ReportedOutcome;

use super::error::ApiError;
use crate::core::RunId;
use crate::engine::service::{Confirmation, Report};
use crate::wire;

/// Maximum length of a message. A longer one is cut, so that no outcome is refused for a long
/// reason.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;
/// Longest pause before the next attempt: 366 days.
const MAX_RETRY_AFTER_MS: u64 = 366 * 86_400_000;
/// Maximum length of a result, as JSON without blanks.
const MAX_RESULT_BYTES: usize = 64 * 1024;
/// Maximum nesting depth of a result. JSON decoders limit the depth of a document, and an answer
/// nests a result inside further objects.
const MAX_RESULT_DEPTH: usize = 64;

/// Body of a report, and item of a settlement. Unlike the wire types of the SDK, it refuses unknown
/// fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    run_id: Option<String>,
    attempt: u32,
    token: String,
    outcome: ReportedOutcome,
    message: Option<String>,
    retry_after_ms: Option<u64>,
    result: Option<Value>,
    started_at: Option<Timestamp>,
}

/// Body of a settlement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleBody {
    /// One report for each run.
    pub outcomes: Vec<ReportBody>,
}

impl ReportBody {
    /// Returns the report for the run of the path.
    ///
    /// # Errors
    /// An error that names the invalid field.
    pub fn of_path(self) -> Result<Report, ApiError> {
        if self.run_id.is_some() {
            return Err(ApiError::field("run_id", "unknown field: the path names the run"));
        }
        self.report()
    }

    /// Returns the run id of an item.
    ///
    /// # Errors
    /// An error if the field is absent.
    pub fn take_run_id(&mut self) -> Result<RunId, ApiError> {
        let missing = || ApiError::field("run_id", "run_id is missing");
        self.run_id.take().map(RunId::from_text).ok_or_else(missing)
    }

    /// Checks the fields and returns the report.
    ///
    /// # Errors
    /// An error that names the invalid field.
    pub fn report(self) -> Result<Report, ApiError> {
        if self.attempt == 0 {
            return Err(ApiError::field("attempt", "attempt should be at least 1"));
        }
        if self.token.is_empty() {
            return Err(ApiError::field("token", "token should not be empty"));
        }
        if self.retry_after_ms.is_some_and(|pause| pause > MAX_RETRY_AFTER_MS) {
            let why = format!("retry_after_ms should be between 0 and {MAX_RETRY_AFTER_MS}");
            return Err(ApiError::field("retry_after_ms", why));
        }
        let result = self.result.as_ref().map(encode_result).transpose()?;
        let outcome = wire::outcome(self.outcome, result, self.retry_after_ms);
        let message = self.message.as_deref().map(cut);
        let started_at = self.started_at.map(wire::moment);
        Ok(Report { attempt: self.attempt, token: self.token, outcome, message, started_at })
    }
}

/// Decodes a confirmation.
///
/// # Errors
/// An error that names the invalid field.
pub fn confirmation(body: &RunConfirmation) -> Result<Confirmation, ApiError> {
    let result = body.result.as_ref().map(encode_result).transpose()?;
    Ok(Confirmation { succeeded: body.succeeded, message: body.message.as_deref().map(cut), result })
}

fn encode_result(result: &Value) -> Result<String, ApiError> {
    let text = result.to_string();
    if text.len() > MAX_RESULT_BYTES {
        let why = format!("result has {} bytes: at most {MAX_RESULT_BYTES} are allowed", text.len());
        return Err(ApiError::field("result", why));
    }
    if depth(result) > MAX_RESULT_DEPTH {
        return Err(ApiError::field(
            "result",
            format!("result should be nested at most {MAX_RESULT_DEPTH} levels deep"),
        ));
    }
    Ok(text)
}

/// Returns the nesting depth. The decoder has limited it, so the recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::decode::typed;
    use super::*;
    use crate::core::run::Outcome;

    fn read(changes: &Value) -> Result<Report, ApiError> {
        let mut body = json!({"attempt": 1, "token": "t", "outcome": "succeeded"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        typed::<ReportBody>(&body)?.of_path()
    }

    fn field_at_fault(changes: &Value) -> String {
        match read(changes) {
            Err(ApiError::Field { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_names_the_invalid_field() {
        for (changes, field) in [
            (json!({"attempt": null}), "attempt"),
            (json!({"attempt": 0}), "attempt"),
            (json!({"attempt": "1"}), "attempt"),
            (json!({"token": null}), "token"),
            (json!({"token": ""}), "token"),
            (json!({"outcome": "done"}), "outcome"),
            (json!({"outcome": null}), "outcome"),
            (json!({"message": []}), "message"),
            (json!({"retry_after_ms": -1}), "retry_after_ms"),
            (json!({"retry_after_ms": MAX_RETRY_AFTER_MS + 1}), "retry_after_ms"),
            (json!({"result": "x".repeat(MAX_RESULT_BYTES - 1)}), "result"),
            (json!({"started_at": "yesterday"}), "started_at"),
            (json!({"run_id": "r"}), "run_id"),
            (json!({"tokn": "t"}), "tokn"),
        ] {
            assert_eq!(field_at_fault(&changes), field, "{changes}");
        }
    }

    #[test]
    fn a_report_may_say_when_the_handler_started() {
        let started = |changes| read(&changes).unwrap().started_at.map(crate::core::Moment::ms);
        assert_eq!(started(json!({"started_at": "1970-01-01T00:00:01.5004Z"})), Some(1_500));
        assert_eq!((started(json!({})), started(json!({"started_at": null}))), (None, None));
    }

    #[test]
    fn a_result_has_a_maximum_size_and_depth() {
        let result = |result: Value| match read(&json!({"result": result})).map(|report| report.outcome) {
            Ok(Outcome::Succeeded { result }) => result,
            _ => None,
        };
        let largest = "x".repeat(MAX_RESULT_BYTES - 2);
        assert_eq!(result(json!(largest)).map(|text| text.len()), Some(MAX_RESULT_BYTES));
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(result(nested(MAX_RESULT_DEPTH)).is_some());
        assert!(result(nested(MAX_RESULT_DEPTH + 1)).is_none());
        assert_eq!(result(json!(null)), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let odd = format!("a{}", "é".repeat(MAX_MESSAGE_BYTES));
        assert_eq!(cut(&odd).len(), MAX_MESSAGE_BYTES - 1);
        assert_eq!(cut("short"), "short");
    }
}
