//! Checks whether the store and the broker answer, and measures the store's clock.

use std::time::Duration;

use super::clock_check;
use super::node::Node;
use crate::ports::{Result, UnreadableRows};

/// Time between two checks. A broker that is back is noticed within this time.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between two checks of the clock.
const CLOCK_PERIOD: Duration = Duration::from_secs(10);
/// A check that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Checks until the node stops.
pub async fn run(node: &Node) {
    while !node.shutdown.is_cancelled() {
        run_once(node).await;
        let _ = tokio::time::timeout(PERIOD, node.shutdown.cancelled()).await;
    }
}

/// Checks once.
pub async fn run_once(node: &Node) {
    tokio::join!(check_store(node), check_bus(node), check_rows(node));
}

/// Checks the clock until the node stops.
pub async fn check_clock(node: &Node) {
    let clock = node.command_clock();
    while !node.shutdown.is_cancelled() {
        // An unavailable store is reported by the probe.
        let _ = tokio::time::timeout(TIMEOUT, clock_check::run_once(node, clock.now())).await;
        let _ = tokio::time::timeout(CLOCK_PERIOD, node.shutdown.cancelled()).await;
    }
}

async fn check_store(node: &Node) {
    match tokio::time::timeout(TIMEOUT, measure_skew(node)).await {
        Ok(Ok(())) => node.health.store.up(),
        Ok(Err(error)) => node.health.store.down(error.to_string()),
        Err(_) => node.health.store.down("the store does not answer in time"),
    }
}

/// Measures the difference between the node's clock and the store's clock.
///
/// # Errors
/// A port's error. The last measurement stays valid.
pub async fn measure_skew(node: &Node) -> Result<()> {
    let measurement = node.skew.measure(&*node.store, &*node.clock, &node.settings).await?;
    node.metrics.skew_ms(measurement.store_ahead_ms);
    if measurement.became_fit {
        // A moment may have become due while the node did not fire.
        node.window.look_again();
    }
    Ok(())
}

/// Reports unreadable rows. A store that does not answer is reported by [`check_store`].
async fn check_rows(node: &Node) {
    match tokio::time::timeout(TIMEOUT, node.store.unreadable_rows()).await {
        Ok(Ok(None)) => node.health.rows.up(),
        Ok(Ok(Some(rows))) => node.health.rows.down(unreadable(&rows)),
        Ok(Err(_)) | Err(_) => {}
    }
}

fn unreadable(rows: &UnreadableRows) -> String {
    let UnreadableRows { count, example } = rows;
    format!("{count} unreadable rows, such as {example}: repair or remove them; the log has the cause")
}

async fn check_bus(node: &Node) {
    match tokio::time::timeout(TIMEOUT, node.bus.probe()).await {
        Ok(Ok(())) => node.health.bus.up(),
        Ok(Err(error)) => node.health.bus.down(error.to_string()),
        Err(_) => node.health.bus.down("the broker does not answer in time"),
    }
}
