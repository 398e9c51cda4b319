//! TaskDash: the claim board, section 2 of the contracts.
//!
//! What stands on the board is done by people: it never falls due and no worker leases it, so it is neither task nor run and lives in
//! records; a bind is a compare-and-set. What the server does for the board by itself, asking a service for its new tasks, is a task on a
//! queue with the engine's retries.

mod answer;
mod background;
mod board;
mod fetch;
mod fields;
mod form;
mod messages;
mod services;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use background::start;
pub use fetch::{Reply, ask_waiting, run};
pub use messages::{TOPICS, Taken, take};

use super::query::Params;
use super::routing::Unmatched;
use super::session;
use super::settings::Taskdash;
use crate::engine::service::{Service, User};
use answer::{Answer, Refused};

const MAX_BODY_BYTES: usize = 1024 * 1024;
const COOKIE: &str = "taskdash_session";

/// Everything below `/rpost` and `/rget`.
pub const UNMATCHED: Unmatched = Unmatched { paths: &["/rpost", "/rget"], refuse };

type Result<T, E = Refused> = std::result::Result<T, E>;

/// What a handler works with: the commands with the rights of the request's caller, and the settings.
struct Front {
    service: Service,
    settings: Taskdash,
}

impl FromRequestParts<Taskdash> for Front {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, settings: &Taskdash) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, settings).await;
        let service = service.map_err(IntoResponse::into_response)?;
        Ok(Self { service, settings: settings.clone() })
    }
}

/// Puts the front beside `routes`.
pub fn mount(routes: Router, settings: &Taskdash) -> Router {
    let mut own = Router::new()
        .route("/rpost/task", post(dispatch))
        .route("/rget/task", get(dispatch))
        .route("/rpost/test", post(alive).get(alive))
        .route("/rget/test", get(alive));
    for topic in TOPICS {
        let handler = move |front: Front, body: Body| message(front, topic, body);
        own = own.route(&format!("/rpost/{topic}"), post(handler));
    }
    let own = own.method_not_allowed_fallback(|| async { refuse("") });
    routes.merge(own.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(settings.clone()))
}

/// The answer to a request that this API does not serve.
fn refuse(_path: &str) -> Response {
    Answer::from(Refused::Request).into()
}

async fn alive() -> Response {
    answer::done().into()
}

/// A topic's message that came over HTTP.
async fn message(front: Front, topic: &'static str, body: Body) -> Response {
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return Answer::from(Refused::Request).into();
    };
    match take(&front.service, topic, &body).await {
        Taken::Done => answer::done(),
        Taken::Refused(why) => {
            tracing::info!(topic, why, "a message was refused");
            Refused::Request.into()
        }
        Taken::Failed(why) => {
            tracing::error!(topic, why, "a message could not be stored");
            Refused::Store.into()
        }
    }
    .into()
}

/// One address for everything the page asks.
async fn dispatch(front: Front, request: Request) -> Response {
    let headers = request.headers().clone();
    let answer = match form::read(request).await {
        Ok(params) => front.answer(&headers, &params).await.unwrap_or_else(Answer::from),
        Err(refused) => refused.into(),
    };
    answer.into()
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).ok_or(Refused::Request)
}

/// `user`, or `username` as some clients have it.
fn user(params: &Params) -> Result<&str> {
    params.get("user").or_else(|| params.get("username")).ok_or(Refused::Request)
}

impl Front {
    async fn answer(&self, headers: &HeaderMap, params: &Params) -> Result<Answer> {
        let operation = required(params, "operation")?;
        if matches!(operation, "userLogin" | "UserLogin") {
            return Ok(self.log_in(params).await);
        }
        let caller = self.caller(headers).await?;
        if self.settings.auth && caller.is_none() {
            return Err(Refused::NoSession);
        }
        match operation {
            "GetTasksNoUser" => Ok(answer::rows(&self.of_user("").await?)),
            "GetTasksByUser" => Ok(answer::rows(&self.of_user(user(params)?).await?)),
            "GetTasksByStatus" => Ok(answer::rows(&self.of_status(required(params, "status")?).await?)),
            "GetServices" => Ok(answer::rows(&services::all(&self.service).await?)),
            "TaskBind" => self.bind(caller.as_ref(), params).await,
            "TaskAssign" => self.assign(caller.as_ref(), params).await,
            _ => Err(Refused::Request),
        }
    }

    /// `success` or `error`, and nothing else.
    async fn log_in(&self, params: &Params) -> Answer {
        match self.signed_in(params).await {
            Ok(Some(token)) => {
                answer::done().with(session::set_cookie(COOKIE, &token, self.settings.session_hours))
            }
            Ok(None) => answer::text("error"),
            Err(refused) => {
                refused.log();
                answer::text("error")
            }
        }
    }

    async fn signed_in(&self, params: &Params) -> Result<Option<String>> {
        let (name, password) = (required(params, "username")?, required(params, "password")?);
        let Some(user) = self.service.check_password(name, password).await.map_err(Refused::query)? else {
            return Ok(None);
        };
        let lasts_ms = session::lasts_ms(self.settings.session_hours);
        self.service.open_session(&user.name, lasts_ms).await.map(Some).map_err(Refused::store)
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Option<User>> {
        let Some(token) = session::cookie(headers, COOKIE) else { return Ok(None) };
        self.service.session(token).await.map_err(Refused::query)
    }

    async fn bind(&self, caller: Option<&User>, params: &Params) -> Result<Answer> {
        let (id, user) = (required(params, "id")?, user(params)?);
        if self.settings.auth && caller.is_none_or(|caller| caller.name != user) {
            return Err(Refused::NotAllowed);
        }
        board::bind(&self.service, id, user).await.map(|()| answer::done())
    }

    /// Whoever assigns has signed in and is senior, whatever the settings are.
    async fn assign(&self, caller: Option<&User>, params: &Params) -> Result<Answer> {
        if !caller.ok_or(Refused::NoSession)?.senior {
            return Err(Refused::NotAllowed);
        }
        board::assign(&self.service, required(params, "id")?, user(params)?).await.map(|()| answer::done())
    }

    async fn of_user(&self, user: &str) -> Result<Vec<board::Row>> {
        board::list(&self.service, Some(user), |_| true).await
    }

    async fn of_status(&self, status: &str) -> Result<Vec<board::Row>> {
        board::list(&self.service, None, |row| row.status == status).await
    }
}
