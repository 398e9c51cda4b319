//! The stages of a run, read from its row after the work: fired, leased, settled.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use taskcenter_client::resources::RunResource;
use taskcenter_client::{RunQuery, TaskCenter};

use crate::figures::Figures;

/// Maximum time until the last outcome is stored.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Times from the nominal moments to the stages, in milliseconds.
#[derive(Default)]
pub struct Stages {
    fired: Vec<f64>,
    leased: Vec<f64>,
    settled: Vec<f64>,
}

impl Stages {
    /// Without an outcome, a run ends when it is fired.
    fn add(&mut self, run: &RunResource, has_outcome: bool) {
        let since =
            |at: Option<Timestamp>| Some((at?.as_millisecond() - run.scheduled_at.as_millisecond()) as f64);
        self.fired.extend(since(run.fired_at));
        self.leased.extend(since(run.leased_at));
        self.settled.extend(since(run.ended_at).filter(|_| has_outcome));
    }

    /// Adds the percentiles of each stage that the runs have.
    pub fn add_to(mut self, figures: Figures) -> Figures {
        let stages =
            [("fired_", &mut self.fired), ("leased_", &mut self.leased), ("settled_", &mut self.settled)];
        let known = stages.into_iter().filter(|(_, times)| !times.is_empty());
        known.fold(figures, |figures, (name, times)| figures.with_percentiles(name, times))
    }

    /// Returns when the last run was settled. `None`: the runs have no outcomes.
    pub fn last_settled_ms(&self) -> Option<f64> {
        self.settled.iter().copied().max_by(f64::total_cmp)
    }
}

/// Reads the last `count` runs with this tag. If the runs have outcomes, waits until all have ended.
pub async fn stages(client: &TaskCenter, tag: &str, count: usize, has_outcomes: bool) -> Result<Stages> {
    let start = Instant::now();
    loop {
        let stages = read(client, tag, count, has_outcomes).await?;
        if !has_outcomes || stages.settled.len() >= count {
            return Ok(stages);
        }
        let ended = stages.settled.len();
        ensure!(start.elapsed() < SETTLED_WITHIN, "only {ended} of {count} runs were settled");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read(client: &TaskCenter, tag: &str, count: usize, has_outcomes: bool) -> Result<Stages> {
    let mut query = RunQuery { tag: Some(tag.to_owned()), limit: Some(1_000), ..RunQuery::default() };
    let (mut stages, mut seen) = (Stages::default(), 0);
    while seen < count {
        let page = client.list_runs(&query).await?;
        let missing = count - seen;
        page.runs.iter().take(missing).for_each(|run| stages.add(run, has_outcomes));
        seen += page.runs.len();
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok(stages)
}
