//! Admission of a run: it waits for the slot of its task, gets the slot, or is suppressed.

use super::{IllegalTransition, Run, RunEvent, RunId, RunState};
use crate::core::{Moment, TaskId};

/// Returns the slot of a task with an overlap policy. The run that has the slot is the one that may start.
pub fn slot_of_task(id: &TaskId) -> String {
    format!("task:{id}#0")
}

impl Run {
    /// Returns whether the run must be admitted before it is handed over.
    pub fn needs_admission(&self) -> bool {
        self.overlap.is_some() && self.slots.is_empty()
    }

    /// Admits the run with a slot. `holder` claims the run until `lease_until`, to hand it over.
    ///
    /// # Errors
    /// If the run is neither `firing` nor `held`.
    pub fn admit(
        &mut self,
        slot: String,
        holder: &str,
        lease_until: Moment,
    ) -> Result<(), IllegalTransition> {
        match self.state {
            RunState::Firing => {}
            _ => self.apply(RunEvent::Admitted)?,
        }
        self.claim(holder, lease_until);
        self.slots = vec![slot];
        Ok(())
    }

    /// Lets the run wait for admission.
    ///
    /// # Errors
    /// If the run is in another state than `firing` or `retrying`.
    pub fn hold(&mut self) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Held)?;
        self.leased_at = None;
        self.started_at = None;
        self.attention_at = Some(self.waits_until());
        Ok(())
    }

    /// Ends the run without an attempt, because of the run `by`.
    ///
    /// # Errors
    /// If the run has been handed over.
    pub fn suppress(&mut self, by: &RunId, now: Moment) -> Result<(), IllegalTransition> {
        self.end(RunEvent::Suppressed, Some(format!("overlap: suppressed by run {by}")), now)?;
        self.blocked_by = Some(by.clone());
        Ok(())
    }
}
