//! The shards that this node watches.
//!
//! Each shard belongs to the announced node that ranks highest for it, and the node that holds the shard's
//! lease watches it. Both only distribute the work: without the lock service every node watches all
//! shards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::task::{SHARDS, stable_hash};

/// The shards to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub shards: Arc<[u16]>,
    /// Whether no other node watches them. If not, jitter keeps the nodes from doing the same work at the
    /// same time.
    pub alone: bool,
}

/// The shards whose leases this node holds, and until when it may rely on the leases. The times are by the
/// steady clock, in milliseconds: the wall clock may be set.
#[derive(Default)]
pub struct Shards(Mutex<Option<(Arc<[u16]>, i64)>>);

impl Shards {
    /// Returns the shards to watch at `steady_ms`: those with a valid lease, or all shards if the leases have
    /// expired.
    pub fn watch(&self, steady_ms: i64) -> Watch {
        match &*self.lock() {
            Some((shards, until)) if steady_ms < *until => Watch { shards: Arc::clone(shards), alone: true },
            _ => Watch { shards: (0..SHARDS).collect(), alone: false },
        }
    }

    /// Returns whether this node does the work that one node of a cluster does for all.
    pub fn leads(&self, steady_ms: i64) -> bool {
        self.watch(steady_ms).shards.contains(&0)
    }

    /// Returns the shards of the last [`set`](Self::set), whether or not their leases are still valid.
    pub fn last(&self) -> Vec<u16> {
        self.lock().as_ref().map_or_else(Vec::new, |(shards, _)| shards.to_vec())
    }

    /// Sets the shards, and until when this node may rely on their leases.
    pub fn set(&self, shards: Vec<u16>, until: i64) {
        *self.lock() = Some((shards.into(), until));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<[u16]>, i64)>> {
        // The value is replaced as a whole, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the node that ranks highest for a shard. All nodes compute the same result, and a node that
/// joins or leaves moves only its own share.
pub fn owner(nodes: &[String], shard: u16) -> Option<&str> {
    let rank = |node: &&String| stable_hash(format!("{shard}@{node}").as_bytes());
    nodes.iter().max_by_key(rank).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(nodes: &[&str]) -> Vec<Option<String>> {
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        (0..SHARDS).map(|shard| owner(&nodes, shard).map(str::to_owned)).collect()
    }

    #[test]
    fn every_shard_has_one_owner_and_a_node_that_leaves_moves_only_its_own() {
        let three = owners(&["a", "b", "c"]);
        let two = owners(&["a", "c"]);
        for (before, after) in three.iter().zip(&two) {
            assert!(before.as_deref() == Some("b") || before == after);
        }
        for node in ["a", "b", "c"] {
            assert!(three.iter().any(|owner| owner.as_deref() == Some(node)), "{node} has no share");
        }
    }

    #[test]
    fn without_a_valid_lease_a_node_watches_all_shards() {
        let shards = Shards::default();
        assert!(!shards.watch(0).alone, "there is no lease yet");
        shards.set(vec![3, 4], 100);
        assert_eq!(*shards.watch(99).shards, [3, 4]);
        let late = shards.watch(100);
        assert_eq!((late.alone, late.shards.len()), (false, usize::from(SHARDS)));
    }
}
