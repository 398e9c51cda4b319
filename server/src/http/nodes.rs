//! Routes of nodes and workers.

use axum::Json;
use taskcenter_client::resources::{NodeList, NodeResource, WorkerList, WorkerResource, WorkerRun};

use super::error::ApiError;
use crate::core::Moment;
use crate::core::run::LeasedRun;
use crate::engine::service::{NodeDescription, Service, WorkerRow};
use crate::wire::timestamp;

/// Lists the workers that lease runs, or that asked a node for runs in the last ten minutes, by name.
///
/// Workers with the same name are one row. Only a part of the runs of a worker is listed.
#[utoipa::path(get, path = "/v1/workers", operation_id = "listWorkers", tag = "queues",
    responses((status = 200, body = WorkerList, description = "The workers.")))]
pub async fn workers(service: Service) -> Result<Json<WorkerList>, ApiError> {
    let workers = service.workers().await?;
    let (rows, complete) = (workers.rows.into_iter().map(worker).collect(), workers.is_complete);
    Ok(Json(WorkerList { workers: rows, complete }))
}

fn worker(row: WorkerRow) -> WorkerResource {
    WorkerResource {
        name: row.name,
        built_in: row.is_built_in,
        queues: row.queues,
        waiting: row.waiting,
        last_seen_at: row.last_seen_at.map(timestamp),
        leased: row.held,
        oldest_lease_at: row.oldest_lease_at.map(timestamp),
        runs: row.runs.into_iter().map(run).collect(),
    }
}

fn run(run: LeasedRun) -> WorkerRun {
    WorkerRun {
        run_id: run.id.to_string(),
        queue: run.queue().to_owned(),
        tag: run.tag,
        attempt: run.attempt,
        leased_at: run.leased_at.map(timestamp),
        lease_until: timestamp(run.attention_at.unwrap_or(Moment::NEVER)),
    }
}

/// Lists the nodes, longest running first.
///
/// Each node publishes its description four times per `engine.shard_lease_ms`. A dead node is listed for a minute.
/// While the lock service does not answer, the list has only the answering node.
#[utoipa::path(get, path = "/v1/nodes", operation_id = "listNodes", tag = "nodes",
    responses((status = 200, body = NodeList, description = "The nodes.")))]
pub async fn nodes(service: Service) -> Result<Json<NodeList>, ApiError> {
    let nodes = service.nodes().await?;
    let (rows, complete) = (nodes.rows.into_iter().map(node).collect(), nodes.is_complete);
    Ok(Json(NodeList { nodes: rows, complete }))
}

fn node(node: NodeDescription) -> NodeResource {
    NodeResource {
        name: node.name,
        version: node.version,
        started_at: timestamp(node.started_at),
        last_seen_at: timestamp(node.at),
        role: if node.leads { "leader" } else { "member" }.to_owned(),
        shards: node.shards,
        clock_ahead_ms: node.clock_ahead_ms,
        checks: node.checks,
        zone_database: node.zone_database,
    }
}
