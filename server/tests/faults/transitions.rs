//! Every version of every run, one after the other, against the rule that the simulator judges by.

use std::collections::HashMap;

use crate::evidence::{Evidence, RunRow, Step};
use crate::steps::{self, RunFields};
use crate::verdict::{Kind, Verdict};

/// Finds steps that cannot be, and versions that were not seen.
pub fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let mut last: HashMap<&str, &Step> = HashMap::new();
    for step in &evidence.steps {
        match last.insert(&step.run_id, step) {
            None => first(step, verdict),
            Some(before) => next(before, step, verdict),
        }
    }
    for run in &evidence.runs {
        arrived(run, last.get(run.id.as_str()).map(|step| step.version), verdict);
    }
}

/// The watch saw each run come to where it stands.
fn arrived(run: &RunRow, seen: Option<i64>, verdict: &mut Verdict) {
    if seen != Some(run.version) {
        let RunRow { id, state, version, .. } = run;
        let what = format!("run {id} is {state} at version {version} and was last seen at {seen:?}");
        verdict.find(Kind::Unseen, what);
    }
}

fn first(step: &Step, verdict: &mut Verdict) {
    let Step { run_id, state, version, .. } = step;
    if *version != 1 {
        return verdict
            .find(Kind::Unseen, format!("run {run_id} was seen first at version {version}, {state}"));
    }
    let why = run_fields(step).map_or(Some("there is no such state"), |fields| steps::check_insert(&fields));
    if let Some(why) = why {
        verdict.find(Kind::Illegal, format!("run {run_id} begins as {state}: {why}"));
    }
}

fn next(before: &Step, after: &Step, verdict: &mut Verdict) {
    let Step { run_id, state, attempt, claim, version, .. } = after;
    let (from, was) = (before.version, &before.state);
    if *version > from + 1 {
        let what = format!("run {run_id}: what stood between version {from} ({was}) and {version} ({state})");
        return verdict.find(Kind::Unseen, what);
    }
    let why = match (run_fields(before), run_fields(after)) {
        (Some(before), Some(after)) => steps::check_update(&before, &after),
        _ => Some("there is no such state"),
    };
    if let Some(why) = why {
        let (attempts, claims) = (before.attempt, before.claim);
        verdict.find(
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
    Some(RunFields { state, attempt, claim, version, attention_at })
}
