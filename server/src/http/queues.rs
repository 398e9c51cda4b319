//! Queues: what waits for workers.

use axum::Json;
use taskcenter_client::resources::{QueueList, QueueResource};

use super::error::ApiError;
use super::query::Segment;
use super::view;
use crate::core::submission::InvalidSubmission;
use crate::core::tag;
use crate::engine::service::Service;

/// Lists the queues that hold anything, by name.
#[utoipa::path(get, path = "/v1/queues", operation_id = "listQueues", tag = "queues",
    responses((status = 200, body = QueueList, description = "The queues.")))]
pub async fn list(service: Service) -> Result<Json<QueueList>, ApiError> {
    Ok(Json(QueueList { queues: all(&service).await? }))
}

/// Every queue that holds anything, by name.
pub async fn all(service: &Service) -> Result<Vec<QueueResource>, ApiError> {
    let mut queues: Vec<_> = service.queues().await?.into_iter().map(view::queue).collect();
    queues.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
    Ok(queues)
}

/// Shows a queue. One that holds nothing is not known to anybody, and shown with zeros.
#[utoipa::path(get, path = "/v1/queues/{queue}", operation_id = "showQueue", tag = "queues",
    params(("queue" = String, Path, description = "The queue's name.")),
    responses((status = 200, body = QueueResource, description = "The queue.")))]
pub async fn show(service: Service, Segment(queue): Segment) -> Result<Json<QueueResource>, ApiError> {
    tag::check(&queue).map_err(InvalidSubmission::Queue)?;
    let found = all(&service).await?.into_iter().find(|row| row.queue == queue);
    Ok(Json(found.unwrap_or(QueueResource { queue, ready: 0, leased: 0, retrying: 0 })))
}
