//! Finds work that does not move: overdue moments, and queues without a worker.

use std::collections::BTreeMap;

use crate::core::task::SHARDS;
use crate::core::{Moment, RunState};
use crate::ports::{Order, QueueRow, Result, Store};

/// Maximum number of overdue tasks, and of overdue runs, that one check reads. Each may have 4 MiB.
const OVERDUE: u32 = 10;

/// Returns by how many seconds the longest overdue moment of each tag is late, for moments that are at
/// least `late_ms` late. Reads a bounded number of the longest overdue ones.
///
/// # Errors
/// A port's error.
pub async fn overdue(store: &dyn Store, late_ms: i64, now: Moment) -> Result<Vec<(String, u64)>> {
    let (shards, until): (Vec<u16>, _) = ((0..SHARDS).collect(), now.plus_ms(-late_ms));
    let tasks = store.due_tasks(&shards, until, OVERDUE, Order::Earliest).await?;
    let runs = store.runs_needing_attention(&shards, until, OVERDUE, false).await?;
    let tasks = tasks.rows.into_iter().filter_map(|task| Some((task.name, task.next_due_at?)));
    let is_undecided = |state| matches!(state, RunState::Firing | RunState::Retrying);
    let runs = runs.rows.into_iter().filter(|run| is_undecided(run.state));
    let runs = runs.filter_map(|run| Some((run.tag, run.attention_at?)));
    let mut late = BTreeMap::<String, u64>::new();
    for (tag, due_at) in tasks.chain(runs) {
        let sec = u64::try_from(now.since(due_at) / 1_000).unwrap_or(0);
        let longest = late.entry(tag).or_default();
        *longest = sec.max(*longest);
    }
    Ok(late.into_iter().collect())
}

/// Returns the number of ready runs of each queue from which no worker takes runs: nothing is leased, and
/// the first run has waited for `wait_ms`. Such a run is the first that a worker gets.
pub fn unattended(queues: &[QueueRow], wait_ms: i64, now: Moment) -> Vec<(String, u64)> {
    let waits = |row: &&QueueRow| row.oldest_ready_at.is_some_and(|at| now.since(at) >= wait_ms);
    let idle = queues.iter().filter(|row| row.leased == 0).filter(waits);
    idle.map(|row| (row.queue.clone(), row.ready)).collect()
}
