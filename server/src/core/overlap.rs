//! The overlap policy of a task: what happens to a moment while an earlier run of the task has not ended.

use serde::{Deserialize, Serialize};

use super::invalid_timing::InvalidTiming;

/// Most runs that can wait under [`Overlap::QueueAll`].
pub const MAX_WAITING: u32 = 1_000;

/// What happens to a run while another run of its task has started and not ended. A task without a policy
/// allows that its runs overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Overlap {
    /// The run is suppressed: it ends as skipped.
    Skip,
    /// One run waits. Further runs are suppressed, or take the place of the waiting run.
    QueueOne { keep: Keep },
    /// Up to `max` runs wait, 1 to [`MAX_WAITING`]. Further runs are suppressed.
    QueueAll { max: u32 },
    /// The run that has started is cancelled, and the latest run starts when it has ended.
    CancelPrevious,
}

/// Which run stays in the one place of [`Overlap::QueueOne`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    First,
    Latest,
}

impl Overlap {
    /// Checks the bounds.
    ///
    /// # Errors
    /// `max` is out of bounds.
    pub fn validate(self) -> Result<(), InvalidTiming> {
        let Self::QueueAll { max } = self else { return Ok(()) };
        InvalidTiming::check("overlap.max", Some(i64::from(max)), 1, i64::from(MAX_WAITING))
    }
}
