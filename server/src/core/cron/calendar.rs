//! The dates and times that an expression selects on a plain calendar, without a time zone.

use jiff::civil::{Date, DateTime, Weekday};

use super::field::{DAY_OF_MONTH, DAY_OF_WEEK, HOUR, MINUTE, MONTH, QUARTZ_DAY_OF_WEEK, SECOND, YEAR, items};
use super::{Dialect, Dst, InvalidCron, refuse, shorten};

/// Years that one search looks ahead. Dates repeat with their weekdays within 28 years, or 40 around
/// a century without a leap day.
const SEARCH_YEARS: i16 = 100;

const SATURDAY: u32 = 6;

/// The fields of an expression, ready for a search.
#[derive(Debug, Clone)]
pub struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
    /// Ascending; empty: every year.
    years: Vec<u16>,
    /// Whether an item of second, minute or hour begins with `*` or is an open step (`0/15`).
    pub is_interval: bool,
    /// What happens when clocks change.
    pub dst: Dst,
    /// Remarks on the expression for the person who wrote it.
    pub notes: Vec<String>,
}

/// Which days are selected.
#[derive(Debug, Clone, Default)]
struct Days {
    /// Days of the month, by bit.
    of_month: u64,
    /// `L` and `L-3`: days before the last day of the month, by bit.
    before_last: u64,
    /// `15W`: the weekday nearest to this day within its month, by bit.
    near: u64,
    /// `LW`: the last weekday of the month.
    last_weekday: bool,
    /// Days of the week, by bit from Sunday.
    of_week: u64,
    /// `FRI#2`: for each occurrence 1 to 5 within the month, days of the week by bit.
    nth: [u64; 5],
    /// `5L`: last occurrence within the month, days of the week by bit.
    last: u64,
    /// Whether both day fields must match. When not, one is enough.
    both: bool,
}

impl Calendar {
    /// Reads six or seven fields: second, minute, hour, day of month, month, day of week, year.
    pub fn parse(fields: &[&str], dialect: Dialect, dst: Dst) -> Result<Self, InvalidCron> {
        let [second, minute, hour, day, month, weekday, year @ ..] = fields else {
            return refuse("an expression has 5 to 7 fields");
        };
        let mut notes = Vec::new();
        let mut is_interval = false;
        let mut time = |text, field| -> Result<u64, InvalidCron> {
            let (set, interval) = bits(text, field, &mut notes)?;
            is_interval |= interval;
            Ok(set)
        };
        let (seconds, minutes, hours) = (time(second, &SECOND)?, time(minute, &MINUTE)?, time(hour, &HOUR)?);
        let months = bits(month, &MONTH, &mut notes)?.0;
        let days = Days::parse(day, weekday, dialect, &mut notes)?;
        let years = year.first().map_or(Ok(Vec::new()), |year| parse_years(year))?;
        Ok(Self { seconds, minutes, hours, months, days, years, is_interval, dst, notes })
    }

    /// Returns the first match after `after`, or `None` where the next hundred years have none.
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        if self.has_day(after.date())
            && let Some(time) = self.time_after(after)
        {
            return Some(time);
        }
        let next_day = after.date().tomorrow().ok()?;
        self.first_of(self.next_day(next_day)?)
    }

    /// Whether any date matches at all.
    pub fn has_any_day(&self) -> bool {
        let first_year = self.years.first().map_or(2000, |year| *year as i16);
        Date::new(first_year, 1, 1).is_ok_and(|first| self.next_day(first).is_some())
    }

    fn next_day(&self, from: Date) -> Option<Date> {
        let last_year = from.year().saturating_add(SEARCH_YEARS);
        let mut date = from;
        loop {
            if !self.has_year(date.year()) {
                date = Date::new(self.year_after(date.year())?, 1, 1).ok()?;
            }
            let in_month = contains(self.months, date.month() as u16);
            if in_month && let Some(day) = self.days.next_in_month(date) {
                return Some(day);
            }
            date = first_of_next_month(date)?;
            if date.year() > last_year && self.years.is_empty() {
                return None;
            }
        }
    }

    fn has_year(&self, year: i16) -> bool {
        self.years.is_empty() || u16::try_from(year).is_ok_and(|year| self.years.binary_search(&year).is_ok())
    }

    fn year_after(&self, year: i16) -> Option<i16> {
        self.years.iter().map(|listed| *listed as i16).find(|listed| *listed > year)
    }

    fn has_day(&self, date: Date) -> bool {
        self.has_year(date.year())
            && contains(self.months, date.month() as u16)
            && self.days.has(date, Month::of(date))
    }

    /// The first time of the same day after `after`.
    fn time_after(&self, after: DateTime) -> Option<DateTime> {
        let (hour, minute, second) = (after.hour() as u16, after.minute() as u16, after.second() as u16);
        let at = |hour, minute, second| Some(after.date().at(hour as i8, minute as i8, second as i8, 0));
        let first_minute = || at_least(self.minutes, 0);
        let first_second = || at_least(self.seconds, 0);
        if contains(self.hours, hour) {
            if contains(self.minutes, minute)
                && let Some(second) = at_least(self.seconds, second + 1)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return at(hour, minute, first_second()?);
            }
        }
        at(at_least(self.hours, hour + 1)?, first_minute()?, first_second()?)
    }

    fn first_of(&self, date: Date) -> Option<DateTime> {
        let first = |set| at_least(set, 0);
        let (hour, minute, second) = (first(self.hours)?, first(self.minutes)?, first(self.seconds)?);
        Some(date.at(hour as i8, minute as i8, second as i8, 0))
    }
}

/// The length of a month and the weekday of its first day, from which all its other days follow.
#[derive(Clone, Copy)]
struct Month {
    length: u16,
    first_weekday: u16,
}

impl Month {
    fn of(date: Date) -> Self {
        Self {
            length: date.days_in_month() as u16,
            first_weekday: sunday_based(date.first_of_month().weekday()),
        }
    }

    fn weekday(self, day: u16) -> u16 {
        (self.first_weekday + day - 1) % 7
    }

    /// The Monday to Friday nearest to `day`, without leaving the month (Quartz's `W`).
    fn nearest_weekday(self, day: u16) -> u16 {
        match self.weekday(day) {
            6 if day > 1 => day - 1,
            6 => day + 2,
            0 if day < self.length => day + 1,
            0 => day - 2,
            _ => day,
        }
    }
}

impl Days {
    fn parse(
        day: &str,
        weekday: &str,
        dialect: Dialect,
        notes: &mut Vec<String>,
    ) -> Result<Self, InvalidCron> {
        let is_star = |field: &str| field.starts_with(['*', '?']);
        if dialect == Dialect::Quartz && !matches!(day, "*" | "?") && !matches!(weekday, "*" | "?") {
            return refuse(
                "the quartz dialect selects days by one field: write ? as day of month or day of week",
            );
        }
        let mut days = Self { both: is_star(day) || is_star(weekday), ..Self::default() };
        for item in items(day, &DAY_OF_MONTH)? {
            days.add_day_of_month(item, notes)?;
        }
        for item in items(weekday, &DAY_OF_WEEK)? {
            days.add_day_of_week(item, dialect, notes)?;
        }
        Ok(days)
    }

    fn add_day_of_month(&mut self, item: &str, notes: &mut Vec<String>) -> Result<(), InvalidCron> {
        let upper = item.to_ascii_uppercase();
        if upper == "LW" {
            self.last_weekday = true;
        } else if let Some(offset) = upper.strip_prefix('L') {
            self.before_last |= 1 << days_before_last(offset, item)?;
        } else if let Some(day) = upper.strip_suffix('W') {
            self.near |= 1 << DAY_OF_MONTH.value(day)?;
        } else {
            let item = if item == "?" { "*" } else { item };
            self.of_month |= bits(item, &DAY_OF_MONTH, notes)?.0;
        }
        Ok(())
    }

    fn add_day_of_week(
        &mut self,
        item: &str,
        dialect: Dialect,
        notes: &mut Vec<String>,
    ) -> Result<(), InvalidCron> {
        let weekday_bits = |item: &str, notes: &mut Vec<String>| weekday_bits(item, dialect, notes);
        if let Some((weekdays, nth)) = item.split_once('#') {
            let nth = nth.parse::<usize>().ok().filter(|nth| (1..=5).contains(nth));
            let Some(nth) = nth else {
                return refuse(format!(
                    "day of week: {:?}: the number after # is from 1 to 5",
                    shorten(item)
                ));
            };
            self.nth[nth - 1] |= weekday_bits(weekdays, notes)?;
        } else if let Some(weekdays) = item.strip_suffix(['L', 'l']) {
            if weekdays.is_empty() && dialect == Dialect::Quartz {
                self.of_week |= 1 << SATURDAY;
                return Ok(());
            }
            if weekdays.is_empty() {
                return refuse("day of week: L needs a weekday before it, such as 5L for the last Friday");
            }
            self.last |= weekday_bits(weekdays, notes)?;
        } else {
            let item = if item == "?" { "*" } else { item };
            self.of_week |= weekday_bits(item, notes)?;
        }
        Ok(())
    }

    /// Returns the first selected day in the month of `from` that is at or after `from`.
    fn next_in_month(&self, from: Date) -> Option<Date> {
        let month = Month::of(from);
        let day = (from.day() as u16..=month.length).find(|day| self.selects(*day, month))?;
        Date::new(from.year(), from.month(), day as i8).ok()
    }

    fn has(&self, date: Date, month: Month) -> bool {
        self.selects(date.day() as u16, month)
    }

    fn selects(&self, day: u16, month: Month) -> bool {
        let (of_month, of_week) = (self.selects_by_month(day, month), self.selects_by_week(day, month));
        if self.both { of_month && of_week } else { of_month || of_week }
    }

    fn selects_by_month(&self, day: u16, month: Month) -> bool {
        // The nearest weekday is at most two days away.
        let near = |other: u16| contains(self.near, other) && month.nearest_weekday(other) == day;
        contains(self.of_month, day)
            || contains(self.before_last, month.length - day)
            || (self.last_weekday && month.nearest_weekday(month.length) == day)
            || (self.near != 0 && (day.saturating_sub(2).max(1)..=(day + 2).min(month.length)).any(near))
    }

    fn selects_by_week(&self, day: u16, month: Month) -> bool {
        let weekday = month.weekday(day);
        contains(self.of_week, weekday)
            || contains(self.nth[usize::from((day - 1) / 7)], weekday)
            || (contains(self.last, weekday) && day + 7 > month.length)
    }
}

/// Reads what follows `L` in `L` or `L-3`.
fn days_before_last(offset: &str, item: &str) -> Result<u16, InvalidCron> {
    if offset.is_empty() {
        return Ok(0);
    }
    let days = offset.strip_prefix('-').and_then(|days| days.parse().ok());
    match days.filter(|days| (1..=30).contains(days)) {
        Some(days) => Ok(days),
        None => refuse(format!("day of month: {:?} is not L, LW or L-n with n from 1 to 30", shorten(item))),
    }
}

fn weekday_bits(item: &str, dialect: Dialect, notes: &mut Vec<String>) -> Result<u64, InvalidCron> {
    if dialect == Dialect::Quartz {
        return Ok(bits(item, &QUARTZ_DAY_OF_WEEK, notes)?.0 >> 1);
    }
    let set = bits(item, &DAY_OF_WEEK, notes)?.0;
    // Sunday may be written 7.
    Ok(if contains(set, 7) { set & !(1 << 7) | 1 } else { set })
}

/// Reads a field into a set by bit, and whether an item of it is an interval.
fn bits(
    text: &str,
    field: &super::field::Field,
    notes: &mut Vec<String>,
) -> Result<(u64, bool), InvalidCron> {
    let (mut set, mut is_interval) = (0, false);
    for text in items(text, field)? {
        let item = field.item(text)?;
        set |= item.values.iter().fold(0, |set, value| set | 1_u64 << value);
        is_interval |= item.is_interval;
        notes.extend(item.oversized_step.map(|step| first_value_only(text, field, step, &item.values)));
    }
    Ok((set, is_interval))
}

fn first_value_only(text: &str, field: &super::field::Field, step: u32, values: &[u16]) -> String {
    let first = values.first().copied().unwrap_or(field.min);
    format!(
        "{}: the step {step} of {:?} is larger than the field, so only {first} is selected",
        field.name,
        shorten(text)
    )
}

fn parse_years(text: &str) -> Result<Vec<u16>, InvalidCron> {
    if text == "*" || text == "?" {
        return Ok(Vec::new());
    }
    let mut years = Vec::new();
    for item in items(text, &YEAR)? {
        years.extend(YEAR.item(item)?.values);
    }
    years.sort_unstable();
    years.dedup();
    Ok(years)
}

fn contains(set: u64, value: u16) -> bool {
    value < 64 && set & (1 << value) != 0
}

/// The least value of the set from `min` on.
fn at_least(set: u64, min: u16) -> Option<u16> {
    let rest = if min < 64 { set >> min << min } else { 0 };
    (rest != 0).then(|| rest.trailing_zeros() as u16)
}

fn first_of_next_month(date: Date) -> Option<Date> {
    date.last_of_month().tomorrow().ok()
}

fn sunday_based(weekday: Weekday) -> u16 {
    weekday.to_sunday_zero_offset() as u16
}
