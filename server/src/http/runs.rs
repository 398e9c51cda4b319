//! Runs: what became of a due moment, and a handler's word on it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use taskcenter_client::wire::ReportReply;

use super::Context;
use super::body::Fields;
use super::error::ApiError;
use crate::core::run::Outcome;
use crate::core::{Moment, Run, RunId, RunState};
use crate::engine::service::Report;

/// Longer messages are cut: an outcome must not get lost because its reason is long.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// Longest pause that a handler can ask for: a year.
const MAX_RETRY_AFTER_MS: i64 = 366 * 86_400_000;

/// A run as it is shown. Its token is not: whoever has that can report.
#[derive(Debug, Serialize)]
pub struct RunView {
    run_id: RunId,
    task_id: String,
    tag: String,
    /// Milliseconds, like every instant here.
    scheduled_at: Moment,
    state: RunState,
    reason: Option<String>,
    attempt: u32,
    claim: u32,
    fired_at: Option<Moment>,
    ended_at: Option<Moment>,
}

/// `GET /v1/runs/{run_id}`.
pub async fn show(State(context): State<Context>, Path(id): Path<String>) -> Result<Json<RunView>, ApiError> {
    let run = context.state.service.run(&RunId::from_text(id)).await?;
    Ok(Json(view(run)))
}

fn view(run: Run) -> RunView {
    RunView {
        run_id: run.id,
        task_id: run.task_id.to_string(),
        tag: run.tag,
        scheduled_at: run.scheduled_at,
        state: run.state,
        reason: run.reason,
        attempt: run.attempt,
        claim: run.claim,
        fired_at: run.fired_at,
        ended_at: run.ended_at,
    }
}

/// `POST /v1/runs/{run_id}/report`.
pub async fn report(
    State(context): State<Context>,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<ReportReply>, ApiError> {
    let run = context.state.service.report(&RunId::from_text(id), &read(&fields)?).await?;
    Ok(Json(ReportReply { run_id: run.id.to_string(), state: state_word(run.state) }))
}

fn state_word(state: RunState) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("a state is written as one word"),
    }
}

fn read(fields: &Fields) -> Result<Report, ApiError> {
    let attempt = fields.int("attempt")?;
    let token = fields.text("token")?.filter(|token| !token.is_empty());
    let outcome = fields.text("outcome")?;
    let message = fields.text("message")?.map(cut);
    let retry_after_ms = fields.int("retry_after_ms")?;
    let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok()).filter(|attempt| *attempt > 0);
    Ok(Report {
        attempt: attempt
            .ok_or_else(|| ApiError::field("attempt", "attempt should be a whole number from 1"))?,
        token: token.ok_or_else(|| ApiError::field("token", "token should not be empty"))?.to_owned(),
        outcome: read_outcome(outcome, retry_after_ms)?,
        message,
    })
}

fn read_outcome(word: Option<&str>, retry_after_ms: Option<i64>) -> Result<Outcome, ApiError> {
    let pause = retry_after_ms.map(|ms| {
        let ms = u64::try_from(ms).ok().filter(|ms| *ms <= MAX_RETRY_AFTER_MS as u64);
        ms.ok_or_else(|| {
            ApiError::field(
                "retry_after_ms",
                format!("retry_after_ms should be between 0 and {MAX_RETRY_AFTER_MS}"),
            )
        })
    });
    let retry_after_ms = pause.transpose()?;
    match word {
        Some("succeeded") => Ok(Outcome::Succeeded),
        Some("failed") => Ok(Outcome::Failed { retry_after_ms }),
        Some("dead") => Ok(Outcome::Dead),
        Some("skipped") => Ok(Outcome::Skipped),
        _ => Err(ApiError::field("outcome", "outcome should be succeeded, failed, dead or skipped")),
    }
}

fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_at_fault(json: &str) -> String {
        match read(&Fields::decode(json.as_bytes()).ok().unwrap()) {
            Err(ApiError::Field { field, .. }) => field.to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_malformed_field_is_named() {
        for (json, field) in [
            (r#"{"token":"t","outcome":"dead"}"#, "attempt"),
            (r#"{"attempt":0,"token":"t","outcome":"dead"}"#, "attempt"),
            (r#"{"attempt":"1","token":"t","outcome":"dead"}"#, "attempt"),
            (r#"{"attempt":1,"outcome":"dead"}"#, "token"),
            (r#"{"attempt":1,"token":"","outcome":"dead"}"#, "token"),
            (r#"{"attempt":1,"token":"t","outcome":"done"}"#, "outcome"),
            (r#"{"attempt":1,"token":"t"}"#, "outcome"),
            (r#"{"attempt":1,"token":"t","outcome":"dead","message":[]}"#, "message"),
            (r#"{"attempt":1,"token":"t","outcome":"failed","retry_after_ms":-1}"#, "retry_after_ms"),
        ] {
            assert_eq!(field_at_fault(json), field, "{json}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "é".repeat(MAX_MESSAGE_BYTES);
        let odd = format!("a{message}");
        assert_eq!(cut(&odd).len(), MAX_MESSAGE_BYTES - 1);
        assert_eq!(cut("short"), "short");
    }
}
