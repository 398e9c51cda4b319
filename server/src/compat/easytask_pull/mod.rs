//! easyTask: pull workers, section 5 of the contracts.
//!
//! A task is a one-shot in the queue that is named after its type. A worker holds its tasks by the engine's leases: they last a minute, and
//! each sign of life renews them. Beside tasks and runs the front remembers which types there are, which workers have said hello, and
//! which task has which number.

mod answer;
mod numbers;
mod payload;
mod requests;
mod rows;
mod settle;
mod workers;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};

use super::query::Params;
use super::routing::{Segment, Unmatched};
use super::session;
use super::settings::EasytaskPull;
use crate::core::{Moment, tag};
use crate::engine::service::{Page, Service};
use answer::Refused;
use numbers::Numbers;
use requests::Put;
use rows::{Row, View};

/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const COOKIE: &str = "gsessionid";
const TYPE: &str = "easytask_pull.type";
/// Queues of the server's own workers: whoever puts a task there has it carried out, and whoever claims there takes it away from them.
const NOT_TYPES: [&str; 4] = ["callback", "script", "rpc", "taskdash.ask"];
/// Most tasks for one claim.
const MAX_CLAIM: u32 = 10;
const MAX_PAGE: u64 = 100;
/// Tasks of a name that are looked at before it becomes a type.
const LOOKED_AT: u32 = 100;
const MAX_WORKER_BYTES: usize = 128;
/// Silence after which a worker loses its tasks, in milliseconds.
const LEASE_MS: i64 = 60_000;

/// Paths with segments of their own.
pub const UNMATCHED: Unmatched = Unmatched { paths: &["/addtask", "/putask", "/api/putask"], refuse };
/// Routes that answer in text; all others answer in JSON.
const TEXT_PATHS: [&str; 3] = ["/sayhi", "/newtype", "/beat"];

type Result<T, E = Refused> = std::result::Result<T, E>;

/// What all requests share.
#[derive(Clone)]
struct State {
    settings: EasytaskPull,
    numbers: Arc<Numbers>,
    /// The last row that was looked at by the one who forgets those whose tasks are gone.
    tidied: Arc<Mutex<Option<String>>>,
}

/// What a handler works with: the commands with the rights of the request's caller, and the state.
struct Front {
    service: Service,
    settings: EasytaskPull,
    numbers: Arc<Numbers>,
    tidied: Arc<Mutex<Option<String>>>,
}

impl FromRequestParts<State> for Front {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, state).await;
        let service = service.map_err(IntoResponse::into_response)?;
        // The old contract has one right for those who put tasks and those who work on them.
        let caller = service.caller().clone().with_pull();
        let State { settings, numbers, tidied } = state.clone();
        Ok(Self { service: service.for_caller(caller), settings, numbers, tidied })
    }
}

/// A type of tasks, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Type {
    since: Moment,
}

/// Puts the front beside `routes`.
pub fn mount(routes: Router, settings: &EasytaskPull) -> Router {
    let state = State { settings: settings.clone(), numbers: Arc::default(), tidied: Arc::default() };
    let mut guarded = Router::new();
    for path in ["/api/putask", "/putask", "/addtask"] {
        guarded = guarded.route(path, put(put_untyped)).route(&format!("{path}/{{type}}"), put(put_typed));
    }
    let guarded = guarded
        .route("/querytask", get(query))
        .route("/updatetask", post(update))
        .route("/sayhi", get(say_hi))
        .route("/newtype", get(new_type))
        .route("/beat", get(beat))
        .layer(from_fn_with_state(state.clone(), guard));
    let own = guarded
        .route("/api/login", post(log_in))
        .method_not_allowed_fallback(|uri: Uri| async move { refuse(uri.path()) })
        .with_state(state);
    routes.merge(own)
}

/// The answer to a request that this API does not serve.
fn refuse(path: &str) -> Response {
    if TEXT_PATHS.contains(&path) {
        answer::text(Err(Refused::Arguments))
    } else {
        answer::json::<()>(Err(Refused::Arguments))
    }
}

/// Lets those in who have signed in, where that is demanded.
async fn guard(front: Front, request: Request, next: Next) -> Response {
    match front.let_in(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => answer::json::<()>(Err(refused)),
    }
}

async fn put_typed(front: Front, Segment(kind): Segment, body: Body) -> Response {
    let put = async {
        let kind = kind.ok_or(Refused::Arguments)?;
        front.put(Some(kind), body).await
    };
    answer::json(put.await.map(Some))
}

async fn put_untyped(front: Front, body: Body) -> Response {
    answer::json(front.put(None, body).await.map(Some))
}

/// The same address lists, and with `num` claims.
async fn query(front: Front, uri: Uri) -> Response {
    let params = Params::of(&uri);
    let rows = match params.given("num") {
        Some(num) => front.claim(&params, num).await,
        None => front.list(&params).await,
    };
    answer::json(rows.map(Some))
}

async fn update(front: Front, body: Body) -> Response {
    answer::json::<()>(front.update(body).await.map(|()| None))
}

async fn say_hi(front: Front, uri: Uri) -> Response {
    answer::text(front.say_hi(&Params::of(&uri)).await)
}

async fn new_type(front: Front, uri: Uri) -> Response {
    answer::text(front.new_type(&Params::of(&uri)).await)
}

async fn beat(front: Front, uri: Uri) -> Response {
    answer::text(front.beat(&Params::of(&uri)).await)
}

/// Signs a person in. The old system left that to another one, which set the cookie.
async fn log_in(front: Front, body: Body) -> Response {
    match front.log_in(body).await {
        Ok(token) => {
            let cookie = session::set_cookie(COOKIE, &token, front.settings.session_hours);
            let mut response = answer::text(Ok(())).into_response();
            response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
            response
        }
        Err(refused) => answer::json::<()>(Err(refused)),
    }
}

async fn whole(body: Body) -> Result<Vec<u8>> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Refused::NoBody)?;
    if bytes.is_empty() { Err(Refused::NoBody) } else { Ok(bytes.into()) }
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).ok_or(Refused::Arguments)
}

/// Type and name of the worker that calls.
fn query_of_worker(params: &Params) -> Result<(&str, &str)> {
    let (kind, name) = (required(params, "type")?, required(params, "name")?);
    if name.len() > MAX_WORKER_BYTES || name.chars().any(char::is_control) {
        return Err(Refused::Arguments);
    }
    Ok((kind, name))
}

impl Front {
    async fn let_in(&self, headers: &HeaderMap) -> Result<()> {
        if !self.settings.auth {
            return Ok(());
        }
        let token = session::cookie(headers, COOKIE).ok_or(Refused::NoSession)?;
        self.service.session(token).await?.map(drop).ok_or(Refused::NoSession)
    }

    async fn log_in(&self, body: Body) -> Result<String> {
        let form = Params::of_form(&whole(body).await?);
        let (name, password) = (required(&form, "username")?, required(&form, "password")?);
        let user = self.service.check_password(name, password).await?.ok_or(Refused::NoSession)?;
        Ok(self.service.open_session(&user.name, session::lasts_ms(self.settings.session_hours)).await?)
    }

    /// Creates a type; one that is there stays.
    async fn new_type(&self, params: &Params) -> Result<()> {
        let name = required(params, "name")?;
        tag::check(name).map_err(|_| Refused::Arguments)?;
        if self.service.read_record::<Type>(TYPE, name).await?.is_some() {
            return Ok(());
        }
        if NOT_TYPES.contains(&name) || self.is_used_by_others(name).await? {
            return Err(Refused::Reserved(name.to_owned()));
        }
        let since = self.service.now();
        let create = |standing: Option<Type>| Ok((standing.is_none().then_some((Type { since }, None)), ()));
        self.service.change_record(TYPE, name, create).await
    }

    /// Whether there are tasks that go into a queue of that name, or runs in it, already: they are not this front's, for it has no such
    /// type. It looks at the latest tasks only; what it does not see, a claim leaves alone.
    async fn is_used_by_others(&self, name: &str) -> Result<bool> {
        let page = Page { limit: LOOKED_AT, before: None };
        let latest = self.service.tasks_by_name(name, &page).await?;
        // Without a queue of its own a task goes into the one that has its name.
        let is_there = latest.iter().any(|task| task.queue.as_deref().is_none_or(|queue| queue == name));
        Ok(is_there || self.service.queues().await?.iter().any(|row| row.queue == name))
    }

    async fn demand_type(&self, kind: &str) -> Result<()> {
        let unknown = || Refused::UnknownType(kind.to_owned());
        if kind.len() > tag::MAX_TAG_BYTES {
            return Err(unknown());
        }
        self.service.read_record::<Type>(TYPE, kind).await?.map(drop).ok_or_else(unknown)
    }

    /// Stores a task; its number. The task is stored first: one whose number was not kept gets it back when it is claimed.
    async fn put(&self, kind: Option<String>, body: Body) -> Result<i64> {
        let asked = Put::read(kind, &whole(body).await?)?;
        self.demand_type(&asked.kind).await?;
        let number = self.numbers.next(&self.service).await?;
        let task = self.service.submit(asked.submission(number)).await?.id;
        self.keep(number, &Row::of(&asked, task, self.service.now())).await?;
        Ok(number)
    }

    async fn list(&self, params: &Params) -> Result<Vec<View>> {
        let kind = params.get("type");
        if let Some(kind) = kind {
            self.demand_type(kind).await?;
        }
        let page = number(params, "pageno", 1, u64::MAX / MAX_PAGE)?;
        let size = number(params, "pagesize", 10, MAX_PAGE)?;
        self.page(kind, (page - 1) * size, size as usize).await
    }

    async fn claim(&self, params: &Params, num: &str) -> Result<Vec<View>> {
        let (kind, name) = query_of_worker(params)?;
        let num: u32 = num.parse().ok().filter(|num| *num > 0).ok_or(Refused::Arguments)?;
        self.demand_type(kind).await?;
        self.take(kind, name, num.min(MAX_CLAIM)).await
    }
}

/// A whole number from 1 to `most`, or `otherwise` where none is given.
fn number(params: &Params, name: &str, otherwise: u64, most: u64) -> Result<u64> {
    let number = params.get(name).map_or(Ok(otherwise), str::parse).ok();
    number.filter(|number| (1..=most).contains(number)).ok_or(Refused::Arguments)
}
