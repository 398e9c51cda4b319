//! Backfill: runs for the moments of a schedule in a range of the past.

use serde::{Deserialize, Serialize};

use super::{COUNT_LIMIT, Count, InvalidOperation};
use crate::core::calendar::Calendars;
use crate::core::schedule::Rule;
use crate::core::{Moment, Schedule, Task, TaskId};

/// The moments of a task's schedule in a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    pub task_id: TaskId,
    /// Schedule of the task when the backfill was created. An edit of the task does not change the moments.
    pub schedule: Schedule,
    /// Calendars of the task when the backfill was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendars: Option<Box<Calendars>>,
    /// A moment of the schedule. The grid of a period contains it, and has no begin.
    pub origin: Moment,
    /// First instant of the range.
    pub from: Moment,
    /// End of the range, exclusive.
    pub to: Moment,
}

impl Backfill {
    /// Returns the backfill of a task in a range that has passed.
    ///
    /// # Errors
    /// The broken rule: the schedule must repeat, and the range must be in order and not end in the future.
    pub fn new(task: &Task, from: Moment, to: Moment, now: Moment) -> Result<Self, InvalidOperation> {
        let origin = task.schedule.first(task.start_at, task.anchored_at);
        let repeats = || {
            let why = "the task has no repeating schedule: a backfill needs `every` or `cron`; `trigger` fires a task once";
            InvalidOperation::new("schedule", why)
        };
        let origin = origin.filter(|_| task.schedule != Schedule::Once).ok_or_else(repeats)?;
        if to <= from {
            return Err(InvalidOperation::new("to", format!("to should be later than from, {from}")));
        }
        if to > now {
            let why =
                format!("to is in the future: the schedule fires later moments itself; use at most {now}");
            return Err(InvalidOperation::new("to", why));
        }
        let (task_id, schedule) = (task.id.clone(), task.schedule.clone());
        Ok(Self { task_id, schedule, calendars: task.timing.calendars.clone(), origin, from, to })
    }

    /// Returns the moments of the range after `after`, earliest first. `None`: all moments.
    pub fn moments(&self, after: Option<Moment>) -> impl Iterator<Item = Moment> + use<> {
        let (rule, to) = (self.rule(), self.to);
        let first = match after {
            None => rule.next_from(self.origin, self.from),
            Some(after) => rule.after(after),
        };
        std::iter::successors(first, move |at| rule.after(*at)).take_while(move |at| *at < to)
    }

    fn rule(&self) -> Rule {
        self.schedule.rule_within(self.calendars.as_deref())
    }

    /// Returns the number of moments.
    pub fn count(&self) -> Count {
        let most = usize::try_from(COUNT_LIMIT + 1).unwrap_or(usize::MAX);
        Count::default().plus(self.moments(None).take(most).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backfill(schedule: Schedule, origin: i64, from: i64, to: i64) -> Backfill {
        let [origin, from, to] = [origin, from, to].map(Moment::from_sec);
        Backfill { task_id: TaskId::new(uuid::Uuid::nil()), schedule, calendars: None, origin, from, to }
    }

    fn seconds(backfill: &Backfill, after: Option<i64>) -> Vec<i64> {
        backfill.moments(after.map(Moment::from_sec)).map(Moment::sec).collect()
    }

    #[test]
    fn the_range_contains_its_begin_and_not_its_end() {
        let hourly = backfill(Schedule::cron("0 * * * *", "UTC"), 0, 3_600, 14_400);
        assert_eq!(seconds(&hourly, None), [3_600, 7_200, 10_800]);
        assert_eq!(seconds(&hourly, Some(3_600)), [7_200, 10_800], "a batch continues after its last moment");
        assert_eq!(seconds(&hourly, Some(10_800)), [0; 0]);
        assert_eq!(hourly.count(), Count { rows: 3, more: false });
    }

    #[test]
    fn the_grid_of_a_period_extends_before_its_begin() {
        let every = Schedule::Every { period_ms: 60_000 };
        assert_eq!(seconds(&backfill(every.clone(), 1_000_007, 100, 230), None), [107, 167, 227]);
        assert_eq!(seconds(&backfill(every.clone(), 7, 127, 188), None), [127, 187], "after the origin");
        let cron = Schedule::cron("@every 1m", "UTC");
        assert_eq!(seconds(&backfill(cron, 1_000_007, 100, 230), None), [107, 167, 227]);
        assert_eq!(seconds(&backfill(every, 7, 8, 9), None), [0; 0]);
    }

    #[test]
    fn a_count_ends_at_its_limit() {
        let every = backfill(Schedule::Every { period_ms: 1_000 }, 0, 0, 1_000_000);
        assert_eq!(every.count(), Count { rows: COUNT_LIMIT, more: true });
    }
}
