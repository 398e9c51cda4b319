//! Routes of the live task that has a name and a deduplication key.

use axum::Json;
use axum::response::Response;
use taskcenter_client::resources::{ChangedTask, TaskList};

use super::body::Fields;
use super::error::ApiError;
use super::headers::IfMatch;
use super::query::Query;
use super::{changed, patch, view};
use crate::core::Task;
use crate::engine::service::{Service, ServiceError, definition};

/// Name and deduplication key. They select the live task that has both.
struct TaskKey {
    name: String,
    dedup_key: String,
}

impl TaskKey {
    fn read(query: Query) -> Result<Self, ApiError> {
        let query = query.only(&["name", "dedup_key"])?;
        let required = |field: &'static str| {
            let missing = || ApiError::field(field, "name and dedup_key select the live task: send both");
            query.text(field).map(str::to_owned).ok_or_else(missing)
        };
        Ok(Self { name: required("name")?, dedup_key: required("dedup_key")? })
    }

    /// Returns the live task, at the revision of `if_match` if it names one.
    async fn find(&self, service: &Service, if_match: IfMatch) -> Result<Task, ServiceError> {
        let task = service.task_by_key(&self.name, &self.dedup_key).await?;
        match if_match.rev() {
            Some(rev) if rev != task.rev => Err(ServiceError::RevisionMoved(task.rev)),
            _ => Ok(task),
        }
    }
}

/// Lists the live task.
pub async fn list(service: &Service, query: Query) -> Result<Json<TaskList>, ApiError> {
    let key = TaskKey::read(query)?;
    let tasks = match key.find(service, IfMatch::Absent).await {
        Ok(task) => vec![view::task(task)],
        Err(ServiceError::NotFound) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Json(TaskList { tasks, next_cursor: None }))
}

/// Edits the live task that has a name and a `dedup_key`.
///
/// The body is the same as for `PATCH /v1/tasks/{task_id}`. `If-Match` is optional. If the task fires its last moment
/// before the edit, the answer is 404.
#[utoipa::path(patch, path = "/v1/tasks", operation_id = "editTaskByKey", tag = "tasks",
    params(
        ("name" = String, Query, min_length = 1, description = "Name of the task."),
        ("dedup_key" = String, Query, min_length = 1, description = "Deduplication key of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to edit. Default: any revision."),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json",
        description = "Fields of `TaskSpec` to change."),
    responses(
        (status = 200, body = ChangedTask, description = "The task after the edit.",
            headers(("ETag" = String, description = "New revision of the task, in quotes."))),
        (status = 404, description = "`not_found`: no live task has this name and `dedup_key`."),
        (status = 409, description = "`duplicate`: another live task has the new name and `dedup_key`."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn edit(
    service: Service,
    query: Query,
    if_match: IfMatch,
    fields: Fields,
) -> Result<Response, ApiError> {
    let (key, patch) = (TaskKey::read(query)?, fields.into_object());
    loop {
        let task = key.find(&service, if_match).await?;
        let next = patch::apply(definition(&task), &patch, service.time_zone(), service.now())?;
        match service.edit(&task.id, task.rev, next).await {
            // The task has ended, or it no longer has the key: another task may have it now.
            Err(ServiceError::Over(_) | ServiceError::NotFound) => {}
            // Another request was faster.
            Err(ServiceError::RevisionMoved(_)) if if_match.rev().is_none() => {}
            answer => return Ok(changed::answer(answer?)),
        }
    }
}

/// Cancels the live task that has a name and a `dedup_key`.
///
/// The key is free afterwards. As for `POST /v1/tasks/{task_id}/cancel`, `open_runs` of the answer lists the runs that
/// fired before.
#[utoipa::path(post, path = "/v1/tasks/cancel", operation_id = "cancelTaskByKey", tag = "tasks",
    params(
        ("name" = String, Query, min_length = 1, description = "Name of the task."),
        ("dedup_key" = String, Query, min_length = 1, description = "Deduplication key of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to cancel. Default: any revision."),
    ),
    responses(
        (status = 200, body = ChangedTask, description = "The cancelled task."),
        (status = 404, description = "`not_found`: no live task has this name and `dedup_key`."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn cancel(service: Service, query: Query, if_match: IfMatch) -> Result<Response, ApiError> {
    let key = TaskKey::read(query)?;
    loop {
        let task = key.find(&service, if_match).await?;
        // Another revision may have another key.
        match service.cancel(&task.id, Some(task.rev)).await {
            Err(ServiceError::NotFound) => {}
            Err(ServiceError::RevisionMoved(_)) if if_match.rev().is_none() => {}
            answer => return Ok(changed::answer(answer?)),
        }
    }
}
