//! Tasks: created, looked at, changed, called off.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskcenter_client::resources::{
    ChangedTask, CreateTasks, CreatedTask, CreatedTasks, MAX_BATCH, RunResource, TaskList, TaskResource,
    TaskSpec,
};
use utoipa::ToSchema;

use super::batch::Batch;
use super::body::Fields;
use super::decode::{bounded, typed};
use super::error::ApiError;
use super::headers::{IfMatch, Once, etag};
use super::query::{Query, TaskOf};
use super::{Context, pages, patch, spec, view};
use crate::core::submission::Submission;
use crate::core::{Task, TaskState};
use crate::engine::service::{
    Changed, IdempotencyKey, Service, ServiceError, Submitted, TaskFilter, definition,
};

const DEFAULT_LIMIT: u32 = 100;

/// One task, or several at once.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NewTasks {
    /// One.
    One(Box<TaskSpec>),
    /// Several.
    Several(CreateTasks),
}

impl NewTasks {
    /// Told apart by `tasks`, so that the first wrong field of the one that is meant is named.
    fn read(body: &Value) -> Result<Self, ApiError> {
        if body.get("tasks").is_none() {
            return typed(body).map(Self::One);
        }
        let several: CreateTasks = typed(body)?;
        bounded("tasks", several.tasks.len(), MAX_BATCH)?;
        Ok(Self::Several(several))
    }
}

/// The task that stood already, or what became of each of several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Stored {
    /// The task that stood already.
    One(Box<TaskResource>),
    /// Of several.
    Several(CreatedTasks),
}

/// Creates a task, or up to 1,000 at once, each on its own.
///
/// While a task with the same name and `dedup_key` is live, that one is the answer. With an `Idempotency-Key` the same request can be sent
/// again for a day, and is answered like the first.
#[utoipa::path(post, path = "/v1/tasks", operation_id = "createTasks", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters.")),
    request_body = NewTasks,
    responses(
        (status = 201, body = TaskResource, description = "The task, stored.",
            headers(("Location" = String, description = "Its path."), ("ETag" = String, description = "Its revision."))),
        (status = 200, body = Stored, description = "The task that stood already; of several, what became of each."),
    ))]
pub async fn create(
    State(context): State<Context>,
    service: Service,
    once: Once,
    fields: Fields,
) -> Result<Response, ApiError> {
    let body = Value::Object(fields.into_object());
    let new = NewTasks::read(&body)?;
    let key = once.of(|| body.to_string());
    drop(body);
    match new {
        NewTasks::One(spec) => create_one(&context, &service, *spec, key).await,
        NewTasks::Several(several) => {
            let created = create_several(&context, &service, several, key).await?;
            Ok(Json(Stored::Several(created)).into_response())
        }
    }
}

fn submission(service: &Service, spec: TaskSpec) -> Result<Submission, ApiError> {
    spec::submission(spec, service.time_zone(), service.now())
}

async fn create_one(
    context: &Context,
    service: &Service,
    spec: TaskSpec,
    key: Option<IdempotencyKey>,
) -> Result<Response, ApiError> {
    let submission = submission(service, spec)?;
    let answer = service.submit_idempotent(vec![submission], key).await?.pop();
    let submitted = answer.ok_or_else(|| ApiError::Internal("no answer for a task".to_owned()))??;
    let status = status_of(context, &submitted);
    let task = service.shown_task(&submitted.id).await?;
    let location = [(header::LOCATION, format!("/v1/tasks/{}", task.id))];
    Ok((status, location, etag(task.rev), Json(Stored::One(Box::new(view::task(task))))).into_response())
}

fn status_of(context: &Context, submitted: &Submitted) -> StatusCode {
    if submitted.existing {
        return StatusCode::OK;
    }
    context.metrics.submitted();
    StatusCode::CREATED
}

async fn create_several(
    context: &Context,
    service: &Service,
    several: CreateTasks,
    key: Option<IdempotencyKey>,
) -> Result<CreatedTasks, ApiError> {
    let mut batch = Batch::of(several.tasks.into_iter().map(|spec| submission(service, spec)));
    let sound = std::mem::take(&mut batch.sound);
    let answers = service.submit_idempotent(sound, key).await?;
    let answers = batch.answers(answers).enumerate();
    Ok(CreatedTasks { results: answers.map(|(at, answer)| created(context, at, answer)).collect() })
}

fn created(context: &Context, at: usize, answer: Result<Submitted, ApiError>) -> CreatedTask {
    match answer {
        Ok(submitted) => CreatedTask {
            status: status_of(context, &submitted).as_u16(),
            id: Some(submitted.id.to_string()),
            problem: None,
        },
        Err(error) => {
            let problem = error.of_item(&format!("tasks[{at}]"));
            CreatedTask { status: problem.status, id: None, problem: Some(problem) }
        }
    }
}

/// Lists tasks, newest first. Cancelled ones are in it only where `state=cancelled` asks for them, deleted ones never.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "listTasks", tag = "tasks",
    params(
        ("name" = Option<String>, Query, description = "Of this name."),
        ("state" = Option<String>, Query, description = "active, paused, finished or cancelled."),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default. A page of large tasks may hold fewer."),
        ("cursor" = Option<String>, Query, description = "The page before has it as next_cursor."),
    ),
    responses((status = 200, body = TaskList, description = "A page of them.")))]
pub async fn list(service: Service, query: Query) -> Result<Json<TaskList>, ApiError> {
    let query = query.only(&["name", "state", "limit", "cursor"])?;
    let filter = TaskFilter {
        name: query.text("name").map(str::to_owned),
        state: query.one_of("state", &TaskState::ALL)?,
    };
    let limit = query.number("limit", DEFAULT_LIMIT, pages::MAX_LIMIT)?;
    let before = query.task_id("cursor")?;
    let (tasks, next) = pages::tasks(&service, &filter, limit, before, view::task).await?;
    Ok(Json(TaskList { tasks, next_cursor: next.map(|id| id.to_string()) }))
}

/// Shows a task.
#[utoipa::path(get, path = "/v1/tasks/{task_id}", operation_id = "showTask", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id.")),
    responses((status = 200, body = TaskResource, description = "The task.",
        headers(("ETag" = String, description = "Its revision.")))))]
pub async fn show(service: Service, TaskOf(id): TaskOf) -> Result<Response, ApiError> {
    let task = service.shown_task(&id).await?;
    Ok((etag(task.rev), Json(view::task(task))).into_response())
}

/// Gives a task another definition.
///
/// The body is a JSON merge patch (RFC 7396) on its spec: `null` clears a field, what is not named stays. A schedule of another `kind`
/// takes the place of the whole schedule. Where its times stay the same, so does its place; otherwise its schedule begins anew.
#[utoipa::path(patch, path = "/v1/tasks/{task_id}", operation_id = "editTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("If-Match" = String, Header, description = "The ETag of the revision that is changed, or *."),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json", description = "Any fields of TaskSpec."),
    responses((status = 200, body = ChangedTask, description = "The task as it stands now.",
        headers(("ETag" = String, description = "Its new revision.")))))]
pub async fn edit(
    service: Service,
    TaskOf(id): TaskOf,
    if_match: IfMatch,
    fields: Fields,
) -> Result<Response, ApiError> {
    if if_match == IfMatch::Absent {
        return Err(ApiError::IfMatchRequired);
    }
    let patch = fields.into_object();
    loop {
        let task = service.shown_task(&id).await?;
        check(if_match, &task)?;
        let next = patch::apply(definition(&task), &patch, service.time_zone(), service.now())?;
        match service.edit(&id, task.rev, next).await {
            // Whatever the revision is: then it is the one that came in between.
            Err(ServiceError::RevisionMoved(_)) if if_match == IfMatch::Any => {}
            answer => return Ok(changed(answer?)),
        }
    }
}

fn check(if_match: IfMatch, task: &Task) -> Result<(), ServiceError> {
    match if_match.rev() {
        Some(rev) if rev != task.rev => Err(ServiceError::RevisionMoved(task.rev)),
        _ => Ok(()),
    }
}

fn changed(changed: Changed) -> Response {
    (etag(changed.task.rev), Json(view::changed(changed))).into_response()
}

/// Holds a task; one that is held stays so.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/pause", operation_id = "pauseTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("If-Match" = Option<String>, Header, description = "Only at the revision with this ETag."),
    ),
    responses((status = 200, body = ChangedTask, description = "The task as it stands now.")))]
pub async fn pause(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed(service.pause(&id, if_match.rev()).await?))
}

/// Lets a task go on; one that is not held stays so. What passed meanwhile is written down as skipped.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/resume", operation_id = "resumeTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("If-Match" = Option<String>, Header, description = "Only at the revision with this ETag."),
    ),
    responses((status = 200, body = ChangedTask, description = "The task as it stands now.")))]
pub async fn resume(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed(service.resume(&id, if_match.rev()).await?))
}

/// Ends a task; it stays to be seen. Runs that wait in a queue are called off.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/cancel", operation_id = "cancelTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("If-Match" = Option<String>, Header, description = "Only at the revision with this ETag."),
    ),
    responses((status = 200, body = ChangedTask, description = "The task as it stands now.")))]
pub async fn cancel(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed(service.cancel(&id, if_match.rev()).await?))
}

/// Deletes a task: it is called off, and is no longer shown to anybody. A second call is answered 404.
#[utoipa::path(delete, path = "/v1/tasks/{task_id}", operation_id = "deleteTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("If-Match" = Option<String>, Header, description = "Only at the revision with this ETag."),
    ),
    responses((status = 200, body = ChangedTask, description = "The task as it was.")))]
pub async fn delete(
    service: Service,
    TaskOf(id): TaskOf,
    if_match: IfMatch,
) -> Result<Json<ChangedTask>, ApiError> {
    Ok(Json(view::changed(service.delete_one(&id, if_match.rev()).await?)))
}

/// Fires a task by hand, whatever its schedule says; one that is held or finished as well.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/trigger", operation_id = "triggerTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters."),
    ),
    responses((status = 202, body = RunResource, description = "The run, about to be handed over.")))]
pub async fn trigger(
    service: Service,
    TaskOf(id): TaskOf,
    once: Once,
) -> Result<(StatusCode, Json<RunResource>), ApiError> {
    let key = once.of(|| id.to_string());
    let run = service.trigger(&id, key).await?;
    Ok((StatusCode::ACCEPTED, Json(view::run(run))))
}
