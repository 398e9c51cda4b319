//! The states that runs were seen in, one after the other, against the product's one table of transitions.

use std::collections::{HashMap, HashSet};

use taskcenter_server::core::RunState;
use taskcenter_server::core::run::{RunEvent, transition};

use crate::evidence::Step;
use crate::verdict::{Kind, Verdict};

const EVENTS: [RunEvent; 14] = [
    RunEvent::Confirmed,
    RunEvent::Queued,
    RunEvent::Taken,
    RunEvent::Released,
    RunEvent::Republished,
    RunEvent::Requeued,
    RunEvent::Succeeded,
    RunEvent::Failed,
    RunEvent::GaveUp,
    RunEvent::LeftOut,
    RunEvent::Cancelled,
    RunEvent::Redriven,
    RunEvent::LateSuccess,
    RunEvent::LateFailure,
];

/// Steps that one write may hold: an overdue outcome is a failure and the begin of the next attempt in one.
const STEPS_IN_A_WRITE: i64 = 2;

/// Finds steps that cannot be.
pub fn check(steps: &[Step], verdict: &mut Verdict) {
    let mut last: HashMap<&str, &Step> = HashMap::new();
    for step in steps {
        let Some(before) = last.insert(&step.run_id, step) else {
            first(step, verdict);
            continue;
        };
        if let Some(why) = wrong(before, step) {
            let Step { run_id, state, attempt, .. } = step;
            let was = &before.state;
            verdict.find(Kind::Illegal, format!("run {run_id}: {was} -> {state} (attempt {attempt}): {why}"));
        }
    }
}

fn first(step: &Step, verdict: &mut Verdict) {
    // A run that was not seen from its first write on is judged from there.
    if step.version == 1 && !matches!(step.state.as_str(), "firing" | "skipped") {
        verdict.find(Kind::Illegal, format!("run {} begins as {}", step.run_id, step.state));
    }
}

fn wrong(before: &Step, after: &Step) -> Option<&'static str> {
    if after.version <= before.version {
        return Some("its version does not grow");
    }
    if after.attempt < before.attempt || after.claim < before.claim {
        return Some("attempts and claims do not go back");
    }
    let (from, to) = (state(&before.state)?, state(&after.state)?);
    // Writes that were not seen lie in between where the version has jumped.
    let writes = after.version - before.version;
    (!reaches(from, to, writes * STEPS_IN_A_WRITE)).then_some("no event leads there")
}

fn state(name: &str) -> Option<RunState> {
    serde_json::from_value(name.into()).ok()
}

/// Whether `to` can be reached within so many events; a claim or a renewal stays where it is.
fn reaches(from: RunState, to: RunState, events: i64) -> bool {
    let mut reached = HashSet::from([from]);
    for _ in 0..events.min(16) {
        let next: Vec<RunState> = reached
            .iter()
            .flat_map(|state| EVENTS.iter().filter_map(|event| transition(*state, *event)))
            .collect();
        reached.extend(next);
    }
    reached.contains(&to)
}
