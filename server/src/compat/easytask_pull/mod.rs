//! easyTask: pull workers.
//!
//! A task is a one-shot in the queue named after its type. A worker leases its tasks for a minute, and each
//! heartbeat renews the leases. Besides tasks and runs this API stores types, registered workers, and the
//! numbers of tasks.
//!
//! [`Dialect`] selects between the contract of the document and the one of the code.

mod numbers;
mod payload;
mod receipt;
mod requests;
mod responses;
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
use super::settings::{Dialect, EasytaskPull};
use crate::core::{Moment, tag};
use crate::engine::service::{Page, RecordKind, Service};
use numbers::Numbers;
use receipt::Receipt;
use requests::Put;
use responses::ApiError;
use rows::{Row, View};

/// Longest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const COOKIE: &str = "gsessionid";
/// Name of this API in sessions.
const NAME: &str = "easytask_pull";
const TYPE: RecordKind = RecordKind::audited("easytask_pull.type");
/// Queues of built-in workers, which cannot be types: a put would execute a job there, and a claim would take
/// jobs away from the workers.
const RESERVED: [&str; 4] = ["callback", "script", "rpc", "taskdash.ask"];
/// Maximum number of tasks in a claim.
const MAX_CLAIM: u32 = 10;
const MAX_PAGE: u64 = 100;
/// Number of tasks with the name that are checked before a type is created.
const MAX_CHECKED: u32 = 100;
const MAX_WORKER_BYTES: usize = 128;
/// Silence after which a worker loses its tasks, in milliseconds.
const LEASE_MS: i64 = 60_000;
/// Time for a task in milliseconds where workers send no heartbeats.
const SILENT_LEASE_MS: i64 = 3_600_000;
/// Name of workers without a name.
const UNNAMED: &str = "unnamed";
/// Header that names an operation of the path `/api`.
const OPERATION: &str = "x-api";

/// Paths with parameters.
pub const UNMATCHED: Unmatched = Unmatched { paths: &["/addtask", "/putask", "/api/putask"], refuse };
/// Routes that answer in text. All others answer in JSON.
const TEXT_PATHS: [&str; 3] = ["/sayhi", "/newtype", "/beat"];

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// State of all requests.
#[derive(Clone)]
struct State {
    settings: EasytaskPull,
    numbers: Arc<Numbers>,
    /// Key of the last row that was checked for a removed task.
    tidied: Arc<Mutex<Option<String>>>,
}

/// The state of a handler: the commands with the rights of the caller, and the shared state.
struct Api {
    service: Service,
    settings: EasytaskPull,
    numbers: Arc<Numbers>,
    tidied: Arc<Mutex<Option<String>>>,
}

impl FromRequestParts<State> for Api {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Response> {
        let service = Service::from_request_parts(parts, state).await;
        let service = service.map_err(IntoResponse::into_response)?;
        // The contract has one right for clients that put tasks and workers.
        let caller = service.caller().clone().with_pull();
        let State { settings, numbers, tidied } = state.clone();
        Ok(Self { service: service.for_caller(caller), settings, numbers, tidied })
    }
}

/// A task type as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Type {
    since: Moment,
}

/// Adds the routes of this API.
pub fn mount(routes: Router, settings: &EasytaskPull) -> Router {
    let state = State { settings: settings.clone(), numbers: Arc::default(), tidied: Arc::default() };
    let mut guarded = Router::new();
    for path in ["/api/putask", "/putask", "/addtask"] {
        guarded = guarded.route(path, put(put_untyped)).route(&format!("{path}/{{type}}"), put(put_typed));
    }
    let guarded = guarded
        .route("/querytask", get(query))
        .route("/api", get(operation).post(operation).put(operation))
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

/// The response to a request that this API does not serve.
fn refuse(path: &str) -> Response {
    if TEXT_PATHS.contains(&path) {
        responses::text(Err(ApiError::Arguments))
    } else {
        responses::json::<()>(Err(ApiError::Arguments))
    }
}

/// Requires a session, if configured.
async fn guard(api: Api, request: Request, next: Next) -> Response {
    match api.require_session(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => responses::json::<()>(Err(refused)),
    }
}

async fn put_typed(api: Api, Segment(kind): Segment, body: Body) -> Response {
    let put = async {
        let kind = kind.ok_or(ApiError::Arguments)?;
        api.put(Some(kind), body).await
    };
    responses::json(put.await.map(Some))
}

async fn put_untyped(api: Api, body: Body) -> Response {
    responses::json(api.put(None, body).await.map(Some))
}

/// Lists tasks, or claims tasks if `num` is given.
async fn query(api: Api, uri: Uri) -> Response {
    let params = Params::of(&uri);
    match params.given("num") {
        Some(num) => api.claim(&params, num).await,
        None => responses::json(api.list(&params).await.map(Some)),
    }
}

/// Serves the path of later workers, which name the operation in a header.
async fn operation(api: Api, headers: HeaderMap, uri: Uri, body: Body) -> Response {
    let params = Params::of(&uri);
    match headers.get(OPERATION).and_then(|name| name.to_str().ok()) {
        Some("/task/get" | "/task/distribute") => {
            api.claim(&params, params.given("num").unwrap_or_default()).await
        }
        Some("/task/query") => responses::json(api.list(&params).await.map(Some)),
        Some("/task/update") => update(api, body).await,
        Some("/task/add") => {
            responses::json(api.put(params.get("type").map(str::to_owned), body).await.map(Some))
        }
        _ => refuse(uri.path()),
    }
}

async fn update(api: Api, body: Body) -> Response {
    responses::json::<()>(api.update(body).await.map(|()| None))
}

async fn say_hi(api: Api, uri: Uri) -> Response {
    responses::text(api.register(&Params::of(&uri)).await)
}

async fn new_type(api: Api, uri: Uri) -> Response {
    responses::text(api.new_type(&Params::of(&uri)).await)
}

async fn beat(api: Api, uri: Uri) -> Response {
    responses::text(api.beat(&Params::of(&uri)).await)
}

/// Signs a user in. In the old system another program set the cookie.
async fn log_in(api: Api, body: Body) -> Response {
    match api.log_in(body).await {
        Ok(token) => {
            let cookie = session::set_cookie(COOKIE, &token, api.settings.session_hours);
            let mut response = responses::text(Ok(())).into_response();
            response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
            response
        }
        Err(refused) => responses::json::<()>(Err(refused)),
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::NoBody)?;
    if bytes.is_empty() { Err(ApiError::NoBody) } else { Ok(bytes.into()) }
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str> {
    params.get(name).ok_or(ApiError::Arguments)
}

/// Reads type and name of the calling worker.
fn worker_params(params: &Params) -> Result<(&str, &str)> {
    let (kind, name) = (required(params, "type")?, required(params, "name")?);
    if name.len() > MAX_WORKER_BYTES || name.chars().any(char::is_control) {
        return Err(ApiError::Arguments);
    }
    Ok((kind, name))
}

impl Api {
    async fn require_session(&self, headers: &HeaderMap) -> Result<()> {
        if !self.settings.auth {
            return Ok(());
        }
        let token = session::cookie(headers, COOKIE).ok_or(ApiError::NoSession)?;
        self.service.session(token, NAME).await?.map(drop).ok_or(ApiError::NoSession)
    }

    async fn log_in(&self, body: Body) -> Result<String> {
        let form = Params::of_form(&read_body(body).await?);
        let (name, password) = (required(&form, "username")?, required(&form, "password")?);
        let user = self.service.check_password(name, password).await?.ok_or(ApiError::NoSession)?;
        let lasts_ms = session::lasts_ms(self.settings.session_hours);
        Ok(self.service.open_session(&user.name, NAME, lasts_ms).await?)
    }

    /// Creates a type if it does not exist.
    async fn new_type(&self, params: &Params) -> Result<()> {
        let name = required(params, "name")?;
        tag::check(name).map_err(|_| ApiError::Arguments)?;
        if self.service.read_record::<Type>(TYPE, name).await?.is_some() {
            return Ok(());
        }
        if RESERVED.contains(&name) || self.is_used_by_others(name).await? {
            return Err(ApiError::Reserved(name.to_owned()));
        }
        let since = self.service.now();
        let create = |stored: Option<Type>| Ok((stored.is_none().then_some((Type { since }, None)), ()));
        self.service.change_record(TYPE, name, create).await
    }

    /// Whether another API has tasks or runs in the queue of this name. Checks only the latest tasks: a claim
    /// leaves foreign runs alone.
    async fn is_used_by_others(&self, name: &str) -> Result<bool> {
        let page = Page { limit: MAX_CHECKED, before: None };
        let latest = self.service.tasks_by_name(name, &page).await?;
        // Without a queue, a task goes into the queue with its name.
        let has_tasks = latest.iter().any(|task| task.queue.as_deref().is_none_or(|queue| queue == name));
        Ok(has_tasks || self.service.queues().await?.iter().any(|row| row.queue == name))
    }

    async fn require_type(&self, kind: &str) -> Result<()> {
        let unknown = || ApiError::UnknownType(kind.to_owned());
        if kind.len() > tag::MAX_TAG_BYTES {
            return Err(unknown());
        }
        self.service.read_record::<Type>(TYPE, kind).await?.map(drop).ok_or_else(unknown)
    }

    /// Creates a task and returns its number. Stores the task first and its row second. If the node
    /// dies between the two writes, a claim restores the missing row.
    async fn put(&self, kind: Option<String>, body: Body) -> Result<i64> {
        let request = Put::read(kind, &read_body(body).await?)?;
        self.require_type(&request.kind).await?;
        let number = self.numbers.next(&self.service).await?;
        let task = self.service.submit(request.submission(number)).await?.id;
        self.insert_row(number, &Row::of(&request, task, self.service.now())).await?;
        Ok(number)
    }

    async fn list(&self, params: &Params) -> Result<Vec<View>> {
        let kind = params.get("type");
        if let Some(kind) = kind {
            self.require_type(kind).await?;
        }
        let page = number(params, "pageno", 1, u64::MAX / MAX_PAGE)?;
        let size = number(params, "pagesize", 10, MAX_PAGE)?;
        self.page(kind, (page - 1) * size, size as usize).await
    }

    /// Claims tasks. If the answer is dropped before it is sent, the tasks are released.
    async fn claim(&self, params: &Params, num: &str) -> Response {
        match self.claimed_tasks(params, num).await {
            Ok((rows, receipt)) => receipt.attach(responses::json(Ok(Some(rows)))),
            Err(refused) => responses::json::<()>(Err(refused)),
        }
    }

    async fn claimed_tasks(&self, params: &Params, num: &str) -> Result<(Vec<View>, Receipt)> {
        let (kind, name) = match self.settings.dialect {
            Dialect::Code if params.get("name").is_none() => (required(params, "type")?, UNNAMED),
            _ => worker_params(params)?,
        };
        let num: u32 = num.parse().ok().filter(|num| *num > 0).ok_or(ApiError::Arguments)?;
        self.require_type(kind).await?;
        self.claim_tasks(kind, name, num.min(MAX_CLAIM)).await
    }

    /// Returns how long a worker holds a task without another request, in milliseconds.
    const fn lease_ms(&self) -> i64 {
        match self.settings.dialect {
            Dialect::Document => LEASE_MS,
            Dialect::Code => SILENT_LEASE_MS,
        }
    }
}

/// Reads a whole number from 1 to `max`.
fn number(params: &Params, name: &str, default: u64, max: u64) -> Result<u64> {
    let number = params.get(name).map_or(Ok(default), str::parse).ok();
    number.filter(|number| (1..=max).contains(number)).ok_or(ApiError::Arguments)
}
