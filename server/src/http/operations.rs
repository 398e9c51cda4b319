//! Routes of operations: create, list, show, abort.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use taskcenter_client::resources::{
    BackfillRange, NewOperation, OperationCanary, OperationFailure, OperationFilter, OperationList,
    OperationPreview, OperationResource, OperationSelection,
};

use super::body::Fields;
use super::decode::typed;
use super::error::ApiError;
use super::headers::KeyHeader;
use super::query::{Query, Segment};
use crate::core::TaskId;
use crate::core::operation::{self, Action, Canary, Failure, Operation, Selection};
use crate::engine::service::Service;
use crate::wire;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// Creates an operation: one action on many tasks or runs.
///
/// The server carries the operation out in the background, with the rights of the caller, also after a crash.
/// With `dry_run`, the answer is the number of items, and nothing happens. With an `Idempotency-Key`, a repeated
/// request creates nothing and gets the first operation, for one day.
#[utoipa::path(post, path = "/v1/operations", operation_id = "createOperation", tag = "operations",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        pattern = "^[!-~]+$", description = "Key of the request: 1 to 255 visible ASCII characters.")),
    request_body = NewOperation,
    responses(
        (status = 201, body = OperationResource, description = "The operation runs.",
            headers(("Location" = String, description = "Path of the operation."))),
        (status = 200, body = OperationPreview, description = "Answer to a dry run."),
        (status = 409, description = "`too_many_operations`: 100 operations run."),
        (status = 422, description = "`idempotency_key_reused`: the key belongs to another request."),
    ))]
pub async fn create(service: Service, key: KeyHeader, fields: Fields) -> Result<Response, ApiError> {
    let body = Value::Object(fields.into_object());
    let new: NewOperation = typed(&body)?;
    let dry_run = new.dry_run;
    let new = read(new)?;
    if dry_run {
        let count = service.preview_operation(new).await?;
        let preview = OperationPreview { dry_run: true, expected: count.rows, expected_more: count.more };
        return Ok(Json(preview).into_response());
    }
    let operation = service.create_operation(new, key.for_request(|| body.to_string())).await?;
    let location = [(header::LOCATION, format!("/v1/operations/{}", operation.id))];
    Ok((StatusCode::CREATED, location, Json(shown(operation))).into_response())
}

/// Lists operations, newest first.
///
/// A token that is limited to tags sees the operations that it created.
#[utoipa::path(get, path = "/v1/operations", operation_id = "listOperations", tag = "operations",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "Maximum number of operations in the page. Bounds: 1 to 100. Default: 50."),
        ("cursor" = Option<String>, Query, pattern = "^([0-9a-f]{32})?$",
            description = "`next_cursor` of the previous page. Default: the first page."),
    ),
    responses((status = 200, body = OperationList, description = "A page of operations.")))]
pub async fn list(service: Service, query: Query) -> Result<Json<OperationList>, ApiError> {
    let query = query.only(&["limit", "cursor"])?;
    let limit = query.number("limit", DEFAULT_LIMIT, MAX_LIMIT)?;
    let before = query.task_id("cursor")?;
    let (operations, next_cursor) =
        service.list_operations(before.as_ref().map(TaskId::as_str), limit).await?;
    Ok(Json(OperationList { operations: operations.into_iter().map(shown).collect(), next_cursor }))
}

/// Shows an operation with its progress.
#[utoipa::path(get, path = "/v1/operations/{operation_id}", operation_id = "showOperation", tag = "operations",
    params(("operation_id" = String, Path, description = "Id of the operation.")),
    responses(
        (status = 200, body = OperationResource, description = "The operation."),
        (status = 404, description = "`not_found`: the operation does not exist or has been pruned."),
    ))]
pub async fn show(service: Service, Segment(id): Segment) -> Result<Json<OperationResource>, ApiError> {
    Ok(Json(shown(service.operation(&id).await?)))
}

/// Aborts an operation.
///
/// The items that the operation has processed stay as they are; items of its current batch may follow, for about
/// a second. An operation that has ended stays as it is, and the request succeeds.
#[utoipa::path(post, path = "/v1/operations/{operation_id}/abort", operation_id = "abortOperation",
    tag = "operations",
    params(("operation_id" = String, Path, description = "Id of the operation.")),
    responses(
        (status = 200, body = OperationResource, description = "The operation, which has ended."),
        (status = 404, description = "`not_found`: the operation does not exist or has been pruned."),
    ))]
pub async fn abort(service: Service, Segment(id): Segment) -> Result<Json<OperationResource>, ApiError> {
    Ok(Json(shown(service.abort_operation(&id).await?)))
}

/// Continues an operation whose canary has failed.
///
/// The operation redrives the runs after the canary. An operation that is not `held` stays as it is, and the request
/// succeeds.
#[utoipa::path(post, path = "/v1/operations/{operation_id}/continue", operation_id = "continueOperation",
    tag = "operations",
    params(("operation_id" = String, Path, description = "Id of the operation.")),
    responses(
        (status = 200, body = OperationResource, description = "The operation, which runs."),
        (status = 404, description = "`not_found`: the operation does not exist or has been pruned."),
    ))]
pub async fn resume(service: Service, Segment(id): Segment) -> Result<Json<OperationResource>, ApiError> {
    Ok(Json(shown(service.continue_operation(&id).await?)))
}

fn read(new: NewOperation) -> Result<operation::NewOperation, ApiError> {
    let words = || Action::ALL.map(Action::as_str).join(", ");
    let unknown = || ApiError::field("action", format!("action should be one of {}", words()));
    let action = Action::parse(&new.action).ok_or_else(unknown)?;
    Ok(operation::NewOperation {
        action,
        selection: selection(action, new.select)?,
        patch: new.patch.map(|patch| Value::Object(patch).to_string()),
        reason: new.reason,
        rate_per_sec: new.rate_per_sec,
        canary: new.canary,
    })
}

fn selection(action: Action, select: OperationSelection) -> Result<Selection, ApiError> {
    match (select.ids, select.filter) {
        (Some(ids), None) => Ok(Selection::Ids(ids)),
        (None, Some(filter)) if action.is_for_runs() => runs(action, filter),
        (None, Some(filter)) => tasks(action, filter),
        _ => Err(ApiError::field("select", "select should have either ids or filter")),
    }
}

fn tasks(action: Action, filter: OperationFilter) -> Result<Selection, ApiError> {
    refuse(action, "tag", filter.tag.is_some())?;
    refuse(action, "task_id", filter.task_id.is_some())?;
    let state = state(filter.state.as_deref(), action.task_states())?;
    Ok(Selection::Tasks { name: filter.name, state, labels: filter.labels })
}

fn runs(action: Action, filter: OperationFilter) -> Result<Selection, ApiError> {
    refuse(action, "name", filter.name.is_some())?;
    let malformed = || ApiError::field("select.filter.task_id", "task_id is malformed");
    let task_id = filter.task_id.map(|id| TaskId::parse(&id).ok_or_else(malformed)).transpose()?;
    let state = state(filter.state.as_deref(), action.run_states())?;
    Ok(Selection::Runs { task_id, tag: filter.tag, state, labels: filter.labels })
}

fn refuse(action: Action, field: &str, is_given: bool) -> Result<(), ApiError> {
    if !is_given {
        return Ok(());
    }
    let (acts_on, other) = if action.is_for_runs() { ("runs", "tag or task_id") } else { ("tasks", "name") };
    let why = format!("{field} does not filter {acts_on}, which {} acts on: use {other}", action.as_str());
    Err(ApiError::field(format!("select.filter.{field}"), why))
}

fn state<S: Copy + ToString>(word: Option<&str>, allowed: &[S]) -> Result<Option<S>, ApiError> {
    let Some(word) = word else { return Ok(None) };
    let words = || allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let wrong = || ApiError::field("select.filter.state", format!("state should be one of {}", words()));
    allowed.iter().find(|state| state.to_string() == word).copied().map(Some).ok_or_else(wrong)
}

/// Converts an operation.
pub fn shown(operation: Operation) -> OperationResource {
    let backfill = range(&operation.selection);
    let (ids, filter) = match operation.selection {
        Selection::Ids(ids) => (Some(ids.len() as u64), None),
        Selection::Tasks { name, state, labels } => {
            let state = state.map(|state| state.to_string());
            (None, Some(OperationFilter { name, state, labels, ..OperationFilter::default() }))
        }
        Selection::Moments(_) => (None, None),
        Selection::Runs { task_id, tag, state, labels } => {
            let (task_id, state) = (task_id.map(|id| id.to_string()), state.map(|state| state.to_string()));
            (None, Some(OperationFilter { task_id, tag, state, labels, name: None }))
        }
    };
    OperationResource {
        id: operation.id,
        action: operation.action.as_str().to_owned(),
        state: operation.state.as_str().to_owned(),
        message: operation.message,
        reason: operation.reason,
        filter,
        ids,
        backfill,
        patch: operation.patch.and_then(|patch| serde_json::from_str(&patch).ok()),
        rate_per_sec: operation.rate_per_sec,
        canary: operation.canary.map(canary),
        expected: operation.expected.rows,
        expected_more: operation.expected.more,
        matched: operation.matched,
        done: operation.done,
        failed: operation.failed,
        skipped: operation.skipped,
        failures: failures(operation.failures),
        created_at: wire::timestamp(operation.created_at),
        created_by: operation.creator.id,
        ended_at: operation.ended_at.map(wire::timestamp),
    }
}

/// Returns the range of a backfill.
fn range(selection: &Selection) -> Option<BackfillRange> {
    let Selection::Moments(backfill) = selection else { return None };
    Some(BackfillRange {
        task_id: backfill.task_id.to_string(),
        from: wire::timestamp(backfill.from),
        to: wire::timestamp(backfill.to),
    })
}

fn canary(canary: Canary) -> OperationCanary {
    OperationCanary {
        size: canary.size,
        state: canary.state.as_str().to_owned(),
        run_ids: canary.runs.into_iter().map(|run| run.id).collect(),
        failures: failures(canary.failures),
    }
}

fn failures(failures: Vec<Failure>) -> Vec<OperationFailure> {
    failures.into_iter().map(|failure| OperationFailure { id: failure.id, error: failure.error }).collect()
}
