//! Admission of a run: it waits for the slot of its task and for slots of its limits, gets them, or is suppressed.

use super::{HoldMark, IllegalTransition, Run, RunEvent, RunId, RunState};
use crate::core::admission::{Asks, Contender, slot};
use crate::core::concurrency::{Limit, Scope, SlotLimit, WaitGroup};
use crate::core::{Moment, TaskId};

/// Returns the key of the slot of a task with an overlap policy.
pub fn key_of_task(id: &TaskId) -> String {
    format!("task:{id}")
}

/// Returns the slot of a task with an overlap policy. The run that has the slot is the one that may start.
pub fn slot_of_task(id: &TaskId) -> String {
    slot(&key_of_task(id), 0)
}

impl Run {
    /// Returns whether the run ever has slots. A run without an overlap policy and limits needs none.
    pub fn is_admitted_by_slots(&self) -> bool {
        self.overlap.is_some() || !self.concurrency.is_empty()
    }

    /// Returns whether the run must be admitted before it is handed over.
    pub fn needs_admission(&self) -> bool {
        self.is_admitted_by_slots() && self.asks().is_some()
    }

    /// Returns the limits of the run with the keys of their slots, in the order of the keys.
    pub fn limits(&self) -> Vec<SlotLimit> {
        let mut limits: Vec<SlotLimit> =
            self.concurrency.iter().map(|limit| self.slot_limit(limit)).collect();
        limits.sort();
        limits
    }

    fn slot_limit(&self, limit: &Limit) -> SlotLimit {
        limit.of_value(match limit.scope {
            Scope::Task => Some(self.task_id.as_str()),
            Scope::Tag => Some(&self.tag),
            // A task with this scope has a queue.
            Scope::Queue => Some(self.queue.as_deref().unwrap_or_default()),
            Scope::All => None,
        })
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

    /// Returns what the run needs next. `None`: it has all of its slots, or needs none.
    pub fn asks(&self) -> Option<Asks> {
        let of_task = slot_of_task(&self.task_id);
        let has_task = self.slots.contains(&of_task);
        match self.overlap {
            Some(overlap) if !has_task => Some(Asks::Task(key_of_task(&self.task_id), overlap)),
            _ if self.slots.len() > usize::from(has_task) => None,
            _ => Some(Asks::Limits(self.limits())).filter(|_| !self.concurrency.is_empty()),
        }
    }

    /// Returns the run as a contender. `None`: the run needs no admission.
    pub fn contender(&self) -> Option<Contender> {
        Some(Contender { id: self.id.clone(), asks: self.asks()?, is_redriven: self.attempt > 1 })
    }

    /// Returns the group in which the run waits. `None`: the run does not wait for admission.
    pub fn wait_group(&self) -> Option<WaitGroup> {
        let asks = || self.asks().map(|asks| asks.group()).filter(|_| self.state == RunState::Held);
        self.hold_group().or_else(asks)
    }

    /// Gives the run further slots. If they are the last ones that it needs, `holder` claims the run until
    /// `lease_until`, to hand it over. Otherwise the run waits.
    ///
    /// # Errors
    /// If the run is neither `firing` nor `held`.
    pub fn admit(
        &mut self,
        slots: Vec<String>,
        holder: &str,
        lease_until: Moment,
    ) -> Result<(), IllegalTransition> {
        let before = self.slots.len();
        self.slots.extend(slots);
        let admitted = match (self.state, self.needs_admission()) {
            (RunState::Firing, false) | (RunState::Held, true) => Ok(()),
            (_, true) => self.hold(),
            (_, false) => self.apply(RunEvent::Admitted),
        };
        if admitted.is_err() {
            self.slots.truncate(before);
        } else if self.state == RunState::Firing {
            self.claim(holder, lease_until);
        }
        admitted
    }

    /// Lets the run wait for slots.
    ///
    /// # Errors
    /// If the run is in another state than `firing`, `ready` or `retrying`.
    pub fn hold(&mut self) -> Result<(), IllegalTransition> {
        self.apply(RunEvent::Held)?;
        self.hold = self.hold.map(|_| HoldMark::Over);
        self.postponed = false;
        self.leased_at = None;
        self.started_at = None;
        self.attention_at = Some(self.waits_until());
        Ok(())
    }

    /// Frees the slots of limits: the run has stopped working, and waits for a later attempt. The slot of its task
    /// stays.
    pub(super) fn free_limits(&mut self) {
        if !self.concurrency.is_empty() {
            let of_task = slot_of_task(&self.task_id);
            self.slots.retain(|slot| *slot == of_task);
        }
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
