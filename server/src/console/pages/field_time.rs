//! Dates and times in the texts of form fields.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::words::{Words, fill};
use super::field_text::Refusal;
use crate::core::Moment;

/// Format of the browsers' field for date and time.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S";

/// Adds the seconds, which browsers omit if they are 0, to a date and time.
pub fn whole_seconds(text: String) -> String {
    match text.parse::<DateTime>() {
        Ok(at) if at.subsec_nanosecond() == 0 => at.strftime(TIME_FORMAT).to_string(),
        _ => text,
    }
}

/// Returns an instant in the format of the browsers' field for date and time.
pub fn write_time(at: Moment, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_millisecond(at.ms()) else { return String::new() };
    at.to_zoned(zone.clone()).strftime(TIME_FORMAT).to_string()
}

/// Reads an instant in the format of the browsers' field for date and time. An empty field has none.
///
/// # Errors
/// The text is no date and time.
pub fn read_time(
    field: &'static str,
    text: &str,
    zone: &TimeZone,
    t: &Words,
) -> Result<Option<Moment>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Refusal { field, why: fill(&t.wrong_time, &[text]) };
    let wall: DateTime = text.parse().map_err(|_| wrong())?;
    let at = zone.to_ambiguous_timestamp(wall).compatible().map_err(|_| wrong())?;
    Ok(Some(Moment::from_ms(at.as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_without_seconds_is_that_of_the_browser() {
        assert_eq!(whole_seconds("2026-11-30T05:00".into()), "2026-11-30T05:00:00");
        for kept in ["2026-11-30T05:00:00.5", "tomorrow", ""] {
            assert_eq!(whole_seconds(kept.into()), kept);
        }
    }
}
