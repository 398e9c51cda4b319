//! Routes of tasks: create, list, show, change, cancel, delete, trigger.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskcenter_client::resources::{
    ChangedTask, CreateTasks, CreatedTask, CreatedTasks, MAX_BATCH, RunPayload, RunResource, TaskList,
    TaskResource, TaskSpec,
};
use utoipa::ToSchema;

use super::batch::Batch;
use super::body::{Fields, Raw};
use super::decode::{OptionalBody, bounded, typed};
use super::error::ApiError;
use super::headers::{IfMatch, KeyHeader, etag};
use super::query::{LABELS, Query, TaskOf};
use super::{Context, canonical, changed, pages, patch, spec, tasks_by_key, view, waits};
use crate::core::run::PayloadChange;
use crate::core::submission::Submission;
use crate::core::{Moment, TaskId, TaskState};
use crate::engine::service::{
    IdempotencyKey, Service, ServiceError, Submitted, TaskFilter, Wanted, definition,
};

const DEFAULT_LIMIT: u32 = 100;

/// Body of `POST /v1/tasks`: one task, or a list of tasks.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CreateTasksBody {
    /// One task.
    One(Box<TaskSpec>),
    /// A list of tasks.
    Several(CreateTasks),
}

impl CreateTasksBody {
    /// Decodes a body. The first try is the fast one; if it fails, the second one names the field.
    fn decode(body: &[u8]) -> Result<Self, ApiError> {
        match Self::decode_valid(body) {
            Some(decoded) => decoded.bounded(),
            None => Self::read(&Value::Object(Fields::decode(body)?.into_object())),
        }
    }

    /// Decodes a valid body. Both forms refuse the fields of the other one.
    fn decode_valid(body: &[u8]) -> Option<Self> {
        let several = || serde_json::from_slice(body).map(Self::Several).ok();
        let one = || serde_json::from_slice(body).map(Self::One).ok();
        if body.starts_with(b"{\"tasks\"") { several().or_else(one) } else { one().or_else(several) }
    }

    /// Decodes the form that the field `tasks` selects, so that an error names a field of that
    /// form.
    fn read(body: &Value) -> Result<Self, ApiError> {
        if body.get("tasks").is_none() {
            return typed(body).map(Self::One);
        }
        typed(body).map(Self::Several)?.bounded()
    }

    fn bounded(self) -> Result<Self, ApiError> {
        if let Self::Several(several) = &self {
            bounded("tasks", several.tasks.len(), MAX_BATCH)?;
        }
        Ok(self)
    }
}

/// Answer of `POST /v1/tasks`, in the form of the request.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum CreateTasksReply {
    /// The existing task.
    One(Box<TaskResource>),
    /// One result for each task of the list.
    Several(CreatedTasks),
}

/// Creates a task, or a list of up to 1,000 tasks.
///
/// If a live task with the same name and `dedup_key` exists, nothing is created, and `on_conflict` decides: the
/// answer is that task, or 409, or that task with the new definition. Each task of a list succeeds or fails on its own; a list that cannot be decoded is
/// refused as a whole. With an `Idempotency-Key`, a repeated request creates nothing and gets the
/// first answer, for one day.
#[utoipa::path(post, path = "/v1/tasks", operation_id = "createTasks", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        pattern = "^[!-~]+$", description = "Key of the request: 1 to 255 visible ASCII characters.")),
    request_body = CreateTasksBody,
    responses(
        (status = 201, body = TaskResource, description = "The task is stored.",
            headers(
                ("Location" = String, description = "Path of the task."),
                ("ETag" = String, description = "Revision of the task, in quotes."),
            )),
        (status = 200, body = CreateTasksReply,
            description = "One task: a live task with this name and `dedup_key` exists. A list: one result for each task."),
        (status = 404, description = "`not_found`: a repeated request whose task has been deleted."),
        (status = 409, description = "`duplicate`: with `on_conflict` `reject`, a live task with this name and \
            `dedup_key` exists. `task_id` names it. `too_many_live_tasks`: the quota of the token has not enough places; \
            nothing was created."),
        (status = 429, description = "`too_many_creates`: the token creates too many tasks per second; nothing was created."),
        (status = 422, description = "`idempotency_key_reused`: the key belongs to another request."),
    ))]
pub async fn create(
    State(context): State<Context>,
    service: Service,
    key: KeyHeader,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let new = CreateTasksBody::decode(&body)?;
    let key = key.for_request(|| canonical::text(&body));
    drop(body);
    match new {
        CreateTasksBody::One(spec) => create_one(&context, &service, *spec, key).await,
        CreateTasksBody::Several(several) => {
            let created = create_several(&context, &service, several, key).await?;
            Ok(Json(CreateTasksReply::Several(created)).into_response())
        }
    }
}

fn submission(service: &Service, spec: TaskSpec, now: Moment) -> Result<Submission, ApiError> {
    spec::submission(spec, service.time_zone(), now)
}

async fn create_one(
    context: &Context,
    service: &Service,
    spec: TaskSpec,
    key: Option<IdempotencyKey>,
) -> Result<Response, ApiError> {
    let submission = submission(service, spec, service.now())?;
    let answer = service.submit_idempotent(vec![submission], key).await?.pop();
    let submitted = answer.ok_or_else(|| ApiError::Internal("no answer for a task".to_owned()))??;
    let status = status_of(context, &submitted);
    let Submitted { existing, replaced, .. } = submitted;
    let changed = service.submitted_task(submitted).await?;
    let warnings = waits::warnings(service, &changed.task).await?;
    let ChangedTask { task, open_runs, more_open_runs } = view::changed(changed);
    let task = TaskResource { existing, replaced, open_runs, more_open_runs, warnings, ..task };
    let location = [(header::LOCATION, format!("/v1/tasks/{}", task.id))];
    Ok((status, location, etag(task.rev), Json(CreateTasksReply::One(Box::new(task)))).into_response())
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
    let now = service.now();
    let mut batch = Batch::of(several.tasks.into_iter().map(|spec| submission(service, spec, now)));
    let valid = std::mem::take(&mut batch.valid);
    let answers = service.submit_idempotent(valid, key).await?;
    let mut results = Vec::new();
    for (at, answer) in batch.answers(answers).enumerate() {
        let result = match answer {
            Ok(submitted) => created(context, service, submitted).await,
            Err(error) => Err(error),
        };
        results.push(result.unwrap_or_else(|error| {
            let problem = error.of_item(&format!("tasks[{at}]"));
            CreatedTask { status: problem.status, problem: Some(problem), ..CreatedTask::default() }
        }));
    }
    Ok(CreatedTasks { results })
}

async fn created(
    context: &Context,
    service: &Service,
    submitted: Submitted,
) -> Result<CreatedTask, ApiError> {
    let status = status_of(context, &submitted).as_u16();
    let (id, replaced) = (Some(submitted.id.to_string()), submitted.replaced);
    let created = CreatedTask { status, id, replaced, ..CreatedTask::default() };
    if !replaced {
        return Ok(created);
    }
    let ChangedTask { open_runs, more_open_runs, .. } =
        view::changed(service.submitted_task(submitted).await?);
    Ok(CreatedTask { open_runs, more_open_runs, ..created })
}

/// Lists tasks, newest first.
///
/// The list contains cancelled tasks only with `state=cancelled`, and deleted tasks never.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "listTasks", tag = "tasks",
    params(
        ("name" = Option<String>, Query, description = "Only tasks with this name."),
        ("dedup_key" = Option<String>, Query,
            description = "Only the live task with this deduplication key and `name`. Excludes the other parameters."),
        ("state" = Option<String>, Query, pattern = "^(active|paused|finished|cancelled)?$",
            description = "Only tasks in this state: `active`, `paused`, `finished` or `cancelled`. \
                Default: all states except `cancelled`."),
        ("label.key" = Option<String>, Query, max_length = 63,
            description = "Only tasks with the label `key` of this value, such as `label.team=pay`. Several labels must \
                all match. The first label in the order of the keys selects the tasks by an index, also with `state`; other \
                labels and `name` are checked for each task. A page examines at most 50 tasks for each one of `limit`, and 5,000 \
                in total, so it may be empty although `next_cursor` leads to more."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Maximum number of tasks in the page. Bounds: 1 to 1,000. Default: 100."),
        ("cursor" = Option<String>, Query, pattern = "^([0-9a-f]{32})?$",
            description = "`next_cursor` of the previous page. Default: the first page."),
    ),
    responses((status = 200, body = TaskList, description = "A page of tasks.")))]
pub async fn list(service: Service, query: Query) -> Result<Response, ApiError> {
    if query.text("dedup_key").is_some() {
        return Ok(tasks_by_key::list(&service, query).await?.into_response());
    }
    let query = query.only(&["name", "dedup_key", "state", LABELS, "limit", "cursor"])?;
    let filter = TaskFilter {
        name: query.text("name").map(str::to_owned),
        state: query.one_of("state", &TaskState::ALL)?,
        label: None,
    };
    let wanted = Wanted { filter, labels: query.labels()? };
    let limit = query.number("limit", DEFAULT_LIMIT, pages::MAX_LIMIT)?;
    let before = query.task_id("cursor")?;
    let page = pages::tasks(&service, &wanted, limit, before, view::task).await?;
    Ok(page.into_object("tasks", ToString::to_string))
}

/// Shows a task, and what a run of it waits for that is not admitted.
#[utoipa::path(get, path = "/v1/tasks/{task_id}", operation_id = "showTask", tag = "tasks",
    params(("task_id" = String, Path, description = "Id of the task.")),
    responses(
        (status = 200, body = TaskResource, description = "The task.",
            headers(("ETag" = String, description = "Revision of the task, in quotes."))),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
    ))]
pub async fn show(service: Service, TaskOf(id): TaskOf) -> Result<Response, ApiError> {
    let task = service.shown_task(&id).await?;
    let waits_for = waits::of_task(&service, &task).await?;
    Ok((etag(task.rev), Json(TaskResource { waits_for, ..view::task(task) })).into_response())
}

/// Edits the definition of a task.
///
/// The body is a JSON merge patch (RFC 7396) of the fields of `TaskSpec`: `null` clears a field,
/// and an absent field keeps its value. A `schedule` of another `kind` replaces the whole schedule,
/// and `delay_ms` replaces `start_at`. If `schedule`, `start_at`, `end_at` and `max_fires` keep
/// their values, the task keeps its place in the schedule; otherwise the schedule starts again now.
/// After the answer, no moment of the old definition fires.
#[utoipa::path(patch, path = "/v1/tasks/{task_id}", operation_id = "editTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("If-Match" = String, Header,
            description = "`ETag` of the revision to edit, such as `\"3\"`; or `*` for any revision."),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json",
        description = "Fields of `TaskSpec` to change."),
    responses(
        (status = 200, body = ChangedTask, description = "The task after the edit.",
            headers(("ETag" = String, description = "New revision of the task, in quotes."))),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 409, description = "`task_over`: the task is finished or cancelled. \
            `duplicate`: another live task has this name and `dedup_key`."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
        (status = 428, description = "`if_match_required`: the header `If-Match` is missing."),
    ))]
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
        let task = service.task_at(&id, if_match.rev()).await?;
        let next = patch::apply(definition(&task), &patch, service.time_zone(), service.now())?;
        match service.edit(&id, task.rev, next).await {
            // `*` means any revision, so retry with the revision that another request has just
            // written.
            Err(ServiceError::RevisionMoved(_)) if if_match == IfMatch::Any => {}
            answer => return Ok(changed::answer(answer?)),
        }
    }
}

/// Pauses a task. A paused task keeps its place in the schedule.
///
/// The pause of a paused task changes nothing and succeeds.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/pause", operation_id = "pauseTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to change. Default: any revision."),
    ),
    responses(
        (status = 200, body = ChangedTask, description = "The task after the pause."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 409, description = "`task_over`: the task is finished or cancelled."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn pause(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed::answer(service.pause(&id, if_match.rev()).await?))
}

/// Resumes a paused task.
///
/// The moments that passed during the pause are recorded as one skipped run. A task with the
/// schedule `once` whose moment has passed fires immediately. To resume an active task changes
/// nothing and succeeds.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/resume", operation_id = "resumeTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to change. Default: any revision."),
    ),
    responses(
        (status = 200, body = ChangedTask, description = "The task after it was resumed."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 409, description = "`task_over`: the task is finished or cancelled."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn resume(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed::answer(service.resume(&id, if_match.rev()).await?))
}

/// Cancels a task. The task remains visible.
///
/// Runs that wait in a queue are cancelled as well. `open_runs` of the answer lists the other open
/// runs.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/cancel", operation_id = "cancelTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to change. Default: any revision."),
    ),
    responses(
        (status = 200, body = ChangedTask, description = "The cancelled task."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn cancel(service: Service, TaskOf(id): TaskOf, if_match: IfMatch) -> Result<Response, ApiError> {
    Ok(changed::answer(service.cancel(&id, if_match.rev()).await?))
}

/// Deletes a task: cancels it, and it is no longer visible.
///
/// The second delete of a task answers 404, which means that the task is deleted.
#[utoipa::path(delete, path = "/v1/tasks/{task_id}", operation_id = "deleteTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the revision to change. Default: any revision."),
    ),
    responses(
        (status = 200, body = ChangedTask, description = "The task before it was deleted."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 412, description = "`revision_moved`: the task has another revision than `If-Match`."),
    ))]
pub async fn delete(
    service: Service,
    TaskOf(id): TaskOf,
    if_match: IfMatch,
) -> Result<Json<ChangedTask>, ApiError> {
    Ok(Json(view::changed(service.delete_one(&id, if_match.rev()).await?)))
}

/// Triggers a task: fires it once, independently of its schedule.
///
/// A paused or finished task can be triggered, too. The schedule and `fired_count` do not change.
/// With an `Idempotency-Key`, a repeated request creates no second run and gets the first one, for
/// one day. With a body, this run delivers another payload; the task keeps its own.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/trigger", operation_id = "triggerTask", tag = "tasks",
    params(
        ("task_id" = String, Path, description = "Id of the task."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            pattern = "^[!-~]+$", description = "Key of the request: 1 to 255 visible ASCII characters."),
    ),
    request_body(content = Option<RunPayload>, description = "Default: the payload of the task."),
    responses(
        (status = 202, body = RunResource, description = "The run. The server hands it over next."),
        (status = 404, description = "`not_found`: the task does not exist or is deleted."),
        (status = 409, description = "`task_over`: the task is cancelled."),
        (status = 422, description = "`idempotency_key_reused`: the key belongs to another request."),
    ))]
pub async fn trigger(
    service: Service,
    TaskOf(id): TaskOf,
    key: KeyHeader,
    OptionalBody(payload): OptionalBody<RunPayload>,
) -> Result<(StatusCode, Json<RunResource>), ApiError> {
    let change = spec::payload_change(payload)?;
    let key = key.for_request(|| trigger_request(&id, &change));
    let run = service.trigger_with(&id, &change, key).await?;
    Ok((StatusCode::ACCEPTED, Json(view::run(run))))
}

/// Returns the text of a request whose digest belongs to its key. Earlier releases know requests without a payload
/// by the id alone.
fn trigger_request(id: &TaskId, change: &PayloadChange) -> String {
    if change.is_empty() { id.to_string() } else { format!("{id} {change:?}") }
}
