//! What surrounds every handler: a request id, one line in the log, a time limit, and an answer when a handler panics.

use std::any::Any;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response};
use axum::middleware::Next;
use axum::response::IntoResponse;
use tracing::Span;

use super::Context;
use super::body::BodyArrives;
use super::error::{self, ApiError};
use super::extensions::{CallerId, RequestId};
use crate::engine::service::Metrics;

/// Carries the id that ties a request, its answer and its log lines together.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What the log line says of a request, kept with its answer.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: String,
    route: String,
    request_id: String,
}

/// Gives the request its id, and the answer what the log wants to know.
pub async fn identify(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> axum::response::Response {
    let request_id = request_id(&request, &context);
    Span::current().record("request_id", &request_id);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    // The path alone: a query string may hold anything.
    let path = request.uri().path().to_owned();
    let asked = Asked { method: request.method().clone(), path, route, request_id };
    let header = HeaderValue::from_str(&asked.request_id).ok();
    request.extensions_mut().insert(BodyArrives::default());
    request.extensions_mut().insert(RequestId(asked.request_id.clone()));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(asked);
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

/// The caller's own id where it is short and harmless, else a fresh one.
fn request_id(request: &Request, context: &Context) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let sane = |id: &&str| {
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '+' | '=');
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.chars().all(fits)
    };
    given.filter(sane).map_or_else(|| context.ids.uuid(context.gate.now()).to_string(), str::to_owned)
}

/// Writes a refusal in the shape that belongs to the path.
pub async fn refuse(request: Request, next: Next) -> axum::response::Response {
    let path = request.uri().path().to_owned();
    error::write(&path, next.run(request).await)
}

/// Ends a request that takes too long: 408 when its body did not come, 503 when we were slow.
pub async fn deadline(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let arrives = request.extensions().get::<BodyArrives>().cloned().unwrap_or_default();
    match tokio::time::timeout(context.limits.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) if arrives.is_awaited() => ApiError::BodyTimeout.into_response(),
        Err(_) => ApiError::Timeout.into_response(),
    }
}

/// The answer of a handler that panicked.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let cause = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("no text").to_owned(),
    };
    ApiError::Internal(format!("a handler panicked: {cause}")).into_response()
}

/// A request's span: lines written on its behalf carry its id.
pub fn span(_request: &Request) -> Span {
    tracing::info_span!("http", request_id = tracing::field::Empty)
}

/// The one line a request leaves in the log, and its metrics.
pub fn answered(metrics: &Metrics, response: &axum::response::Response, latency: Duration) {
    let Some(asked) = response.extensions().get::<Asked>() else { return };
    let status = response.status().as_u16();
    metrics.answered(method_label(&asked.method), &asked.route, status, latency);
    tracing::info!(
        target: "taskcenter_server::access",
        method = %asked.method,
        path = asked.path,
        status,
        latency_ms = latency.as_secs_f64() * 1_000.0,
        bytes = response.body().size_hint().exact(),
        request_id = asked.request_id,
        caller = response.extensions().get::<CallerId>().map_or("", |caller| caller.0.as_str()),
        "answered"
    );
}

/// Anybody can make up methods; a metric's label takes only those that are served.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            method.as_str()
        }
        _ => "other",
    }
}
