//! Routes of runs: list, show, retry, cancel, and outcome reports.

use axum::Json;
use axum::response::Response;
use serde::Serialize;
use taskcenter_client::resources::{RunConfirmation, RunList, RunPayload, RunResource};
use taskcenter_client::wire::OutcomeReport;
use utoipa::ToSchema;

use super::decode::{Body, OptionalBody};
use super::error::ApiError;
use super::outcome::{ReportBody, confirmation};
use super::pages::{self, RunPlace};
use super::query::{LABELS, Query, Segment};
use super::{spec, view, waits};
use crate::core::{Moment, RunId, RunState};
use crate::engine::service::{RunFilter, Service, Wanted};

const DEFAULT_LIMIT: u32 = 100;

/// Lists runs, latest `scheduled_at` first.
#[utoipa::path(get, path = "/v1/runs", operation_id = "listRuns", tag = "runs",
    params(
        ("task_id" = Option<String>, Query, pattern = "^([0-9a-f]{32})?$",
            description = "Only runs of the task with this id."),
        ("tag" = Option<String>, Query, description = "Only runs with this tag. With `task_id`, the tag is checked for \
            each run of the task; a page is then bounded as one with a label."),
        ("state" = Option<String>, Query,
            pattern = "^(firing|held|fired|ready|leased|retrying|succeeded|dead|skipped|cancelled)?$",
            description = "Only runs in this state: `firing`, `held`, `fired`, `ready`, `leased`, `retrying`, \
                `succeeded`, `dead`, `skipped` or `cancelled`."),
        ("label.key" = Option<String>, Query, max_length = 63,
            description = "Only runs with the label `key` of this value, such as `label.team=pay`. Several labels must \
                all match. The first label in the order of the keys selects the runs by an index, also with `state`; other \
                labels and `tag` are checked for each run. A page examines at most 50 runs for each one of `limit`, and 5,000 \
                in total, so it may be empty although `next_cursor` leads to more."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Maximum number of runs in the page. Bounds: 1 to 1,000. Default: 100."),
        ("cursor" = Option<String>, Query, pattern = "^(-?[0-9]+~[0-9A-Za-z-]{1,256})?$",
            description = "`next_cursor` of the previous page. Default: the first page."),
    ),
    responses((status = 200, body = RunList, description = "A page of runs.")))]
pub async fn list(service: Service, query: Query) -> Result<Response, ApiError> {
    let query = query.only(&["task_id", "tag", "state", LABELS, "limit", "cursor"])?;
    let filter = RunFilter {
        task_id: query.task_id("task_id")?,
        tag: query.text("tag").map(str::to_owned),
        state: query.one_of("state", &RunState::ALL)?,
        label: None,
    };
    let wanted = Wanted { filter, labels: query.labels()? };
    let limit = query.number("limit", DEFAULT_LIMIT, pages::MAX_LIMIT)?;
    let malformed = || ApiError::field("cursor", "cursor is malformed");
    let before = query.text("cursor").map(|text| parse_cursor(text).ok_or_else(malformed)).transpose()?;
    Ok(pages::runs(&service, &wanted, limit, before).await?.into_object("runs", cursor))
}

/// Encodes the cursor, which is opaque to callers. It needs no escapes in a query string, because a
/// run id consists of letters, digits and `-`.
fn cursor((at, id): &RunPlace) -> String {
    format!("{}~{id}", at.ms())
}

fn parse_cursor(cursor: &str) -> Option<RunPlace> {
    const MAX_ID_BYTES: usize = 256;
    let (at, id) = cursor.split_once('~')?;
    let valid_id =
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // Stores do not accept an instant beyond the calendar.
    let at = Moment::from_ms(at.parse().ok()?);
    let within = jiff::Timestamp::from_millisecond(at.ms()).is_ok();
    (valid_id && within).then(|| (at, RunId::from_text(id)))
}

/// Shows a run, with its payload, its attempts, and what it waits for.
#[utoipa::path(get, path = "/v1/runs/{run_id}", operation_id = "showRun", tag = "runs",
    params(("run_id" = String, Path, description = "Id of the run.")),
    responses(
        (status = 200, body = RunResource, description = "The run."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
    ))]
pub async fn show(service: Service, Segment(id): Segment) -> Result<Json<RunResource>, ApiError> {
    let run = service.run(&RunId::from_text(id)).await?;
    let waits_for = waits::of_run(&service, &run).await?;
    Ok(Json(RunResource { waits_for, ..view::run_in_full(run) }))
}

/// Retries a run now.
///
/// A dead run gets one more attempt. For a retrying run, the pause before the next attempt ends. With a body, the
/// attempts from the next one deliver another payload. The run keeps the original payload, and the size and
/// digest of what each attempt delivered.
#[utoipa::path(post, path = "/v1/runs/{run_id}/retry", operation_id = "retryRun", tag = "runs",
    params(("run_id" = String, Path, description = "Id of the run.")),
    request_body(content = Option<RunPayload>, description = "Default: the payload stays as it is."),
    responses(
        (status = 200, body = RunResource, description = "The run, which now waits for its next attempt."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
        (status = 409, description = "`run_state`: the run is neither dead nor retrying. \
            `task_over`: its task is cancelled or deleted."),
    ))]
pub async fn retry(
    service: Service,
    Segment(id): Segment,
    OptionalBody(payload): OptionalBody<RunPayload>,
) -> Result<Json<RunResource>, ApiError> {
    let change = spec::payload_change(payload)?;
    Ok(Json(view::run(service.retry_run_with(&RunId::from_text(id), &change).await?)))
}

/// Cancels a run that has not ended.
///
/// If a worker has leased the run, the server records the request, and the run stays `leased`. The worker receives
/// the request with its next renewal, and has `engine.cancel_grace_ms` to stop. A success that it reports is
/// stored; otherwise the run ends as `cancelled`, with a `reason` that begins with `forced` if the worker did
/// not stop. Any other run is cancelled at once. A consumer of the bus, or a system to which a worker has handed
/// over the attempt, is not interrupted, and its outcome is refused.
#[utoipa::path(post, path = "/v1/runs/{run_id}/cancel", operation_id = "cancelRun", tag = "runs",
    params(("run_id" = String, Path, description = "Id of the run.")),
    responses(
        (status = 200, body = RunResource, description = "The run: `cancelled`, or `leased` with `cancel_requested_at`."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
        (status = 409, description = "`run_state`: the run has ended."),
    ))]
pub async fn cancel(service: Service, Segment(id): Segment) -> Result<Json<RunResource>, ApiError> {
    Ok(Json(view::run(service.cancel_run(&RunId::from_text(id)).await?)))
}

/// Confirms the outcome of a run without the attempt token, for callers that know only the run id.
///
/// The confirmation is for the run, not for one attempt. The server accepts a confirmation during
/// any attempt, and after the run is dead. A run that succeeded, was skipped or was cancelled does
/// not change; the answer shows its state.
#[utoipa::path(post, path = "/v1/runs/{run_id}/confirm", operation_id = "confirmRun", tag = "runs",
    params(("run_id" = String, Path, description = "Id of the run.")),
    request_body = RunConfirmation,
    responses(
        (status = 200, body = RunResource, description = "The run after the confirmation."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
        (status = 409, description = "`run_state`: the run has no outcome to confirm, or has not fired yet."),
    ))]
pub async fn confirm(
    service: Service,
    Segment(id): Segment,
    Body(body): Body<RunConfirmation>,
) -> Result<Json<RunResource>, ApiError> {
    let confirmation = confirmation(&body)?;
    Ok(Json(view::run(service.confirm(&RunId::from_text(id), &confirmation).await?)))
}

/// Answer to an outcome report.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportReply {
    /// Id of the run.
    run_id: String,
    /// State of the run after the report.
    state: String,
}

/// Reports the outcome of an attempt.
///
/// A repeated report gets the same answer as the first one.
#[utoipa::path(post, path = "/v1/runs/{run_id}/report", operation_id = "reportRun", tag = "runs",
    params(("run_id" = String, Path, description = "Id of the run.")),
    request_body = OutcomeReport,
    responses(
        (status = 200, body = ReportReply, description = "The outcome is stored."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
        (status = 409, description = "`stale`: the attempt or its token is not the current one, or the run has ended. \
            Nothing was changed, and a repetition does not help."),
    ))]
pub async fn report(
    service: Service,
    Segment(id): Segment,
    Body(report): Body<ReportBody>,
) -> Result<Json<ReportReply>, ApiError> {
    let run = service.report(&RunId::from_text(id), &report.of_path()?).await?;
    Ok(Json(ReportReply { run_id: run.id.to_string(), state: run.state.as_str().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_encoded_cursor_can_be_parsed() {
        let at = (Moment::from_ms(-5), RunId::from_text("0a-1-t9"));
        assert_eq!(parse_cursor(&cursor(&at)), Some(at));
        for invalid in [
            "",
            "~",
            "5~",
            "x~0a",
            "5~a b",
            "5~a/b",
            "5",
            "99999999999999999999~0a",
            "9223372036854775807~0a",
        ] {
            assert_eq!(parse_cursor(invalid), None, "{invalid}");
        }
    }
}
