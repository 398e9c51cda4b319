use super::{Run, RunId, RunState};
use crate::core::Moment;

/// A run in the strip of its task: what an index contains about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMark {
    pub id: RunId,
    pub state: RunState,
    /// Nominal moment.
    pub scheduled_at: Moment,
}

impl Run {
    /// Returns the run as a mark in the strip of its task.
    pub fn as_mark(&self) -> RunMark {
        RunMark { id: self.id.clone(), state: self.state, scheduled_at: self.scheduled_at }
    }
}
