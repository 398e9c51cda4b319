//! What would happen to the moments of a task if no node ran for a while.

use super::{Misfire, Step};
use crate::core::schedule::Rule;
use crate::core::submission::Submission;
use crate::core::{Moment, Schedule, Task, TaskId};

/// Maximum number of moments that one answer examines: a bound on its time.
const MAX_EXAMINED: u64 = 20_000;

/// A period without any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    pub from: Moment,
    /// When a node runs again.
    pub to: Moment,
}

/// The decisions on the moments of an absence, first one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterAbsence {
    pub steps: Vec<Step>,
    /// Whether the limit has cut the list.
    pub more: bool,
}

impl Misfire {
    /// Returns the decisions of the dispatcher on the moments of an absence, at most `limit`. Fires before the
    /// absence do not count towards `max_fires`.
    pub fn after_absence(&self, task: &Task, absence: Absence, limit: usize) -> AfterAbsence {
        let mut task = task.clone();
        let rule = task.rule();
        let (mut steps, mut examined) = (Vec::new(), 0);
        let mut next = first(&task, &rule, absence.from).filter(|at| *at < absence.to);
        while let Some(at) = next {
            if steps.len() == limit || examined >= MAX_EXAMINED {
                return AfterAbsence { steps, more: true };
            }
            let mut scan = self.scan(&task, at, absence.to);
            let Some(step) = scan.proceed(MAX_EXAMINED - examined) else {
                return AfterAbsence { steps, more: true };
            };
            examined += step.moments();
            steps.push(step);
            next = following(&mut task, &rule, step).filter(|at| *at < absence.to);
        }
        AfterAbsence { steps, more: false }
    }
}

impl Misfire {
    /// Same as [`after_absence`](Self::after_absence), for a new task with this schedule that begins with the
    /// absence.
    pub fn after_absence_of(&self, schedule: &Schedule, absence: Absence, limit: usize) -> AfterAbsence {
        let submission = Submission { schedule: schedule.clone(), ..Submission::named("preview", "") };
        match submission.accept(TaskId::new(uuid::Uuid::nil()), absence.from) {
            Ok(task) => self.after_absence(&task, absence, limit),
            // The schedule has no moment.
            Err(_) => AfterAbsence { steps: Vec::new(), more: false },
        }
    }
}

impl Step {
    fn moments(&self) -> u64 {
        match self {
            Self::Fire { .. } => 1,
            Self::Skip { count, .. } => *count,
        }
    }
}

/// Returns the first moment of the task at or after `from`.
fn first(task: &Task, rule: &Rule, from: Moment) -> Option<Moment> {
    let next = task.nominal_due()?;
    let first = match task.schedule {
        Schedule::Once => Some(next).filter(|next| *next >= from),
        _ => rule.next_from(next, from.max(next)),
    };
    first.filter(|at| task.end_at.is_none_or(|end| *at <= end))
}

/// Steps the task, and returns its next moment.
fn following(task: &mut Task, rule: &Rule, step: Step) -> Option<Moment> {
    let decided = match step {
        Step::Fire { at } => {
            task.fired_count += 1;
            at
        }
        Step::Skip { to, .. } => to,
    };
    task.due_after_by(rule, decided, task.fired_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::misfire::MisfirePolicy;

    const NOW: Moment = Moment::from_sec(1_000_000);
    const HOUR_MS: i64 = 3_600_000;

    fn task(schedule: Schedule) -> Task {
        let submission = Submission { schedule, ..Submission::named("n", "") };
        submission.accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap()
    }

    fn hourly() -> Task {
        task(Schedule::Every { period_ms: HOUR_MS })
    }

    fn absence(from_hours: i64, to_hours: i64) -> Absence {
        // One minute after a moment, so that the last moment is within the grace period.
        let at = |hours: i64| NOW.plus_ms(hours * HOUR_MS + 60_000);
        Absence { from: at(from_hours), to: at(to_hours) }
    }

    fn at(hours: i64) -> Moment {
        NOW.plus_ms(hours * HOUR_MS)
    }

    fn steps(policy: MisfirePolicy, task: &Task, absence: Absence) -> Vec<Step> {
        Misfire { policy, ..Misfire::default() }.after_absence(task, absence, 100).steps
    }

    #[test]
    fn each_policy_decides_on_the_moments_of_the_absence() {
        let fire = |hours| Step::Fire { at: at(hours) };
        let skip = |from, to, count| Step::Skip { from: at(from), to: at(to), count };
        let of = |policy| steps(policy, &hourly(), absence(0, 4));
        assert_eq!(of(MisfirePolicy::FireAll), [fire(1), fire(2), fire(3), fire(4)]);
        assert_eq!(of(MisfirePolicy::FireLast), [skip(1, 3, 3), fire(4)]);
        assert_eq!(
            of(MisfirePolicy::Skip),
            [skip(1, 3, 3), fire(4)],
            "the last one is within the grace period"
        );
        let later = Absence { to: at(4).plus_ms(HOUR_MS / 2), ..absence(0, 4) };
        assert_eq!(steps(MisfirePolicy::Skip, &hourly(), later), [skip(1, 4, 4)]);
        assert_eq!(steps(MisfirePolicy::FireLast, &hourly(), later), [skip(1, 3, 3), fire(4)]);
    }

    #[test]
    fn the_grid_the_end_and_the_limit_of_fires_hold() {
        let policy = MisfirePolicy::FireAll;
        let far = steps(policy, &hourly(), absence(1_000, 1_001));
        assert_eq!(far, [Step::Fire { at: at(1_001) }]);
        let ended = Task { end_at: Some(at(2)), ..hourly() };
        assert_eq!(steps(policy, &ended, absence(0, 9)).len(), 2);
        assert!(steps(policy, &ended, absence(3, 9)).is_empty());
        assert_eq!(steps(policy, &Task { max_fires: Some(3), ..hourly() }, absence(0, 9)).len(), 3);
        let once = task(Schedule::Once);
        assert_eq!(
            steps(MisfirePolicy::Skip, &once, Absence { from: NOW, to: at(9) }),
            [Step::Fire { at: NOW }]
        );
        assert!(steps(policy, &once, absence(1, 9)).is_empty(), "the task has fired before");
        assert!(steps(policy, &hourly(), Absence { from: at(3), to: at(2) }).is_empty());
    }

    #[test]
    fn the_work_is_bounded() {
        let often = task(Schedule::Every { period_ms: 1 });
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            let misfire = Misfire { policy, ..Misfire::default() };
            let after = misfire.after_absence(&often, absence(0, 9_000), 100);
            assert!(after.more && after.steps.len() <= 100, "{policy:?}");
        }
    }

    #[test]
    fn a_step_is_what_the_dispatcher_decides() {
        let (task, absence) = (hourly(), absence(0, 30));
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            let misfire = Misfire { policy, ..Misfire::default() };
            let after = misfire.after_absence(&task, absence, 100);
            assert_eq!(after.steps[0], misfire.step(&task, at(1), absence.to), "{policy:?}");
        }
    }
}
