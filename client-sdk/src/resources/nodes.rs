//! Nodes and workers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A worker, and the runs that it leases. Workers with the same name are one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerResource {
    /// Name of the worker, from its lease requests.
    pub name: String,
    /// Whether it is a built-in worker of a node.
    pub built_in: bool,
    /// Queues of its lease requests, at most 8 for each node, and of its runs. `*`: every queue that has
    /// the same name as the tag of its runs.
    pub queues: Vec<String>,
    /// Number of its lease requests that wait for runs now.
    pub waiting: u32,
    /// When it last sent a lease request. `null`: more than ten minutes ago; it still leases runs.
    pub last_seen_at: Option<Timestamp>,
    /// Number of runs that it leases.
    pub leased: u64,
    /// When it leased the oldest of its runs; `null`: it leases none.
    pub oldest_lease_at: Option<Timestamp>,
    /// Runs that it leases, leased longest ago first: at most 20.
    pub runs: Vec<WorkerRun>,
}

/// A run that a worker leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerRun {
    /// Id of the run.
    pub run_id: String,
    /// Tag: the name of the task.
    pub tag: String,
    /// Queue of the run.
    pub queue: String,
    /// 1-based number of the attempt.
    pub attempt: u32,
    /// When the worker leased the attempt.
    pub leased_at: Option<Timestamp>,
    /// When the lease ends.
    pub lease_until: Timestamp,
}

/// Answer of `GET /v1/workers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerList {
    /// Workers that lease runs or sent a lease request in the last ten minutes, by name: at most 1,000.
    pub workers: Vec<WorkerResource>,
    /// Whether no worker and no run is missing. `false`: more than 5,000 runs are leased, there are more
    /// than 1,000 workers, or the lock service does not answer, so that the workers of other nodes are unknown.
    pub complete: bool,
}

/// A node, by its own description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeResource {
    /// Name of this start of the process.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// When the process started, by its clock.
    pub started_at: Timestamp,
    /// When the node described itself, by its clock.
    pub last_seen_at: Timestamp,
    /// `leader`: the node counts the backlog and sends the alerts. Otherwise `member`.
    pub role: String,
    /// Shards that the node watches, of the 64 shards of the tasks.
    pub shards: Vec<u16>,
    /// Milliseconds by which the clock of the node is ahead of the clock of the store. `null`: not measured
    /// yet.
    pub clock_ahead_ms: Option<i64>,
    /// Condition of `store`, `lock`, `bus`, `rows` and `clock`, as the node sees it: `ok`, `unknown`, or the
    /// reason of a failure.
    pub checks: BTreeMap<String, String>,
    /// Version of the time zone database, such as `2026f`.
    pub zone_database: String,
}

/// Answer of `GET /v1/nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeList {
    /// Nodes, longest running first.
    pub nodes: Vec<NodeResource>,
    /// Whether no node is missing. `false`: the lock service does not answer.
    pub complete: bool,
}
