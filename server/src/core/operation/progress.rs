//! Progress of an operation: batches, counts, rate and end.

use serde::{Deserialize, Serialize};

use super::{Canary, CanaryState, Failure, Item, MAX_FAILURES, Operation, OperationState};
use crate::core::{Moment, RunId, TaskId};

/// Maximum number of items in a batch.
const MAX_BATCH: u32 = 100;
/// Number of batches in a second of an operation with a rate. A batch is the unit of a checkpoint.
const BATCHES_PER_SEC: u32 = 4;

/// Where the selection continues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of ids that have been taken, or of states that have been listed.
    pub passed: usize,
    /// Last task of the listing of the current state.
    pub before_task: Option<TaskId>,
    /// Last run of the listing of the current state.
    pub before_run: Option<(Moment, RunId)>,
    /// Last moment of a backfill that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Moment>,
}

impl Place {
    /// Returns the start of the listing of the next state.
    #[must_use]
    pub fn next_state(&self) -> Self {
        Self { passed: self.passed + 1, ..Self::default() }
    }
}

/// The next items of the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Place from which the selection was read.
    pub from: Place,
    pub items: Vec<Item>,
    /// Place after the items. `None`: the selection has ended.
    pub next: Option<Place>,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The item is as the operation wants it.
    Done,
    /// The item's state does not allow the action any more.
    Skipped,
    /// The item was not changed, with the error.
    Failed(String),
}

impl Operation {
    /// Returns the number of items for the next batch.
    pub fn batch_size(&self) -> u32 {
        let size = self.rate_per_sec.map_or(MAX_BATCH, |rate| (rate / BATCHES_PER_SEC).clamp(1, MAX_BATCH));
        self.open_canary().map_or(size, |canary| size.min(canary.missing()))
    }

    /// Returns the canary if it is not decided.
    pub fn open_canary(&self) -> Option<&Canary> {
        self.canary.as_ref().filter(|canary| canary.is_open())
    }

    /// Returns whether the operation must wait for the outcomes of its canary.
    pub fn waits_for_canary(&self) -> bool {
        self.is_running() && self.batch.is_empty() && self.open_canary().is_some_and(Canary::waits)
    }

    /// Replaces the canary by a judged one, if it is still the one that was judged. Holds the operation if the canary
    /// has failed.
    pub fn judge(&mut self, seen: &Canary, judged: &Canary) {
        if !self.waits_for_canary() || self.canary.as_ref() != Some(seen) {
            return;
        }
        if judged.state == CanaryState::Failed {
            self.state = OperationState::Held;
            self.message = Some(judged.verdict());
        }
        self.canary = Some(judged.clone());
    }

    /// Continues a held operation with the items after the canary.
    pub fn resume(&mut self, now: Moment) {
        let Some(canary) = self.canary.as_mut().filter(|_| self.state == OperationState::Held) else {
            return;
        };
        canary.state = CanaryState::Overruled;
        self.state = OperationState::Running;
        self.message = None;
        self.next_at = now;
    }

    /// Counts results, and removes their items from the batch. A result whose item is not in the batch was
    /// counted before, perhaps by another node.
    pub fn settle(&mut self, results: &[(String, Verdict)], now: Moment) {
        let mut settled: u64 = 0;
        for (id, verdict) in results {
            let Some(at) = self.batch.iter().position(|item| item.id == *id) else { continue };
            self.batch.swap_remove(at);
            settled += 1;
            match verdict {
                Verdict::Done => self.done += 1,
                Verdict::Skipped => self.skipped += 1,
                Verdict::Failed(error) => self.add_failure(id, error),
            }
        }
        if let Some(rate) = self.rate_per_sec {
            let pause_ms = (settled * 1_000).div_ceil(u64::from(rate.max(1)));
            self.next_at = self.next_at.max(now).plus_ms(pause_ms as i64);
        }
    }

    fn add_failure(&mut self, id: &str, error: &str) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(Failure::new(id, error));
        }
    }

    /// Takes the next items, if the operation is still where they were read. Completes the operation if the
    /// selection has ended.
    pub fn take(&mut self, plan: &Plan, now: Moment) {
        if !self.is_running() || !self.batch.is_empty() || self.place != plan.from {
            return;
        }
        self.matched += plan.items.len() as u64;
        self.batch.clone_from(&plan.items);
        let canary = self.canary.as_mut().filter(|canary| canary.is_open());
        match (&plan.next, canary) {
            (Some(next), canary) => {
                self.place = next.clone();
                canary.into_iter().for_each(|canary| canary.runs.extend_from_slice(&plan.items));
            }
            (None, Some(canary)) => canary.has_all = true,
            // The last items are in a batch before this plan.
            (None, None) => self.end(OperationState::Completed, None, now),
        }
    }

    /// Ends the operation, unless it has ended.
    pub fn end(&mut self, state: OperationState, message: Option<String>, now: Moment) {
        if !self.has_ended() {
            self.state = state;
            self.message = message;
            self.ended_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::access::Grant;
    use crate::core::operation::{Action, Count, Creator, NewOperation, Selection};

    const NOW: Moment = Moment::from_sec(1_000);

    fn operation(rate_per_sec: Option<u32>) -> Operation {
        let selection = Selection::Tasks { name: None, state: None, labels: BTreeMap::new() };
        let new = NewOperation { rate_per_sec, ..NewOperation::new(Action::Pause, selection) };
        let (id, name, request_id) = ("c".to_owned(), String::new(), String::new());
        let creator = Creator { id, name, request_id, grant: Grant::everything() };
        Operation::new("0".repeat(32), new, Count::default(), creator, NOW)
    }

    fn items(ids: &[&str]) -> Vec<Item> {
        ids.iter().map(|id| Item { id: (*id).to_owned(), version: None }).collect()
    }

    fn results(ids: &[&str], verdict: &Verdict) -> Vec<(String, Verdict)> {
        ids.iter().map(|id| ((*id).to_owned(), verdict.clone())).collect()
    }

    #[test]
    fn a_result_counts_once() {
        let mut operation = Operation { batch: items(&["a", "b"]), ..operation(None) };
        operation.settle(&results(&["a"], &Verdict::Done), NOW);
        operation.settle(&results(&["a", "b", "c"], &Verdict::Done), NOW);
        assert_eq!((operation.done, operation.batch.len(), operation.next_at), (2, 0, NOW));
    }

    #[test]
    fn a_plan_is_taken_once_and_only_where_it_was_read() {
        let mut operation = operation(None);
        let second = Place { passed: 2, ..Place::default() };
        let plan = Plan { from: Place::default(), items: items(&["a", "b"]), next: Some(second.clone()) };
        operation.take(&plan, NOW);
        operation.take(&plan, NOW);
        assert_eq!((operation.matched, operation.batch.len()), (2, 2));
        operation.settle(&results(&["a", "b"], &Verdict::Done), NOW);
        operation.take(&plan, NOW);
        assert_eq!((operation.matched, &operation.place), (2, &second), "the plan is old");
        operation.take(&Plan { from: second, items: Vec::new(), next: None }, NOW);
        assert_eq!((operation.state, operation.ended_at), (OperationState::Completed, Some(NOW)));
    }

    #[test]
    fn an_ended_operation_counts_results_and_takes_nothing() {
        let mut operation = Operation { batch: items(&["a"]), ..operation(None) };
        operation.end(OperationState::Aborted, None, NOW);
        operation.settle(&results(&["a"], &Verdict::Skipped), NOW);
        operation.take(&Plan { from: Place::default(), items: items(&["b"]), next: None }, NOW);
        operation.end(OperationState::Completed, None, NOW);
        assert_eq!((operation.skipped, operation.matched), (1, 0));
        assert_eq!(operation.state, OperationState::Aborted);
    }

    #[test]
    fn a_rate_sets_the_size_and_the_pause_of_batches() {
        let size = |rate| operation(rate).batch_size();
        assert_eq!([None, Some(1), Some(3), Some(40), Some(1_000)].map(size), [100, 1, 1, 10, 100]);
        let mut operation = Operation { batch: items(&["a", "b"]), ..operation(Some(3)) };
        operation.settle(&results(&["a", "b"], &Verdict::Done), NOW.plus_ms(5_000));
        assert_eq!(operation.next_at, NOW.plus_ms(5_667), "rounded up, from the time of the batch");
    }

    #[test]
    fn a_canary_holds_the_items_after_it() {
        let canary = |size| Some(Canary::new(size));
        let mut operation = Operation { canary: canary(2), ..operation(None) };
        assert_eq!(operation.batch_size(), 2);
        let place = |passed| Place { passed, ..Place::default() };
        let plan = Plan { from: place(0), items: items(&["a"]), next: Some(place(1)) };
        operation.take(&plan, NOW);
        assert_eq!((operation.batch_size(), operation.waits_for_canary()), (1, false));
        operation.settle(&results(&["a"], &Verdict::Done), NOW);
        operation.take(&Plan { from: place(1), items: Vec::new(), next: None }, NOW);
        assert!(operation.waits_for_canary(), "the selection has no other run");
        let seen = operation.canary.clone().unwrap();
        let failed = Canary { state: CanaryState::Failed, ..seen.clone() };
        operation.judge(&Canary { size: 9, ..seen.clone() }, &failed);
        assert!(operation.waits_for_canary(), "another canary was judged");
        operation.judge(&seen, &failed);
        assert!(operation.is_held() && !operation.has_ended() && operation.message.is_some());
        operation.take(&Plan { from: place(1), items: items(&["b"]), next: Some(place(2)) }, NOW);
        assert_eq!(operation.matched, 1, "a held operation takes nothing");
        operation.resume(NOW);
        operation.resume(NOW);
        assert_eq!((operation.state, &operation.message), (OperationState::Running, &None));
        operation.take(&Plan { from: place(1), items: Vec::new(), next: None }, NOW);
        assert_eq!(operation.state, OperationState::Completed);
    }

    #[test]
    fn failures_are_bounded() {
        let ids: Vec<String> = (0..MAX_FAILURES + 5).map(|n| n.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut operation = Operation { batch: items(&ids), ..operation(None) };
        let long = Verdict::Failed("é".repeat(Failure::MAX_ERROR_BYTES));
        operation.settle(&results(&ids, &long), NOW);
        assert_eq!((operation.failed, operation.failures.len()), (MAX_FAILURES as u64 + 5, MAX_FAILURES));
        assert!(operation.failures.iter().all(|failure| failure.error.len() <= Failure::MAX_ERROR_BYTES));
    }
}
