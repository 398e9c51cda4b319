//! Fires what is due. The protocol is the design's "How a run fires", steps 1 to 5; the step numbers stand in the comments.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

use super::node::Node;
use super::pace::{self, Pace};
use super::publish;
use crate::core::misfire::{Misfire, Step};
use crate::core::run::Stretch;
use crate::core::{Moment, Run, RunState, Task, TaskId};
use crate::ports::{Advance, InsertedRun, Result};

/// Batches fired at the same time.
const CONCURRENT_BATCHES: usize = 4;
/// When the store's clock has not reached a moment that this node's has, it is asked again after this, in milliseconds.
const NOT_YET_MS: u64 = 5;
/// Moments of one task that are looked at before anything else has its turn: about a millisecond's work.
const MOMENTS_AT_ONCE: u64 = 256;
/// Nodes that watch the same shards, for want of leases, spread over this, in milliseconds.
const JITTER_MS: u64 = 40;

/// Fires until the node stops, and then waits for what is under way.
pub async fn run(node: &Arc<Node>) {
    let batches = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(CONCURRENT_BATCHES));
    let pace = Arc::new(Mutex::new(Pace::new("dispatch", Duration::ZERO)));
    while !node.shutdown.is_cancelled() {
        next_moment(node).await;
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        if !node.is_fit() {
            continue;
        }
        let now = node.skew.cautious(node.clock.now());
        let due = take_due(node, now);
        if due.is_empty() || node.shutdown.is_cancelled() {
            continue;
        }
        let (node, pace) = (Arc::clone(node), Arc::clone(&pace));
        batches.spawn(async move {
            fire_or_give_back(&node, due, now, &pace).await;
            drop(slot);
        });
    }
    batches.close();
    batches.wait().await;
}

/// Fires one batch of what is due at `now`, and hands it over. How many tasks that were.
pub async fn run_once(node: &Arc<Node>, now: Moment) -> usize {
    let due = take_due(node, now);
    let tasks = due.len();
    if tasks > 0 {
        fire_or_give_back(node, due, now, &Mutex::new(Pace::new("dispatch", Duration::ZERO))).await;
    }
    tasks
}

fn take_due(node: &Node, now: Moment) -> Vec<Task> {
    node.window.take_due(now, node.settings.batch as usize)
}

/// Returns when something in the window is due, or when the node stops.
async fn next_moment(node: &Node) {
    loop {
        let head = node.window.head().filter(|_| node.is_fit());
        let due = async {
            match head {
                Some(head) => node.clock.sleep_until(head.plus_ms(node.skew.node_ahead_ms())).await,
                None => std::future::pending().await,
            }
        };
        let recheck = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            // In this order, and not in a drawn one: a simulated history can be replayed.
            biased;
            () = due => return spread(node).await,
            () = node.window.earlier() => {}
            // A clock that was too far off may be right again.
            () = recheck => {}
            () = node.shutdown.cancelled() => return,
        }
    }
}

async fn spread(node: &Node) {
    if !node.shards.watch(node.clock.now()).alone {
        tokio::time::sleep(Duration::from_millis(node.ids.jitter_ms(JITTER_MS))).await;
    }
}

/// Whatever happens to a batch, the window gets its tasks back: one that it believed to be busy would never fire here again.
async fn fire_or_give_back(node: &Arc<Node>, tasks: Vec<Task>, now: Moment, pace: &Mutex<Pace>) {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    if AssertUnwindSafe(fire_batch(node, tasks, now, pace)).catch_unwind().await.is_err() {
        tracing::error!(tasks = ids.len(), "a batch panicked; its tasks come back with the next scan");
        for id in &ids {
            node.window.done(id, None, None);
        }
    }
}

/// Fires one moment of each task, and hands the tasks back to the window with the moment that follows.
async fn fire_batch(node: &Arc<Node>, tasks: Vec<Task>, now: Moment, pace: &Mutex<Pace>) {
    let paced = || pace.lock().unwrap_or_else(PoisonError::into_inner);
    match advance_batch(node, &tasks, now).await {
        Ok(fired) => {
            paced().worked();
            let to_publish = settle_window(node, tasks, fired);
            publish::publish(node, to_publish).await;
        }
        Err(error) => {
            // Each step may or may not have happened. The next scan brings the tasks back, and the rows that stand decide.
            node.health.store.down(error.to_string());
            let pause = paced().failing(&error);
            pace::wait(pause, &node.shutdown).await;
            for task in &tasks {
                node.window.done(&task.id, None, None);
            }
        }
    }
}

/// Steps 2 and 3: the rows that stand for these moments, and whether each task has passed its moment.
async fn advance_batch(node: &Node, tasks: &[Task], now: Moment) -> Result<Vec<(Run, bool)>> {
    let rows = standing_rows(node, tasks, now).await?;
    crate::failpoint!("fire::inserted");
    let advances: Vec<Advance> = tasks.iter().zip(&rows).map(|(task, row)| advance(task, row)).collect();
    let passed = node.store.advance_tasks(&advances).await?;
    crate::failpoint!("fire::advanced");
    Ok(rows.into_iter().zip(passed).collect())
}

async fn standing_rows(node: &Node, tasks: &[Task], now: Moment) -> Result<Vec<Run>> {
    let mut rows = Vec::with_capacity(tasks.len());
    for task in tasks {
        rows.push(row(node, task, now).await);
    }
    crate::failpoint!("fire::before_insert");
    let inserted = node.store.insert_runs(&rows).await?;
    let stands = |(row, inserted)| match inserted {
        InsertedRun::New => row,
        InsertedRun::Existing(standing) => *standing,
    };
    Ok(rows.into_iter().zip(inserted).map(stands).collect())
}

async fn row(node: &Node, task: &Task, now: Moment) -> Run {
    let due = task.next_due_at.unwrap_or(now);
    let holder = node.name.as_str();
    match decide(node.misfire(), task, due, now).await {
        Step::Fire { at } => Run::firing(task, at, holder, node.ids.token(now), node.run_lease_until(now)),
        Step::Skip { from, to, count } => {
            let late_sec = now.since(from) / 1000;
            let reason = format!("misfire: {count} moments, the first {late_sec} s late");
            Run::skipped(task, from, Stretch { to, count }, reason, holder, now)
        }
    }
}

/// After a long downtime each task may have thousands of moments to skip: whatever else runs on this thread has its turn in between.
async fn decide(misfire: &Misfire, task: &Task, due: Moment, now: Moment) -> Step {
    let mut walk = misfire.scan(task, due, now);
    loop {
        match walk.proceed(MOMENTS_AT_ONCE) {
            Some(step) => return step,
            None => tokio::task::yield_now().await,
        }
    }
}

/// The step over what the row that stands decides: that row may be another node's, or one of an earlier life.
pub(super) fn advance(task: &Task, row: &Run) -> Advance {
    let fires = row.stretch.is_none();
    let decided = row.decides_up_to();
    Advance {
        task_id: task.id.clone(),
        rev: row.rev,
        due: row.scheduled_at,
        last_due_at: decided,
        next_due_at: task.due_after(decided, task.fired_count + u64::from(fires)),
        fires,
    }
}

/// Gives the tasks back to the window; the runs that this node is to publish.
fn settle_window(node: &Arc<Node>, tasks: Vec<Task>, fired: Vec<(Run, bool)>) -> Vec<Run> {
    let mut to_publish = Vec::with_capacity(fired.len());
    let mut not_yet = Vec::new();
    for (task, (row, passed)) in tasks.into_iter().zip(fired) {
        if !passed {
            not_yet.push(task);
            continue;
        }
        let step = (row.rev, row.decides_up_to());
        node.window.done(&task.id.clone(), Some(step), stepped(task, &row));
        // A row that this node's rescue has claimed meanwhile is published by it, and not a second time from here.
        if row.state == RunState::Firing && row.holder == node.name && row.claim == 1 {
            to_publish.push(row);
        }
    }
    if !not_yet.is_empty() {
        give_back_later(node, not_yet);
    }
    to_publish
}

/// The task as it stands after the step, if it is due again.
fn stepped(mut task: Task, row: &Run) -> Option<Task> {
    let step = advance(&task, row);
    task.fired_count += u64::from(step.fires);
    task.last_due_at = Some(step.last_due_at);
    task.next_due_at = step.next_due_at;
    task.next_due_at.is_some().then_some(task)
}

/// The store's clock is behind this node's, or the task is gone. In the first case it is a matter of milliseconds; in the second
/// the task is tried once more and then left to the scan.
fn give_back_later(node: &Arc<Node>, tasks: Vec<Task>) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(NOT_YET_MS)).await;
        let ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
        let stored = node.store.tasks(&ids).await.unwrap_or_default();
        let mut stored: HashMap<_, _> = stored.into_iter().map(|task| (task.id.clone(), task)).collect();
        for id in ids {
            let still_due = stored.remove(&id).filter(|task| task.state == crate::core::TaskState::Active);
            node.window.done(&id, None, still_due);
        }
    });
}
