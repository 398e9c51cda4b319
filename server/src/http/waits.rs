//! What a run waits for, and warnings about tasks whose runs would wait.

use serde::Deserialize;

use super::error::ApiError;
use crate::core::concurrency::Scope;
use crate::core::hold::Hold;
use crate::core::rate::period_text;
use crate::core::{Moment, Run, RunState, Task};
use crate::engine::service::{Blocker, Service, ServiceError};
use crate::wire::timestamp;

/// Queues of the built-in workers.
const CALLBACK: &str = "callback";
const SCRIPT: &str = "script";

/// Returns what the run waits for. `None`: the run has ended.
///
/// # Errors
/// An error of the store.
pub async fn of_run(service: &Service, run: &Run) -> Result<Option<String>, ApiError> {
    let until = run.attention_at.filter(|at| *at < Moment::NEVER).map(timestamp);
    let until = until.map(|at| format!(", until {at}")).unwrap_or_default();
    if let Some(hold) = service.hold_of_run(run).await? {
        return Ok(Some(end_of_hold(&hold) + &until));
    }
    Ok(match run.state {
        // A hold that has ended a moment ago leaves nothing that blocks the run.
        RunState::Held => {
            let blocked = match service.blocker(run).await? {
                Some(blocker) => Some(held(run, &blocker)),
                None => rate_limited(service, run).await?,
            };
            Some(blocked.unwrap_or_else(|| "its admission".to_owned()) + &until)
        }
        RunState::Ready => {
            let queue = run.queue.as_deref().unwrap_or(&run.tag);
            let free = || format!("a free worker on queue {queue:?}");
            Some(absent_worker(service, queue).unwrap_or_else(free) + &until)
        }
        RunState::Leased if run.cancel_request.is_some() => {
            let why = run.blocked_by.as_ref().map_or_else(
                || "a user has cancelled the run".to_owned(),
                |by| format!("run {by} replaces the run"),
            );
            Some(format!("worker {:?} to stop: {why}{until}", run.holder))
        }
        RunState::Leased => Some(format!("the outcome of worker {:?}{until}", run.holder)),
        RunState::Retrying => Some(format!("the pause before the next attempt{until}")),
        RunState::Fired if !run.has_ended() => Some(format!("an outcome report{until}")),
        RunState::Firing => Some("the hand-over to the bus or to its queue".to_owned()),
        _ => None,
    })
}

/// Returns that a run waits for the end of a hold: which one, until when, who created it, and why.
pub fn end_of_hold(hold: &Hold) -> String {
    let (scope, name) = (hold.scope.as_str(), &hold.name);
    let at = hold.until.map(|until| format!(" at {}", timestamp(until))).unwrap_or_default();
    let by = Some(&hold.created_by).filter(|by| !by.is_empty()).map(|by| format!(", created by {by:?}"));
    let why = Some(&hold.reason).filter(|why| !why.is_empty()).map(|why| format!(", reason {why:?}"));
    format!(
        "the end of the hold of {scope} {name:?}{at}{}{}",
        by.unwrap_or_default(),
        why.unwrap_or_default()
    )
}

/// Returns what a run waits for that is not admitted: the limit or the policy, and a run that blocks it.
fn held(run: &Run, blocker: &Blocker) -> String {
    let by = blocker.run.as_ref().map_or_else(|| "another run".to_owned(), |id| format!("run {id}"));
    let Some(limit) = &blocker.limit else {
        return format!("the end of {by}, because of the overlap policy of the task");
    };
    let (max, used) = (limit.max, blocker.used);
    let runs = runs_of(run, limit.scope, limit.key.as_deref());
    format!("a slot of the concurrency limit {max} for {runs}: {used} are in use, one of them by {by}")
}

/// Returns the rate limit for whose permit a run waits, and until when.
async fn rate_limited(service: &Service, run: &Run) -> Result<Option<String>, ApiError> {
    let Some((rate, next_at)) = service.next_permit(run).await? else { return Ok(None) };
    let runs = runs_of(run, rate.scope, rate.key.as_deref());
    let (limit, period, next_at) = (rate.limit, period_text(rate.period_ms), timestamp(next_at));
    Ok(Some(format!(
        "the rate limit of {limit} starts per {period} for {runs}: the next start is at {next_at}"
    )))
}

/// Returns the runs that count towards a limit of the run.
fn runs_of(run: &Run, scope: Scope, key: Option<&str>) -> String {
    let runs = match scope {
        Scope::Task => "runs of the task".to_owned(),
        Scope::Tag => format!("runs with tag {:?}", run.tag),
        Scope::Queue => format!("runs in queue {:?}", run.queue.as_deref().unwrap_or_default()),
        Scope::All => "runs on this server".to_owned(),
    };
    key.map_or(runs.clone(), |key| format!("{runs} and key {key:?}"))
}

/// Returns which run of a task waits for admission, and what it waits for; or the hold because of which the runs of the
/// task wait. `None`: no run waits.
///
/// # Errors
/// An error of the store.
pub async fn of_task(service: &Service, task: &Task) -> Result<Option<String>, ApiError> {
    if task.waits_for_calendar() {
        let what = "the task waits for another version of its calendars: they leave no further moment";
        return Ok(Some(what.to_owned()));
    }
    if let Some(hold) = service.hold_of_task(task).await? {
        return Ok(Some(format!("the runs wait for {}", end_of_hold(&hold))));
    }
    let Some(run) = service.first_held(&task.id).await? else { return Ok(None) };
    let waits_for = of_run(service, &run).await?;
    Ok(waits_for.map(|what| format!("run {} waits for {what}", run.id)))
}

/// Returns that a queue has no worker, and what to do. `None`: the queue has a worker.
pub fn absent_worker(service: &Service, queue: &str) -> Option<String> {
    let attendance = service.attendance(queue);
    if attendance.is_attended(service.now()) {
        return None;
    }
    let since = timestamp(attendance.last_asked_at.unwrap_or(attendance.observed_since));
    let hint = match queue {
        SCRIPT => "; set script.enabled, or start `taskcenter worker --queues script`",
        _ => "",
    };
    Some(format!("a worker on queue {queue:?}; none has asked this node for runs since {since}{hint}"))
}

/// Returns notes about a new task whose runs would wait or fail.
///
/// # Errors
/// An error of the store.
pub async fn warnings(service: &Service, task: &Task) -> Result<Vec<String>, ApiError> {
    if task.waits_for_calendar() {
        return Ok(of_task(service, task).await?.into_iter().collect());
    }
    let Some(queue) = task.queue.as_deref() else { return Ok(unused_limit(task).into_iter().collect()) };
    let hold = service.hold_of_task(task).await?.map(|hold| end_of_hold(&hold));
    let worker = hold.or_else(|| absent_worker(service, queue));
    let worker = worker.map(|what| format!("the runs will wait for {what}"));
    let unknown = if queue == CALLBACK { unknown_service(service, task).await? } else { None };
    Ok(worker.into_iter().chain(unknown).collect())
}

/// Returns that a limit of the attempts of a bus task has no effect.
fn unused_limit(task: &Task) -> Option<String> {
    let is_unused = task.max_runtime_sec.is_some() && !task.ack;
    is_unused.then(|| {
        "max_runtime_sec has no effect: the runs go to the message bus, and without ack no report is expected"
            .to_owned()
    })
}

/// Returns that the callback service of the task does not exist. `None` also if the caller may not
/// know.
async fn unknown_service(service: &Service, task: &Task) -> Result<Option<String>, ApiError> {
    #[derive(Deserialize)]
    struct Callback {
        service: String,
    }
    let Ok(Callback { service: name }) = serde_json::from_str(&task.data) else { return Ok(None) };
    match service.callback_service(&name).await {
        Ok(None) => {
            Ok(Some(format!("the callback service {name:?} does not exist: create it by POST /v1/services")))
        }
        Ok(Some(_)) | Err(ServiceError::Forbidden(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
