//! Removes what ended long ago.

use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use crate::core::Moment;
use crate::ports::Result;

/// Rows removed at a time, so that the store is never busy for long.
const BATCH: u32 = 2_000;
const HOUR_MS: i64 = 3_600_000;
/// Milliseconds for which an idempotency key is valid: a day.
pub const REMEMBER_MS: i64 = 24 * HOUR_MS;

/// Prunes until the node stops.
pub async fn run(node: &Node) {
    let pace = Pace::new("prune", Duration::from_secs(node.settings.prune_sec));
    pace.repeat(node, |node, now| Box::pin(run_once(node, now))).await;
}

/// Removes ended runs, ended tasks and idempotency keys that are older than the settings allow. Does
/// nothing on a node that does not lead.
///
/// # Errors
/// A port's error. The next call removes the rest.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let keep_ms = i64::try_from(node.settings.keep_hours).unwrap_or(i64::MAX).saturating_mul(HOUR_MS);
    while node.shards.leads(node.clock.steady_ms()) && !node.shutdown.is_cancelled() {
        crate::failpoint!("prune::before_remove");
        let removed =
            node.store.prune(now.plus_ms(keep_ms.saturating_neg()), now.plus_ms(-REMEMBER_MS), BATCH).await?;
        crate::failpoint!("prune::removed");
        node.metrics.pruned(removed);
        if removed < u64::from(BATCH) {
            break;
        }
    }
    Ok(())
}
