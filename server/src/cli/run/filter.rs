//! Filters of `run list` that the server does not have.

use clap::Args;
use jiff::Timestamp;
use taskcenter_client::resources::{RunList, RunResource};

use super::super::time;

/// Filters that the command applies to the pages of the server.
#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Only runs in this queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only runs that this worker has leased.
    #[arg(long, value_name = "WORKER")]
    worker: Option<String>,
    /// Only runs that were due at or after this time, such as 2030-01-31T08:00:00Z, or in the last
    /// 2h.
    #[arg(long, value_name = "TIME", value_parser = time::parse_since, allow_hyphen_values = true)]
    since: Option<Timestamp>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.queue.is_none() && self.worker.is_none() && self.since.is_none()
    }

    fn matches(&self, run: &RunResource) -> bool {
        let is = |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
        is(&self.queue, &run.queue) && is(&self.worker, &run.worker) && !self.is_too_old(run)
    }

    fn is_too_old(&self, run: &RunResource) -> bool {
        self.since.is_some_and(|since| run.scheduled_at < since)
    }

    /// Keeps the matching runs of a page, at most `limit`. Runs are listed latest first, so the first run
    /// that is too old is the last one of interest.
    pub fn apply(&self, page: &mut RunList, limit: u32) {
        if page.runs.last().is_some_and(|run| self.is_too_old(run)) {
            page.next_cursor = None;
        }
        page.runs.retain(|run| self.matches(run));
        page.runs.truncate(limit as usize);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> RunList {
        let run = |n: i64, queue: &str, worker: Option<&str>| {
            json!({
                "run_id": format!("r{n}"), "task_id": "t", "tag": "n", "triggered": false, "state": "leased",
                "scheduled_at": Timestamp::from_second(n).unwrap(), "attempt": 1, "claim": 1, "queue": queue,
                "worker": worker,
            })
        };
        let runs =
            json!([run(4, "a", Some("w")), run(3, "b", None), run(2, "a", None), run(1, "a", Some("w"))]);
        serde_json::from_value(json!({"runs": runs, "next_cursor": "more"})).unwrap()
    }

    fn filtered(filter: &Filter, limit: u32) -> (Vec<String>, Option<String>) {
        let mut page = page();
        filter.apply(&mut page, limit);
        (page.runs.into_iter().map(|run| run.run_id).collect(), page.next_cursor)
    }

    #[test]
    fn a_filter_keeps_matching_runs_and_ends_the_list_at_the_oldest_time() {
        let more = || Some("more".to_owned());
        let of = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(filtered(&Filter::default(), 9), (of(&["r4", "r3", "r2", "r1"]), more()));
        let queue = Filter { queue: Some("a".into()), ..Filter::default() };
        assert_eq!(filtered(&queue, 2), (of(&["r4", "r2"]), more()));
        let worker = Filter { worker: Some("w".into()), ..Filter::default() };
        assert_eq!(filtered(&worker, 9), (of(&["r4", "r1"]), more()));
        let since = Filter { since: Timestamp::from_second(3).ok(), ..Filter::default() };
        assert_eq!(filtered(&since, 9), (of(&["r4", "r3"]), None));
    }
}
