//! Routes of the logs of runs: append, read a page, follow as a stream.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use taskcenter_client::resources::{self, LogReceipt, RunLogPage};

use super::Context;
use super::decode::{Body, bounded};
use super::error::ApiError;
use super::query::{Query, Segment};
use super::{run_log_stream, view};
use crate::core::RunId;
use crate::core::run_log::{self, LogBatch};
use crate::engine::service::{LogPage, Service};
use crate::wire;

const MAX_BATCH_ID_BYTES: usize = 64;
/// Longest wait for a line, below the usual time limits of proxies.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Header of a reconnected stream: the line after the last one that the client has.
const LAST_EVENT_ID: &str = "last-event-id";
const EVENT_STREAM: &str = "text/event-stream";

/// Appends lines to the log of a run, for the worker of the current attempt.
///
/// The server stores a batch once: a repetition with the same `batch_id` changes nothing. A log is bounded. It
/// keeps its first and its last 256 KiB, and the server removes what is between them. A line counts its text and
/// 32 bytes, and each batch counts 256 bytes.
#[utoipa::path(post, path = "/v1/runs/{run_id}/log", operation_id = "appendRunLog", tag = "work",
    params(("run_id" = String, Path, description = "Id of the run.")),
    request_body = resources::LogBatch,
    responses(
        (status = 200, body = LogReceipt, description = "The batch is stored."),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
        (status = 409, description = "`stale`: the attempt or its token is not the current one, or the attempt is not \
            in progress. Nothing was changed, and a repetition does not help."),
    ))]
pub async fn append(
    service: Service,
    Segment(id): Segment,
    Body(body): Body<resources::LogBatch>,
) -> Result<Json<LogReceipt>, ApiError> {
    let (batch, token) = batch(RunId::from_text(id), body)?;
    Ok(Json(LogReceipt { stored: service.append_log(&batch, &token).await? }))
}

fn batch(run_id: RunId, body: resources::LogBatch) -> Result<(LogBatch, String), ApiError> {
    if body.attempt == 0 {
        return Err(ApiError::field("attempt", "attempt should be at least 1"));
    }
    let is_id =
        |id: &str| (1..=MAX_BATCH_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !is_id(&body.batch_id) {
        let why = format!("batch_id should have between 1 and {MAX_BATCH_ID_BYTES} visible ASCII characters");
        return Err(ApiError::field("batch_id", why));
    }
    bounded("lines", body.lines.len(), run_log::MAX_BATCH_LINES)?;
    let (batch, token) = wire::log_batch(run_id, body);
    if batch.bytes() > run_log::MAX_BATCH_BYTES {
        let most = run_log::MAX_BATCH_BYTES;
        return Err(ApiError::field("lines", format!("lines should have at most {most} bytes in a batch")));
    }
    Ok((batch, token))
}

/// Shows a page of the log of a run, or follows the log.
///
/// With `Accept: text/event-stream`, the answer is a stream. Each event `lines` has a page as its data, and the
/// number of the next line as its id. The event `end` has the last page, and means that the run has ended: close the
/// stream then. The server ends a stream after 10 minutes or 16 MiB; continue with `Last-Event-ID` or `from`.
#[utoipa::path(get, path = "/v1/runs/{run_id}/log", operation_id = "showRunLog", tag = "runs",
    params(
        ("run_id" = String, Path, description = "Id of the run."),
        ("from" = Option<u64>, Query, minimum = 0,
            description = "Number of the first line, from 0. `next_from` of the previous page. Default: 0."),
        ("wait_ms" = Option<u64>, Query, minimum = 0,
            description = "Milliseconds to wait for a line if the page would be empty and lines may follow. The server \
                waits at most 20 s and at most three quarters of `server.request_timeout_ms`. Default: 0."),
        ("Last-Event-ID" = Option<u64>, Header, description = "For a stream: replaces `from`."),
    ),
    responses(
        (status = 200, description = "A page of the log, or a stream of pages.",
            content((RunLogPage = "application/json"), (String = "text/event-stream"))),
        (status = 404, description = "`not_found`: the run does not exist or has been pruned."),
    ))]
pub async fn show(
    State(context): State<Context>,
    service: Service,
    Segment(id): Segment,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["from", "wait_ms"])?;
    let (id, from) = (RunId::from_text(id), query.unsigned("from")?.unwrap_or_default());
    let wait = Duration::from_millis(query.unsigned("wait_ms")?.unwrap_or_default());
    if wants_stream(&headers) {
        let from = last_event(&headers)?.unwrap_or(from);
        return run_log_stream::respond(&service, &id, from).await;
    }
    // The rest of the time limit is for the store.
    let longest = MAX_WAIT.min(context.limits.request_timeout * 3 / 4);
    let page = page(&service, &id, from, wait.min(longest)).await?;
    Ok(Json(view::log_page(page)).into_response())
}

/// Returns a page. Waits for its first line if lines may follow.
async fn page(service: &Service, id: &RunId, from: u64, wait: Duration) -> Result<LogPage, ApiError> {
    let page = service.log(id, from).await?;
    if !page.lines.is_empty() || page.end.is_some() || wait.is_zero() {
        return Ok(page);
    }
    let found = service.follow_log(id, from).await?.next(wait).await?;
    Ok(found.unwrap_or(page))
}

/// Returns whether the caller accepts server-sent events.
pub fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with(EVENT_STREAM))
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let invalid = || ApiError::field("Last-Event-ID", "Last-Event-ID should be the number of a line");
    number.map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_an_accepted_media_type() {
        let wants =
            |accept: &str| wants_stream(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
        assert!(wants("text/event-stream") && wants("text/html, text/event-stream;q=0.9"));
        assert!(!wants("*/*") && !wants("application/json") && !wants_stream(&HeaderMap::new()));
    }
}
