//! Announces this node to the cluster, and takes, renews and releases the leases of its shards.

use std::collections::BTreeSet;
use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use super::{description, shards};
use crate::core::task::SHARDS;
use crate::ports::Result;

/// How long the description of a dead node is listed, in milliseconds.
const DESCRIBED_MS: u64 = 60_000;

/// Renews the leases until the node stops.
pub async fn run(node: &Node) {
    let mut pace = Pace::new("shards", Duration::from_millis(node.settings.shard_lease_ms / 4));
    while !node.shutdown.is_cancelled() {
        match run_once(node, node.clock.steady_ms()).await {
            Ok(()) => {
                node.health.lock.up();
                pace.pause(&node.shutdown).await;
            }
            Err(error) => {
                node.health.lock.down(error.to_string());
                pace.failed(&error, &node.shutdown).await;
            }
        }
    }
}

/// Separates the name of a node from the version of its time zone database.
const ZONES: char = '+';

/// Returns the name under which a node announces itself, with the version of its time zone database.
pub fn name_with_zones(name: &str, version: &str) -> String {
    format!("{name}{ZONES}{version}")
}

/// Announces the node, takes and renews the leases of its shards, and releases the others. `steady_ms` is
/// the time by the steady clock.
///
/// # Errors
/// A port's error. The node relies on its leases until they expire.
pub async fn run_once(node: &Node, steady_ms: i64) -> Result<()> {
    let ttl_ms = node.settings.shard_lease_ms;
    if node.skew.too_far() {
        release_all(node, steady_ms + ttl_ms as i64).await?;
    } else {
        take_shards(node, steady_ms, ttl_ms).await?;
    }
    // A node whose clock is wrong leaves the cluster, and still describes itself.
    node.lock.describe(&node.name, &description(node), DESCRIBED_MS).await
}

fn description(node: &Node) -> String {
    // The encoding of a description cannot fail.
    serde_json::to_string(&description::describe(node)).unwrap_or_default()
}

async fn take_shards(node: &Node, steady_ms: i64, ttl_ms: u64) -> Result<()> {
    let nodes = node.lock.join(&node.name, ttl_ms).await?;
    compare_zones(node, &nodes);
    let (mine, others): (Vec<u16>, Vec<u16>) =
        (0..SHARDS).partition(|shard| shards::owner(&nodes, *shard) == Some(node.name.as_str()));
    let leased = node.lock.acquire(&node.name, &mine, ttl_ms).await?;
    let before = node.shards.last();
    let lost: Vec<u16> = others.into_iter().filter(|shard| before.contains(shard)).collect();
    // The lease counts from before the request and ends with a margin, because clocks differ in speed.
    node.shards.set(leased.clone(), steady_ms + ttl_ms as i64 * 9 / 10);
    if leased != before {
        tracing::info!(shards = leased.len(), nodes = nodes.len(), "the watched shards have changed");
        node.window.keep_shards(&leased);
    }
    node.metrics.shards_held(leased.len());
    set_members(node, nodes);
    node.lock.release(&node.name, &lost, false).await
}

/// Publishes the announced nodes to the loop `orphans`. An announcement that may be lost must be missing for as
/// long as one lives.
fn set_members(node: &Node, nodes: Vec<String>) {
    let grace_ms = if node.lock.may_lose_announcements() { node.settings.shard_lease_ms as i64 } else { 0 };
    node.members.set(nodes, node.clock.steady_ms(), grace_ms);
}

/// Warns if the announced nodes use different time zone databases, because the nodes then fire the same
/// schedule at different moments.
fn compare_zones(node: &Node, nodes: &[String]) {
    let versions = nodes.iter().filter_map(|name| name.split_once(ZONES).map(|(_, version)| version));
    let versions: BTreeSet<&str> = versions.collect();
    let before = node.metrics.zone_databases(versions.len());
    if versions.len() > 1 && versions.len() != before {
        tracing::warn!(
            ?versions,
            "the nodes use different versions of the time zone database: update the older ones"
        );
    }
}

/// Releases all shards and leaves the cluster, because a node that must not fire must not keep others
/// from firing.
async fn release_all(node: &Node, until: i64) -> Result<()> {
    let leased = node.shards.last();
    if !leased.is_empty() {
        tracing::warn!(shards = leased.len(), "the node releases its shards until its clock is right");
    }
    node.shards.set(Vec::new(), until);
    node.window.keep_shards(&[]);
    node.metrics.shards_held(0);
    node.lock.release(&node.name, &leased, true).await
}

/// Leaves the cluster, so that the other nodes need not wait until the leases expire.
pub async fn leave(node: &Node) {
    if let Err(error) = node.lock.release(&node.name, &node.shards.last(), true).await {
        tracing::debug!(%error, "the shards were not released; their leases expire");
    }
    if let Err(error) = node.lock.describe(&node.name, "", 0).await {
        tracing::debug!(%error, "the description of the node was not removed; it expires");
    }
}
