//! Admission: decides which runs with an overlap policy or limits start, wait, or are suppressed.

use std::collections::{BTreeMap, VecDeque};

use super::concurrency::SlotLimit;
use super::overlap::{Keep, Overlap};
use super::rate::RateLimit;
use super::run::RunId;
use super::wait_group::Limits;

/// The slots that runs have, by key and number, and the permits that are left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    slots: BTreeMap<String, BTreeMap<u32, RunId>>,
    /// A rate limit that is missing is not exceeded.
    permits: BTreeMap<RateLimit, u32>,
}

impl Usage {
    /// Returns the usage by slots, as [`slot`] names them.
    pub fn of(slots: Vec<(String, RunId)>) -> Self {
        let mut usage = Self::default();
        for (slot, run) in slots {
            if let Some((key, number)) = slot.rsplit_once('#')
                && let Ok(number) = number.parse()
            {
                usage.put(key, number, run);
            }
        }
        usage
    }

    fn put(&mut self, key: &str, number: u32, run: RunId) {
        self.slots.entry(key.to_owned()).or_default().insert(number, run);
    }

    /// Returns a run that has a slot of the key: the one with the lowest number.
    pub fn holder(&self, key: &str) -> Option<&RunId> {
        self.slots.get(key)?.values().next()
    }

    /// Returns the number of slots of the key that runs have. Slots above a lowered maximum count.
    pub fn used(&self, key: &str) -> u32 {
        self.slots.get(key).map_or(0, |slots| u32::try_from(slots.len()).unwrap_or(u32::MAX))
    }

    /// Sets the permits of a rate limit that are left.
    pub fn set_permits(&mut self, rate: RateLimit, permits: u32) {
        self.permits.insert(rate, permits);
    }

    /// Returns for how many runs each of these limits has a slot. Without a limit, that is any number.
    pub fn free(&self, limits: &[SlotLimit]) -> u32 {
        limits.iter().map(|limit| limit.max.saturating_sub(self.used(&limit.key))).min().unwrap_or(u32::MAX)
    }

    fn has_permit(&self, rate: &RateLimit) -> bool {
        self.permits.get(rate).is_none_or(|left| *left > 0)
    }

    /// Gives the run a slot of each limit and a permit, if there are all of them.
    fn start(&mut self, limits: &Limits, run: &Contender) -> Verdict {
        let excess = limits.rate.as_ref().filter(|rate| !self.has_permit(rate));
        if let Some(rate) = excess {
            return if rate.drops && !run.is_redriven { Verdict::Drop } else { Verdict::Wait };
        }
        let Some(slots) = self.take(&limits.slots, &run.id) else { return Verdict::Wait };
        if let Some(left) = limits.rate.as_ref().and_then(|rate| self.permits.get_mut(rate)) {
            *left -= 1;
        }
        Verdict::Start { slots }
    }

    /// Gives the run one slot of each limit, or none. Returns the slots.
    fn take(&mut self, limits: &[SlotLimit], run: &RunId) -> Option<Vec<String>> {
        if self.free(limits) == 0 {
            return None;
        }
        let mut taken = Vec::with_capacity(limits.len());
        for limit in limits {
            let slots = self.slots.entry(limit.key.clone()).or_default();
            // Fewer slots than the maximum are in use, so one of the numbers below the maximum is free.
            let number = (0..limit.max).find(|number| !slots.contains_key(number))?;
            slots.insert(number, run.clone());
            taken.push(slot(&limit.key, number));
        }
        Some(taken)
    }
}

/// Returns the name of a slot.
pub fn slot(key: &str, number: u32) -> String {
    format!("{key}#{number}")
}

/// A run that asks for admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    pub id: RunId,
    pub asks: Asks,
    /// Whether the run was admitted before. Such a run has begun, or a person has asked for its attempt, so that the run is
    /// never suppressed.
    pub is_redriven: bool,
}

/// What a run asks for. A run with both asks for the slot of its task first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// The slot of its task, with this key.
    Task(String, Overlap),
    /// A slot of each concurrency limit, and a permit of the rate limit.
    Limits(Limits),
}

impl Contender {
    /// Returns whether the run waits for the slot of its task, and neither suppresses another run nor is suppressed. A run of
    /// a backfill has an earlier moment than the run that it would replace.
    fn waits_its_turn(&self, overlap: Overlap) -> bool {
        self.is_redriven || overlap == Overlap::CancelPrevious && self.id.backfill().is_some()
    }
}

/// Decision on a contender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The run gets these slots, and a permit if it has a rate limit.
    Start { slots: Vec<String> },
    /// The run waits until slots and permits are free.
    Wait,
    /// The run waits, and the run with the slot of the task is cancelled.
    Replace,
    /// The run ends as skipped, because of the run `by`.
    Suppress { by: RunId },
    /// The run ends as skipped, because its rate limit has no permit.
    Drop,
}

impl Verdict {
    /// Returns whether the run waits.
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Wait | Self::Replace)
    }
}

/// Decides on the contenders, in the order in which they shall start. Returns one verdict per contender.
pub fn admit(usage: &Usage, contenders: &[Contender]) -> Vec<Verdict> {
    let mut usage = usage.clone();
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(contenders.len());
    // Positions of the runs that wait for the slot of their task, and may be suppressed.
    let mut waiting: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, run) in contenders.iter().enumerate() {
        let verdict = match &run.asks {
            Asks::Limits(limits) => usage.start(limits, run),
            Asks::Task(key, overlap) => {
                let waiting = waiting.entry(key).or_default();
                let Some(by) = usage.holder(key).cloned() else {
                    usage.put(key, 0, run.id.clone());
                    verdicts.push(Verdict::Start { slots: vec![slot(key, 0)] });
                    continue;
                };
                let (verdict, suppresses) = overlapping(run, *overlap, by, waiting, contenders);
                if suppresses {
                    waiting.drain(..).for_each(|at| verdicts[at] = Verdict::Suppress { by: run.id.clone() });
                }
                if verdict.waits() && !run.waits_its_turn(*overlap) {
                    waiting.push(at);
                }
                verdict
            }
        };
        verdicts.push(verdict);
    }
    verdicts
}

/// Decides on a run while the run `by` has the slot of the task. Returns the verdict, and whether the run suppresses
/// the runs that wait.
fn overlapping(
    run: &Contender,
    overlap: Overlap,
    by: RunId,
    waiting: &[usize],
    contenders: &[Contender],
) -> (Verdict, bool) {
    if run.waits_its_turn(overlap) {
        return (Verdict::Wait, false);
    }
    match overlap {
        Overlap::Skip => (Verdict::Suppress { by }, false),
        Overlap::QueueOne { keep: Keep::First } => match waiting.first() {
            Some(first) => (Verdict::Suppress { by: contenders[*first].id.clone() }, false),
            None => (Verdict::Wait, false),
        },
        Overlap::QueueOne { keep: Keep::Latest } => (Verdict::Wait, true),
        Overlap::CancelPrevious => (Verdict::Replace, true),
        Overlap::QueueAll { max } if waiting.len() >= max as usize => (Verdict::Suppress { by }, false),
        Overlap::QueueAll { .. } => (Verdict::Wait, false),
    }
}

/// Returns the runs of the groups in the order in which they shall start: the first run of each group, then the
/// second one of each, and so on. A group with many runs cannot delay the other groups.
pub fn in_turn(groups: Vec<Vec<Contender>>) -> Vec<Contender> {
    let mut groups: VecDeque<_> = groups.into_iter().map(Vec::into_iter).collect();
    let mut order = Vec::new();
    while let Some(mut group) = groups.pop_front() {
        if let Some(run) = group.next() {
            order.push(run);
            groups.push_back(group);
        }
    }
    order
}

#[cfg(test)]
mod tests;
