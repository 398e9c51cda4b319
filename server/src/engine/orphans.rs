//! Recovers the runs of built-in workers whose node is gone.
//!
//! A built-in worker holds its runs under the name of its node's life. When the announcement of that life is
//! gone, its leases are known to be dead, so its runs start again before the leases expire. Like all leases, announcements
//! only distribute work: if one is lost while its node lives, a run is repeated, as after an expired lease.

use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use super::rescue;
use crate::core::run::{IllegalTransition, OF_ENDED_TASK, node_of_holder};
use crate::core::{Moment, Run, RunState, TaskState};
use crate::ports::{Result, RunFilter, RunPage};

/// Number of leased runs read at a time.
const PAGE: u32 = 500;

/// Recovers until the node stops.
pub async fn run(node: &Node) {
    let pace = Pace::new("orphans", Duration::from_millis(node.settings.rescue_ms));
    pace.repeat(node, |node, now| Box::pin(run_once(node, now))).await;
}

/// Starts the next attempt of every run that a built-in worker of a gone node holds, if the announced nodes
/// have changed.
///
/// # Errors
/// A port's error. The next call finds the remaining runs.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let Some(nodes) = node.members.due(node.clock.steady_ms()) else { return Ok(()) };
    let is_gone = |run: &Run| {
        node_of_holder(&run.holder).is_some_and(|holder| !nodes.iter().any(|node| node == holder))
    };
    let filter = RunFilter { state: Some(RunState::Leased), ..RunFilter::default() };
    let mut before = None;
    loop {
        let leased = node.store.list_runs(&filter, &RunPage { limit: PAGE, before }).await?;
        // Large runs shorten a page: only an empty page is the last.
        let Some(last) = leased.last() else { break };
        before = Some((last.scheduled_at, last.id.clone()));
        recover(node, leased.into_iter().filter(is_gone).collect(), now).await?;
    }
    node.members.checked(&nodes);
    Ok(())
}

async fn recover(node: &Node, mut orphans: Vec<Run>, now: Moment) -> Result<()> {
    if orphans.is_empty() {
        return Ok(());
    }
    let tasks = rescue::tasks_of(node, &orphans).await?;
    orphans.retain_mut(|run| {
        if tasks.is_unreadable(&run.task_id) {
            return false;
        }
        let is_deleted = tasks.get(&run.task_id).is_none_or(|task| task.state == TaskState::Cancelled);
        restart(node, run, is_deleted, now).is_ok()
    });
    crate::failpoint!("orphans::before_update");
    let recovered = node.replace_runs(orphans).await?;
    crate::failpoint!("orphans::updated");
    node.metrics.rescued(recovered.len() as u64);
    tracing::info!(runs = recovered.len(), "runs of stopped nodes recovered");
    node.hints.ready(rescue::queues_with_ready(&recovered));
    Ok(())
}

fn restart(
    node: &Node,
    run: &mut Run,
    is_deleted: bool,
    now: Moment,
) -> std::result::Result<(), IllegalTransition> {
    if is_deleted {
        return run.cancel(OF_ENDED_TASK, now);
    }
    run.fail_orphaned(&node.settings.retry, now)?;
    if run.state == RunState::Retrying {
        run.start_next_attempt(node.ids.token(now))?;
    }
    Ok(())
}
