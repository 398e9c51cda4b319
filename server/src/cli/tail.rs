//! `tail`: runs as they come and go.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::{RunList, RunResource};
use taskcenter_client::{Error, RunQuery};
use tokio::time::{MissedTickBehavior, interval};

use super::exit::Failure;
use super::remote::Center;
use super::{out, run, table, when};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter tail
  taskcenter tail --tag order.close --last 0
  taskcenter tail --json | jq -r 'select(.state == \"dead\") | .run_id'";

const EVERY: Duration = Duration::from_secs(1);
/// Runs in one answer, and answers in one turn: more than that in a second is more than a person reads.
const PAGE: u32 = 200;
const PAGES: usize = 5;
/// Runs that are remembered: more than a turn shows, so that none is taken for a new one.
const REMEMBERED: usize = 4 * PAGE as usize * PAGES;
/// Runs that have not ended and that have sunk below what a turn looks at; so many of them are looked up each turn.
const LOOKED_UP: usize = 20;

/// Which runs.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Tail {
    /// Only those of this task.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only those of tasks with this name.
    #[arg(long)]
    tag: Option<String>,
    /// Begin with so many of the latest runs.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    last: usize,
}

impl Tail {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        tokio::select! {
            ended = self.follow(center) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn follow(self, center: &Center) -> Result<(), Failure> {
        let query = RunQuery { task_id: self.task, tag: self.tag, limit: Some(PAGE), ..RunQuery::default() };
        let mut memory = Memory::default();
        let mut latest = memory.take_in(center.ask(center.calls.list_runs(&query)).await?.runs);
        latest.drain(..latest.len().saturating_sub(self.last));
        print(center, &latest)?;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_lost = false;
        loop {
            ticks.tick().await;
            match turn(center, &query, &mut memory).await {
                Ok(runs) => {
                    if std::mem::take(&mut is_lost) {
                        eprintln!("{} answers again", center.address);
                    }
                    print(center, &runs)?;
                }
                Err(error) => {
                    let failure = Failure::of_call(&error, &center.address);
                    if !matches!(failure, Failure::Failed(_)) {
                        return Err(failure);
                    }
                    // A server that starts again is waited for, and that is said once.
                    if !std::mem::replace(&mut is_lost, true) {
                        failure.tell();
                    }
                }
            }
        }
    }
}

/// What has changed since the last turn, oldest first.
async fn turn(center: &Center, query: &RunQuery, memory: &mut Memory) -> Result<Vec<RunResource>, Error> {
    let mut runs = listed(center, query, memory).await?;
    for id in memory.sunk(&runs) {
        match center.calls.get_run(&id).await? {
            Some(run) => runs.push(run),
            None => memory.close(&id),
        }
    }
    Ok(memory.take_in(runs))
}

/// The latest runs, back to one that is known.
async fn listed(center: &Center, query: &RunQuery, memory: &Memory) -> Result<Vec<RunResource>, Error> {
    let (mut runs, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page: RunList = center.calls.list_runs(&RunQuery { cursor, ..query.clone() }).await?;
        let reaches_back = page.runs.iter().any(|run| memory.seen.contains_key(&run.run_id));
        runs.extend(page.runs);
        cursor = page.next_cursor;
        if reaches_back || cursor.is_none() {
            return Ok(runs);
        }
    }
    eprintln!("there are more runs than can be shown; `taskcenter run list` has them all");
    Ok(runs)
}

fn print(center: &Center, runs: &[RunResource]) -> Result<(), Failure> {
    for run in runs {
        if center.json {
            out::json(run)?;
        } else {
            out::line(line(run))?;
        }
    }
    Ok(())
}

fn line(run: &RunResource) -> String {
    let at = run.ended_at.or(run.fired_at).unwrap_or(run.scheduled_at);
    let mut line =
        format!("{}  {:9}  {}  {}", when::local_time(at), run.state, table::short(&run.tag), run.run_id);
    let late = run::late(run).map(|late| format!("late {late}"));
    let attempt = (run.attempt > 1).then(|| format!("attempt {}", run.attempt));
    let worker = run.worker.as_deref().map(|worker| format!("at {}", table::short(worker)));
    let reason = run.reason.as_deref().map(table::short);
    for more in [late, attempt, worker, reason].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&more);
    }
    line
}

/// What has been shown of a run.
struct Seen {
    state: String,
    attempt: u32,
    is_open: bool,
}

/// The runs that have been shown, as many as are remembered.
#[derive(Default)]
struct Memory {
    seen: HashMap<String, Seen>,
    /// As they came.
    order: VecDeque<String>,
    /// How many have been looked up, so that each has its turn.
    looked_up: usize,
}

impl Memory {
    /// Those that are new or have changed, earliest moment first.
    fn take_in(&mut self, mut runs: Vec<RunResource>) -> Vec<RunResource> {
        runs.sort_by_key(|run| run.scheduled_at);
        runs.retain(|run| self.is_news(run));
        while self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.and_then(|id| self.seen.remove(&id));
        }
        runs
    }

    fn is_news(&mut self, run: &RunResource) -> bool {
        let now = Seen { state: run.state.clone(), attempt: run.attempt, is_open: run.ended_at.is_none() };
        let news = (now.state.clone(), now.attempt);
        if let Some(before) = self.seen.insert(run.run_id.clone(), now) {
            return (before.state, before.attempt) != news;
        }
        self.order.push_back(run.run_id.clone());
        true
    }

    /// Runs that may still change and are not among those listed, some at a time.
    fn sunk(&mut self, listed: &[RunResource]) -> Vec<String> {
        let listed: HashSet<&str> = listed.iter().map(|run| run.run_id.as_str()).collect();
        let is_open = |id: &&String| self.seen.get(*id).is_some_and(|seen| seen.is_open);
        let sunk: Vec<&String> =
            self.order.iter().filter(|id| !listed.contains(id.as_str())).filter(is_open).collect();
        let from = self.looked_up.checked_rem(sunk.len()).unwrap_or(0);
        self.looked_up = from + LOOKED_UP;
        sunk.iter().cycle().skip(from).take(LOOKED_UP.min(sunk.len())).map(ToString::to_string).collect()
    }

    /// A run that there is no more.
    fn close(&mut self, id: &str) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(number: usize, state: &str, is_open: bool) -> RunResource {
        let at = jiff::Timestamp::from_second(number as i64).unwrap();
        let ended_at = (!is_open).then_some(at);
        let run = json!({
            "run_id": format!("r{number}"), "task_id": "t", "tag": "n", "scheduled_at": at, "triggered": false,
            "state": state, "attempt": 1, "claim": 1, "fired_at": at, "ended_at": ended_at,
        });
        serde_json::from_value(run).unwrap()
    }

    fn ids(runs: &[RunResource]) -> Vec<&str> {
        runs.iter().map(|run| run.run_id.as_str()).collect()
    }

    #[test]
    fn a_run_is_news_once_a_state_and_earlier_moments_come_first() {
        let mut memory = Memory::default();
        let news = memory.take_in(vec![run(2, "ready", true), run(1, "ready", true)]);
        assert_eq!(ids(&news), ["r1", "r2"]);
        let news = memory.take_in(vec![run(2, "leased", true), run(1, "ready", true)]);
        assert_eq!(ids(&news), ["r2"]);
    }

    #[test]
    fn open_runs_that_are_not_listed_are_looked_up_in_turn() {
        let mut memory = Memory::default();
        let _ = memory.take_in((0..30).map(|number| run(number, "ready", number > 0)).collect());
        let listed = [run(29, "ready", true)];
        let mut looked_up: Vec<String> = memory.sunk(&listed);
        assert_eq!(looked_up.len(), LOOKED_UP);
        looked_up.extend(memory.sunk(&listed));
        looked_up.sort_unstable();
        looked_up.dedup();
        assert_eq!(looked_up.len(), 28);
        memory.close("r1");
        assert!(!(0..2).any(|_| memory.sunk(&listed).contains(&"r1".to_owned())));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..2 * REMEMBERED {
            let _ = memory.take_in(vec![run(number, "ready", true)]);
        }
        assert_eq!((memory.seen.len(), memory.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_line_tells_the_lateness_and_nothing_that_is_not_there() {
        let line = line(&run(1, "succeeded", false));
        assert!(line.ends_with("succeeded  n  r1  late 0ms"), "{line}");
    }
}
