//! The list of nodes, and of workers with what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Result, Service};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::core::run::{LeasedRun, node_of_holder};
use crate::engine::description::{NodeDescription, describe};
use crate::engine::node::Node;
use crate::engine::seen_workers::{EVERY, SeenWorker};

/// Maximum number of leased runs that are read for the list of workers.
const MAX_LEASED: u32 = 5_000;
/// Maximum number of workers in a list.
const MAX_WORKERS: usize = 1_000;
/// Maximum number of runs that are listed with a worker: those leased longest ago.
const MAX_RUNS: usize = 20;

/// A list that may lack rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    pub rows: Vec<T>,
    /// Whether no row is missing: the lock service has answered, and no limit has cut the list.
    pub is_complete: bool,
}

/// A worker, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub name: String,
    /// Whether it is a built-in worker of a node.
    pub is_built_in: bool,
    /// Queues of its last lease requests and of its runs.
    pub queues: Vec<String>,
    /// Number of lease requests that wait now.
    pub waiting: u32,
    /// When it last asked a node for runs. `None`: no node remembers it.
    pub last_seen_at: Option<Moment>,
    /// Number of runs that it leases.
    pub held: u64,
    /// When it leased the oldest of its runs.
    pub oldest_lease_at: Option<Moment>,
    /// Some of its runs, leased longest ago first.
    pub runs: Vec<LeasedRun>,
}

impl WorkerRow {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_built_in: node_of_holder(name).is_some(),
            queues: Vec::new(),
            waiting: 0,
            last_seen_at: None,
            held: 0,
            oldest_lease_at: None,
            runs: Vec::new(),
        }
    }

    fn add_seen(&mut self, seen: SeenWorker) {
        self.queues.extend(seen.queues);
        self.waiting += seen.waiting;
        self.last_seen_at = self.last_seen_at.max(Some(seen.last_at));
    }

    fn add_run(&mut self, run: LeasedRun) {
        self.queues.push(run.queue().to_owned());
        self.held += 1;
        self.runs.push(run);
    }

    fn finish(mut self) -> Self {
        self.queues.sort_unstable();
        self.queues.dedup();
        self.runs.sort_by(|a, b| (a.leased_at, &a.id).cmp(&(b.leased_at, &b.id)));
        self.oldest_lease_at = self.runs.first().and_then(|run| run.leased_at);
        self.runs.truncate(MAX_RUNS);
        self
    }
}

impl Service {
    /// Sets the node of the commands, which is part of the list of nodes.
    #[must_use]
    pub fn with_node(mut self, node: &Arc<Node>) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.workers = Arc::clone(&node.workers);
        shared.callbacks = Arc::clone(&node.callbacks);
        shared.node = Some(Arc::clone(node));
        self
    }

    /// Returns the nodes, longest running first. While the lock service does not answer, only this node.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden).
    pub async fn nodes(&self) -> Result<Listing<NodeDescription>> {
        self.require_unlimited(Scope::TaskRead)?;
        Ok(self.described().await)
    }

    pub(super) async fn described(&self) -> Listing<NodeDescription> {
        let own = self.shared.node.as_deref().map(describe);
        let published = self.shared.ports.lock.descriptions().await;
        let is_complete = published.is_ok();
        let others = published.unwrap_or_default().into_iter();
        // A description of a newer release may be unreadable.
        let others = others.filter_map(|text| serde_json::from_str::<NodeDescription>(&text).ok());
        let is_other = |node: &NodeDescription| own.as_ref().is_none_or(|own| own.name != node.name);
        let mut rows: Vec<NodeDescription> = others.filter(is_other).collect();
        rows.extend(own);
        rows.sort_by(|a, b| (a.started_at, &a.name).cmp(&(b.started_at, &b.name)));
        Listing { rows, is_complete }
    }

    /// Returns the workers that lease runs or asked a node for runs lately, by name.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn workers(&self) -> Result<Listing<WorkerRow>> {
        self.require(Scope::TaskRead)?;
        let leased = self.shared.ports.store.leased_runs(MAX_LEASED).await?;
        let nodes = self.described().await;
        let mut workers = BTreeMap::<String, WorkerRow>::new();
        for seen in self.seen_workers(nodes.rows) {
            row(&mut workers, &seen.name).add_seen(seen);
        }
        for run in leased.rows.into_iter().filter(|run| self.allows_tag(run.queue())) {
            row(&mut workers, &run.holder).add_run(run);
        }
        let is_complete = nodes.is_complete && !leased.more && workers.len() <= MAX_WORKERS;
        let rows = workers.into_values().take(MAX_WORKERS).map(WorkerRow::finish).collect();
        Ok(Listing { rows, is_complete })
    }

    /// Returns what the nodes have seen of workers, limited to the queues of the caller.
    fn seen_workers(&self, nodes: Vec<NodeDescription>) -> Vec<SeenWorker> {
        let own = match self.shared.node {
            // The description of the node has them.
            Some(_) => Vec::new(),
            None => self.shared.workers.recent(self.now()),
        };
        let mut seen: Vec<SeenWorker> = nodes.into_iter().flat_map(|node| node.workers).chain(own).collect();
        seen.retain_mut(|worker| {
            let is_allowed =
                |queue: &String| if queue == EVERY { !self.is_limited() } else { self.allows_tag(queue) };
            worker.queues.retain(is_allowed);
            !worker.queues.is_empty()
        });
        seen
    }
}

fn row<'a>(workers: &'a mut BTreeMap<String, WorkerRow>, name: &str) -> &'a mut WorkerRow {
    workers.entry(name.to_owned()).or_insert_with(|| WorkerRow::named(name))
}
