//! TaskDash: a board of tasks that users claim.
//!
//! Users work on the tasks of the board, so these have no schedule and no worker leases them. They are records,
//! and a bind is a compare-and-set. Fetching new tasks from a service is a task in a queue, with the retries of
//! the engine.

mod background;
mod board;
mod fetch;
mod fields;
mod form;
mod messages;
mod responses;
mod services;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use background::start;
pub use board::prune;
pub use fetch::{Reply, fetch_ready, run};
pub use messages::{MessageOutcome, TOPICS, handle_message};

use super::query::Params;
use super::routing::Unmatched;
use super::session;
use super::settings::Taskdash;
use crate::engine::service::{Service, User};
use responses::{Answer, ApiError};

const MAX_BODY_BYTES: usize = 1024 * 1024;
const COOKIE: &str = "taskdash_session";
/// Name of this API in sessions.
const NAME: &str = "taskdash";

/// Paths that the page calls. Another host may serve the page.
pub const PAGE_PATHS: [&str; 2] = ["/rget/task", "/rpost/task"];
/// All paths below `/rpost` and `/rget`.
pub const UNMATCHED: Unmatched = Unmatched { paths: &["/rpost", "/rget"], refuse };

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// The state of a handler: the commands with the rights of the caller, and the settings.
struct Api {
    service: Service,
    settings: Taskdash,
}

impl FromRequestParts<Taskdash> for Api {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Taskdash) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Adds the routes of this API.
pub fn mount(routes: Router, settings: &Taskdash) -> Router {
    let mut own = Router::new()
        .route("/rpost/task", post(dispatch))
        .route("/rget/task", get(dispatch))
        .route("/rpost/test", post(alive).get(alive))
        .route("/rget/test", get(alive));
    for topic in TOPICS {
        let handler = move |api: Api, body: Body| message(api, topic, body);
        own = own.route(&format!("/rpost/{topic}"), post(handler));
    }
    let own = own.method_not_allowed_fallback(|| async { refuse("") });
    routes.merge(own.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(settings.clone()))
}

/// The response to a request that this API does not serve.
fn refuse(_path: &str) -> Response {
    Answer::from(ApiError::Request).into()
}

async fn alive() -> Response {
    responses::done().into()
}

/// Handles a message of a topic sent over HTTP.
async fn message(api: Api, topic: &'static str, body: Body) -> Response {
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return Answer::from(ApiError::Request).into();
    };
    match handle_message(&api.service, topic, &body).await {
        MessageOutcome::Done => responses::done(),
        MessageOutcome::Refused(why) => {
            tracing::info!(topic, why, "message refused");
            ApiError::Request.into()
        }
        MessageOutcome::Failed(why) => {
            tracing::error!(topic, why, "message not stored");
            ApiError::Store.into()
        }
    }
    .into()
}

/// Handles all requests of the page.
async fn dispatch(api: Api, request: Request) -> Response {
    let headers = request.headers().clone();
    let answer = match form::read(request).await {
        Ok(params) => api.answer(&headers, &params).await.unwrap_or_else(Answer::from),
        Err(refused) => refused.into(),
    };
    answer.into()
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).ok_or(ApiError::Request)
}

/// Reads `user`, or `username`, which some clients send.
fn user(params: &Params) -> Result<&str> {
    params.get("user").or_else(|| params.get("username")).ok_or(ApiError::Request)
}

impl Api {
    async fn answer(&self, headers: &HeaderMap, params: &Params) -> Result<Answer> {
        let operation = required(params, "operation")?;
        if matches!(operation, "userLogin" | "UserLogin") {
            return Ok(self.log_in(params).await);
        }
        let caller = self.caller(headers).await?;
        if self.settings.auth && caller.is_none() {
            return Err(ApiError::NoSession);
        }
        match operation {
            "GetTasksNoUser" => Ok(responses::rows(&self.of_user("").await?)),
            "GetTasksByUser" => Ok(responses::rows(&self.of_user(user(params)?).await?)),
            "GetTasksByStatus" => Ok(responses::rows(&self.of_status(required(params, "status")?).await?)),
            "GetServices" => Ok(responses::rows(&services::all(&self.service).await?)),
            "TaskBind" => self.bind(caller.as_ref(), params).await,
            "TaskAssign" => self.assign(caller.as_ref(), params).await,
            _ => Err(ApiError::Request),
        }
    }

    /// Answers only `success` or `error`.
    async fn log_in(&self, params: &Params) -> Answer {
        match self.sign_in(params).await {
            Ok(Some(token)) => responses::done().with_cookie(session::set_cookie(
                COOKIE,
                &token,
                self.settings.session_hours,
            )),
            Ok(None) => responses::text("error"),
            Err(ApiError::TooManyAttempts(seconds)) => responses::text("error").with_retry_after(seconds),
            Err(refused) => {
                refused.log();
                responses::text("error")
            }
        }
    }

    async fn sign_in(&self, params: &Params) -> Result<Option<String>> {
        let (name, password) = (required(params, "username")?, required(params, "password")?);
        let Some(user) = self.service.check_password(name, password).await.map_err(ApiError::query)? else {
            return Ok(None);
        };
        let lasts_ms = session::lasts_ms(self.settings.session_hours);
        self.service.open_session(&user.name, NAME, lasts_ms).await.map(Some).map_err(ApiError::store)
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Option<User>> {
        let Some(token) = session::cookie(headers, COOKIE) else { return Ok(None) };
        self.service.session(token, NAME).await.map_err(ApiError::query)
    }

    async fn bind(&self, caller: Option<&User>, params: &Params) -> Result<Answer> {
        let (id, user) = (required(params, "id")?, user(params)?);
        if self.settings.auth && caller.is_none_or(|caller| caller.name != user) {
            return Err(ApiError::NotAllowed);
        }
        board::bind(&self.service, id, user).await.map(|()| responses::done())
    }

    /// Requires a session of a senior user, also if `auth` is off.
    async fn assign(&self, caller: Option<&User>, params: &Params) -> Result<Answer> {
        if !caller.ok_or(ApiError::NoSession)?.senior {
            return Err(ApiError::NotAllowed);
        }
        board::assign(&self.service, required(params, "id")?, user(params)?).await.map(|()| responses::done())
    }

    async fn of_user(&self, user: &str) -> Result<Vec<board::Row>> {
        board::list(&self.service, Some(user), |_| true).await
    }

    async fn of_status(&self, status: &str) -> Result<Vec<board::Row>> {
        board::list(&self.service, None, |row| row.status == status).await
    }
}
