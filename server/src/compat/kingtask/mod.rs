//! kingtask: scripts and RPC calls.
//!
//! A task is a one-shot in the queue `script` or `rpc`. A built-in worker executes it, and its run holds the
//! result. Every error is a 403 with a JSON string.

mod either;
mod requests;
mod responses;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::routing::{Segment, Unmatched};
use super::settings::Kingtask;
use crate::core::submission::Submission;
use crate::core::{Moment, RunState, TaskId};
use crate::engine::service::{RunFilter, RunPage, Service};
use responses::{ApiError, TaskResult};

/// Names of the tasks of this API, by which they are counted.
const TAGS: [&str; 2] = [SCRIPT_TAG, RPC_TAG];
const SCRIPT_TAG: &str = "kingtask.script";
const RPC_TAG: &str = "kingtask.rpc";
/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Path of scripts in the examples of the document, shared with tasks of the native v1 API.
const SHARED_PATH: &str = "/api/v1/task";

/// Paths that only this API serves. The native v1 API serves the rest of `/api/v1`.
pub const UNMATCHED: Unmatched = Unmatched {
    paths: &["/api/v1/task/script", "/api/v1/task/rpc", "/api/v1/task/result", "/api/v1/task/count"],
    refuse,
};

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// The state of a handler: the commands with the rights of the caller, and the settings.
struct Api {
    service: Service,
    settings: Kingtask,
}

impl FromRequestParts<Kingtask> for Api {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Kingtask) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Adds the routes of this API.
pub fn mount(routes: Router, settings: &Kingtask) -> Router {
    let own = Router::new()
        .route("/api/v1/task/script", post(script))
        .route("/api/v1/task/rpc", post(rpc))
        .route("/api/v1/task/result/{uuid}", get(result))
        .route("/api/v1/task/count/undo", get(undo))
        .route("/api/v1/task/result/failure/{date}", get(failures))
        .route("/api/v1/task/result/success/{date}", get(successes))
        .method_not_allowed_fallback(|| async { refuse("") })
        .with_state(settings.clone());
    routes.merge(own).layer(from_fn_with_state(settings.clone(), share))
}

/// The response to a request that this API does not serve.
fn refuse(_path: &str) -> Response {
    responses::to::<()>(Err(ApiError::Argument))
}

/// Handles scripts on the shared path: bodies with a `bin_name`. The native API gets all other bodies.
async fn share(api: Api, request: Request, next: Next) -> Response {
    if request.method() != axum::http::Method::POST || request.uri().path() != SHARED_PATH {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (start, rest) = either::read(body, MAX_BODY_BYTES).await;
    if rest.is_none() && requests::names_a_script(&start) {
        return responses::to(api.submit(requests::script(&start, &api.settings)).await);
    }
    next.run(Request::from_parts(head, either::restore(start, rest))).await
}

async fn script(api: Api, body: Body) -> Response {
    let submission = whole(body).await.and_then(|body| requests::script(&body, &api.settings));
    responses::to(api.submit(submission).await)
}

async fn rpc(api: Api, body: Body) -> Response {
    let submission = whole(body).await.and_then(|body| requests::rpc(&body, &api.settings));
    responses::to(api.submit(submission).await)
}

async fn whole(body: Body) -> Result<Bytes> {
    axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::Argument)
}

async fn result(api: Api, segment: Segment) -> Response {
    responses::to(async { api.result(&known(segment)?).await }.await)
}

async fn undo(api: Api) -> Response {
    responses::to(api.undo().await)
}

async fn failures(api: Api, segment: Segment) -> Response {
    responses::to(async { api.ended(&known(segment)?, RunState::Dead).await }.await)
}

async fn successes(api: Api, segment: Segment) -> Response {
    responses::to(async { api.ended(&known(segment)?, RunState::Succeeded).await }.await)
}

fn known(Segment(segment): Segment) -> Result<String> {
    segment.ok_or(ApiError::Argument)
}

impl Api {
    /// Creates a task and returns its id as a hyphenated UUID.
    async fn submit(&self, submission: Result<Submission>) -> Result<String> {
        let id = self.service.submit(submission?).await?.id;
        Ok(responses::uuid(&id))
    }

    /// Returns the result of the last attempt.
    async fn result(&self, uuid: &str) -> Result<TaskResult> {
        let id = uuid::Uuid::try_parse(uuid).map_err(|_| ApiError::NoResult)?;
        let filter = RunFilter { task_id: Some(TaskId::new(id)), ..RunFilter::default() };
        let runs = self.service.list_runs(&filter, &RunPage { limit: 1, before: None }).await?;
        let run = runs.iter().find(|run| TAGS.contains(&run.tag.as_str())).ok_or(ApiError::NoResult)?;
        let keep_ms = i64::try_from(self.settings.result_keep_sec.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let expired = |ended: Moment| self.service.now().since(ended) > keep_ms;
        let result = TaskResult::of(run).filter(|_| !run.ended_at.is_some_and(expired));
        result.ok_or(ApiError::NoResult)
    }

    /// Counts due tasks without a final outcome: not handed over, ready or leased. A task in its retry pause is
    /// not due. Tasks of other APIs in the same queues do not count.
    async fn undo(&self) -> Result<u64> {
        let backlog = self.service.backlog().await?;
        let own = backlog.iter().filter(|row| TAGS.contains(&row.tag.as_str()));
        Ok(own.map(|row| row.due + row.ready + row.unreported).sum())
    }

    /// Counts the tasks that ended in this state on a day in the time zone of the server.
    async fn ended(&self, date: &str, state: RunState) -> Result<u64> {
        let day = responses::day(date).ok_or(ApiError::Argument)?;
        let ends = self.service.outcomes_on(day).await?;
        let own = ends.iter().filter(|end| end.state == state && TAGS.contains(&end.tag.as_str()));
        Ok(own.map(|end| end.runs).sum())
    }
}
