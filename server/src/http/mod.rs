//! HTTP API: one file per resource. [`error`] defines all status codes.
//!
//! [`openapi`] collects the routes of the resource API, and [`contract`] has the legacy v1 API.

mod access;
mod alerts;
mod answers;
mod audit;
mod backfills;
mod batch;
mod body;
mod calendars;
mod canonical;
mod changed;
mod concurrency;
mod conflict;
mod contract;
mod cron_options;
mod cross_origin;
mod decode;
mod descriptors;
mod error;
mod error_code;
mod events;
mod gate;
mod headers;
mod holds;
mod layers;
mod nodes;
mod openapi;
mod operations;
mod origin;
mod outcome;
mod overlap;
mod pages;
mod patch;
mod peers;
mod probes;
mod query;
mod queues;
mod quota;
mod rate;
mod rate_limit;
mod request_info;
mod retry;
mod revisions;
mod rules;
mod run_log_stream;
mod run_logs;
mod runs;
mod schedule;
mod schedule_preview;
mod serve;
mod services;
mod session_routes;
mod spec;
mod stat;
mod tasks;
mod tasks_by_key;
mod timing;
mod tls;
mod tokens;
mod users;
mod view;
mod waits;
mod work;
mod write_timeout;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use cross_origin::CrossOrigin;
pub use patch::patch_definition;
pub use request_info::Peer;
pub use serve::{serve, serve_over};
pub use session_routes::SessionRoutes;
pub use tls::tls;

use crate::engine::service::{Health, Ids, Metrics, Service};
use answers::AnswerBudget;
use error::ApiError;
use gate::Gate;

/// Dependencies of the HTTP server.
#[derive(Clone)]
pub struct HttpState {
    /// Commands of the engine. Each request gets a handle that is bound to its caller, so the
    /// caller of this handle is not used.
    pub service: Service,
    /// Health checks, for `/readyz`.
    pub health: Arc<Health>,
    /// Metrics, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Source of request ids.
    pub ids: Arc<Ids>,
    /// Whether `ack` on the legacy v1 API makes the server wait for outcome reports.
    pub legacy_ack: bool,
}

/// Limits of requests and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum size of a request body, in bytes.
    pub body_limit_bytes: usize,
    /// Time limit from the head of a request to its answer.
    pub request_timeout: Duration,
    /// Time limit of the head of a request, and of an idle connection.
    pub header_timeout: Duration,
    /// Maximum size of the head of a request, and of the read buffer, in bytes.
    pub max_head_bytes: usize,
    /// Time limit for a caller to read an answer; see [`write_timeout`].
    pub write_timeout: Duration,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of connections from one address.
    pub max_connections_per_peer: usize,
    /// Maximum number of requests per second from one address. 0: unlimited.
    pub peer_requests_per_sec: u32,
    /// Time limit of the running requests at a shutdown.
    pub shutdown_grace: Duration,
}

/// Shared values of the handlers. A handler takes the commands as a parameter of type [`Service`].
/// A request copies it several times.
#[derive(Clone)]
struct Context(Arc<Shared>);

impl Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The values of a [`Context`].
struct Shared {
    gate: Gate,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    ids: Arc<Ids>,
    legacy_ack: bool,
    limits: HttpLimits,
    rates: rate::RateLimits,
    cross_origin: CrossOrigin,
    sessions: Option<SessionRoutes>,
    answers: AnswerBudget,
    /// OpenAPI document, encoded.
    document: Bytes,
}

/// Further routes, such as those of the legacy APIs.
pub struct Mount {
    /// Adds the routes.
    pub add: Box<dyn FnOnce(Router) -> Router + Send>,
    /// Those of the routes that pages of other origins may use.
    pub cross_origin: CrossOrigin,
    /// Those of the routes whose callers may have a session instead of a token.
    pub sessions: Option<SessionRoutes>,
    /// Path patterns of those routes whose answers may be as large as a page.
    pub large_answers: Vec<&'static str>,
}

/// Returns all routes with their middleware.
pub fn router(state: HttpState, limits: HttpLimits, mount: Mount) -> Router {
    let (resources, document) = openapi::resources().split_for_parts();
    // The document consists of strings and numbers, so the encoding cannot fail.
    let document = Bytes::from(document.to_pretty_json().unwrap_or_default());
    let rates = rate::RateLimits::new(limits.peer_requests_per_sec);
    let gate = Gate::new(&state.service);
    let HttpState { health, metrics, ids, legacy_ack, .. } = state;
    let (cross_origin, sessions) = (mount.cross_origin, mount.sessions);
    let answers = AnswerBudget::new(mount.large_answers);
    let context = Context(Arc::new(Shared {
        gate,
        health,
        metrics,
        ids,
        legacy_ack,
        limits,
        rates,
        cross_origin,
        sessions,
        answers,
        document,
    }));
    // Before `mount`: further APIs answer for their own paths and methods.
    let routes = refuse_unmatched(routes().merge(resources).with_state(context.clone()));
    (mount.add)(routes).layer(from_fn_with_state(context, layers::handle))
}

fn routes() -> Router<Context> {
    Router::new()
        .nest("/v1/api", v1())
        .nest("/api/v1", v1())
        .route("/docs", get(openapi::viewer))
        .route("/docs/", get(openapi::front_page))
        .route("/docs/{*file}", get(openapi::asset))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(probes::metrics))
}

/// Returns the routes of the legacy v1 API.
fn v1() -> Router<Context> {
    Router::new()
        .route("/task", post(contract::add))
        .route("/delete-task", post(contract::delete))
        .route("/delete-task-by-name", post(contract::delete_by_name))
        .route("/query-task-by-id", get(contract::by_id))
        .route("/query-task-by-name", get(contract::by_name))
        .route("/task/stat", get(contract::stat))
}

/// Answers requests that match no route, or no method of a route.
fn refuse_unmatched(routes: Router) -> Router {
    routes
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
}
