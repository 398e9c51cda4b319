//! Which shards this node watches.
//!
//! Each shard belongs to the node that ranks highest for it among those announced, and is watched by the one that holds its lease.
//! Both only spread the work: with the lock service gone, every node watches everything.

use std::sync::{Arc, Mutex, PoisonError};

use super::node::Node;
use crate::core::Moment;
use crate::core::task::{SHARDS, stable_hash};
use crate::ports::Result;

/// What a node watches at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The shards.
    pub shards: Arc<[u16]>,
    /// Whether it alone watches them. When not, jitter keeps the nodes from all doing the same thing at the same time.
    pub alone: bool,
}

/// The shards held, and until when that can be relied on.
#[derive(Default)]
pub struct Shards(Mutex<Option<(Arc<[u16]>, Moment)>>);

impl Shards {
    /// What to watch at `now`: the shards held, or all of them when the leases can no longer be relied on.
    pub fn watch(&self, now: Moment) -> Watch {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((shards, until)) if now < *until => Watch { shards: Arc::clone(shards), alone: true },
            _ => Watch { shards: (0..SHARDS).collect(), alone: false },
        }
    }

    /// Whether this node does what only one node of a cluster needs to do.
    pub fn leads(&self, now: Moment) -> bool {
        self.watch(now).shards.contains(&0)
    }

    fn set(&self, shards: Vec<u16>, until: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((shards.into(), until));
    }

    fn held(&self) -> Vec<u16> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or_else(Vec::new, |(shards, _)| shards.to_vec())
    }
}

/// Announces the node, takes and renews the shards that fall to it, and gives up the others.
///
/// # Errors
/// When the lock service fails. What is held stays relied on until its lease has run out.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let ttl_ms = node.settings.shard_lease_ms;
    if node.skew.too_far() {
        return step_aside(node, now.plus_ms(ttl_ms as i64)).await;
    }
    let nodes = node.lock.join(&node.name, ttl_ms).await?;
    let (mine, others): (Vec<u16>, Vec<u16>) =
        (0..SHARDS).partition(|shard| highest(&nodes, *shard) == Some(node.name.as_str()));
    let held = node.lock.acquire(&node.name, &mine, ttl_ms).await?;
    let before = node.shards.held();
    let lost: Vec<u16> = others.into_iter().filter(|shard| before.contains(shard)).collect();
    // A lease counts from before it was asked for, and ends a margin early: clocks do not run at quite the same speed.
    node.shards.set(held.clone(), now.plus_ms(ttl_ms as i64 * 9 / 10));
    if held != before {
        tracing::info!(shards = held.len(), nodes = nodes.len(), "the shards watched have changed");
        node.window.keep_shards(&held);
    }
    node.metrics.shards_held(held.len());
    node.lock.release(&node.name, &lost, false).await
}

/// A node that may not fire keeps no shard from those that may.
async fn step_aside(node: &Node, until: Moment) -> Result<()> {
    let held = node.shards.held();
    if !held.is_empty() {
        tracing::warn!(shards = held.len(), "gives its shards up for as long as its clock is too far off");
    }
    node.shards.set(Vec::new(), until);
    node.window.keep_shards(&[]);
    node.metrics.shards_held(0);
    node.lock.release(&node.name, &held, true).await
}

/// Leaves the cluster, so that the others need not wait for the leases to run out.
pub async fn leave(node: &Node) {
    if let Err(error) = node.lock.release(&node.name, &node.shards.held(), true).await {
        tracing::debug!(%error, "left without giving up the shards; their leases run out");
    }
}

/// The node that ranks highest for a shard. All nodes compute the same, and a node that comes or goes moves only its own share.
fn highest(nodes: &[String], shard: u16) -> Option<&str> {
    let rank = |node: &&String| stable_hash(format!("{shard}@{node}").as_bytes());
    nodes.iter().max_by_key(rank).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(nodes: &[&str]) -> Vec<Option<String>> {
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        (0..SHARDS).map(|shard| highest(&nodes, shard).map(str::to_owned)).collect()
    }

    #[test]
    fn every_shard_falls_to_one_node_and_a_leaver_moves_only_its_own() {
        let three = share(&["a", "b", "c"]);
        let two = share(&["a", "c"]);
        for (before, after) in three.iter().zip(&two) {
            assert!(before.as_deref() == Some("b") || before == after);
        }
        for node in ["a", "b", "c"] {
            assert!(three.iter().any(|owner| owner.as_deref() == Some(node)), "{node} has a share");
        }
    }

    #[test]
    fn a_lease_that_has_run_out_means_watching_everything() {
        let shards = Shards::default();
        assert!(!shards.watch(Moment::from_ms(0)).alone, "nothing held yet");
        shards.set(vec![3, 4], Moment::from_ms(100));
        assert_eq!(*shards.watch(Moment::from_ms(99)).shards, [3, 4]);
        let late = shards.watch(Moment::from_ms(100));
        assert_eq!((late.alone, late.shards.len()), (false, usize::from(SHARDS)));
    }
}
