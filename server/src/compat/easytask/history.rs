//! The runs of a task: log, confirmations, and cancelling runs in progress.

use serde::Serialize;
use serde_json::{Value, json};

use super::envelope::ApiError;
use super::requests::{self, ConfirmRequest, Fields};
use super::trace::Trace;
use super::{Api, Result, services};
use crate::core::submission::{Dedup, Submission};
use crate::core::{Moment, Run, RunId, RunState, Task};
use crate::engine::service::{Confirmation, IdempotencyKey, RunFilter, RunPage, ServiceError};

/// Number of runs read at a time.
const PAGE: u32 = 500;
/// `cmd` of a request to cancel a run. Heartbeats and callbacks use 0 and 1.
const CANCEL: u8 = 2;
/// Lowest number of a triggered run: its moment in milliseconds. No task reaches this number of fires, and
/// every moment since 1970-04-26 is greater.
const FIRST_TRIGGERED: u64 = 10_000_000_000;
/// Name of the tasks that send requests to cancel a run.
const CANCEL_TAG: &str = "easytask.cancel";
/// Queue of the worker that makes HTTP calls.
const CALLS: &str = "rpc";

/// The log of a task, latest run first.
#[derive(Serialize)]
pub struct Log {
    logs: Vec<Line>,
}

/// A run in the format of the old task log.
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
        RunState::Firing
        | RunState::Held
        | RunState::Fired
        | RunState::Ready
        | RunState::Leased
        | RunState::Retrying => "running",
    }
}

/// Returns the message of the callback service, or the reason of the outcome.
fn extra(run: &Run) -> String {
    let result = run.result.as_deref().and_then(|result| serde_json::from_str::<Value>(result).ok());
    let message = result.as_ref().and_then(|result| result["message"].as_str());
    message.or(run.reason.as_deref()).unwrap_or_default().to_owned()
}

impl Api {
    /// Returns the log of a task.
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

    /// Confirms a run, also after its deadline.
    pub(super) async fn confirm(&self, request: &ConfirmRequest) -> Result<()> {
        let task = self.task(&request.task_id).await?;
        let run = self.run(&task, request.run_times).await?;
        let confirmation = Confirmation {
            succeeded: request.is_success,
            message: Some(request.extra.clone()).filter(|extra| !extra.is_empty()),
            result: request.is_success.then(|| json!({ "message": request.extra }).to_string()),
        };
        let run = self.service.confirm(&run, &confirmation).await?;
        if run.state == RunState::Cancelled { Err(ApiError::Stopped) } else { Ok(()) }
    }

    /// Returns the run with this number. Numbers grow with the moments, so the search ends at a smaller
    /// number. For triggered runs the number is the moment.
    async fn run(&self, task: &Task, number: u64) -> Result<RunId> {
        let mut before = None;
        loop {
            let page = RunPage { limit: PAGE, before };
            let runs = self.service.list_runs(&runs_of(task), &page).await?;
            if let Some(run) = runs.iter().find(|run| run_times(run) == number) {
                return Ok(run.id.clone());
            }
            let is_counted = number < FIRST_TRIGGERED;
            let is_before = |run: &Run| {
                if is_counted {
                    !run.triggered && (1..number).contains(&run.number)
                } else {
                    (run.scheduled_at.ms() as u64) < number
                }
            };
            let passed = runs.iter().any(is_before);
            // Large runs shorten a page: only an empty page is the last.
            let last = runs.last().filter(|_| !passed).ok_or(ApiError::NoTask)?;
            before = Some((last.scheduled_at, last.id.clone()));
        }
    }

    /// Cancels a task and its runs in progress, and tells its service to cancel them. The call to the
    /// service is stored before the run is cancelled: if the stop fails in between, a repeated stop finds
    /// the run open.
    pub(super) async fn stop(&self, task_id: &str, trace: &Trace) -> Result<()> {
        let task = self.task(task_id).await?;
        loop {
            let cancelled = self.service.cancel(&task.id, None).await?;
            self.cancel_runs(&cancelled.open_runs, trace).await?;
            if !cancelled.more_open_runs {
                return Ok(());
            }
        }
    }

    async fn cancel_runs(&self, runs: &[RunId], trace: &Trace) -> Result<()> {
        for id in runs {
            let before = self.service.run(id).await?;
            if before.state == RunState::Leased {
                self.send_cancel(&before, trace).await?;
            }
            match self.service.cancel_run_at_once(id).await {
                // Another worker has leased the run meanwhile.
                Ok(run) if run.claim > before.claim => self.send_cancel(&run, trace).await?,
                // The cancel was sent above, no worker held the run, or the run has just ended.
                Ok(_) | Err(ServiceError::RunState(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Requests the cancel of a run from each node of the service, once for each claim. Only the
    /// worker has the address of the node that processes the run, and that worker may have stopped.
    async fn send_cancel(&self, run: &Run, trace: &Trace) -> Result<()> {
        let job = requests::job(&run.data);
        let name = job["service"].as_str().unwrap_or_default();
        let Some(form) = services::find(&self.service, name).await? else { return Ok(()) };
        let body = json!({
            "cmd": CANCEL, "task_id": run.task_id.as_str(), "task_name": run.tag, "run_times": run_times(run),
        });
        let calls = form.nodes.iter().map(|node| {
            let call = json!({
                "method": "POST", "url": format!("{}{}", node.url, job["path"].as_str().unwrap_or("/")),
                "body": body.to_string(), "content_type": "application/json",
                "timeout_ms": form.timeout_ms(&self.settings), "retry_after_ms": [], "headers": trace.forwarded(),
            });
            Submission {
                queue: Some(CALLS.to_owned()),
                dedup: Dedup::Nothing,
                ..Submission::named(CANCEL_TAG, call.to_string())
            }
        });
        let key = format!("{CANCEL_TAG}:{}:{}", run.id, run.claim);
        let key = IdempotencyKey { key, fingerprint: run.id.to_string() };
        let stored = self.service.submit_once(calls.collect(), key).await?;
        stored.into_iter().try_for_each(|stored| stored.map(drop))?;
        Ok(())
    }
}

/// Returns the number of a run in callbacks and confirmations: its 1-based number within its task, or its
/// moment in milliseconds for a triggered run.
fn run_times(run: &Run) -> u64 {
    if run.triggered { u64::try_from(run.scheduled_at.ms()).unwrap_or(0) } else { run.number }
}

fn runs_of(task: &Task) -> RunFilter {
    RunFilter { task_id: Some(task.id.clone()), ..RunFilter::default() }
}
