//! `tail`: follows runs.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::{RunList, RunResource};
use taskcenter_client::{Error, RunQuery};
use tokio::time::{MissedTickBehavior, interval};
use unicode_width::UnicodeWidthStr as _;

use super::client::Client;
use super::exit::Failure;
use super::screen::Screen;
use super::{ids, output, run, table, time};

pub const EXAMPLES: &str = "\
Each line has the time, the state, the tag and the id of a run, then the
lateness, the attempt (from 2 on), the worker and the reason, if any.

Examples:
  taskcenter tail
  taskcenter tail --name order.close --last 0
  taskcenter tail --json | jq -r 'select(.state == \"dead\") | .run_id'";

const GAP: &str = "  ";
/// Width of the longest state.
const STATE_WIDTH: usize = 9;
const POLL_PERIOD: Duration = Duration::from_secs(1);
/// Runs per page, and pages per poll. A person cannot read more lines per second.
const PAGE: u32 = 200;
const PAGES: usize = 5;
/// Maximum number of runs in memory: more than one poll lists, so that no run is printed twice.
const REMEMBERED: usize = 4 * PAGE as usize * PAGES;
/// Open runs that the list no longer contains: maximum number to look up in each poll.
const LOOKUPS: usize = 20;

/// Filter of the runs to follow.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Tail {
    /// Only runs of the task with this id, or beginning of an id.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only runs of tasks with this name.
    #[arg(long, alias = "tag", value_name = "NAME")]
    name: Option<String>,
    /// Number of earlier runs to print first, at most 200.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    last: usize,
}

impl Tail {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        tokio::select! {
            result = self.follow(client) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn follow(self, client: &Client) -> Result<(), Failure> {
        let task_id = ids::find_optional_task(client, self.task).await?;
        let query = RunQuery { task_id, tag: self.name, limit: Some(PAGE), ..RunQuery::default() };
        let mut printed = PrintedRuns::default();
        let mut latest = printed.take_changed(client.call(client.api.list_runs(&query)).await?.runs);
        latest.drain(..latest.len().saturating_sub(self.last));
        print(client, &latest)?;
        let mut ticks = interval(POLL_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_disconnected = false;
        loop {
            ticks.tick().await;
            match poll(client, &query, &mut printed).await {
                Ok(runs) => {
                    if std::mem::take(&mut is_disconnected) {
                        eprintln!("reconnected to {}", client.address);
                    }
                    print(client, &runs)?;
                }
                Err(error) => {
                    let Failure::Failed(message) = Failure::from_call(&error, &client.address) else {
                        return Err(Failure::from_call(&error, &client.address));
                    };
                    // The server may be restarting: keep polling, and print the failure only once.
                    if !std::mem::replace(&mut is_disconnected, true) {
                        eprintln!("error: {message}\nretrying every second, until Ctrl-C");
                    }
                }
            }
        }
    }
}

/// Returns the runs that have changed since the last poll, oldest first.
async fn poll(
    client: &Client,
    query: &RunQuery,
    printed: &mut PrintedRuns,
) -> Result<Vec<RunResource>, Error> {
    let mut runs = list_new(client, query, printed).await?;
    for id in printed.next_lookups(&runs) {
        match client.api.get_run(&id).await? {
            Some(run) => runs.push(run),
            None => printed.close(&id),
        }
    }
    Ok(printed.take_changed(runs))
}

/// Lists the latest runs, page by page, until a page contains a run that was printed before.
async fn list_new(
    client: &Client,
    query: &RunQuery,
    printed: &PrintedRuns,
) -> Result<Vec<RunResource>, Error> {
    let (mut runs, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page: RunList = client.api.list_runs(&RunQuery { cursor, ..query.clone() }).await?;
        let has_printed = page.runs.iter().any(|run| printed.states.contains_key(&run.run_id));
        runs.extend(page.runs);
        cursor = page.next_cursor;
        if has_printed || cursor.is_none() {
            return Ok(runs);
        }
    }
    eprintln!("too many new runs, some are not printed: `taskcenter run list --all` lists all runs");
    Ok(runs)
}

fn print(client: &Client, runs: &[RunResource]) -> Result<(), Failure> {
    for run in runs {
        if client.json {
            output::print_json(run)?;
        } else {
            output::print_line(format_line(client.screen, run))?;
        }
    }
    Ok(())
}

/// Width of the tag on a terminal.
const MAX_TAG_WIDTH: usize = 16;

/// On a terminal, the line has a short id and as many parts as fit.
fn format_line(screen: Screen, run: &RunResource) -> String {
    let at = time::format_time_of_day(run.ended_at.or(run.fired_at).unwrap_or(run.scheduled_at));
    let tag = if screen.width.is_some() {
        table::truncate_to(&run.tag, MAX_TAG_WIDTH)
    } else {
        table::truncate(&run.tag)
    };
    let padding = " ".repeat(STATE_WIDTH.saturating_sub(run.state.len()));
    let (state, id) = (screen.paint_state(&run.state), ids::shorten_one(screen, &run.run_id));
    let mut width = at.len() + run.state.len().max(STATE_WIDTH) + tag.width() + id.len() + 3 * GAP.len();
    let mut line = [at, state + &padding, tag, id].join(GAP);
    for part in parts(screen, run) {
        width += GAP.len() + part.width();
        if screen.width.is_some_and(|limit| width > limit) {
            break;
        }
        line.push_str(GAP);
        line.push_str(&part);
    }
    line
}

/// Returns the delays of the stages (on a terminal, of the last stage), the attempt, the worker and the
/// reason.
fn parts(screen: Screen, run: &RunResource) -> Vec<String> {
    let mut stages: Vec<_> =
        run::stages(run).into_iter().map(|(stage, delay)| format!("{stage} +{delay}")).collect();
    if screen.width.is_some() {
        stages.drain(..stages.len().saturating_sub(1));
    }
    let attempt = (run.attempt > 1).then(|| format!("attempt {}", run.attempt));
    let worker = run.worker.as_deref().map(|worker| format!("worker {}", table::truncate(worker)));
    let reason = run.reason.as_deref().map(table::truncate);
    stages.into_iter().chain([attempt, worker, reason].into_iter().flatten()).collect()
}

/// Last printed state of a run.
struct PrintedState {
    state: String,
    attempt: u32,
    is_open: bool,
}

/// Runs that have been printed, at most [`REMEMBERED`].
#[derive(Default)]
struct PrintedRuns {
    states: HashMap<String, PrintedState>,
    /// Ids of the runs, first printed first.
    order: VecDeque<String>,
    /// Position of the next lookup among the unlisted open runs, so that each of them has its turn.
    next_lookup: usize,
}

impl PrintedRuns {
    /// Keeps the runs that are new or have changed, and sorts them by their scheduled time.
    fn take_changed(&mut self, mut runs: Vec<RunResource>) -> Vec<RunResource> {
        runs.sort_by_key(|run| run.scheduled_at);
        runs.retain(|run| self.record(run));
        while self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.and_then(|id| self.states.remove(&id));
        }
        runs
    }

    /// Records the state of a run, and returns whether it differs from the printed one.
    fn record(&mut self, run: &RunResource) -> bool {
        let state =
            PrintedState { state: run.state.clone(), attempt: run.attempt, is_open: run.ended_at.is_none() };
        if let Some(before) = self.states.insert(run.run_id.clone(), state) {
            return before.state != run.state || before.attempt != run.attempt;
        }
        self.order.push_back(run.run_id.clone());
        true
    }

    /// Returns the ids of the next [`LOOKUPS`] open runs that are not among `listed`.
    fn next_lookups(&mut self, listed: &[RunResource]) -> Vec<String> {
        let listed: HashSet<&str> = listed.iter().map(|run| run.run_id.as_str()).collect();
        let is_open = |id: &&String| self.states.get(*id).is_some_and(|printed| printed.is_open);
        let unlisted: Vec<&String> =
            self.order.iter().filter(|id| !listed.contains(id.as_str())).filter(is_open).collect();
        let from = self.next_lookup.checked_rem(unlisted.len()).unwrap_or(0);
        self.next_lookup = from + LOOKUPS;
        let ids = unlisted.iter().cycle().skip(from).take(LOOKUPS.min(unlisted.len()));
        ids.map(ToString::to_string).collect()
    }

    /// Marks a run as closed that the server no longer has.
    fn close(&mut self, id: &str) {
        if let Some(printed) = self.states.get_mut(id) {
            printed.is_open = false;
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
    fn a_run_is_printed_once_per_state_in_order_of_its_moment() {
        let mut printed = PrintedRuns::default();
        let changed = printed.take_changed(vec![run(2, "ready", true), run(1, "ready", true)]);
        assert_eq!(ids(&changed), ["r1", "r2"]);
        let changed = printed.take_changed(vec![run(2, "leased", true), run(1, "ready", true)]);
        assert_eq!(ids(&changed), ["r2"]);
    }

    #[test]
    fn unlisted_open_runs_are_looked_up_in_turn() {
        let mut printed = PrintedRuns::default();
        let _ = printed.take_changed((0..30).map(|number| run(number, "ready", number > 0)).collect());
        let listed = [run(29, "ready", true)];
        let mut lookups: Vec<String> = printed.next_lookups(&listed);
        assert_eq!(lookups.len(), LOOKUPS);
        lookups.extend(printed.next_lookups(&listed));
        lookups.sort_unstable();
        lookups.dedup();
        assert_eq!(lookups.len(), 28);
        printed.close("r1");
        assert!(!(0..2).any(|_| printed.next_lookups(&listed).contains(&"r1".to_owned())));
    }

    #[test]
    fn memory_is_bounded() {
        let mut printed = PrintedRuns::default();
        for number in 0..2 * REMEMBERED {
            let _ = printed.take_changed(vec![run(number, "ready", true)]);
        }
        assert_eq!((printed.states.len(), printed.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_line_has_the_lateness_and_no_absent_field() {
        let line = format_line(Screen::default(), &run(1, "succeeded", false));
        assert!(line.ends_with("succeeded  n  r1  fired +0ms  ended +0ms"), "{line}");
        let screen = Screen { width: Some(80), ..Screen::default() };
        let line = format_line(screen, &run(1, "succeeded", false));
        assert!(line.ends_with("succeeded  n  r1  ended +0ms"), "{line}");
    }
}
