//! The states of a run, and the table of transitions between them.

use serde::{Deserialize, Serialize};

/// State of a run. `docs/lifecycle.md` has the diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A node is publishing the message.
    Firing,
    /// The run waits for admission: for slots that other runs have, for a permit, or for the end of a hold.
    Held,
    /// The broker has confirmed the message.
    Fired,
    /// The run waits in a queue for a worker.
    Ready,
    /// A worker holds the run.
    Leased,
    /// The last attempt failed. The run waits for the next attempt.
    Retrying,
    Succeeded,
    /// All attempts failed, or the handler reported the run as dead.
    Dead,
    /// The moment was not fired, or the handler skipped the run. The run's reason says why.
    Skipped,
    /// The task was deleted, or a user cancelled the run.
    Cancelled,
}

impl RunState {
    pub const ALL: [Self; 10] = [
        Self::Firing,
        Self::Held,
        Self::Fired,
        Self::Ready,
        Self::Leased,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Skipped,
        Self::Cancelled,
    ];

    /// States that no event leads out of, except a late confirmation or a redrive of a dead run.
    /// `fired` is missing: whether it is final depends on the run.
    pub const TERMINAL: [Self; 4] = [Self::Succeeded, Self::Dead, Self::Skipped, Self::Cancelled];

    /// Returns the state as the API and the stores spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Held => "held",
            Self::Fired => "fired",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that moves a run to another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// The run must wait for admission.
    Held,
    /// The run got its slots and its permit.
    Admitted,
    /// The run must not start, because of another run or of its rate limit.
    Suppressed,
    /// The broker confirmed the message.
    Confirmed,
    /// The run entered its queue.
    Queued,
    /// A worker leased the run.
    Leased,
    /// The worker returned the run without an attempt.
    Released,
    /// The next attempt starts over the bus.
    Republished,
    /// The next attempt starts in the queue.
    Requeued,
    /// The worker returned the run without an attempt, to be delivered later.
    Postponed,
    /// A postponed run is in its queue again.
    Resumed,
    /// The attempt succeeded.
    Succeeded,
    /// The attempt failed, and another attempt remains.
    Failed,
    /// The attempt failed, and no other attempt remains.
    Died,
    /// The handler skipped the run.
    Skipped,
    /// The task was deleted, or a user cancelled the run.
    Cancelled,
    /// Work was confirmed as done after its attempt had ended.
    LateSuccess,
    /// Work was confirmed as failed after its attempt had ended.
    LateFailure,
    /// The first attempt did not start in time.
    Expired,
    /// A user requested an attempt now, for a dead run or for one that waits for its next attempt.
    Redriven,
}

impl RunEvent {
    pub const ALL: [Self; 20] = [
        Self::Held,
        Self::Admitted,
        Self::Suppressed,
        Self::Confirmed,
        Self::Queued,
        Self::Leased,
        Self::Released,
        Self::Republished,
        Self::Requeued,
        Self::Postponed,
        Self::Resumed,
        Self::Succeeded,
        Self::Failed,
        Self::Died,
        Self::Skipped,
        Self::Cancelled,
        Self::LateSuccess,
        Self::LateFailure,
        Self::Expired,
        Self::Redriven,
    ];
}

/// Returns the state after the event. `None`: the event is illegal in this state and changes
/// nothing.
#[allow(clippy::match_same_arms, reason = "one line for each cause, as in docs/lifecycle.md")]
pub const fn transition(state: RunState, event: RunEvent) -> Option<RunState> {
    use RunEvent as E;
    use RunState as S;
    match (state, event) {
        (S::Firing | S::Ready | S::Retrying, E::Held) => Some(S::Held),
        (S::Held, E::Admitted) => Some(S::Firing),
        (S::Firing | S::Held, E::Suppressed) => Some(S::Skipped),
        (S::Firing, E::Confirmed) => Some(S::Fired),
        (S::Firing, E::Queued) => Some(S::Ready),
        (S::Ready, E::Leased) => Some(S::Leased),
        (S::Leased, E::Released) | (S::Retrying, E::Requeued | E::Resumed) => Some(S::Ready),
        (S::Leased, E::Postponed) => Some(S::Retrying),
        (S::Retrying, E::Republished) => Some(S::Firing),
        // A fast consumer may report before the node has recorded the broker's confirmation.
        (S::Firing | S::Fired | S::Leased, E::Succeeded) => Some(S::Succeeded),
        (S::Firing | S::Fired | S::Leased, E::Failed) => Some(S::Retrying),
        (S::Firing | S::Fired | S::Leased, E::Died) => Some(S::Dead),
        (S::Firing | S::Fired | S::Leased, E::Skipped) => Some(S::Skipped),
        (S::Firing | S::Held | S::Fired | S::Ready | S::Leased | S::Retrying, E::Cancelled) => {
            Some(S::Cancelled)
        }
        (S::Firing | S::Held | S::Ready | S::Retrying, E::Expired) => Some(S::Skipped),
        (S::Dead | S::Retrying, E::Redriven) => Some(S::Retrying),
        (S::Held | S::Ready | S::Retrying | S::Dead, E::LateSuccess) => Some(S::Succeeded),
        (S::Held | S::Ready | S::Retrying | S::Dead, E::LateFailure) => Some(S::Dead),
        (S::Succeeded | S::Dead | S::Skipped | S::Cancelled | S::Held, _)
        | (_, E::Held | E::Admitted | E::Suppressed)
        | (S::Firing | S::Fired | S::Leased, E::LateSuccess | E::LateFailure)
        | (S::Fired | S::Leased, E::Expired)
        | (S::Firing | S::Fired | S::Ready | S::Retrying, E::Postponed)
        | (S::Firing | S::Fired | S::Ready | S::Leased, E::Resumed)
        | (S::Firing, E::Leased | E::Released | E::Republished | E::Requeued | E::Redriven)
        | (
            S::Fired,
            E::Confirmed | E::Queued | E::Leased | E::Released | E::Republished | E::Requeued | E::Redriven,
        )
        | (
            S::Ready,
            E::Confirmed
            | E::Queued
            | E::Redriven
            | E::Released
            | E::Republished
            | E::Requeued
            | E::Succeeded
            | E::Failed
            | E::Died
            | E::Skipped,
        )
        | (S::Leased, E::Confirmed | E::Queued | E::Leased | E::Republished | E::Requeued | E::Redriven)
        | (
            S::Retrying,
            E::Confirmed
            | E::Queued
            | E::Leased
            | E::Released
            | E::Succeeded
            | E::Failed
            | E::Died
            | E::Skipped,
        ) => None,
    }
}

/// The event is illegal in the run's state. The run is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("illegal run state transition: a run in state {state} cannot take the event {event:?}")]
pub struct IllegalTransition {
    pub state: RunState,
    pub event: RunEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_as_str_spell_a_state_alike() {
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(RunState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RunState::parse("lost"), None);
    }

    #[test]
    fn an_ended_run_takes_no_event() {
        let states = [RunState::Succeeded, RunState::Dead, RunState::Skipped, RunState::Cancelled];
        let events = [
            RunEvent::Confirmed,
            RunEvent::Succeeded,
            RunEvent::Failed,
            RunEvent::Cancelled,
            RunEvent::Republished,
        ];
        for state in states {
            for event in events {
                assert_eq!(transition(state, event), None, "{state:?} {event:?}");
            }
        }
    }
}
