//! Conversion of tasks, runs and queues to the types of the resource API.

use std::collections::BTreeMap;

use taskcenter_client::resources::{
    ChangedTask, OriginalPayload, QueueResource, RunAttempt, RunLogLine, RunLogPage, RunProgress,
    RunResource, ScheduleSpec, TaskResource,
};

use super::{cron_options, retry, timing};
use crate::core::run::{Progress, ReportedProgress};
use crate::core::submission::Dedup;
use crate::core::{Moment, Run, RunState, Schedule, Task};
use crate::engine::service::{Changed, LogPage, NumberedLine, QueueRow, definition};
use crate::wire::{shown_log_level, timestamp};

/// Converts a schedule.
pub fn schedule(schedule: Schedule) -> ScheduleSpec {
    match schedule {
        Schedule::Once => ScheduleSpec::Once {},
        Schedule::Every { period_ms } => ScheduleSpec::Every { period_ms },
        Schedule::Cron { expression, zone, options } => {
            let (also, dialect, dst) = cron_options::of(options);
            ScheduleSpec::Cron { cron: expression, zone: Some(zone), also, dialect, dst }
        }
    }
}

/// Converts a task.
pub fn task(task: Task) -> TaskResource {
    let dedup_key = match definition(&task).dedup {
        Dedup::Key(key) => Some(key),
        Dedup::Pair | Dedup::Nothing => None,
    };
    TaskResource {
        id: task.id.to_string(),
        name: task.name,
        data: task.data,
        headers: task.headers,
        labels: task.labels,
        schedule: schedule(task.schedule),
        start_at: task.start_at.map(timestamp),
        end_at: task.end_at.map(timestamp),
        max_fires: task.max_fires,
        ack: task.ack,
        max_runtime_sec: task.max_runtime_sec,
        start_within_ms: task.start_within_ms,
        queue: task.queue,
        retry: task.retry.map(retry::resource),
        misfire: timing::misfire(task.timing.misfire),
        jitter_ms: timing::jitter_ms(&task.timing),
        overlap: task.timing.overlap.map(super::overlap::of),
        concurrency: super::concurrency::of(&task.timing.concurrency),
        calendars: super::calendars::of(task.timing.calendars.as_deref()),
        rate: task.timing.rate.as_ref().map(super::rate_limit::of),
        dedup_key,
        state: task.state.as_str().to_owned(),
        rev: task.rev,
        created_at: timestamp(task.created_at),
        next_due_at: task.next_due_at.map(timestamp),
        nominal_at: task.nominal_at.map(timestamp),
        last_due_at: task.last_due_at.map(timestamp),
        fired_count: task.fired_count,
        waits_for: None,
        existing: false,
        replaced: false,
        open_runs: Vec::new(),
        more_open_runs: false,
        warnings: Vec::new(),
    }
}

/// Converts a changed task.
pub fn changed(changed: Changed) -> ChangedTask {
    let open_runs = changed.open_runs.iter().map(ToString::to_string).collect();
    ChangedTask { task: task(changed.task), open_runs, more_open_runs: changed.more_open_runs }
}

/// Converts a run.
pub fn run(run: Run) -> RunResource {
    let progress = run.current_progress().map(progress);
    let worker = (run.state == RunState::Leased).then_some(run.holder);
    RunResource {
        run_id: run.id.to_string(),
        task_id: run.task_id.to_string(),
        tag: run.tag,
        labels: run.labels,
        queue: run.queue,
        scheduled_at: timestamp(run.scheduled_at),
        due_at: run.due_at.map(timestamp),
        triggered: run.triggered,
        backfill: run.id.backfill().map(|of| of.operation.to_owned()),
        state: run.state.as_str().to_owned(),
        reason: run.reason,
        blocked_by: run.blocked_by.map(|id| id.to_string()),
        attempt: run.attempt,
        claim: run.claim,
        worker,
        // In a queue, the wait may have no end.
        attention_at: run.attention_at.filter(|at| *at < Moment::NEVER).map(timestamp),
        expires_at: run.expires_at.map(timestamp),
        fired_at: run.fired_at.map(timestamp),
        leased_at: run.leased_at.map(timestamp),
        started_at: run.started_at.map(timestamp),
        cancel_requested_at: run.cancel_request.map(|request| timestamp(request.requested_at)),
        progress,
        ended_at: run.ended_at.map(timestamp),
        result: run.result.map(result),
        skipped_to: run.stretch.map(|stretch| timestamp(stretch.to)),
        skipped_count: run.stretch.map(|stretch| stretch.count),
        data: None,
        headers: BTreeMap::new(),
        original: None,
        attempts: Vec::new(),
        waits_for: None,
    }
}

fn progress(reported: &ReportedProgress) -> RunProgress {
    let Progress { percent, text } = reported.progress.clone();
    RunProgress { percent, text, at: timestamp(reported.at) }
}

/// Converts a run, with its payload and its attempts.
pub fn run_in_full(run: Run) -> RunResource {
    let (data, headers, attempts) = (run.data.clone(), run.headers.clone(), attempts(&run));
    let original = run.edited.as_ref().map(|edited| OriginalPayload {
        data: edited.original.data.clone(),
        headers: edited.original.headers.clone(),
    });
    RunResource { data: Some(data), headers, original, attempts, ..self::run(run) }
}

fn attempts(run: &Run) -> Vec<RunAttempt> {
    let failed = run.failed_attempts.iter().map(|failed| RunAttempt {
        attempt: failed.attempt,
        worker: failed.worker.clone(),
        started_at: failed.started_at.map(timestamp),
        ended_at: Some(timestamp(failed.ended_at)),
        outcome: Some("failed".to_owned()),
        error: failed.error.clone(),
        data_bytes: None,
        data_sha256: None,
    });
    failed.chain(current_attempt(run)).map(|attempt| with_payload(run, attempt)).collect()
}

/// Adds what the attempt delivered, if that differs among the attempts.
fn with_payload(run: &Run, attempt: RunAttempt) -> RunAttempt {
    let payload = run.payload_of(attempt.attempt);
    RunAttempt {
        data_bytes: payload.as_ref().map(|payload| payload.bytes),
        data_sha256: payload.map(|payload| payload.sha256),
        ..attempt
    }
}

/// Returns the current attempt, unless it has failed, or has not started.
fn current_attempt(run: &Run) -> Option<RunAttempt> {
    let is_failed = run.failed_attempts.last().is_some_and(|last| last.attempt == run.attempt);
    let started_at = run.attempt_started_at().filter(|_| !is_failed)?;
    let outcome = RunState::TERMINAL.contains(&run.state).then(|| run.state.as_str().to_owned());
    Some(RunAttempt {
        attempt: run.attempt,
        worker: run.worker().map(str::to_owned),
        started_at: Some(timestamp(started_at)),
        ended_at: run.ended_at.filter(|_| outcome.is_some()).map(timestamp),
        error: run.reason.clone().filter(|_| outcome.is_some() && run.state != RunState::Succeeded),
        outcome,
        data_bytes: None,
        data_sha256: None,
    })
}

/// Decodes a result. A text that is not JSON becomes a JSON string.
fn result(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

/// Converts a queue.
pub fn queue(row: QueueRow) -> QueueResource {
    let QueueRow { queue, held, ready, leased, retrying, oldest_ready_at } = row;
    let oldest_ready_at = oldest_ready_at.map(timestamp);
    QueueResource {
        queue,
        held,
        ready,
        leased,
        retrying,
        oldest_ready_at,
        leases_per_minute: 0,
        waits_for: None,
        hold: None,
        limits: Vec::new(),
    }
}

/// Converts a page of a log.
pub fn log_page(page: LogPage) -> RunLogPage {
    RunLogPage {
        lines: page.lines.into_iter().map(log_line).collect(),
        next_from: page.next,
        has_more: page.has_more,
        end_state: page.end.map(|state| state.as_str().to_owned()),
    }
}

fn log_line(NumberedLine { number, attempt, line }: NumberedLine) -> RunLogLine {
    let level = shown_log_level(line.level);
    RunLogLine { line: number, attempt, at: timestamp(line.at), level, text: line.text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_not_json_becomes_a_string() {
        assert_eq!(result("{\"a\":1}".into()), serde_json::json!({"a": 1}));
        assert_eq!(result("{".into()), serde_json::json!("{"));
    }
}
