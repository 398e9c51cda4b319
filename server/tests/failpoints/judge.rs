//! What was promised in a story, and whether the ledger and the messages keep it.

use std::collections::{BTreeMap, BTreeSet};

use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId};
use taskcenter_server::ports::Store;

use crate::bus::{Post, Sent};
use crate::stage::runs_of;

/// What a rescue says of a row whose moment never came to be decided.
const UNDECIDED: &str = "its task was deleted or changed before the moment fired";

/// What users, workers and consumers were told.
#[derive(Default)]
pub struct Book {
    /// Tasks whose submit was acknowledged, and how many moments of theirs must have come to be decided, where that is known.
    tasks: BTreeMap<TaskId, Option<usize>>,
    /// The last acknowledged outcome of each run.
    settled: BTreeMap<RunId, Run>,
    /// How often a claim was given out to a worker.
    handed: BTreeMap<(RunId, u32), u32>,
    /// Messages that a dead node had sent and not written down: how often that happened.
    unmarked: BTreeMap<(RunId, u32), usize>,
    /// Runs that must not be handed over any more, by an acknowledged change.
    stopped: BTreeSet<RunId>,
    /// Whatever else was wrong.
    wrong: Vec<String>,
}

/// What a story came to.
#[derive(Debug, Default)]
pub struct Verdict {
    pub doubled: usize,
    pub wrong: Vec<String>,
}

impl Book {
    /// A submit was acknowledged.
    pub fn submitted(&mut self, task: &TaskId, moments: Option<usize>) {
        self.tasks.insert(task.clone(), moments);
    }

    /// A task may go.
    pub fn forget(&mut self, task: &TaskId) {
        self.tasks.remove(task);
    }

    /// The tasks that were acknowledged.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.tasks.keys().cloned().collect()
    }

    /// An outcome was acknowledged, whatever it was: the row that was answered must stand, or one that came after it.
    pub fn settled(&mut self, run: &Run) {
        let last = self.settled.entry(run.id.clone()).or_insert_with(|| run.clone());
        if last.version < run.version {
            last.clone_from(run);
        }
    }

    /// A run that has ended may have been brought back: how it stood before holds no more.
    pub fn reopened(&mut self, run: &RunId) {
        self.settled.remove(run);
    }

    /// A worker got a run.
    pub fn handed(&mut self, run: &Run) {
        *self.handed.entry((run.id.clone(), run.claim)).or_default() += 1;
    }

    /// A pause, an edit, a cancel or a delete was acknowledged: of what belongs to revisions up to `rev` only the runs that the answer
    /// lists, and those that were handed over before, may be handed over.
    pub fn stopped(&mut self, runs: &[Run], rev: u32, listed: &[RunId]) {
        let not_yet = |run: &&Run| run.rev <= rev && run.fired_at.is_none() && !listed.contains(&run.id);
        self.stopped.extend(runs.iter().filter(not_yet).map(|run| run.id.clone()));
    }

    /// Something is not as it was promised.
    pub fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// A node has died: messages that it had sent are in doubt where their runs still stand as if they had not been.
    pub async fn note_unmarked(&mut self, store: &dyn Store, post: &Post) {
        let sent: Vec<Sent> = post.sent().clone();
        let ids: Vec<RunId> = sent.iter().map(|sent| sent.run.clone()).collect();
        if ids.is_empty() {
            return;
        }
        for run in store.runs(&ids).await.expect("the store answers") {
            let in_doubt = |sent: &&Sent| sent.run == run.id && sent.attempt == run.attempt;
            if run.state == RunState::Firing && sent.iter().any(|sent| in_doubt(&sent)) {
                *self.unmarked.entry((run.id, run.attempt)).or_default() += 1;
            }
        }
    }

    /// Judges the story.
    pub async fn judge(self, store: &dyn Store, post: &Post) -> Verdict {
        let mut verdict = Verdict { doubled: 0, wrong: self.wrong.clone() };
        let sent = std::mem::take(&mut *post.sent());
        let mut runs = BTreeMap::new();
        for (id, moments) in &self.tasks {
            let rows = runs_of(store, id).await;
            match store.task(id).await.expect("the store answers") {
                Some(task) => judge_task(&task, &rows, *moments, &mut verdict.wrong),
                None => verdict.wrong.push(format!("an acknowledged task is lost: {id}")),
            }
            runs.extend(rows.into_iter().map(|run| (run.id.clone(), run)));
        }
        self.judge_runs(&runs, &sent, &mut verdict.wrong);
        self.judge_messages(&runs, &sent, &mut verdict);
        verdict
    }

    fn judge_runs(&self, runs: &BTreeMap<RunId, Run>, sent: &[Sent], wrong: &mut Vec<String>) {
        for (id, settled) in &self.settled {
            if runs.get(id).is_none_or(|run| !follows(run, settled)) {
                wrong.push(format!("an acknowledged outcome is lost: {settled:?} of {:?}", runs.get(id)));
            }
        }
        for (run, times) in self.handed.iter().filter(|(_, times)| **times > 1) {
            wrong.push(format!("a claim was given out {times} times: {run:?}"));
        }
        for id in &self.stopped {
            let fired = runs.get(id).is_some_and(|run| run.fired_at.is_some());
            if fired || sent.iter().any(|sent| sent.run == *id) {
                wrong.push(format!("a fire after an acknowledged change: {:?}", runs.get(id)));
            }
        }
    }

    fn judge_messages(&self, runs: &BTreeMap<RunId, Run>, sent: &[Sent], verdict: &mut Verdict) {
        let mut copies: BTreeMap<(&RunId, u32), usize> = BTreeMap::new();
        for message in sent {
            *copies.entry((&message.run, message.attempt)).or_default() += 1;
            if message.at < message.scheduled_at {
                verdict.wrong.push(format!("early: {message:?}"));
            }
        }
        for ((run, attempt), copies) in copies {
            let in_doubt = self.unmarked.get(&(run.clone(), attempt)).copied().unwrap_or(0);
            verdict.doubled += copies - 1;
            if copies > 1 + in_doubt {
                verdict
                    .wrong
                    .push(format!("doubled without a cause: {run} attempt {attempt}, {copies} copies"));
            }
        }
        for run in runs.values().filter(|run| run.state == RunState::Fired) {
            if !sent.iter().any(|sent| sent.run == run.id && sent.attempt == run.attempt) {
                verdict.wrong.push(format!("lost: never sent, and marked as fired: {run:?}"));
            }
        }
    }
}

/// Whether a row may stand where `settled` was answered: what had ended stays, and a failure or a return goes on from there.
fn follows(run: &Run, settled: &Run) -> bool {
    let has_moved = run.version > settled.version;
    let stands = run.version == settled.version && run.state == settled.state;
    if settled.has_ended() { stands } else { stands || has_moved }
}

fn is_orphan(run: &Run) -> bool {
    run.state == RunState::Cancelled && run.reason.as_deref() == Some(UNDECIDED)
}

/// One row a moment, each with an end and a reason, none left out, and counted.
fn judge_task(task: &Task, rows: &[Run], moments: Option<usize>, wrong: &mut Vec<String>) {
    let mut of_moments: BTreeMap<(u32, Moment), usize> = BTreeMap::new();
    for run in rows {
        if !run.triggered {
            *of_moments.entry((run.rev, run.scheduled_at)).or_default() += 1;
        }
        if !run.has_ended() {
            wrong.push(format!("a run does not come to its end: {run:?}"));
        }
        let asks = matches!(run.state, RunState::Dead | RunState::Skipped | RunState::Cancelled);
        if asks && run.reason.is_none() {
            wrong.push(format!("an end without its reason: {run:?}"));
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
