//! Clears away what ended long ago.

use super::node::Node;
use crate::core::Moment;
use crate::ports::Result;

/// Rows removed by one command, so that none holds the store up for long.
const BATCH: u32 = 2_000;
const HOUR_MS: i64 = 3_600_000;
/// How long the answer to an idempotency key is remembered: a day.
pub const REMEMBER_MS: i64 = 24 * HOUR_MS;

/// Removes ended runs and tasks that are older than they are kept, if this node is the one to do it.
///
/// # Errors
/// When the store fails; the rest goes next time.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let keep_ms = i64::try_from(node.settings.keep_hours).unwrap_or(i64::MAX).saturating_mul(HOUR_MS);
    while node.shards.leads(now) && !node.shutdown.is_cancelled() {
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
