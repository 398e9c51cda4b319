//! Parses durations and instants from arguments, and formats them for output.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};
use taskcenter_client::clock::{Clock as _, SystemClock};

const UNITS: &[(i64, &str)] = &[(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// Returns the current time.
pub fn now() -> Timestamp {
    Timestamp::from_millisecond(SystemClock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Parses a duration such as `500ms`, `10s`, `1h30m` or `2d` to milliseconds. A day has 24 hours.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let span: Span =
        text.parse().map_err(|_| "use a number with a unit, such as 500ms, 10s, 5m, 1h30m or 2d")?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let duration = duration.map_err(|_| "months and years have no fixed length: use days")?;
    u64::try_from(duration.as_millis()).map_err(|_| "the duration is negative: use 0s or more".to_owned())
}

/// Parses a duration of at least one second, in whole seconds.
pub fn parse_duration_sec(text: &str) -> Result<u64, String> {
    match parse_duration_ms(text)? {
        0 => Err("the duration is too short: use at least 1s".to_owned()),
        ms if ms % 1_000 > 0 => Err("the duration has fractions of a second: use whole seconds".to_owned()),
        ms => Ok(ms / 1_000),
    }
}

/// Parses an RFC 3339 instant, or a time without an offset in the time zone of this machine.
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local: DateTime = text
        .parse()
        .map_err(|_| "use a time such as 2030-01-31T08:00:00Z, or 2030-01-31T08:00:00 for local time")?;
    let at = local.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(at.timestamp())
}

/// Parses an instant as [`parse_instant`] does. One after the end of the calendar becomes the end.
pub fn parse_end(text: &str) -> Result<Timestamp, String> {
    parse_instant(text).or_else(|error| taskcenter_client::resources::parse_end(text).map_err(|_| error))
}

/// Parses an instant, or the length of the period up to now, such as `2h`.
pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    let Ok(ms) = parse_duration_ms(text) else {
        return parse_instant(text).map_err(|error| format!("{error}; or use a duration such as 2h"));
    };
    let since = now().as_millisecond().saturating_sub_unsigned(ms);
    Timestamp::from_millisecond(since).map_err(|error| error.to_string())
}

/// Formats an instant in a time zone, with its offset.
pub fn format_in_zone(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Formats an instant in local time.
pub fn format_local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Formats the local time of day with milliseconds.
pub fn format_time_of_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// Formats an instant in local time, with its distance from `now`.
pub fn format_with_distance(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", format_local(at), format_distance(at, now))
}

/// Formats the distance from `now`, such as `in 5m` or `3h 20m ago`.
pub fn format_distance(at: Timestamp, now: Timestamp) -> String {
    // Rounded to seconds, so that a task created "in 1h" does not show 59m 59s.
    let ms = (at.as_millisecond() - now.as_millisecond() + 500).div_euclid(1_000) * 1_000;
    match ms {
        0 => "now".to_owned(),
        1.. => format!("in {}", format_duration(ms)),
        _ => format!("{} ago", format_duration(-ms)),
    }
}

/// Formats a duration with its two largest units.
pub fn format_duration(ms: i64) -> String {
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let mut left = ms / 1_000;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        if left >= *size {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    parts.truncate(2);
    parts.join(" ")
}

/// Formats a duration without loss, in the form that [`parse_duration_ms`] accepts.
pub fn format_exact_duration(ms: i64) -> String {
    match UNITS.iter().find(|(size, _)| ms > 0 && ms % (size * 1_000) == 0) {
        Some((size, unit)) => format!("{}{unit}", ms / (size * 1_000)),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        let good = [
            ("500ms", 500),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("2 weeks", 1_209_600_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "10", "-10s", "10s ago", "1mo", "soon"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration_sec("2m"), Ok(120));
        assert!(parse_duration_sec("0s").is_err() && parse_duration_sec("1500ms").is_err());
    }

    #[test]
    fn the_offset_of_an_instant_is_optional() {
        let at = parse_instant("2030-01-31T08:00:00+08:00").unwrap();
        assert_eq!(at, "2030-01-31T00:00:00Z".parse().unwrap());
        assert!(parse_instant("2030-01-31T08:00:00").is_ok() && parse_instant("2030-01-31 08:00").is_ok());
        assert!(parse_instant("tomorrow").is_err());
    }

    #[test]
    fn a_distance_has_at_most_two_units() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let distances = [499, 5_000, 89_990, 3_599_500, -93_784_000].map(|ms| format_distance(at(ms), now));
        assert_eq!(distances, ["now", "in 5s", "in 1m 30s", "in 1h", "1d 2h ago"]);
        assert_eq!(
            [0, 1, 1_500, 60_000, 90_000, 172_800_000].map(format_exact_duration),
            ["0ms", "1ms", "1500ms", "1m", "90s", "2d"]
        );
    }
}
