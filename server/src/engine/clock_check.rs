//! Reports a clock that this node cannot fire by: one that differs too much from the store's clock, or one
//! that is behind the ledger.

use super::node::Node;
use crate::core::Moment;
use crate::ports::{Page, Result, RunFilter, RunPage, TaskFilter};

/// Milliseconds by which the clock may be behind the newest row of the ledger. A run may be a moment newer,
/// because its node had a fast clock.
const TOLERANCE_MS: i64 = 10_000;

/// Checks the clock at `now`, a time in the store's clock.
///
/// # Errors
/// A port's error. The last report stays valid.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let newest = newest_row(node).await?;
    let behind_ms = newest.map_or(0, |newest| newest.since(now)).max(0);
    node.metrics.behind_ledger_ms(behind_ms);
    if node.skew.too_far() {
        node.health
            .clock
            .down("the node's clock differs too much from the store's clock: correct the node's clock");
    } else if let Some(newest) = newest.filter(|_| behind_ms > TOLERANCE_MS) {
        report_behind(node, newest, now, behind_ms);
    } else {
        node.health.clock.up();
    }
    Ok(())
}

fn report_behind(node: &Node, newest: Moment, now: Moment, behind_ms: i64) {
    if !node.health.clock.is_down() {
        tracing::error!(
            %now,
            newest_row = %newest,
            behind_ms,
            "the clock is behind the ledger; repeating tasks wait until the clock has caught up: correct the clock. If \
             the clock is right, edit the times of the repeating tasks, which restarts their schedules"
        );
    }
    node.health.clock.down(format!(
        "the clock is {} s behind the newest row of the ledger ({newest}), and repeating tasks wait: correct the clock. If \
         the clock is right, edit the times of the repeating tasks",
        behind_ms / 1_000
    ));
}

/// Returns the newest moment that the ledger knows as past: the last moment with a run, or the creation of
/// the newest task.
async fn newest_row(node: &Node) -> Result<Option<Moment>> {
    let (run, task) = (RunPage { limit: 1, before: None }, Page { limit: 1, before: None });
    let runs = node.store.list_runs(&RunFilter::default(), &run).await?;
    let tasks = node.store.list_tasks(&TaskFilter::default(), &task).await?;
    let moments = runs.iter().map(|run| run.scheduled_at).chain(tasks.iter().map(|task| task.created_at));
    Ok(moments.max())
}
