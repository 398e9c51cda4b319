//! Tasks whose calendars have changed.

use super::calendar::Calendar;
use super::{Moment, Task};

impl Task {
    /// Returns the first moment from `now` on that is not decided. The grid of a period stays.
    pub fn next_open(&self, now: Moment) -> Option<Moment> {
        let origin = || self.schedule.first(self.start_at, self.anchored_at);
        let known = self.nominal_due().or(self.last_due_at).or_else(origin)?;
        // A nominal moment before `now` may be due later, with the delay of the task.
        let undecided = self.last_due_at.map(|last| last.plus_ms(1));
        let undue = Some(now.plus_ms(1 - self.jitter_offset_ms()));
        let from = [undue, undecided, self.start_at].into_iter().flatten().max()?;
        let has_fires = self.max_fires.is_none_or(|max| self.fired_count < max);
        let next = self.rule().next_from(known, from).filter(|_| has_fires);
        next.filter(|next| self.end_at.is_none_or(|end| *next <= end))
    }

    /// Returns the task with the current content of its calendars, as a new revision; `current` returns the content.
    /// A task without a further moment waits. `None`: the task has the current content. For `open` see
    /// [`Task::next_revision`].
    pub fn replan<'a>(
        &self,
        current: impl Fn(&str) -> Option<&'a Calendar>,
        open: &[u32],
        now: Moment,
    ) -> Option<Self> {
        let mut next = self.next_revision(open);
        next.timing.calendars.as_mut()?.update(current);
        if next.timing.calendars == self.timing.calendars {
            return None;
        }
        let due = next.next_open(now);
        Some(next.with_next(due).with_start_of_definition(self, now))
    }

    /// Returns whether only the calendars of the task leave no first moment. Such a task waits for another version of them.
    pub fn waits_from_start(&self) -> bool {
        let first = || self.schedule.first(self.start_at, self.anchored_at);
        self.timing.calendars.is_some() && self.within_end(first()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::Calendars;
    use crate::core::submission::{InvalidSubmission, Submission};
    use crate::core::task_change::{self, dropped, pause, resume};
    use crate::core::timing::Timing;
    use crate::core::{Schedule, TaskId, TaskState};

    fn at(text: &str) -> Moment {
        Moment::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn calendar(version: u64, weekly: &str, include: &[&str], exclude: &[&str]) -> Calendar {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Calendar {
            version,
            zone: "Asia/Shanghai".to_owned(),
            weekly: vec![weekly.to_owned()],
            include: texts(include),
            exclude: texts(exclude),
            ..Calendar::named("workdays")
        }
    }

    fn workdays(version: u64) -> Calendar {
        calendar(version, "mon-fri", &[], &[])
    }

    fn definition(schedule: Schedule, calendar: Calendar) -> Submission {
        let calendars = Calendars { only: vec![calendar], exclude: Vec::new() };
        let timing = Timing { calendars: Some(Box::new(calendars)), ..Timing::default() };
        Submission { schedule, timing, ..Submission::named("report", "") }
    }

    fn accept(definition: Submission, now: &str) -> Result<Task, InvalidSubmission> {
        definition.accept(TaskId::new(uuid::Uuid::nil()), at(now))
    }

    fn daily(calendar: Calendar) -> Submission {
        definition(Schedule::cron("0 9 * * *", "Asia/Shanghai"), calendar)
    }

    /// The next moments, as dates and hours in Shanghai.
    fn next(task: &Task, most: usize) -> Vec<String> {
        let shown = |moment: Moment| moment.plus_ms(8 * 3_600_000).to_string()[..13].to_owned();
        task.next_moments(most).into_iter().map(shown).collect()
    }

    fn replanned(task: &Task, calendar: &Calendar, now: &str) -> Task {
        task.replan(|name| (name == calendar.name).then_some(calendar), &[], at(now)).unwrap()
    }

    // 2026-02-13 is a Friday.
    const FRIDAY: &str = "2026-02-13T00:00:00Z";

    #[test]
    fn an_excluded_moment_is_no_moment() {
        let task = accept(daily(workdays(1)), FRIDAY).unwrap();
        assert_eq!(next(&task, 3), ["2026-02-13T09", "2026-02-16T09", "2026-02-17T09"]);
        let china = calendar(2, "mon-fri", &["2026-02-14"], &["2026-02-16/2026-02-23"]);
        let task = accept(daily(china.clone()), FRIDAY).unwrap();
        assert_eq!(next(&task, 3), ["2026-02-13T09", "2026-02-14T09", "2026-02-24T09"]);
        let every = definition(Schedule::Every { period_ms: 7 * 3_600_000 }, china);
        let task = accept(every, FRIDAY).unwrap();
        assert_eq!(next(&task, 5)[3..], ["2026-02-14T05", "2026-02-14T12"], "the grid stays");
        let late = Task { end_at: Some(at("2026-02-14T05:00:00Z")), ..task };
        assert_eq!(next(&late, 9).len(), 5);
    }

    #[test]
    fn only_the_schedule_decides_whether_a_task_is_refused() {
        let never = || definition(Schedule::cron("0 9 * * sun", "Asia/Shanghai"), workdays(1));
        let seconds = definition(
            Schedule::cron("* * * * * *", "UTC"),
            calendar(1, "mon", &[], &["1970-01-01/9999-12-31"]),
        );
        for closed in [never(), seconds] {
            let task = accept(closed, FRIDAY).unwrap();
            assert!(task.waits_for_calendar() && task.waits_from_start());
        }
        let ended = Submission { end_at: Some(at("2026-02-13T00:30:00Z")), ..daily(workdays(1)) };
        assert_eq!(accept(ended, FRIDAY).unwrap_err(), InvalidSubmission::NeverDue);
        let once = Submission { schedule: Schedule::Once, ..daily(workdays(1)) };
        assert!(matches!(accept(once, FRIDAY), Err(InvalidSubmission::Calendars(_))));
        let unknown = daily(Calendar::named("holidays"));
        assert!(accept(unknown, FRIDAY).unwrap_err().to_string().contains("does not exist"));
        let task = accept(daily(workdays(1)), FRIDAY).unwrap();
        let edited = task_change::edit(&task, never(), &[], at(FRIDAY)).unwrap();
        assert!(edited.waits_for_calendar());
    }

    #[test]
    fn a_task_that_waits_for_its_calendars_can_be_edited() {
        let open = accept(daily(workdays(1)), FRIDAY).unwrap();
        let waiting = replanned(&open, &calendar(2, "mon-fri", &[], &["2026-01-01/9999-12-31"]), FRIDAY);
        let renamed = Submission { data: "x".to_owned(), ..Submission::of(&waiting) };
        let edited = task_change::edit(&waiting, renamed, &[], at(FRIDAY)).unwrap();
        assert_eq!((edited.data.as_str(), edited.next_due_at), ("x", None));
        let hourly =
            Submission { schedule: Schedule::Every { period_ms: 3_600_000 }, ..Submission::of(&waiting) };
        assert!(task_change::edit(&waiting, hourly, &[], at(FRIDAY)).unwrap().waits_for_calendar());
        let free = Submission { timing: Timing::default(), ..Submission::of(&waiting) };
        assert_eq!(next(&task_change::edit(&waiting, free, &[], at(FRIDAY)).unwrap(), 1), ["2026-02-13T09"]);
    }

    #[test]
    fn another_version_continues_the_schedule() {
        let every = definition(Schedule::Every { period_ms: 7 * 3_600_000 }, workdays(1));
        let task = accept(every, FRIDAY).unwrap();
        let fired = Task { last_due_at: task.next_due_at, fired_count: 1, ..task.clone() };
        let fired = fired.with_next(task.due_after(at(FRIDAY), 1));
        let all_days = calendar(2, "mon-sun", &[], &[]);
        let moved = replanned(&fired, &all_days, "2026-02-14T01:00:00Z");
        assert_eq!(next(&moved, 2), ["2026-02-14T12", "2026-02-14T19"]);
        assert_eq!((moved.rev, moved.defined_at_rev(), moved.fired_count), (2, 2, 1));
        assert!(fired.replan(|_| None, &[], at(FRIDAY)).is_none(), "a deleted calendar keeps its content");
        assert!(moved.replan(|_| Some(&all_days), &[], at(FRIDAY)).is_none(), "the content is current");
        assert_eq!(dropped(&fired, &moved, at("2026-02-13T01:00:00Z")), None, "no moment was due");
    }

    #[test]
    fn a_task_whose_calendars_leave_no_moment_waits() {
        let task = accept(daily(workdays(1)), FRIDAY).unwrap();
        let closed = calendar(2, "mon-fri", &[], &["2026-01-01/9999-12-31"]);
        let waiting = replanned(&task, &closed, FRIDAY);
        assert_eq!((waiting.state, waiting.next_due_at), (TaskState::Active, None));
        assert!(waiting.waits_for_calendar() && next(&waiting, 1).is_empty());
        let paused = pause(&waiting, &[]).unwrap().unwrap();
        let (resumed, missed) = resume(&paused, &[], at(FRIDAY)).unwrap().unwrap();
        assert_eq!((resumed.next_due_at, missed), (None, None));
        let opened = replanned(&resumed, &workdays(3), "2026-02-20T09:00:00Z");
        assert_eq!(next(&opened, 1), ["2026-02-23T09"]);
    }

    #[test]
    fn the_last_moment_that_calendars_leave_does_not_finish_the_task() {
        let dates = Calendar { weekly: Vec::new(), include: vec!["2026-02-13".to_owned()], ..workdays(1) };
        let task = accept(daily(dates), FRIDAY).unwrap();
        let due = task.next_due_at.unwrap();
        assert_eq!(task.due_after(due, 1), None);
        assert!(task.waits_after(due, 1));
        let limited = Task { max_fires: Some(1), ..task.clone() };
        let ended = Task { end_at: Some(due.plus_ms(1)), ..task };
        assert!(!limited.waits_after(due, 1) && !ended.waits_after(due, 1));
    }

    #[test]
    fn a_moment_that_its_delay_holds_is_not_lost() {
        let timing = Timing { jitter_ms: Some(3_600_000), ..daily(workdays(1)).timing };
        let task = accept(Submission { timing, ..daily(workdays(1)) }, FRIDAY).unwrap();
        let nominal = task.nominal_due().unwrap();
        assert!(task.jitter_offset_ms() > 1);
        let other = calendar(2, "mon-sat", &[], &[]);
        let moved = task.replan(|_| Some(&other), &[], nominal.plus_ms(1)).unwrap();
        assert_eq!(moved.nominal_due(), Some(nominal));
    }
}
