//! easytask: tasks that call HTTP services back, section 3 of the contract.
//!
//! A task has the queue `callback`; the built-in workers make the calls, look after the services' health, and wait for confirmations. A
//! service is a record. Every answer has the status 200 and says in its `code` what became of the request.

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
use envelope::{Nothing, Refused};
use requests::Fields;
use trace::Trace;

/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The queue of the worker that calls services back.
const CALLBACKS: &str = "callback";

type Result<T, E = Refused> = std::result::Result<T, E>;

/// What a handler works with: the commands with the rights of the request's caller, and the settings.
struct Front {
    service: Service,
    settings: Easytask,
}

impl FromRequestParts<Easytask> for Front {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Easytask) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Puts the front beside `routes`.
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

async fn add_task_server(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let done = async { services::add(&front.service, &requests::node(&fields?)?, &front.settings).await };
    trace.answer(&done.await.map(|()| Nothing {}))
}

async fn del_task_server(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let done = async { services::remove(&front.service, &requests::node(&fields?)?).await };
    trace.answer(&done.await.map(|()| Nothing {}))
}

/// The id of a task; it stands at the top level as well, for readers of the document alone.
#[derive(Serialize)]
struct AddedTask {
    task_id: String,
}

async fn add_task(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let added = async { front.add_task(&fields?, &trace).await }.await;
    let added = added.map(|id| AddedTask { task_id: id.to_string() });
    trace.answer_with_id(&added, |added| &added.task_id)
}

/// The document prints stop under this path too: with a `task_id` alone it is one.
async fn confirm_task(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let done = async {
        let fields = fields?;
        match requests::confirmation(&fields)? {
            Some(confirmation) => front.confirm(&confirmation).await,
            None => front.stop(&fields.required("task_id")?, &trace).await,
        }
    };
    trace.answer(&done.await.map(|()| Nothing {}))
}

async fn stop_task(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let done = async { front.stop(&fields?.required("task_id")?, &trace).await };
    trace.answer(&done.await.map(|()| Nothing {}))
}

async fn task_log(front: Front, request: Request) -> Response {
    let (trace, fields) = front.open(request).await;
    let log = async { front.log(&fields?).await };
    trace.answer(&log.await)
}

impl Front {
    /// Reads a request: what it belongs to, and its fields.
    async fn open(&self, request: Request) -> (Trace, Result<Fields>) {
        let trace = Trace::of(request.headers(), || self.service.token());
        let (method, body) = (request.method().clone(), request.into_body());
        (trace, self.fields(&method, body).await)
    }

    async fn fields(&self, method: &Method, body: Body) -> Result<Fields> {
        if self.service.is_stopping() {
            return Err(Refused::Stopped);
        }
        if method != Method::POST {
            return Err(Refused::Method);
        }
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await;
        Fields::read(&body.map_err(|_| Refused::unreadable())?)
    }

    async fn add_task(&self, fields: &Fields, trace: &Trace) -> Result<TaskId> {
        let wanted = requests::task(fields, &self.service)?;
        let callee = services::find(&self.service, &wanted.service).await?.ok_or(Refused::NoServer)?;
        let definition = wanted.definition(&callee, &self.settings, trace);
        self.upsert(&definition).await
    }

    /// There is one live task of a name and a `biz_id`; the same again gives it another definition.
    async fn upsert(&self, definition: &Submission) -> Result<TaskId> {
        loop {
            let stored = self.service.submit(definition.clone()).await?;
            if !stored.existing {
                return Ok(stored.id);
            }
            match self.redefine(&stored.id, definition.clone()).await {
                // Somebody else was faster, or it has just ended: look again.
                Err(ServiceError::RevisionMoved(_) | ServiceError::Over(_) | ServiceError::NotFound) => {}
                done => return Ok(done.map(|()| stored.id)?),
            }
        }
    }

    async fn redefine(&self, id: &TaskId, definition: Submission) -> std::result::Result<(), ServiceError> {
        let task = self.service.shown_task(id).await?;
        let definition = requests::keeping_its_place(&task, definition);
        self.service.edit(id, task.rev, definition).await.map(drop)
    }

    /// A task of this front.
    async fn task(&self, id: &str) -> Result<Task> {
        let id = TaskId::parse(id).ok_or(Refused::NoTask)?;
        let task = self.service.shown_task(&id).await?;
        if requests::is_ours(&task) { Ok(task) } else { Err(Refused::NoTask) }
    }
}
