//! The changes of a run. Each one checks the table of transitions first.

use super::holder::{HANDED_OVER, node_of_holder};
use super::{IllegalTransition, Outcome, PayloadChange, Run, RunEvent, RunState, transition};
use crate::core::Moment;
use crate::core::retry::RetryPolicy;
use crate::core::task::stable_hash;

impl Run {
    /// Records that the broker confirmed the message.
    ///
    /// # Errors
    /// If the run is not in `firing`.
    pub fn mark_fired(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Confirmed)?;
        self.fired_at = Some(now);
        self.attention_at = self.outcome_within_ms.map(|within| now.plus_ms(within));
        if self.attention_at.is_none() {
            self.slots.clear();
            self.ended_at = Some(now);
        }
        Ok(())
    }

    /// Puts the run into its queue, where it waits until it expires.
    ///
    /// # Errors
    /// If the run is not in `firing`.
    pub fn enqueue(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Queued)?;
        self.fired_at = Some(now);
        self.attention_at = Some(self.waits_until());
        Ok(())
    }

    /// Leases the run to a worker from `now` until `lease_until`, or until the time limit of the
    /// attempt. `token` is the token of the attempt.
    ///
    /// # Errors
    /// If the run is not in `ready`.
    pub fn lease(
        &mut self,
        worker: &str,
        token: String,
        now: Moment,
        lease_until: Moment,
    ) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Leased)?;
        self.token = token;
        self.leased_at = Some(now);
        self.claim(worker, self.within_limit(lease_until));
        Ok(())
    }

    /// Hands the attempt over to another party, which confirms the outcome before `until`, or before
    /// the time limit of the attempt. The run no longer depends on the node whose worker held it.
    pub fn hand_over(&mut self, until: Moment) {
        if node_of_holder(&self.holder).is_some() {
            HANDED_OVER.clone_into(&mut self.holder);
        }
        self.handed_over_claim = Some(self.claim);
        self.attention_at = Some(self.within_limit(until));
    }

    /// Returns `lease_until`, or the end of the time limit of the leased attempt if that is earlier.
    pub fn within_limit(&self, lease_until: Moment) -> Moment {
        self.limit().map_or(lease_until, |limit| lease_until.min(limit))
    }

    fn limit(&self) -> Option<Moment> {
        self.leased_at.zip(self.outcome_within_ms).map(|(from, within_ms)| from.plus_ms(within_ms))
    }

    /// Records the outcome that a handler reports for the current attempt. `default` is the
    /// server's retry policy.
    ///
    /// # Errors
    /// If no attempt is in progress.
    pub fn report(
        &mut self,
        outcome: &Outcome,
        reason: Option<String>,
        default: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        if self.is_cancelled_by(outcome) {
            return self.cancel(&self.stop_reason(reason), now);
        }
        match outcome {
            Outcome::Succeeded { result } => {
                self.end(RunEvent::Succeeded, reason, now)?;
                self.result.clone_from(result);
                Ok(())
            }
            Outcome::Released { after_ms: None } => self.wait_in_queue(RunEvent::Released),
            Outcome::Released { after_ms: Some(after_ms) } => self.wait_for(*after_ms, reason, now),
            Outcome::Dead => {
                self.end(RunEvent::Died, Some(reason_or(reason, "reported as dead by the handler")), now)
            }
            Outcome::Skipped => {
                self.end(RunEvent::Skipped, Some(reason_or(reason, "skipped by the handler")), now)
            }
            Outcome::Failed { retry_after_ms } => self.fail(*retry_after_ms, reason, default, now),
        }
    }

    fn wait_for(
        &mut self,
        after_ms: u64,
        reason: Option<String>,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Postponed)?;
        self.postponed = true;
        self.free_limits();
        self.leased_at = None;
        self.started_at = None;
        self.reason = Some(reason_or(reason, "postponed by the worker"));
        self.attention_at = Some(after(now, after_ms).min(self.waits_until()));
        Ok(())
    }

    pub(super) fn fail(
        &mut self,
        retry_after_ms: Option<u64>,
        reason: Option<String>,
        default: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        let retry = self.retry_policy(default);
        let reason = reason_or(reason, "failed");
        let Some(pause_ms) = retry.pause_after(self.attempt, self.draw()) else {
            let reason = format!("{reason} (attempt {} of {})", self.attempt, retry.attempts());
            return self.end(RunEvent::Died, Some(reason), now);
        };
        self.apply(RunEvent::Failed)?;
        self.free_limits();
        self.reason = Some(reason);
        self.keep_failed_attempt(now);
        self.attention_at = Some(after(now, retry_after_ms.unwrap_or(pause_ms)));
        Ok(())
    }

    /// Returns the number that decides the jitter of the pause after the current attempt. Every node gets the
    /// same number, so a repeated write stores the same pause.
    fn draw(&self) -> u64 {
        stable_hash(format!("{}/{}", self.id, self.attempt).as_bytes())
    }

    /// Records that no outcome arrived in time. The attempt counts as failed; the next one may
    /// start at once. After a request to cancel, the run ends instead.
    ///
    /// # Errors
    /// If no attempt is in progress.
    pub fn fail_overdue(&mut self, default: &RetryPolicy, now: Moment) -> Result<(), IllegalTransition> {
        let is_over = self.state != RunState::Leased || self.limit().is_some_and(|limit| limit <= now);
        let reason =
            if is_over { "no outcome was reported within max_runtime" } else { "the worker's lease expired" };
        self.fail_without_outcome(reason, default, now)
    }

    /// Records that the node stopped whose built-in worker held the run. The attempt counts as
    /// failed; the next one may start at once.
    ///
    /// # Errors
    /// If no attempt is in progress.
    pub fn fail_orphaned(&mut self, default: &RetryPolicy, now: Moment) -> Result<(), IllegalTransition> {
        self.fail_without_outcome("the node that worked on the run stopped", default, now)
    }

    fn fail_without_outcome(
        &mut self,
        reason: &str,
        default: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        let failed = |run: &mut Self| run.fail(Some(0), Some(reason.to_owned()), default, now);
        self.force_cancel(reason, now).unwrap_or_else(|| failed(self))
    }

    /// Starts the next attempt: in the queue, or over the bus, where the caller must publish the
    /// message. A postponed run enters its queue with the same attempt.
    ///
    /// # Errors
    /// If the run is not in `retrying`.
    pub fn start_next_attempt(&mut self, token: String) -> Result<(), IllegalTransition> {
        if self.postponed && self.needs_admission() {
            return self.hold();
        }
        if self.postponed {
            self.wait_in_queue(RunEvent::Resumed)?;
            self.postponed = false;
            return Ok(());
        }
        self.attempt += 1;
        self.token = token;
        if self.needs_admission() {
            return self.hold();
        }
        match self.queue {
            Some(_) => return self.wait_in_queue(RunEvent::Requeued),
            None => self.apply(RunEvent::Republished)?,
        }
        self.leased_at = None;
        self.started_at = None;
        Ok(())
    }

    fn wait_in_queue(&mut self, event: RunEvent) -> Result<(), IllegalTransition> {
        self.apply(event)?;
        self.leased_at = None;
        self.started_at = None;
        self.attention_at = Some(self.waits_until());
        Ok(())
    }

    /// Makes the next attempt due now, on request of a user. A dead run gets one more attempt. The next attempts
    /// deliver the payload with `change`.
    ///
    /// # Errors
    /// If the run is neither `dead` nor `retrying`.
    pub fn redrive(&mut self, change: &PayloadChange, now: Moment) -> Result<(), IllegalTransition> {
        let ended_at = self.ended_at.unwrap_or(now);
        self.set_state(transition(self.state, RunEvent::Redriven), RunEvent::Redriven)?;
        self.edit_payload(change, now);
        self.keep_failed_attempt(ended_at);
        self.attention_at = Some(now);
        self.ended_at = None;
        Ok(())
    }

    /// Records an outcome without the attempt's token, at any time: also for a run that is dead,
    /// and while a later attempt is in progress. A run that has succeeded, was skipped or cancelled
    /// stays unchanged.
    ///
    /// # Errors
    /// If the server does not wait for an outcome of the run.
    pub fn confirm(
        &mut self,
        succeeded: bool,
        message: Option<String>,
        result: Option<String>,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        use RunState as S;
        let event = match (self.state, succeeded) {
            (S::Held | S::Ready | S::Retrying | S::Dead, true) => RunEvent::LateSuccess,
            (S::Held | S::Ready | S::Retrying | S::Dead, false) => RunEvent::LateFailure,
            (_, true) => RunEvent::Succeeded,
            (_, false) if self.cancel_request.is_some() => RunEvent::Cancelled,
            (_, false) => RunEvent::Died,
        };
        // A dead run has ended, but a confirmation still corrects its outcome.
        let is_final = self.has_ended() && self.state != S::Dead;
        let next = if is_final { None } else { transition(self.state, event) };
        self.set_state(next, event)?;
        self.postponed = false;
        self.reason = if succeeded { message } else { Some(reason_or(message, "failed")) };
        self.result = result.filter(|_| succeeded);
        self.attention_at = None;
        self.ended_at = Some(now);
        Ok(())
    }

    /// Cancels the run.
    ///
    /// # Errors
    /// If the run has ended.
    pub fn cancel(&mut self, reason: &str, now: Moment) -> Result<(), IllegalTransition> {
        self.end(RunEvent::Cancelled, Some(reason.to_owned()), now)
    }

    /// Makes `holder` responsible for the run until `lease_until`.
    pub fn claim(&mut self, holder: &str, lease_until: Moment) {
        holder.clone_into(&mut self.holder);
        self.claim += 1;
        self.attention_at = Some(lease_until);
    }

    /// Leaves the run as it is until `at`, when it needs attention again.
    pub fn set_aside(&mut self, at: Moment) {
        self.attention_at = Some(at);
    }

    pub(super) fn end(
        &mut self,
        event: RunEvent,
        reason: Option<String>,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        self.apply(event)?;
        self.postponed = false;
        self.reason = reason;
        self.attention_at = None;
        self.ended_at = Some(now);
        Ok(())
    }

    pub(super) fn apply(&mut self, event: RunEvent) -> Result<(), IllegalTransition> {
        // `fired` is final for a run without outcome reports, which the state alone does not show.
        let next = if self.has_ended() { None } else { transition(self.state, event) };
        self.set_state(next, event)
    }

    fn set_state(&mut self, next: Option<RunState>, event: RunEvent) -> Result<(), IllegalTransition> {
        self.state = next.ok_or(IllegalTransition { state: self.state, event })?;
        if self.state != RunState::Leased {
            self.lease_slot = None;
        }
        if RunState::TERMINAL.contains(&self.state) {
            self.slots.clear();
            self.permit = None;
        }
        Ok(())
    }
}

/// Returns the moment `pause_ms` milliseconds after `now`.
fn after(now: Moment, pause_ms: u64) -> Moment {
    now.plus_ms(i64::try_from(pause_ms).unwrap_or(i64::MAX))
}

/// Returns the default where the handler gave no reason: a user will look for one.
fn reason_or(reason: Option<String>, default: &str) -> String {
    reason.unwrap_or_else(|| default.to_owned())
}
