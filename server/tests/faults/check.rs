//! The checker: a pure function from evidence to findings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::evidence::{Action, Answer, Change, Created, Delivery, Evidence, ExpectedTask, RunRow, TaskRow};
use crate::verdict::{Figures, Kind, Verdict};
use crate::{bus, nominal, transitions};

/// Maximum lateness of a moment without a fault, in milliseconds.
pub const QUIET_MS: i64 = 5_000;
/// Maximum time from the end of the last fault to the delivery of a moment, in milliseconds.
pub const HEALED_MS: i64 = 30_000;

/// Checks the evidence of one scenario.
pub fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let case = Case::new(evidence);
    case.figures(&mut verdict);
    case.creations(&mut verdict);
    case.moments(&mut verdict);
    case.ends(&mut verdict);
    case.changes(&mut verdict);
    case.handed_over(&mut verdict);
    case.effects(&mut verdict);
    case.timing(&mut verdict);
    case.claims(&mut verdict);
    bus::check(evidence, &mut verdict);
    transitions::check(evidence, &mut verdict);
    if let Some(what) = &evidence.unsettled {
        verdict.add(Kind::Unfinished, what.clone());
    }
    verdict
}

/// Evidence with indexes.
struct Case<'a> {
    evidence: &'a Evidence,
    /// By task id.
    expected: HashMap<&'a str, &'a ExpectedTask>,
    runs: HashMap<&'a str, Vec<&'a RunRow>>,
    changes: HashMap<&'a str, Vec<&'a Change>>,
    /// First delivery of each run.
    first: HashMap<&'a str, &'a Delivery>,
    effects: HashSet<&'a str>,
}

/// Returns the key in the data of a task: the part before `#`.
fn key(data: &str) -> &str {
    data.split_once('#').map_or(data, |(key, _)| key)
}

impl<'a> Case<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let by_key: HashMap<&str, &ExpectedTask> = evidence
            .created
            .iter()
            .map(|created| (created.expected.key.as_str(), &created.expected))
            .collect();
        let known = |task: &'a TaskRow| Some((task.id.as_str(), *by_key.get(key(&task.data))?));
        let mut runs: HashMap<&str, Vec<&RunRow>> = HashMap::new();
        for run in &evidence.runs {
            runs.entry(&run.task_id).or_default().push(run);
        }
        let mut changes: HashMap<&str, Vec<&Change>> = HashMap::new();
        for change in &evidence.changes {
            changes.entry(&change.task_id).or_default().push(change);
        }
        let mut first: HashMap<&str, &Delivery> = HashMap::new();
        for delivery in &evidence.deliveries {
            let earliest = first.entry(&delivery.run_id).or_insert(delivery);
            if delivery.arrived_at < earliest.arrived_at {
                *earliest = delivery;
            }
        }
        Self {
            expected: evidence.tasks.iter().filter_map(known).collect(),
            effects: evidence.effects.iter().map(|effect| effect.run_id.as_str()).collect(),
            evidence,
            runs,
            changes,
            first,
        }
    }

    fn figures(&self, verdict: &mut Verdict) {
        let Evidence { created, changes, tasks, runs, steps, deliveries, effects, faults, .. } =
            self.evidence;
        let created_ok = created.iter().filter(|call| matches!(call.answer, Answer::Acknowledged(_))).count();
        let changed_ok = changes.iter().filter(|call| matches!(call.answer, Answer::Acknowledged(_))).count();
        let unknown = created.iter().filter(|call| call.answer == Answer::Unknown).count()
            + changes.iter().filter(|call| call.answer == Answer::Unknown).count();
        verdict.figures = Figures {
            faults: faults.clone(),
            calls_acknowledged: created_ok + changed_ok,
            calls_unknown: unknown,
            tasks: tasks.len(),
            runs: runs.len(),
            deliveries: deliveries.len(),
            effects: effects.len(),
            steps: steps.len(),
            ..Figures::default()
        };
    }

    /// An acknowledged task is stored once; any other task at most once.
    fn creations(&self, verdict: &mut Verdict) {
        let mut stored: HashMap<&str, Vec<&TaskRow>> = HashMap::new();
        for task in &self.evidence.tasks {
            stored.entry(key(&task.data)).or_default().push(task);
        }
        for Created { expected, answer, .. } in &self.evidence.created {
            let tasks = stored.get(expected.key.as_str()).map_or(&[][..], Vec::as_slice);
            if tasks.len() > 1 {
                verdict
                    .add(Kind::DoubledEffect, format!("{} tasks for one call {}", tasks.len(), expected.key));
            }
            match answer {
                Answer::Acknowledged(id) if !tasks.iter().any(|task| task.id == *id) => {
                    verdict
                        .add(Kind::Lost, format!("acknowledged task {id} ({}) is not stored", expected.key));
                }
                Answer::Refused(status) if !tasks.is_empty() => {
                    verdict.add(Kind::Surplus, format!("refused task {} ({status}) is stored", expected.key));
                }
                _ => {}
            }
        }
    }

    fn did(&self, task: &str, actions: &[Action]) -> bool {
        self.changes.get(task).is_some_and(|all| all.iter().any(|change| actions.contains(&change.action)))
    }

    /// Each nominal moment has one run or is in one skipped stretch, and each run has a moment.
    fn moments(&self, verdict: &mut Verdict) {
        for task in &self.evidence.tasks {
            let Some(expected) = self.expected.get(task.id.as_str()) else {
                verdict.add(Kind::Surplus, format!("no call created task {}", task.id));
                continue;
            };
            self.moments_of(task, expected, verdict);
        }
    }

    fn moments_of(&self, task: &TaskRow, expected: &ExpectedTask, verdict: &mut Verdict) {
        let ended_at = self.ended_at(task);
        // An endless grid needs a limit: nothing may fire after the answer to the call that ended
        // the task.
        let limit =
            ended_at.map_or(i64::MAX, |(_, answered_at)| answered_at.max(task.last_due_at.unwrap_or(0)));
        let grid = nominal::moments(expected, task.anchored_at, limit);
        let mut covers: BTreeMap<i64, usize> = grid.iter().map(|at| (*at, 0)).collect();
        for run in self.runs.get(task.id.as_str()).into_iter().flatten().filter(|run| !run.triggered) {
            self.cover(run, task, &mut covers, verdict);
        }
        for (at, count) in covers {
            let is_owed = self.is_owed(task, at, ended_at);
            verdict.figures.moments += usize::from(is_owed);
            match count {
                0 if !is_owed => {}
                0 => verdict
                    .add(Kind::Missing, format!("task {} ({}) has no run for {at}", task.id, expected.key)),
                1 => {}
                _ => verdict.add(
                    Kind::Surplus,
                    format!("task {} ({}) has {count} runs for {at}", task.id, expected.key),
                ),
            }
        }
    }

    /// Returns the first call and the last answer of the deletes and cancels of a cancelled task.
    fn ended_at(&self, task: &TaskRow) -> Option<(i64, i64)> {
        let ends = |change: &&&Change| matches!(change.action, Action::Delete | Action::Cancel);
        let of_task = self.changes.get(task.id.as_str()).into_iter().flatten();
        let ends: Vec<&&Change> = of_task.filter(ends).filter(|_| task.state == "cancelled").collect();
        let sent_at = ends.iter().map(|change| change.sent_at).min()?;
        Some((sent_at, ends.iter().map(|change| change.answered_at).max()?))
    }

    /// Returns whether a moment must have a run. Moments in the last seconds before the end of a
    /// cancelled task may lack one, unless the task row says that they have passed.
    fn is_owed(&self, task: &TaskRow, at: i64, ended_at: Option<(i64, i64)>) -> bool {
        let Some((sent_at, _)) = ended_at else { return true };
        self.deadline(at) <= sent_at || task.last_due_at.is_some_and(|passed| at <= passed)
    }

    fn cover(&self, run: &RunRow, task: &TaskRow, covers: &mut BTreeMap<i64, usize>, verdict: &mut Verdict) {
        let unfired = run.state == "cancelled" && run.fired_at.is_none();
        if let Some((to, count)) = run.stretch {
            let held = self.did(&run.task_id, &[Action::Pause]);
            if !held && !self.evidence.may_skip {
                verdict.add(
                    Kind::Missing,
                    format!("run {} skips {count} moments within the grace period", run.id),
                );
            }
            let covered: Vec<i64> = covers.range(run.scheduled_at..=to).map(|(at, _)| *at).collect();
            if covered.len() as i64 != count {
                verdict.add(
                    Kind::Surplus,
                    format!("run {} counts {count} moments and covers {}", run.id, covered.len()),
                );
            }
            for at in covered {
                *covers.entry(at).or_default() += 1;
            }
            return;
        }
        match covers.get_mut(&run.scheduled_at) {
            // The moment belongs to another revision, or the task was changed before its fire.
            _ if unfired && run.rev < task.rev => {}
            Some(count) => *count += 1,
            None if unfired => {}
            None => verdict.add(Kind::Surplus, format!("run {} is not at a moment of its task", run.id)),
        }
    }

    /// Every task and every run is in the expected terminal state.
    fn ends(&self, verdict: &mut Verdict) {
        for task in &self.evidence.tasks {
            let gone = self.did(&task.id, &[Action::Delete, Action::Cancel]);
            if task.state != "finished" && !(gone && task.state == "cancelled") {
                verdict.add(Kind::Unfinished, format!("task {} is {}", task.id, task.state));
            }
        }
        for run in &self.evidence.runs {
            self.end_of(run, verdict);
        }
    }

    fn end_of(&self, run: &RunRow, verdict: &mut Verdict) {
        if run.open {
            let RunRow { id, state, reason, .. } = run;
            return verdict.add(Kind::Unfinished, format!("run {id} is {state} ({reason:?})"));
        }
        let gone = self.did(&run.task_id, &[Action::Delete, Action::Cancel]);
        let changed = self.did(&run.task_id, &[Action::Pause, Action::Edit]) && run.fired_at.is_none();
        let bare = if run.queue.is_some() || run.waits_for_outcome { "succeeded" } else { "fired" };
        let expected =
            self.expected.get(run.task_id.as_str()).and_then(|expected| expected.end_state).unwrap_or(bare);
        let fits = run.state == expected
            || (run.state == "skipped" && run.stretch.is_some())
            || (run.state == "cancelled" && (gone || changed));
        if !fits {
            let RunRow { id, state, reason, .. } = run;
            verdict.add(Kind::WrongEnd, format!("run {id} is {state} ({reason:?}); expected {expected}"));
        }
        if run.reason.is_none() && matches!(run.state.as_str(), "dead" | "skipped" | "cancelled") {
            verdict.add(Kind::WrongEnd, format!("run {} is {} without a reason", run.id, run.state));
        }
    }

    /// After an acknowledged change the old definition does not fire, except for runs in the
    /// answer.
    fn changes(&self, verdict: &mut Verdict) {
        for change in &self.evidence.changes {
            let Answer::Acknowledged(done) = &change.answer else { continue };
            if change.action == Action::Trigger {
                self.triggered(done.open_runs.first(), verdict);
                continue;
            }
            let gone = matches!(change.action, Action::Delete | Action::Cancel);
            for run in self.runs.get(change.task_id.as_str()).into_iter().flatten() {
                let old = gone || run.rev < done.rev;
                let fired_after = run.fired_at.is_some_and(|at| at > change.answered_at);
                if old && fired_after && !done.open_runs.contains(&run.id) {
                    verdict.add(
                        Kind::Stale,
                        format!("run {} fired after the acknowledged {:?}", run.id, change.action),
                    );
                }
            }
        }
    }

    fn triggered(&self, run: Option<&String>, verdict: &mut Verdict) {
        let stored = run.is_some_and(|id| self.evidence.runs.iter().any(|row| row.id == *id));
        if !stored {
            verdict.add(Kind::Lost, format!("run {run:?} of an acknowledged trigger is not stored"));
        }
    }

    /// Each run that is handed over in the store was delivered, and each acknowledged outcome is
    /// stored.
    fn handed_over(&self, verdict: &mut Verdict) {
        for run in &self.evidence.runs {
            let arrived = self.first.contains_key(run.id.as_str());
            if matches!(run.state.as_str(), "fired" | "succeeded") && !arrived {
                verdict.add(Kind::Lost, format!("run {} is {} and was never delivered", run.id, run.state));
            }
            if run.state == "succeeded" && arrived && !self.effects.contains(run.id.as_str()) {
                verdict.add(Kind::Lost, format!("run {} succeeded without an effect", run.id));
            }
        }
        let states: HashMap<&str, &str> =
            self.evidence.runs.iter().map(|run| (run.id.as_str(), run.state.as_str())).collect();
        for id in &self.evidence.acknowledged_outcomes {
            if states.get(id.as_str()) != Some(&"succeeded") {
                verdict.add(Kind::Lost, format!("the acknowledged success of run {id} is not stored"));
            }
        }
        for id in self.first.keys().filter(|id| !states.contains_key(*id)) {
            verdict.add(Kind::Surplus, format!("delivered run {id} is not stored"));
        }
    }

    /// A moment has one effect. A manual trigger has a moment of its own.
    fn effects(&self, verdict: &mut Verdict) {
        let triggered: HashSet<&str> =
            self.evidence.runs.iter().filter(|run| run.triggered).map(|run| run.id.as_str()).collect();
        let mut seen: HashMap<(&str, i64), BTreeSet<&str>> = HashMap::new();
        let mut runs: HashSet<&str> = HashSet::new();
        for effect in &self.evidence.effects {
            if !runs.insert(&effect.run_id) {
                verdict.add(Kind::DoubledEffect, format!("run {} has two effects", effect.run_id));
            }
            if !triggered.contains(effect.run_id.as_str()) {
                seen.entry((&effect.task_id, effect.scheduled_at)).or_default().insert(&effect.run_id);
            }
        }
        for (moment, runs) in seen.into_iter().filter(|(_, runs)| runs.len() > 1) {
            verdict.add(Kind::DoubledEffect, format!("moment {moment:?} has effects of the runs {runs:?}"));
        }
    }

    /// No delivery is before its moment, or too long after it.
    fn timing(&self, verdict: &mut Verdict) {
        for delivery in &self.evidence.deliveries {
            if delivery.arrived_at < delivery.scheduled_at {
                let early = delivery.scheduled_at - delivery.arrived_at;
                verdict.add(Kind::Early, format!("run {} was delivered {early} ms early", delivery.run_id));
            }
        }
        for (run_id, delivery) in &self.first {
            let due = delivery.scheduled_at;
            let deadline = self.deadline(due);
            let late = delivery.arrived_at - due;
            verdict.figures.latest_ms = verdict.figures.latest_ms.max(late);
            if deadline == due + QUIET_MS {
                verdict.figures.latest_quiet_ms = verdict.figures.latest_quiet_ms.max(late);
            } else {
                let healed = self.since_healing(due, delivery.arrived_at);
                verdict.figures.latest_healed_ms = verdict.figures.latest_healed_ms.max(healed);
            }
            if delivery.arrived_at > deadline {
                let over = delivery.arrived_at - deadline;
                verdict.add(
                    Kind::Late,
                    format!("run {run_id} was delivered {late} ms late, {over} ms above the bound"),
                );
            }
        }
    }

    /// Returns the time from the end of the last fault, or from the moment if later, to the
    /// arrival; 0 during a fault.
    fn since_healing(&self, due: i64, arrived_at: i64) -> i64 {
        let begun = self.evidence.windows.iter().filter(|window| window.delays && window.from <= arrived_at);
        let healed = begun.map(|window| window.to.min(arrived_at)).max().unwrap_or(due);
        arrived_at - healed.max(due)
    }

    /// Returns the latest allowed arrival: [`QUIET_MS`] after the moment, or [`HEALED_MS`] after
    /// the last fault in between.
    fn deadline(&self, due: i64) -> i64 {
        let mut deadline = due + QUIET_MS;
        loop {
            let meanwhile =
                self.evidence.windows.iter().filter(|window| window.delays && window.from <= deadline);
            let healed =
                meanwhile.map(|window| window.to + HEALED_MS).filter(|healed| *healed > deadline).max();
            match healed {
                Some(healed) => deadline = healed,
                None => return deadline,
            }
        }
    }

    /// A claim is the lease of one worker. Two deliveries of one claim would execute the work
    /// twice.
    fn claims(&self, verdict: &mut Verdict) {
        let mut taken: HashMap<(&str, i64), usize> = HashMap::new();
        for delivery in self.evidence.deliveries.iter().filter(|delivery| !delivery.on_bus) {
            *taken.entry((&delivery.run_id, delivery.claim)).or_default() += 1;
        }
        for ((run_id, claim), times) in taken.into_iter().filter(|(_, times)| *times > 1) {
            let what = format!("claim {claim} of run {run_id} was delivered {times} times");
            verdict.add(Kind::DoubledEffect, what);
        }
    }
}
