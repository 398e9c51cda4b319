//! The middleware of all routes: request id, access log, time limit, panics, error bodies.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span};

use super::body::BodyArrives;
use super::error::{self, ApiError};
use super::request_info::{CallerId, RequestId};
use super::{Context, access, answers, cross_origin, rate};
use crate::engine::service::Metrics;

/// Header with the id of a request. The answer and the log lines of the request have the same id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Values of a request for the access log.
struct LoggedRequest {
    method: Method,
    path: String,
    route: Option<MatchedPath>,
    request_id: String,
}

/// Answers a request. All log lines of the request have its id.
///
/// The steps are functions, and not layers of the router, because each layer copies the layers below it
/// for each request.
pub async fn handle(State(context): State<Context>, request: Request, next: Next) -> Response {
    let span = tracing::info_span!("http", request_id = tracing::field::Empty);
    identified(context, request, next).instrument(span).await
}

#[allow(clippy::disallowed_methods, reason = "the time only measures the latency")]
async fn identified(context: Context, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let logged = identify(&context, &mut request);
    let mut response = if head_bytes(&request) > context.limits.max_head_bytes {
        head_too_large()
    } else {
        let answer = AssertUnwindSafe(limited(&context, request, next)).catch_unwind().await;
        cross_origin::protect(error::write(&logged.path, answer.unwrap_or_else(panicked)))
    };
    answered(&context.metrics, &logged, &response, start.elapsed());
    if let Ok(request_id) = HeaderValue::from_str(&logged.request_id) {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    response
}

/// Limits the rate and the time: 408 if the body is incomplete at the time limit, otherwise 503.
async fn limited(context: &Context, request: Request, next: Next) -> Response {
    if let Err(error) = rate::take(context, &request) {
        return error.into_response();
    }
    let arrives = request.extensions().get::<BodyArrives>().cloned().unwrap_or_default();
    match tokio::time::timeout(context.limits.request_timeout, admitted(context, request, next)).await {
        Ok(response) => response,
        Err(_) if arrives.is_awaited() => ApiError::BodyTimeout.into_response(),
        Err(_) => ApiError::Timeout.into_response(),
    }
}

async fn admitted(context: &Context, request: Request, next: Next) -> Response {
    let bounded = |request| answers::bound(context, request, next);
    let admitted = |request| access::admit(context, request, bounded);
    cross_origin::allow(context, request, admitted).await
}

/// Sets the id of the request. Returns the values for the access log.
fn identify(context: &Context, request: &mut Request) -> LoggedRequest {
    let request_id = request_id(request, context);
    Span::current().record("request_id", &request_id);
    request.extensions_mut().insert(BodyArrives::default());
    request.extensions_mut().insert(RequestId(request_id.clone()));
    LoggedRequest {
        method: request.method().clone(),
        // Without the query string, which may contain confidential values.
        path: request.uri().path().to_owned(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        request_id,
    }
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

/// Returns the answer to a request whose head is too large. The connection itself notices this only if
/// the head arrives in several pieces.
fn head_too_large() -> Response {
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

/// Returns the answer after a panic of a handler.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let cause = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => {
            panic.downcast_ref::<&str>().copied().unwrap_or("the panic value is not a string").to_owned()
        }
    };
    ApiError::Internal(format!("handler panicked: {cause}")).into_response()
}

/// Writes the access log line and the metrics of a request.
fn answered(metrics: &Metrics, logged: &LoggedRequest, response: &Response, latency: Duration) {
    let route = logged.route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    metrics.answered(method_label(&logged.method), route, status, latency);
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
