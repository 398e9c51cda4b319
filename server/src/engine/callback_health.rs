//! What the callback worker of this node knows about the health of the nodes of callback services.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::core::Moment;

/// Maximum number of nodes that are down in a report. The description of a node stays small.
const MAX_DOWN: usize = 256;
/// Maximum length of a reason, in characters.
const MAX_WHY: usize = 200;

/// A node of a callback service that gets no calls until it answers a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownNode {
    /// Base URL of the node.
    pub url: String,
    /// Result of the last check or call.
    pub why: String,
    /// When the node went down, by the clock of the worker.
    pub since: Moment,
}

/// Report of a callback worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Nodes with health checks that are down, by URL: at most 256.
    pub down: Vec<DownNode>,
    /// Whether further nodes are down.
    pub more: bool,
}

impl HealthReport {
    /// Returns the report on these nodes.
    pub fn of(mut down: Vec<DownNode>) -> Self {
        down.sort_by(|a, b| a.url.cmp(&b.url));
        let more = down.len() > MAX_DOWN;
        down.truncate(MAX_DOWN);
        for node in &mut down {
            if let Some((end, _)) = node.why.char_indices().nth(MAX_WHY) {
                node.why.truncate(end);
            }
        }
        Self { down, more }
    }
}

/// The last report of the callback worker of this node. `None`: the node has no such worker.
#[derive(Debug, Default)]
pub struct CallbackHealth(Mutex<Option<HealthReport>>);

impl CallbackHealth {
    pub fn set(&self, report: HealthReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    pub fn last(&self) -> Option<HealthReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_bounded_and_says_so() {
        let down = |at: usize| DownNode {
            url: format!("http://{at:03}"),
            why: "é".repeat(1_000),
            since: Moment::from_ms(0),
        };
        let report = HealthReport::of((0..MAX_DOWN).rev().map(down).collect());
        assert!(!report.more && report.down[0].url == "http://000");
        assert_eq!(report.down[0].why.chars().count(), MAX_WHY);
        let report = HealthReport::of((0..=MAX_DOWN).map(down).collect());
        assert!(report.more && report.down.len() == MAX_DOWN);
    }
}
