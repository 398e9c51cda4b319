//! The writes of a decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::admission::{Contender, Verdict};
use crate::core::run::OF_ENDED_TASK;
use crate::core::{Moment, Run, RunId, RunState, TaskId, TaskState};
use crate::engine::node::Node;
use crate::ports::Result;

/// Returns the runs that the verdicts change, as they must be stored. `new` runs do not wait yet.
pub(super) async fn of_verdicts(
    node: &Node,
    contenders: Vec<Contender>,
    verdicts: Vec<Verdict>,
    new: &[Run],
    now: Moment,
) -> Result<Vec<Run>> {
    let decided: BTreeMap<RunId, (Contender, Verdict)> =
        contenders.into_iter().zip(verdicts).map(|(run, verdict)| (run.id.clone(), (run, verdict))).collect();
    let is_new = |id: &RunId| new.iter().any(|run| run.id == *id);
    let held = decided.iter().filter(|(id, (_, verdict))| !verdict.waits() && !is_new(id));
    let held: Vec<RunId> = held.map(|(id, _)| id.clone()).collect();
    let mut held = if held.is_empty() { Vec::new() } else { node.store.runs(&held).await?.rows };
    // Another node may have decided on a run since it was listed, or a hold may keep it back.
    held.retain(|run| {
        let asked = decided.get(&run.id).map(|(contender, _)| &contender.asks);
        run.state == RunState::Held && run.held_scope().is_none() && run.asks().as_ref() == asked
    });
    let deleted = deleted_tasks(node, &held).await?;
    let mut changed: Vec<Run> = held.into_iter().chain(new.iter().cloned()).collect();
    changed.retain_mut(|run| match decided.get(&run.id) {
        None => false,
        Some(_) if run.state == RunState::Held && deleted.contains(&run.task_id) => {
            run.cancel(OF_ENDED_TASK, now).is_ok()
        }
        Some((_, verdict)) => apply(node, run, verdict, now),
    });
    Ok(changed)
}

/// Applies a verdict. Returns whether the run has changed.
fn apply(node: &Node, run: &mut Run, verdict: &Verdict, now: Moment) -> bool {
    match verdict {
        Verdict::Start { slots } => run.admit(slots.clone(), &node.name, node.run_lease_until(now)).is_ok(),
        Verdict::Wait | Verdict::Replace => run.hold().is_ok(),
        Verdict::Suppress { by } => run.suppress(by, now).is_ok(),
        Verdict::Drop => run.drop_excess(now).is_ok(),
    }
}

/// Returns the tasks of the runs that are deleted.
pub(super) async fn deleted_tasks(node: &Node, runs: &[Run]) -> Result<BTreeSet<TaskId>> {
    let ids: BTreeSet<&TaskId> = runs.iter().map(|run| &run.task_id).collect();
    let mut deleted = BTreeSet::new();
    for id in ids {
        let task = node.store.task(id).await?;
        if task.is_none_or(|task| task.state == TaskState::Cancelled) {
            deleted.insert(id.clone());
        }
    }
    Ok(deleted)
}

/// Stores the changes. Returns the runs that were replaced, as stored. Another node may have been faster with the
/// others.
pub(super) async fn store(node: &Node, changed: Vec<Run>) -> Result<Vec<Run>> {
    if changed.is_empty() {
        return Ok(changed);
    }
    crate::failpoint!("admit::before_update");
    let written = node.replace_runs(changed).await?;
    crate::failpoint!("admit::updated");
    Ok(written)
}

/// Returns the runs in the order in which they shall start: earliest first.
pub(super) fn earliest_first(mut runs: Vec<(Moment, Contender)>) -> Vec<Contender> {
    runs.sort_by(|(at, run), (other_at, other)| (at, &run.id).cmp(&(other_at, &other.id)));
    runs.into_iter().map(|(_, run)| run).collect()
}
