//! A run: one due moment of a task, from its fire to its end.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::retry::RetryPolicy;
use super::task::{Task, TaskId};

/// Identifies a run. Derived from (task, revision, scheduled_at), so that two nodes that fire the same moment name the same run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// The run of one moment.
    pub fn derive(task: &TaskId, rev: u32, scheduled_at: Moment) -> Self {
        Self(format!("{task}-{rev}-{}", scheduled_at.ms()))
    }

    /// Wraps an id that came from outside; an unknown one is found nowhere.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a run stands; `docs/lifecycle.md` draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Being handed over to the bus.
    Firing,
    /// The broker has confirmed the message.
    Fired,
    /// Waiting in a queue for a worker.
    Ready,
    /// Held by a worker.
    Leased,
    /// Its last attempt failed; the next one waits for its time.
    Retrying,
    /// Reported as done.
    Succeeded,
    /// Attempts exhausted, or given up by the handler.
    Dead,
    /// Not handed over, or left out by the handler; the reason says why.
    Skipped,
    /// Its task was deleted before the run ended.
    Cancelled,
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// The broker confirmed the message.
    Confirmed,
    /// A worker took it.
    Taken,
    /// A worker gave it back untried.
    Released,
    /// The next attempt begins: over the bus.
    Republished,
    /// The next attempt begins: in a queue.
    Requeued,
    /// The attempt succeeded.
    Succeeded,
    /// The attempt failed and there is a next one.
    Failed,
    /// The attempt failed for good.
    GaveUp,
    /// The handler left it out on purpose.
    LeftOut,
    /// The task is gone.
    Cancelled,
}

/// The one table of transitions. `None`: the event cannot happen in that state, and changes nothing.
pub const fn transition(state: RunState, event: RunEvent) -> Option<RunState> {
    use RunEvent as E;
    use RunState as S;
    match (state, event) {
        (S::Firing, E::Confirmed) => Some(S::Fired),
        (S::Ready, E::Taken) => Some(S::Leased),
        (S::Leased, E::Released) | (S::Retrying, E::Requeued) => Some(S::Ready),
        (S::Retrying, E::Republished) => Some(S::Firing),
        // A fast consumer may report before the node has marked its message as confirmed.
        (S::Firing | S::Fired | S::Leased, E::Succeeded) => Some(S::Succeeded),
        (S::Firing | S::Fired | S::Leased, E::Failed) => Some(S::Retrying),
        (S::Firing | S::Fired | S::Leased, E::GaveUp) => Some(S::Dead),
        (S::Firing | S::Fired | S::Leased, E::LeftOut) => Some(S::Skipped),
        (S::Firing | S::Fired | S::Ready | S::Leased | S::Retrying, E::Cancelled) => Some(S::Cancelled),
        (S::Succeeded | S::Dead | S::Skipped | S::Cancelled, _)
        | (S::Firing, E::Taken | E::Released | E::Republished | E::Requeued)
        | (S::Fired, E::Confirmed | E::Taken | E::Released | E::Republished | E::Requeued)
        | (
            S::Ready,
            E::Confirmed
            | E::Released
            | E::Republished
            | E::Requeued
            | E::Succeeded
            | E::Failed
            | E::GaveUp
            | E::LeftOut,
        )
        | (S::Leased, E::Confirmed | E::Taken | E::Republished | E::Requeued)
        | (
            S::Retrying,
            E::Confirmed | E::Taken | E::Released | E::Succeeded | E::Failed | E::GaveUp | E::LeftOut,
        ) => None,
    }
}

/// A stretch of moments that one skipped run stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The last moment of it; `scheduled_at` is the first.
    pub to: Moment,
    /// How many moments it holds.
    pub count: u64,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// The task it belongs to.
    pub task_id: TaskId,
    /// The definition it was fired from.
    pub rev: u32,
    /// The nominal moment.
    pub scheduled_at: Moment,
    /// The message's tag.
    pub tag: String,
    /// The message's body.
    pub data: String,
    /// How long an outcome is waited for, in milliseconds; `None`: `fired` is the end.
    pub outcome_within_ms: Option<i64>,
    /// Where it stands.
    pub state: RunState,
    /// Why, where a person would ask.
    pub reason: Option<String>,
    /// Tries, from 1.
    pub attempt: u32,
    /// Proves that a report speaks of the current attempt.
    pub token: String,
    /// The node that hands it over.
    pub holder: String,
    /// How often a node has taken it on; travels in the message as the epoch that a handler may fence on.
    pub claim: u32,
    /// When somebody must look at it again: the lease, the pause or the outcome deadline has run out. `None` once it has ended.
    pub attention_at: Option<Moment>,
    /// When the broker confirmed the last attempt.
    pub fired_at: Option<Moment>,
    /// When it ended.
    pub ended_at: Option<Moment>,
    /// Set on a skipped run that stands for several moments.
    pub stretch: Option<Stretch>,
    /// Counts the writes; each one is a compare-and-set on it.
    pub version: u64,
}

/// The event does not fit the run's state; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {state:?} cannot take {event:?}")]
pub struct IllegalTransition {
    /// Where the run stands.
    pub state: RunState,
    /// What was tried.
    pub event: RunEvent,
}

/// What a handler says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Try again; after this many milliseconds where the handler says so.
    Failed {
        /// The handler's own pause, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Never try again.
    Dead,
    /// Nothing to do.
    Skipped,
}

impl Run {
    /// A moment about to be handed over by `holder`, who is trusted with it until `lease_until`.
    pub fn firing(task: &Task, at: Moment, holder: &str, token: String, lease_until: Moment) -> Self {
        const DEFAULT_MAX_RUNTIME_SEC: u64 = 60;
        let runtime_ms = task.max_runtime_sec.unwrap_or(DEFAULT_MAX_RUNTIME_SEC).saturating_mul(1000);
        Self {
            id: RunId::derive(&task.id, task.rev, at),
            task_id: task.id.clone(),
            rev: task.rev,
            scheduled_at: at,
            tag: task.name.clone(),
            data: task.data.clone(),
            outcome_within_ms: task.ack.then(|| i64::try_from(runtime_ms).unwrap_or(i64::MAX)),
            state: RunState::Firing,
            reason: None,
            attempt: 1,
            token,
            holder: holder.to_owned(),
            claim: 1,
            attention_at: Some(lease_until),
            fired_at: None,
            ended_at: None,
            stretch: None,
            version: 1,
        }
    }

    /// The row that stands for a stretch of moments that are not fired.
    pub fn skipped(task: &Task, from: Moment, stretch: Stretch, holder: &str, now: Moment) -> Self {
        let late_sec = now.since(from) / 1000;
        Self {
            state: RunState::Skipped,
            reason: Some(format!("misfire: {} moments, the first {late_sec} s late", stretch.count)),
            data: String::new(),
            attention_at: None,
            ended_at: Some(now),
            stretch: Some(stretch),
            ..Self::firing(task, from, holder, String::new(), now)
        }
    }

    /// The last moment that this row decides.
    pub fn decides_up_to(&self) -> Moment {
        self.stretch.map_or(self.scheduled_at, |stretch| stretch.to)
    }

    /// Whether it has come to its end. `fired` is the end of a run that nobody reports on.
    pub fn has_ended(&self) -> bool {
        self.attention_at.is_none()
    }

    /// The broker has confirmed the message.
    ///
    /// # Errors
    /// When the run is not being fired.
    pub fn confirmed(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        self.take(RunEvent::Confirmed)?;
        self.fired_at = Some(now);
        self.attention_at = self.outcome_within_ms.map(|within| now.plus_ms(within));
        if self.attention_at.is_none() {
            self.ended_at = Some(now);
        }
        Ok(())
    }

    /// A handler has reported on the current attempt.
    ///
    /// # Errors
    /// When no attempt is under way.
    pub fn reported(
        &mut self,
        outcome: &Outcome,
        reason: Option<String>,
        retry: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        match outcome {
            Outcome::Succeeded => self.end(RunEvent::Succeeded, reason, now),
            Outcome::Dead => self.end(RunEvent::GaveUp, reason, now),
            Outcome::Skipped => self.end(RunEvent::LeftOut, reason, now),
            Outcome::Failed { retry_after_ms } => self.failed(*retry_after_ms, reason, retry, now),
        }
    }

    fn failed(
        &mut self,
        retry_after_ms: Option<u64>,
        reason: Option<String>,
        retry: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        let Some(pause_ms) = retry.pause_after(self.attempt) else {
            let why = reason.unwrap_or_else(|| "failed".to_owned());
            let why = format!("{why} (attempt {} of {})", self.attempt, retry.max_attempts);
            return self.end(RunEvent::GaveUp, Some(why), now);
        };
        self.take(RunEvent::Failed)?;
        self.reason = reason;
        self.attention_at = Some(now.plus_ms(retry_after_ms.unwrap_or(pause_ms).min(i64::MAX as u64) as i64));
        Ok(())
    }

    /// No outcome came in time: the attempt counts as failed, and the next one may begin at once.
    ///
    /// # Errors
    /// When no attempt is under way.
    pub fn outcome_overdue(&mut self, retry: &RetryPolicy, now: Moment) -> Result<(), IllegalTransition> {
        self.failed(Some(0), Some("no outcome was reported within max_runtime".to_owned()), retry, now)
    }

    /// The next attempt begins over the bus.
    ///
    /// # Errors
    /// When the run is not waiting for one.
    pub fn republish(&mut self, token: String) -> Result<(), IllegalTransition> {
        self.take(RunEvent::Republished)?;
        self.attempt += 1;
        self.token = token;
        Ok(())
    }

    /// The run ends because its task is gone.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn cancel(&mut self, reason: &str, now: Moment) -> Result<(), IllegalTransition> {
        self.end(RunEvent::Cancelled, Some(reason.to_owned()), now)
    }

    /// A node takes the run on until `lease_until`.
    pub fn claimed_by(&mut self, holder: &str, lease_until: Moment) {
        holder.clone_into(&mut self.holder);
        self.claim += 1;
        self.attention_at = Some(lease_until);
    }

    fn end(&mut self, event: RunEvent, reason: Option<String>, now: Moment) -> Result<(), IllegalTransition> {
        self.take(event)?;
        self.reason = reason;
        self.attention_at = None;
        self.ended_at = Some(now);
        Ok(())
    }

    fn take(&mut self, event: RunEvent) -> Result<(), IllegalTransition> {
        // A fired run that nobody reports on has ended, though its state alone does not say so.
        let next = if self.has_ended() { None } else { transition(self.state, event) };
        self.state = next.ok_or(IllegalTransition { state: self.state, event })?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
