//! A run: one due moment of a task, from its fire to its end.

mod admission;
mod attempts;
mod backfilled;
mod cancel_request;
mod expiry;
mod fairness_key;
mod hold;
mod holder;
mod id;
mod lease_slots;
mod leased_run;
mod open_run;
mod payload;
mod progress;
mod run_mark;
mod state;
mod transitions;

use serde::{Deserialize, Serialize};

pub use self::admission::{Permit, key_of_task, slot_of_task};
pub use self::attempts::{FailedAttempt, MAX_KEPT_ATTEMPTS, MAX_KEPT_ERROR_BYTES, MIN_START_DELAY_MS};
pub use self::cancel_request::{BY_HAND, CancelRequest, FORCED};
pub use self::fairness_key::FairnessKey;
pub use self::hold::HoldMark;
pub use self::holder::{node_of_holder, node_worker};
pub use self::id::{Backfilled, RunId};
pub use self::lease_slots::LeaseSlots;
pub use self::leased_run::LeasedRun;
pub use self::open_run::OpenRun;
pub use self::payload::{
    EditedPayload, MAX_KEPT_EDITS, OriginalPayload, PayloadChange, PayloadDigest, PayloadEdit,
};
pub use self::progress::{MAX_PROGRESS_TEXT_BYTES, Progress, ReportedProgress};
pub use self::run_mark::RunMark;
pub use self::state::{IllegalTransition, RunEvent, RunState, transition};
use super::concurrency::Limit;
use super::headers::Headers;
use super::labels::Labels;
use super::misfire::Step;
use super::overlap::Overlap;
use super::rate::Rate;
use super::retry::RetryPolicy;
use super::{Moment, Task, TaskId};

/// A range of moments that one skipped run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Last moment of the range. The run's `scheduled_at` is the first.
    pub to: Moment,
    /// Number of moments.
    pub count: u64,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub task_id: TaskId,
    /// Revision of the definition that the run was fired from.
    pub rev: u32,
    /// Nominal moment.
    pub scheduled_at: Moment,
    /// When the moment was due: with its jitter, or when a backfill reached it. `None`: at `scheduled_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Moment>,
    /// 1-based number of this fire within its task; 0 for a manual fire and for a skipped stretch.
    #[serde(default)]
    pub number: u64,
    /// Whether a user fired the run, also by a [backfill](RunId::backfill). `scheduled_at` of any other triggered run is not
    /// a moment of the schedule.
    pub triggered: bool,
    /// The message's tag.
    pub tag: String,
    /// The message's body.
    pub data: String,
    /// Headers of the task, which the delivery carries.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// Labels of the task when the run was created.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Queue in which the run waits for a worker. `None`: the run is published on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Retry policy. `None`: the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Longest time of an attempt until its outcome, in milliseconds. The time starts when the
    /// message was published, or when a worker leased the run. `None` for a message: the server
    /// does not wait, and `fired` is the final state. `None` in a queue: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_within_ms: Option<i64>,
    /// When the run ends as skipped if its first attempt has not started. `None`: the run may wait without
    /// a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
    /// Overlap policy of the task when the run was created. `None`: runs may overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Concurrency limits of the task when the run was created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<Limit>,
    /// Rate limit of the task when the run was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Permit of the rate limit. `None`: the run never got one, or its outcome is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Permit>,
    /// Slots that the run has. No other run has one of them. An ended run has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<String>,
    /// What a hold has done to the run. `None`: the run has never waited for the end of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldMark>,
    /// The run because of which this run was suppressed, or has been asked to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<RunId>,
    pub state: RunState,
    /// Human-readable reason of the state, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the current attempt, from 1.
    pub attempt: u32,
    /// Whether the current attempt has not begun, because the worker postponed the run. The run
    /// then waits in `retrying`, and its next delivery is the same attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postponed: bool,
    /// Token of the current attempt. A report must carry the token.
    pub token: String,
    /// Node that publishes the run, or worker that leased the run.
    pub holder: String,
    /// Number of claims by a node or worker. Messages carry the number as a fencing epoch.
    pub claim: u32,
    /// When a node must process the run again: a lease, a retry pause or a wait for an outcome
    /// ends. `None` for an ended run. For a run that waits in a queue: when it expires, or
    /// [`Moment::NEVER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_at: Option<Moment>,
    /// When the last attempt was handed over: the broker confirmed it, or it entered its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<Moment>,
    /// When the current attempt was leased. `None`: no worker has leased it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_at: Option<Moment>,
    /// When the handler of the current attempt started, by its outcome report. `None`: not reported, or less
    /// than [`MIN_START_DELAY_MS`] after the hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Moment>,
    /// Place of the leased run in the answer to a lease request with an id ([`LeaseSlots`]). `None`: the run
    /// is not leased, or its request had no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_slot: Option<String>,
    /// Last [`claim`](Self::claim) whose worker has handed its attempt over to another party, and no longer renews
    /// the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over_claim: Option<u32>,
    /// Request to cancel the run while a worker has leased it. `None`: no user has requested that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_request: Option<CancelRequest>,
    /// Last progress that a handler of the run has reported. [`Run::current_progress`] is that of the current
    /// attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<ReportedProgress>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Moment>,
    /// Earlier attempts, all of which failed; the last [`MAX_KEPT_ATTEMPTS`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_attempts: Vec<FailedAttempt>,
    /// What earlier attempts delivered. `None`: the payload was never edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Box<EditedPayload>>,
    /// Result that the handler returned, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Set on a skipped run that covers several moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<Stretch>,
    /// Number of writes. Each write is a compare-and-set on the version.
    pub version: u64,
}

/// Reason of a run that was cancelled because its task is no longer live.
pub const OF_ENDED_TASK: &str = "its task was cancelled or deleted";

/// Reason of a triggered run that was cancelled because another run replaced it.
pub const SUPERSEDED: &str = "its task was changed before it was fired";

/// A handler's report on an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Succeeded {
        /// Result that the handler returned, as JSON.
        result: Option<String>,
    },
    /// The attempt failed and may be repeated.
    Failed {
        /// Pause before the next attempt, in milliseconds. `None`: the retry policy decides.
        retry_after_ms: Option<u64>,
    },
    /// The attempt failed and must not be repeated.
    Dead,
    /// The handler had nothing to do.
    Skipped,
    /// The attempt was not started and does not count.
    Released {
        /// Pause in milliseconds before the run can be leased again. `None`: at once.
        after_ms: Option<u64>,
    },
}

impl Run {
    /// Creates the run of the moment `at`, which `holder` publishes until `lease_until`.
    pub fn firing(task: &Task, at: Moment, holder: &str, token: String, lease_until: Moment) -> Self {
        let due_at = task.nominal_at.filter(|nominal| *nominal == at).and(task.next_due_at);
        Self {
            id: RunId::derive(&task.id, task.rev, at),
            task_id: task.id.clone(),
            rev: task.rev,
            scheduled_at: at,
            due_at,
            number: task.fired_count + 1,
            triggered: false,
            tag: task.name.clone(),
            data: task.data.clone(),
            headers: task.headers.clone(),
            labels: task.labels.clone(),
            queue: task.queue.clone(),
            retry: task.retry.clone(),
            outcome_within_ms: outcome_within_ms(task),
            expires_at: task
                .start_within_ms
                .map(|within| due_at.unwrap_or(at).plus_ms(i64::try_from(within).unwrap_or(i64::MAX))),
            overlap: task.timing.overlap,
            concurrency: task.timing.concurrency.clone(),
            rate: task.timing.rate.clone(),
            permit: None,
            slots: Vec::new(),
            hold: None,
            blocked_by: None,
            state: RunState::Firing,
            reason: None,
            attempt: 1,
            postponed: false,
            token,
            holder: holder.to_owned(),
            claim: 1,
            attention_at: Some(lease_until),
            fired_at: None,
            leased_at: None,
            started_at: None,
            lease_slot: None,
            handed_over_claim: None,
            cancel_request: None,
            progress: None,
            ended_at: None,
            failed_attempts: Vec::new(),
            edited: None,
            result: None,
            stretch: None,
            version: 1,
        }
    }

    /// Creates the row of a decision at `now`: the run of a moment that fires, or the row of skipped moments. A
    /// run that fires has the given token, and a lease of `holder` until `lease_until`.
    pub fn decided(
        task: &Task,
        step: Step,
        holder: &str,
        token: String,
        (now, lease_until): (Moment, Moment),
    ) -> Self {
        match step {
            Step::Fire { at } => Self::firing(task, at, holder, token, lease_until),
            Step::Skip { from, to, count } => {
                let late_sec = now.since(task.next_due_at.unwrap_or(from)) / 1000;
                let reason = format!("misfire: {count} moments, the first {late_sec} s late");
                Self::skipped(task, from, Stretch { to, count }, reason, holder, now)
            }
        }
    }

    /// Creates a manual fire, due at once. For `mark` see [`RunId::of_trigger`].
    pub fn triggered(task: &Task, mark: &str, token: String, now: Moment) -> Self {
        Self {
            id: RunId::of_trigger(&task.id, mark),
            number: 0,
            triggered: true,
            due_at: None,
            ..Self::firing(task, now, "", token, now)
        }
    }

    /// Creates the row of moments that are not fired, from `from` to the end of `stretch`.
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
            expires_at: None,
            overlap: None,
            concurrency: Vec::new(),
            rate: None,
            state: RunState::Skipped,
            reason: Some(reason),
            data: String::new(),
            headers: Headers::new(),
            attention_at: None,
            ended_at: Some(now),
            stretch: Some(stretch),
            ..Self::firing(task, from, holder, String::new(), now)
        }
    }

    /// Returns when the moment was due: the nominal moment with its jitter, or the moment of the backfill.
    pub fn effective_at(&self) -> Moment {
        self.due_at.unwrap_or(self.scheduled_at)
    }

    /// Returns the run without payload and result.
    pub fn open(&self) -> OpenRun {
        OpenRun {
            id: self.id.clone(),
            rev: self.rev,
            scheduled_at: self.scheduled_at,
            triggered: self.triggered,
            state: self.state,
            attempt: self.attempt,
            fired_at: self.fired_at,
            overlap: self.overlap,
            slots: self.slots.clone(),
            hold: self.hold,
            permit: self.permit,
        }
    }

    /// Returns the run as the next write stores it.
    #[must_use]
    pub fn next_version(self) -> Self {
        Self { version: self.version.wrapping_add(1), ..self }
    }

    /// Returns the retry policy: the run's own, or else `default`.
    pub fn retry_policy<'a>(&'a self, default: &'a RetryPolicy) -> &'a RetryPolicy {
        self.retry.as_ref().unwrap_or(default)
    }

    /// Returns whether an attempt was handed over, or has failed.
    pub fn has_been_tried(&self) -> bool {
        self.attempt > 1 || self.fired_at.is_some()
    }

    /// Returns whether no node has claimed the run except the one that created it.
    pub fn is_untouched(&self) -> bool {
        self.state == RunState::Firing && self.claim == 1 && !self.has_been_tried()
    }

    /// Same as [`OpenRun::is_decided`].
    pub fn is_decided(&self, task: &Task) -> bool {
        self.open().is_decided(task)
    }

    /// Returns whether a change of the task cancelled this triggered run before the server
    /// acknowledged the trigger. The trigger then creates another run.
    pub fn was_superseded(&self) -> bool {
        self.state == RunState::Cancelled && self.reason.as_deref() == Some(SUPERSEDED)
    }

    /// Returns the last moment that this row decides.
    pub fn decides_up_to(&self) -> Moment {
        self.stretch.map_or(self.scheduled_at, |stretch| stretch.to)
    }

    /// Returns whether the run has ended. `fired` is final for a run without outcome reports.
    pub fn has_ended(&self) -> bool {
        self.attention_at.is_none()
    }
}

/// Returns the limit of an attempt of a task's run. See [`Run::outcome_within_ms`].
fn outcome_within_ms(task: &Task) -> Option<i64> {
    const DEFAULT_MAX_RUNTIME_SEC: u64 = 60;
    let limit_sec = match task.queue {
        Some(_) => task.max_runtime_sec,
        None => task.ack.then(|| task.max_runtime_sec.unwrap_or(DEFAULT_MAX_RUNTIME_SEC)),
    };
    limit_sec.map(|sec| i64::try_from(sec.saturating_mul(1000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
