//! Asks the store and the broker whether they answer, and the store for its clock.

use std::time::Duration;

use super::node::Node;
use super::skew;

/// How often. A broker that is back is noticed within this.
const PERIOD: Duration = Duration::from_secs(1);
/// A probe that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Probes until the node stops.
pub async fn run(node: &Node) {
    while !node.shutdown.is_cancelled() {
        tokio::join!(store(node), bus(node));
        let _ = tokio::time::timeout(PERIOD, node.shutdown.cancelled()).await;
    }
}

async fn store(node: &Node) {
    match tokio::time::timeout(PATIENCE, skew::run_once(node)).await {
        Ok(Ok(())) => node.health.store.up(),
        Ok(Err(error)) => node.health.store.down(error.to_string()),
        Err(_) => node.health.store.down("the store does not answer in time"),
    }
}

async fn bus(node: &Node) {
    match tokio::time::timeout(PATIENCE, node.bus.probe()).await {
        Ok(Ok(())) => node.health.bus.up(),
        Ok(Err(error)) => node.health.bus.down(error.to_string()),
        Err(_) => node.health.bus.down("the broker does not answer in time"),
    }
}
