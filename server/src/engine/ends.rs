//! How runs ended, by tag and day, so that no page counts over history.

use std::collections::BTreeMap;

use crate::core::{Moment, Run, RunState};
use crate::ports::{OutcomeCount, Store};

/// Adds the runs among `written` that have just come to an end to the counters of their day in `zone`.
///
/// A counter that cannot be written, or a node that dies before it is, costs the count and nothing else.
pub async fn count(store: &dyn Store, zone: &str, written: &[Run]) {
    for (day, rows) in by_day(zone, written) {
        if let Err(error) = store.count_outcomes(day, &rows).await {
            tracing::warn!(%error, "the ends of runs were not counted");
        }
    }
}

fn by_day(zone: &str, written: &[Run]) -> BTreeMap<Moment, Vec<OutcomeCount>> {
    let mut days = BTreeMap::<Moment, Vec<OutcomeCount>>::new();
    for (at, run) in written.iter().filter_map(|run| Some((ended(run)?, run))) {
        let rows = days.entry(at.day_in(zone)).or_default();
        match rows.iter_mut().find(|row| row.tag == run.tag && row.state == run.state) {
            Some(row) => row.runs += 1,
            None => rows.push(OutcomeCount { tag: run.tag.clone(), state: run.state, runs: 1 }),
        }
    }
    days
}

/// When it came to an outcome. A message that the broker has is not one.
fn ended(run: &Run) -> Option<Moment> {
    run.ended_at.filter(|_| run.state != RunState::Fired)
}
