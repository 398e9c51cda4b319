//! Cron expressions, as people write them, and the moments that they select.
//!
//! The grammar is the v1 contract's: 5 fields, or 6 with leading seconds, or 7 with years as well;
//! `@daily` and the other nicknames; `@every 1h30m`; a leading `TZ=Area/City`. `docs/cron.md`
//! describes it with examples. `calendar` finds matches on a plain calendar, and `mapping` maps
//! them to instants in a time zone. Each search ends after a hundred years.

mod calendar;
mod field;
mod mapping;
mod options;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Moment, zone};
use calendar::Calendar;
pub use options::{CronOptions, Dialect, Dst, Gap, Repeat};

/// A parsed expression.
#[derive(Debug, Clone)]
pub enum CronRule {
    /// Wall-clock fields in a time zone.
    Fields(Box<Calendar>, TimeZone),
    /// `@every`: a period in milliseconds from the task's anchor.
    Period(i64),
}

/// Why an expression is refused, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCron(String);

impl InvalidCron {
    /// Returns the error of a further expression.
    pub fn also(why: &str) -> Self {
        Self(format!("also: {why}"))
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, InvalidCron> {
    Err(InvalidCron(why.into()))
}

/// Longest expression in bytes: every value of every field, written out, is shorter.
const MAX_BYTES: usize = 1_024;
const MAX_SHOWN_BYTES: usize = 64;
/// Fields of an expression with seconds and years.
const MOST_FIELDS: usize = 7;

impl CronRule {
    /// Parses `expression`; without a `TZ=` prefix its fields are read in `default_zone` (an IANA name).
    ///
    /// # Errors
    /// Names the field and the value that is wrong. An expression that no date can match is refused.
    pub fn parse(expression: &str, default_zone: &str) -> Result<Self, InvalidCron> {
        Self::parse_with(expression, default_zone, Dialect::Unix, Dst::default())
    }

    /// Same as [`CronRule::parse`], in this dialect, and with these rules for changes of clocks.
    ///
    /// # Errors
    /// As [`CronRule::parse`].
    pub fn parse_with(
        expression: &str,
        default_zone: &str,
        dialect: Dialect,
        dst: Dst,
    ) -> Result<Self, InvalidCron> {
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
        Self::fields_with(rest, find_zone(zone)?, dialect, dst)
    }

    /// Parses the fields of an expression, or a nickname, and reads them in `zone`.
    ///
    /// # Errors
    /// As [`CronRule::parse`].
    pub fn fields(text: &str, zone: TimeZone) -> Result<Self, InvalidCron> {
        Self::fields_with(text, zone, Dialect::Unix, Dst::default())
    }

    fn fields_with(text: &str, zone: TimeZone, dialect: Dialect, dst: Dst) -> Result<Self, InvalidCron> {
        // A nickname means the same in every dialect.
        let dialect = if text.starts_with('@') { Dialect::Unix } else { dialect };
        let calendar = Calendar::parse(&split_fields(text, dialect)?, dialect, dst)?;
        if !calendar.has_any_day() {
            return refuse(format!("no date matches {:?}: check day of month and month", shorten(text)));
        }
        Ok(Self::Fields(Box::new(calendar), zone))
    }

    /// Returns the first match at or after `anchor`; for `@every`, one period after it.
    pub fn first(&self, anchor: Moment) -> Option<Moment> {
        match self {
            Self::Fields(..) => self.after(anchor.plus_ms(-1)),
            Self::Period(period) => Some(anchor.plus_ms(*period)),
        }
    }

    /// Returns the first match after `moment`.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        match self {
            Self::Fields(calendar, zone) => {
                let after = Timestamp::from_millisecond(moment.ms()).ok()?;
                mapping::next(calendar, zone, after).map(|at| Moment::from_ms(at.as_millisecond()))
            }
            Self::Period(period) => Some(moment.plus_ms(*period)),
        }
    }

    /// Returns the first match at or after the next change of the zone's clocks. `None`: no change is known, or the
    /// rule has no zone.
    pub fn after_clock_change(&self, moment: Moment) -> Option<Moment> {
        let Self::Fields(calendar, zone) = self else { return None };
        let from = Timestamp::from_millisecond(moment.ms()).ok()?;
        let change = mapping::next_change(zone, from)?;
        let found = mapping::next(calendar, zone, change.checked_sub(jiff::Span::new().nanoseconds(1)).ok()?);
        found.map(|at| Moment::from_ms(at.as_millisecond()))
    }

    /// Returns remarks on the expression, such as a step that leaves only one value.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Fields(calendar, _) => &calendar.notes,
            Self::Period(_) => &[],
        }
    }
}

/// The beginning of a text that a person wrote, for an error message.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN_BYTES)]
}

/// Whether an expression has a field for years, which the v1 contract does not have.
pub fn has_year_field(expression: &str) -> bool {
    split_zone(expression, "").is_ok_and(|(_, fields)| fields.split_whitespace().count() == MOST_FIELDS)
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

fn find_zone(name: &str) -> Result<TimeZone, InvalidCron> {
    zone::find(name).map_or_else(
        || {
            refuse(format!(
                "unknown time zone {:?}: use an IANA name such as \"Asia/Shanghai\"",
                shorten(name)
            ))
        },
        Ok,
    )
}

/// Splits an expression into its fields, seconds first.
fn split_fields(text: &str, dialect: Dialect) -> Result<Vec<&str>, InvalidCron> {
    let fields = match text.to_ascii_lowercase().as_str() {
        "" => return refuse("the cron expression is empty: write 5 fields such as 0 9 * * *"),
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        nickname if nickname.starts_with('@') => {
            return refuse(format!(
                "unknown nickname {}: use @yearly, @monthly, @weekly, @daily, @hourly or @every",
                shorten(text)
            ));
        }
        _ => text,
    };
    let mut fields: Vec<&str> = fields.split_whitespace().collect();
    match fields.len() {
        5 if dialect == Dialect::Unix => fields.insert(0, "0"),
        6 | MOST_FIELDS => {}
        n if dialect == Dialect::Quartz => {
            return refuse(format!(
                "{n} fields: the quartz dialect has 6, with leading seconds, or 7 with trailing years"
            ));
        }
        n => {
            return refuse(format!(
                "{n} fields: write 5, or 6 with leading seconds, or 7 with trailing years"
            ));
        }
    }
    Ok(fields)
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

#[cfg(test)]
mod tests;
