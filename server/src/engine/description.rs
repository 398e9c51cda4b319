//! What a node publishes about itself through the lock service, for the list of nodes and workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::callback_health::HealthReport;
use super::health::{Check, Condition, Health};
use super::node::Node;
use super::seen_workers::SeenWorker;
use crate::core::{Moment, zone};

/// Version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Description of a node. Nodes of other releases read it: a new field needs a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Name of this start of the process.
    pub name: String,
    /// Version of the program.
    pub version: String,
    pub started_at: Moment,
    /// When the description was made, by the clock of the node.
    pub at: Moment,
    /// Milliseconds by which the clock of the node is ahead of the store's clock. `None`: not measured.
    pub clock_ahead_ms: Option<i64>,
    /// Shards that the node watches.
    pub shards: Vec<u16>,
    /// Whether the node does the work that one node of a cluster does for all.
    pub leads: bool,
    /// Condition of each back end as the node sees it: `ok`, `unknown`, or the reason of a failure.
    pub checks: BTreeMap<String, String>,
    /// Version of the time zone database.
    pub zone_database: String,
    /// Workers that lease through the node.
    pub workers: Vec<SeenWorker>,
    /// Health of the nodes of callback services. `None`: the node has no callback worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callbacks: Option<HealthReport>,
}

/// Describes a node now.
pub fn describe(node: &Node) -> NodeDescription {
    let (now, watch) = (node.clock.now(), node.watch());
    NodeDescription {
        name: node.name.clone(),
        version: VERSION.to_owned(),
        started_at: node.started_at,
        at: now,
        clock_ahead_ms: node.skew.node_ahead_of_store_ms(),
        leads: watch.shards.contains(&0),
        shards: watch.shards.to_vec(),
        checks: checks(&node.health),
        zone_database: zone::database_version().to_owned(),
        workers: node.workers.recent(now),
        callbacks: node.callbacks.last(),
    }
}

fn checks(health: &Health) -> BTreeMap<String, String> {
    // Every check is named, so that a new one cannot be forgotten.
    let Health { store, lock, bus, rows, clock } = health;
    let checks = [("store", store), ("lock", lock), ("bus", bus), ("rows", rows), ("clock", clock)];
    checks.map(|(name, check)| (name.to_owned(), text(check))).into()
}

fn text(check: &Check) -> String {
    match check.condition() {
        Condition::Unknown => "unknown".to_owned(),
        Condition::Up => "ok".to_owned(),
        Condition::Down(reason) => reason,
    }
}
