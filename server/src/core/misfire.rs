//! What happens to a moment that comes to be fired too late.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::task::Task;

/// What to do with the moments of a repeating task that are later than the grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// Fire every one of them, late.
    FireAll,
    /// Skip all but the last, and fire that one late.
    FireLast,
    /// Skip all of them.
    Skip,
}

/// A policy with its grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Misfire {
    /// What to do beyond the grace.
    pub policy: MisfirePolicy,
    /// A moment at most this late, in milliseconds, fires under every policy.
    pub grace_ms: i64,
}

impl Default for Misfire {
    fn default() -> Self {
        Self { policy: MisfirePolicy::FireLast, grace_ms: 300_000 }
    }
}

/// Longest stretch skipped in one step; a longer one takes more steps. It bounds the time one decision takes.
const MAX_STRETCH: u64 = 10_000;

/// What the next step of a due task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fire this moment.
    Fire {
        /// The nominal moment.
        at: Moment,
    },
    /// Skip a stretch of moments.
    Skip {
        /// The first one.
        from: Moment,
        /// The last one.
        to: Moment,
        /// How many they are.
        count: u64,
    },
}

impl Misfire {
    /// Decides for the moment `at` of `task`, due at or before `now`. A one-shot always fires: it has no later moment to make up for it.
    pub fn step(&self, task: &Task, at: Moment, now: Moment) -> Step {
        let mut skipped: Option<(Moment, u64)> = None;
        let mut next = Some(at);
        while let Some(moment) = next {
            let following = task.due_after(moment, task.fired_count);
            let count = skipped.map_or(0, |(_, count)| count);
            if !self.skips(moment, following, now) || count >= MAX_STRETCH {
                break;
            }
            skipped = Some((moment, count + 1));
            next = following;
        }
        match skipped {
            Some((to, count)) => Step::Skip { from: at, to, count },
            None => Step::Fire { at },
        }
    }

    fn skips(&self, moment: Moment, following: Option<Moment>, now: Moment) -> bool {
        if now.since(moment) <= self.grace_ms {
            return false;
        }
        match self.policy {
            MisfirePolicy::FireAll => false,
            MisfirePolicy::FireLast => following.is_some_and(|following| following <= now),
            MisfirePolicy::Skip => following.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Schedule;
    use crate::core::task::{TaskId, TaskState};

    fn every_second(end_sec: Option<i64>) -> Task {
        Task {
            id: TaskId::new(uuid::Uuid::nil()),
            name: "t".into(),
            data: String::new(),
            schedule: Schedule::Every { period_ms: 1000 },
            start_at: None,
            end_at: end_sec.map(Moment::from_sec),
            max_fires: None,
            ack: false,
            max_runtime_sec: None,
            queue: None,
            retry: None,
            created_at: Moment::from_sec(0),
            anchored_at: Moment::from_sec(0),
            rev: 1,
            state: TaskState::Active,
            next_due_at: Some(Moment::from_sec(0)),
            last_due_at: None,
            fired_count: 0,
            dedup_key: None,
            past: Vec::new(),
            hidden: false,
        }
    }

    fn step(policy: MisfirePolicy, task: &Task, now_sec: i64) -> Step {
        Misfire { policy, grace_ms: 10_000 }.step(task, Moment::from_sec(0), Moment::from_sec(now_sec))
    }

    #[test]
    fn within_the_grace_every_policy_fires() {
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            assert_eq!(step(policy, &every_second(None), 10), Step::Fire { at: Moment::from_sec(0) });
        }
    }

    #[test]
    fn fire_all_fires_however_late() {
        let step = step(MisfirePolicy::FireAll, &every_second(None), 100_000);
        assert_eq!(step, Step::Fire { at: Moment::from_sec(0) });
    }

    #[test]
    fn fire_last_skips_up_to_the_moments_inside_the_grace() {
        // 0..=9 are later than the grace at 20 s, and each has a later moment that is due as well.
        let step = step(MisfirePolicy::FireLast, &every_second(None), 20);
        assert_eq!(step, Step::Skip { from: Moment::from_sec(0), to: Moment::from_sec(9), count: 10 });
    }

    #[test]
    fn fire_last_keeps_the_last_moment_before_the_end() {
        let step = step(MisfirePolicy::FireLast, &every_second(Some(5)), 100);
        assert_eq!(step, Step::Skip { from: Moment::from_sec(0), to: Moment::from_sec(4), count: 5 });
    }

    #[test]
    fn a_one_shot_fires_however_late() {
        let once = Task { schedule: Schedule::Once, ..every_second(None) };
        for policy in [MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            assert_eq!(step(policy, &once, 1_000_000), Step::Fire { at: Moment::from_sec(0) });
        }
    }

    #[test]
    fn a_long_stretch_is_skipped_in_bounded_steps() {
        let Step::Skip { count, to, .. } = step(MisfirePolicy::Skip, &every_second(None), 1_000_000) else {
            panic!("a stretch is skipped");
        };
        assert_eq!((count, to), (10_000, Moment::from_sec(9_999)));
    }
}
