//! Checks of one write of a run: the table of transitions, and the counters that change with each
//! transition. The simulator and the live checker use these checks.

use taskcenter_server::core::RunState;
use taskcenter_server::core::run::{RunEvent, transition};

/// The table has no such transition.
pub const NO_TRANSITION: &str = "a transition that is not in the table";
/// Attempt, claim or version does not change as the transition requires.
pub const WRONG_COUNTERS: &str = "a run's numbers are wrong";
/// An ended run has an `attention_at`, or a run that has not ended has none.
pub const WRONG_ATTENTION: &str = "a wrong attention_at";

/// The fields of a run that the checks need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFields {
    pub state: RunState,
    pub attempt: i64,
    pub claim: i64,
    pub version: i64,
    /// When a node must process the run again; `None` for an ended run.
    pub attention_at: Option<i64>,
    /// Whether a user has requested to cancel the run while a worker had leased it.
    pub cancel_requested: bool,
}

/// Returns the changes of attempt and claim by an event.
const fn changes_of(event: RunEvent) -> (i64, i64) {
    match event {
        RunEvent::Leased | RunEvent::Admitted => (0, 1),
        RunEvent::Requeued => (1, 0),
        RunEvent::Republished => (1, 1),
        _ => (0, 0),
    }
}

/// Returns the error of a new row, if any. `may_be_ready`: the store fires in one write, and the run
/// has a queue.
pub fn check_insert(row: &RunFields, may_be_ready: bool) -> Option<&'static str> {
    let RunFields { state, attempt, claim, version, .. } = *row;
    let is_first = match state {
        RunState::Firing | RunState::Skipped => true,
        RunState::Ready => may_be_ready,
        _ => false,
    };
    if !is_first {
        return Some(NO_TRANSITION);
    }
    if (attempt, claim, version) != (1, 1, 1) {
        return Some(WRONG_COUNTERS);
    }
    (!has_right_attention(row)).then_some(WRONG_ATTENTION)
}

/// Returns the error of a write that changed `before` to `after`, if any.
pub fn check_update(before: &RunFields, after: &RunFields) -> Option<&'static str> {
    let allowed = allowed_changes(before, after);
    if allowed.is_empty() {
        return Some(NO_TRANSITION);
    }
    let moved = (after.attempt - before.attempt, after.claim - before.claim);
    if after.version != before.version + 1 || !allowed.contains(&moved) {
        return Some(WRONG_COUNTERS);
    }
    (!has_right_attention(after)).then_some(WRONG_ATTENTION)
}

/// Returns the changes of attempt and claim by every legal write from `before` to `after`.
fn allowed_changes(before: &RunFields, after: &RunFields) -> Vec<(i64, i64)> {
    use RunState::{Dead, Fired, Firing, Held, Leased, Ready, Retrying};
    // `fired` is final for a run without outcome reports, which the state alone does not show.
    if before.attention_at.is_none() && before.state != Dead {
        return Vec::new();
    }
    let leads = |event: &&RunEvent| transition(before.state, **event) == Some(after.state);
    let mut allowed: Vec<(i64, i64)> =
        RunEvent::ALL.iter().filter(leads).map(|event| changes_of(*event)).collect();
    match (before.state, after.state) {
        // The lease has expired, and another node claims the run.
        (Firing, Firing) => allowed.push((0, 1)),
        // A worker receives a request to cancel, and the grace period begins.
        (Leased, Leased) if before.cancel_requested => allowed.push((0, 0)),
        // A worker renews its lease.
        (Leased, Leased) if after.attention_at >= before.attention_at => allowed.push((0, 0)),
        // An overdue outcome: a rescue records the failure and starts the next attempt in one
        // write.
        (Fired, Firing) => allowed.push((1, 1)),
        (Leased, Ready) | (Fired | Leased | Retrying, Held) => allowed.push((1, 0)),
        // A run gets the slot of its task, and waits for its limits.
        (Held, Held) => allowed.push((0, 0)),
        _ => {}
    }
    allowed
}

/// Returns whether `attention_at` fits the state. `fired` may be final or not.
fn has_right_attention(row: &RunFields) -> bool {
    match row.state {
        RunState::Fired => true,
        RunState::Firing | RunState::Held | RunState::Ready | RunState::Leased | RunState::Retrying => {
            row.attention_at.is_some()
        }
        RunState::Succeeded | RunState::Dead | RunState::Skipped | RunState::Cancelled => {
            row.attention_at.is_none()
        }
    }
}
