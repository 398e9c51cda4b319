//! Choice of the node to call.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::core::callback_service::ServiceNode;

/// Rule for the choice of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// One node after the other.
    #[default]
    RoundRobin,
    /// A random node.
    Random,
    /// The node with the fewest calls of this worker in progress.
    LeastBusy,
    /// The same node for the same task, as long as the node exists.
    Hash,
    /// The first node that can be reached.
    FailOver,
}

/// Chooses nodes. Remembers turns and calls in progress.
pub struct Router(Arc<Mutex<RouterState>>);

struct RouterState {
    turns: HashMap<String, u64>,
    busy: HashMap<String, u32>,
    random: fastrand::Rng,
}

/// A call in progress.
pub struct ActiveCall {
    router: Arc<Mutex<RouterState>>,
    url: String,
}

impl Router {
    /// Returns a router with a seed for random choices.
    pub fn new(seed: u64) -> Self {
        let (turns, busy) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(RouterState { turns, busy, random: fastrand::Rng::with_seed(seed) })))
    }

    /// Returns the nodes to try in order: one, or all for fail-over. Empty if `nodes` is empty.
    pub fn choose<'a>(
        &self,
        routing: Routing,
        service: &str,
        task_id: &str,
        nodes: &[&'a ServiceNode],
    ) -> Vec<&'a ServiceNode> {
        let all: u64 = nodes.iter().map(|node| weight(node)).sum();
        if all == 0 {
            return Vec::new();
        }
        match routing {
            Routing::FailOver => nodes.to_vec(),
            Routing::RoundRobin => vec![node_at(nodes, self.turn(service) % all)],
            Routing::Random => vec![node_at(nodes, lock(&self.0).random.u64(0..all))],
            Routing::LeastBusy => self.least_busy(service, nodes),
            Routing::Hash => nodes
                .iter()
                .copied()
                .max_by(|a, b| score(a, task_id).total_cmp(&score(b, task_id)))
                .into_iter()
                .collect(),
        }
    }

    fn turn(&self, service: &str) -> u64 {
        let mut state = lock(&self.0);
        let turn = state.turns.entry(service.to_owned()).or_default();
        *turn = turn.wrapping_add(1);
        turn.wrapping_sub(1)
    }

    /// Nodes with the same load take turns.
    fn least_busy<'a>(&self, service: &str, nodes: &[&'a ServiceNode]) -> Vec<&'a ServiceNode> {
        let first = self.turn(service) as usize % nodes.len();
        let busy = &lock(&self.0).busy;
        let load =
            |node: &ServiceNode| f64::from(busy.get(&node.url).copied().unwrap_or(0)) / weight(node) as f64;
        let in_turn = nodes[first..].iter().chain(&nodes[..first]).copied();
        in_turn.min_by(|a, b| load(a).total_cmp(&load(b))).into_iter().collect()
    }

    /// Counts a call until the returned value is dropped.
    pub fn call(&self, node: &ServiceNode) -> ActiveCall {
        *lock(&self.0).busy.entry(node.url.clone()).or_default() += 1;
        ActiveCall { router: Arc::clone(&self.0), url: node.url.clone() }
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        let mut state = lock(&self.router);
        match state.busy.get_mut(&self.url) {
            Some(calls @ 2..) => *calls -= 1,
            _ => drop(state.busy.remove(&self.url)),
        }
    }
}

fn lock(state: &Mutex<RouterState>) -> MutexGuard<'_, RouterState> {
    // Every change is atomic, so a poisoned lock is consistent.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn weight(node: &ServiceNode) -> u64 {
    u64::from(node.weight.max(1))
}

/// Returns the node at a position in the sum of weights.
fn node_at<'a>(nodes: &[&'a ServiceNode], position: u64) -> &'a ServiceNode {
    let mut left = position;
    for node in nodes {
        if left < weight(node) {
            return node;
        }
        left -= weight(node);
    }
    unreachable!("the position is below the sum of all weights")
}

/// Returns the score of a node for a task (rendezvous hashing). The node with the highest score
/// gets the task. If a node is removed, only the tasks of that node move to other nodes.
fn score(node: &ServiceNode, task_id: &str) -> f64 {
    // The default hasher has fixed keys, so that every worker makes the same choice.
    let mut hasher = std::hash::DefaultHasher::new();
    (&node.url, task_id).hash(&mut hasher);
    let random = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
    weight(node) as f64 / -random.max(f64::MIN_POSITIVE).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(weights: &[u32]) -> Vec<ServiceNode> {
        let node = |(at, weight): (usize, &u32)| ServiceNode {
            url: at.to_string(),
            weight: *weight,
            health_check: false,
        };
        weights.iter().enumerate().map(node).collect()
    }

    fn calls(routing: Routing, nodes: &[ServiceNode], times: u32) -> HashMap<String, u32> {
        let (router, all) = (Router::new(7), nodes.iter().collect::<Vec<_>>());
        let mut counts = HashMap::new();
        for time in 0..times {
            let chosen = router.choose(routing, "s", &format!("task-{time}"), &all);
            *counts.entry(chosen[0].url.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn round_robin_respects_the_weights() {
        let counts = calls(Routing::RoundRobin, &nodes(&[1, 3]), 400);
        assert_eq!((counts["0"], counts["1"]), (100, 300));
    }

    #[test]
    fn random_and_hash_roughly_respect_the_weights() {
        for routing in [Routing::Random, Routing::Hash] {
            let counts = calls(routing, &nodes(&[1, 3]), 4_000);
            assert!((800..1_200).contains(&counts["0"]), "{routing:?}: {counts:?}");
        }
    }

    #[test]
    fn a_task_keeps_its_node_when_another_is_removed() {
        let (router, nodes) = (Router::new(7), nodes(&[1, 1, 1]));
        let all: Vec<_> = nodes.iter().collect();
        for task in 0..100 {
            let task = format!("task-{task}");
            let chosen = router.choose(Routing::Hash, "s", &task, &all)[0];
            let others: Vec<_> =
                all.iter().copied().filter(|node| *node == chosen || node.url != "1").collect();
            assert_eq!(router.choose(Routing::Hash, "s", &task, &others)[0], chosen);
        }
    }

    #[test]
    fn the_least_busy_node_is_called() {
        let (router, nodes) = (Router::new(7), nodes(&[1, 1, 2]));
        let all: Vec<_> = nodes.iter().collect();
        let mut active = Vec::new();
        let mut counts = [0; 3];
        for _ in 0..8 {
            let chosen = router.choose(Routing::LeastBusy, "s", "t", &all)[0];
            counts[chosen.url.parse::<usize>().unwrap()] += 1;
            active.push(router.call(chosen));
        }
        assert_eq!(counts, [2, 2, 4]);
        drop(active);
        assert!(lock(&router.0).busy.is_empty());
    }

    #[test]
    fn fail_over_returns_all_nodes_in_order() {
        let nodes = nodes(&[1, 1]);
        let all: Vec<_> = nodes.iter().collect();
        assert_eq!(Router::new(7).choose(Routing::FailOver, "s", "t", &all), all);
        assert!(Router::new(7).choose(Routing::FailOver, "s", "t", &[]).is_empty());
    }
}
