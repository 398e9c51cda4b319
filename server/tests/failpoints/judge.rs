//! Records the promises of a story, and checks the ledger and the messages against them.

use std::collections::{BTreeMap, BTreeSet};

use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId};
use taskcenter_server::ports::Store;

use crate::bus::{RecordingBus, Sent};
use crate::logs;
use crate::stage::runs_of;

/// Reason that a rescue writes into a run whose moment was never decided.
const UNDECIDED: &str = "its task was deleted or changed before the moment fired";

/// Answers to users, workers and consumers.
#[derive(Default)]
pub struct Book {
    /// Acknowledged tasks, with the number of moments that must fire, if it is known.
    tasks: BTreeMap<TaskId, Option<usize>>,
    /// The last acknowledged outcome of each run.
    settled: BTreeMap<RunId, Run>,
    /// Number of times that each claim was leased to a worker.
    leased: BTreeMap<(RunId, u32), u32>,
    /// Number of deaths between the send of a message and its record.
    unmarked: BTreeMap<(RunId, u32), usize>,
    /// Runs that an acknowledged change has stopped: they must not be handed over.
    stopped: BTreeSet<RunId>,
    /// Runs that a user has cancelled.
    cancelled: Vec<RunId>,
    /// Acknowledged lines.
    logged: Vec<(RunId, String)>,
    /// Violations that were found during the story.
    violations: Vec<String>,
}

/// Result of a story.
#[derive(Debug, Default)]
pub struct Verdict {
    pub doubled: usize,
    pub wrong: Vec<String>,
}

impl Book {
    /// Records an acknowledged submit.
    pub fn submitted(&mut self, task: &TaskId, moments: Option<usize>) {
        self.tasks.insert(task.clone(), moments);
    }

    /// Allows a task to disappear.
    pub fn forget(&mut self, task: &TaskId) {
        self.tasks.remove(task);
    }

    /// Returns the acknowledged tasks.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.tasks.keys().cloned().collect()
    }

    /// Records an acknowledged outcome. The ledger must keep the answered row, or a later version
    /// of it.
    pub fn settled(&mut self, run: &Run) {
        let last = self.settled.entry(run.id.clone()).or_insert_with(|| run.clone());
        if last.version < run.version {
            last.clone_from(run);
        }
    }

    /// Records that an ended run may be open again.
    pub fn reopened(&mut self, run: &RunId) {
        self.settled.remove(run);
    }

    /// Records that a user has cancelled a run. The run must end as cancelled.
    pub fn cancelled(&mut self, run: RunId) {
        self.cancelled.push(run);
    }

    /// Records the lease of a run.
    pub fn leased(&mut self, run: &Run) {
        *self.leased.entry((run.id.clone(), run.claim)).or_default() += 1;
    }

    /// Records an acknowledged pause, edit, cancel or delete. Of the runs of revisions up to `rev`,
    /// only listed runs and runs that were handed over before may be handed over.
    pub fn stopped(&mut self, runs: &[Run], rev: u32, listed: &[RunId]) {
        let not_yet = |run: &&Run| run.rev <= rev && run.fired_at.is_none() && !listed.contains(&run.id);
        self.stopped.extend(runs.iter().filter(not_yet).map(|run| run.id.clone()));
    }

    /// Records an acknowledged line. The log of the run must have the line once.
    pub fn logged(&mut self, run: &RunId, text: String) {
        self.logged.push((run.clone(), text));
    }

    /// Records a violation.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Records the messages in doubt after the death of a node: sent, but their runs are still
    /// `firing`.
    pub async fn note_unmarked(&mut self, store: &dyn Store, broker: &RecordingBus) {
        let sent: Vec<Sent> = broker.sent().clone();
        let ids: Vec<RunId> = sent.iter().map(|sent| sent.run.clone()).collect();
        if ids.is_empty() {
            return;
        }
        for run in store.runs(&ids).await.expect("the store answers").rows {
            let in_doubt = |sent: &&Sent| sent.run == run.id && sent.attempt == run.attempt;
            if run.state == RunState::Firing && sent.iter().any(|sent| in_doubt(&sent)) {
                *self.unmarked.entry((run.id, run.attempt)).or_default() += 1;
            }
        }
    }

    /// Checks the story.
    pub async fn check(self, store: &dyn Store, broker: &RecordingBus) -> Verdict {
        let mut verdict = Verdict { doubled: 0, wrong: self.violations.clone() };
        let sent = std::mem::take(&mut *broker.sent());
        let mut runs = BTreeMap::new();
        for (id, moments) in &self.tasks {
            let rows = runs_of(store, id).await;
            match store.task(id).await.expect("the store answers") {
                Some(task) => check_task(&task, &rows, *moments, &mut verdict.wrong),
                None => verdict.wrong.push(format!("an acknowledged task is lost: {id}")),
            }
            runs.extend(rows.into_iter().map(|run| (run.id.clone(), run)));
        }
        for (id, text) in &self.logged {
            let times = logs::texts(store, id).await.iter().filter(|stored| *stored == text).count();
            if times != 1 && runs.contains_key(id) {
                verdict.wrong.push(format!("an acknowledged line of {id} is stored {times} times"));
            }
        }
        check_slots(store, &runs, &mut verdict.wrong).await;
        self.check_runs(&runs, &sent, &mut verdict.wrong);
        self.check_messages(&runs, &sent, &mut verdict);
        verdict
    }

    fn check_runs(&self, runs: &BTreeMap<RunId, Run>, sent: &[Sent], wrong: &mut Vec<String>) {
        for (id, settled) in &self.settled {
            if runs.get(id).is_none_or(|run| !follows(run, settled)) {
                wrong.push(format!("an acknowledged outcome is lost: {settled:?} of {:?}", runs.get(id)));
            }
        }
        let is_cancelled = |id: &RunId| runs.get(id).is_some_and(|run| run.state == RunState::Cancelled);
        wrong.extend(
            self.cancelled
                .iter()
                .filter(|id| !is_cancelled(id))
                .map(|id| format!("a cancelled run has another end: {:?}", runs.get(id))),
        );
        for (run, times) in self.leased.iter().filter(|(_, times)| **times > 1) {
            wrong.push(format!("a claim was leased {times} times: {run:?}"));
        }
        for id in &self.stopped {
            let fired = runs.get(id).is_some_and(|run| run.fired_at.is_some());
            if fired || sent.iter().any(|sent| sent.run == *id) {
                wrong.push(format!("a fire after an acknowledged change: {:?}", runs.get(id)));
            }
        }
    }

    fn check_messages(&self, runs: &BTreeMap<RunId, Run>, sent: &[Sent], verdict: &mut Verdict) {
        let mut copies: BTreeMap<(&RunId, u32), usize> = BTreeMap::new();
        for message in sent {
            *copies.entry((&message.run, message.attempt)).or_default() += 1;
            if message.at < message.scheduled_at {
                verdict.wrong.push(format!("an early message: {message:?}"));
            }
        }
        for ((run, attempt), copies) in copies {
            let in_doubt = self.unmarked.get(&(run.clone(), attempt)).copied().unwrap_or(0);
            verdict.doubled += copies - 1;
            if copies > 1 + in_doubt {
                verdict
                    .wrong
                    .push(format!("duplicates without a cause: {run} attempt {attempt}, {copies} copies"));
            }
        }
        for run in runs.values().filter(|run| run.state == RunState::Fired) {
            if !sent.iter().any(|sent| sent.run == run.id && sent.attempt == run.attempt) {
                verdict.wrong.push(format!("a fired run without a message: {run:?}"));
            }
        }
    }
}

/// Checks that the slots in use are those of the runs that have not ended.
async fn check_slots(store: &dyn Store, runs: &BTreeMap<RunId, Run>, wrong: &mut Vec<String>) {
    let keys: BTreeSet<String> = runs.values().flat_map(Run::slot_keys).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    for (slot, id) in store.slots_in_use(&keys).await.expect("the store answers") {
        if !runs.get(&id).is_some_and(|run| run.slots.contains(&slot) && !run.has_ended()) {
            wrong.push(format!("a slot of an ended run: {slot} {:?}", runs.get(&id)));
        }
    }
}

/// Returns whether a row may follow the answer `settled`. An ended run does not change; an open run
/// may change further.
fn follows(run: &Run, settled: &Run) -> bool {
    let has_moved = run.version > settled.version;
    let is_same = run.version == settled.version && run.state == settled.state;
    if settled.has_ended() { is_same } else { is_same || has_moved }
}

fn is_orphan(run: &Run) -> bool {
    run.state == RunState::Cancelled && run.reason.as_deref() == Some(UNDECIDED)
}

/// Checks the runs of a task: one per moment, ended with a reason, without a gap, and counted.
fn check_task(task: &Task, rows: &[Run], moments: Option<usize>, wrong: &mut Vec<String>) {
    let mut of_moments: BTreeMap<(u32, Moment), usize> = BTreeMap::new();
    for run in rows {
        if !run.triggered {
            *of_moments.entry((run.rev, run.scheduled_at)).or_default() += 1;
        }
        if !run.has_ended() {
            wrong.push(format!("a run did not end: {run:?}"));
        }
        let needs_reason = matches!(run.state, RunState::Dead | RunState::Skipped | RunState::Cancelled);
        if needs_reason && run.reason.is_none() {
            wrong.push(format!("an ended run without its reason: {run:?}"));
        }
    }
    if of_moments.values().any(|rows| *rows != 1) {
        wrong.push(format!("a moment has two rows: {of_moments:?}"));
    }
    let mut decided: Vec<&Run> = rows.iter().filter(|run| !run.triggered && !is_orphan(run)).collect();
    decided.sort_by_key(|run| run.scheduled_at);
    let fires = decided.iter().filter(|run| run.stretch.is_none()).count();
    if task.fired_count != fires as u64 || moments.is_some_and(|moments| fires != moments) {
        wrong.push(format!("{fires} fires, expected {moments:?}, in {task:?}"));
    }
    for pair in decided.windows(2).filter(|pair| pair[1].scheduled_at >= task.anchored_at) {
        let next = task.schedule.after(pair[0].decides_up_to());
        if pair[0].scheduled_at >= task.anchored_at && next != Some(pair[1].scheduled_at) {
            wrong.push(format!("a moment between {:?} and {:?} has no row", pair[0], pair[1]));
        }
    }
}
