//! Metrics of runs, by tag.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{ByTag, Count, LATENESS_SEC, bounded};
use crate::core::Run;

/// Maximum number of distinct tags in labels of histograms, each of which has many lines.
const MAX_HISTOGRAM_TAGS: usize = 100;
const ATTEMPTS: [f64; 6] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    tag: String,
    state: &'static str,
}

type Histograms = Family<ByTag, Histogram, fn() -> Histogram>;

/// How runs ended, how long they waited and took, and how many attempts they had.
pub struct RunMetrics {
    /// The tags that labels of histograms use.
    tags: Mutex<HashSet<String>>,
    outcomes: Family<ByOutcome, Count>,
    queue_wait: Histograms,
    duration: Histograms,
    attempts: Histograms,
}

impl Default for RunMetrics {
    fn default() -> Self {
        Self {
            tags: Mutex::default(),
            outcomes: Family::default(),
            queue_wait: Family::new_with_constructor(|| Histogram::new(LATENESS_SEC)),
            duration: Family::new_with_constructor(|| Histogram::new(LATENESS_SEC)),
            attempts: Family::new_with_constructor(|| Histogram::new(ATTEMPTS)),
        }
    }
}

impl RunMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("run_outcomes", "Runs that ended, by tag and state", self.outcomes.clone());
        let help = "Seconds from a run's entry into its queue until a worker leased it, first attempts only";
        registry.register("queue_wait_seconds", help, self.queue_wait.clone());
        let help = "Seconds from the start of a run's last attempt until the run ended";
        registry.register("run_duration_seconds", help, self.duration.clone());
        let help = "Attempts of the runs that ended";
        registry.register("run_attempts", help, self.attempts.clone());
    }

    /// Counts a run that a worker has leased.
    pub fn leased(&self, run: &Run) {
        if let (1, Some(fired), Some(leased)) = (run.attempt, run.fired_at, run.leased_at) {
            self.observe(&self.queue_wait, &run.tag, seconds(leased.since(fired)));
        }
    }

    /// Counts a run that has ended, under the label `tag`.
    pub fn ended(&self, run: &Run, tag: String) {
        self.outcomes.get_or_create_owned(&ByOutcome { tag, state: run.state.as_str() }).inc();
        if let (Some(started), Some(ended)) = (run.attempt_started_at(), run.ended_at) {
            self.observe(&self.duration, &run.tag, seconds(ended.since(started)));
            self.observe(&self.attempts, &run.tag, f64::from(run.attempt));
        }
    }

    fn observe(&self, histograms: &Histograms, tag: &str, value: f64) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = bounded(&mut tags, tag, MAX_HISTOGRAM_TAGS);
        histograms.get_or_create_owned(&ByTag { tag }).observe(value);
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_run_is_counted_when_it_is_leased_and_when_it_ends() {
        let metrics = Metrics::new();
        let run = |tag: &str| {
            let run = serde_json::json!({
                "id": "r", "task_id": "00000000000000000000000000000000", "rev": 1, "scheduled_at": 0,
                "triggered": false, "tag": tag, "data": "", "queue": "q", "state": "succeeded", "attempt": 1,
                "token": "", "holder": "w", "claim": 1, "fired_at": 1_000, "leased_at": 4_000, "ended_at": 4_050,
                "version": 1,
            });
            serde_json::from_value::<Run>(run).unwrap()
        };
        metrics.leased(&run("a"));
        metrics.ended(&run("a"));
        metrics.ended(&Run { attempt: 3, state: crate::core::RunState::Dead, ..run("a") });
        let page = metrics.encode().unwrap();
        for line in [
            "taskcenter_run_outcomes_total{tag=\"a\",state=\"succeeded\"} 1",
            "taskcenter_run_outcomes_total{tag=\"a\",state=\"dead\"} 1",
            "taskcenter_queue_wait_seconds_sum{tag=\"a\"} 3",
            "taskcenter_run_duration_seconds_count{tag=\"a\"} 2",
            "taskcenter_run_attempts_sum{tag=\"a\"} 4",
        ] {
            assert!(page.contains(line), "{line} is missing from\n{page}");
        }
        for n in 0..MAX_HISTOGRAM_TAGS + 5 {
            metrics.ended(&run(&format!("tag-{n}")));
        }
        let page = metrics.encode().unwrap();
        assert_eq!(page.matches("taskcenter_run_attempts_count{").count(), MAX_HISTOGRAM_TAGS + 1);
        assert!(page.contains("taskcenter_run_attempts_count{tag=\"other\"} 6"), "{page}");
    }
}
