//! kingtask: scripts and RPC calls, section 4 of the contract.
//!
//! A task is a one-shot in the queue `script` or `rpc`; the built-in workers run it, and its run holds the result. Every refusal is a 403
//! with a JSON string.

mod answer;
mod either;
mod requests;

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
use answer::{Refused, TaskResult};

/// The names of this front's tasks, by which they are counted.
const TAGS: [&str; 2] = [SCRIPT_TAG, RPC_TAG];
const SCRIPT_TAG: &str = "kingtask.script";
const RPC_TAG: &str = "kingtask.rpc";
/// Where a run is that was handed over and has not ended.
const HELD: [RunState; 3] = [RunState::Ready, RunState::Leased, RunState::Retrying];
/// Runs read at a time.
const PAGE: u32 = 1_000;
/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Where the old broker took scripts as well, as its document's examples do; the native v1 API has its tasks there.
const SHARED_PATH: &str = "/api/v1/task";

/// The paths of this API alone; the native v1 API answers for the rest of `/api/v1`.
pub const UNMATCHED: Unmatched = Unmatched {
    paths: &["/api/v1/task/script", "/api/v1/task/rpc", "/api/v1/task/result", "/api/v1/task/count"],
    refuse,
};

type Result<T, E = Refused> = std::result::Result<T, E>;

/// What a handler works with: the commands with the rights of the request's caller, and the settings.
struct Front {
    service: Service,
    settings: Kingtask,
}

impl FromRequestParts<Kingtask> for Front {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Kingtask) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Puts the front beside `routes`.
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

/// The answer to a request that this API does not serve.
fn refuse(_path: &str) -> Response {
    answer::to::<()>(Err(Refused::Argument))
}

/// On the shared path, a body with a `bin_name` is a script; everything else is the native API's.
async fn share(front: Front, request: Request, next: Next) -> Response {
    if request.method() != axum::http::Method::POST || request.uri().path() != SHARED_PATH {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (start, rest) = either::read(body, MAX_BODY_BYTES).await;
    if rest.is_none() && requests::names_a_script(&start) {
        return answer::to(front.submit(requests::script(&start, &front.settings)).await);
    }
    next.run(Request::from_parts(head, either::again(start, rest))).await
}

async fn script(front: Front, body: Body) -> Response {
    let submission = whole(body).await.and_then(|body| requests::script(&body, &front.settings));
    answer::to(front.submit(submission).await)
}

async fn rpc(front: Front, body: Body) -> Response {
    let submission = whole(body).await.and_then(|body| requests::rpc(&body, &front.settings));
    answer::to(front.submit(submission).await)
}

async fn whole(body: Body) -> Result<Bytes> {
    axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Refused::Argument)
}

async fn result(front: Front, segment: Segment) -> Response {
    answer::to(async { front.result(&known(segment)?).await }.await)
}

async fn undo(front: Front) -> Response {
    answer::to(front.undo().await)
}

async fn failures(front: Front, segment: Segment) -> Response {
    answer::to(async { front.ended(&known(segment)?, RunState::Dead).await }.await)
}

async fn successes(front: Front, segment: Segment) -> Response {
    answer::to(async { front.ended(&known(segment)?, RunState::Succeeded).await }.await)
}

fn known(Segment(segment): Segment) -> Result<String> {
    segment.ok_or(Refused::Argument)
}

impl Front {
    /// Stores the task; its id, as a UUID is usually written.
    async fn submit(&self, submission: Result<Submission>) -> Result<String> {
        let id = self.service.submit(submission?).await?.id;
        Ok(answer::uuid(&id))
    }

    /// What the last attempt came to.
    async fn result(&self, uuid: &str) -> Result<TaskResult> {
        let id = uuid::Uuid::try_parse(uuid).map_err(|_| Refused::NoResult)?;
        let filter = RunFilter { task_id: Some(TaskId::new(id)), ..RunFilter::default() };
        let runs = self.service.list_runs(&filter, &RunPage { limit: 1, before: None }).await?;
        let run = runs.iter().find(|run| TAGS.contains(&run.tag.as_str())).ok_or(Refused::NoResult)?;
        let keep_ms = i64::try_from(self.settings.result_keep_sec.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let expired = |ended: Moment| self.service.now().since(ended) > keep_ms;
        let result = TaskResult::of(run).filter(|_| !run.ended_at.is_some_and(expired));
        result.ok_or(Refused::NoResult)
    }

    /// Tasks whose time has come and which are not finished: those that are not handed over yet, and those that wait in their queue, are
    /// worked on or wait for their next attempt. Others' tasks in the same queues do not count.
    async fn undo(&self) -> Result<u64> {
        let due = self.service.backlog().await?;
        let due = due.iter().filter(|row| TAGS.contains(&row.tag.as_str())).map(|row| row.due);
        let mut undone = due.sum();
        for tag in TAGS {
            for state in HELD {
                undone += self.runs(tag, state).await?;
            }
        }
        Ok(undone)
    }

    /// How many runs of a tag stand in a state that is not the last.
    async fn runs(&self, tag: &str, state: RunState) -> Result<u64> {
        let filter = RunFilter { tag: Some(tag.to_owned()), state: Some(state), ..RunFilter::default() };
        let (mut count, mut before) = (0, None);
        loop {
            let runs = self.service.list_runs(&filter, &RunPage { limit: PAGE, before }).await?;
            let Some(last) = runs.last() else { return Ok(count) };
            count += runs.len() as u64;
            before = Some((last.scheduled_at, last.id.clone()));
        }
    }

    /// How many tasks came to such an end on a day of the server's time zone.
    async fn ended(&self, date: &str, state: RunState) -> Result<u64> {
        let day = answer::day(date).ok_or(Refused::Argument)?;
        let ends = self.service.outcomes_on(day).await?;
        let of_ours = ends.iter().filter(|end| end.state == state && TAGS.contains(&end.tag.as_str()));
        Ok(of_ours.map(|end| end.runs).sum())
    }
}
