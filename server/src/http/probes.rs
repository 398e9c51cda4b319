//! Routes of probes and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Context;
use super::error::ApiError;
use crate::engine::service::{Check, Condition, Readiness};

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    store: String,
    lock: String,
    bus: String,
    rows: String,
    clock: String,
}

/// `GET /livez`: 200 while the process answers.
pub async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "alive" }))
}

/// `GET /readyz`: 503 only while the node cannot accept tasks. A node that waits for its broker is
/// `degraded`.
pub async fn ready(State(context): State<Context>) -> Response {
    let health = &context.health;
    let (code, status) = match health.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::Degraded => (StatusCode::OK, "degraded"),
        Readiness::Unready => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    let checks = Checks {
        store: text(&health.store),
        lock: text(&health.lock),
        bus: text(&health.bus),
        rows: text(&health.rows),
        clock: text(&health.clock),
    };
    (code, Json(Ready { status, checks })).into_response()
}

fn text(check: &Check) -> String {
    match check.condition() {
        Condition::Unknown => "unknown".to_owned(),
        Condition::Up => "ok".to_owned(),
        Condition::Down(reason) => reason,
    }
}

/// `GET /metrics`, in the OpenMetrics text format.
pub async fn metrics(State(context): State<Context>) -> Result<Response, ApiError> {
    let page = context.metrics.encode().map_err(|error| ApiError::Internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}
