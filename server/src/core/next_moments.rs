//! The next moments of a task, and how a change of the clocks has moved them.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{Moment, Task};

/// Effect of a change of the clocks on a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMark {
    /// The moment is the first instant after a gap: the clocks have skipped its time of day.
    AfterGap,
    /// The clocks show its time of day twice, and this is the first pass.
    FirstPass,
    /// The clocks show its time of day twice, and this is the second pass.
    SecondPass,
}

impl ClockMark {
    /// Returns the mark as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterGap => "after_gap",
            Self::FirstPass => "first_pass",
            Self::SecondPass => "second_pass",
        }
    }

    /// Returns the mark of a moment in a time zone. `None`: the clocks do not change around the moment.
    pub fn of(at: Moment, zone: &TimeZone) -> Option<Self> {
        let now = Timestamp::from_millisecond(at.ms()).ok()?;
        let before = Timestamp::from_millisecond(at.ms() - 1).ok()?;
        if zone.to_offset(now) > zone.to_offset(before) {
            return Some(Self::AfterGap);
        }
        match zone.to_ambiguous_timestamp(zone.to_datetime(now)).offset() {
            AmbiguousOffset::Fold { before, .. } if zone.to_offset(now) == before => Some(Self::FirstPass),
            AmbiguousOffset::Fold { .. } => Some(Self::SecondPass),
            _ => None,
        }
    }
}

impl Task {
    /// Returns the next nominal moments, earliest first, at most `most`. Searches may take milliseconds.
    pub fn next_moments(&self, most: usize) -> Vec<Moment> {
        let rule = self.rule();
        let mut fired = self.fired_count;
        let first = self.nominal_due().filter(|_| !self.state.has_ended());
        let next = |due: &Moment| {
            fired += 1;
            self.due_after_by(&rule, *due, fired)
        };
        std::iter::successors(first, next).take(most).collect()
    }

    /// Returns the moments before `end` that calendars exclude, each with the name of a calendar: the first `most`.
    pub fn excluded_moments(&self, end: Moment, most: usize) -> Vec<(Moment, String)> {
        if self.timing.calendars.is_none() {
            return Vec::new();
        }
        let rule = self.rule();
        let first = self.schedule.first(self.start_at, self.anchored_at);
        let all = std::iter::successors(first, |at| rule.after_unlimited(*at)).take_while(|at| *at < end);
        all.filter_map(|at| Some((at, rule.excluded_by(at)?.to_owned()))).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::submission::Submission;
    use crate::core::{Schedule, TaskId, zone};

    fn marks(cron: &str, from: &str) -> Vec<(String, Option<&'static str>)> {
        let now = Moment::from_ms(from.parse::<Timestamp>().unwrap().as_millisecond());
        let submission =
            Submission { schedule: Schedule::cron(cron, "Europe/Berlin"), ..Submission::named("n", "") };
        let task = submission.accept(TaskId::new(uuid::Uuid::nil()), now).unwrap();
        let berlin = zone::find("Europe/Berlin").unwrap();
        let mark = |at: Moment| {
            let shown = Timestamp::from_millisecond(at.ms()).unwrap().to_string();
            (shown, ClockMark::of(at, &berlin).map(ClockMark::as_str))
        };
        task.next_moments(3).into_iter().map(mark).collect()
    }

    #[test]
    fn a_gap_and_a_repeat_are_marked() {
        let gap = marks("30 2 * * *", "2030-03-30T00:00:00Z");
        assert_eq!(gap[1], ("2030-03-31T01:00:00Z".to_owned(), Some("after_gap")));
        assert_eq!((gap[0].1, gap[2].1), (None, None));
        let repeat = marks("30 * * * *", "2030-10-27T00:00:00Z");
        let passes: Vec<_> = repeat.iter().map(|(_, mark)| *mark).collect();
        assert_eq!(passes, [Some("first_pass"), Some("second_pass"), None]);
    }
}
