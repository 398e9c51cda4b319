//! Routes of the definitions of a task over time.

use axum::Json;
use axum::response::Response;
use taskcenter_client::resources::{TaskRevision, TaskRevisionList};

use super::error::ApiError;
use super::query::{Query, RevisionOf, Segment};
use super::{pages, spec};
use crate::core::revision::FIRST_REV;
use crate::core::{Task, TaskId};
use crate::engine::service::{Service, definition};
use crate::wire::timestamp;

const DEFAULT_LIMIT: u32 = 100;

/// Lists the definitions of a task, latest first.
///
/// Each edit that changes the definition begins another one. Pause and resume count as revisions of the task too,
/// but keep the definition, so the numbers of the list have gaps. The server keeps the current definition and the
/// 100 before it, as long as the task.
#[utoipa::path(get, path = "/v1/tasks/{task_id}/revisions", operation_id = "listTaskRevisions", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Maximum number of definitions in the page. Bounds: 1 to 1,000. Default: 100."),
        ("cursor" = Option<String>, Query, pattern = "^([0-9]{1,10})?$",
            description = "`next_cursor` of the previous page. Default: the first page."),
    ),
    responses(
        (status = 200, body = TaskRevisionList, description = "A page of definitions."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
    ))]
pub async fn list(service: Service, Segment(id): Segment, query: Query) -> Result<Response, ApiError> {
    let query = query.only(&["limit", "cursor"])?;
    let limit = query.number("limit", DEFAULT_LIMIT, pages::MAX_LIMIT)?;
    let before = query.unsigned("cursor")?.map(|rev| u32::try_from(rev).unwrap_or(u32::MAX));
    let id = TaskId::parse(&id).ok_or_else(ApiError::not_found)?;
    let page = pages::definitions(&service, &id, limit, before, |task| revision(&task)).await?;
    Ok(page.into_object("revisions", ToString::to_string))
}

/// Shows the definition that was in force at a revision of a task.
///
/// The answer has the revision that began the definition, which may be an earlier one.
#[utoipa::path(get, path = "/v1/tasks/{task_id}/revisions/{rev}", operation_id = "showTaskRevision", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("rev" = u32, Path, minimum = 1, description = "Revision of the task."),
    ),
    responses(
        (status = 200, body = TaskRevision, description = "The definition."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted, has no such revision, or \
            the definition is no longer kept."),
    ))]
pub async fn show(service: Service, RevisionOf(id, rev): RevisionOf) -> Result<Json<TaskRevision>, ApiError> {
    Ok(Json(revision(&service.definition_at(&id, rev).await?)))
}

/// Converts a task as it was when its definition began.
fn revision(task: &Task) -> TaskRevision {
    let change = if task.rev == FIRST_REV { "created" } else { "edited" };
    TaskRevision {
        rev: task.rev,
        change: change.to_owned(),
        at: timestamp(task.defined_at()),
        by: task.author().map(str::to_owned),
        first_due_at: task.next_due_at.map(timestamp),
        definition: spec::of(&definition(task)),
    }
}
