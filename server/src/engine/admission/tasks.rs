//! The slot of a task with an overlap policy.

use super::{TRIES, changes};
use crate::core::admission::{Asks, Contender, Usage, Verdict, admit as decide};
use crate::core::run::{OpenRun, slot_of_task};
use crate::core::{Moment, Run, RunId, RunState, TaskId};
use crate::engine::node::Node;
use crate::ports::Result;

/// Maximum number of waiting runs of a task that are read: those of `queue_all`, and redriven ones.
const MAX_HELD: u32 = 2_000;

/// Decides on the `new` runs and on the waiting runs of the task with the key. Returns the runs that got the slot.
/// Two nodes that decide at the same time can let one run too many wait; the next decision suppresses it.
pub(super) async fn admit(node: &Node, key: &str, mut new: Vec<Run>, now: Moment) -> Result<Vec<Run>> {
    let mut admitted = Vec::new();
    let Some(task) = key.strip_prefix("task:").and_then(TaskId::parse) else { return Ok(admitted) };
    for _ in 0..TRIES {
        let usage = Usage::of(node.store.slots_in_use(&[key.to_owned()]).await?);
        let held = node.store.held_runs(&task, MAX_HELD).await?;
        let contenders = contenders(&task, key, held, &new);
        let verdicts = decide(&usage, &contenders);
        let replaced = replaced(node, usage.holder(key), &contenders, &verdicts, now).await?;
        let mut changed = changes::of_verdicts(node, contenders, verdicts, &new, now).await?;
        // A crash leaves the successor as firing or held, and both are looked at again.
        changed.extend(replaced);
        if changed.is_empty() {
            break;
        }
        let written = changes::store(node, changed).await?;
        new.retain(|run| written.iter().all(|written| written.id != run.id));
        admitted.extend(written.into_iter().filter(|run| has_started(run, &task)));
        // Another node may have been faster. The runs that are left are decided again.
        if new.is_empty() {
            break;
        }
    }
    Ok(admitted)
}

/// Returns whether the decision has given the slot to the run. A run that it asks to stop had the slot before.
fn has_started(run: &Run, task: &TaskId) -> bool {
    matches!(run.state, RunState::Firing | RunState::Held) && run.slots.contains(&slot_of_task(task))
}

/// Returns the runs that ask for the slot. Waiting runs come first.
fn contenders(task: &TaskId, key: &str, mut held: Vec<OpenRun>, new: &[Run]) -> Vec<Contender> {
    let slot = slot_of_task(task);
    // A run with the slot waits for its limits.
    held.retain(|run| !run.slots.contains(&slot) && !run.waits_for_hold());
    let of_held = |run: OpenRun| {
        let asks = Asks::Task(key.to_owned(), run.overlap?);
        let is_redriven = run.was_admitted();
        Some(Contender { id: run.id, asks, is_redriven })
    };
    let new = new.iter().filter_map(|run| Some((run.scheduled_at, run.contender()?))).collect();
    held.into_iter().filter_map(of_held).chain(changes::earliest_first(new)).collect()
}

/// Returns the run that has the slot, with a request to cancel it. `None`: no run replaces it, or it has a request.
async fn replaced(
    node: &Node,
    running: Option<&RunId>,
    contenders: &[Contender],
    verdicts: &[Verdict],
    now: Moment,
) -> Result<Option<Run>> {
    let by = contenders.iter().zip(verdicts).find(|(_, verdict)| **verdict == Verdict::Replace);
    let (Some((by, _)), Some(running)) = (by, running) else { return Ok(None) };
    let run = node.store.run(running).await?.filter(|run| run.cancel_request.is_none());
    Ok(run.and_then(|mut run| run.replace_by(&by.id, now).is_ok().then_some(run)))
}
