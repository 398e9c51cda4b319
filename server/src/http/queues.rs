//! Routes of queues.

use axum::Json;
use taskcenter_client::resources::{LimitUse, QueueList, QueueResource};

use super::error::ApiError;
use super::query::Segment;
use super::{concurrency, holds, view, waits};
use crate::core::concurrency::LimitName;
use crate::core::submission::InvalidSubmission;
use crate::core::tag;
use crate::engine::service::{self, QueueRow, Service};

/// Lists the queues that have open runs, by name.
#[utoipa::path(get, path = "/v1/queues", operation_id = "listQueues", tag = "queues",
    responses((status = 200, body = QueueList, description = "The queues.")))]
pub async fn list(service: Service) -> Result<Json<QueueList>, ApiError> {
    Ok(Json(QueueList { queues: all(&service).await? }))
}

/// Returns the queues that have open runs, by name.
pub async fn all(service: &Service) -> Result<Vec<QueueResource>, ApiError> {
    let mut queues = Vec::new();
    for row in service.queues().await? {
        queues.push(describe(service, row).await?);
    }
    queues.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
    Ok(queues)
}

/// Adds the hold of a queue, and what this node knows about the queue.
async fn describe(service: &Service, row: QueueRow) -> Result<QueueResource, ApiError> {
    let mut queue = view::queue(row);
    queue.leases_per_minute = service.leases_per_minute(&queue.queue);
    let hold = service.hold_of_queue(&queue.queue).await?;
    if queue.ready + queue.held > 0 {
        let worker = || waits::absent_worker(service, &queue.queue).filter(|_| queue.ready > 0);
        queue.waits_for = hold.as_ref().map(waits::end_of_hold).or_else(worker);
    }
    queue.hold = hold.map(holds::shown);
    let limits = service.recent_limits().await?.into_iter();
    queue.limits = limits.filter(|(of, _)| *of == queue.queue).map(|(_, limit)| limit_use(limit)).collect();
    Ok(queue)
}

/// Shows a queue. A queue without open runs, or an unknown one, has zero counts.
#[utoipa::path(get, path = "/v1/queues/{queue}", operation_id = "showQueue", tag = "queues",
    params(("queue" = String, Path, min_length = 1, max_length = 128, description = "Name of the queue.")),
    responses((status = 200, body = QueueResource, description = "The queue.")))]
pub async fn show(service: Service, Segment(queue): Segment) -> Result<Json<QueueResource>, ApiError> {
    tag::check(&queue).map_err(InvalidSubmission::Queue)?;
    let found = all(&service).await?.into_iter().find(|row| row.queue == queue);
    match found {
        Some(found) => Ok(Json(found)),
        None => Ok(Json(describe(&service, QueueRow::empty(queue)).await?)),
    }
}

fn limit_use(limit: service::LimitUse) -> LimitUse {
    let service::LimitUse { name: LimitName { scope, of, key }, max, used, waiting } = limit;
    LimitUse { scope: concurrency::shown_scope(scope), of, key, max, used, waiting }
}
