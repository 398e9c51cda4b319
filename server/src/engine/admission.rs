//! Admission: runs of tasks with an overlap policy get the slot of their task, wait in `held`, or are
//! suppressed. This is the step between the fire of a run and its hand-over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::node::Node;
use super::pace::Pace;
use super::publish;
use crate::core::admission::{Contender, Verdict, admit};
use crate::core::run::{OpenRun, slot_of_task};
use crate::core::{Moment, Run, RunId, RunState, TaskId, TaskState};
use crate::ports::Result;

/// Time between two looks at the waiting runs. Hints do not arrive from other nodes.
const LOOK_MS: i64 = 1_000;
/// Tries to admit runs of a task while other nodes admit runs of the task.
const TRIES: u32 = 8;
/// Tasks whose runs are admitted at the same time.
const TASKS_AT_ONCE: usize = 16;
/// Maximum number of waiting runs of a task that are read: those of `queue_all`, and redriven ones.
const MAX_HELD: u32 = 2_000;
/// Maximum number of tasks of one look. The next look reads the others.
const MAX_TASKS: u32 = 10_000;

/// Admits waiting runs until the node stops: of a task whose slot was freed here, and once a second of each task.
pub async fn run(node: &Node) {
    let mut pace = Pace::new("admission", Duration::from_millis(LOOK_MS.unsigned_abs()));
    let mut looked_at = None::<i64>;
    while !node.shutdown.is_cancelled() {
        let steady = node.clock.steady_ms();
        let freed = node.hints.take_freed();
        let is_due = looked_at.is_none_or(|at| steady - at >= LOOK_MS);
        let turn = match () {
            () if !node.is_fit() => Ok(()),
            () if is_due => look(node, freed, node.earliest_now()).await,
            () => admit_held(node, freed, node.earliest_now()).await,
        };
        looked_at = if is_due { Some(steady) } else { looked_at };
        match turn {
            Ok(()) => pace.pause_until(node.hints.has_freed()).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Admits waiting runs of every task of the node's shards.
///
/// # Errors
/// A port's error. The next call finds the remaining runs.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    look(node, node.hints.take_freed(), now).await
}

async fn look(node: &Node, mut tasks: BTreeSet<TaskId>, now: Moment) -> Result<()> {
    tasks.extend(node.store.tasks_with_held_runs(&node.watch().shards, MAX_TASKS).await?);
    admit_held(node, tasks, now).await
}

/// Admits waiting runs of the tasks, and hands them over.
async fn admit_held(node: &Node, tasks: BTreeSet<TaskId>, now: Moment) -> Result<()> {
    let admit = |task: TaskId| async move { admit_of_task(node, &task, Vec::new(), now).await };
    let mut admitted = stream::iter(tasks).map(admit).buffer_unordered(TASKS_AT_ONCE);
    let mut result = Ok(());
    while let Some(of_task) = admitted.next().await {
        match of_task {
            Ok(runs) => publish::publish(node, runs).await,
            Err(error) => result = Err(error),
        }
    }
    result
}

/// Returns the runs that may be handed over now: those without an overlap policy, those that have their slots,
/// and those that get them. The others wait or are suppressed. The tasks of the runs have passed their moments.
pub async fn gate(node: &Node, runs: Vec<Run>, now: Moment) -> Vec<Run> {
    let (gated, mut free): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(Run::needs_admission);
    let mut by_task = BTreeMap::<TaskId, Vec<Run>>::new();
    for run in gated {
        by_task.entry(run.task_id.clone()).or_default().push(run);
    }
    let admit = |(task, runs)| async move { admit_of_task(node, &task, runs, now).await };
    let mut admitted = stream::iter(by_task).map(admit).buffer_unordered(TASKS_AT_ONCE);
    while let Some(of_task) = admitted.next().await {
        match of_task {
            Ok(runs) => free.extend(runs),
            Err(error) => {
                tracing::warn!(%error, "runs were not admitted; they are tried again after their leases");
            }
        }
    }
    free
}

/// Decides on the `new` runs and on the waiting runs of a task. Returns the runs that were admitted. Two nodes that decide
/// at the same time can let one run too many wait; the next decision suppresses it.
async fn admit_of_task(node: &Node, task: &TaskId, mut new: Vec<Run>, now: Moment) -> Result<Vec<Run>> {
    let slot = slot_of_task(task);
    let mut admitted = Vec::new();
    for _ in 0..TRIES {
        let running = node.store.slot_holders(std::slice::from_ref(&slot)).await?.pop().map(|(_, run)| run);
        let held = node.store.held_runs(task, MAX_HELD).await?;
        let verdicts = verdicts(running.as_ref(), &held, &new);
        let replaced = replaced(node, running, &verdicts, now).await?;
        let mut changed = changed(node, verdicts, &new, now).await?;
        // A crash leaves the successor as firing or held, and both are looked at again.
        changed.extend(replaced);
        if changed.is_empty() {
            break;
        }
        crate::failpoint!("admit::before_update");
        let written = node.replace_runs(changed).await?;
        crate::failpoint!("admit::updated");
        new.retain(|run| written.iter().all(|written| written.id != run.id));
        admitted.extend(written.into_iter().filter(|run| run.state == RunState::Firing));
        // Another node may have been faster. The runs that are left are decided again.
        if new.is_empty() {
            break;
        }
    }
    Ok(admitted)
}

/// Returns the verdicts on waiting and new runs. Waiting runs come first.
fn verdicts(running: Option<&RunId>, held: &[OpenRun], new: &[Run]) -> Vec<(RunId, Verdict)> {
    let mut latest: Vec<OpenRun> = new.iter().map(Run::open).collect();
    latest.sort_by(|a, b| (a.scheduled_at, &a.id).cmp(&(b.scheduled_at, &b.id)));
    let contenders: Vec<Contender> = held.iter().chain(&latest).filter_map(Contender::of).collect();
    let verdicts = admit(running, &contenders);
    contenders.into_iter().map(|run| run.id).zip(verdicts).collect()
}

/// Returns the run that has the slot, with a request to cancel it. `None`: no run replaces it, or it has a request.
async fn replaced(
    node: &Node,
    running: Option<RunId>,
    verdicts: &[(RunId, Verdict)],
    now: Moment,
) -> Result<Option<Run>> {
    let by = verdicts.iter().find(|(_, verdict)| *verdict == Verdict::Replace).map(|(id, _)| id);
    let (Some(by), Some(running)) = (by, running) else { return Ok(None) };
    let run = node.store.run(&running).await?.filter(|run| run.cancel_request.is_none());
    Ok(run.and_then(|mut run| run.replace_by(by, now).is_ok().then_some(run)))
}

/// Returns the runs that the verdicts change, as they must be stored.
async fn changed(node: &Node, verdicts: Vec<(RunId, Verdict)>, new: &[Run], now: Moment) -> Result<Vec<Run>> {
    let mut verdicts: BTreeMap<RunId, Verdict> = verdicts.into_iter().collect();
    verdicts.retain(|id, verdict| !verdict.waits() || new.iter().any(|run| run.id == *id));
    let is_held = |id: &&RunId| new.iter().all(|run| run.id != **id);
    let held: Vec<RunId> = verdicts.keys().filter(is_held).cloned().collect();
    let mut held = if held.is_empty() { Vec::new() } else { node.store.runs(&held).await?.rows };
    // Another node may have admitted a run since it was listed.
    held.retain(|run| run.state == RunState::Held);
    let is_deleted = !held.is_empty() && is_deleted(node, &held[0].task_id).await?;
    let mut changed: Vec<Run> = held.into_iter().chain(new.iter().cloned()).collect();
    changed.retain_mut(|run| match verdicts.get(&run.id) {
        None => false,
        Some(_) if is_deleted && run.state == RunState::Held => {
            run.cancel("its task was deleted", now).is_ok()
        }
        Some(Verdict::Start) => {
            run.admit(slot_of_task(&run.task_id), &node.name, node.run_lease_until(now)).is_ok()
        }
        Some(Verdict::Wait | Verdict::Replace) => run.hold().is_ok(),
        Some(Verdict::Suppress { by }) => run.suppress(by, now).is_ok(),
    });
    Ok(changed)
}

async fn is_deleted(node: &Node, task: &TaskId) -> Result<bool> {
    let task = node.store.task(task).await?;
    Ok(task.is_none_or(|task| task.state == TaskState::Cancelled))
}
