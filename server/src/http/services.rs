//! Routes of the services that the callback worker calls. No answer contains a secret.

use axum::Json;
use axum::http::StatusCode;
use taskcenter_client::resources::{
    DownServiceNode, ServiceHealth, ServiceList, ServiceNode, ServiceResource, ServiceSpec,
};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::core::callback_service::{self, CallbackService, HealthCheck, InvalidService, SigningSecret};
use crate::engine::service::{NodeCondition, Service, ServicesHealth};
use crate::wire::timestamp;

/// Maximum time limit of a callback: one day.
const MAX_TIMEOUT_MS: u64 = 86_400_000;

/// Creates a service, or replaces the service with the same name.
#[utoipa::path(post, path = "/v1/services", operation_id = "putService", tag = "services",
    request_body = ServiceSpec,
    responses((status = 201, body = ServiceResource, description = "The stored service.")))]
pub async fn put(
    service: Service,
    Body(spec): Body<ServiceSpec>,
) -> Result<(StatusCode, Json<ServiceResource>), ApiError> {
    let keep_secret = spec.secret.is_none();
    let callee = read(spec)?;
    let stored = service.put_callback_service(&callee, keep_secret).await?;
    Ok((StatusCode::CREATED, Json(shown(stored, &service.callback_health().await?))))
}

/// Lists the services, by name.
#[utoipa::path(get, path = "/v1/services", operation_id = "listServices", tag = "services",
    responses((status = 200, body = ServiceList, description = "All services.")))]
pub async fn list(service: Service) -> Result<Json<ServiceList>, ApiError> {
    let services = service.callback_services().await?;
    let health = service.callback_health().await?;
    let services = services.into_iter().map(|callee| shown(callee, &health)).collect();
    Ok(Json(ServiceList { services }))
}

/// Shows a service.
#[utoipa::path(get, path = "/v1/services/{name}", operation_id = "showService", tag = "services",
    params(("name" = String, Path, description = "Name of the service.")),
    responses(
        (status = 200, body = ServiceResource, description = "The service."),
        (status = 404, description = "`not_found`: the service does not exist."),
    ))]
pub async fn show(service: Service, Segment(name): Segment) -> Result<Json<ServiceResource>, ApiError> {
    let found = service.callback_service(&name).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(shown(found, &service.callback_health().await?)))
}

/// Deletes a service. From now on its callbacks fail.
#[utoipa::path(delete, path = "/v1/services/{name}", operation_id = "deleteService", tag = "services",
    params(("name" = String, Path, description = "Name of the service.")),
    responses(
        (status = 200, body = ServiceResource, description = "The deleted service."),
        (status = 404, description = "`not_found`: the service does not exist."),
    ))]
pub async fn delete(service: Service, Segment(name): Segment) -> Result<Json<ServiceResource>, ApiError> {
    let was = service.callback_service(&name).await?;
    // The audit log records the delete of an unknown service, too.
    service.remove_callback_service(&name).await?;
    Ok(Json(shown(was.ok_or_else(ApiError::not_found)?, &ServicesHealth::default())))
}

fn read(spec: ServiceSpec) -> Result<CallbackService, ApiError> {
    if spec.timeout_ms.is_some_and(|timeout| !(1..=MAX_TIMEOUT_MS).contains(&timeout)) {
        let why = format!("timeout_ms should be between 1 and {MAX_TIMEOUT_MS}");
        return Err(ApiError::field("timeout_ms", why));
    }
    let node = |node: ServiceNode| callback_service::ServiceNode {
        url: node.url,
        weight: node.weight,
        health_check: node.heartbeat,
    };
    let callee = CallbackService {
        name: spec.name,
        nodes: spec.nodes.into_iter().map(node).collect(),
        health: spec.health.map(|health| HealthCheck { path: health.path, interval_ms: health.interval_ms }),
        heartbeat_body: String::new(),
        timeout_ms: spec.timeout_ms.unwrap_or(0),
        secret: SigningSecret::new(spec.secret.unwrap_or_default()),
    };
    callee.check().map_err(|InvalidService { field, message }| ApiError::field(field, message))?;
    Ok(callee)
}

fn shown(callee: CallbackService, health: &ServicesHealth) -> ServiceResource {
    let is_checked = callee.nodes.iter().any(|node| callee.is_health_checked(node));
    let down = |node| match health.of(&callee, node) {
        NodeCondition::Down { reporter, node } => Some(DownServiceNode {
            url: node.url.clone(),
            reported_by: reporter.to_owned(),
            since: timestamp(node.since),
            reason: node.why.clone(),
        }),
        _ => None,
    };
    let (checked_by, down) = (
        if is_checked { health.checked_by.clone() } else { Vec::new() },
        callee.nodes.iter().filter_map(down).collect(),
    );
    let node = |node: callback_service::ServiceNode| ServiceNode {
        url: node.url,
        weight: node.weight,
        heartbeat: node.health_check,
    };
    ServiceResource {
        name: callee.name,
        nodes: callee.nodes.into_iter().map(node).collect(),
        health: callee
            .health
            .map(|health| ServiceHealth { path: health.path, interval_ms: health.interval_ms }),
        heartbeat_body: callee.heartbeat_body,
        timeout_ms: Some(callee.timeout_ms).filter(|timeout| *timeout > 0),
        signed: !callee.secret.is_empty(),
        checked_by,
        down,
    }
}
