//! Queues and statistics.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::concurrency::ConcurrencyScope;
use super::holds::HoldResource;

/// Number of open runs in a queue, by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueResource {
    /// Name of the queue.
    pub queue: String,
    /// Number of runs that wait for admission, because of an overlap policy, a concurrency limit or a hold.
    #[serde(default)]
    pub held: u64,
    /// Number of runs that wait for a worker.
    pub ready: u64,
    /// Number of runs that workers lease.
    pub leased: u64,
    /// Number of runs that wait for their next attempt.
    pub retrying: u64,
    /// Earliest `scheduled_at` of the ready runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_at: Option<Timestamp>,
    /// Number of runs of the queue that workers leased in the last minute. The server counts the leases of one node.
    #[serde(default)]
    pub leases_per_minute: u64,
    /// Human-readable text: what the ready runs wait for, if the queue is on hold, or no worker takes runs from the
    /// queue. The server knows the workers of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Hold of the queue. Absent: the queue is not on hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldResource>,
    /// Concurrency limits for which runs of the queue wait. At most about 2 s old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitUse>,
}

/// A concurrency limit for which runs wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitUse {
    /// Runs that count.
    pub scope: ConcurrencyScope,
    /// Task, tag or queue whose runs count. Absent: `scope` is `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Key of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Maximum number of runs.
    pub max: u32,
    /// Number of runs that have slots.
    pub used: u32,
    /// Number of runs that wait, of all queues; at most 10,000.
    pub waiting: u64,
}

/// Answer of `GET /v1/queues`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueList {
    /// Queues with at least one open run, by name.
    pub queues: Vec<QueueResource>,
}

/// Fires and backlog of one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagStat {
    /// The tag.
    pub tag: String,
    /// Number of fires in the current minute, over all nodes. Further attempts do not count.
    pub fires_this_minute: u64,
    /// Number of moments that are due but not handed over.
    pub due: u64,
    /// Number of runs that are handed over but still without the outcome that the server waits for.
    pub unreported: u64,
    /// Number of runs that wait for admission, because of an overlap policy, a concurrency limit or a hold.
    #[serde(default)]
    pub held: u64,
}

/// Answer of `GET /v1/stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stat {
    /// Tags with at least one count above 0, by name.
    pub tags: Vec<TagStat>,
    /// Queues with at least one open run, by name.
    pub queues: Vec<QueueResource>,
    /// Version of the time zone database that the answering node uses, such as `2026f`.
    #[serde(default)]
    pub zone_database: String,
}
