//! Which steps a run may take in one write: the product's one table of transitions, and the numbers that move with each of its lines.
//! The simulator and the live checker judge by the same rule.

use taskcenter_server::core::RunState;
use taskcenter_server::core::run::{RunEvent, transition};

/// The table has no such line, or the line is another run's.
pub const NO_LINE: &str = "a transition that is not in the table";
/// The attempt, the claim or the version has not moved as that line moves it.
pub const NUMBERS: &str = "a run's numbers are wrong";
/// It has ended and somebody is to look at it again, or the other way round.
pub const ENDS: &str = "an end that is none";

/// What of a run its steps are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    pub state: RunState,
    pub attempt: i64,
    pub claim: i64,
    pub version: i64,
    /// When somebody must look at it again; `None` once it has ended.
    pub attention_at: Option<i64>,
}

/// By how much an event moves the attempt and the claim.
const fn moves(event: RunEvent) -> (i64, i64) {
    match event {
        RunEvent::Leased => (0, 1),
        RunEvent::Requeued => (1, 0),
        RunEvent::Republished => (1, 1),
        _ => (0, 0),
    }
}

/// What is wrong with a row that was not there before.
pub fn wrong_begin(row: &Stand) -> Option<&'static str> {
    let Stand { state, attempt, claim, version, .. } = *row;
    if !matches!(state, RunState::Firing | RunState::Skipped) {
        return Some(NO_LINE);
    }
    if (attempt, claim, version) != (1, 1, 1) {
        return Some(NUMBERS);
    }
    (!ends_rightly(row)).then_some(ENDS)
}

/// What is wrong with one write that made `after` of `before`.
pub fn wrong_step(before: &Stand, after: &Stand) -> Option<&'static str> {
    let lines = lines(before, after);
    if lines.is_empty() {
        return Some(NO_LINE);
    }
    let moved = (after.attempt - before.attempt, after.claim - before.claim);
    if after.version != before.version + 1 || !lines.contains(&moved) {
        return Some(NUMBERS);
    }
    (!ends_rightly(after)).then_some(ENDS)
}

/// Every way in which one write can lead there, by what it does to attempt and claim.
fn lines(before: &Stand, after: &Stand) -> Vec<(i64, i64)> {
    use RunState::{Dead, Fired, Firing, Leased, Ready};
    // A fired run that nobody reports on has ended, though its state alone does not say so.
    if before.attention_at.is_none() && before.state != Dead {
        return Vec::new();
    }
    let leads = |event: &&RunEvent| transition(before.state, **event) == Some(after.state);
    let mut lines: Vec<(i64, i64)> = RunEvent::ALL.iter().filter(leads).map(|event| moves(*event)).collect();
    match (before.state, after.state) {
        // Its lease has run out, and another node takes it on.
        (Firing, Firing) => lines.push((0, 1)),
        // A worker renews.
        (Leased, Leased) if after.attention_at >= before.attention_at => lines.push((0, 0)),
        // An overdue outcome: a rescue notes the failure and begins the next attempt in one write.
        (Fired, Firing) => lines.push((1, 1)),
        (Leased, Ready) => lines.push((1, 0)),
        _ => {}
    }
    lines
}

/// `fired` may be an end or not; of every other state it is known.
fn ends_rightly(row: &Stand) -> bool {
    match row.state {
        RunState::Fired => true,
        RunState::Firing | RunState::Ready | RunState::Leased | RunState::Retrying => {
            row.attention_at.is_some()
        }
        RunState::Succeeded | RunState::Dead | RunState::Skipped | RunState::Cancelled => {
            row.attention_at.is_none()
        }
    }
}
