//! Cron expressions, evaluated by croner.
//!
//! The grammar is the v1 contract's: 5 fields, or 6 with leading seconds; nicknames such as
//! `@daily`; `@every 1h30m`; a leading `TZ=Area/City`. This file rewrites spellings that croner 4
//! refuses (`5/20`, `22-2`, `FRI-MON`, `@midnight`). It refuses dates that never occur, such as 30
//! February, because croner would search for them for a long time.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::Moment;

/// A parsed expression.
#[derive(Debug, Clone)]
pub enum CronRule {
    /// Fields that match the wall clock of a time zone.
    Fields(Box<Cron>, TimeZone),
    /// `@every`: a period in milliseconds, counted from the task's anchor.
    Period(i64),
}

/// Why an expression is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCron(String);

fn refuse<T>(why: impl Into<String>) -> Result<T, InvalidCron> {
    Err(InvalidCron(why.into()))
}

/// Name, bounds and words of a field.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    words: &'static [&'static str],
}

/// Longest expression. A list of all values of all fields is shorter.
const MAX_BYTES: usize = 1_024;
const MAX_SHOWN_BYTES: usize = 64;
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const FIELDS: [Field; 7] = [
    Field { name: "second", min: 0, max: 59, words: &[] },
    Field { name: "minute", min: 0, max: 59, words: &[] },
    Field { name: "hour", min: 0, max: 23, words: &[] },
    Field { name: "day of month", min: 1, max: 31, words: &[] },
    Field { name: "month", min: 1, max: 12, words: MONTHS },
    Field { name: "day of week", min: 0, max: 6, words: WEEKDAYS },
    Field { name: "year", min: 1970, max: 2999, words: &[] },
];
const LONGEST_MONTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl CronRule {
    /// Parses `expression`. Without a `TZ=` prefix, the fields match the wall clock of
    /// `default_zone` (an IANA name).
    ///
    /// # Errors
    /// Names the invalid field or word.
    pub fn parse(expression: &str, default_zone: &str) -> Result<Self, InvalidCron> {
        if expression.len() > MAX_BYTES {
            return refuse(format!(
                "the cron expression has {} bytes: shorten it to at most {MAX_BYTES}",
                expression.len()
            ));
        }
        let (zone, rest) = split_zone(expression, default_zone)?;
        if let Some(period) = rest.strip_prefix("@every") {
            return parse_period(period.trim()).map(Self::Period);
        }
        let zone = TimeZone::get(zone).or_else(|_| refuse(unknown_zone(zone)))?;
        let cron = parse_fields(&rewrite(rest)?)?;
        refuse_impossible_date(&cron)?;
        Ok(Self::Fields(Box::new(cron), zone))
    }

    /// Returns the first match at or after `anchor`; for `@every`, the moment one period after
    /// `anchor`.
    pub fn first(&self, anchor: Moment) -> Option<Moment> {
        match self {
            Self::Fields(cron, zone) => search(cron, zone, ceil_to_second(anchor), true),
            Self::Period(period) => Some(anchor.plus_ms(*period)),
        }
    }

    /// Returns the first match after `moment`, which must be a match.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        match self {
            Self::Fields(cron, zone) => search(cron, zone, moment, false),
            Self::Period(period) => Some(moment.plus_ms(*period)),
        }
    }
}

/// Returns the error message, which shows at most [`MAX_SHOWN_BYTES`] of the zone.
fn unknown_zone(zone: &str) -> String {
    let shown = &zone[..zone.floor_char_boundary(MAX_SHOWN_BYTES)];
    format!("unknown time zone {shown:?}: use an IANA name such as \"Asia/Shanghai\"")
}

/// Returns whether an expression has a field for years, which the v1 contract does not allow.
pub fn has_year_field(expression: &str) -> bool {
    split_zone(expression, "").is_ok_and(|(_, fields)| fields.split_whitespace().count() == FIELDS.len())
}

fn split_zone<'a>(expression: &'a str, default_zone: &'a str) -> Result<(&'a str, &'a str), InvalidCron> {
    let text = expression.trim();
    let Some(prefixed) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((default_zone, text));
    };
    match prefixed.split_once(char::is_whitespace) {
        Some((zone, rest)) => Ok((zone, rest.trim())),
        None => refuse("no fields follow the time zone: write TZ=Area/City and then the fields"),
    }
}

/// Parses a Go duration (`1h30m`, `90s`, `1.5h`), the format of v1 clients. Rounds to whole
/// seconds, at least one.
fn parse_period(text: &str) -> Result<i64, InvalidCron> {
    let invalid = || {
        InvalidCron(format!(
            "@every {text:?} is not a duration: write hours, minutes and seconds such as 1h30m"
        ))
    };
    let (mut rest, mut total_ms) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit_len =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len() - digits);
        let unit_ms = match &rest[digits..digits + unit_len] {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            _ => return Err(invalid()),
        };
        total_ms += number * unit_ms;
        rest = &rest[digits + unit_len..];
    }
    let seconds = (total_ms / 1000.0).round() as i64;
    match seconds {
        ..1 => refuse("@every is shorter than one second: write at least 1s"),
        _ if seconds >= Moment::NEVER.sec() => {
            refuse("@every reaches beyond the year 9999: write a shorter duration")
        }
        _ => Ok(seconds * 1_000),
    }
}

/// Rewrites every accepted spelling into one that croner accepts.
fn rewrite(text: &str) -> Result<String, InvalidCron> {
    let fields = match text.to_ascii_lowercase().as_str() {
        "" => return refuse("the cron expression is empty: write 5 fields such as 0 9 * * *"),
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        nickname if nickname.starts_with('@') => {
            return refuse(format!(
                "unknown nickname {text}: use @yearly, @monthly, @weekly, @daily, @hourly or @every"
            ));
        }
        _ => text,
    };
    let parts: Vec<&str> = fields.split_whitespace().collect();
    let skipped = match parts.len() {
        5 => 1,
        6 | 7 => 0,
        n => {
            return refuse(format!(
                "{n} fields: write 5, or 6 with leading seconds, or 7 with trailing years"
            ));
        }
    };
    let rewritten: Result<Vec<_>, _> =
        parts.iter().zip(&FIELDS[skipped..]).map(|(part, field)| rewrite_field(part, field)).collect();
    Ok(rewritten?.join(" "))
}

fn rewrite_field(text: &str, field: &Field) -> Result<String, InvalidCron> {
    let items: Result<Vec<_>, _> = text.split(',').map(|item| rewrite_item(item, field)).collect();
    Ok(items?.join(","))
}

fn rewrite_item(item: &str, field: &Field) -> Result<String, InvalidCron> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(parse_step(step, field)?)),
        None => (item, None),
    };
    let (from, to) = match (range.split_once('-'), step) {
        (Some((from, to)), _) => (value(from, field)?, value(to, field)?),
        (None, Some(_)) if range != "*" && range != "?" => (value(range, field)?, field.max),
        _ => return Ok(item.to_owned()),
    };
    Ok(expand(from, to, step.unwrap_or(1), field))
}

fn parse_step(text: &str, field: &Field) -> Result<u32, InvalidCron> {
    match text.parse() {
        Ok(step) if (1..=field.max.max(1)).contains(&step) => Ok(step),
        _ => refuse(format!("{}: step {text:?} is not between 1 and {}", field.name, field.max)),
    }
}

fn value(text: &str, field: &Field) -> Result<u32, InvalidCron> {
    if let Some(at) = field.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(at as u32 + field.min);
    }
    match text.parse::<u32>() {
        // 7 means Sunday.
        Ok(7) if field.max == 6 => Ok(7),
        Ok(number) if (field.min..=field.max).contains(&number) => Ok(number),
        _ => refuse(format!("{}: {text:?} is not between {} and {}", field.name, field.min, field.max)),
    }
}

/// Lists every `step`-th value from `from` to `to`. If `to` is below `from`, the list wraps around
/// at the field's maximum.
fn expand(from: u32, to: u32, step: u32, field: &Field) -> String {
    let span = field.max - field.min + 1;
    let length = if to >= from { to - from } else { to + span - from };
    let wrap = |v: u32| (v - field.min) % span + field.min;
    let mut values: Vec<u32> = (0..=length).step_by(step as usize).map(|i| wrap(from + i)).collect();
    values.sort_unstable();
    values.dedup();
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn parse_fields(rewritten: &str) -> Result<Cron, InvalidCron> {
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Optional)
        .build()
        .parse(rewritten)
        .map_err(|e| InvalidCron(e.to_string()))
}

/// croner searches for 30 February up to the year 5000, which is too slow for a tick.
fn refuse_impossible_date(cron: &Cron) -> Result<(), InvalidCron> {
    let pattern = &cron.pattern;
    if pattern.is_dom_wildcard() || !pattern.is_dow_wildcard() || pattern.days.has_modifiers() {
        return Ok(());
    }
    let days = pattern.days.values();
    let months = pattern.months.values();
    let possible = |month: &u16| {
        let longest = LONGEST_MONTHS[usize::from(*month) - 1];
        days.iter().any(|day| u32::from(*day) <= longest)
    };
    if months.iter().any(possible) {
        Ok(())
    } else {
        refuse("no month has this day: change the day of month or the month")
    }
}

fn ceil_to_second(moment: Moment) -> Moment {
    Moment::from_ms(moment.ms().saturating_add(999).div_euclid(1000).saturating_mul(1000))
}

fn search(cron: &Cron, zone: &TimeZone, from: Moment, inclusive: bool) -> Option<Moment> {
    let start = Timestamp::from_millisecond(from.ms()).ok()?.to_zoned(zone.clone());
    let found = cron.find_next_occurrence(&start, inclusive).or_else(|error| {
        // croner fails at a local day that a zone skipped as a whole (Pacific/Apia, 2011-12-30). It
        // would have found a match before the day, so the search continues after the day.
        cron.find_next_occurrence(&after_skipped_day(&start).ok_or(error)?, true)
    });
    Some(Moment::from_ms(found.ok()?.timestamp().as_millisecond()))
}

/// Returns the start of the day after the next local day that the zone of `from` skips as a whole.
fn after_skipped_day(from: &Zoned) -> Option<Zoned> {
    // Two leap days can be eight years apart.
    const FARTHEST_DAYS: usize = 9 * 366;
    let skipped = from.date().series(1.day()).take(FARTHEST_DAYS).find(|day| {
        let noon = day.at(12, 0, 0, 0).to_zoned(from.time_zone().clone());
        noon.is_ok_and(|noon| noon.date() != *day)
    })?;
    skipped.tomorrow().ok()?.to_zoned(from.time_zone().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::from_ms(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn matches(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let rule = CronRule::parse(expression, zone).unwrap();
        let first = rule.first(at(from));
        std::iter::successors(first, |m| rule.after(*m)).take(n).map(|m| m.to_string()).collect()
    }

    fn error(expression: &str) -> String {
        CronRule::parse(expression, "UTC").unwrap_err().to_string()
    }

    #[test]
    fn contract_examples() {
        for valid in
            ["1,5,3 * 1-10 * *", "55-58 * * * *", "@every 1h30m", "@daily", "TZ=Asia/Shanghai 0 9 * * *"]
        {
            assert!(CronRule::parse(valid, "UTC").is_ok(), "{valid}");
        }
        for invalid in ["", "   ", "* * 34 * *", "* 25 * * * ", "* * * *", "* * * * * * * *", "@reboot"] {
            assert!(CronRule::parse(invalid, "UTC").is_err(), "{invalid}");
        }
    }

    #[test]
    fn six_fields_begin_with_seconds() {
        assert_eq!(
            matches("*/20 * * * * *", "UTC", "2026-01-01T00:00:01Z", 3),
            ["2026-01-01T00:00:20.000Z", "2026-01-01T00:00:40.000Z", "2026-01-01T00:01:00.000Z"]
        );
    }

    #[test]
    fn the_first_match_is_never_before_a_start_inside_its_second() {
        assert_eq!(
            matches("* * * * * *", "UTC", "2026-01-01T00:00:01.001Z", 1),
            ["2026-01-01T00:00:02.000Z"]
        );
        assert_eq!(matches("* * * * * *", "UTC", "2026-01-01T00:00:01Z", 1), ["2026-01-01T00:00:01.000Z"]);
    }

    #[test]
    fn a_start_with_a_step_runs_to_the_end_of_the_field() {
        assert_eq!(
            matches("5/20 * * * *", "UTC", "2026-01-01T00:00:00Z", 4),
            [
                "2026-01-01T00:05:00.000Z",
                "2026-01-01T00:25:00.000Z",
                "2026-01-01T00:45:00.000Z",
                "2026-01-01T01:05:00.000Z"
            ]
        );
    }

    #[test]
    fn ranges_wrap_around() {
        assert_eq!(
            matches("0 22-2 * * *", "UTC", "2026-01-01T20:00:00Z", 6)
                .iter()
                .map(|m| m[11..13].to_owned())
                .collect::<Vec<_>>(),
            ["22", "23", "00", "01", "02", "22"]
        );
        // 2026-01-02 is a Friday.
        assert_eq!(
            matches("0 0 * * FRI-MON", "UTC", "2026-01-02T00:00:00Z", 5)
                .iter()
                .map(|m| m[8..10].to_owned())
                .collect::<Vec<_>>(),
            ["02", "03", "04", "05", "09"]
        );
    }

    #[test]
    fn monday_to_friday_is_one_to_five_and_sunday_may_be_seven() {
        let days = |e: &str| {
            matches(e, "UTC", "2026-01-05T00:00:00Z", 3)
                .iter()
                .map(|m| m[8..10].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(days("0 0 * * 1-5"), ["05", "06", "07"]);
        assert_eq!(days("0 0 * * 7"), ["11", "18", "25"]);
        assert_eq!(days("0 0 * * 5-7"), ["09", "10", "11"]);
    }

    #[test]
    fn day_of_month_or_day_of_week_when_both_are_set() {
        let found = matches("0 0 13 * FRI", "UTC", "2026-01-01T00:00:00Z", 3);
        assert_eq!(found.iter().map(|m| &m[8..10]).collect::<Vec<_>>(), ["02", "09", "13"]);
    }

    #[test]
    fn a_zone_prefix_overrides_the_default() {
        assert_eq!(
            matches("TZ=Asia/Shanghai 0 9 * * *", "UTC", "2026-01-01T00:00:00Z", 1),
            ["2026-01-01T01:00:00.000Z"]
        );
        assert_eq!(
            matches("0 9 * * *", "Asia/Shanghai", "2026-01-01T00:00:00Z", 1),
            ["2026-01-01T01:00:00.000Z"]
        );
        assert_eq!(
            error("TZ=Mars/Olympus 0 9 * * *"),
            "unknown time zone \"Mars/Olympus\": use an IANA name such as \"Asia/Shanghai\""
        );
    }

    #[test]
    fn skipped_and_repeated_hours_of_daylight_saving_time_fire_once() {
        let spring = matches("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring.len(), 2);
        assert_eq!(&spring[0][..10], "2026-03-29");
        assert_eq!(&spring[1][..10], "2026-03-30");
        let autumn = matches("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn.iter().map(|m| &m[..10]).collect::<Vec<_>>(), ["2026-10-25", "2026-10-26"]);
    }

    #[test]
    fn a_skipped_local_day_is_passed() {
        let found = matches("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1);
        assert_eq!(found.len(), 1, "{found:?}");
        let daily = matches("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
        assert_eq!(daily.len(), 3, "{daily:?}");
    }

    #[test]
    fn the_seventh_field_is_the_year() {
        let found = |e: &str| matches(e, "UTC", "2026-01-01T00:00:00Z", 3);
        assert_eq!(found("0 30 8 1 1 * 2027,2030"), ["2027-01-01T08:30:00.000Z", "2030-01-01T08:30:00.000Z"]);
        assert_eq!(found("0 0 0 29 2 ? 2026-2032").len(), 2);
        assert!(found("0 0 0 1 1 * 2025").is_empty(), "the year has passed");
        assert_eq!(error("0 0 0 1 1 * 1969-1970"), "year: \"1969\" is not between 1970 and 2999");
    }

    #[test]
    fn a_year_field_is_recognised() {
        for without in ["", "* * * * *", "* * * * * *", "TZ=UTC * * * * * *", "@daily"] {
            assert!(!has_year_field(without), "{without}");
        }
        for with in ["* * * * * * *", "TZ=UTC  * * * * * * 2030"] {
            assert!(has_year_field(with), "{with}");
        }
    }

    #[test]
    fn the_last_day_the_nearest_weekday_and_the_nth_weekday() {
        let days = |e: &str| {
            let found = matches(e, "UTC", "2026-01-01T00:00:00Z", 3);
            found.iter().map(|m| m[5..10].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(days("0 0 L * *"), ["01-31", "02-28", "03-31"]);
        // 2026-02-15 and 2026-03-15 are Sundays.
        assert_eq!(days("0 0 15W * *"), ["01-15", "02-16", "03-16"]);
        assert_eq!(days("0 0 * * FRI#2"), ["01-09", "02-13", "03-13"]);
        assert_eq!(days("0 0 0 * * 5L"), ["01-30", "02-27", "03-27"]);
    }

    #[test]
    fn impossible_dates_are_refused() {
        assert_eq!(error("0 0 30 2 *"), "no month has this day: change the day of month or the month");
        assert_eq!(error("0 0 31 4,6 *"), "no month has this day: change the day of month or the month");
        assert!(CronRule::parse("0 0 29 2 *", "UTC").is_ok());
        assert!(CronRule::parse("0 0 30 2 MON", "UTC").is_ok(), "matches on Mondays");
        assert!(CronRule::parse("0 0 L 2 *", "UTC").is_ok());
    }

    #[test]
    fn every_accepts_go_durations() {
        let period = |e: &str| match CronRule::parse(e, "UTC") {
            Ok(CronRule::Period(ms)) => Ok(ms),
            Ok(CronRule::Fields(..)) => unreachable!("{e} has no fields"),
            Err(e) => Err(e.to_string()),
        };
        assert_eq!(period("@every 1h30m"), Ok(5_400_000));
        assert_eq!(period("@every 1.5s"), Ok(2_000), "rounds to whole seconds");
        assert!(period("@every 10ms").is_err());
        assert!(period("@every 5").is_err());
        assert!(period("@every").is_err());
        assert!(period("@every -5s").is_err());
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(error("5-99 * * * *"), "minute: \"99\" is not between 0 and 59");
        assert_eq!(error("*/0 * * * *"), "minute: step \"0\" is not between 1 and 59");
        assert_eq!(error("* * *"), "3 fields: write 5, or 6 with leading seconds, or 7 with trailing years");
    }
}
