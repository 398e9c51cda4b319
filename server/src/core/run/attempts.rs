//! History of a run: its attempts that have failed.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::core::Moment;

/// Maximum number of failed attempts that a run keeps. Older ones are dropped.
pub const MAX_KEPT_ATTEMPTS: usize = 20;
/// Maximum length of the error of a kept attempt, in bytes. The run's reason has the whole text of
/// the last one.
pub const MAX_KEPT_ERROR_BYTES: usize = 1024;

/// Shortest time from the hand-over of an attempt to the start of its handler that a run keeps, in
/// milliseconds.
pub const MIN_START_DELAY_MS: i64 = 100;

/// An attempt that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// 1-based number of the attempt.
    pub attempt: u32,
    /// Worker that leased the run. `None`: the run was published on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When its handler started, if the worker reported that; or else when a worker leased the attempt, or
    /// the broker confirmed its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Moment>,
    pub ended_at: Moment,
    /// Reason of the failure, cut at [`MAX_KEPT_ERROR_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Run {
    /// Returns when the current attempt started: its handler, if the worker reported that, or else its
    /// hand-over.
    pub fn attempt_started_at(&self) -> Option<Moment> {
        self.started_at.or(self.handed_over_at())
    }

    /// Returns when a worker leased the current attempt, or the broker confirmed its message.
    fn handed_over_at(&self) -> Option<Moment> {
        if self.queue.is_some() { self.leased_at } else { self.fired_at }
    }

    /// Keeps the start of the handler that a worker reports at `now`. The worker's clock may be wrong, so a
    /// start outside the time of the attempt becomes its nearest end.
    ///
    /// A start soon after the hand-over is not kept: outcomes that are equal share a write.
    pub fn note_start(&mut self, reported: Option<Moment>, now: Moment) {
        let handed_over = self.handed_over_at().unwrap_or(self.scheduled_at);
        let started_at = reported.map(|at| at.min(now).max(handed_over));
        self.started_at = started_at.filter(|at| at.since(handed_over) >= MIN_START_DELAY_MS);
    }

    /// Returns the worker of the current attempt. `None`: no worker has leased it.
    pub fn worker(&self) -> Option<&str> {
        self.leased_at.map(|_| self.holder.as_str())
    }

    /// Adds the current attempt to the history, unless it is there.
    pub(super) fn keep_failed_attempt(&mut self, ended_at: Moment) {
        if self.failed_attempts.last().is_some_and(|last| last.attempt == self.attempt) {
            return;
        }
        let error = self.reason.as_deref();
        let failed = FailedAttempt {
            attempt: self.attempt,
            worker: self.worker().map(str::to_owned),
            started_at: self.attempt_started_at(),
            ended_at,
            error: error.map(|text| text[..text.floor_char_boundary(MAX_KEPT_ERROR_BYTES)].to_owned()),
        };
        let excess = (self.failed_attempts.len() + 1).saturating_sub(MAX_KEPT_ATTEMPTS);
        self.failed_attempts.drain(..excess);
        self.failed_attempts.push(failed);
    }
}
