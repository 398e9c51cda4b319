//! Conversion of what a create does if a live task has its key.

use taskcenter_client::resources::{Debounce, OnConflict as Action, ScheduleSpec, TaskSpec};

use super::error::ApiError;
use crate::core::conflict::OnConflict;

/// Maximum of `debounce.max_ms`: 366 days.
const MAX_DEBOUNCE_MS: u64 = 366 * 86_400_000;

/// Returns what a create does if a live task has its key.
///
/// # Errors
/// An error that names a bound of the debounce, or a field that excludes it.
pub fn on_conflict(spec: &TaskSpec) -> Result<OnConflict, ApiError> {
    if let Some(debounce) = &spec.debounce {
        check_bounds(debounce)?;
        check_others(spec)?;
        return Ok(OnConflict::Debounce { max_ms: debounce.max_ms });
    }
    Ok(match spec.on_conflict {
        None | Some(Action::Return) => OnConflict::Return,
        Some(Action::Reject) => OnConflict::Reject,
        Some(Action::Replace) => OnConflict::Replace,
    })
}

fn check_bounds(debounce: &Debounce) -> Result<(), ApiError> {
    let Debounce { quiet_ms, max_ms } = *debounce;
    if !(1..=MAX_DEBOUNCE_MS).contains(&quiet_ms) {
        let why = format!("quiet_ms should be between 1 and {MAX_DEBOUNCE_MS}");
        return Err(ApiError::field("debounce.quiet_ms", why));
    }
    if !(quiet_ms..=MAX_DEBOUNCE_MS).contains(&max_ms) {
        let why = format!("max_ms should be between quiet_ms, which is {quiet_ms}, and {MAX_DEBOUNCE_MS}");
        return Err(ApiError::field("debounce.max_ms", why));
    }
    Ok(())
}

fn check_others(spec: &TaskSpec) -> Result<(), ApiError> {
    if spec.dedup_key.is_none() {
        return Err(ApiError::field(
            "dedup_key",
            "debounce needs dedup_key: creates with one key are one task",
        ));
    }
    if spec.schedule != (ScheduleSpec::Once {}) {
        return Err(ApiError::field("schedule", "debounce is for one-shot tasks: remove schedule"));
    }
    let excluded = [
        ("start_at", spec.start_at.is_some()),
        ("delay_ms", spec.delay_ms.is_some()),
        ("jitter_ms", spec.jitter_ms.is_some()),
        ("on_conflict", spec.on_conflict.is_some()),
    ];
    match excluded.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(ApiError::field(
            field,
            format!("{field} and debounce are mutually exclusive: send one of them"),
        )),
        None => Ok(()),
    }
}
