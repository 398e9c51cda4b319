//! Checks what this node knows without a query: back ends, clock, nodes and expired leases. Shares the
//! raised alerts with the other nodes, and reads the silences.

use std::sync::Arc;
use std::time::Duration;

use super::alerting::Alerting;
use super::health::Check;
use super::metrics::{LATENESS_MS, Stage};
use super::node::Node;
use super::service::{LastShared, Service};
use crate::core::Moment;
use crate::core::alert::recent::RecentPeak;
use crate::core::alert::{Measure, Reading};

const PERIOD: Duration = Duration::from_secs(5);
/// Longest wait for the store. A store that does not answer must not delay the checks.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a clock that was set is reported, in milliseconds.
const CLOCK_STEP_MS: i64 = 600_000;
/// How long the number of nodes before a loss is remembered, in milliseconds.
const PEAK_MS: i64 = 3_600_000;
/// Clock difference to the newest row of the ledger that is not reported, in milliseconds. A node with a
/// fast clock may have written the row.
const BEHIND_LEDGER_MS: u64 = 10_000;
/// The measures of the leader.
const LEADERS: [Measure; 2] = [Measure::BackEndDown, Measure::NodesMissing];

/// Checks until the node stops. `service` is bound to the node itself.
pub async fn run(node: Arc<Node>, alerting: Arc<Alerting>, service: Service) {
    let (mut nodes, mut shared) = (RecentPeak::new(PEAK_MS), LastShared::default());
    while !node.shutdown.is_cancelled() {
        let leads = node.shards.leads(node.clock.steady_ms());
        check(&node, &alerting, &mut nodes, node.clock.now(), leads);
        let exchange = async {
            // The next turn repeats what fails.
            let _ = tokio::time::timeout(TIMEOUT, service.refresh_silences()).await;
            let publication = service.share_alerts(&node.name, &mut shared, leads);
            let _ = tokio::time::timeout(TIMEOUT, publication).await;
        };
        node.shutdown.run_until_cancelled(exchange).await;
        let _ = tokio::time::timeout(PERIOD, node.shutdown.cancelled()).await;
    }
}

/// Checks once.
pub fn check(node: &Node, alerting: &Alerting, nodes: &mut RecentPeak, now: Moment, leads: bool) {
    let mut readings = vec![clock(node), expired_leases(node, now), lateness(node, now)];
    if leads {
        readings.push(back_ends(node));
        readings.extend(missing_nodes(node, nodes, now));
    } else {
        *nodes = RecentPeak::new(PEAK_MS);
        alerting.forget(&LEADERS);
    }
    alerting.apply(&readings, now);
}

fn back_ends(node: &Node) -> Reading {
    let health = &node.health;
    let row = |name: &str, check: &Check| (name.to_owned(), u64::from(check.is_down()));
    let rows = vec![
        row("store", &health.store),
        row("lock", &health.lock),
        row("bus", &health.bus),
        row("rows", &health.rows),
    ];
    Reading { measure: Measure::BackEndDown, rows }
}

fn clock(node: &Node) -> Reading {
    let behind_ms = Some(node.metrics.clock_behind_ledger_ms()).filter(|ms| *ms > BEHIND_LEDGER_MS);
    let fault_ms = node.skew.fault_ms(node.clock.steady_ms(), CLOCK_STEP_MS);
    let rows = vec![(node.name.clone(), fault_ms.max(behind_ms.unwrap_or(0)))];
    Reading { measure: Measure::Clock, rows }
}

fn expired_leases(node: &Node, now: Moment) -> Reading {
    let rows = node.expired_leases.within(node.settings.alert_windows.expired_leases_ms, now);
    Reading { measure: Measure::ExpiredLeases, rows }
}

/// Returns the upper bound of the class of the 99th percentile; for the last class, more than the bound of the
/// class before. Without runs, nothing is late.
fn lateness(node: &Node, now: Moment) -> Reading {
    let minutes = node.settings.alert_windows.lateness_ms.unsigned_abs().div_ceil(60_000);
    let hour = node.metrics.last_hour(now);
    let late = hour.lateness_within(Stage::Fired, usize::try_from(minutes).unwrap_or(usize::MAX));
    let [.., last] = LATENESS_MS;
    let bound = |class: usize| LATENESS_MS.get(class).copied().unwrap_or(last + 1);
    let late_ms = late.class_of(99).map_or(0, bound).unsigned_abs();
    Reading { measure: Measure::Lateness, rows: vec![(node.name.clone(), late_ms)] }
}

/// Returns by how many nodes the cluster is smaller than within the last hour. A restart replaces a node
/// within the time that the rule waits.
fn missing_nodes(node: &Node, nodes: &mut RecentPeak, now: Moment) -> Option<Reading> {
    // While the lock service is down, the last announcements say nothing.
    let count = node.members.count();
    if count == 0 || node.health.lock.is_down() {
        return None;
    }
    let missing = nodes.drop_from_peak(count as u64, now);
    Some(Reading { measure: Measure::NodesMissing, rows: vec![("nodes".to_owned(), missing)] })
}
