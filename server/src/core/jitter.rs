//! Jitter: a stable delay of each task, so that many tasks with one schedule do not fire at once.

use super::Moment;
use super::schedule::Rule;
use super::task::{Task, stable_hash};

impl Task {
    /// Returns the nominal moment that the task waits for. `next_due_at` is this moment with its jitter.
    pub fn nominal_due(&self) -> Option<Moment> {
        self.nominal_at.or(self.next_due_at)
    }

    /// Returns the delay of the task's moments in milliseconds. A hash of the task's id selects the delay, so
    /// the delay stays the same from moment to moment.
    pub fn jitter_offset_ms(&self) -> i64 {
        let Some(jitter_ms) = self.timing.jitter_ms.filter(|jitter_ms| *jitter_ms > 0) else { return 0 };
        // The shard of a task is a remainder of this hash: other bits are independent of it.
        (stable_hash(self.id.as_str().as_bytes()).rotate_left(32) % (jitter_ms.unsigned_abs() + 1)) as i64
    }

    /// Returns when the nominal moment fires: with its delay, before the next moment, and not after the end of
    /// the task. `rule` is the [rule](Task::rule) of the task.
    pub fn effective(&self, nominal: Moment, rule: &Rule) -> Moment {
        self.delayed(nominal, rule, self.jitter_offset_ms())
    }

    /// Returns the latest time at which a task with this definition, of any id, fires the nominal moment.
    pub fn latest(&self, nominal: Moment, rule: &Rule) -> Moment {
        self.delayed(nominal, rule, self.timing.jitter_ms.unwrap_or(0))
    }

    fn delayed(&self, nominal: Moment, rule: &Rule, offset_ms: i64) -> Moment {
        if offset_ms == 0 {
            return nominal;
        }
        let before_next = rule.after(nominal).map(|next| next.plus_ms(-1));
        let latest = [Some(Moment::NEVER), before_next, self.end_at].into_iter().flatten().min();
        nominal.plus_ms(offset_ms).min(latest.unwrap_or(nominal)).max(nominal)
    }

    /// Returns the task with another next moment.
    #[must_use]
    pub fn with_next(self, nominal: Option<Moment>) -> Self {
        let (nominal_at, next_due_at) = self.places(nominal);
        Self { next_due_at, nominal_at, ..self }
    }

    /// Returns a nominal moment as the fields `nominal_at` and `next_due_at` have it.
    pub fn places(&self, nominal: Option<Moment>) -> (Option<Moment>, Option<Moment>) {
        match nominal {
            Some(moment) if self.timing.jitter_ms.is_some() => {
                (nominal, Some(self.effective(moment, &self.rule())))
            }
            _ => (None, nominal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::submission::Submission;
    use crate::core::timing::Timing;
    use crate::core::{Schedule, TaskId};

    const NOW: Moment = Moment::from_sec(1_000_000);

    fn task(n: u128, schedule: Schedule, jitter_ms: i64) -> Task {
        let timing = Timing { jitter_ms: Some(jitter_ms), ..Timing::default() };
        let submission = Submission { schedule, timing, ..Submission::named("n", "") };
        submission.accept(TaskId::new(uuid::Uuid::from_u128(n)), NOW).unwrap()
    }

    #[test]
    fn the_delay_is_stable_and_spread_over_the_whole_range() {
        let offsets: Vec<i64> =
            (0..200).map(|n| task(n, Schedule::Once, 10_000).jitter_offset_ms()).collect();
        let again: Vec<i64> = (0..200).map(|n| task(n, Schedule::Once, 10_000).jitter_offset_ms()).collect();
        assert_eq!(offsets, again);
        assert!(offsets.iter().all(|ms| (0..=10_000).contains(ms)));
        for part in 0..10 {
            let within = offsets.iter().filter(|ms| **ms / 1_001 == part).count();
            assert!(within >= 5, "{within} of 200 tasks between {part} and {} s", part + 1);
        }
    }

    #[test]
    fn a_moment_fires_late_by_the_delay_and_before_the_next_moment() {
        for n in 0..50 {
            let once = task(n, Schedule::Once, 60_000);
            assert_eq!(once.next_due_at, Some(NOW.plus_ms(once.jitter_offset_ms())));
            assert_eq!(once.nominal_due(), Some(NOW));
            let every = task(n, Schedule::Every { period_ms: 1_000 }, 60_000);
            let late_ms = every.next_due_at.unwrap().since(NOW);
            assert_eq!(late_ms, every.jitter_offset_ms().min(999));
            let ended = Task { end_at: Some(NOW.plus_ms(5)), ..task(n, Schedule::Once, 60_000) };
            assert!(ended.with_next(Some(NOW)).next_due_at <= Some(NOW.plus_ms(5)));
        }
    }

    #[test]
    fn a_task_without_jitter_has_one_moment() {
        let task = task(1, Schedule::Once, 5);
        let plain = Task { timing: Timing::default(), ..task }.with_next(Some(NOW));
        assert_eq!((plain.next_due_at, plain.nominal_at, plain.nominal_due()), (Some(NOW), None, Some(NOW)));
    }
}
