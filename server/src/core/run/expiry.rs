//! Expiry: a run whose first attempt does not start in time ends without an attempt.

use super::{IllegalTransition, Run, RunEvent, RunState};
use crate::core::Moment;

impl Run {
    /// Returns whether the run must end because its first attempt has not started in time.
    pub fn has_expired(&self, now: Moment) -> bool {
        let waits = match self.state {
            RunState::Firing | RunState::Held | RunState::Ready => true,
            RunState::Retrying => self.postponed,
            _ => false,
        };
        waits && self.start_limit().is_some_and(|limit| limit <= now)
    }

    /// Ends an expired run.
    ///
    /// # Errors
    /// If an attempt is in progress, or the run has ended.
    pub fn expire(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        let limit = self.waits_until();
        self.end(RunEvent::Expired, Some(format!("expired: no attempt started before {limit}")), now)
    }

    /// Returns how long the run may wait for the start of its current attempt.
    pub(super) fn waits_until(&self) -> Moment {
        self.start_limit().unwrap_or(Moment::NEVER)
    }

    fn start_limit(&self) -> Option<Moment> {
        self.expires_at.filter(|_| self.attempt == 1)
    }
}
