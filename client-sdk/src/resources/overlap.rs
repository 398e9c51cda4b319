//! Overlap policy of a task.

use serde::{Deserialize, Serialize};

/// Overlap policy: what happens to a run while an earlier run of the task has started and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    /// What happens to the run.
    pub policy: OverlapPolicy,
    /// Under `queue_one`: which run keeps the place of the waiting run. Default: `first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<OverlapKeep>,
    /// Under `queue_all`: maximum number of waiting runs. Bounds: 1 to 1,000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max: Option<u32>,
}

impl Overlap {
    /// Returns a policy with the defaults of its other fields.
    pub const fn new(policy: OverlapPolicy) -> Self {
        Self { policy, keep: None, max: None }
    }
}

/// What happens to a run while an earlier run of the task has started and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// The run starts: runs of the task overlap.
    Allow,
    /// The run is suppressed: it ends as `skipped`.
    Skip,
    /// One run waits. Further runs are suppressed, or take its place.
    QueueOne,
    /// Up to `max` runs wait. Further runs are suppressed.
    QueueAll,
    /// The earlier run is cancelled, and the latest run starts when it has ended.
    CancelPrevious,
}

impl OverlapPolicy {
    /// Returns the policy as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::QueueOne => "queue_one",
            Self::QueueAll => "queue_all",
            Self::CancelPrevious => "cancel_previous",
        }
    }
}

/// Which run keeps the place of the waiting run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OverlapKeep {
    /// The run that waits. Later runs are suppressed.
    First,
    /// The latest run. It suppresses the run that waits.
    Latest,
}
