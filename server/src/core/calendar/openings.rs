//! The search for the instants that calendars contain.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::entry::{DateEntry, Hours, WeeklyEntry, union, without};
use crate::core::Moment;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Bounds of one search for a moment.
#[derive(Debug)]
pub struct Search {
    /// Days that may be examined.
    days: u32,
    /// Excluded moments that may be passed.
    moments: u32,
}

impl Search {
    /// Days of a hundred years, as a search for a match of a cron expression.
    const DAYS: u32 = 36_525;
    /// More than ten years of one excluded moment a day.
    const MOMENTS: u32 = 4_000;

    /// Returns the bounds of a new search.
    pub fn new() -> Self {
        Self { days: Self::DAYS, moments: Self::MOMENTS }
    }

    /// Counts an excluded moment. Returns `None` at the end of the search.
    pub fn pass_moment(&mut self) -> Option<()> {
        self.moments = self.moments.checked_sub(1)?;
        Some(())
    }

    fn pass_day(&mut self) -> Option<()> {
        self.days = self.days.checked_sub(1)?;
        Some(())
    }
}

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

/// A parsed calendar.
#[derive(Debug, Clone)]
pub struct OpenTimes {
    name: String,
    zone: TimeZone,
    /// Hours of each day of the week, Monday first.
    weekly: [Vec<Hours>; 7],
    include: Vec<DateEntry>,
    exclude: Vec<DateEntry>,
}

impl OpenTimes {
    /// Returns the calendar with these entries.
    pub fn new(
        name: String,
        zone: TimeZone,
        entries: &[WeeklyEntry],
        include: Vec<DateEntry>,
        exclude: Vec<DateEntry>,
    ) -> Self {
        let mut weekly: [Vec<Hours>; 7] = Default::default();
        for entry in entries {
            entry.days.iter().for_each(|day| weekly[*day].extend(&entry.hours));
        }
        Self { name, zone, weekly: weekly.map(union), include, exclude }
    }

    /// Returns the first instant at or after `at` that the calendar contains or, if not `contained`, does not
    /// contain. `None`: the search has ended without one.
    fn seek(&self, mut at: Moment, contained: bool, search: &mut Search) -> Option<Moment> {
        loop {
            let now = Timestamp::from_millisecond(at.ms()).ok()?;
            // Up to the next change of the clocks, the time of day grows with the time.
            let change = self.zone.following(now).next().map(|change| change.timestamp());
            let passed_ms = self.seek_on_clock(now, change, contained, search)?;
            let found = at.plus_ms(passed_ms);
            match change.map(|change| Moment::from_ms(change.as_millisecond())) {
                Some(change) if change <= found => at = change,
                _ => return Some(found),
            }
        }
    }

    /// Returns how many milliseconds pass on a clock that does not change until it shows a wanted time. The search
    /// may end after the next change of the clocks.
    fn seek_on_clock(
        &self,
        now: Timestamp,
        change: Option<Timestamp>,
        contained: bool,
        search: &mut Search,
    ) -> Option<i64> {
        let last = change.map(|change| self.zone.to_datetime(change).date());
        let (mut date, begin_ms) = self.clock(now);
        let (mut from_ms, mut days) = (begin_ms, 0);
        loop {
            search.pass_day()?;
            if let Some(found_ms) = self.seek_in_day(date, from_ms, contained) {
                return Some(days * DAY_MS + found_ms - begin_ms);
            }
            (date, from_ms, days) = (date.tomorrow().ok()?, 0, days + 1);
            if last.is_some_and(|last| date > last.saturating_add(jiff::Span::new().days(1))) {
                return Some(days * DAY_MS - begin_ms);
            }
        }
    }

    /// Returns what the clocks of the zone show: the date, and the milliseconds since midnight.
    fn clock(&self, now: Timestamp) -> (Date, i64) {
        let (date, time) = (self.zone.to_datetime(now).date(), self.zone.to_datetime(now).time());
        let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
        let ms = i64::from(time.second()) * 1_000 + i64::from(time.millisecond());
        (date, minutes * MINUTE_MS + ms)
    }

    /// Returns whether the calendar contains an instant.
    fn contains(&self, at: Moment) -> bool {
        let Ok(now) = Timestamp::from_millisecond(at.ms()) else { return false };
        let (date, ms) = self.clock(now);
        self.of_day(date).iter().any(|hours| hours.contains_ms(ms))
    }

    /// Returns the first wanted time of a day from `from_ms` on, in milliseconds on the clock.
    fn seek_in_day(&self, date: Date, from_ms: i64, contained: bool) -> Option<i64> {
        let open = self.of_day(date);
        let current = open.iter().find(|hours| hours.contains_ms(from_ms));
        match (current, contained) {
            (Some(_), true) | (None, false) => Some(from_ms),
            (None, true) => open.iter().map(|hours| hours.begin_ms()).find(|begin| *begin > from_ms),
            (Some(hours), false) => Some(hours.end_ms()).filter(|end| *end < DAY_MS),
        }
    }

    /// Returns the hours of a day, in order.
    fn of_day(&self, date: Date) -> Vec<Hours> {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        let of = |entries: &[DateEntry]| {
            let today = entries.iter().filter(|entry| (entry.first..=entry.last).contains(&date));
            today.flat_map(|entry| entry.hours.clone()).collect::<Vec<Hours>>()
        };
        let mut hours = of(&self.exclude).into_iter().fold(self.weekly[weekday].clone(), without);
        hours.extend(of(&self.include));
        union(hours)
    }
}

impl Hours {
    fn begin_ms(self) -> i64 {
        i64::from(self.from) * MINUTE_MS
    }

    fn end_ms(self) -> i64 {
        i64::from(self.to) * MINUTE_MS
    }

    fn contains_ms(self, ms: i64) -> bool {
        (self.begin_ms()..self.end_ms()).contains(&ms)
    }
}

/// The parsed calendars of a task. An instant is open if all calendars of `only` contain it, and no calendar of
/// `exclude`.
#[derive(Debug, Clone, Default)]
pub struct Openings {
    pub only: Vec<OpenTimes>,
    pub exclude: Vec<OpenTimes>,
}

impl Openings {
    /// Returns the first open instant at or after `at`. `None`: the search has ended without one.
    pub fn next_open(&self, mut at: Moment, search: &mut Search) -> Option<Moment> {
        loop {
            let mut next = at;
            for calendar in &self.only {
                next = calendar.seek(next, true, search)?;
            }
            for calendar in &self.exclude {
                next = calendar.seek(next, false, search)?;
            }
            if next == at {
                return Some(at);
            }
            at = next;
        }
    }

    /// Returns the name of a calendar that excludes an instant. `None`: the instant is open.
    pub fn excluded_by(&self, at: Moment) -> Option<&str> {
        let only = self.only.iter().find(|calendar| !calendar.contains(at));
        let closed = only.or_else(|| self.exclude.iter().find(|calendar| calendar.contains(at)));
        closed.map(|calendar| calendar.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Calendar;
    use super::super::tests::calendar;
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::from_ms(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn only(calendar: &Calendar) -> Openings {
        Openings { only: vec![calendar.open_times().unwrap()], exclude: Vec::new() }
    }

    fn excluding(calendar: &Calendar) -> Openings {
        Openings { only: Vec::new(), exclude: vec![calendar.open_times().unwrap()] }
    }

    fn next(openings: &Openings, from: &str) -> String {
        let found = openings.next_open(at(from), &mut Search::new());
        found.map_or_else(|| "never".to_owned(), |at| at.to_string().replace(".000Z", "Z"))
    }

    /// The holidays of the spring festival 2026 in China, with two working Saturdays.
    fn china() -> Calendar {
        calendar(
            &["mon-fri 09:00-18:00"],
            &["2026-02-14 09:00-18:00", "2026-02-28 09:00-18:00"],
            &["2026-02-15/2026-02-23"],
        )
    }

    #[test]
    fn holidays_and_working_saturdays_change_the_weekly_hours() {
        for (from, expected) in [
            ("2026-02-13T00:59:00Z", "2026-02-13T01:00:00Z"),
            ("2026-02-13T01:00:00Z", "2026-02-13T01:00:00Z"),
            ("2026-02-13T09:59:59.999Z", "2026-02-13T09:59:59.999Z"),
            ("2026-02-13T10:00:00Z", "2026-02-14T01:00:00Z"),
            ("2026-02-14T10:00:00Z", "2026-02-24T01:00:00Z"),
            ("2026-02-27T10:00:00Z", "2026-02-28T01:00:00Z"),
            ("2026-02-28T10:00:00Z", "2026-03-02T01:00:00Z"),
        ] {
            assert_eq!(next(&only(&china()), from), expected, "{from}");
        }
    }

    #[test]
    fn an_excluded_calendar_opens_the_other_times() {
        for (from, expected) in [
            ("2026-02-13T00:59:00Z", "2026-02-13T00:59:00Z"),
            ("2026-02-13T01:00:00Z", "2026-02-13T10:00:00Z"),
            ("2026-02-16T01:00:00Z", "2026-02-16T01:00:00Z"),
        ] {
            assert_eq!(next(&excluding(&china()), from), expected, "{from}");
        }
        let whole = calendar(&["mon-wed"], &[], &[]);
        assert_eq!(next(&excluding(&whole), "2026-02-16T01:00:00Z"), "2026-02-18T16:00:00Z");
    }

    #[test]
    fn a_part_of_a_day_can_be_excluded() {
        let eve = calendar(&["mon-sun 09:00-17:00"], &[], &["2026-12-24 12:00-24:00", "2026-12-25"]);
        assert_eq!(next(&only(&eve), "2026-12-24T03:30:00Z"), "2026-12-24T03:30:00Z");
        assert_eq!(next(&only(&eve), "2026-12-24T04:00:00Z"), "2026-12-26T01:00:00Z");
    }

    #[test]
    fn changes_of_the_clocks_skip_and_repeat_hours() {
        let berlin =
            |weekly: &[&str]| Calendar { zone: "Europe/Berlin".to_owned(), ..calendar(weekly, &[], &[]) };
        // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        let gap = only(&berlin(&["sun 02:00-02:30", "mon 12:00-13:00"]));
        assert_eq!(next(&gap, "2026-03-29T00:00:00Z"), "2026-03-30T10:00:00Z", "the hours are skipped");
        let repeat = only(&berlin(&["sun 02:00-02:30"]));
        for (from, expected) in [
            ("2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
            ("2026-10-25T01:29:59Z", "2026-10-25T01:29:59Z"),
            ("2026-10-25T01:30:00Z", "2026-11-01T01:00:00Z"),
        ] {
            assert_eq!(next(&repeat, from), expected, "{from}");
        }
        let across = excluding(&berlin(&["sun 01:30-03:30"]));
        assert_eq!(next(&across, "2026-03-29T00:30:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next(&across, "2026-10-24T23:30:00Z"), "2026-10-25T02:30:00Z");
    }

    #[test]
    fn several_calendars_must_all_be_open() {
        let both = |a: &[&str], b: &[&str]| {
            let parsed = |weekly| calendar(weekly, &[], &[]).open_times().unwrap();
            Openings { only: vec![parsed(a), parsed(b)], exclude: vec![parsed(&["tue"])] }
        };
        let openings = both(&["mon-wed"], &["tue-sun 10:00-11:00"]);
        assert_eq!(next(&openings, "2026-02-16T00:00:00Z"), "2026-02-18T02:00:00Z");
        let never = both(&["mon 09:00-10:00"], &["mon 10:00-11:00"]);
        assert_eq!(next(&never, "2026-02-16T00:00:00Z"), "never", "the search is bounded");
    }

    #[test]
    fn the_end_of_the_dates_ends_the_search() {
        let dates = only(&calendar(&[], &["2026-10-01/2026-10-02", "2027-10-01"], &[]));
        assert_eq!(next(&dates, "2026-10-02T15:59:59Z"), "2026-10-02T15:59:59Z");
        assert_eq!(next(&dates, "2026-10-02T16:00:00Z"), "2027-09-30T16:00:00Z");
        assert_eq!(next(&dates, "2027-10-01T16:00:00Z"), "never");
        let always = calendar(&["mon-sun"], &[], &[]);
        assert_eq!(next(&excluding(&always), "2026-02-16T00:00:00Z"), "never");
        assert_eq!(excluding(&always).excluded_by(at("2026-02-16T00:00:00Z")), Some("workdays"));
        assert_eq!(only(&always).excluded_by(at("2026-02-16T00:00:00Z")), None);
    }
}
