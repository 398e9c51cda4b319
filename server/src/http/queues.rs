//! Routes of queues.

use axum::Json;
use taskcenter_client::resources::{QueueList, QueueResource};

use super::error::ApiError;
use super::query::Segment;
use super::{view, waits};
use crate::core::submission::InvalidSubmission;
use crate::core::tag;
use crate::engine::service::{QueueRow, Service};

/// Lists the queues that have open runs, by name.
#[utoipa::path(get, path = "/v1/queues", operation_id = "listQueues", tag = "queues",
    responses((status = 200, body = QueueList, description = "The queues.")))]
pub async fn list(service: Service) -> Result<Json<QueueList>, ApiError> {
    Ok(Json(QueueList { queues: all(&service).await? }))
}

/// Returns the queues that have open runs, by name.
pub async fn all(service: &Service) -> Result<Vec<QueueResource>, ApiError> {
    let mut queues: Vec<_> = service.queues().await?.into_iter().map(|row| describe(service, row)).collect();
    queues.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
    Ok(queues)
}

/// Adds what this node knows about a queue.
fn describe(service: &Service, row: QueueRow) -> QueueResource {
    let mut queue = view::queue(row);
    queue.leases_per_minute = service.leases_per_minute(&queue.queue);
    if queue.ready > 0 {
        queue.waits_for = waits::absent_worker(service, &queue.queue);
    }
    queue
}

/// Shows a queue. A queue without open runs, or an unknown one, has zero counts.
#[utoipa::path(get, path = "/v1/queues/{queue}", operation_id = "showQueue", tag = "queues",
    params(("queue" = String, Path, min_length = 1, max_length = 128, description = "Name of the queue.")),
    responses((status = 200, body = QueueResource, description = "The queue.")))]
pub async fn show(service: Service, Segment(queue): Segment) -> Result<Json<QueueResource>, ApiError> {
    tag::check(&queue).map_err(InvalidSubmission::Queue)?;
    let found = all(&service).await?.into_iter().find(|row| row.queue == queue);
    Ok(Json(found.unwrap_or_else(|| describe(&service, QueueRow::empty(queue)))))
}
