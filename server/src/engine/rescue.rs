//! Rescues runs whose `attention_at` has passed: an expired lease, an elapsed retry pause, or an overdue
//! outcome. This is step 6 of "How a run fires" in `docs/ARCHITECTURE.md`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::admission;
use super::batches::{AfterFailure, Batches};
use super::node::Node;
use super::pace::Pace;
use super::publish;
use crate::core::run::{IllegalTransition, OF_ENDED_TASK};
use crate::core::task::TaskId;
use crate::core::{Moment, Run, RunId, RunState, Task, TaskState};
use crate::ports::{Advance, Result};

/// Maximum number of runs in one turn.
const BATCH: u32 = 500;
/// Time after which a run is looked at again whose task is unreadable, in milliseconds. Meanwhile the run
/// is not among the longest overdue, which would hide other runs.
const SET_ASIDE_MS: i64 = 30_000;

/// Rescues until the node stops.
///
/// Messages are sent beside the loop, one turn's messages at a time: a broker that does not answer must not
/// delay the runs of queues.
pub async fn run(node: &Arc<Node>) {
    let sender = Arc::new(Semaphore::new(1));
    let sends = TaskTracker::new();
    let mut pace = Pace::new("rescue", Duration::from_millis(node.settings.rescue_ms));
    while !node.shutdown.is_cancelled() {
        if !node.is_fit() {
            pace.pause(&node.shutdown).await;
            continue;
        }
        let slot = Arc::clone(&sender).try_acquire_owned().ok();
        match rescue(node, node.earliest_now(), slot.is_none()).await {
            Ok(Turn { to_send, more }) => {
                send_beside(node, &sends, to_send, slot);
                if more {
                    pace.worked();
                } else {
                    pace.pause_until(node.hints.needs_attention()).await;
                }
            }
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
    sends.close();
    sends.wait().await;
}

fn send_beside(node: &Arc<Node>, sends: &TaskTracker, runs: Vec<Run>, slot: Option<OwnedSemaphorePermit>) {
    if runs.is_empty() {
        return;
    }
    let node = Arc::clone(node);
    sends.spawn(async move {
        publish::send(&node, runs).await;
        drop(slot);
        // The next messages may wait for this one's slot.
        node.hints.attention();
    });
}

/// Rescues one batch, and sends its messages. Returns whether there may be more.
///
/// # Errors
/// A port's error. The next call finds the runs again.
pub async fn run_once(node: &Node, now: Moment) -> Result<bool> {
    let turn = rescue(node, now, false).await?;
    publish::send(node, turn.to_send).await;
    Ok(turn.more)
}

/// Result of one turn.
struct Turn {
    /// Claimed runs without a queue.
    to_send: Vec<Run>,
    more: bool,
}

async fn rescue(node: &Node, now: Moment, is_sending: bool) -> Result<Turn> {
    let watch = node.watch();
    // While the broker is down, claiming its runs has no use. The probe notices when the broker is back.
    let queued_only = is_sending || node.health.bus.is_down();
    let overdue = node.store.runs_needing_attention(&watch.shards, now, BATCH, queued_only).await?;
    let mut to_send = Vec::new();
    let mut batches = Batches::new(overdue.rows);
    while let Some(batch) = batches.next_batch() {
        match rescue_batch(node, &batch, now).await {
            Ok(sent) => {
                batches.succeeded();
                to_send.extend(sent);
            }
            Err(error) => match batches.failed(batch, &error) {
                AfterFailure::Split => {}
                AfterFailure::HoldBack(run) => node.held_back.log("run", run.id.as_str(), &error.to_string()),
                AfterFailure::GiveUp(_) => return Err(error),
            },
        }
    }
    Ok(Turn { to_send, more: overdue.more })
}

/// Rescues runs. Returns those that must be sent over the bus.
async fn rescue_batch(node: &Node, overdue: &[Run], now: Moment) -> Result<Vec<Run>> {
    let tasks = tasks_of(node, overdue).await?;
    let leased: HashSet<&RunId> =
        overdue.iter().filter(|run| run.state == RunState::Leased).map(|run| &run.id).collect();
    let changed = overdue.iter().filter_map(|run| next_state(node, run.clone(), &tasks, now)).collect();
    crate::failpoint!("rescue::before_claim");
    let mine = node.replace_runs(changed).await?;
    crate::failpoint!("rescue::claimed");
    node.expired_leases.count(mine.iter().filter(|run| leased.contains(&run.id)), now);
    let mine: Vec<Run> = mine.into_iter().filter(|run| !tasks.unreadable.contains(&run.task_id)).collect();
    node.metrics.rescued(mine.len() as u64);
    if !mine.is_empty() {
        tracing::info!(runs = mine.len(), "runs rescued");
    }
    node.hints.ready(queues_with_ready(&mine));
    let firing = mine.into_iter().filter(|run| run.state == RunState::Firing).collect();
    let decided = advance_tasks(node, firing, &tasks, now).await?;
    let (queued, sent) = publish::by_lane(admission::gate(node, decided, now).await);
    publish::queue(node, queued).await;
    Ok(sent)
}

pub(super) fn queues_with_ready(runs: &[Run]) -> BTreeSet<String> {
    runs.iter().filter(|run| run.state == RunState::Ready).filter_map(|run| run.queue.clone()).collect()
}

/// The tasks of overdue runs.
pub(super) struct Tasks {
    by_id: HashMap<TaskId, Task>,
    unreadable: HashSet<TaskId>,
}

impl Tasks {
    pub(super) fn get(&self, id: &TaskId) -> Option<&Task> {
        self.by_id.get(id)
    }

    pub(super) fn is_unreadable(&self, id: &TaskId) -> bool {
        self.unreadable.contains(id)
    }
}

pub(super) async fn tasks_of(node: &Node, runs: &[Run]) -> Result<Tasks> {
    let mut ids: Vec<TaskId> = runs.iter().map(|run| run.task_id.clone()).collect();
    ids.sort();
    ids.dedup();
    let found = node.store.tasks(&ids).await?;
    let by_id = found.rows.into_iter().map(|task| (task.id.clone(), task)).collect();
    Ok(Tasks { by_id, unreadable: found.unreadable.into_iter().collect() })
}

/// Returns the run as it must be stored: claimed by this node, ended, or set aside because its task is
/// unreadable. `None`: the run is left as it is.
fn next_state(node: &Node, mut run: Run, tasks: &Tasks, now: Moment) -> Option<Run> {
    if tasks.unreadable.contains(&run.task_id) {
        run.set_aside(now.plus_ms(SET_ASIDE_MS));
        return Some(run);
    }
    let is_deleted = tasks.get(&run.task_id).is_none_or(|task| task.state == TaskState::Cancelled);
    if let Err(IllegalTransition { state, event }) = claim_or_end(node, &mut run, is_deleted, now) {
        tracing::error!(run = %run.id, %state, ?event, "illegal run state transition");
        return None;
    }
    Some(run)
}

fn claim_or_end(
    node: &Node,
    run: &mut Run,
    is_deleted: bool,
    now: Moment,
) -> std::result::Result<(), IllegalTransition> {
    // A firing run expires after its moment is decided.
    if run.state != RunState::Firing && run.has_expired(now) {
        return run.expire(now);
    }
    match run.state {
        RunState::Fired | RunState::Leased | RunState::Retrying if is_deleted => {
            return run.cancel(OF_ENDED_TASK, now);
        }
        RunState::Fired | RunState::Leased => run.fail_overdue(&node.settings.retry, now)?,
        _ => {}
    }
    if run.state == RunState::Retrying {
        run.start_next_attempt(node.ids.token(now))?;
    }
    match (run.state, run.permit) {
        // The hand-over by this node would be another start.
        (RunState::Firing, Some(_)) => run.hold()?,
        (RunState::Firing, None) => run.claim(&node.name, node.run_lease_until(now)),
        _ => {}
    }
    Ok(())
}

/// Returns the claimed runs whose tasks have passed their moments. A task that has not yet passed one steps
/// now. If the task was deleted or changed, the run ends as cancelled.
async fn advance_tasks(node: &Node, runs: Vec<Run>, tasks: &Tasks, now: Moment) -> Result<Vec<Run>> {
    let is_decided = |run: &Run| tasks.get(&run.task_id).is_some_and(|task| may_be_handed_over(task, run));
    let (mut decided, undecided): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(is_decided);
    let (waiting, orphans): (Vec<Run>, Vec<Run>) =
        undecided.into_iter().partition(|run| tasks.get(&run.task_id).is_some_and(|task| is_next(task, run)));
    replace_backfilled(node, &orphans, tasks, now).await?;
    cancel(node, orphans, now).await?;
    let advance = |run: &Run| tasks.get(&run.task_id).map(|task| Advance::of(task, run));
    let advances: Vec<_> = waiting.iter().filter_map(advance).collect();
    if !advances.is_empty() {
        crate::failpoint!("rescue::before_advance");
        let stepped = node.store.advance_tasks(&advances).await?;
        crate::failpoint!("rescue::advanced");
        decided.extend(waiting.into_iter().zip(stepped).filter_map(|(run, stepped)| stepped.then_some(run)));
    }
    Ok(decided)
}

/// Returns whether the run may be handed over. A triggered run is valid for its own revision only.
fn may_be_handed_over(task: &Task, run: &Run) -> bool {
    let is_current = task.state != TaskState::Cancelled && task.rev == run.rev;
    // An admitted run was decided before its admission, and a held run before its hold.
    run.is_decided(task) || (run.triggered && is_current) || !run.slots.is_empty() || run.hold.is_some()
}

/// Returns whether the run's moment is the task's next moment.
fn is_next(task: &Task, run: &Run) -> bool {
    task.state == TaskState::Active && task.rev == run.rev && task.next_due_at == Some(run.effective_at())
}

/// Inserts the runs that replace runs of backfills, so that no change of a task loses a moment. A repeated call finds the
/// first replacement.
async fn replace_backfilled(node: &Node, orphans: &[Run], tasks: &Tasks, now: Moment) -> Result<()> {
    let replacement = |run: &Run| run.replacement(tasks.get(&run.task_id)?, node.ids.token(now), now);
    let replacements: Vec<Run> = orphans.iter().filter_map(replacement).collect();
    if replacements.is_empty() {
        return Ok(());
    }
    crate::failpoint!("rescue::before_replace");
    node.store.insert_runs(&replacements).await?;
    crate::failpoint!("rescue::replaced");
    node.hints.attention();
    Ok(())
}

/// Cancels runs that never fired. Their tasks were deleted or changed after the runs were inserted,
/// and before the tasks passed the moments.
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
