//! Holds of tags: their runs wait at the gate, and are handed over when the hold has ended.

use std::collections::{BTreeMap, BTreeSet};

use super::changes;
use crate::core::hold::{Hold, HoldScope};
use crate::core::run::{OF_ENDED_TASK, OpenRun};
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunId, RunState};
use crate::engine::holds::find;
use crate::engine::node::Node;
use crate::engine::publish;
use crate::ports::{Fired, Result};

/// Runs that are handed over at a time when a hold has ended.
const BATCH: u32 = 500;

/// Lets the runs wait whose tags are on hold. Returns the other runs.
pub(super) async fn keep_back(node: &Node, runs: Vec<Run>, now: Moment) -> Result<Vec<Run>> {
    if runs.is_empty() {
        return Ok(runs);
    }
    let tags = held_tags(node, runs.iter(), now).await?;
    let (held, open): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| tags.contains(&run.tag));
    store_held(node, held).await?;
    Ok(open)
}

/// Same as [`keep_back`] for runs that have waited for their slots. They go on before the runs that wait for the end of a
/// hold, so only a hold that lasts keeps them back.
pub(super) async fn keep_back_admitted(node: &Node, runs: Vec<Run>, now: Moment) -> Result<Vec<Run>> {
    if runs.is_empty() {
        return Ok(runs);
    }
    let holds = node.hints.holds.current(node.clock.steady_ms()).await?;
    let is_held = |run: &Run| find(&holds, HoldScope::Tag, &run.tag, now).is_some();
    let (held, open): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(is_held);
    store_held(node, held).await?;
    Ok(open)
}

/// Returns the tags of the runs that are on hold, and those with runs that still wait for the end of their hold: later
/// runs go on after these.
async fn held_tags<'a>(
    node: &Node,
    runs: impl Iterator<Item = &'a Run>,
    now: Moment,
) -> Result<BTreeSet<String>> {
    let holds = node.hints.holds.current(node.clock.steady_ms()).await?;
    let mut held = BTreeSet::new();
    for tag in runs.map(|run| &run.tag).collect::<BTreeSet<_>>() {
        if find(&holds, HoldScope::Tag, tag, now).is_some() || has_waiting(node, tag).await? {
            held.insert(tag.clone());
        }
    }
    Ok(held)
}

async fn has_waiting(node: &Node, tag: &str) -> Result<bool> {
    let group = WaitGroup::of_hold(HoldScope::Tag, tag);
    if !node.hints.holds.may_wait(&group) {
        return Ok(false);
    }
    let is_empty = node.store.held_in_group(&group, 1).await?.is_empty();
    if is_empty {
        node.hints.holds.note_empty(&group);
    }
    Ok(!is_empty)
}

/// Lets the runs wait whose tags are on hold, of those that the store has put into their queues at their fire.
pub(super) async fn keep_back_fired(node: &Node, fired: &[Fired], now: Moment) -> Result<()> {
    let ready: Vec<&Run> = fired.iter().filter_map(ready_run).collect();
    if ready.is_empty() {
        return Ok(());
    }
    let tags = held_tags(node, ready.iter().copied(), now).await?;
    let held = ready.into_iter().filter(|run| tags.contains(&run.tag)).cloned().collect();
    store_held(node, held).await
}

fn ready_run(fired: &Fired) -> Option<&Run> {
    match fired {
        Fired::Passed { run, .. } if run.state == RunState::Ready => Some(run),
        _ => None,
    }
}

async fn store_held(node: &Node, mut held: Vec<Run>) -> Result<()> {
    held.retain_mut(|run| run.hold_by(HoldScope::Tag).is_ok());
    held.iter().filter_map(Run::wait_group).for_each(|group| node.hints.holds.note_waiting(group));
    if !held.is_empty() {
        changes::store(node, held).await?;
    }
    Ok(())
}

/// Hands over the runs of a group whose hold has ended, earliest first. Returns the keys for whose slots some of them
/// wait now.
pub(super) async fn release(node: &Node, key: &str, now: Moment) -> Result<BTreeSet<String>> {
    let group = WaitGroup::from_text(key);
    let mut keys = BTreeSet::new();
    loop {
        let holds = node.hints.holds.current(node.clock.steady_ms()).await?;
        if holds.iter().any(|hold| !hold.has_ended(now) && group_of(hold) == group) {
            return Ok(keys);
        }
        let waiting = node.store.held_in_group(&group, BATCH).await?;
        let written = changes::store(node, released(node, &group, &waiting, now).await?).await?;
        let has_more = waiting.len() == BATCH as usize && !written.is_empty();
        let (firing, others): (Vec<Run>, Vec<Run>) =
            written.into_iter().partition(|run| run.state == RunState::Firing);
        publish::publish(node, firing).await;
        let further = others.iter().filter(|run| run.state == RunState::Held).filter_map(Run::asks);
        keys.extend(further.map(|asks| asks.group().first_key()));
        if !has_more {
            return Ok(keys);
        }
    }
}

/// Returns the group of the runs that wait for the end of a hold.
fn group_of(hold: &Hold) -> WaitGroup {
    WaitGroup::of_hold(hold.scope, &hold.name)
}

/// Returns the runs as they are after the hold, in order. The runs of deleted tasks end.
async fn released(node: &Node, group: &WaitGroup, waiting: &[OpenRun], now: Moment) -> Result<Vec<Run>> {
    let ids: Vec<RunId> = waiting.iter().map(|run| run.id.clone()).collect();
    let rows = if ids.is_empty() { Vec::new() } else { node.store.runs(&ids).await?.rows };
    let mut rows: BTreeMap<RunId, Run> = rows.into_iter().map(|run| (run.id.clone(), run)).collect();
    // Another node may have changed a run since it was listed.
    rows.retain(|_, run| run.wait_group().as_ref() == Some(group));
    let mut runs: Vec<Run> = ids.iter().filter_map(|id| rows.remove(id)).collect();
    let deleted = changes::deleted_tasks(node, &runs).await?;
    let lease_until = node.run_lease_until(now);
    runs.retain_mut(|run| {
        if deleted.contains(&run.task_id) {
            run.cancel(OF_ENDED_TASK, now).is_ok()
        } else {
            run.end_hold(&node.name, lease_until).is_ok()
        }
    });
    Ok(runs)
}
