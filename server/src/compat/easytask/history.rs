//! What became of a task's runs: its log, confirmations, and the stop of what is under way.

use serde::Serialize;
use serde_json::{Value, json};

use super::envelope::Refused;
use super::requests::{self, Confirmed, Fields};
use super::trace::Trace;
use super::{Front, Result, services};
use crate::core::submission::{Dedup, Submission};
use crate::core::{Moment, Run, RunId, RunState, Task};
use crate::engine::service::{Confirmation, IdempotencyKey, RunFilter, RunPage, ServiceError};

/// Rows read at a time to find a run.
const PAGE: u32 = 500;
/// What tells a node to leave off; heartbeat and task have 0 and 1.
const CANCEL: u8 = 2;
/// No task has run so often; every moment since 1970-04-26 is greater.
const FIRST_BY_HAND: u64 = 10_000_000_000;
/// The name of the tasks that do so.
const CANCEL_TAG: &str = "easytask.cancel";
/// The queue of the worker that makes plain calls.
const CALLS: &str = "rpc";

/// A task's log, latest run first.
#[derive(Serialize)]
pub struct Log {
    logs: Vec<Line>,
}

/// A run, as the old system's task log had it.
#[derive(Serialize)]
struct Line {
    run_id: String,
    run_times: u64,
    status: &'static str,
    extra: String,
    started_at: i64,
    ended_at: i64,
}

impl Line {
    fn of(run: &Run) -> Self {
        let seconds = |at: Option<Moment>| at.map_or(0, Moment::sec);
        Self {
            run_id: run.id.to_string(),
            run_times: run_times(run),
            status: status(run.state),
            extra: extra(run),
            started_at: seconds(run.fired_at),
            ended_at: seconds(run.ended_at),
        }
    }
}

fn status(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "success",
        RunState::Dead | RunState::Skipped => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Firing | RunState::Fired | RunState::Ready | RunState::Leased | RunState::Retrying => {
            "running"
        }
    }
}

/// What the callback service said, or why it has not.
fn extra(run: &Run) -> String {
    let result = run.result.as_deref().and_then(|result| serde_json::from_str::<Value>(result).ok());
    let said = result.as_ref().and_then(|result| result["message"].as_str());
    said.or(run.reason.as_deref()).unwrap_or_default().to_owned()
}

impl Front {
    /// The runs of a task.
    pub(super) async fn log(&self, fields: &Fields) -> Result<Log> {
        let task = self.task(&fields.required("task_id")?).await?;
        let page = requests::log_page(fields)?;
        let before = match page.before {
            Some(id) => Some((self.service.run(&id).await?.scheduled_at, id)),
            None => None,
        };
        let page = RunPage { limit: page.limit, before };
        let runs = self.service.list_runs(&runs_of(&task), &page).await?;
        Ok(Log { logs: runs.iter().map(Line::of).collect() })
    }

    /// Takes a callback service's word on a run, also after its time was over.
    pub(super) async fn confirm(&self, confirmed: &Confirmed) -> Result<()> {
        let task = self.task(&confirmed.task_id).await?;
        let run = self.run(&task, confirmed.run_times).await?;
        let word = Confirmation {
            succeeded: confirmed.is_success,
            message: Some(confirmed.extra.clone()).filter(|extra| !extra.is_empty()),
            result: confirmed.is_success.then(|| json!({ "message": confirmed.extra }).to_string()),
        };
        let run = self.service.confirm(&run, &word).await?;
        if run.state == RunState::Cancelled { Err(Refused::Stopped) } else { Ok(()) }
    }

    /// The run with that number. Later runs have greater ones, so that the search ends where a smaller one comes; so do, by their moments,
    /// those by hand.
    async fn run(&self, task: &Task, number: u64) -> Result<RunId> {
        let mut before = None;
        loop {
            let page = RunPage { limit: PAGE, before };
            let runs = self.service.list_runs(&runs_of(task), &page).await?;
            if let Some(run) = runs.iter().find(|run| run_times(run) == number) {
                return Ok(run.id.clone());
            }
            let is_counted = number < FIRST_BY_HAND;
            let is_before = |run: &Run| {
                if is_counted {
                    !run.triggered && (1..number).contains(&run.number)
                } else {
                    (run.scheduled_at.ms() as u64) < number
                }
            };
            let passed = runs.iter().any(is_before);
            // A page of large runs is short: only an empty one is the end.
            let last = runs.last().filter(|_| !passed).ok_or(Refused::NoTask)?;
            before = Some((last.scheduled_at, last.id.clone()));
        }
    }

    /// Ends a task, and what is under way of it: those runs are closed as cancelled, and its service is told to leave off. The call that
    /// tells it is stored before its run is closed: whoever stops the task again, after whatever happened, finds the run open still.
    pub(super) async fn stop(&self, task_id: &str, trace: &Trace) -> Result<()> {
        let task = self.task(task_id).await?;
        loop {
            let cancelled = self.service.cancel(&task.id, None).await?;
            self.close(&cancelled.open_runs, trace).await?;
            if !cancelled.more_open_runs {
                return Ok(());
            }
        }
    }

    async fn close(&self, runs: &[RunId], trace: &Trace) -> Result<()> {
        for id in runs {
            let before = self.service.run(id).await?;
            if before.state == RunState::Leased {
                self.call_off(&before, trace).await?;
            }
            match self.service.cancel_run(id).await {
                // It has come into somebody's hands meanwhile.
                Ok(run) if run.claim > before.claim => self.call_off(&run, trace).await?,
                // It was told above, was not in anybody's hands, or has just ended.
                Ok(_) | Err(ServiceError::RunState(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Tells the service that a run is not wanted any more, once for each time that it was taken. Which node has it is known to the worker
    /// alone, and that one may be gone: each node is told.
    async fn call_off(&self, run: &Run, trace: &Trace) -> Result<()> {
        let job = requests::job(&run.data);
        let name = job["service"].as_str().unwrap_or_default();
        let Some(callee) = services::find(&self.service, name).await? else { return Ok(()) };
        let body = json!({
            "cmd": CANCEL, "task_id": run.task_id.as_str(), "task_name": run.tag, "run_times": run_times(run),
        });
        let calls = callee.nodes.iter().map(|node| {
            let call = json!({
                "method": "POST", "url": format!("{}{}", node.url, job["path"].as_str().unwrap_or("/")),
                "body": body.to_string(), "content_type": "application/json",
                "timeout_ms": callee.timeout_ms(&self.settings), "retry_after_ms": [], "headers": trace.forwarded(),
            });
            Submission {
                queue: Some(CALLS.to_owned()),
                dedup: Dedup::Nothing,
                ..Submission::named(CANCEL_TAG, call.to_string())
            }
        });
        let key = format!("{CANCEL_TAG}:{}:{}", run.id, run.claim);
        let key = IdempotencyKey { key, fingerprint: run.id.to_string() };
        let stored = self.service.submit_idempotent(calls.collect(), Some(key)).await?;
        stored.into_iter().try_for_each(|stored| stored.map(drop))?;
        Ok(())
    }
}

/// What a run is called by callbacks and confirmations: how-manieth it is of its task, or, for one by hand, its moment in milliseconds.
fn run_times(run: &Run) -> u64 {
    if run.triggered { u64::try_from(run.scheduled_at.ms()).unwrap_or(0) } else { run.number }
}

fn runs_of(task: &Task) -> RunFilter {
    RunFilter { task_id: Some(task.id.clone()), ..RunFilter::default() }
}
