//! Cancellation of a leased run: the worker gets the request with its next renewal, and time to stop.

use serde::{Deserialize, Serialize};

use super::{IllegalTransition, Outcome, Run, RunId, RunState};
use crate::core::Moment;

/// Reason of a run that a user cancelled.
pub const BY_HAND: &str = "cancelled by hand";
/// Beginning of the reason of a run whose worker did not stop after a request to cancel.
pub const FORCED: &str = "forced";

/// Request to cancel a run that a worker has leased, by a user or by a later run of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    pub requested_at: Moment,
    /// When the grace period ends, and the run ends as cancelled. `None`: the worker has not received the
    /// request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_at: Option<Moment>,
}

impl Run {
    /// Cancels the run. If a worker has leased the run, only records the request: the worker gets time to
    /// stop. A repetition changes nothing.
    ///
    /// # Errors
    /// If the run has ended.
    pub fn request_cancel(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        let is_handed_over = self.handed_over_claim == Some(self.claim);
        if self.state != RunState::Leased || is_handed_over {
            return self.cancel(&self.cancel_reason(), now);
        }
        self.cancel_request.get_or_insert(CancelRequest { requested_at: now, forced_at: None });
        Ok(())
    }

    /// Same as [`request_cancel`](Self::request_cancel), because the later run `by` of the task replaces this run.
    ///
    /// # Errors
    /// If the run has ended.
    pub fn replace_by(&mut self, by: &RunId, now: Moment) -> Result<(), IllegalTransition> {
        if self.cancel_request.is_none() {
            self.blocked_by = Some(by.clone());
        }
        self.request_cancel(now)
    }

    /// Returns the reason of a cancellation that was requested.
    fn cancel_reason(&self) -> String {
        self.blocked_by
            .as_ref()
            .map_or_else(|| BY_HAND.to_owned(), |by| format!("overlap: replaced by run {by}"))
    }

    /// Returns the reason of a run that its worker has stopped, with the worker's message.
    pub(super) fn stop_reason(&self, message: Option<String>) -> String {
        let reason = self.cancel_reason();
        message.map_or_else(|| reason.clone(), |message| format!("{reason}: {message}"))
    }

    /// Records that the worker receives the request to cancel, if there is one, and returns whether there is
    /// one. The lease then ends at `grace_until`, or at the time limit of the attempt, and is not extended.
    pub fn receive_cancel_request(&mut self, grace_until: Moment) -> bool {
        let forced_at = self.within_limit(grace_until);
        let Some(request) = &mut self.cancel_request else { return false };
        if request.forced_at.is_none() {
            request.forced_at = Some(forced_at);
            self.attention_at = Some(forced_at);
        }
        true
    }

    /// Returns whether an outcome cancels the run: a user has requested that, and the work is not done.
    pub fn is_cancelled_by(&self, outcome: &Outcome) -> bool {
        self.cancel_request.is_some() && !matches!(outcome, Outcome::Succeeded { .. })
    }

    /// Ends the run because its worker did not stop after a request to cancel. `why` is how the attempt
    /// ended. Returns `None` if there is no such request.
    pub(super) fn force_cancel(&mut self, why: &str, now: Moment) -> Option<Result<(), IllegalTransition>> {
        let request = self.cancel_request?;
        let is_late = request.forced_at.is_some_and(|at| at <= now);
        let why = if is_late { "the handler did not stop within its grace period" } else { why };
        Some(self.cancel(&format!("{FORCED}: {why}"), now))
    }
}
