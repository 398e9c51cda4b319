//! Admission of a run: it waits for the slot of its task, and for slots and a permit of its limits, gets them, or is
//! suppressed.

use serde::{Deserialize, Serialize};

use super::{HoldMark, IllegalTransition, Run, RunEvent, RunId, RunState};
use crate::core::admission::{Asks, Contender, slot};
use crate::core::concurrency::{Limit, Scope, SlotLimit};
use crate::core::rate::{RateLimit, period_text};
use crate::core::wait_group::{Limits, WaitGroup};
use crate::core::{Moment, TaskId};

/// Permit of a rate limit. A permit is valid for one hand-over: a later one is another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permit {
    /// The run may be handed over, or was handed over.
    Valid,
    /// The run needs another permit.
    Used,
}

impl Permit {
    /// Returns the permit as the stores spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Used => "used",
        }
    }
}

/// Returns the key of the slot of a task with an overlap policy.
pub fn key_of_task(id: &TaskId) -> String {
    format!("task:{id}")
}

/// Returns the slot of a task with an overlap policy. The run that has the slot is the one that may start.
pub fn slot_of_task(id: &TaskId) -> String {
    slot(&key_of_task(id), 0)
}

impl Run {
    /// Returns whether the run has an overlap policy or a limit. Any other run starts at once.
    pub fn is_gated(&self) -> bool {
        self.overlap.is_some() || !self.concurrency.is_empty() || self.rate.is_some()
    }

    /// Returns whether the run must be admitted before it is handed over.
    pub fn needs_admission(&self) -> bool {
        self.is_gated() && self.asks().is_some()
    }

    /// Returns the limits of the run with the keys of their slots, in the order of the keys.
    pub fn limits(&self) -> Vec<SlotLimit> {
        let mut limits: Vec<SlotLimit> =
            self.concurrency.iter().map(|limit| self.slot_limit(limit)).collect();
        limits.sort();
        limits
    }

    fn slot_limit(&self, limit: &Limit) -> SlotLimit {
        limit.of_value(self.value_of(limit.scope))
    }

    /// Returns the rate limit of the run with its key.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.rate.as_ref().map(|rate| rate.of_value(self.value_of(rate.scope)))
    }

    fn value_of(&self, scope: Scope) -> Option<&str> {
        match scope {
            Scope::Task => Some(self.task_id.as_str()),
            Scope::Tag => Some(&self.tag),
            // A task with this scope has a queue.
            Scope::Queue => Some(self.queue.as_deref().unwrap_or_default()),
            Scope::All => None,
        }
    }

    /// Returns the limit of the run whose slots have the key.
    pub fn limit_of_key(&self, key: &str) -> Option<&Limit> {
        self.concurrency.iter().find(|limit| self.slot_limit(limit).key == key)
    }

    /// Returns the keys of all slots that the run needs.
    pub fn slot_keys(&self) -> Vec<String> {
        let of_task = self.overlap.map(|_| key_of_task(&self.task_id));
        of_task.into_iter().chain(self.limits().into_iter().map(|limit| limit.key)).collect()
    }

    /// Returns what the run needs next. `None`: it has its slots and its permit, or needs none.
    pub fn asks(&self) -> Option<Asks> {
        let of_task = slot_of_task(&self.task_id);
        let has_task = self.slots.contains(&of_task);
        match self.overlap {
            Some(overlap) if !has_task => Some(Asks::Task(key_of_task(&self.task_id), overlap)),
            // The slots of limits and the permit are taken in one write.
            _ if self.slots.len() > usize::from(has_task) || self.permit == Some(Permit::Valid) => None,
            _ => Some(Limits { slots: self.limits(), rate: self.rate_limit() })
                .filter(|limits| !limits.is_empty())
                .map(Asks::Limits),
        }
    }

    /// Returns the run as a contender. `None`: the run needs no admission.
    pub fn contender(&self) -> Option<Contender> {
        Some(Contender { id: self.id.clone(), asks: self.asks()?, is_redriven: self.open().was_admitted() })
    }

    /// Returns the group in which the run waits. `None`: the run does not wait for admission.
    pub fn wait_group(&self) -> Option<WaitGroup> {
        let asks = || self.asks().map(|asks| asks.group()).filter(|_| self.state == RunState::Held);
        self.hold_group().or_else(asks)
    }

    /// Gives the run what it [asks](Self::asks) for: further slots, and a permit. If the run needs nothing else, `holder`
    /// claims the run until `lease_until`, to hand it over. Otherwise the run waits.
    ///
    /// # Errors
    /// If the run is neither `firing` nor `held`.
    pub fn admit(
        &mut self,
        slots: Vec<String>,
        holder: &str,
        lease_until: Moment,
    ) -> Result<(), IllegalTransition> {
        let before = (self.slots.len(), self.permit);
        if self.rate.is_some() && matches!(self.asks(), Some(Asks::Limits(_))) {
            self.permit = Some(Permit::Valid);
        }
        self.slots.extend(slots);
        let proceeded = self.proceed(holder, lease_until);
        if proceeded.is_err() {
            self.slots.truncate(before.0);
            self.permit = before.1;
        }
        proceeded
    }

    /// Lets `holder` claim the run until `lease_until`, to hand it over, or lets the run wait if it needs slots or a permit.
    ///
    /// # Errors
    /// If the run is neither `firing` nor `held`.
    pub(super) fn proceed(&mut self, holder: &str, lease_until: Moment) -> Result<(), IllegalTransition> {
        match (self.state, self.needs_admission()) {
            (RunState::Firing, false) | (RunState::Held, true) => {}
            (_, true) => self.hold()?,
            (_, false) => self.apply(RunEvent::Admitted)?,
        }
        if self.state == RunState::Firing {
            self.claim(holder, lease_until);
        }
        Ok(())
    }

    /// Lets the run wait for admission, with the slot of its task at most.
    ///
    /// # Errors
    /// If the run is in another state than `firing`, `ready` or `retrying`.
    pub fn hold(&mut self) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Held)?;
        self.hold = self.hold.map(|_| HoldMark::Over);
        self.free_limits();
        self.postponed = false;
        self.leased_at = None;
        self.started_at = None;
        self.attention_at = Some(self.waits_until());
        Ok(())
    }

    /// Frees the slots of limits, and uses the permit up: the run has stopped working, and waits for a later attempt. The slot
    /// of its task stays.
    pub(super) fn free_limits(&mut self) {
        if !self.concurrency.is_empty() {
            let of_task = slot_of_task(&self.task_id);
            self.slots.retain(|slot| *slot == of_task);
        }
        self.permit = self.permit.map(|_| Permit::Used);
    }

    /// Ends the run without an attempt, because of the run `by`.
    ///
    /// # Errors
    /// If the run has been handed over.
    pub fn suppress(&mut self, by: &RunId, now: Moment) -> Result<(), IllegalTransition> {
        self.end(RunEvent::Suppressed, Some(format!("overlap: suppressed by run {by}")), now)?;
        self.blocked_by = Some(by.clone());
        Ok(())
    }

    /// Ends the run without an attempt, because it exceeds its rate limit.
    ///
    /// # Errors
    /// If the run has been handed over.
    pub fn drop_excess(&mut self, now: Moment) -> Result<(), IllegalTransition> {
        let limit =
            self.rate.as_ref().map(|rate| format!("{} per {}", rate.limit, period_text(rate.period_ms)));
        let reason = format!("rate: dropped, the limit of {} is used", limit.unwrap_or_default());
        self.end(RunEvent::Suppressed, Some(reason), now)
    }
}

impl Asks {
    /// Returns the group of the runs that ask for the same.
    pub fn group(&self) -> WaitGroup {
        match self {
            Self::Task(key, _) => WaitGroup::of_task(key.clone()),
            Self::Limits(limits) => WaitGroup::of_limits(limits),
        }
    }
}
