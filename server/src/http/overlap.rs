//! Conversion of overlap policies between the API and the engine.

use taskcenter_client::resources::{Overlap, OverlapKeep, OverlapPolicy};

use super::error::ApiError;
use crate::core::overlap::{Keep, Overlap as Rule};

/// Fields of a policy.
pub const FIELDS: &[&str] = &["policy", "keep", "max"];
/// Default of `max`.
const MAX_WAITING: u32 = 100;

/// Converts a policy of the API. `None`: runs may overlap.
///
/// # Errors
/// An error that names a field of another policy.
pub fn rule(overlap: Overlap) -> Result<Option<Rule>, ApiError> {
    let Overlap { policy, keep, max } = overlap;
    if keep.is_some() && policy != OverlapPolicy::QueueOne {
        return Err(ApiError::field("overlap.keep", "overlap.keep is for the policy queue_one: remove it"));
    }
    if max.is_some() && policy != OverlapPolicy::QueueAll {
        return Err(ApiError::field("overlap.max", "overlap.max is for the policy queue_all: remove it"));
    }
    let keep = match keep {
        None | Some(OverlapKeep::First) => Keep::First,
        Some(OverlapKeep::Latest) => Keep::Latest,
    };
    Ok(match policy {
        OverlapPolicy::Allow => None,
        OverlapPolicy::Skip => Some(Rule::Skip),
        OverlapPolicy::QueueOne => Some(Rule::QueueOne { keep }),
        OverlapPolicy::CancelPrevious => Some(Rule::CancelPrevious),
        OverlapPolicy::QueueAll => Some(Rule::QueueAll { max: max.unwrap_or(MAX_WAITING) }),
    })
}

/// Converts a policy to the API.
pub fn of(rule: Rule) -> Overlap {
    match rule {
        Rule::Skip => Overlap::new(OverlapPolicy::Skip),
        Rule::QueueOne { keep } => {
            let keep = match keep {
                Keep::First => OverlapKeep::First,
                Keep::Latest => OverlapKeep::Latest,
            };
            Overlap { keep: Some(keep), ..Overlap::new(OverlapPolicy::QueueOne) }
        }
        Rule::CancelPrevious => Overlap::new(OverlapPolicy::CancelPrevious),
        Rule::QueueAll { max } => Overlap { max: Some(max), ..Overlap::new(OverlapPolicy::QueueAll) },
    }
}
