//! Entries of a calendar: days of a week or dates, with hours.

use jiff::civil::Date;

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;

/// Days of a week as an entry spells them, Monday first.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A part of a day, in minutes from midnight on the clock. The end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    pub from: u16,
    pub to: u16,
}

impl Hours {
    const WHOLE_DAY: Self = Self { from: 0, to: DAY };

    /// Parses hours such as `09:00-17:00`. `24:00` is the end of the day.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} are no hours: use a begin and a later end, such as \"09:00-17:00\"; \"24:00\" ends the day"
            )
        };
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let hours = minutes(from).zip(minutes(to)).map(|(from, to)| Self { from, to });
        hours.filter(|hours| hours.from < hours.to).ok_or_else(wrong)
    }
}

/// Returns the minutes of a time of day such as `09:30`.
fn minutes(text: &str) -> Option<u16> {
    let digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok())
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (digits(hour)??, digits(minute)??);
    let total = hour * 60 + minute;
    (minute < 60 && total <= DAY).then_some(total)
}

/// Splits an entry into its days and its hours. Without hours, an entry has whole days.
fn split(text: &str) -> Result<(&str, Vec<Hours>), String> {
    let Some((days, hours)) = text.split_once(' ') else { return Ok((text, vec![Hours::WHOLE_DAY])) };
    let hours = hours.split(',').map(Hours::parse).collect::<Result<_, _>>()?;
    Ok((days, hours))
}

/// Hours of days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeeklyEntry {
    /// Days, from 0 for Monday.
    pub days: Vec<usize>,
    pub hours: Vec<Hours>,
}

impl WeeklyEntry {
    /// Parses an entry such as `mon-fri 09:00-12:00,13:00-17:00` or `sat,sun`.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (days, hours) = split(text)?;
        let mut all = Vec::new();
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (weekday(first)?, weekday(last)?);
            if last < first {
                return Err(format!("{part:?} ends before its begin: write two entries, or \"sat,sun,mon\""));
            }
            all.extend(first..=last);
        }
        Ok(Self { days: all, hours })
    }
}

fn weekday(text: &str) -> Result<usize, String> {
    let unknown = || format!("{text:?} is no day of the week: use {}", WEEKDAYS.join(", "));
    WEEKDAYS.iter().position(|day| *day == text).ok_or_else(unknown)
}

/// Hours of a range of dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateEntry {
    pub first: Date,
    /// Last date, inclusive.
    pub last: Date,
    pub hours: Vec<Hours>,
}

impl DateEntry {
    /// Parses an entry such as `2026-10-01`, `2026-10-01/2026-10-07` or `2026-10-10 09:00-17:00`.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (dates, hours) = split(text)?;
        let (first, last) = dates.split_once('/').unwrap_or((dates, dates));
        let (first, last) = (date(first)?, date(last)?);
        if last < first {
            return Err(format!("{dates:?} ends before its begin: exchange the two dates"));
        }
        Ok(Self { first, last, hours })
    }
}

fn date(text: &str) -> Result<Date, String> {
    let unknown = || format!("{text:?} is no date: use a date such as \"2026-10-01\"");
    let has_form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if has_form { text.parse().map_err(|_| unknown()) } else { Err(unknown()) }
}

/// Returns the hours in order, with those that touch each other as one.
pub fn union(mut hours: Vec<Hours>) -> Vec<Hours> {
    hours.sort_unstable();
    let mut merged: Vec<Hours> = Vec::with_capacity(hours.len());
    for next in hours {
        match merged.last_mut() {
            Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
            _ => merged.push(next),
        }
    }
    merged
}

/// Returns the hours without a part.
pub fn without(hours: Vec<Hours>, part: Hours) -> Vec<Hours> {
    let pieces = |Hours { from, to }: Hours| {
        let before = Hours { from, to: to.min(part.from) };
        let after = Hours { from: from.max(part.to), to };
        [before, after].into_iter().filter(|piece| piece.from < piece.to)
    };
    hours.into_iter().flat_map(pieces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(parts: &[(u16, u16)]) -> Vec<Hours> {
        parts.iter().map(|(from, to)| Hours { from: *from, to: *to }).collect()
    }

    #[test]
    fn entries_are_days_with_hours() {
        let weekly = WeeklyEntry::parse("mon-wed,sun 09:00-12:00,13:30-24:00").unwrap();
        assert_eq!(weekly.days, [0, 1, 2, 6]);
        assert_eq!(weekly.hours, hours(&[(540, 720), (810, 1_440)]));
        assert_eq!(WeeklyEntry::parse("sat").unwrap().hours, [Hours::WHOLE_DAY]);
        let dates = DateEntry::parse("2026-10-01/2026-10-07 00:00-00:01").unwrap();
        assert_eq!(
            (dates.first.to_string(), dates.last.to_string()),
            ("2026-10-01".into(), "2026-10-07".into())
        );
        assert_eq!(dates.hours, hours(&[(0, 1)]));
    }

    #[test]
    fn a_wrong_entry_says_what_to_write() {
        for (text, message) in [
            ("", "is no day"),
            ("mon ", "are no hours"),
            ("monday", "is no day"),
            ("sat-mon", "two entries"),
            ("mon 9:00-17:00", "are no hours"),
            ("mon 17:00-09:00", "are no hours"),
            ("mon 09:00-24:01", "are no hours"),
            ("mon 09:60-10:00", "are no hours"),
            ("mon  09:00-10:00", "are no hours"),
        ] {
            let why = WeeklyEntry::parse(text).unwrap_err();
            assert!(why.contains(message), "{text:?}: {why}");
        }
        for (text, message) in [
            ("2026-1-1", "is no date"),
            ("20260101", "is no date"),
            ("2026-02-29", "is no date"),
            ("2026-02-02/2026-02-01", "exchange"),
            ("2026-02-02/", "is no date"),
            ("2026-02-02T00:00", "is no date"),
        ] {
            let why = DateEntry::parse(text).unwrap_err();
            assert!(why.contains(message), "{text:?}: {why}");
        }
    }

    #[test]
    fn hours_are_a_set() {
        assert_eq!(union(hours(&[(5, 9), (1, 3), (3, 4), (8, 10)])), hours(&[(1, 4), (5, 10)]));
        let cut = |part| without(hours(&[(1, 5), (6, 9)]), part);
        assert_eq!(cut(Hours { from: 4, to: 7 }), hours(&[(1, 4), (7, 9)]));
        assert_eq!(cut(Hours { from: 2, to: 3 }), hours(&[(1, 2), (3, 5), (6, 9)]));
        assert_eq!(cut(Hours::WHOLE_DAY), []);
    }
}
