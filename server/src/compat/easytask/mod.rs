//! easytask: tasks that call HTTP services back.
//!
//! A task has the queue `callback`. The built-in worker makes the calls, checks the health of the services and
//! waits for confirmations. A service is a record. Every answer has the status 200, and its `code` tells the
//! outcome.

pub mod callbacks;
mod envelope;
mod history;
mod requests;
mod services;
mod trace;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde::Serialize;

use super::settings::Easytask;
use crate::core::submission::Submission;
use crate::core::{Task, TaskId};
use crate::engine::service::{Service, ServiceError};
use envelope::{ApiError, Nothing};
use requests::Fields;
use trace::Trace;

/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Queue of the callback worker.
const CALLBACKS: &str = "callback";

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// The state of a handler: the commands with the rights of the caller, and the settings.
struct Api {
    service: Service,
    settings: Easytask,
}

impl FromRequestParts<Easytask> for Api {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Easytask) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Adds the routes of this API.
pub fn mount(routes: Router, settings: &Easytask) -> Router {
    let own = Router::new()
        .route("/add_task_server", any(add_task_server))
        .route("/del_task_server", any(del_task_server))
        .route("/add_task", any(add_task))
        .route("/confirm_task", any(confirm_task))
        .route("/stop_task", any(stop_task))
        .route("/task_log", any(task_log))
        .with_state(settings.clone());
    routes.merge(own)
}

async fn add_task_server(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let done = async { services::add(&api.service, &requests::node(&fields?)?, &api.settings).await };
    trace.respond(&done.await.map(|()| Nothing {}))
}

async fn del_task_server(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let done = async { services::remove(&api.service, &requests::node(&fields?)?).await };
    trace.respond(&done.await.map(|()| Nothing {}))
}

/// The id of a new task. The response has the id at the top level too, as the document shows it.
#[derive(Serialize)]
struct AddedTask {
    task_id: String,
}

async fn add_task(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let added = async { api.add_task(&fields?, &trace).await }.await;
    let added = added.map(|id| AddedTask { task_id: id.to_string() });
    trace.respond_with_id(&added, |added| &added.task_id)
}

/// Confirms a run. A body with only a `task_id` requests a stop, as the document shows it.
async fn confirm_task(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let done = async {
        let fields = fields?;
        match requests::confirmation(&fields)? {
            Some(confirmation) => api.confirm(&confirmation).await,
            None => api.stop(&fields.required("task_id")?, &trace).await,
        }
    };
    trace.respond(&done.await.map(|()| Nothing {}))
}

async fn stop_task(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let done = async { api.stop(&fields?.required("task_id")?, &trace).await };
    trace.respond(&done.await.map(|()| Nothing {}))
}

async fn task_log(api: Api, request: Request) -> Response {
    let (trace, fields) = api.open(request).await;
    let log = async { api.log(&fields?).await };
    trace.respond(&log.await)
}

impl Api {
    /// Reads the trace and the fields of a request.
    async fn open(&self, request: Request) -> (Trace, Result<Fields>) {
        let trace = Trace::of(request.headers(), || self.service.token());
        let (method, body) = (request.method().clone(), request.into_body());
        (trace, self.fields(&method, body).await)
    }

    async fn fields(&self, method: &Method, body: Body) -> Result<Fields> {
        if self.service.is_stopping() {
            return Err(ApiError::Stopped);
        }
        if method != Method::POST {
            return Err(ApiError::Method);
        }
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await;
        Fields::read(&body.map_err(|_| ApiError::malformed())?)
    }

    async fn add_task(&self, fields: &Fields, trace: &Trace) -> Result<TaskId> {
        let request = requests::task(fields, &self.service)?;
        let form = services::find(&self.service, &request.service).await?.ok_or(ApiError::NoServer)?;
        let definition = request.definition(&form, &self.settings, trace);
        self.upsert(&definition).await
    }

    /// Creates a task, or edits the live task with the same name and `biz_id`.
    async fn upsert(&self, definition: &Submission) -> Result<TaskId> {
        loop {
            let stored = self.service.submit(definition.clone()).await?;
            if !stored.existing {
                return Ok(stored.id);
            }
            match self.replace_definition(&stored.id, definition.clone()).await {
                // Another request was faster, or the task has just ended: try again.
                Err(ServiceError::RevisionMoved(_) | ServiceError::Over(_) | ServiceError::NotFound) => {}
                done => return Ok(done.map(|()| stored.id)?),
            }
        }
    }

    async fn replace_definition(
        &self,
        id: &TaskId,
        definition: Submission,
    ) -> std::result::Result<(), ServiceError> {
        let task = self.service.shown_task(id).await?;
        let definition = requests::keep_grid(&task, definition);
        self.service.edit(id, task.rev, definition).await.map(drop)
    }

    /// Returns a task that this API created.
    async fn task(&self, id: &str) -> Result<Task> {
        let id = TaskId::parse(id).ok_or(ApiError::NoTask)?;
        let task = self.service.shown_task(&id).await?;
        if requests::is_own(&task) { Ok(task) } else { Err(ApiError::NoTask) }
    }
}
