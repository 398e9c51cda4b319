//! Counts of outcomes by tag and day, so that no page has to count over history.

use std::collections::BTreeMap;

use super::metrics::Metrics;
use crate::core::{Moment, Run, RunState};
use crate::ports::{OutcomeCount, Result, Store};

/// Replaces runs by compare-and-set, and adds those that have ended to the counts of their day in `zone`.
/// Returns the runs that this call replaced, as stored.
///
/// # Errors
/// A port's error: each run may or may not have been replaced.
pub async fn replace_runs(
    store: &dyn Store,
    zone: &str,
    metrics: &Metrics,
    mut runs: Vec<Run>,
) -> Result<Vec<Run>> {
    if runs.is_empty() {
        return Ok(runs);
    }
    let mut replaced = store.update_runs(&runs).await?.into_iter();
    runs.retain_mut(|run| {
        run.version += 1;
        replaced.next().unwrap_or(false)
    });
    runs.iter().filter(|run| outcome_at(run).is_some()).for_each(|run| metrics.ended(run));
    count(store, zone, &runs).await;
    Ok(runs)
}

/// Adds the runs that have ended to the counts. A failure, or a crash before this call, makes the counts
/// too low and has no other effect.
async fn count(store: &dyn Store, zone: &str, replaced: &[Run]) {
    for (day, rows) in by_day(zone, replaced) {
        if let Err(error) = store.count_outcomes(day, &rows).await {
            tracing::warn!(%error, "the outcomes of runs were not counted");
        }
    }
}

fn by_day(zone: &str, runs: &[Run]) -> BTreeMap<Moment, Vec<OutcomeCount>> {
    let mut days = BTreeMap::<Moment, Vec<OutcomeCount>>::new();
    for (at, run) in runs.iter().filter_map(|run| Some((outcome_at(run)?, run))) {
        let rows = days.entry(at.day_in(zone)).or_default();
        match rows.iter_mut().find(|row| row.tag == run.tag && row.state == run.state) {
            Some(row) => row.runs += 1,
            None => rows.push(OutcomeCount { tag: run.tag.clone(), state: run.state, runs: 1 }),
        }
    }
    days
}

/// Returns when the run got its outcome. A run that waits on the bus has none yet.
fn outcome_at(run: &Run) -> Option<Moment> {
    run.ended_at.filter(|_| run.state != RunState::Fired)
}
