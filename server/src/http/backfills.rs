//! Route that backfills a task.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use taskcenter_client::resources::{NewBackfill, OperationPreview, OperationResource};

use super::body::Fields;
use super::decode::typed;
use super::error::ApiError;
use super::headers::KeyHeader;
use super::operations::shown;
use super::query::TaskOf;
use crate::engine::service::{self, Service};
use crate::wire;

/// Backfills a task: creates one run for each nominal moment of its schedule in a range of the past.
///
/// The answer is an operation, which creates the runs in the background, also after a crash; each moment gets one run.
/// The moments are those of the schedule at the creation. `start_at`, `end_at`, `max_fires` and `jitter_ms` of the task do
/// not change them, and the task keeps its place in its schedule. With `dry_run`, the answer is the number of runs, and
/// nothing happens. With an `Idempotency-Key`, a repeated request creates nothing and gets the first operation, for one
/// day.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/backfill", operation_id = "backfillTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            pattern = "^[!-~]+$", description = "Key of the request: 1 to 255 visible ASCII characters."),
    ),
    request_body = NewBackfill,
    responses(
        (status = 201, body = OperationResource, description = "The operation runs.",
            headers(("Location" = String, description = "Path of the operation."))),
        (status = 200, body = OperationPreview, description = "Answer to a dry run."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 409, description = "`task_over`: the task is cancelled. `too_many_operations`: 100 operations run."),
        (status = 422, description = "`idempotency_key_reused`: the key belongs to another request."),
    ))]
pub async fn create(
    service: Service,
    TaskOf(id): TaskOf,
    key: KeyHeader,
    fields: Fields,
) -> Result<Response, ApiError> {
    let body = Value::Object(fields.into_object());
    let NewBackfill { from, to, rate_per_sec, reason, dry_run } = typed(&body)?;
    let (from, to) = (wire::moment(from), wire::moment(to));
    let new = service::NewBackfill { from, to, rate_per_sec, reason };
    if dry_run {
        let count = service.preview_backfill(&id, new).await?;
        let preview = OperationPreview { dry_run: true, expected: count.rows, expected_more: count.more };
        return Ok(Json(preview).into_response());
    }
    let operation = service.backfill(&id, new, key.for_request(|| format!("{id} {body}"))).await?;
    let location = [(header::LOCATION, format!("/v1/operations/{}", operation.id))];
    Ok((StatusCode::CREATED, location, Json(shown(operation))).into_response())
}
