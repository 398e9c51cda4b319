//! Checks of runs that need slots: at most one run of a task with an overlap policy is admitted, no limit is exceeded, a
//! slot belongs to one run that has not ended, and a run that was suppressed names the run that has caused it.

use std::collections::BTreeSet;

use taskcenter_server::core::admission::slot;
use taskcenter_server::core::run::slot_of_task;
use taskcenter_server::core::{Run, RunId, RunState};
use taskcenter_server::ports::Store;

use super::{Book, Checker};

impl Checker {
    /// Checks a write of a run against the other runs that use its slots.
    pub(super) fn admission_changed(&self, book: &mut Book, before: &Run, after: &Run) {
        if !after.is_gated() {
            return;
        }
        let is_handed_over = matches!(after.state, RunState::Ready | RunState::Leased | RunState::Fired);
        let has_slots = !after.slots.is_empty();
        let is_new = before.slots != after.slots;
        for (rule, broken) in [
            ("a run was handed over without its slot", is_handed_over && after.needs_admission()),
            ("an ended run has a slot", after.has_ended() && has_slots),
            ("a slot of a limit is kept by a run that waits", keeps_a_limit(after)),
            ("two admitted runs of a task", is_new && has_admitted(book, after)),
            ("a limit is exceeded", is_new && exceeds_a_limit(book, after)),
            (
                "a run was suppressed without a cause",
                after.blocked_by.as_ref().is_some_and(|by| !is_run_of_task(book, by, after)),
            ),
        ] {
            if broken {
                self.violation(book, rule, format!("{before:?} to {after:?}"));
            }
        }
        if before.state == RunState::Held && matches!(after.state, RunState::Firing | RunState::Held) {
            // The other runs that wait have a turn after this one.
            let (now, keys) = (self.now(), keys_of(after));
            let waits = |run: &Run| keys_of(run).iter().any(|key| keys.contains(key));
            let others = book.runs.values_mut().filter(|story| waits(&story.run));
            others.for_each(|story| story.begun = now);
        }
    }

    /// Checks at the end that the slots in use are those of the runs that have not ended, and that the waiting runs
    /// are those in `held`.
    pub(super) async fn check_slots(&self, store: &dyn Store, runs: &[Run]) -> Vec<(&'static str, String)> {
        let keys: BTreeSet<String> = runs.iter().flat_map(Run::slot_keys).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let used: BTreeSet<_> = store.slots_in_use(&keys).await.unwrap_or_default().into_iter().collect();
        let of_run =
            |run: &Run| run.slots.iter().map(|slot| (slot.clone(), run.id.clone())).collect::<Vec<_>>();
        let owned: BTreeSet<_> = runs.iter().filter(|run| !run.has_ended()).flat_map(of_run).collect();
        let groups = store.held_groups(None, "", u32::MAX).await.unwrap_or_default();
        let waiting: BTreeSet<_> = runs.iter().filter_map(Run::wait_group).collect();
        let mut found = Vec::new();
        if used != owned {
            found.push(("the slots in use are not those of open runs", format!("{used:?} and {owned:?}")));
        }
        if !groups.iter().eq(&waiting) {
            found.push(("the groups are not those of waiting runs", format!("{groups:?} and {waiting:?}")));
        }
        found
    }
}

/// Returns the keys of the slots and of the permits that the run needs.
fn keys_of(run: &Run) -> Vec<String> {
    run.slot_keys().into_iter().chain(run.rate_limit().map(|limit| limit.key)).collect()
}

fn has_admitted(book: &Book, run: &Run) -> bool {
    let slot = slot_of_task(&run.task_id);
    let has_slot = |run: &Run| run.overlap.is_some() && run.slots.iter().any(|own| own.starts_with(&slot));
    let is_admitted = |other: &Run| {
        other.id != run.id && other.task_id == run.task_id && has_slot(other) && !other.has_ended()
    };
    has_slot(run) && book.runs.values().any(|story| is_admitted(&story.run))
}

fn keeps_a_limit(run: &Run) -> bool {
    let waits = matches!(run.state, RunState::Held | RunState::Retrying);
    waits && run.slots.iter().any(|slot| slot.starts_with("limit:"))
}

/// Returns whether a number is not below the maximum of the run, or more runs have slots of a key than the largest
/// maximum among these runs.
fn exceeds_a_limit(book: &Book, run: &Run) -> bool {
    run.limits().into_iter().any(|limit| {
        let has_slot = |run: &Run| {
            run.slots.iter().any(|slot| slot.rsplit_once('#').is_some_and(|(key, _)| key == limit.key))
        };
        let others = book.runs.values().map(|story| &story.run);
        let others = others.filter(|other| other.id != run.id && !other.has_ended() && has_slot(other));
        let max_of = |run: &Run| run.limits().into_iter().find(|of| of.key == limit.key).map(|of| of.max);
        let (count, max) = others
            .fold((1, limit.max), |(count, max), other| (count + 1, max.max(max_of(other).unwrap_or(0))));
        let own = (0..limit.max).any(|number| run.slots.contains(&slot(&limit.key, number)));
        has_slot(run) && (count > max || !own)
    })
}

fn is_run_of_task(book: &Book, id: &RunId, run: &Run) -> bool {
    book.runs.get(id).is_some_and(|story| story.run.task_id == run.task_id)
}

/// Returns whether the run ends because of another run.
pub(super) fn is_suppressed(before: &Run, after: &Run) -> bool {
    before.blocked_by.is_none() && after.blocked_by.is_some() && after.state == RunState::Skipped
}
