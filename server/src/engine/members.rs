//! The announced nodes of the cluster, as this node last saw them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The announced nodes, and when the holders of leased runs must be compared with them.
#[derive(Default)]
pub struct Members(Mutex<Announced>);

#[derive(Default)]
struct Announced {
    nodes: Vec<String>,
    /// By the monotonic clock. `None`: nothing has changed since the last comparison.
    check_at_ms: Option<i64>,
}

impl Members {
    /// Sets the announced nodes. A change leads to a comparison `grace_ms` later.
    pub fn set(&self, nodes: Vec<String>, steady_ms: i64, grace_ms: i64) {
        let mut announced = self.lock();
        if announced.nodes != nodes {
            *announced = Announced { nodes, check_at_ms: Some(steady_ms.saturating_add(grace_ms)) };
        }
    }

    /// Returns the number of announced nodes. 0: not known yet.
    pub fn count(&self) -> usize {
        self.lock().nodes.len()
    }

    /// Returns the announced nodes if a comparison is due.
    pub fn due(&self, steady_ms: i64) -> Option<Vec<String>> {
        let announced = self.lock();
        announced.check_at_ms.filter(|at| *at <= steady_ms).map(|_| announced.nodes.clone())
    }

    /// Records a comparison with `nodes`, unless the nodes have changed meanwhile.
    pub fn checked(&self, nodes: &[String]) {
        let mut announced = self.lock();
        if announced.nodes == nodes {
            announced.check_at_ms = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        // The value is replaced as a whole, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_leads_to_one_comparison_after_the_grace_period() {
        let members = Members::default();
        assert!(members.due(0).is_none(), "no node is known");
        members.set(names(&["a", "b"]), 0, 100);
        members.set(names(&["a", "b"]), 50, 100);
        assert!(members.due(99).is_none());
        let nodes = members.due(100).unwrap();
        members.checked(&nodes);
        assert!(members.due(1_000).is_none());
        members.set(names(&["a"]), 2_000, 0);
        members.checked(&nodes);
        assert_eq!(members.due(2_000), Some(names(&["a"])), "the nodes changed during the comparison");
    }
}
