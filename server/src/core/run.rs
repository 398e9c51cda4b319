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

    /// Sorts behind the runs of all moments of this revision, and before those of any later one.
    pub fn end_of(task: &TaskId, rev: u32) -> Self {
        // The character after the one that ends the revision.
        Self(format!("{task}-{rev}."))
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
    /// It went into its queue.
    Queued,
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
    /// The task is gone, or a person called the run off.
    Cancelled,
    /// Whoever did the work says that it is done, though the run was not waited for any more.
    LateSuccess,
    /// The same, of work that failed.
    LateFailure,
    /// A person brings a run back that was given up, or does not want to wait for its next attempt.
    Redriven,
}

impl RunEvent {
    /// Every event there is.
    pub const ALL: [Self; 14] = [
        Self::Confirmed,
        Self::Queued,
        Self::Taken,
        Self::Released,
        Self::Republished,
        Self::Requeued,
        Self::Succeeded,
        Self::Failed,
        Self::GaveUp,
        Self::LeftOut,
        Self::Cancelled,
        Self::LateSuccess,
        Self::LateFailure,
        Self::Redriven,
    ];
}

/// The one table of transitions. `None`: the event cannot happen in that state, and changes nothing.
#[allow(clippy::match_same_arms, reason = "one line for each cause, as in docs/lifecycle.md")]
pub const fn transition(state: RunState, event: RunEvent) -> Option<RunState> {
    use RunEvent as E;
    use RunState as S;
    match (state, event) {
        (S::Firing, E::Confirmed) => Some(S::Fired),
        (S::Firing, E::Queued) => Some(S::Ready),
        (S::Ready, E::Taken) => Some(S::Leased),
        (S::Leased, E::Released) | (S::Retrying, E::Requeued) => Some(S::Ready),
        (S::Retrying, E::Republished) => Some(S::Firing),
        // A fast consumer may report before the node has marked its message as confirmed.
        (S::Firing | S::Fired | S::Leased, E::Succeeded) => Some(S::Succeeded),
        (S::Firing | S::Fired | S::Leased, E::Failed) => Some(S::Retrying),
        (S::Firing | S::Fired | S::Leased, E::GaveUp) => Some(S::Dead),
        (S::Firing | S::Fired | S::Leased, E::LeftOut) => Some(S::Skipped),
        (S::Firing | S::Fired | S::Ready | S::Leased | S::Retrying, E::Cancelled) => Some(S::Cancelled),
        (S::Dead | S::Retrying, E::Redriven) => Some(S::Retrying),
        (S::Ready | S::Retrying | S::Dead, E::LateSuccess) => Some(S::Succeeded),
        (S::Ready | S::Retrying | S::Dead, E::LateFailure) => Some(S::Dead),
        (S::Succeeded | S::Dead | S::Skipped | S::Cancelled, _)
        | (S::Firing | S::Fired | S::Leased, E::LateSuccess | E::LateFailure)
        | (S::Firing, E::Taken | E::Released | E::Republished | E::Requeued | E::Redriven)
        | (
            S::Fired,
            E::Confirmed | E::Queued | E::Taken | E::Released | E::Republished | E::Requeued | E::Redriven,
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
            | E::GaveUp
            | E::LeftOut,
        )
        | (S::Leased, E::Confirmed | E::Queued | E::Taken | E::Republished | E::Requeued | E::Redriven)
        | (
            S::Retrying,
            E::Confirmed
            | E::Queued
            | E::Taken
            | E::Released
            | E::Succeeded
            | E::Failed
            | E::GaveUp
            | E::LeftOut,
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
    /// The how-manieth fire of its task it is, from 1; 0 for one by hand, and for what was not fired.
    #[serde(default)]
    pub number: u64,
    /// Fired by hand, and not because `scheduled_at` is a moment of the schedule.
    pub triggered: bool,
    /// The message's tag.
    pub tag: String,
    /// The message's body.
    pub data: String,
    /// The queue in which it waits for a worker; `None`: it goes over the bus.
    pub queue: Option<String>,
    /// When failed attempts are tried again; `None`: as the server is set.
    pub retry: Option<RetryPolicy>,
    /// How long an outcome is waited for after a send over the bus, in milliseconds; `None`: `fired` is the end.
    pub outcome_within_ms: Option<i64>,
    /// Where it stands.
    pub state: RunState,
    /// Why, where a person would ask.
    pub reason: Option<String>,
    /// Tries, from 1.
    pub attempt: u32,
    /// Proves that a report speaks of the current attempt.
    pub token: String,
    /// The node that hands it over, or the worker that has leased it.
    pub holder: String,
    /// How often a node or worker has taken it on; travels in the message as the epoch that a handler may fence on.
    pub claim: u32,
    /// When somebody must look at it again: the lease, the pause or the outcome deadline has run out. `None` once it has ended;
    /// [`Moment::NEVER`] while it waits in a queue.
    pub attention_at: Option<Moment>,
    /// When the last attempt was handed over: the broker confirmed it, or it went into its queue.
    pub fired_at: Option<Moment>,
    /// When it ended.
    pub ended_at: Option<Moment>,
    /// What the handler gave back, as JSON.
    pub result: Option<String>,
    /// Set on a skipped run that stands for several moments.
    pub stretch: Option<Stretch>,
    /// Counts the writes; each one is a compare-and-set on it.
    pub version: u64,
}

/// A run that has not ended, without what it carries: a task may have very many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Its identity.
    pub id: RunId,
    /// The definition it was fired from.
    pub rev: u32,
    /// The nominal moment.
    pub scheduled_at: Moment,
    /// Fired by hand.
    pub triggered: bool,
    /// Where it stands.
    pub state: RunState,
    /// Tries, from 1.
    pub attempt: u32,
    /// When the last attempt was handed over.
    pub fired_at: Option<Moment>,
}

impl OpenRun {
    /// Whether it is settled that it is handed over, whatever becomes of its task: the task has passed its moment, or this is a further
    /// attempt. A triggered run waits for no moment, and so is settled by its first hand-over only.
    pub fn is_decided(&self, task: &Task) -> bool {
        let is_further = self.attempt > 1 || self.fired_at.is_some();
        is_further || (!self.triggered && task.has_passed(self.rev, self.scheduled_at))
    }
}

/// Why a triggered run was called off in favour of another one.
pub const OVERTAKEN: &str = "its task was changed before it was fired";

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
    Succeeded {
        /// What the handler gives back, as JSON.
        result: Option<String>,
    },
    /// Try again; after this many milliseconds where the handler says so.
    Failed {
        /// The handler's own pause, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Never try again.
    Dead,
    /// Nothing to do.
    Skipped,
    /// Not begun: another worker may have it at once, and the attempt does not count.
    Released,
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
            number: task.fired_count + 1,
            triggered: false,
            tag: task.name.clone(),
            data: task.data.clone(),
            queue: task.queue.clone(),
            retry: task.retry,
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
            result: None,
            stretch: None,
            version: 1,
        }
    }

    /// A fire by hand, to be handed over at once. `mark` tells it from others and from every moment of the schedule. The revision is no
    /// part of its id: the same trigger, sent again after an edit, finds it.
    pub fn triggered(task: &Task, mark: &str, token: String, now: Moment) -> Self {
        Self {
            id: RunId(format!("{}-t{mark}", task.id)),
            number: 0,
            triggered: true,
            ..Self::firing(task, now, "", token, now)
        }
    }

    /// The row that stands for a stretch of moments that are not fired.
    pub fn skipped(
        task: &Task,
        from: Moment,
        stretch: Stretch,
        reason: String,
        holder: &str,
        now: Moment,
    ) -> Self {
        Self {
            number: 0,
            state: RunState::Skipped,
            reason: Some(reason),
            data: String::new(),
            attention_at: None,
            ended_at: Some(now),
            stretch: Some(stretch),
            ..Self::firing(task, from, holder, String::new(), now)
        }
    }

    /// What there is to say of it without what it carries.
    pub fn open(&self) -> OpenRun {
        OpenRun {
            id: self.id.clone(),
            rev: self.rev,
            scheduled_at: self.scheduled_at,
            triggered: self.triggered,
            state: self.state,
            attempt: self.attempt,
            fired_at: self.fired_at,
        }
    }

    /// Whether any attempt was handed over, or at least tried.
    pub fn has_been_tried(&self) -> bool {
        self.attempt > 1 || self.fired_at.is_some()
    }

    /// Whether no node has taken it on yet, beyond the one that made it.
    pub fn is_untouched(&self) -> bool {
        self.state == RunState::Firing && self.claim == 1 && !self.has_been_tried()
    }

    /// See [`OpenRun::is_decided`].
    pub fn is_decided(&self, task: &Task) -> bool {
        self.open().is_decided(task)
    }

    /// Whether it was triggered, and a change of its task came in between before it was answered for: another one took its place.
    pub fn was_overtaken(&self) -> bool {
        self.state == RunState::Cancelled && self.reason.as_deref() == Some(OVERTAKEN)
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

    /// It has gone into its queue, where it waits for as long as it takes.
    ///
    /// # Errors
    /// When the run is not being fired.
    pub fn queued(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        self.take(RunEvent::Queued)?;
        self.fired_at = Some(now);
        self.attention_at = Some(Moment::NEVER);
        Ok(())
    }

    /// A worker takes the attempt on until `lease_until`, and proves with `token` that it is its own.
    ///
    /// # Errors
    /// When the run does not wait in a queue.
    pub fn leased_by(
        &mut self,
        worker: &str,
        token: String,
        lease_until: Moment,
    ) -> Result<(), IllegalTransition> {
        self.take(RunEvent::Taken)?;
        self.token = token;
        self.claimed_by(worker, lease_until);
        Ok(())
    }

    /// The policy that holds for it.
    pub fn retry_policy(&self, default: &RetryPolicy) -> RetryPolicy {
        self.retry.unwrap_or(*default)
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
            Outcome::Succeeded { result } => {
                self.end(RunEvent::Succeeded, reason, now)?;
                self.result.clone_from(result);
                Ok(())
            }
            Outcome::Released => self.wait_in_queue(RunEvent::Released),
            Outcome::Dead => {
                self.end(RunEvent::GaveUp, Some(or_said(reason, "given up by its handler")), now)
            }
            Outcome::Skipped => {
                self.end(RunEvent::LeftOut, Some(or_said(reason, "left out by its handler")), now)
            }
            Outcome::Failed { retry_after_ms } => self.failed(*retry_after_ms, reason, retry, now),
        }
    }

    fn failed(
        &mut self,
        retry_after_ms: Option<u64>,
        reason: Option<String>,
        default: &RetryPolicy,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        let retry = self.retry_policy(default);
        let Some(pause_ms) = retry.pause_after(self.attempt) else {
            let why = reason.unwrap_or_else(|| "failed".to_owned());
            let why = format!("{why} (attempt {} of {})", self.attempt, retry.max_attempts);
            return self.end(RunEvent::GaveUp, Some(why), now);
        };
        self.take(RunEvent::Failed)?;
        self.reason = Some(or_said(reason, "failed"));
        self.attention_at = Some(now.plus_ms(retry_after_ms.unwrap_or(pause_ms).min(i64::MAX as u64) as i64));
        Ok(())
    }

    /// No outcome came in time: the attempt counts as failed, and the next one may begin at once.
    ///
    /// # Errors
    /// When no attempt is under way.
    pub fn outcome_overdue(&mut self, retry: &RetryPolicy, now: Moment) -> Result<(), IllegalTransition> {
        let why = match self.state {
            RunState::Leased => "the worker's lease ran out",
            _ => "no outcome was reported within max_runtime",
        };
        self.failed(Some(0), Some(why.to_owned()), retry, now)
    }

    /// The next attempt begins: in the queue, where it waits, or over the bus, where somebody must publish it.
    ///
    /// # Errors
    /// When the run is not waiting for one.
    pub fn next_attempt(&mut self, token: String) -> Result<(), IllegalTransition> {
        match self.queue {
            Some(_) => self.wait_in_queue(RunEvent::Requeued)?,
            None => self.take(RunEvent::Republished)?,
        }
        self.attempt += 1;
        self.token = token;
        Ok(())
    }

    fn wait_in_queue(&mut self, event: RunEvent) -> Result<(), IllegalTransition> {
        self.take(event)?;
        self.attention_at = Some(Moment::NEVER);
        Ok(())
    }

    /// A person brings it back, or hurries it: its next attempt is due now. One that was given up gets this one attempt more.
    ///
    /// # Errors
    /// When it is neither dead nor waiting for its next attempt.
    pub fn redriven(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        let next = transition(self.state, RunEvent::Redriven);
        self.state = next.ok_or(IllegalTransition { state: self.state, event: RunEvent::Redriven })?;
        self.attention_at = Some(now);
        self.ended_at = None;
        Ok(())
    }

    /// Whoever did the work has a say, without the attempt's token and whenever it comes: the attempt may have been given up, or another
    /// one be under way. What has succeeded, was left out or called off stays as it is.
    ///
    /// # Errors
    /// When nobody waits for an outcome of it.
    pub fn confirmed_late(
        &mut self,
        succeeded: bool,
        said: Option<String>,
        result: Option<String>,
        now: Moment,
    ) -> Result<(), IllegalTransition> {
        use RunState as S;
        let event = match (self.state, succeeded) {
            (S::Ready | S::Retrying | S::Dead, true) => RunEvent::LateSuccess,
            (S::Ready | S::Retrying | S::Dead, false) => RunEvent::LateFailure,
            (_, true) => RunEvent::Succeeded,
            (_, false) => RunEvent::GaveUp,
        };
        // What is dead has ended, and is not past being put right.
        let given_up = self.state == S::Dead;
        let next = if self.has_ended() && !given_up { None } else { transition(self.state, event) };
        self.state = next.ok_or(IllegalTransition { state: self.state, event })?;
        self.reason = if succeeded { said } else { Some(or_said(said, "failed")) };
        self.result = result.filter(|_| succeeded);
        self.attention_at = None;
        self.ended_at = Some(now);
        Ok(())
    }

    /// The run is called off.
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

/// A handler need not say why, and a person asks all the same.
fn or_said(reason: Option<String>, otherwise: &str) -> String {
    reason.unwrap_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
