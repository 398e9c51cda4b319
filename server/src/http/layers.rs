//! Middleware of all routes: request id, access log, time limit, panics, error bodies.

use std::any::Any;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use tracing::Span;

use super::Context;
use super::body::BodyArrives;
use super::error::{self, ApiError};
use super::request_info::{CallerId, RequestId};
use crate::engine::service::Metrics;

/// Header with the id of a request. The answer and the log lines of the request have the same id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Values of a request for the access log, stored in its answer.
#[derive(Debug, Clone)]
struct LoggedRequest {
    method: Method,
    path: String,
    route: String,
    request_id: String,
}

/// Sets the id of the request, and stores the values for the access log in the answer.
pub async fn identify(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> axum::response::Response {
    let request_id = request_id(&request, &context);
    Span::current().record("request_id", &request_id);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    // Without the query string, which may contain confidential values.
    let path = request.uri().path().to_owned();
    let logged = LoggedRequest { method: request.method().clone(), path, route, request_id };
    let header = HeaderValue::from_str(&logged.request_id).ok();
    request.extensions_mut().insert(BodyArrives::default());
    request.extensions_mut().insert(RequestId(logged.request_id.clone()));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(logged);
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

/// Returns the id of the caller if it is short and has only safe characters, otherwise a new id.
fn request_id(request: &Request, context: &Context) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_valid = |id: &&str| {
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '+' | '=');
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.chars().all(fits)
    };
    given.filter(is_valid).map_or_else(|| context.ids.uuid(context.gate.now()).to_string(), str::to_owned)
}

/// Ends a request whose head is too large: 431. The connection itself notices this only if the head
/// arrives in several pieces.
pub async fn limit_head(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    if head_bytes(&request) <= context.limits.max_head_bytes {
        return next.run(request).await;
    }
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, close).into_response()
}

/// Returns the size of the head of a request in its usual form: `METHOD target HTTP/1.1`, lines of
/// `name: value`, and an empty line.
fn head_bytes(request: &Request) -> usize {
    const LINE_END: usize = 2;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let authority =
        request.uri().authority().map_or(0, |authority| "http://".len() + authority.as_str().len());
    let first = request.method().as_str().len() + target + authority + "  HTTP/1.1".len() + LINE_END;
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": ".len() + LINE_END
    };
    first + request.headers().iter().map(line).sum::<usize>() + LINE_END
}

/// Writes the bodies of error answers, in the form of the path.
pub async fn write_errors(request: Request, next: Next) -> axum::response::Response {
    let path = request.uri().path().to_owned();
    error::write(&path, next.run(request).await)
}

/// Ends a request at its time limit: 408 if its body is incomplete, otherwise 503.
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

/// Returns the answer after a panic of a handler.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let cause = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => {
            panic.downcast_ref::<&str>().copied().unwrap_or("the panic value is not a string").to_owned()
        }
    };
    ApiError::Internal(format!("handler panicked: {cause}")).into_response()
}

/// Returns the span of a request. All log lines in it have the request id.
pub fn span(_request: &Request) -> Span {
    tracing::info_span!("http", request_id = tracing::field::Empty)
}

/// Writes the access log line and the metrics of a request.
pub fn answered(metrics: &Metrics, response: &axum::response::Response, latency: Duration) {
    let Some(logged) = response.extensions().get::<LoggedRequest>() else { return };
    let status = response.status().as_u16();
    metrics.answered(method_label(&logged.method), &logged.route, status, latency);
    tracing::info!(
        target: "taskcenter_server::access",
        method = %logged.method,
        path = logged.path,
        status,
        latency_ms = latency.as_secs_f64() * 1_000.0,
        bytes = response.body().size_hint().exact(),
        request_id = logged.request_id,
        caller = response.extensions().get::<CallerId>().map_or("", |id| id.0.as_str()),
        "request answered"
    );
}

/// Returns the metric label of a method. Unknown methods share one label, because a caller can
/// invent any number of them.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            method.as_str()
        }
        _ => "other",
    }
}
