//! Conversions between the server's types and the SDK's types, for HTTP and for the built-in workers.

use jiff::Timestamp;
use taskcenter_client::resources::{self, LeasedRun};
use taskcenter_client::wire::ReportedOutcome;

use crate::core::run::{Outcome, Progress};
use crate::core::run_log::{LogBatch, LogLevel, LogLine, cut_line};
use crate::core::{Moment, Run, RunId};
use crate::engine::service::Held;

/// Returns the instant of a moment. A moment beyond the calendar becomes the end of the calendar.
pub fn timestamp(at: Moment) -> Timestamp {
    let end = if at.ms() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.ms()).unwrap_or(end)
}

/// Returns the moment of an instant. A fraction of a millisecond is dropped.
pub fn moment(at: Timestamp) -> Moment {
    Moment::from_ms(at.as_millisecond())
}

/// Returns a leased run as its worker gets it.
pub fn leased_run(run: Run) -> LeasedRun {
    LeasedRun {
        run_id: run.id.to_string(),
        task_id: run.task_id.to_string(),
        queue: run.queue.unwrap_or_else(|| run.tag.clone()),
        tag: run.tag,
        data: run.data,
        headers: run.headers,
        labels: run.labels,
        max_runtime_ms: run.outcome_within_ms.and_then(|limit| u64::try_from(limit).ok()),
        scheduled_at: timestamp(run.scheduled_at),
        number: run.number,
        attempt: run.attempt,
        claim: run.claim,
        token: run.token,
        lease_until: timestamp(run.attention_at.unwrap_or(Moment::NEVER)),
    }
}

/// Returns the attempt that a worker names.
pub fn held(leased: resources::LeasedAttempt) -> Held {
    let progress = leased.progress.map(|resources::Progress { percent, text }| Progress { percent, text });
    Held { run_id: RunId::from_text(leased.run_id), attempt: leased.attempt, token: leased.token, progress }
}

/// Returns the outcome of a report. `result` counts for a success, `retry_after_ms` for a failure and for a
/// release.
pub fn outcome(reported: ReportedOutcome, result: Option<String>, retry_after_ms: Option<u64>) -> Outcome {
    match reported {
        ReportedOutcome::Succeeded => Outcome::Succeeded { result },
        ReportedOutcome::Failed => Outcome::Failed { retry_after_ms },
        ReportedOutcome::Dead => Outcome::Dead,
        ReportedOutcome::Skipped => Outcome::Skipped,
        ReportedOutcome::Released => Outcome::Released { after_ms: retry_after_ms },
    }
}

/// Returns the lines of a batch, and the attempt token.
pub fn log_batch(run_id: RunId, batch: resources::LogBatch) -> (LogBatch, String) {
    let resources::LogBatch { attempt, token, batch_id, lines } = batch;
    let line = |line: resources::LogEntry| LogLine {
        at: moment(line.at),
        level: log_level(line.level),
        text: cut_line(line.text),
    };
    (LogBatch { run_id, attempt, batch_id, lines: lines.into_iter().map(line).collect() }, token)
}

fn log_level(level: resources::LogLevel) -> LogLevel {
    match level {
        resources::LogLevel::Trace => LogLevel::Trace,
        resources::LogLevel::Debug => LogLevel::Debug,
        resources::LogLevel::Info => LogLevel::Info,
        resources::LogLevel::Warn => LogLevel::Warn,
        resources::LogLevel::Error => LogLevel::Error,
    }
}

/// Returns the level of a line as the API shows it.
pub fn shown_log_level(level: LogLevel) -> resources::LogLevel {
    match level {
        LogLevel::Trace => resources::LogLevel::Trace,
        LogLevel::Debug => resources::LogLevel::Debug,
        LogLevel::Info => resources::LogLevel::Info,
        LogLevel::Warn => resources::LogLevel::Warn,
        LogLevel::Error => resources::LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_beyond_the_calendar_becomes_its_end() {
        assert_eq!(timestamp(Moment::from_ms(i64::MAX)), Timestamp::MAX);
        assert_eq!(timestamp(Moment::from_ms(i64::MIN)), Timestamp::MIN);
        assert_eq!(timestamp(Moment::from_ms(1_500)).to_string(), "1970-01-01T00:00:01.5Z");
    }
}
