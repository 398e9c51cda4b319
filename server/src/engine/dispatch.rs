//! Fires due tasks: steps 1 to 3 of "How a run fires" in `docs/ARCHITECTURE.md`. [`publish`] has the
//! others.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

use super::admission;
use super::batches::{AfterFailure, Batches};
use super::node::Node;
use super::pace::{self, Pace};
use super::publish;
use super::window::Lane;
use crate::core::misfire::{Misfire, Step};
use crate::core::{Moment, Run, RunState, Task, TaskId, TaskState};
use crate::ports::{Advance, Fire, Fired, PortError, Result};

/// Maximum number of batches that a lane fires at the same time.
const CONCURRENT_BATCHES: usize = 4;
/// Maximum number of tasks in the first batch of a burst.
const FIRST_BATCH: usize = 32;
/// Factor by which the batches of a burst grow.
const GROWTH: usize = 2;
/// Milliseconds until the next try when the store's clock has not reached a moment yet.
const NOT_YET_MS: u64 = 5;
/// Time until the next try when the moment of a task cannot be stored.
const HELD_BACK: Duration = Duration::from_secs(10);
/// Moments of one task that are examined before other work gets a turn: about a millisecond of work.
const MOMENTS_AT_ONCE: u64 = 256;
/// Maximum jitter in milliseconds of nodes that watch the same shards because there are no leases.
const JITTER_MS: u64 = 40;

/// Fires until the node stops, and then waits for the batches in progress. Each lane has its own batches, so
/// that a bus that does not answer delays no queue.
pub async fn run(node: &Arc<Node>) {
    tokio::join!(run_lane(node, Lane::Queue), run_lane(node, Lane::Bus));
}

async fn run_lane(node: &Arc<Node>, lane: Lane) {
    let batches = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(CONCURRENT_BATCHES));
    let pace = Arc::new(Mutex::new(Pace::new("dispatch", Duration::ZERO)));
    let max = max_batch(node);
    let mut limit = FIRST_BATCH.min(max);
    while !node.shutdown.is_cancelled() {
        next_moment(node, lane).await;
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        if !node.is_fit() {
            continue;
        }
        let now = node.earliest_now();
        let due = take_due(node, lane, now, limit);
        limit = next_limit(limit, due.len(), max);
        if due.is_empty() || node.shutdown.is_cancelled() {
            continue;
        }
        let (node, pace) = (Arc::clone(node), Arc::clone(&pace));
        batches.spawn(async move {
            fire_or_return(&node, due, now, &pace).await;
            drop(slot);
        });
    }
    batches.close();
    batches.wait().await;
}

/// Fires one batch of each lane of tasks that are due at `now`, and hands the runs over. Returns the number of tasks.
pub async fn run_once(node: &Arc<Node>, now: Moment) -> usize {
    let mut tasks = 0;
    for due in Lane::ALL.map(|lane| take_due(node, lane, now, max_batch(node))) {
        tasks += due.len();
        if !due.is_empty() {
            fire_or_return(node, due, now, &Mutex::new(Pace::new("dispatch", Duration::ZERO))).await;
        }
    }
    tasks
}

fn take_due(node: &Node, lane: Lane, now: Moment, limit: usize) -> Vec<Task> {
    node.window.take_due(lane, now, limit)
}

fn max_batch(node: &Node) -> usize {
    node.settings.batch as usize
}

/// Returns the limit of the next batch after a batch of `taken` tasks. The batches of a burst grow, so that
/// its first runs do not wait for a large write. A batch below its limit has taken the last due task.
fn next_limit(limit: usize, taken: usize, max: usize) -> usize {
    let next = if taken < limit { FIRST_BATCH } else { limit.saturating_mul(GROWTH) };
    next.min(max)
}

/// Waits until a task of the lane is due, or until the node stops.
async fn next_moment(node: &Node, lane: Lane) {
    loop {
        let head = node.window.head(lane).filter(|_| node.is_fit());
        let due = async {
            match head {
                Some(head) => node.clock.sleep_until(head.plus_ms(node.skew.node_ahead_ms())).await,
                None => std::future::pending().await,
            }
        };
        let recheck = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            // A fixed order, so that a simulation can be repeated.
            biased;
            () = due => return spread(node).await,
            () = node.window.head_changed(lane) => {}
            // A clock that was wrong may be right again.
            () = recheck => {}
            () = node.shutdown.cancelled() => return,
        }
    }
}

async fn spread(node: &Node) {
    if !node.watch().alone {
        tokio::time::sleep(Duration::from_millis(node.ids.jitter_ms(JITTER_MS))).await;
    }
}

/// Fires a batch. Returns the tasks to the window even if the batch panics. Otherwise the tasks
/// would stay busy, and a busy task does not enter the window again.
async fn fire_or_return(node: &Arc<Node>, tasks: Vec<Task>, now: Moment, pace: &Mutex<Pace>) {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    if AssertUnwindSafe(fire_batch(node, tasks, now, pace)).catch_unwind().await.is_err() {
        tracing::error!(tasks = ids.len(), "batch panicked; the next scan returns its tasks");
        for id in &ids {
            node.window.done(id, None, None);
        }
    }
}

/// Fires one moment of each task, and returns the tasks to the window with their next moments.
async fn fire_batch(node: &Arc<Node>, tasks: Vec<Task>, now: Moment, pace: &Mutex<Pace>) {
    let pace = || pace.lock().unwrap_or_else(PoisonError::into_inner);
    let mut batches = Batches::new(tasks);
    while let Some(batch) = batches.next_batch() {
        match advance_or_fail(node, &batch, now).await {
            Ok(fired) => {
                batches.succeeded();
                pace().worked();
                admission::keep_back_fired(node, &fired, now).await;
                publish::announce(node, &fired);
                let to_publish = settle_window(node, batch, fired);
                publish::publish(node, admission::gate(node, to_publish, now).await).await;
            }
            Err(error) => match batches.failed(batch, &error) {
                AfterFailure::Split => {}
                AfterFailure::HoldBack(task) => hold_back(node, vec![task], &error.to_string()),
                AfterFailure::GiveUp(rest) => {
                    let pause = pace().note_failure(&error);
                    give_up(node, &rest, &error, pause).await;
                }
            },
        }
    }
}

/// Returns tasks to the window after a pause. Each step may or may not have happened. The next scan returns
/// the tasks, and the stored rows decide.
async fn give_up(node: &Node, tasks: &[Task], error: &PortError, pause: Duration) {
    node.health.store.down(error.to_string());
    pace::wait(pause, &node.shutdown).await;
    for task in tasks {
        node.window.done(&task.id, None, None);
    }
}

/// Steps 2 and 3. A panic is an error of the batch, so that the other tasks of the batch fire.
async fn advance_or_fail(node: &Node, tasks: &[Task], now: Moment) -> Result<Vec<Fired>> {
    let advanced = AssertUnwindSafe(advance_batch(node, tasks, now)).catch_unwind().await;
    advanced.unwrap_or_else(|_| {
        tracing::error!(tasks = tasks.len(), "batch panicked; its tasks are tried in smaller batches");
        Err(PortError::Refused("the dispatcher", "the batch panicked".into()))
    })
}

/// Steps 2 and 3. Returns one result for each task, in order.
async fn advance_batch(node: &Node, tasks: &[Task], now: Moment) -> Result<Vec<Fired>> {
    let mut moments = Vec::with_capacity(tasks.len());
    for task in tasks {
        moments.push(Fire { task, run: row(node, task, now).await });
    }
    crate::failpoint!("fire::before_insert");
    let fired = node.store.fire(moments).await?;
    crate::failpoint!("fire::advanced");
    Ok(fired)
}

/// Returns the row of the task's moment.
async fn row(node: &Node, task: &Task, now: Moment) -> Run {
    let due = task.nominal_due().unwrap_or(now);
    let holder = node.name.as_str();
    let step = decide(task.timing.misfire.over(node.settings.misfire), task, due, now).await;
    Run::decided(task, step, holder, node.ids.token(now), (now, node.run_lease_until(now)))
}

/// Decides whether the task fires or skips moments. After a long downtime each task may have thousands of
/// moments to skip, so other work gets a turn in between.
async fn decide(misfire: Misfire, task: &Task, due: Moment, now: Moment) -> Step {
    let mut scan = misfire.scan(task, due, now);
    loop {
        match scan.proceed(MOMENTS_AT_ONCE) {
            Some(step) => return step,
            None => tokio::task::yield_now().await,
        }
    }
}

/// Returns the tasks to the window. Returns the runs that this node must publish.
fn settle_window(node: &Arc<Node>, tasks: Vec<Task>, fired: Vec<Fired>) -> Vec<Run> {
    let mut to_publish = Vec::with_capacity(fired.len());
    let (mut not_yet, mut unreadable) = (Vec::new(), Vec::new());
    for (task, fired) in tasks.into_iter().zip(fired) {
        let row = match fired {
            Fired::Passed { run, .. } => run,
            Fired::NotPassed => {
                not_yet.push(task);
                continue;
            }
            Fired::Unreadable => {
                unreadable.push(task);
                continue;
            }
        };
        let step = (row.rev, row.decides_up_to());
        let next = stepped(&task, &row).filter(|task| node.keeps_in_window(task, node.clock.now()));
        node.window.done(&task.id, Some(step), next);
        // If this node's rescue has claimed the row since, the rescue publishes it.
        if row.state == RunState::Firing && row.holder == node.name && row.claim == 1 {
            to_publish.push(*row);
        }
    }
    if !not_yet.is_empty() {
        return_later(node, not_yet);
    }
    if !unreadable.is_empty() {
        hold_back(node, unreadable, "the run of its moment is unreadable");
    }
    to_publish
}

/// Holds tasks back whose moments cannot be stored. The scan after that offers them again.
fn hold_back(node: &Arc<Node>, tasks: Vec<Task>, why: &str) {
    for task in &tasks {
        node.held_back.log("task", task.id.as_str(), why);
    }
    // The wait must not keep a stopped node, and with it the store, alive.
    let (node, shutdown) = (Arc::downgrade(node), node.shutdown.clone());
    tokio::spawn(async move {
        pace::wait(HELD_BACK, &shutdown).await;
        let Some(node) = node.upgrade() else { return };
        for task in &tasks {
            node.window.done(&task.id, None, None);
        }
    });
}

/// Returns the task after the step, if it is due again.
fn stepped(task: &Task, row: &Run) -> Option<Task> {
    Some(task.stepped(&Advance::of(task, row))).filter(|task| task.next_due_at.is_some())
}

/// Returns tasks that could not step to the window after a short pause. Either the store's clock is
/// milliseconds behind this node's clock, or the task was deleted or changed.
fn return_later(node: &Arc<Node>, tasks: Vec<Task>) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(NOT_YET_MS)).await;
        let ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
        let stored = node.store.tasks(&ids).await.unwrap_or_default();
        let mut stored: HashMap<_, _> = stored.rows.into_iter().map(|task| (task.id.clone(), task)).collect();
        for id in ids {
            let still_due = stored.remove(&id).filter(|task| task.state == TaskState::Active);
            let still_due = still_due.filter(|task| node.keeps_in_window(task, node.clock.now()));
            node.window.done(&id, None, still_due);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batches_of_a_burst_grow_and_the_next_burst_begins_small() {
        let limits = |max: usize, taken: &[usize]| {
            let next = |limit: &mut usize, taken: &usize| {
                *limit = next_limit(*limit, *taken, max);
                Some(*limit)
            };
            taken.iter().scan(FIRST_BATCH.min(max), next).collect::<Vec<_>>()
        };
        assert_eq!(limits(1_000, &[32, 64, 128, 256, 512, 999, 0]), [64, 128, 256, 512, 1_000, 32, 32]);
        assert_eq!(limits(10, &[10, 10, 3]), [10, 10, 10]);
    }
}
