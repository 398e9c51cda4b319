//! The HTTP front: one file a resource, [`error`] owns every status code.
//!
//! Two families of routes share the commands: the resource API, which [`openapi`] puts together, and the legacy contract's v1, which is in
//! [`contract`].

mod access;
mod batch;
mod body;
mod contract;
mod decode;
mod descriptors;
mod error;
mod extensions;
mod headers;
mod layers;
mod openapi;
mod outcome;
mod pages;
mod patch;
mod patience;
mod peers;
mod probes;
mod query;
mod queues;
mod rate;
mod rules;
mod runs;
mod schedule;
mod serve;
mod services;
mod spec;
mod stat;
mod tasks;
mod tls;
mod tokens;
mod users;
mod view;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

pub use extensions::Peer;
pub use serve::{serve, serve_over};
pub use tls::tls;

use crate::engine::service::{Health, Ids, Metrics, Service};
use access::Gate;
use error::ApiError;

/// What the HTTP server works with.
#[derive(Clone)]
pub struct HttpState {
    /// The commands. Each request gets a handle that is bound to its caller; the caller of this handle
    /// does not matter.
    pub service: Service,
    /// For `/readyz`.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For request ids.
    pub ids: Arc<Ids>,
}

/// How much a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Largest request body.
    pub body_limit_bytes: usize,
    /// Longest time from a request's head to its answer.
    pub request_timeout: Duration,
    /// Longest time for a request's head; also for the silence between two requests.
    pub header_timeout: Duration,
    /// Largest head of a request, and the most that is read ahead of it.
    pub max_head_bytes: usize,
    /// Longest time for a caller to take what it is sent.
    pub write_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections at a time from one address.
    pub max_connections_per_peer: usize,
    /// Requests a second from one address; 0: as many as come.
    pub peer_requests_per_sec: u32,
    /// Longest time for requests under way when the server stops.
    pub shutdown_grace: Duration,
}

/// What handlers share. They take the commands as a parameter of type [`Service`].
#[derive(Clone)]
struct Context {
    gate: Gate,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    ids: Arc<Ids>,
    limits: HttpLimits,
    rates: Arc<rate::Rates>,
    /// The OpenAPI document.
    document: Bytes,
}

/// Puts further fronts beside the routes that are here.
pub type Mount = Box<dyn FnOnce(Router) -> Router + Send>;

/// Every route, with all that surrounds the handlers.
pub fn router(state: HttpState, limits: HttpLimits, mount: Mount) -> Router {
    let (resources, document) = openapi::resources().split_for_parts();
    // It is made of texts and numbers: nothing in it cannot be written.
    let document = Bytes::from(document.to_pretty_json().unwrap_or_default());
    let rates = Arc::new(rate::Rates::new(limits.peer_requests_per_sec));
    let gate = Gate::new(&state.service);
    let HttpState { health, metrics, ids, .. } = state;
    let context = Context { gate, health, metrics, ids, limits, rates, document };
    // Before `mount`: further APIs answer for their own paths and methods.
    let routes = refuse_unmatched(routes().merge(resources).with_state(context.clone()));
    surround(mount(routes), &context)
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

/// The legacy contract's.
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

/// The last layer is the outermost.
fn surround(routes: Router, context: &Context) -> Router {
    let metrics = Arc::clone(&context.metrics);
    let access_log = TraceLayer::new_for_http()
        .make_span_with(layers::span)
        .on_request(())
        .on_response(move |response: &axum::response::Response, latency, _: &tracing::Span| {
            layers::answered(&metrics, response, latency);
        })
        .on_failure(());
    routes
        .layer(from_fn_with_state(context.clone(), access::admit))
        .layer(from_fn_with_state(context.clone(), layers::deadline))
        .layer(from_fn_with_state(context.clone(), rate::limit))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::refuse))
        .layer(from_fn_with_state(context.clone(), layers::identify))
        .layer(access_log)
}
