use serde::{Deserialize, Serialize};

use super::{HoldMark, Permit, RunId, RunState};
use crate::core::overlap::Overlap;
use crate::core::{Moment, Task};

/// A run that has not ended, without payload and result: a task may have very many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    pub id: RunId,
    /// Revision of the task's definition.
    pub rev: u32,
    /// Nominal moment.
    pub scheduled_at: Moment,
    /// Whether a user fired the run.
    pub triggered: bool,
    pub state: RunState,
    /// Number of the current attempt, from 1.
    pub attempt: u32,
    /// Time of the last hand-over to the bus or to the queue.
    pub fired_at: Option<Moment>,
    /// Overlap policy. `None`: runs may overlap.
    #[serde(default)]
    pub overlap: Option<Overlap>,
    /// Slots that the run has.
    #[serde(default)]
    pub slots: Vec<String>,
    /// What a hold has done to the run.
    #[serde(default)]
    pub hold: Option<HoldMark>,
    /// Permit of the rate limit.
    #[serde(default)]
    pub permit: Option<Permit>,
}

impl OpenRun {
    /// Returns whether the run waits for the end of a hold.
    pub fn waits_for_hold(&self) -> bool {
        self.state == RunState::Held && matches!(self.hold, Some(HoldMark::Queue | HoldMark::Tag))
    }

    /// Returns whether the run was admitted before.
    pub fn was_admitted(&self) -> bool {
        self.attempt > 1 || self.fired_at.is_some() || self.permit.is_some()
    }

    /// Returns whether the run is delivered even if its task is deleted: the task has passed the
    /// run's moment, or an attempt was handed over before. A triggered run has no moment of the
    /// schedule, so only its first hand-over decides.
    pub fn is_decided(&self, task: &Task) -> bool {
        let was_tried = self.attempt > 1 || self.fired_at.is_some();
        was_tried || (!self.triggered && task.has_passed(self.rev, self.scheduled_at))
    }
}
