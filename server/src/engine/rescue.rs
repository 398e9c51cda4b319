//! Looks after runs whose time has come: a lease that ran out, a pause that is over, an outcome that is overdue. They are one
//! thing, a run with an `attention_at` in the past, and this is step 6 of "How a run fires".

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use super::{dispatch, publish};
use crate::core::run::IllegalTransition;
use crate::core::task::TaskId;
use crate::core::{Moment, Run, RunState, Task, TaskState};
use crate::ports::Result;

/// Runs looked after in one turn.
const BATCH: u32 = 500;

/// Looks after runs until the node stops.
pub async fn run(node: &Arc<Node>) {
    let mut pace = Pace::new("rescue", Duration::from_millis(node.settings.rescue_ms));
    while !node.shutdown.is_cancelled() {
        if !node.is_fit() {
            pace.pause(&node.shutdown).await;
            continue;
        }
        // By the slower clock: a fast one would take over what others hold still.
        match run_once(node, node.skew.cautious(node.clock.now())).await {
            Ok(true) => pace.worked(),
            Ok(false) => pace.soon(node.hints.needs_attention()).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Looks after one batch. Whether there may be more.
///
/// # Errors
/// When the store fails; the runs come up again.
pub async fn run_once(node: &Node, now: Moment) -> Result<bool> {
    let watch = node.shards.watch(now);
    // While the broker is down nothing is gained by taking its runs on. Somebody will notice when it is back: the probe.
    let queued_only = node.health.bus.is_down();
    let overdue = node.store.runs_needing_attention(&watch.shards, now, BATCH, queued_only).await?;
    if overdue.is_empty() {
        return Ok(false);
    }
    let full = overdue.len() >= BATCH as usize;
    let tasks = tasks_of(node, &overdue).await?;
    let changed = overdue.into_iter().filter_map(|run| take_on(node, run, &tasks, now)).collect();
    crate::failpoint!("rescue::before_claim");
    let mine = node.replace_runs(changed).await?;
    crate::failpoint!("rescue::claimed");
    node.metrics.rescued(mine.len() as u64);
    if !mine.is_empty() {
        tracing::info!(runs = mine.len(), "looked after runs whose time had come");
    }
    node.hints.ready(ready_again(&mine));
    let firing = mine.into_iter().filter(|run| run.state == RunState::Firing).collect();
    let passed = past_their_moment(node, firing, &tasks, now).await?;
    publish::publish(node, passed).await;
    Ok(full)
}

fn ready_again(runs: &[Run]) -> BTreeSet<String> {
    runs.iter().filter(|run| run.state == RunState::Ready).filter_map(|run| run.queue.clone()).collect()
}

async fn tasks_of(node: &Node, runs: &[Run]) -> Result<HashMap<TaskId, Task>> {
    let mut ids: Vec<TaskId> = runs.iter().map(|run| run.task_id.clone()).collect();
    ids.sort();
    ids.dedup();
    let tasks = node.store.tasks(&ids).await?;
    Ok(tasks.into_iter().map(|task| (task.id.clone(), task)).collect())
}

/// The run as it is to be stored: taken on by this node, or ended. `None`: nothing to do for it.
fn take_on(node: &Node, mut run: Run, tasks: &HashMap<TaskId, Task>, now: Moment) -> Option<Run> {
    let deleted = tasks.get(&run.task_id).is_none_or(|task| task.state == TaskState::Cancelled);
    if let Err(IllegalTransition { state, event }) = look_after(node, &mut run, deleted, now) {
        tracing::error!(run = %run.id, ?state, ?event, "a run is where it cannot be");
        return None;
    }
    Some(run)
}

fn look_after(
    node: &Node,
    run: &mut Run,
    deleted: bool,
    now: Moment,
) -> std::result::Result<(), IllegalTransition> {
    match run.state {
        RunState::Fired | RunState::Leased | RunState::Retrying if deleted => {
            return run.cancel("its task was deleted", now);
        }
        RunState::Fired | RunState::Leased => run.fail_overdue(&node.settings.retry, now)?,
        _ => {}
    }
    if run.state == RunState::Retrying {
        run.start_next_attempt(node.ids.token(now))?;
    }
    if run.state != RunState::Firing {
        return Ok(());
    }
    run.claim(&node.name, node.run_lease_until(now));
    Ok(())
}

/// Of the runs claimed, those whose task has passed their moment. A task that has not is stepped now; where it cannot be any
/// more, the run ends as cancelled.
async fn past_their_moment(
    node: &Node,
    runs: Vec<Run>,
    tasks: &HashMap<TaskId, Task>,
    now: Moment,
) -> Result<Vec<Run>> {
    let has_passed = |run: &Run| tasks.get(&run.task_id).is_some_and(|task| may_go(task, run));
    let (mut passed, stuck): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(has_passed);
    let (waiting, orphans): (Vec<Run>, Vec<Run>) =
        stuck.into_iter().partition(|run| tasks.get(&run.task_id).is_some_and(|task| awaits(task, run)));
    cancel(node, orphans, now).await?;
    let advances: Vec<_> = waiting.iter().map(|run| dispatch::advance(&tasks[&run.task_id], run)).collect();
    if !advances.is_empty() {
        crate::failpoint!("rescue::before_advance");
        let stepped = node.store.advance_tasks(&advances).await?;
        crate::failpoint!("rescue::advanced");
        passed.extend(waiting.into_iter().zip(stepped).filter_map(|(run, stepped)| stepped.then_some(run)));
    }
    Ok(passed)
}

/// Whether the run may be handed over. One that was triggered holds for the definition that it was made from.
fn may_go(task: &Task, run: &Run) -> bool {
    let live = task.state != TaskState::Cancelled && task.rev == run.rev;
    run.is_decided(task) || (run.triggered && live)
}

/// Whether the task stands right before the run's moment.
fn awaits(task: &Task, run: &Run) -> bool {
    task.state == TaskState::Active && task.rev == run.rev && task.next_due_at == Some(run.scheduled_at)
}

/// A row without a fire: it was written, and then the task was deleted or changed before it stepped over the moment.
async fn cancel(node: &Node, mut orphans: Vec<Run>, now: Moment) -> Result<()> {
    orphans
        .retain_mut(|run| run.cancel("its task was deleted or changed before the moment fired", now).is_ok());
    if orphans.is_empty() {
        return Ok(());
    }
    crate::failpoint!("rescue::before_cancel");
    let cancelled = node.replace_runs(orphans).await.map(drop);
    crate::failpoint!("rescue::cancelled");
    cancelled
}
