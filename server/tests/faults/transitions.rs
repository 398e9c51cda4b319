//! Checks each version of each run with the rules of the simulator.

use std::collections::{HashMap, HashSet};

use crate::evidence::{Evidence, RunRow, Step};
use crate::steps::{self, RunFields};
use crate::verdict::{Kind, Verdict};

/// Adds a finding for each illegal transition and each missing version.
pub fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let mut last: HashMap<&str, &Step> = HashMap::new();
    let born_ready = may_be_born_ready(evidence);
    for step in &evidence.steps {
        match last.insert(&step.run_id, step) {
            None => check_first(step, born_ready.contains(step.run_id.as_str()), verdict),
            Some(before) => check_next(before, step, verdict),
        }
    }
    for run in &evidence.runs {
        check_last(run, last.get(run.id.as_str()).map(|step| step.version), verdict);
    }
}

/// Returns the runs whose first state may be `ready`: those with a queue on SQLite, which has no bus.
fn may_be_born_ready(evidence: &Evidence) -> HashSet<&str> {
    let runs = evidence.runs.iter().filter(|run| run.queue.is_some() && !run.triggered);
    runs.filter(|_| evidence.messages.is_none()).map(|run| run.id.as_str()).collect()
}

/// The journal has the current version of the run.
fn check_last(run: &RunRow, seen: Option<i64>, verdict: &mut Verdict) {
    if seen != Some(run.version) {
        let RunRow { id, state, version, .. } = run;
        let what = format!("run {id} is {state} at version {version}; last version in the journal: {seen:?}");
        verdict.add(Kind::Unseen, what);
    }
}

fn check_first(step: &Step, may_be_ready: bool, verdict: &mut Verdict) {
    let Step { run_id, state, version, .. } = step;
    if *version != 1 {
        return verdict.add(
            Kind::Unseen,
            format!("first version of run {run_id} in the journal is {version}, {state}"),
        );
    }
    let why = match run_fields(step) {
        Some(fields) => steps::check_insert(&fields, may_be_ready),
        None => Some("unknown state"),
    };
    if let Some(why) = why {
        verdict.add(Kind::Illegal, format!("run {run_id} starts as {state}: {why}"));
    }
}

fn check_next(before: &Step, after: &Step, verdict: &mut Verdict) {
    let Step { run_id, state, attempt, claim, version, .. } = after;
    let (from, was) = (before.version, &before.state);
    if *version > from + 1 {
        let what = format!(
            "run {run_id}: the journal has no version between {from} ({was}) and {version} ({state})"
        );
        return verdict.add(Kind::Unseen, what);
    }
    let why = match (run_fields(before), run_fields(after)) {
        (Some(before), Some(after)) => steps::check_update(&before, &after),
        _ => Some("unknown state"),
    };
    if let Some(why) = why {
        let (attempts, claims) = (before.attempt, before.claim);
        verdict.add(
            Kind::Illegal,
            format!(
                "run {run_id}: {was} -> {state} (attempt {attempts} -> {attempt}, claim {claims} -> {claim}, version {from} -> {version}): {why}"
            ),
        );
    }
}

fn run_fields(step: &Step) -> Option<RunFields> {
    let Step { state, attempt, claim, version, attention_at, .. } = step;
    let state = serde_json::from_value(state.as_str().into()).ok()?;
    let (attempt, claim, version, attention_at) = (*attempt, *claim, *version, *attention_at);
    // No run of the load is cancelled.
    Some(RunFields { state, attempt, claim, version, attention_at, cancel_requested: false })
}
